"""The axes on which models are weighed against each other (paper 4.6), per image and resampled.

Accuracy, accuracy under PGD, corruption error relative to the reference, overlap of saliency and
object, calibration. Every axis is a mean over images, or a ratio or sum of such means, so that
resampling images is reweighting them: all models and axes see the same resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rslib.corruptions import ALL19, mce
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper import Column
from rslib.run.outcomes import Outcomes, outcomes
from rslib.settings.names import REFERENCE

if TYPE_CHECKING:
    from rslib.run import Run

RESAMPLES = 1000
_AT_ONCE = 100


@dataclass(frozen=True)
class Axis:
    """One objective.

    Attributes:
        name: as a quantity of a table.
        column: its header and unit.
        higher: whether more is better.
    """

    name: str
    column: Column
    higher: bool


AXES = (
    Axis("clean_accuracy", Column("Clean Acc (%)", "%"), higher=True),
    Axis("pgd_accuracy", Column("PGD Acc (%)", "%"), higher=True),
    Axis("mce", Column("mCE", "ratio"), higher=False),
    Axis("iou_mean", Column("IoU Mean", ""), higher=True),
    Axis("ece", Column("ECE", ""), higher=False),
)
"""The five objectives, in the order of the paper's tables."""

PLANE = ("clean_accuracy", "pgd_accuracy")
"""The two of Figure 4's left panel."""


def measured(run: Run, name: str, axis: str) -> Estimate:
    """A model's place on one axis, with its interval.

    Args:
        run: whose records are read.
        name: of the model.
        axis: name of one of :data:`AXES`.

    Raises:
        rslib.store.records.RecordError: the record behind it has not been made.
    """
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

    Args:
        run: whose records are read.
        names: models.
        axes: names of some of :data:`AXES`.
        resamples: how often the test images are drawn, with replacement; seeded.

    Returns:
        (resamples, models, axes), in the units of :func:`measured`. Resampled calibration errors
        lie high, since bins get noisier; they are moved down by their mean excess.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    terms = [_terms(run, name, axis) for name in names for axis in axes]
    clean = run.record(names[0], "clean")["image"].to_numpy()
    found = np.concatenate(
        [np.stack(_weighed(terms, clean, weights)) for weights in _draws(len(clean), resamples)],
        axis=1,
    )
    found = found.T.reshape(resamples, len(names), len(axes))
    if "ece" in axes:
        column = list(axes).index("ece")
        excess = found[:, :, column].mean(0) - place(run, names, ["ece"])[:, 0]
        found[:, :, column] -= excess
    return found


def _draws(n: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each of n images is drawn: (some resamples, n) at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        yield rng.multinomial(n, np.full(n, 1 / n), size=count).astype(float)


class _Terms(NamedTuple):
    """An axis as a function of means over images: their values (n, k), and the function of (k,)."""

    images: np.ndarray
    values: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray]
    estimate: Callable[..., Estimate]


def _terms(run: Run, name: str, axis: str) -> _Terms:
    match axis:
        case "clean_accuracy" | "pgd_accuracy":
            record = run.record(name, axis.partition("_")[0])
            estimate = partial(estimates.accuracy, record["correct"])
            right = 100 * record["correct"].to_numpy(float)
            return _Terms(record["image"].to_numpy(), right[:, None], _only, estimate)
        case "iou_mean":
            record = run.record(name, "saliency")
            overlap = record[f"iou_{run.mask_source}"].to_numpy(float)
            known, estimate = ~np.isnan(overlap), partial(estimates.mean, overlap)
            return _Terms(record["image"].to_numpy()[known], overlap[known, None], _only, estimate)
        case "ece":
            record, bins = run.record(name, "clean"), run.settings.evaluation.ece_bins
            estimate = partial(estimates.calibration_error, record, bins=bins)
            gaps = estimates.binned_gaps(record, bins=bins)
            return _Terms(record["image"].to_numpy(), gaps, lambda m: np.abs(m).sum(1), estimate)
        case "mce":
            found, base = outcomes(run, name), outcomes(run, REFERENCE)
            shares = [each.wrong[c].mean(0) for each in (found, base) for c in ALL19]
            k = len(ALL19)
            return _Terms(
                found.images,
                np.stack(shares, axis=1),
                lambda m: (m[:, :k] / m[:, k:]).mean(1),
                partial(_mce, found, base),
            )
    raise ValueError(f"no axis {axis!r}; there are: {', '.join(each.name for each in AXES)}")


def _mce(found: Outcomes, base: Outcomes, *, confidence: float) -> Estimate:
    low, high = mce.interval(
        found.wrong,
        base.wrong,
        clean_wrong=found.clean_wrong,
        reference_clean_wrong=base.clean_wrong,
        names=ALL19,
        confidence=confidence,
    ).mce
    value = mce.score(found.errors(), base.errors(), names=ALL19).mce
    return Estimate(value, low, high, len(found.images), "bootstrap")


def _only(means: np.ndarray) -> np.ndarray:
    return means[:, 0]


def _weighed(terms: Sequence[_Terms], clean: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
    """Each term's axis (resamples,) under weights (resamples, images) of the clean images."""
    position = {image: place for place, image in enumerate(clean.tolist())}
    drawn: dict[bytes, np.ndarray] = {}  # models share their images
    found = []
    for each in terms:
        key = each.images.tobytes()
        if key not in drawn:
            drawn[key] = weights[:, [position[image] for image in each.images.tolist()]]
        total = drawn[key].sum(1, keepdims=True)
        found.append(each.combine(drawn[key] @ each.values / total))
    return found
