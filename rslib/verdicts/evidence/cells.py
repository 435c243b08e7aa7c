"""Numbers of models, and comparisons of them, as ``claims.yaml`` names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper import TABLES, Evidence
from rslib.report.labels import mask_label
from rslib.verdicts import measures
from rslib.verdicts.reader import Reader, Unmeasured

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


Source = tuple[Evidence, ...] | Callable[[Reader], Iterator[Part]]
"""Data or a function that numbers come from, none for an untestable claim. The same source gives
the same numbers."""


def parts(reader: Reader, source: Source) -> Iterator[Part]:
    """Measure: one part for each piece of evidence, or one for each source of masks.

    Raises:
        Unmeasured: a record or model was not made, and the evidence is not optional.
    """
    if callable(source):
        yield from source(reader)
        return
    for wanted in source:
        for masks in reader.run.mask_sources if wanted.every_mask else [""]:
            try:
                found = _compared(reader, wanted, masks or reader.run.mask_source)
            except Unmeasured:
                if wanted.optional:
                    continue
                raise
            yield Part(wanted.about, found, masks)


def _value(reader: Reader, name: str, quantity: str, masks: str) -> Estimate:
    """A number of a model; :class:`rslib.paper.Evidence` lists the quantities."""
    if quantity in _ACCURACIES:
        right = reader.answers(name, _ACCURACIES[quantity])["correct"]
        return estimates.accuracy(right, **reader.at)
    if quantity in _SUCCESSES:
        return estimates.attack_success(reader.record(name, _SUCCESSES[quantity]), **reader.at)
    match quantity:
        case "ece":
            clean, bins = reader.record(name, "clean"), reader.run.settings.evaluation.ece_bins
            return estimates.calibration_error(clean, bins=bins, **reader.at)
        case "training_hours":
            return Estimate(reader.summary(name)["seconds"] / 3600)
        case "parameters":
            return Estimate(reader.summary(name)["parameters"])
        case "iou_mean" | "final_iou":
            return estimates.mean(reader.record(name, "saliency")[f"iou_{masks}"], **reader.at)
        case "iou_std":
            found = reader.record(name, "saliency")[f"iou_{masks}"]
            return Estimate(float(found.std(ddof=0)), n=int(found.notna().sum()))
        case "attention_share":
            inside = 100 * reader.record(name, "saliency")[f"mass_{masks}"]
            return estimates.mean(inside, **reader.at)
        case "alignment_loss":
            summary = reader.summary(name)
            best = summary["history"][summary["best_epoch"] - 1]
            if "validation_alignment_loss" not in best:
                raise Unmeasured(f"{name}: alignment loss")
            return Estimate(best["validation_alignment_loss"])
    raise ValueError(f"nothing measures {quantity!r}")


def paired(reader: Reader, first: tuple[str, str], second: tuple[str, str]) -> Estimate:
    """Accuracy of a (model, evaluation) less another's on the same images, in points."""
    return estimates.paired_difference(*reader.together([first, second]), **reader.at)


def _compared(reader: Reader, wanted: Evidence, masks: str) -> Estimate:
    cells = [tuple(cell.split("/")) for cell in wanted.cells]
    names = [name for name, _ in cells]
    kind, quantity, combine = wanted.kind, cells[0][1], _KINDS[wanted.kind]
    if quantity in _CORRUPTION_ERRORS:
        shift = reader.shift(*dict.fromkeys(names))
        return measures.resampled(
            shift.columns,
            lambda means: combine(*(shift.score(means, *cell) for cell in cells)),
            **reader.at,
        )
    if kind == "value":
        return _value(reader, *cells[0], masks)
    if quantity in _OF_TRAINING:
        return Estimate(combine(*(_value(reader, *cell, masks).value for cell in cells)))
    if quantity == "iou_mean":
        ious = reader.together([(name, "saliency") for name in names], f"iou_{masks}")
        return measures.resampled(
            np.stack(ious, axis=1),
            lambda means: combine(*np.moveaxis(means, -1, 0)),
            **reader.at,
        )
    if kind == "difference" and quantity in _ACCURACIES:
        return paired(reader, *((name, _ACCURACIES[each]) for name, each in cells))
    if kind == "difference" and quantity in _SUCCESSES:
        shares = []
        for name, each in cells:
            record = reader.record(name, _SUCCESSES[each])
            right = record["clean_correct"].to_numpy(bool)
            turned = right & ~record["correct"].to_numpy(bool)
            shares.append((int(turned.sum()), int(right.sum())))
        return measures.shares_apart(*shares, **reader.at)
    if kind == "difference" and quantity == "ece":
        bins = reader.run.settings.evaluation.ece_bins
        records = [reader.record(name, "clean") for name in names]
        return measures.resampled(
            np.hstack([estimates.binned_gaps(record, bins=bins) for record in records]),
            lambda m: np.abs(m[..., :bins]).sum(-1) - np.abs(m[..., bins:]).sum(-1),
            centered=True,
            **reader.at,
        )
    raise ValueError(f"nothing measures a {kind} of {quantity!r}")
