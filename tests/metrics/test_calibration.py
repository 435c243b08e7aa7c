"""Calibration errors and temperatures against values worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch

from rslib.metrics import (
    bootstrap_interval,
    classwise_calibration_error,
    estimates,
    expected_calibration_error,
)
from rslib.metrics.calibration import confidence_bins, fit_temperature, profile, scaled


def two_classes(*confidences):
    """Predictions of class 0 with these confidences."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1)


class TestExpectedCalibrationError:
    # Five predictions of class 0; right, right, wrong, right, wrong.
    probabilities = two_classes(0.95, 0.9, 0.85, 0.7, 0.55)
    labels = torch.tensor([0, 0, 1, 0, 1])

    def test_equal_width_by_hand(self):
        # Bins [.5, .75) and [.75, 1]: (2/5) |1/2 - 0.625| + (3/5) |2/3 - 0.9| = 0.05 + 0.14
        error = expected_calibration_error(self.probabilities, self.labels, bins=4)
        assert error == pytest.approx(0.19)

    def test_equal_mass_by_hand(self):
        # Sorted, the first bin takes the odd one: .55 wrong, .7 right, .85 wrong | .9, .95 right.
        # |(.55 - 0) + (.7 - 1) + (.85 - 0)| / 5 + |(.9 - 1) + (.95 - 1)| / 5 = 0.22 + 0.03
        error = expected_calibration_error(self.probabilities, self.labels, bins=2, binning="mass")
        assert error == pytest.approx(0.25)

    def test_one_bin_is_the_overall_gap(self):
        # |3/5 - 0.79| = 0.19, whichever way a single bin is made.
        for binning in ("width", "mass"):
            error = expected_calibration_error(
                self.probabilities, self.labels, bins=1, binning=binning
            )
            assert error == pytest.approx(0.19)

    def test_more_bins_than_images(self):
        # Every image is a bin: the mean of |confidence - correctness|.
        error = expected_calibration_error(self.probabilities, self.labels, bins=50, binning="mass")
        assert error == pytest.approx((0.05 + 0.1 + 0.85 + 0.3 + 0.55) / 5)

    @pytest.mark.parametrize("binning", ["width", "mass"])
    def test_order_and_ties_do_not_matter(self, binning):
        # 40 predictions of equal confidence, 30 right: calibrated to 0.05, however they are listed.
        probabilities = two_classes(*[0.8] * 40)
        labels = torch.tensor([0] * 30 + [1] * 10)
        forward = expected_calibration_error(probabilities, labels, binning=binning)
        backward = expected_calibration_error(probabilities, labels.flip(0), binning=binning)
        assert forward == pytest.approx(0.05, abs=1e-6) == backward

    @pytest.mark.parametrize("binning", ["width", "mass"])
    def test_certain_and_right_is_perfect(self, binning):
        probabilities = torch.eye(10)
        assert expected_calibration_error(probabilities, torch.arange(10), binning=binning) == 0

    def test_paper_settings_against_a_plain_loop(self):
        generator = torch.Generator().manual_seed(0)
        probabilities = torch.randn(500, 10, generator=generator).mul(2).softmax(1)
        labels = torch.randint(10, (500,), generator=generator)
        confidence, prediction = probabilities.max(1)
        expected = 0.0
        for k in range(15):
            inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
            if inside.any():
                right = (prediction == labels)[inside].float().mean()
                expected += inside.float().mean() * (right - confidence[inside].mean()).abs()
        error = expected_calibration_error(probabilities, labels)
        assert error == pytest.approx(float(expected), abs=1e-6)
        assert type(error) is float
        assert error == expected_calibration_error(probabilities.numpy(), labels.numpy())

    @pytest.mark.parametrize(
        ("probabilities", "labels", "options", "message"),
        [
            (torch.randn(4, 3) * 5, torch.zeros(4, dtype=int), {}, "apply softmax first"),
            (torch.full((4, 3), 0.2), torch.zeros(4, dtype=int), {}, "apply softmax first"),
            (torch.full((4, 3), 1.05 / 3), torch.zeros(4, dtype=int), {}, "apply softmax first"),
            (torch.full((4, 3), 0.95 / 3), torch.zeros(4, dtype=int), {}, "apply softmax first"),
            (
                torch.tensor([[0.6, 0.45, -0.05]] * 4),
                torch.zeros(4, dtype=int),
                {},
                "apply softmax",
            ),
            (torch.full((4, 2), 0.5), torch.full((4,), -1), {}, "labels span -1"),
            (torch.full((4, 2), float("nan")), torch.zeros(4, dtype=int), {}, "apply softmax"),
            (torch.full((4,), 0.5), torch.zeros(4, dtype=int), {}, r"\(n, classes\) is needed"),
            (torch.full((4, 2), 0.5), torch.zeros(3, dtype=int), {}, "4 whole numbers"),
            (torch.full((4, 2), 0.5), torch.zeros(4), {}, "4 whole numbers"),
            (torch.full((4, 2), 0.5), torch.full((4,), 2), {}, "there are 2 classes"),
            (torch.full((4, 2), 0.5), torch.zeros(4, dtype=int), {"bins": 0}, "at least 1"),
            (torch.full((4, 2), 0.5), torch.zeros(4, dtype=int), {"binning": "w"}, "'width' or"),
        ],
    )
    def test_refusals(self, probabilities, labels, options, message):
        with pytest.raises(ValueError, match=message):
            expected_calibration_error(probabilities, labels, **options)


class TestProfile:
    # Class 0 is predicted with .9, .8, .7, .6; the second is wrong.
    probabilities = two_classes(0.9, 0.8, 0.7, 0.6)
    labels = torch.tensor([0, 1, 0, 0])

    def test_by_hand(self):
        found = profile(self.probabilities, self.labels, bins=1, risk=0.3)
        assert found["nll"] == pytest.approx(-math.log(0.9 * 0.2 * 0.7 * 0.6) / 4)
        assert found["brier"] == pytest.approx(2 * (0.1**2 + 0.8**2 + 0.3**2 + 0.4**2) / 4)
        # One bin: |mean of .1, .2, .3, .4 less 1/4| for either class.
        assert found["classwise_ece"] == pytest.approx(0)
        # Error rates of the 1, 2, 3 and 4 most confident: 0, 1/2, 1/3, 1/4.
        assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
        # The curve rises above the risk and falls below it again; the largest share counts.
        assert found["coverage"] == 1
        assert profile(self.probabilities, self.labels, risk=0.2)["coverage"] == 1 / 4
        assert all(type(value) is float for value in found.values())

    def test_classwise_by_hand(self):
        # Class 0's bins [.5, .75) and [.75, 1): |(.7 + .6) - 2| / 4 and |(.9 + .8) - 1| / 4; class
        # 1's are their mirror images. Their mean is (0.175 + 0.175).
        found = classwise_calibration_error(self.probabilities, self.labels, bins=4)
        assert found == pytest.approx(0.35)

    def test_equal_confidences_share_their_errors_and_come_in_together(self):
        p = two_classes(0.9, 0.9, 0.6)
        for labels in ([0, 1, 0], [1, 0, 0]):
            found = profile(p, torch.tensor(labels), risk=0.4)
            assert found["aurc"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)
            assert found["coverage"] == 1
            assert profile(p, torch.tensor(labels), risk=0.33)["coverage"] == 0

    def test_perfect_and_hopeless(self):
        found = profile(torch.eye(3), torch.arange(3))
        assert list(found.values()) == [0, 0, 0, 0, 1]
        found = profile(torch.eye(3), torch.tensor([1, 2, 0]))
        assert list(found.values()) == [math.inf, 2, pytest.approx(2 / 3), 1, 0]

    def test_independent_implementations(self):
        metrics = pytest.importorskip("sklearn.metrics")
        generator = np.random.default_rng(0)
        p = generator.dirichlet(np.ones(4) / 2, 400)
        y = np.array([generator.choice(4, p=row) for row in p])
        found = profile(p, y)
        assert found["nll"] == pytest.approx(metrics.log_loss(y, p))
        one_hot = np.eye(4)[y]
        parts = [metrics.brier_score_loss(one_hot[:, k], p[:, k]) for k in range(4)]
        assert found["brier"] == pytest.approx(sum(parts))
        certainty, wrong = p.max(1), p.argmax(1) != y
        risks = [wrong[certainty >= threshold].mean() for threshold in certainty]
        assert found["aurc"] == pytest.approx(np.mean(risks))
        kept = [(certainty >= threshold).mean() for threshold in certainty]
        within = [share for share, risk in zip(kept, risks, strict=True) if risk <= 0.05]
        assert found["coverage"] == pytest.approx(max(within))
        total = 0.0
        for k in range(4):
            for low in range(15):
                inside = (p[:, k] >= low / 15) & (p[:, k] < (low + 1) / 15)
                if inside.any():
                    gap = abs(p[inside, k].mean() - one_hot[inside, k].mean())
                    total += inside.mean() * gap / 4
        assert found["classwise_ece"] == pytest.approx(total)

    def test_of_a_record_with_intervals(self):
        generator = np.random.default_rng(0)
        p = generator.dirichlet(np.ones(3), 200)
        y = generator.integers(3, size=200)
        loss = -np.log(p[np.arange(200), y])
        record = pd.DataFrame({"label": y, "loss": loss, **{f"p{k}": p[:, k] for k in range(3)}})
        found = estimates.calibration_profile(record)
        expected = profile(p, y)
        assert list(found) == list(expected)
        for name, estimate in found.items():
            scale = 100 if name == "coverage" else 1
            assert estimate.value == pytest.approx(scale * expected[name])
            assert estimate.low <= estimate.value <= estimate.high
            assert (estimate.n, estimate.method) == (200, "bootstrap")
        area = bootstrap_interval((p, y), statistic=lambda p, y: profile(p, y)["aurc"])
        assert (found["aurc"].low, found["aurc"].high) == pytest.approx(area)

    def test_what_a_record_lacks_is_not_known(self):
        record = pd.DataFrame({"label": [0, 1, 1], "loss": [0.5, 1.0, 0.6]})
        found = estimates.calibration_profile(record)
        assert found.pop("nll").value == pytest.approx(0.7)
        assert all(math.isnan(each.value) for each in found.values())
        record = pd.DataFrame({"label": [0, 1], "p0": [0.9, 0.4], "p1": [0.1, 0.6]})
        found = estimates.calibration_profile(record)
        assert math.isnan(found.pop("nll").value)
        assert not any(math.isnan(each.value) for each in found.values())
        record.loc[0, "p0"] = math.nan
        with pytest.raises(ValueError, match="NaN or infinite"):
            estimates.calibration_profile(record)

    @pytest.mark.parametrize(
        ("probabilities", "labels", "options", "message"),
        [
            (torch.randn(4, 3) * 5, torch.zeros(4, dtype=int), {}, "apply softmax first"),
            (torch.full((4, 2), float("nan")), torch.zeros(4, dtype=int), {}, "apply softmax"),
            (torch.full((4, 2), 0.5), torch.full((4,), 2), {}, "there are 2 classes"),
            (torch.full((4, 2), 0.5), torch.zeros(4, dtype=int), {"bins": 0}, "at least 1"),
            (torch.full((4, 2), 0.5), torch.zeros(4, dtype=int), {"risk": 1}, "below 1"),
            (torch.full((4, 2), 0.5), torch.zeros(4, dtype=int), {"risk": -0.1}, "below 1"),
        ],
    )
    def test_refusals(self, probabilities, labels, options, message):
        with pytest.raises(ValueError, match=message):
            profile(probabilities, labels, **options)


def test_a_confidence_of_one_has_a_bin_of_its_own():
    assert confidence_bins(np.array([0.0, 0.5, 0.99, 1.0]), 4, "width").tolist() == [0, 2, 3, 4]
    assert confidence_bins(np.array([0.9, 0.1, 0.5]), 2, "mass").tolist() == [1, 0, 0]


def test_a_temperature_by_hand():
    # Two classes, logit difference 2 on each image, right on 3 of 4: the best probability is 3/4,
    # so the difference must become log 3.
    logits = torch.tensor([[2.0, 0.0]] * 4)
    labels = torch.tensor([0, 0, 0, 1])
    assert fit_temperature(logits, labels) == pytest.approx(2 / math.log(3), rel=1e-3)


def test_scaling_keeps_the_ranking_and_softens():
    logits = torch.randn(50, 5) * 3
    soft = scaled(logits, 2.0)
    assert torch.equal(soft.argmax(1), logits.argmax(1))
    assert (soft.amax(1) <= logits.softmax(1).amax(1)).all()
    assert torch.equal(scaled(logits, 1.0), logits.softmax(1))


@pytest.mark.parametrize("logits", [torch.zeros(0, 3), torch.full((2, 3), torch.nan)])
def test_bad_logits_are_refused(logits):
    with pytest.raises(ValueError, match="finite logits"):
        fit_temperature(logits, torch.zeros(len(logits), dtype=torch.long))


def test_the_room_needs_no_torch():
    code = (
        "import sys, rslib.metrics.estimates, rslib.metrics.pareto; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
