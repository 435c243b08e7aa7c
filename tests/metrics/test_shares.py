"""Shares of images and their tests: values by hand, and independent implementations."""

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from rslib.metrics import accuracy_interval, holm, mcnemar
from rslib.metrics.shares import paired_interval
from tests.helpers.known_run import wilson


class TestAccuracyInterval:
    def test_by_hand(self):
        # p = 0.5, n = 100: 0.5 -/+ 1.96 / (1 + 0.0384146) * sqrt(0.0025 + 0.000096036) = 0.0961685
        assert accuracy_interval(50, 100) == pytest.approx((0.4038315, 0.5961685), abs=1e-6)

    @pytest.mark.parametrize(("correct", "n"), [(948, 1000), (1, 7), (9480, 10_000)])
    def test_against_the_formula(self, correct, n):
        assert accuracy_interval(correct, n) == pytest.approx(np.array(wilson(correct, n)) / 100)

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

    @pytest.mark.slow
    def test_a_single_test_is_unchanged_and_nothing_exceeds_one(self):
        assert holm([0.02]) == pytest.approx([0.02])
        assert holm([0.9, 0.8]) == [1.0, 1.0]

    @pytest.mark.parametrize("p_values", [[], [1.2], [float("nan")], [[0.1]]])
    def test_refusals(self, p_values):
        with pytest.raises(ValueError, match="one or more numbers"):
            holm(p_values)


class TestPairedInterval:
    @pytest.mark.parametrize(
        ("first", "second", "n", "low", "high"),
        [
            # 0 of 52, 1.96 * sqrt(1) / 52 either way; 8 / 52 and 1.96 * sqrt(9 - 64 / 52) / 52.
            (0, 0, 50, -0.03769, 0.03769),
            (8, 0, 50, 0.04879, 0.25891),
            (0, 8, 50, -0.25891, -0.04879),
            # -1 / 3 and 1.96 * sqrt(2 - 1 / 3) / 3 = 0.8434 either way, which leaves [-1, 1].
            (0, 1, 1, -1, 0.51011),
        ],
    )
    def test_by_hand(self, first, second, n, low, high):
        assert paired_interval(first, second, n) == pytest.approx((low, high), abs=1e-5)

    def test_confidence_widens(self):
        wide = paired_interval(0, 0, 50, confidence=0.99)
        assert wide == pytest.approx((-2.5758 / 52, 2.5758 / 52), abs=1e-5)


def test_the_interval_of_an_accuracy_at_another_confidence_by_hand():
    # p = 0.5, n = 100, z = 2.5758: 0.5 -/+ z / (1 + z^2 / n) * sqrt(0.0025 + z^2 / (4 n^2)).
    z = 2.5758293
    half = z / (1 + z**2 / 100) * (0.0025 + z**2 / 40_000) ** 0.5
    found = accuracy_interval(50, 100, confidence=0.99)
    assert found == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)
