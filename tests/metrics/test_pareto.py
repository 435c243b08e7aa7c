"""Pareto fronts against cases worked out by hand and a slow independent definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rslib.metrics import pareto


def test_a_front_by_hand():
    #          accuracy, mCE
    values = [[90, 1.0], [80, 0.5], [70, 0.7], [90, 1.2], [60, 0.4]]
    assert pareto.front(values, [True, False]).tolist() == [True, True, False, False, True]


def test_equal_models_do_not_push_each_other_off():
    assert pareto.front([[1, 1], [1, 1], [0, 1]], [True, True]).tolist() == [True, True, False]


@settings(deadline=None)  # a busy machine takes its time
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1))
def test_the_front_is_what_no_other_model_dominates(points):
    higher = [True, False, True]
    signed = [(a, -b, c) for a, b, c in points]
    expected = [
        not any(all(y >= x for x, y in zip(p, q, strict=True)) and q != p for q in signed)
        for p in signed
    ]
    assert pareto.front(points, higher).tolist() == expected
    assert any(expected)


def test_membership_counts_resamples():
    first = [[1.0, 0.0], [0.0, 1.0]]  # both on the front
    second = [[1.0, 1.0], [0.0, 1.0]]  # the second model is dominated
    shares = pareto.membership(np.array([first, second, second, second]), [True, True])
    assert shares.tolist() == [1.0, 0.25]


@pytest.mark.parametrize("values", [[[1.0]], [1.0, 2.0], [[1.0, float("nan")]]])
def test_values_that_have_no_front_are_refused(values):
    with pytest.raises(ValueError, match="values"):
        pareto.front(values, [True, True])


def test_a_single_missing_value_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        pareto.front(np.array([[1.0, np.nan], [2.0, 1.0]]), [True, True])
