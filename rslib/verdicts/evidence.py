"""Our numbers for each claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed. Most claims are comparisons of a few numbers of models, which ``claims.yaml``
describes; each of the others has a function (:data:`FUNCTIONS`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper import TABLES, Evidence
from rslib.report.labels import architecture_label, mask_label
from rslib.settings.names import ALIGNED, BASELINES, ROBUSTNESS, baseline, control
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
# Each architecture before and after adversarial training.
_RESNETS, _VITS = ROBUSTNESS[:2], ROBUSTNESS[2:]


@dataclass(frozen=True)
class Part:
    """One of the numbers that a claim is about.

    ``about`` is its subject, empty where the claim says it; ``masks`` the source of the masks,
    where the same is measured with several.
    """

    about: str
    estimate: Estimate
    masks: str = ""

    @property
    def label(self) -> str:
        """The subject, with its masks."""
        masks = f"{mask_label(self.masks)} masks" if self.masks else ""
        return ", ".join(filter(None, (self.about, masks)))


Source = tuple[Evidence, ...] | Callable[[Reader], Iterator[Part]]
"""Data or a function that numbers come from, always the same; none for an untestable claim."""


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
        ious = np.stack(reader.together([(name, "saliency") for name in names], f"iou_{masks}"))
        return measures.resampled(
            ious.T, lambda means: combine(*np.moveaxis(means, -1, 0)), **reader.at
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


def corruption_count(reader: Reader) -> Iterator[Part]:
    """Number of corruptions that the models were evaluated under."""
    columns = reader.record(BASELINES[0], "corruptions").columns
    yield Part("", Estimate(int(columns.str.fullmatch(r"\w+_5").sum())))


def early_accuracy(reader: Reader) -> Iterator[Part]:
    """Validation accuracy of ResNet-18 less ViT-Small's after a tenth of the epochs."""
    n, counts = reader.run.settings.data.validation_size, []
    for name in BASELINES:
        history = reader.summary(name)["history"]
        early = history[math.ceil(len(history) / 10) - 1]
        counts.append((round(early["validation_accuracy"] * n), n))
    yield Part("", measures.shares_apart(*counts, **reader.at))


def away_from_objects(reader: Reader, classes: Sequence[str] = ()) -> Iterator[Part]:
    """The object's share of the image less its share of the saliency, in points."""
    if not {*classes} <= {*reader.run.classes}:
        raise Unmeasured(f"no images of {', '.join(classes)}")
    priors, wanted = reader.priors(), [reader.run.classes.index(each) for each in classes]
    for name in BASELINES:
        record = reader.record(name, "saliency")
        covered = estimates.on_images(priors, record["image"])
        chosen = record["label"].isin(wanted) if classes else record["label"] >= 0
        for source in reader.run.mask_sources:
            pair = np.stack([covered[f"coverage_{source}"], record[f"mass_{source}"]], axis=1)
            gap = measures.difference(100 * pair[chosen], **reader.at)
            yield Part(architecture_label(name), gap, source)


def iou_rise(reader: Reader, name: str) -> Estimate:
    """IoU on validation images at the last epoch of alignment, less the control's."""
    ends = [reader.summary(each)["history"][-1] for each in (name, control(name))]
    if not all("validation_iou" in end for end in ends):
        raise Unmeasured(f"{name}: overlap while training")
    own, without = (end["validation_iou"] for end in ends)
    return Estimate(own - without, n=reader.run.settings.data.validation_size)


def largest_fall(reader: Reader, name: str) -> Estimate:
    """Baseline's validation accuracy less the lowest during alignment, in points."""
    start = reader.summary(baseline(name))
    kept = start["history"][start["best_epoch"] - 1]["validation_accuracy"]
    least = min(epoch["validation_accuracy"] for epoch in reader.summary(name)["history"])
    return Estimate(100 * (kept - least), n=reader.run.settings.data.validation_size)


def degradation(reader: Reader, name: str) -> Estimate:
    """Error under corruptions less error on the same clean images, in points."""
    found = reader.outcomes(name)
    wrong = np.mean([found.wrong[each].sum(0) for each in ALL19], axis=0) / len(SEVERITIES)
    return measures.difference(100 * np.stack([wrong, found.clean_wrong], axis=1), **reader.at)


def noise_gains_most(reader: Reader) -> Iterator[Part]:
    """The gain under noise from adversarial training, less the largest of another category."""
    others = ("blur", "weather", "digital")
    return _of_gains(reader, lambda noise, *gains: noise - np.maximum.reduce(gains), others)


def weather_lags(reader: Reader) -> Iterator[Part]:
    """Half of the gain under noise from adversarial training, less weather's least."""
    weather = CATEGORIES["weather"]
    return _of_gains(reader, lambda noise, *gains: noise / 2 - np.minimum.reduce(gains), weather)


def _of_gains(
    reader: Reader, function: Callable[..., np.ndarray], columns: Sequence[str]
) -> Iterator[Part]:
    """A function of what adversarial training takes off the errors under noise and others."""
    for pair in (_RESNETS, _VITS):
        shift = reader.shift(*pair)

        def measure(means: np.ndarray, shift=shift, pair=pair) -> np.ndarray:
            before, after = (
                [shift.score(means, name, column) for column in ("noise", *columns)]
                for name in pair
            )
            return function(*map(np.subtract, before, after))

        found = measures.resampled(shift.columns, measure, **reader.at)
        yield Part(architecture_label(pair[0]), found)


def tradeoff_ratio(reader: Reader) -> Iterator[Part]:
    """PGD accuracy gained over clean accuracy lost, on the images that PGD was run on."""
    wanted = [(name, "pgd") for name in _RESNETS]
    columns = [*reader.together(wanted, "clean_correct"), *reader.together(wanted)]
    found = measures.resampled(
        np.stack(columns, axis=1),
        lambda m: (m[..., 3] - m[..., 2]) / (m[..., 0] - m[..., 1]),
        **reader.at,
    )
    yield Part("", found)


def robustness_kept(reader: Reader) -> Iterator[Part]:
    """Accuracy under attack of aligned models less their controls', in points."""
    for name in ALIGNED:
        for evaluated in ("pgd", "fgsm"):
            # Where nothing is left to lose, nothing can be lost: the reader must see that.
            left = 100 * reader.record(control(name), evaluated)["correct"].mean()
            label = f"{architecture_label(name)}, {evaluated.upper()} (control: {left:.1f} %)"
            yield Part(label, paired(reader, (name, evaluated), (control(name), evaluated)))


def breakage(reader: Reader, name: str) -> Estimate:
    """Rank correlation of surviving PGD with the share of corrupted versions that are right."""
    outcomes, pgd = reader.outcomes(name), reader.record(name, "pgd")
    common = np.isin(outcomes.images, pgd["image"])
    attacked = estimates.on_images(pgd, outcomes.images[common])
    right = attacked["clean_correct"].to_numpy(bool)
    survives = attacked["correct"].to_numpy(float)[right]
    shares = 1 - outcomes.share_wrong()[common][right]
    return estimates.rank_correlation(survives, shares, **reader.at)[0]


def other_methods(reader: Reader) -> Iterator[Part]:
    """IoU of other methods' maps of aligned models less those of the baselines."""
    for name, own in zip(ALIGNED, ("gradcam", "rollout"), strict=True):
        columns = reader.record(name, "faithfulness").columns
        for column in columns[columns.str.endswith("_iou")]:
            method = column.removesuffix("_iou")
            if method not in (own, "random"):
                wanted = [(each, "faithfulness") for each in (name, baseline(name))]
                pair = np.stack(reader.together(wanted, column), axis=1)
                gap = measures.difference(pair, **reader.at)
                yield Part(f"{architecture_label(name)}, {method.replace('_', ' ')}", gap)


def reliance_reduced(reader: Reader, name: str) -> Estimate:
    """The control's :func:`background_reliance`, less that of the aligned model, in points."""
    records = [reader.record(model, "swapped") for model in (control(name), name)]
    pair = [100 * (each["same_correct"] - each["other_correct"]).to_numpy() for each in records]
    return measures.difference(np.stack(pair, axis=1), **reader.at)


def background_reliance(reader: Reader, name: str) -> Estimate:
    """Accuracy before a background of the same class less another class's, in points."""
    known = reader.record(name, "swapped").dropna(subset=["clean_correct"])
    same, other = (known[f"{which}_correct"] > 0.5 for which in ("same", "other"))
    return estimates.paired_difference(same, other, **reader.at)


def _each(
    names: Sequence[str], measure: Callable[[Reader, str], Estimate]
) -> Callable[[Reader], Iterator[Part]]:
    """One part a model, called by its architecture."""
    return lambda reader: (Part(architecture_label(name), measure(reader, name)) for name in names)


FUNCTIONS: dict[str, Callable[[Reader], Iterator[Part]]] = {
    "abstract_corruptions": corruption_count,
    "convergence": early_accuracy,
    "background_focus": away_from_objects,
    "airplanes": functools.partial(away_from_objects, classes=["airplane"]),
    "cats_and_dogs": functools.partial(away_from_objects, classes=["cat", "dog"]),
    "iou_rises": _each(ALIGNED, iou_rise),
    "accuracy_stable": _each(ALIGNED, largest_fall),
    "shift_degrades": _each(BASELINES, degradation),
    "noise_gains_most": noise_gains_most,
    "some_weather_minimal": weather_lags,
    "tradeoff_ratio": tradeoff_ratio,
    "alignment_keeps_robustness": robustness_kept,
    "weak_correlation": _each([_RESNETS[1], _VITS[1]], breakage),
    "other_methods": other_methods,
    "not_gaming": _each(ALIGNED, reliance_reduced),
    "conclusion_ratio": tradeoff_ratio,
    "conclusion_shortcuts": _each(BASELINES, background_reliance),
    "conclusion_orthogonal": robustness_kept,
}
"""By the claim's name; each raises ``Unmeasured`` where records are missing."""
