"""Numbers of models, and comparisons of them, as ``claims.yaml`` names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper import TABLES, Evidence
from rslib.report.labels import mask_label
from rslib.verdicts import measures
from rslib.verdicts.reader import Reader, Unmeasured

if TYPE_CHECKING:
    import pandas as pd

_CORRUPTION_ERRORS = TABLES["table5"].columns
_OF_TRAINING = ("training_hours", "parameters")
_ACCURACIES = {"clean_accuracy": "clean", "fgsm_accuracy": "fgsm", "pgd_accuracy": "pgd"}
_SUCCESSES = {"fgsm_success": "fgsm", "attack_success": "pgd"}
# The kinds of evidence as functions of the cells, which are numbers or arrays.
_KINDS: dict[str, Callable[..., Any]] = {
    "value": lambda only: only,
    "difference": lambda first, second: first - second,
    "quotient": lambda first, second: first / second,
    "percent": lambda first, second: 100 * (first / second - 1),
    "most": lambda first, *others: first - np.maximum.reduce(others),
    "least": lambda first, *others: np.minimum.reduce(others) - first,
}


@dataclass(frozen=True)
class Part:
    """One of the numbers that a claim is about.

    Attributes:
        about: what it is about; empty where the claim says it.
        estimate: the number.
        masks: the source of the masks, where the same is measured with several.
    """

    about: str
    estimate: Estimate
    masks: str = ""

    @property
    def label(self) -> str:
        """Its subject, with its masks."""
        masks = f"{mask_label(self.masks)} masks" if self.masks else ""
        return ", ".join(filter(None, (self.about, masks)))


def parts(reader: Reader, wanted: Evidence) -> Iterator[Part]:
    """Measure one piece of evidence: one part, or one for each source of masks.

    Raises:
        Unmeasured: a record or model was not made, and the evidence is not optional.
    """
    for source in reader.sources_of_masks if wanted.every_mask else [""]:
        try:
            found = _compared(reader, wanted, source)
        except Unmeasured:
            if wanted.optional:
                continue
            raise
        yield Part(wanted.about, found, source)


def value(reader: Reader, name: str, quantity: str, masks: str = "") -> Estimate:
    """A number of a model.

    Args:
        reader: of the run.
        name: the model's.
        quantity: see :class:`rslib.paper.Evidence`.
        masks: source of the masks; by default the one that models are aligned to.

    Raises:
        Unmeasured: the record or model was not made.
    """
    confidence = reader.confidence
    if quantity in _CORRUPTION_ERRORS:
        return _of_errors(reader, "value", [(name, quantity)])
    if quantity in _ACCURACIES:
        right = reader.answers(name, _ACCURACIES[quantity])["correct"]
        return estimates.accuracy(right, confidence=confidence)
    if quantity in _SUCCESSES:
        record = reader.record(name, _SUCCESSES[quantity])
        return estimates.attack_success(record, confidence=confidence)
    match quantity:
        case "ece":
            return estimates.calibration_error(
                reader.record(name, "clean"), bins=reader.bins, confidence=confidence
            )
        case "training_hours":
            return Estimate(reader.summary(name)["seconds"] / 3600)
        case "parameters":
            return Estimate(reader.summary(name)["parameters"])
        case "iou_mean" | "final_iou":
            found = reader.record(name, "saliency")[f"iou_{masks or reader.masks}"]
            return estimates.mean(found, confidence=confidence)
        case "iou_std":
            found = reader.record(name, "saliency")[f"iou_{masks or reader.masks}"]
            return Estimate(float(found.std(ddof=0)), n=int(found.notna().sum()))
        case "attention_share":
            inside = 100 * reader.record(name, "saliency")[f"mass_{masks or reader.masks}"]
            return estimates.mean(inside, confidence=confidence)
        case "alignment_loss":
            summary = reader.summary(name)
            best = summary["history"][summary["best_epoch"] - 1]
            if "validation_alignment_loss" not in best:
                raise Unmeasured(f"{name}: alignment loss")
            return Estimate(best["validation_alignment_loss"])
    raise ValueError(f"nothing measures {quantity!r}")


def paired(reader: Reader, first: tuple[str, str], second: tuple[str, str]) -> Estimate:
    """Accuracy less accuracy on the same images, in points.

    Args:
        reader: of the run.
        first: a model and the evaluation that it is right or wrong in.
        second: the same of what is taken off.
    """
    right = reader.together([first, second])
    return estimates.paired_difference(*right, confidence=reader.confidence)


def _compared(reader: Reader, wanted: Evidence, masks: str) -> Estimate:
    cells = [tuple(cell.split("/")) for cell in wanted.cells]
    names = [name for name, _ in cells]
    kind, quantity = wanted.kind, cells[0][1]
    if kind == "value":
        return value(reader, *cells[0], masks)
    if quantity in _CORRUPTION_ERRORS:
        return _of_errors(reader, kind, cells)
    if quantity in _OF_TRAINING:
        return Estimate(_KINDS[kind](*(value(reader, *cell).value for cell in cells)))
    if quantity == "iou_mean":
        saliency = [(name, "saliency") for name in names]
        ious = reader.together(saliency, f"iou_{masks or reader.masks}")
        return measures.resampled(
            np.stack(ious, axis=1),
            lambda means: _KINDS[kind](*np.moveaxis(means, -1, 0)),
            confidence=reader.confidence,
        )
    if kind == "difference" and quantity in _ACCURACIES:
        first, second = ((name, _ACCURACIES[each]) for name, each in cells)
        return paired(reader, first, second)
    if kind == "difference" and quantity in _SUCCESSES:
        first, second = (_turned(reader.record(name, _SUCCESSES[each])) for name, each in cells)
        return measures.shares_apart(first, second, confidence=reader.confidence)
    if kind == "difference" and quantity == "ece":
        return _calibration_difference(reader, *names)
    raise ValueError(f"nothing measures a {kind} of {quantity!r}")


def _of_errors(reader: Reader, kind: str, cells: list[tuple[str, ...]]) -> Estimate:
    """A function of Table 5's numbers, (model, column)."""
    shift = reader.shift(*dict.fromkeys(name for name, _ in cells))
    return measures.resampled(
        shift.columns,
        lambda means: _KINDS[kind](*(shift.score(means, *cell) for cell in cells)),
        confidence=reader.confidence,
    )


def _turned(record: pd.DataFrame) -> tuple[int, int]:
    """The number of images that an attack turns, and of those that are right when clean."""
    right = record["clean_correct"].to_numpy(bool)
    return int((right & ~record["correct"].to_numpy(bool)).sum()), int(right.sum())


def _calibration_difference(reader: Reader, first: str, second: str) -> Estimate:
    bins = reader.bins
    gaps = [
        estimates.binned_gaps(reader.record(name, "clean"), bins=bins) for name in (first, second)
    ]
    return measures.resampled(
        np.hstack(gaps),
        lambda m: np.abs(m[..., :bins]).sum(-1) - np.abs(m[..., bins:]).sum(-1),
        confidence=reader.confidence,
        centered=True,
    )
