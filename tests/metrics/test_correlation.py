"""Rank correlation against SciPy's and the textbook formula."""

import numpy as np
import pytest

from rslib.metrics import rank_correlation


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


def test_the_p_value_of_a_partial_correlation_has_a_degree_of_freedom_less():
    from scipy.stats import t

    rng = np.random.default_rng(3)
    x, y, z = rng.normal(size=(3, 8))
    found = rank_correlation(x, y, [z])
    statistic = abs(found.value) * np.sqrt(5 / (1 - found.value**2))
    assert found.p_value == pytest.approx(2 * t.sf(statistic, 5))
    assert found.p_value != pytest.approx(2 * t.sf(statistic, 6), rel=1e-3)


@pytest.mark.parametrize("n", [4, 5, 8, 9])
def test_values_in_the_same_or_the_other_order_correlate_wholly(n):
    values = np.arange(n) ** 2.0
    for sign in (1, -1):
        value, p_value = rank_correlation(values, sign * values**3)
        assert value == pytest.approx(sign) and 0 <= p_value < 1e-12
