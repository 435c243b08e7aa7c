"""The axes on which models are weighed against each other (paper 4.6), per image and resampled.

Every axis is a mean over images, or a ratio or sum of such means, so resampling is reweighting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rslib.corruptions import ALL19, mce
from rslib.metrics import estimates
from rslib.metrics.estimates import UNDEFINED, Estimate
from rslib.run.outcomes import Outcomes, outcomes
from rslib.settings.names import REFERENCE

if TYPE_CHECKING:
    from rslib.run import Run

RESAMPLES = 1000
_AT_ONCE = 100


class Axis(NamedTuple):
    """One objective: its name as a quantity of a table, and whether more is better."""

    name: str
    header: str
    unit: str
    higher: bool


AXES = (
    Axis("clean_accuracy", "Clean Acc (%)", "%", higher=True),
    Axis("pgd_accuracy", "PGD Acc (%)", "%", higher=True),
    Axis("mce", "mCE", "ratio", higher=False),
    Axis("iou_mean", "IoU Mean", "", higher=True),
    Axis("ece", "ECE", "", higher=False),
)
"""The five objectives, in the order of the paper's tables."""


class _Terms(NamedTuple):
    """An axis as a function of means over images: their values (n, k), and the function of (k,)."""

    images: np.ndarray
    values: np.ndarray
    estimate: Callable[..., Estimate]
    combine: Callable[[np.ndarray], np.ndarray] = lambda means: means[:, 0]


def measured(run: Run, name: str, axis: str) -> Estimate:
    """A model's place on one of :data:`AXES`, with its interval."""
    return _terms(run, name, axis).estimate(confidence=run.settings.evaluation.confidence)


def place(run: Run, names: Sequence[str], axes: Sequence[str]) -> np.ndarray:
    """Where models stand: (models, axes), the values of :func:`measured`."""
    terms = [_terms(run, name, axis) for name in names for axis in axes]
    means = [each.combine(each.values.mean(0, keepdims=True)) for each in terms]
    return np.array(means).reshape(len(names), len(axes))


def resampled(
    run: Run, names: Sequence[str], axes: Sequence[str], *, resamples: int = RESAMPLES
) -> np.ndarray:
    """Where models stand on resampled test images, the same images for all models and axes.

    Returns:
        (resamples, models, axes), in the units of :func:`measured`; seeded. Resampled calibration
        errors lie high, since bins get noisier; they are moved down by their mean excess.
    """
    terms = [_terms(run, name, axis) for name in names for axis in axes]
    clean = run.record(names[0], "clean")["image"].to_numpy()
    n, rng, parts = len(clean), np.random.default_rng(0), []
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float)
        parts.append(_weighed(terms, clean, weights))
    found = np.concatenate(parts, axis=1).T.reshape(resamples, len(names), len(axes))
    if "ece" in axes:
        column = list(axes).index("ece")
        found[:, :, column] -= found[:, :, column].mean(0) - place(run, names, ["ece"])[:, 0]
    return found


def _weighed(terms: Sequence[_Terms], clean: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each term's axis (terms, resamples) under weights (resamples, images) of clean images."""
    position = {image: place for place, image in enumerate(clean.tolist())}
    drawn: dict[bytes, np.ndarray] = {}  # models share their images
    found = []
    for each in terms:
        key = each.images.tobytes()
        if key not in drawn:
            drawn[key] = weights[:, [position[image] for image in each.images.tolist()]]
        found.append(each.combine(drawn[key] @ each.values / drawn[key].sum(1, keepdims=True)))
    return np.stack(found)


def _terms(run: Run, name: str, axis: str) -> _Terms:
    match axis:
        case "clean_accuracy" | "pgd_accuracy":
            record = run.record(name, axis.partition("_")[0])
            right = 100 * record["correct"].to_numpy(float)
            estimate = partial(estimates.accuracy, record["correct"])
            return _Terms(record["image"].to_numpy(), right[:, None], estimate)
        case "iou_mean":
            record = run.record(name, "saliency")
            overlap = record[f"iou_{run.mask_source}"].to_numpy(float)
            images, known = record["image"].to_numpy(), ~np.isnan(overlap)
            return _Terms(images[known], overlap[known, None], partial(estimates.mean, overlap))
        case "ece":
            record, bins = run.record(name, "clean"), run.settings.evaluation.ece_bins
            estimate = partial(estimates.calibration_error, record, bins=bins)
            gaps = estimates.binned_gaps(record, bins=bins)
            return _Terms(record["image"].to_numpy(), gaps, estimate, lambda m: np.abs(m).sum(1))
        case "mce":
            found, base, k = outcomes(run, name), outcomes(run, REFERENCE), len(ALL19)
            shares = [each.wrong[c].mean(0) for each in (found, base) for c in ALL19]

            def estimate(confidence: float) -> Estimate:
                score, ends = relative(found, base, ALL19, confidence)
                return ratio(score.mce, ends.mce, len(found.images))

            values = np.stack(shares, axis=1)
            return _Terms(found.images, values, estimate, lambda m: (m[:, :k] / m[:, k:]).mean(1))
    raise ValueError(f"no axis {axis!r}; there are: {', '.join(each.name for each in AXES)}")


def relative(
    found: Outcomes, base: Outcomes, names: Sequence[str], confidence: float
) -> tuple[mce.Score, mce.Score]:
    """The corruption errors of one model relative to another's, and their intervals."""
    ends = mce.interval(
        found.wrong,
        base.wrong,
        clean_wrong=found.clean_wrong,
        reference_clean_wrong=base.clean_wrong,
        names=names,
        confidence=confidence,
    )
    return mce.score(found.errors(), base.errors(), names=names), ends


def ratio(value: float | None, ends: tuple[float, float] | None, n: int) -> Estimate:
    """A relative corruption error over n images, where there is one, and its interval."""
    if value is None:
        return UNDEFINED
    return Estimate(value, n=n) if ends is None else Estimate(value, *ends, n, "bootstrap")
