"""Metrics with the uncertainty they carry: accuracy, calibration, corruption error, paired tests.

Everything here takes arrays or tensors of outcomes and returns plain Python numbers; nothing runs a
model.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike

SEVERITIES = 5


class McNemar(NamedTuple):
    """Result of McNemar's exact test on two models judged on the same images.

    Attributes:
        b: Images that only the first model gets right.
        c: Images that only the second model gets right.
        statistic: The smaller of b and c.
        p_value: Two-sided exact binomial p-value of b against c; 1.0 where the models never differ.
    """

    b: int
    c: int
    statistic: float
    p_value: float


class RankCorrelation(NamedTuple):
    """Spearman's rank correlation, plain or partial.

    Attributes:
        value: In [-1, 1].
        p_value: Two-sided, that there is none.
    """

    value: float
    p_value: float


def accuracy_interval(correct: int, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of an accuracy.

    It keeps its coverage near 0 and 1, where the textbook interval collapses. It speaks of these
    weights on images like these; it says nothing about other training seeds.

    Source: Wilson, JASA 22 (1927) 209-212; Brown, Cai and DasGupta, Statistical Science 16 (2001)
    101-133.

    Args:
        correct: Number of images that are right.
        n: Number of images.
        confidence: Coverage, between 0 and 1.

    Returns:
        (low, high), both in [0, 1].

    Raises:
        TypeError: If a count is not a whole number.
        ValueError: If n is not positive, correct is not in 0..n, or confidence not between 0 and 1.
    """
    from statsmodels.stats.proportion import proportion_confint

    correct, n = _count("correct", correct), _count("n", n)
    if n < 1:
        raise ValueError(f"n={n}: an accuracy needs at least one image")
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} must be between 0 and n={n}")
    _check_confidence(confidence)
    low, high = proportion_confint(correct, n, alpha=1 - confidence, method="wilson")
    # Rounding can leave the ends of the range by a few 1e-17.
    return max(0.0, float(low)), min(1.0, float(high))


def bootstrap_interval(
    values: ArrayLike | Sequence[ArrayLike],
    *,
    statistic: Callable[..., float] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval over images, seeded.

    With no statistic, the interval of the mean of ``values``. With one, ``values`` is a sequence of
    arrays that share their first dimension; images are drawn with replacement, the same ones from
    every array::

        bootstrap_interval((probabilities, labels), statistic=expected_calibration_error)

    A resampled calibration error is biased upward (bins get noisier), so its interval leans high.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        values: One value per image (n,), or, with a statistic, several arrays (n, ...).
        statistic: Takes the resampled arrays as NumPy arrays and returns a number.
        confidence: Coverage, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the draws.

    Returns:
        (low, high).

    Raises:
        ValueError: If there are fewer than two images, lengths differ, a value is not finite, or
            confidence is not between 0 and 1.
    """
    from scipy.stats import bootstrap

    _check_confidence(confidence)
    if statistic is None:
        arrays, statistic = [_array("values", values).astype(float)], np.mean
        if arrays[0].ndim != 1:
            raise ValueError(
                f"values has shape {arrays[0].shape}; it holds one value per image (n,)"
            )
    else:
        arrays = [_array("values", array) for array in values]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or min(lengths) < 2:
        raise ValueError(
            f"values has lengths {sorted(lengths)}: equal lengths of at least 2 are needed"
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("values holds NaN or infinite numbers: drop or fix those images first")
    # Positions are resampled rather than values, so that arrays of any shape stay joined by image.
    result = bootstrap(
        (np.arange(lengths.pop()),),
        lambda index: float(statistic(*(array[index] for array in arrays))),
        vectorized=False,
        n_resamples=resamples,
        batch=100,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def expected_calibration_error(
    probabilities: ArrayLike | torch.Tensor,
    labels: ArrayLike | torch.Tensor,
    *,
    bins: int = 15,
    binning: str = "width",
) -> float:
    """Mean gap between confidence and accuracy, over bins of confidence (paper 4.1).

    ECE = sum over bins of (share of images) ``|accuracy - mean confidence|``, where confidence
    is the largest probability. The value depends on the bins, so two kinds are offered: ``"width"``
    divides [0, 1] into equal parts (Naeini, Cooper and Hauskrecht, AAAI 2015; Guo et al., ICML
    2017, arXiv:1706.04599; computed by torchmetrics, which gives a confidence of exactly 1 a bin of
    its own), ``"mass"`` into parts with equally many images (Nguyen and O'Connor, EMNLP 2015,
    arXiv:1508.05154). Where a run of equal confidences straddles two equal-mass bins, its correct
    images are spread evenly over it, so that the value does not depend on the order of images.

    Args:
        probabilities: (n, classes), rows in [0, 1] that sum to 1.
        labels: (n,) whole numbers below the number of classes.
        bins: Number of bins, at least 1.
        binning: "width" or "mass".

    Returns:
        The error, in [0, 1].

    Raises:
        ValueError: If shapes, ranges, bins or binning are wrong, or if logits were given.
    """
    probabilities, labels = _checked_predictions(probabilities, labels)
    bins = _count("bins", bins)
    if bins < 1:
        raise ValueError(f"bins={bins} must be at least 1")
    if binning == "width":
        return _equal_width_error(probabilities, labels, bins)
    if binning == "mass":
        return _equal_mass_error(probabilities, labels, bins)
    raise ValueError(f"binning={binning!r} is unknown: use 'width' or 'mass'")


def mcnemar(correct_a: ArrayLike | torch.Tensor, correct_b: ArrayLike | torch.Tensor) -> McNemar:
    """Compare two models on the same images by the images on which they differ.

    Source: McNemar, Psychometrika 12 (1947) 153-157; exact binomial form. It speaks of these two
    sets of weights; a claim about methods needs several seeds.

    Args:
        correct_a: (n,) bool, the first model is right.
        correct_b: (n,) bool, the second model is right, in the same order of images.

    Returns:
        The discordant counts, the statistic and the p-value.

    Raises:
        ValueError: If shapes differ, are empty or not (n,), or if values are not true or false.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact_test

    a, b = _outcomes("correct_a", correct_a), _outcomes("correct_b", correct_b)
    if a.shape != b.shape:
        raise ValueError(
            f"correct_a has {len(a)} images, correct_b {len(b)}: a paired test needs the same ones"
        )
    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    table = [[int((a & b).sum()), only_a], [only_b, int((~a & ~b).sum())]]
    result = exact_test(table, exact=True)
    return McNemar(only_a, only_b, float(result.statistic), min(1.0, float(result.pvalue)))


def holm(p_values: ArrayLike) -> list[float]:
    """Adjust p-values for having tested several hypotheses at once, by Holm's step-down method.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.

    Args:
        p_values: The p-values of one family of tests.

    Returns:
        The adjusted p-values in the same order: reject where one is below the level wanted.

    Raises:
        ValueError: If there are none, or one is not in [0, 1].
    """
    from statsmodels.stats.multitest import multipletests

    values = _array("p_values", p_values).astype(float)
    if values.ndim != 1 or len(values) == 0 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"p_values={p_values!r} must be one or more numbers in [0, 1]")
    return [float(value) for value in multipletests(values, method="holm")[1]]


def rank_correlation(
    first: ArrayLike, second: ArrayLike, given: Sequence[ArrayLike] = ()
) -> RankCorrelation:
    """Spearman's rank correlation of two values of the same images, with others held fixed.

    The partial correlation is that of what is left of the two after the ranks of the others have
    been regressed out of their ranks; its p-value is Student's with n - 2 - k degrees of freedom.

    Source: Kendall, Biometrika 32 (1942) 277-283; Conover, "Practical Nonparametric Statistics",
    1999, section 5.4.

    Args:
        first: (n,) one value an image; ties share their mean rank.
        second: (n,) the other.
        given: k arrays (n,) that are held fixed.

    Returns:
        The correlation and its p-value.

    Raises:
        ValueError: If lengths differ, there are fewer than 4 + k images, or a value is not finite,
            or one of the two does not vary (given the others).
    """
    from scipy.stats import rankdata, t

    ranks = [rankdata(_array("values", values).astype(float)) for values in (first, second, *given)]
    raw = [_array("values", values).astype(float) for values in (first, second, *given)]
    n, k = len(raw[0]), len(given)
    if {array.shape for array in raw} != {(n,)} or n < 4 + k:
        raise ValueError(
            f"values have shapes {[a.shape for a in raw]}: (n,) each, with n at least {4 + k}"
        )
    if not all(np.isfinite(array).all() for array in raw):
        raise ValueError("values hold NaN or infinite numbers: drop those images first")
    held = np.column_stack([np.ones(n), *ranks[2:]])
    left = [rank - held @ np.linalg.lstsq(held, rank, rcond=None)[0] for rank in ranks[:2]]
    scale = math.sqrt(float((left[0] ** 2).sum()) * float((left[1] ** 2).sum()))
    if scale < 1e-9 * n**3:
        raise ValueError("one of the two values does not vary, so they have no correlation")
    value = min(1.0, max(-1.0, float(left[0] @ left[1]) / scale))
    freedom = n - 2 - k
    if abs(value) == 1:
        return RankCorrelation(value, 0.0)
    statistic = value * math.sqrt(freedom / (1 - value**2))
    return RankCorrelation(value, float(2 * t.sf(abs(statistic), freedom)))


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]
) -> float:
    """Mean corruption error relative to a reference model (paper 3.5, eq. 14 and 15).

    CE of a corruption is the sum of the errors over its five severities; mCE is the mean over
    corruptions of CE / CE of the reference. (Equation 15 averages over severities; the factor 1/5
    cancels.) 1 is the reference's level, lower is better. Source: Hendrycks and Dietterich, ICLR
    2019, arXiv:1903.12261.

    Args:
        errors: For each corruption, the error (1 - accuracy) at severities 1 to 5.
        reference: The same for the reference model. Both in the same unit, fractions or percent.

    Returns:
        The mCE as a ratio (1.0, not 100).

    Raises:
        ValueError: If the corruptions differ or there are none, a row has not five finite
            non-negative errors, or the reference makes no error at all on a corruption.
    """
    if set(errors) != set(reference) or not errors:
        missing = sorted(set(reference) - set(errors))
        extra = sorted(set(errors) - set(reference))
        raise ValueError(
            "errors and reference must name the same corruptions, at least one: "
            f"missing from errors {missing}, missing from reference {extra}"
        )
    ratios = []
    for name in errors:
        total = _total_error("errors", name, errors[name])
        base = _total_error("reference", name, reference[name])
        if base == 0:
            raise ValueError(
                f"reference[{name!r}] is zero at every severity, so the ratio is undefined: report "
                "the unnormalized error or use another reference"
            )
        ratios.append(total / base)
    return math.fsum(ratios) / len(ratios)


def _equal_width_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int) -> float:
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        probabilities, labels, num_classes=probabilities.shape[1], n_bins=bins, norm="l1"
    )
    return float(error)


def _equal_mass_error(probabilities: torch.Tensor, labels: torch.Tensor, bins: int) -> float:
    confidence, prediction = (tensor.numpy() for tensor in probabilities.max(1))
    correct = (prediction == labels.numpy()).astype(float)
    # Images of equal confidence share their accuracy, so that a bin's edge may cut through them.
    _, group, size = np.unique(confidence, return_inverse=True, return_counts=True)
    correct = (np.bincount(group, weights=correct) / size)[group]
    gaps = (confidence - correct)[np.argsort(confidence, kind="stable")]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, bins)) / len(gaps))


def _checked_predictions(
    probabilities: ArrayLike | torch.Tensor, labels: ArrayLike | torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (n, C) in double precision and labels (n,), on the CPU."""
    p = torch.as_tensor(_array("probabilities", probabilities).astype(float))
    if p.ndim != 2 or p.shape[0] == 0 or p.shape[1] < 2:
        raise ValueError(f"probabilities has shape {tuple(p.shape)}; (n, classes) is needed")
    if not ((p >= -1e-6) & (p <= 1 + 1e-6)).all() or not ((p.sum(1) - 1).abs() < 1e-3).all():
        raise ValueError(
            "probabilities must lie in [0, 1] with rows that sum to 1: apply softmax first"
        )
    y = _array("labels", labels)
    if y.shape != (len(p),) or y.dtype.kind not in "iu":
        raise ValueError(
            f"labels has shape {y.shape} and dtype {y.dtype}; {len(p)} whole numbers are needed"
        )
    if y.min() < 0 or y.max() >= p.shape[1]:
        raise ValueError(f"labels span {y.min()} to {y.max()}; there are {p.shape[1]} classes")
    return p.clamp(0, 1), torch.as_tensor(y.astype(np.int64))


def _outcomes(name: str, values: ArrayLike | torch.Tensor) -> np.ndarray:
    """Right or wrong per image, as bool (n,)."""
    array = _array(name, values)
    if array.ndim != 1 or len(array) == 0 or not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be (n,) true or false values, at least one")
    return array.astype(bool)


def _total_error(which: str, name: str, row: Sequence[float]) -> float:
    array = _array(f"{which}[{name!r}]", row).astype(float)
    if array.shape != (SEVERITIES,) or not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(
            f"{which}[{name!r}] must be {SEVERITIES} finite non-negative errors, one per severity, "
            f"not {row!r}"
        )
    return math.fsum(array)


def _array(name: str, values: ArrayLike | torch.Tensor) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype == object:
        raise ValueError(f"{name} must be a regular array of numbers, not {values!r}")
    return array


def _count(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a whole number") from None


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must be between 0 and 1, e.g. 0.95")
