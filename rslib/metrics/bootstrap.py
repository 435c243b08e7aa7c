"""The percentile bootstrap over images, seeded; and the sign-flip test, its sibling.

A seed draws the same images whichever function is called, so intervals of the same images are
comparable. Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rslib.metrics._checks import array, check_confidence

RESAMPLES = 1000
"""Resamples, unless a caller says otherwise."""

# Resamples or signs that are held at once, to bound the memory.
_CHUNK = 100
_SIGNS = 500
_SIGN_DRAWS = 9_999


def bootstrap_interval(
    values: ArrayLike | Sequence[ArrayLike],
    *,
    statistic: Callable[..., float] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval over images, seeded: (low, high).

    Without a statistic it is that of the mean. With one, images are drawn with replacement, the
    same ones from every array::

        bootstrap_interval((probabilities, labels), statistic=expected_calibration_error)

    Values are one per image (n,), or, with a statistic, several arrays (n, ...); it takes them
    resampled, as NumPy arrays, and returns a number. A resampled calibration error is biased upward
    (bins get noisier), so its interval leans high.

    Raises:
        ValueError: if there are fewer than two images, lengths differ, a value is not finite, or
            confidence is not between 0 and 1.
    """
    check_confidence(confidence)
    if statistic is None:
        arrays, statistic = [array("values", values).astype(float)], np.mean
        if arrays[0].ndim != 1:
            raise ValueError(
                f"values has shape {arrays[0].shape}; it holds one value per image (n,)"
            )
    else:
        arrays = [array("values", each) for each in values]
    lengths = {len(each) for each in arrays}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            f"values has lengths {sorted(lengths)}: equal lengths of at least 2 are needed"
        )
    if not all(np.isfinite(each).all() for each in arrays):
        raise ValueError("values holds NaN or infinite numbers: drop or fix those images first")

    def drawn(places: np.ndarray) -> float:
        return float(statistic(*(each[places] for each in arrays)))

    found = resampled(
        drawn, lengths.pop(), confidence=confidence, resamples=resamples, seed=seed
    ).confidence_interval
    return float(found.low), float(found.high)


def resampled(
    statistic: Callable[[np.ndarray], float],
    n: int,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Any:
    """A statistic of n images on images drawn anew.

    The statistic takes the positions of the images drawn, (n,), and returns a number. The result is
    SciPy's: ``confidence_interval`` (percentile) and ``bootstrap_distribution``.
    """
    from scipy.stats import bootstrap

    return bootstrap(
        (np.arange(n),),
        statistic,
        vectorized=False,
        n_resamples=resamples,
        batch=_CHUNK,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )


def resampled_means(
    columns: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Means (resamples, k) of finite columns (n, k) over images drawn anew.

    For statistics that are functions of means. Much faster than :func:`resampled`, and in single
    precision: whole numbers are summed exactly.
    """
    drawn = _counts(len(columns), resamples, seed)
    values = np.asarray(columns, np.float32)
    chunks = range(0, resamples, _CHUNK)
    sums = [drawn[start : start + _CHUNK].astype(np.float32) @ values for start in chunks]
    return np.concatenate(sums).astype(float) / len(columns)


@functools.lru_cache(maxsize=4)
def _counts(n: int, resamples: int, seed: int) -> np.ndarray:
    """Times that each of n images is drawn in each resample, (resamples, n)."""
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, n), np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(n, size=n), minlength=n)
    return counts


def sign_flips(gaps: np.ndarray) -> np.ndarray:
    """Test whether paired differences are as often above 0 as below, by flipping their signs.

    If two models are alike, each image's difference could as well have had the other sign. The
    p-value is the share of 9,999 seeded draws of signs, and of what was seen, in which the sum is
    as far from 0 as that seen or further: (k,), two-sided, from differences of n images, whole
    numbers (n, k). Source: Fisher, "The Design of Experiments", 1935, section 21.
    """
    gaps = np.asarray(gaps, np.float32)
    seen, generator = np.abs(gaps.sum(0)), np.random.default_rng(0)
    reached = np.ones(gaps.shape[1])
    for start in range(0, _SIGN_DRAWS, _SIGNS):
        draws = min(_SIGNS, _SIGN_DRAWS - start)
        signs = generator.integers(2, size=(draws, len(gaps)), dtype=np.int8)
        reached += (np.abs((2 * signs - 1).astype(np.float32) @ gaps) >= seen).sum(0)
    return reached / (_SIGN_DRAWS + 1)
