"""Rank correlation, plain and partial."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rslib.metrics._checks import array


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation in [-1, 1], and the two-sided p-value of there being none."""

    value: float
    p_value: float


def rank_correlation(
    first: ArrayLike, second: ArrayLike, given: Sequence[ArrayLike] = ()
) -> RankCorrelation:
    """Spearman's rank correlation of two values of the same images, with others held fixed.

    The values are (n,), and ties share their mean rank. The partial correlation is that of what is
    left of the two after the ranks of the k others have been regressed out of their ranks; its
    p-value is Student's with n - 2 - k degrees of freedom. Source: Kendall, Biometrika 32 (1942)
    277-283; Conover, "Practical Nonparametric Statistics", 1999, section 5.4.

    Raises:
        ValueError: if lengths differ, there are fewer than 4 + k images, or a value is not finite,
            or one of the two does not vary (given the others).
    """
    from scipy.stats import rankdata, t

    raw = [array("values", values).astype(float) for values in (first, second, *given)]
    n, k = len(raw[0]), len(given)
    if {each.shape for each in raw} != {(n,)} or n < 4 + k:
        raise ValueError(
            f"values have shapes {[each.shape for each in raw]}: (n,) each, with n at least {4 + k}"
        )
    if not all(np.isfinite(each).all() for each in raw):
        raise ValueError("values hold NaN or infinite numbers: drop those images first")
    ranks = [rankdata(each) for each in raw]
    held = np.column_stack([np.ones(n), *ranks[2:]])
    left = [rank - held @ np.linalg.lstsq(held, rank, rcond=None)[0] for rank in ranks[:2]]
    scale = math.sqrt(float((left[0] ** 2).sum()) * float((left[1] ** 2).sum()))
    if scale < 1e-9 * n**3:
        raise ValueError("one of the two values does not vary, so they have no correlation")
    value = min(1.0, max(-1.0, float(left[0] @ left[1]) / scale))
    if abs(value) == 1:
        return RankCorrelation(value, 0.0)
    freedom = n - 2 - k
    statistic = value * math.sqrt(freedom / (1 - value**2))
    return RankCorrelation(value, float(2 * t.sf(abs(statistic), freedom)))
