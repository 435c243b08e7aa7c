"""Evidence for the claims that no comparison of a few cells settles: a function for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.report.labels import architecture_label
from rslib.settings.names import ALIGNED, BASELINES, ROBUSTNESS, baseline, control
from rslib.verdicts import measures
from rslib.verdicts.evidence.cells import Part, paired
from rslib.verdicts.reader import Reader, Unmeasured

# Each architecture before and after adversarial training.
_RESNETS, _VITS = ROBUSTNESS[:2], ROBUSTNESS[2:]


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


def away_from_objects(*classes: str) -> Callable[[Reader], Iterator[Part]]:
    """The object's share of the image less its share of the saliency, in points."""

    def measure(reader: Reader) -> Iterator[Part]:
        if not {*classes} <= {*reader.run.classes}:
            raise Unmeasured(f"no images of {', '.join(classes)}")
        priors, wanted = reader.priors(), [reader.run.classes.index(c) for c in classes]
        for name in BASELINES:
            record = reader.record(name, "saliency")
            covered = estimates.on_images(priors, record["image"])
            chosen = record["label"].isin(wanted) if classes else record["label"] >= 0
            for source in reader.run.mask_sources:
                pair = np.stack([covered[f"coverage_{source}"], record[f"mass_{source}"]], axis=1)
                gap = measures.difference(100 * pair[chosen], **reader.at)
                yield Part(architecture_label(name), gap, source)

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


def degradation(reader: Reader) -> Iterator[Part]:
    """Error under corruptions less error of the baselines on the same clean images, in points."""
    for name in BASELINES:
        found = reader.outcomes(name)
        wrong = np.mean([found.wrong[each].sum(0) for each in ALL19], axis=0) / len(SEVERITIES)
        pair = 100 * np.stack([wrong, found.clean_wrong], axis=1)
        yield Part(architecture_label(name), measures.difference(pair, **reader.at))


def noise_gains_most(reader: Reader) -> Iterator[Part]:
    """The gain under noise from adversarial training, less the largest of another category."""
    others = ("blur", "weather", "digital")
    return _of_gains(reader, lambda gain: gain("noise") - np.maximum.reduce([*map(gain, others)]))


def weather_lags(reader: Reader) -> Iterator[Part]:
    """Half of the gain under noise from adversarial training, less weather's least."""
    weather = CATEGORIES["weather"]
    return _of_gains(
        reader, lambda gain: gain("noise") / 2 - np.minimum.reduce([*map(gain, weather)])
    )


def _of_gains(reader: Reader, function: Callable[..., np.ndarray]) -> Iterator[Part]:
    """A function of what adversarial training takes off corruption errors, by architecture."""
    for pair in (_RESNETS, _VITS):
        shift = reader.shift(*pair)

        def measure(means: np.ndarray, shift=shift, pair=pair) -> np.ndarray:
            def gain(column: str) -> np.ndarray:
                before, after = (shift.score(means, name, column) for name in pair)
                return before - after

            return function(gain)

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


def breakage(reader: Reader) -> Iterator[Part]:
    """Rank correlation of surviving PGD with the share of corrupted versions that are right."""
    for _, name in (_RESNETS, _VITS):
        outcomes, pgd = reader.outcomes(name), reader.record(name, "pgd")
        common = np.isin(outcomes.images, pgd["image"])
        attacked = estimates.on_images(pgd, outcomes.images[common])
        right = attacked["clean_correct"].to_numpy(bool)
        survives = attacked["correct"].to_numpy(float)[right]
        found, _ = estimates.rank_correlation(
            survives, 1 - outcomes.share_wrong()[common][right], **reader.at
        )
        yield Part(architecture_label(name), found)


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


def reliance_reduced(reader: Reader) -> Iterator[Part]:
    """The control's :func:`background_reliance`, less that of the aligned model, in points."""
    for name in ALIGNED:
        pair = []
        for model in (control(name), name):
            record = reader.record(model, "swapped")
            pair.append(100 * (record["same_correct"] - record["other_correct"]).to_numpy())
        gap = measures.difference(np.stack(pair, axis=1), **reader.at)
        yield Part(architecture_label(name), gap)


def background_reliance(reader: Reader) -> Iterator[Part]:
    """Accuracy before a background of the same class less another class's, in points."""
    for name in BASELINES:
        known = reader.record(name, "swapped").dropna(subset=["clean_correct"])
        gap = estimates.paired_difference(
            known["same_correct"] > 0.5, known["other_correct"] > 0.5, **reader.at
        )
        yield Part(architecture_label(name), gap)


FUNCTIONS: dict[str, Callable[[Reader], Iterator[Part]]] = {
    "abstract_corruptions": corruption_count,
    "convergence": early_accuracy,
    "background_focus": away_from_objects(),
    "airplanes": away_from_objects("airplane"),
    "cats_and_dogs": away_from_objects("cat", "dog"),
    "iou_rises": iou_rise,
    "accuracy_stable": largest_fall,
    "shift_degrades": degradation,
    "noise_gains_most": noise_gains_most,
    "some_weather_minimal": weather_lags,
    "tradeoff_ratio": tradeoff_ratio,
    "alignment_keeps_robustness": robustness_kept,
    "weak_correlation": breakage,
    "other_methods": other_methods,
    "not_gaming": reliance_reduced,
    "conclusion_ratio": tradeoff_ratio,
    "conclusion_shortcuts": background_reliance,
    "conclusion_orthogonal": robustness_kept,
}
"""By the claim's name; each raises ``Unmeasured`` where records are missing."""
