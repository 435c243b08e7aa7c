"""Numbers from per-image records, each with its interval: what tables and figures state.

Intervals are over images and have the coverage ``confidence``. They speak of these weights, not of
the training method: that takes several seeds (:mod:`rslib.report.seeds`). Accuracies are in
percent, as the paper prints them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics import correlation
from rslib.metrics.bootstrap import RESAMPLES, bootstrap_interval, resampled
from rslib.metrics.calibration import (
    Ranks,
    classwise_gaps,
    confidence_bins,
    expected_calibration_error,
    squared_errors,
)
from rslib.metrics.shares import accuracy_interval, paired_interval

if TYPE_CHECKING:
    import pandas as pd

CLEAN_ACCURACY = "validation_accuracy"
RAW_ACCURACY = "raw_validation_accuracy"
ROBUST_ACCURACY = "validation_robust_accuracy"
NOISY_ACCURACY = "validation_noisy_accuracy"
"""Accuracy on validation images in a training's history: clean, raw, attacked, with noise."""

FEWEST_SEEDS = 3
"""From this many seeds on, methods are tested over seeds."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, in one unit; ``low`` and ``high`` are None where it has none.

    It rests on ``n`` images (None where it is not about images); ``method`` says how the interval
    was made, such as ``"Wilson"`` or ``"bootstrap"``.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str = ""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over the n seeds that know a number; NaN for n < 2."""

    n: int
    mean: float
    std: float


UNDEFINED = Estimate(math.nan)
"""A number that the records cannot give, such as the mean of no images."""


def robust_history(summary: Mapping[str, Any]) -> list[dict[str, float]]:
    """The epochs of a training, from :meth:`rslib.run.results.Results.summary`.

    Raises:
        ValueError: its training was validated on clean images only.
    """
    history = summary["history"]
    if ROBUST_ACCURACY not in history[0]:
        raise ValueError(
            f"{summary['name']} was not validated under attack while it was trained: name models "
            "of adversarial training or TRADES"
        )
    return history


def on_images(record: pd.DataFrame, images: Iterable[int]) -> pd.DataFrame:
    """The rows of a record about the given images (canonical test positions), in their order.

    Raises:
        ValueError: the record lacks some of them.
    """
    wanted = np.asarray(list(images))
    missing = int((~np.isin(wanted, record["image"])).sum())
    if missing:
        kind, model = (record.attrs.get(key, "") for key in ("evaluation", "model"))
        raise ValueError(
            f"the {kind} record of {model or 'a model'} holds {len(record)} images and lacks "
            f"{missing} of the {len(wanted)} to compare on: set its n in the settings as high as "
            "the other's, or leave it out"
        )
    return record.set_index("image").loc[wanted].reset_index()


def proportion(count: int, n: int, confidence: float) -> Estimate:
    """A share of n images in percent, with Wilson's interval."""
    low, high = accuracy_interval(count, n, confidence=confidence)
    return Estimate(100 * count / n, 100 * low, 100 * high, n, "Wilson")


def accuracy(correct: Iterable[bool], *, confidence: float = 0.95) -> Estimate:
    """The share of images that are right, (n,) bool, in percent, with Wilson's interval."""
    correct = np.asarray(correct, dtype=bool)
    return proportion(int(correct.sum()), len(correct), confidence)


def attack_success(record: pd.DataFrame, *, confidence: float = 0.95) -> Estimate:
    """The share of correctly classified images that an attack turns, in percent (paper 4.2).

    It equals 1 - attacked accuracy / clean accuracy on the same images, as in the paper's Table 2.
    The record has ``clean_correct`` and ``correct``. Of the images that are right when clean, which
    are its n, it is a proportion, so its interval is Wilson's.

    Raises:
        ValueError: no image is right when clean.
    """
    right = record["clean_correct"].to_numpy(bool)
    if not right.any():
        raise ValueError(
            f"attack success is undefined: the model of this {len(record)}-image record is right "
            "on none of them when clean. Train it longer, or attack more images"
        )
    held = int(record["correct"].to_numpy(bool)[right].sum())
    return proportion(int(right.sum()) - held, int(right.sum()), confidence)


def paired_difference(
    first: Iterable[bool], second: Iterable[bool], *, confidence: float = 0.95
) -> Estimate:
    """Accuracy less accuracy on the same images, (n,) bool each, in percentage points.

    The interval is Agresti and Min's (``shares.paired_interval``).
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    low, high = paired_interval(only_first, only_second, len(first), confidence=confidence)
    value = 100 * (only_first - only_second) / len(first)
    return Estimate(value, 100 * low, 100 * high, len(first), "Agresti-Min")


def extended(
    broad: Iterable[bool],
    first: Iterable[bool],
    second: Iterable[bool],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Accuracy on all n images under a dear test that was made on m of them, in percent.

    A cheap test was made on all, ``broad`` (n,), of which ``first`` (m,) are the m; ``second`` (m,)
    is the dear test's. The estimate is the difference estimator, mean(broad) - mean(first -
    second), cut to [0, 100]. Its interval joins Wilson's for the first mean and Agresti and Min's
    for the second by Zou and Donner's method (MOVER, Statistics in Medicine 27 (2008) 1693-1702),
    with their correlation, r sqrt(m / n) since the m are among the n; so it keeps a width where the
    two tests never differ. With m = n it is the accuracy itself, with Wilson's.

    Raises:
        ValueError: there is no image, or more than n of them, or two lengths of m.
    """
    broad, first, second = (np.asarray(each, dtype=bool) for each in (broad, first, second))
    n, m = len(broad), len(first)
    if len(second) != m or not 1 <= m <= n:
        raise ValueError(
            f"{m} and {len(second)} images of {n}: both tests are of the same images, among all"
        )
    if m == n:
        return accuracy(second, confidence=confidence)
    whole, gap = (
        accuracy(broad, confidence=confidence),
        paired_difference(first, second, confidence=confidence),
    )
    apart = first.astype(float) - second
    shared = 0.0
    if len(set(first)) > 1 and np.ptp(apart):
        shared = math.sqrt(m / n) * float(np.corrcoef(first, apart)[0, 1])

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 + other**2 - 2 * shared * one * other))

    value = whole.value - gap.value
    low = value - reach(whole.value - whole.low, gap.high - gap.value)
    high = value + reach(whole.high - whole.value, gap.value - gap.low)
    ends = (min(100.0, max(0.0, each)) for each in (value, low, high))
    return Estimate(*ends, n, "MOVER")


def certified_accuracy(
    record: pd.DataFrame, radius: float, *, confidence: float = 0.95
) -> Estimate:
    """The share of images certified right within an l2 radius, in percent (paper 3.2.2).

    The record is of smoothing, with ``correct`` (False where it abstains) and ``radius``, in [0, 1]
    pixel units. At radius 0 it is the accuracy of the smoothed classifier.
    """
    # Radii may have been stored in single precision.
    reached = record["radius"].to_numpy(float) >= radius * (1 - 1e-6)
    return accuracy(record["correct"].to_numpy(bool) & reached, confidence=confidence)


def mean_radius(record: pd.DataFrame, *, confidence: float = 0.95) -> Estimate:
    """The mean certified l2 radius of a smoothing record, as :func:`mean` (paper 3.2.2).

    Wrong answers and abstentions count as 0: it is the area under the curve of certified accuracy.
    """
    radii = np.where(record["correct"].to_numpy(bool), record["radius"].to_numpy(float), 0.0)
    return mean(radii, confidence=confidence)


def mean(values: Iterable[float], *, confidence: float = 0.95) -> Estimate:
    """The mean over images, (n,), with a bootstrap interval; NaN stands for "not known".

    Its n counts those known; :data:`UNDEFINED` if none is. Where all agree there is no interval.
    """
    known = _known(values)
    if not len(known):
        return UNDEFINED
    if np.ptp(known) == 0:
        return Estimate(float(known[0]), n=len(known))
    low, high = bootstrap_interval(known, confidence=confidence, resamples=RESAMPLES)
    return Estimate(float(known.mean()), low, high, len(known), "bootstrap")


def mean_difference(first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """:func:`mean` of one value of each image less another of the same image, (n,) each."""
    return mean(np.asarray(first, float) - np.asarray(second, float), confidence=confidence)


def difference_of_means(
    first: np.ndarray, second: np.ndarray, *, confidence: float = 0.95
) -> Estimate:
    """Mean of one group of images, (n,), less that of another, (m,), with Welch's interval.

    Each group has at least two; there is no interval where neither varies.
    """
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    value, n = float(first.mean() - second.mean()), len(first) + len(second)
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        return Estimate(value, n=n)
    compared = CompareMeans(DescrStatsW(first), DescrStatsW(second))
    low, high = compared.tconfint_diff(alpha=1 - confidence, usevar="unequal")
    return Estimate(value, float(low), float(high), n, "Welch")


def rank_correlation(
    first: np.ndarray,
    second: np.ndarray,
    given: Sequence[np.ndarray] = (),
    *,
    confidence: float = 0.95,
) -> tuple[Estimate, float | None]:
    """Rank correlation of two values of the same images, others held fixed, and its p-value.

    The interval is Fisher's, with Bonett and Wright's variance (Psychometrika 65 (2000) 23-28);
    the rest is :func:`rslib.metrics.rank_correlation`. It is :data:`UNDEFINED` and None where that
    raises a ValueError.
    """
    from scipy.stats import norm

    try:
        value, p_value = correlation.rank_correlation(first, second, given)
    except ValueError:
        return UNDEFINED, None
    n, effective = len(first), len(first) - len(given)
    if abs(value) == 1:
        return Estimate(value, n=n), p_value
    spread = math.sqrt((1 + value**2 / 2) / (effective - 3))
    reach = float(norm.ppf(0.5 + confidence / 2)) * spread
    low, high = (math.tanh(math.atanh(value) + end) for end in (-reach, reach))
    return Estimate(value, low, high, n, "Fisher"), p_value


def calibration_error(
    record: pd.DataFrame, *, bins: int = 15, binning: str = "width", confidence: float = 0.95
) -> Estimate:
    """Expected calibration error of a clean record (paper 4.1), with a bootstrap interval.

    The record has the class probabilities p0, p1, ... and ``label``; the bins are those of
    :func:`rslib.metrics.expected_calibration_error`.
    """
    kind = {"bins": bins, "binning": binning}
    value = expected_calibration_error(_probabilities(record), record["label"].to_numpy(), **kind)
    return replace(
        confidence_error(*_confidence(record), confidence=confidence, **kind), value=value
    )


def confidence_error(
    certainty: np.ndarray,
    right: np.ndarray,
    *,
    bins: int = 15,
    binning: str = "width",
    confidence: float = 0.95,
) -> Estimate:
    """Expected calibration error from largest probabilities (n,) and correctness (n,) alone.

    Resampled calibration errors lie above the estimate (bins get noisier), so their percentiles are
    moved down by their mean excess; the interval then surrounds the estimate. The estimate itself
    leans high, by about the same excess: even a perfectly calibrated model does not measure 0.
    """
    gap, place = certainty - right, confidence_bins(certainty, bins, binning)

    def error(drawn: np.ndarray) -> float:
        return float(np.abs(np.bincount(place[drawn], weights=gap[drawn])).sum() / len(drawn))

    return _resampled(error, len(gap), confidence, centered=True)


def calibration_profile(
    record: pd.DataFrame, *, bins: int = 15, risk: float = 0.05, confidence: float = 0.95
) -> dict[str, Estimate]:
    """The numbers of :func:`rslib.metrics.calibration.profile` of a clean record, with intervals.

    The record is as in :func:`calibration_error`, with each image's ``loss`` (cross-entropy, nats),
    which is finer than its rounded probabilities. By name, in this order: nll, brier,
    classwise_ece, aurc, coverage (in percent); :data:`UNDEFINED` where the record lacks what a
    number is made of. The classwise error's interval is centered as :func:`confidence_error` says,
    the others are percentiles of the bootstrap.

    Raises:
        ValueError: if the record holds NaN or infinite numbers, or risk is not in [0, 1).
    """
    found = dict.fromkeys(("nll", "brier", "classwise_ece", "aurc", "coverage"), UNDEFINED)
    p, n = _probabilities(record), len(record)
    if not np.isfinite(p).all() or ("loss" in record and not np.isfinite(record["loss"]).all()):
        raise ValueError("the clean record holds NaN or infinite numbers: evaluate the model anew")
    if "loss" in record:
        found["nll"] = mean(record["loss"], confidence=confidence)
    if p.shape[1] < 2:
        return found
    y = record["label"].to_numpy()
    ranks, (place, gap) = Ranks.of(p, y), classwise_gaps(p, y, bins)

    def classwise(drawn: np.ndarray) -> float:
        sums = np.bincount(place[drawn].ravel(), weights=gap[drawn].ravel())
        return float(np.abs(sums).sum() / (len(drawn) * gap.shape[1]))

    def area(drawn: np.ndarray) -> float:
        return ranks.drawn(drawn).area()

    def covered(drawn: np.ndarray) -> float:
        return ranks.drawn(drawn).coverage(risk)

    share = _resampled(covered, n, confidence)
    percent = {key: 100 * getattr(share, key) for key in ("value", "low", "high")}
    return found | {
        "brier": mean(squared_errors(p, y), confidence=confidence),
        "classwise_ece": _resampled(classwise, n, confidence, centered=True),
        "aurc": _resampled(area, n, confidence),
        "coverage": replace(share, **percent),
    }


def _resampled(
    statistic: Callable[[np.ndarray], float], n: int, confidence: float, *, centered: bool = False
) -> Estimate:
    """A statistic in [0, 1] of n images, with an interval that surrounds it.

    ``centered`` moves the percentiles down by the mean excess of resampled values.
    """
    value = statistic(np.arange(n))
    result = resampled(statistic, n, confidence=confidence, resamples=RESAMPLES)
    excess = float(result.bootstrap_distribution.mean()) - value if centered else 0.0
    low, high = (float(end) - excess for end in result.confidence_interval)
    low, high = max(0.0, min(value, low)), min(1.0, max(value, high))
    return Estimate(value, low, high, n, "bootstrap")


def binned_gaps(record: pd.DataFrame, *, bins: int = 15) -> np.ndarray:
    """Confidence less correctness of each image of a clean record, in the column of its bin.

    (n, bins), bins equally wide, 0 elsewhere. The calibration error is the sum of the absolute
    column means, also of images weighted or resampled.
    """
    certainty, right = _confidence(record)
    place = confidence_bins(certainty, bins, "width").clip(max=bins - 1)
    gaps = np.zeros((len(certainty), bins))
    gaps[np.arange(len(gaps)), place] = certainty - right
    return gaps


def reliability(
    record: pd.DataFrame, *, bins: int = 15, binning: str = "width", confidence: float = 0.95
) -> pd.DataFrame:
    """Accuracy against confidence of a clean record, for a reliability diagram (paper 4.1).

    One row per bin that holds an image: n, mean confidence, accuracy, and the ends low and high of
    its Wilson interval; all but n as fractions.
    """
    import pandas as pd

    certainty, right = _confidence(record)
    place = confidence_bins(certainty, bins, binning)
    rows = []
    for number in np.unique(place):
        inside = place == number
        found = accuracy(right[inside], confidence=confidence)
        ends = (found.value / 100, found.low / 100, found.high / 100)
        rows.append((found.n, float(certainty[inside].mean()), *ends))
    return pd.DataFrame(rows, columns=["n", "confidence", "accuracy", "low", "high"])


def spread(values: Iterable[float]) -> Spread:
    """Mean and standard deviation over seeds, (seeds,); NaN stands for "not known"."""
    known = _known(values)
    if len(known) < 2:
        return Spread(len(known), math.nan, math.nan)
    return Spread(len(known), float(known.mean()), float(known.std(ddof=1)))


def paired_p(differences: Iterable[float]) -> float | None:
    """The p-value of a paired t-test over seeds that two methods do not differ.

    It is of one method less the other, (seeds,), where NaN stands for "not known"; None for fewer
    than :data:`FEWEST_SEEDS`, or where the difference does not vary. Unlike McNemar's test, which
    asks the images about one pair of trained models, it asks the seeds about the way of training.
    """
    from scipy.stats import ttest_1samp

    known = _known(differences)
    if len(known) < FEWEST_SEEDS or np.allclose(known, known[0]):
        return None
    return float(ttest_1samp(known, 0.0).pvalue)


def _probabilities(record: pd.DataFrame) -> np.ndarray:
    classes = [c for c in record.columns if c[:1] == "p" and c[1:].isdigit()]
    return record[sorted(classes, key=lambda c: int(c[1:]))].to_numpy(float)


def _confidence(record: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Largest probability (n,) of a clean record, and whether its class is right (n,)."""
    probabilities = _probabilities(record)
    return probabilities.max(1), probabilities.argmax(1) == record["label"].to_numpy()


def _known(values: Iterable[float]) -> np.ndarray:
    found = np.asarray(list(values), float)
    return found[~np.isnan(found)]
