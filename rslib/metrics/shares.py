"""Shares of images: intervals of one and of two, the paired test of two, and many tests at once."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rslib.metrics._checks import array, check_confidence, whole


class McNemar(NamedTuple):
    """Result of McNemar's exact test on two models judged on the same images.

    Only the first model is right on ``b`` images, only the second on ``c``; the statistic is the
    smaller of the two, the p-value the two-sided exact binomial one, 1.0 where they never differ.
    """

    b: int
    c: int
    statistic: float
    p_value: float


def accuracy_interval(correct: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (low, high), in [0, 1], of ``correct`` right images of n.

    It keeps its coverage near 0 and 1, where the textbook interval collapses. It speaks of these
    weights on images like these; it says nothing about other training seeds. Source: Wilson, JASA
    22 (1927) 209-212; Brown, Cai and DasGupta, Statistical Science 16 (2001) 101-133.

    Raises:
        TypeError: if a count is not a whole number.
        ValueError: if n is not positive, correct is not in 0..n, or confidence not between 0 and 1.
    """
    from statsmodels.stats.proportion import proportion_confint

    correct, n = whole("correct", correct), whole("n", n)
    if n < 1:
        raise ValueError(f"n={n}: an accuracy needs at least one image")
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} must be between 0 and n={n}")
    check_confidence(confidence)
    low, high = proportion_confint(correct, n, alpha=1 - confidence, method="wilson")
    # Rounding can leave the ends of the range by a few 1e-17.
    return max(0.0, float(low)), min(1.0, float(high))


def paired_interval(
    only_first: int, only_second: int, n: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval (low, high) of the difference of two shares of the same n images, in [-1, 1].

    It rests on the images on which the two differ, with half an image added to each cell of the
    2 x 2 table, so that two models that never differ still keep some uncertainty. Source: Agresti
    and Min, Statistics in Medicine 24 (2005) 729-740.
    """
    from scipy.stats import norm

    gap, more = only_first - only_second, n + 2
    spread = math.sqrt(only_first + only_second + 1 - gap**2 / more) / more
    reach = float(norm.ppf(0.5 + confidence / 2)) * spread
    return max(-1.0, gap / more - reach), min(1.0, gap / more + reach)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Compare two models by the images, (n,) bool each in one order, on which only one is right.

    Source: McNemar, Psychometrika 12 (1947) 153-157; exact binomial form. It speaks of these two
    sets of weights; a claim about methods needs several seeds.

    Raises:
        ValueError: if shapes differ, are empty or not (n,), or if values are not true or false.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    a, b = _outcomes("correct_a", correct_a), _outcomes("correct_b", correct_b)
    if a.shape != b.shape:
        raise ValueError(
            f"correct_a has {len(a)} images, correct_b {len(b)}: a paired test needs the same ones"
        )
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    result = exact_test([[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]], exact=True)
    return McNemar(only_a, only_b, float(result.statistic), min(1.0, float(result.pvalue)))


def holm(p_values: ArrayLike) -> list[float]:
    """Adjust the p-values of one family of tests by Holm's step-down method, in their order.

    Reject where an adjusted one is below the level wanted. Source: Holm, Scandinavian Journal of
    Statistics 6 (1979) 65-70.

    Raises:
        ValueError: if there are none, or one is not in [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    values = array("p_values", p_values).astype(float)
    if values.ndim != 1 or len(values) == 0 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p_values={p_values!r} must be one or more numbers in [0, 1]")
    return [float(value) for value in multipletests(values, method="holm")[1]]


def _outcomes(name: str, values: ArrayLike) -> np.ndarray:
    """Right or wrong per image, as bool (n,)."""
    found = array(name, values)
    if found.ndim != 1 or len(found) == 0 or not np.isin(found, (0, 1)).all():
        raise ValueError(f"{name} must be (n,) true or false values, at least one")
    return found.astype(bool)
