"""Evidence on saliency and alignment (paper 4.3, 4.4, 4.6, 5.4)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper.statement import (
    ALIGNED,
    ALIGNED_RESNET,
    BASELINES,
    COMBINED,
    ROBUST,
)
from rslib.report.labels import architecture_label
from rslib.settings.names import baseline, control
from rslib.verdicts import measures
from rslib.verdicts.evidence.accuracy import paired
from rslib.verdicts.evidence.parts import Measure, Part
from rslib.verdicts.reader import Reader, Unmeasured


def iou_difference(
    reader: Reader, first: str, second: str, label: str, source: str = "", *, percent: bool = False
) -> Part:
    """IoU of the first model's maps less the second's, or by how many percent it is above."""
    column = f"iou_{source or reader.masks}"
    values = np.stack(reader.together([first, second], "saliency", column), axis=1)
    compare = measures.percent_more if percent else measures.difference
    return Part(label, compare(values, confidence=reader.confidence), source)


def iou_gain(*names: str, percent: bool = False) -> Measure:
    """What alignment adds to the IoU: over the baseline, and over the control without its term."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name in names:
            model = f"{architecture_label(name)} " * (len(names) > 1)
            for other, said in ((baseline(name), "baseline"), (control(name), "control")):
                yield iou_difference(reader, name, other, f"{model}over {said}", percent=percent)

    return measure


def robust_iou(reader: Reader) -> Iterator[Part]:
    """What adversarial training adds to the IoU."""
    for before, after in zip(BASELINES, ROBUST, strict=True):
        yield iou_difference(reader, after, before, architecture_label(after))


def iou_by_architecture(reader: Reader) -> Iterator[Part]:
    """IoU of ResNet-18 less that of ViT-Small, for each training and source of masks."""
    for resnet, vit in (BASELINES, ROBUST, ALIGNED):
        for source in reader.sources_of_masks:
            training = resnet.partition("-")[2]
            yield iou_difference(reader, resnet, vit, training, source)


def mean_iou(*names: str) -> Measure:
    """Mean IoU of some models."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name in names:
            found = reader.record(name, "saliency")[f"iou_{reader.masks}"]
            label = architecture_label(name) * (len(names) > 1)
            yield Part(label, estimates.mean(found, confidence=reader.confidence))

    return measure


def attention_share(reader: Reader) -> Iterator[Part]:
    """Share of the baselines' saliency that lies inside the masks, in percent."""
    for name in BASELINES:
        record = reader.record(name, "saliency")
        for source in reader.sources_of_masks:
            share = estimates.mean(100 * record[f"mass_{source}"], confidence=reader.confidence)
            yield Part(architecture_label(name), share, source)


def away_from_objects(*classes: str) -> Measure:
    """The object's share of the image less its share of the saliency, in points."""

    def measure(reader: Reader) -> Iterator[Part]:
        if not {*classes} <= {*reader.run.classes}:
            raise Unmeasured(f"no images of {', '.join(classes)}")
        priors, wanted = reader.priors(), [reader.run.classes.index(c) for c in classes]
        for name in BASELINES:
            record = reader.record(name, "saliency")
            covered = estimates.on_images(priors, record["image"])
            chosen = record["label"].isin(wanted) if classes else record["label"] >= 0
            for source in reader.sources_of_masks:
                pair = np.stack([covered[f"coverage_{source}"], record[f"mass_{source}"]], axis=1)
                gap = measures.difference(100 * pair[chosen], confidence=reader.confidence)
                yield Part(architecture_label(name), gap, source)

    return measure


def alignment_cost(*pairs: tuple[str, str]) -> Measure:
    """Clean accuracy that an aligned model loses to its baseline, in points."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name, start in pairs:
            label = architecture_label(name) * (len(pairs) > 1)
            yield paired(reader, "clean", start, name, label)

    return measure


def iou_rise(reader: Reader) -> Iterator[Part]:
    """IoU on validation images at the last epoch of alignment, less the control's."""
    for name in ALIGNED:
        ends = [reader.summary(each)["history"][-1] for each in (name, control(name))]
        if not all("validation_iou" in end for end in ends):
            raise Unmeasured(f"{name}: overlap while training")
        own, without = (end["validation_iou"] for end in ends)
        n = reader.run.settings.data.validation_size
        yield Part(architecture_label(name), Estimate(own - without, n=n))


def largest_fall(reader: Reader) -> Iterator[Part]:
    """Baseline's validation accuracy less the lowest during alignment, in points."""
    for name in ALIGNED:
        start = reader.summary(baseline(name))
        kept = start["history"][start["best_epoch"] - 1]["validation_accuracy"]
        least = min(epoch["validation_accuracy"] for epoch in reader.summary(name)["history"])
        n = reader.run.settings.data.validation_size
        yield Part(architecture_label(name), Estimate(100 * (kept - least), n=n))


def robustness_kept(reader: Reader) -> Iterator[Part]:
    """Accuracy under attack of aligned models less their controls', in points."""
    for name in ALIGNED:
        for evaluated in ("pgd", "fgsm"):
            # Where nothing is left to lose, nothing can be lost: the reader must see that.
            left = 100 * reader.record(control(name), evaluated)["correct"].mean()
            label = f"{architecture_label(name)}, {evaluated.upper()} (control: {left:.1f} %)"
            yield paired(reader, evaluated, name, control(name), label)


def other_methods(reader: Reader) -> Iterator[Part]:
    """IoU of other methods' maps of aligned models less those of the baselines."""
    for name in ALIGNED:
        own = "gradcam" if name == ALIGNED_RESNET else "rollout"
        columns = reader.record(name, "faithfulness").columns
        for column in columns[columns.str.endswith("_iou")]:
            method = column.removesuffix("_iou")
            if method not in (own, "random"):
                pair = reader.together([name, baseline(name)], "faithfulness", column)
                gap = measures.difference(np.stack(pair, axis=1), confidence=reader.confidence)
                yield Part(f"{architecture_label(name)}, {method.replace('_', ' ')}", gap)


def background_reliance(reader: Reader) -> Iterator[Part]:
    """Accuracy before a background of the same class less another class's, in points."""
    for name in BASELINES:
        known = reader.record(name, "swapped").dropna(subset=["clean_correct"])
        gap = estimates.paired_difference(
            known["same_correct"] > 0.5, known["other_correct"] > 0.5, confidence=reader.confidence
        )
        yield Part(architecture_label(name), gap)


def reliance_reduced(reader: Reader) -> Iterator[Part]:
    """The same of the control, less that of the aligned model, in points."""
    for name in ALIGNED:
        pair = []
        for model in (control(name), name):
            same, other = (
                reader.together([model], "swapped", f"{kind}_correct")[0]
                for kind in ("same", "other")
            )
            pair.append(100 * (same - other))
        gap = measures.difference(np.stack(pair, axis=1), confidence=reader.confidence)
        yield Part(architecture_label(name), gap)


def combined_iou(reader: Reader) -> Iterator[Part]:
    """IoU of the model trained for both less that of the adversarially trained one."""
    robust, both = COMBINED
    yield iou_difference(reader, both, robust, "over adversarial")
    without = f"{both}@beta=0.0"
    if reader.has(without, "saliency"):
        yield iou_difference(reader, both, without, "over control")


def combined_robustness(reader: Reader) -> Iterator[Part]:
    """Its accuracy under PGD and clean, less that of the adversarially trained one."""
    robust, both = COMBINED
    yield paired(reader, "pgd", both, robust, "PGD")
    yield paired(reader, "clean", both, robust, "clean")
