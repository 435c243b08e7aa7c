"""Metrics: hand-computed values, independent implementations, and clear refusals."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from rslib.metrics import (
    accuracy_interval,
    bootstrap_interval,
    expected_calibration_error,
    holm,
    mcnemar,
    mean_corruption_error,
    rank_correlation,
)


def wilson(correct, n, z=1.959963984540054):
    p = correct / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return center - half, center + half


def two_classes(*confidences):
    """Predictions of class 0 with these confidences."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p, 1 - p], 1)


class TestAccuracyInterval:
    def test_by_hand(self):
        # p = 0.5, n = 100: 0.5 -/+ 1.96 / (1 + 0.0384146) * sqrt(0.0025 + 0.000096036) = 0.0961685
        assert accuracy_interval(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)

    @pytest.mark.parametrize(("correct", "n"), [(948, 1000), (1, 7), (9480, 10_000)])
    def test_against_the_formula(self, correct, n):
        assert accuracy_interval(correct, n) == pytest.approx(wilson(correct, n))

    def test_ends_stay_in_range(self):
        low, high = accuracy_interval(0, 20)
        assert low == 0 and 0.1 < high < 0.2
        low, high = accuracy_interval(20, 20)
        assert 0.8 < low < 0.9 and high == 1

    def test_confidence_widens(self):
        low, high = accuracy_interval(80, 100)
        wide_low, wide_high = accuracy_interval(80, 100, confidence=0.99)
        assert wide_low < low < high < wide_high

    def test_plain_floats_from_numpy_counts(self):
        interval = accuracy_interval(np.int64(8), np.int64(10))
        assert all(type(end) is float for end in interval)

    @pytest.mark.parametrize(
        ("correct", "n", "message"),
        [(0, 0, "at least one image"), (5, 4, "between 0 and n=4"), (-1, 4, "between 0 and n=4")],
    )
    def test_impossible_counts(self, correct, n, message):
        with pytest.raises(ValueError, match=message):
            accuracy_interval(correct, n)

    def test_fractions_are_not_counts(self):
        with pytest.raises(TypeError, match="correct=0.8 must be a whole number"):
            accuracy_interval(0.8, 10)

    @pytest.mark.parametrize("confidence", [0, 1, 95])
    def test_confidence_is_a_fraction(self, confidence):
        with pytest.raises(ValueError, match="between 0 and 1, e.g. 0.95"):
            accuracy_interval(8, 10, confidence=confidence)


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


class TestBootstrapInterval:
    def test_mean_close_to_wilson(self):
        values = np.repeat([0, 1], [200, 300])
        assert bootstrap_interval(values) == pytest.approx(wilson(300, 500), abs=0.01)

    def test_seeded(self):
        values = np.arange(50.0)
        assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
        assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)

    def test_constant_values_have_no_spread(self):
        assert bootstrap_interval([0.25] * 10) == (0.25, 0.25)

    def test_arrays_are_resampled_together(self):
        # The two columns always differ by 1, unless images were drawn apart.
        a = np.arange(30.0)
        low, high = bootstrap_interval((a, a + 1), statistic=lambda x, y: float((y - x).mean()))
        assert low == high == 1

    def test_calibration_error(self):
        generator = torch.Generator().manual_seed(0)
        probabilities = torch.randn(200, 3, generator=generator).mul(2).softmax(1)
        labels = torch.randint(3, (200,), generator=generator)
        error = expected_calibration_error(probabilities, labels)
        low, high = bootstrap_interval(
            (probabilities, labels), statistic=expected_calibration_error, resamples=100
        )
        assert 0 < low < error < high < 1

    @pytest.mark.parametrize(
        ("values", "options", "message"),
        [
            ([1.0], {}, "at least 2"),
            ([1.0, float("nan")], {}, "NaN or infinite"),
            ([[1.0, 2.0], [3.0, 4.0]], {}, "one value per image"),
            (([1, 2], [1, 2, 3]), {"statistic": lambda a, b: 0.0}, "equal lengths"),
            ([1.0, 2.0], {"confidence": 95}, "between 0 and 1"),
        ],
    )
    def test_refusals(self, values, options, message):
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(values, **options)


class TestMcNemar:
    def test_by_hand(self):
        # a alone right on 1 image, b alone on 5: p = 2 * (1 + 6) / 2^6 = 14 / 64.
        a = [1, 1, 1, 0, 0, 0, 0, 0, 0]
        b = [1, 1, 0, 1, 1, 1, 1, 1, 0]
        result = mcnemar(a, b)
        assert (result.b, result.c, result.statistic) == (1, 5, 1.0)
        assert result.p_value == pytest.approx(14 / 64)

    def test_against_the_binomial_test(self):
        generator = torch.Generator().manual_seed(0)
        a = torch.rand(400, generator=generator) < 0.8
        b = torch.rand(400, generator=generator) < 0.7
        result = mcnemar(a, b)
        assert result.b + result.c == int((a != b).sum())
        expected = binomtest(result.b, result.b + result.c, 0.5).pvalue
        assert result.p_value == pytest.approx(expected)

    def test_symmetric(self):
        a, b = [1, 1, 1, 0, 1], [0, 0, 1, 1, 0]
        assert mcnemar(a, b).p_value == mcnemar(b, a).p_value
        assert mcnemar(a, b).b == mcnemar(b, a).c == 3

    def test_models_that_never_differ(self):
        assert mcnemar([True, False], [True, False]) == (0, 0, 0.0, 1.0)

    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            ([1, 0], [1], "needs the same ones"),
            ([], [], "at least one"),
            ([0.5, 1], [0, 1], "true or false"),
            ([[1, 0]], [[1, 0]], "true or false"),
        ],
    )
    def test_refusals(self, a, b, message):
        with pytest.raises(ValueError, match=message):
            mcnemar(a, b)


class TestHolm:
    def test_by_hand(self):
        # Smallest first: 3 * 0.01; then 2 * 0.03; then max(0.06, 1 * 0.04).
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_a_single_test_is_unchanged_and_nothing_exceeds_one(self):
        assert holm([0.02]) == pytest.approx([0.02])
        assert holm([0.9, 0.8]) == [1.0, 1.0]

    @pytest.mark.parametrize("p_values", [[], [1.2], [float("nan")], [[0.1]]])
    def test_refusals(self, p_values):
        with pytest.raises(ValueError, match="one or more numbers"):
            holm(p_values)


class TestMeanCorruptionError:
    reference = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5], "snow": [0.2, 0.2, 0.2, 0.2, 0.2]}

    def test_by_hand(self):
        errors = {"fog": [0.1, 0.1, 0.1, 0.2, 0.25], "snow": [0.1, 0.2, 0.3, 0.4, 0.5]}
        # 0.75 / 1.5 = 0.5 and 1.5 / 1.0 = 1.5; sums first, so a mean of ratios would differ.
        assert mean_corruption_error(errors, self.reference) == pytest.approx(1.0)
        assert mean_corruption_error(
            {**errors, "snow": [0.0] * 5}, self.reference
        ) == pytest.approx(0.25)

    def test_the_reference_scores_exactly_one(self):
        assert mean_corruption_error(self.reference, self.reference) == 1.0
        uneven = {f"c{k}": [k / 7 + s / 13 for s in range(5)] for k in range(1, 20)}
        assert mean_corruption_error(uneven, uneven) == 1.0

    def test_units_cancel_and_order_does_not_matter(self):
        errors = {"snow": [0.3] * 5, "fog": [0.15] * 5}
        percent = [
            {k: [100 * e for e in v] for k, v in t.items()} for t in (errors, self.reference)
        ]
        assert mean_corruption_error(errors, self.reference) == pytest.approx(
            mean_corruption_error(*percent)
        )

    @pytest.mark.parametrize(
        ("errors", "message"),
        [
            ({"fog": [0.1] * 5}, r"missing from errors \['snow'\]"),
            ({"fog": [0.1] * 5, "snow": [0.1] * 5, "rain": [0.1] * 5}, r"reference \['rain'\]"),
            ({"fog": [0.1] * 4, "snow": [0.1] * 5}, r"errors\['fog'\] must be 5"),
            ({"fog": [-0.1] * 5, "snow": [0.1] * 5}, "non-negative"),
            ({"fog": [float("nan")] * 5, "snow": [0.1] * 5}, "finite"),
        ],
    )
    def test_refusals(self, errors, message):
        with pytest.raises(ValueError, match=message):
            mean_corruption_error(errors, self.reference)

    def test_a_reference_without_errors(self):
        with pytest.raises(ValueError, match=r"reference\['fog'\] is zero"):
            mean_corruption_error({"fog": [0.1] * 5}, {"fog": [0.0] * 5})

    def test_nothing_to_average(self):
        with pytest.raises(ValueError, match="at least one"):
            mean_corruption_error({}, {})


# Rank correlation


def test_rank_correlation_against_scipy_and_by_hand():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, z = rng.normal(size=60), rng.normal(size=60)
    y = x + rng.normal(size=60)
    ours, theirs = rank_correlation(x, y), spearmanr(x, y)
    assert ours.value == pytest.approx(theirs.statistic)
    assert ours.p_value == pytest.approx(theirs.pvalue)
    # The textbook formula of the partial correlation, from the three plain ones.
    xy, xz, yz = (spearmanr(a, b).statistic for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert rank_correlation(x, y, [z]).value == pytest.approx(expected)


def test_what_a_common_cause_explains_is_no_partial_correlation():
    rng = np.random.default_rng(1)
    cause = rng.normal(size=2000)
    x, y = cause + rng.normal(size=2000), cause + rng.normal(size=2000)
    assert rank_correlation(x, y).value > 0.4
    partial = rank_correlation(x, y, [cause])
    assert abs(partial.value) < 0.06 and partial.p_value > 0.01


@pytest.mark.parametrize(
    ("first", "second", "given"),
    [
        ([1, 2, 3], [1, 2, 3], []),
        ([1, 2, 3, 4], [1, 2, 3], []),
        ([1, 1, 1, 1], [1, 2, 3, 4], []),
        ([1, 2, 3, 4, np.nan], [1, 2, 3, 4, 5], []),
        ([1, 2, 3, 4, 6], [2, 3, 1, 5, 4], [[1, 2, 3, 4, 5]]),  # nothing is left of the first
    ],
)
def test_rank_correlations_that_are_not_defined(first, second, given):
    with pytest.raises(ValueError, match="value"):
        rank_correlation(first, second, given)
