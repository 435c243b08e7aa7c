"""Calibration errors and temperatures against values worked out by hand."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from rslib.metrics import expected_calibration_error
from rslib.metrics.calibration import confidence_bins, fit_temperature, scaled


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
