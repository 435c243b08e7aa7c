"""Our numbers for each claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed. Most claims are comparisons of a few numbers of models, which ``claims.yaml``
describes; each of the others has a function (:data:`FUNCTIONS`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES
from rslib.metrics import estimates
from rslib.metrics.estimates import UNDEFINED, Estimate
from rslib.paper import TABLES, Evidence
from rslib.paper.consistency import parameter_count
from rslib.report.labels import architecture_label, mask_label, training_phrase
from rslib.settings.names import (
    ALIGNED,
    BASELINES,
    REFERENCE,
    ROBUSTNESS,
    architecture,
    baseline,
    control,
)
from rslib.settings.names import parts as parts_of
from rslib.settings.plan import plan
from rslib.verdicts import measures, outside
from rslib.verdicts.reader import Reader, Unmeasured, Untested

_CORRUPTION_ERRORS = TABLES["table5"].columns
_OF_TRAINING = ("training_hours", "parameters")
_ACCURACIES = {"clean_accuracy": "clean", "fgsm_accuracy": "fgsm", "pgd_accuracy": "pgd"}
_SUCCESSES = {"fgsm_success": "fgsm", "attack_success": "pgd"}
# The record that a quantity is read from, where it is not the one of saliency.
_RECORDS = {"fgsm_accuracy": "fgsm", "pgd_accuracy": "pgd"} | _SUCCESSES
_SALIENCY = {"iou_mean": ("iou", 1), "attention_share": ("mass", 100)}
_REFERENCES = {REFERENCE: "our AlexNet", outside.NAME: "AutoAttack's ResNet-18"}
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
PAPER_BETA = 0.1
"""The weight of the alignment loss that the paper found best (3.4.1)."""


@dataclass(frozen=True)
class Part:
    """One of the numbers that a claim is about.

    Attributes:
        about: its subject, empty where the claim says it.
        variant: with what it was measured, where the same is measured with several: the source of
            the masks, the reference of corruption errors, the method of explanation.
        varied: what these are, for a reader.
        reading: how the paper's words are read, where they can be read in several ways.
        levels: the two numbers that are compared, in percent; empty if they are none.
        unmeasured: why there is no estimate.
    """

    about: str
    estimate: Estimate
    variant: str = ""
    varied: str = "sources of masks"
    reading: str = ""
    levels: tuple[float, ...] = ()
    unmeasured: str = ""

    @property
    def label(self) -> str:
        """The subject, its reading, and with what it was measured."""
        return ", ".join(filter(None, (self.about, self.reading, self.variant)))


Source = tuple[Evidence, ...] | Callable[[Reader], Iterator[Part]]
"""Data or a function that numbers come from, always the same; none for an untestable claim."""


def parts(reader: Reader, source: Source) -> Iterator[Part]:
    """Measure: one part for each piece of evidence, or one for each source of masks or reference.

    Raises:
        Unmeasured: a record or model was not made, and the evidence is not optional.
    """
    if callable(source):
        yield from source(reader)
        return
    for wanted in source:
        try:
            yield from _parts(reader, wanted)
        except Unmeasured:
            if not wanted.optional:
                raise


def _parts(reader: Reader, wanted: Evidence) -> Iterator[Part]:
    cells = [tuple(cell.split("/")) for cell in wanted.cells]
    about = wanted.about
    if not wanted.as_written:
        needs = {_RECORDS.get(quantity, "saliency") for _, quantity in cells}
        chosen = {name: reader.aligned(name, *needs) for name, _ in cells if name in ALIGNED}
        cells = [(chosen.get(name, name), quantity) for name, quantity in cells]
        about = _named(about, chosen)
    if wanted.every_reference:
        yield from _by_reference(
            reader,
            about,
            [name for name, _ in cells],
            lambda shift, means: _KINDS[wanted.kind](*(shift.score(means, *c) for c in cells)),
        )
        return
    levels: tuple[float, ...] = ()
    if cells[0][1] == "parameters":
        about = about or "the network as described"
    if wanted.kind == "difference" and cells[0][1] in _ACCURACIES | _SUCCESSES:
        levels = tuple(_value(reader, *cell, "").value for cell in cells)
    for masks in reader.run.mask_sources if wanted.every_mask else [""]:
        found = _compared(reader, wanted.kind, cells, masks or reader.run.mask_source)
        yield Part(about, found, _masks(masks), levels=levels)


def _named(about: str, chosen: Mapping[str, str]) -> str:
    """A subject with the readings of the alignment loss that stand for the paper's models."""
    told = [training_phrase(name) for name in chosen.values() if name not in ALIGNED]
    return ", ".join(filter(None, [about, *dict.fromkeys(told)]))


def _masks(source: str) -> str:
    return f"{mask_label(source)} masks" if source else ""


def _by_reference(
    reader: Reader,
    about: str,
    names: Sequence[str],
    function: Callable[[measures.Shift, np.ndarray], np.ndarray],
) -> Iterator[Part]:
    """A function of corruption errors: of plain ones first, then relative to each reference."""
    for reference in (None, *reader.references):
        variant = "plain error" if reference is None else f"relative to {_REFERENCES[reference]}"
        try:
            shift = reader.shift(*dict.fromkeys(names), reference=reference)
        except Untested as error:
            yield Part(about, UNDEFINED, variant, "references", unmeasured=str(error))
            continue
        found = measures.resampled(shift.columns, functools.partial(function, shift), **reader.at)
        yield Part(about, found, variant, "references")


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
            # Of the network as the paper describes it, whatever this run made of it.
            return Estimate(parameter_count(architecture(name)))
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


def _compared(reader: Reader, kind: str, cells: Sequence[tuple[str, str]], masks: str) -> Estimate:
    names = [name for name, _ in cells]
    quantity, combine = cells[0][1], _KINDS[kind]
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
    if quantity in _SALIENCY:
        column, scale = _SALIENCY[quantity]
        wanted = [(name, "saliency") for name in names]
        found = scale * np.stack(reader.together(wanted, f"{column}_{masks}"))
        return measures.resampled(
            found.T, lambda means: combine(*np.moveaxis(means, -1, 0)), **reader.at
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
            yield Part(architecture_label(name), gap, _masks(source))


def iou_rise(reader: Reader, name: str) -> Estimate:
    """IoU on validation images at the last epoch of alignment, less the control's."""
    ends = [reader.summary(each)["history"][-1] for each in (reader.aligned(name), control(name))]
    if not all("validation_iou" in end for end in ends):
        raise Unmeasured(f"{name}: overlap while training")
    own, without = (end["validation_iou"] for end in ends)
    return Estimate(own - without, n=reader.run.settings.data.validation_size)


def largest_fall(reader: Reader, name: str) -> Estimate:
    """Baseline's validation accuracy less the lowest during alignment, in points."""
    start = reader.summary(baseline(name))
    kept = start["history"][start["best_epoch"] - 1]["validation_accuracy"]
    history = reader.summary(reader.aligned(name))["history"]
    least = min(epoch["validation_accuracy"] for epoch in history)
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

    def measure(pair: Sequence[str], shift: measures.Shift, means: np.ndarray) -> np.ndarray:
        before, after = (
            [shift.score(means, name, column) for column in ("noise", *columns)] for name in pair
        )
        return function(*map(np.subtract, before, after))

    for pair in (_RESNETS, _VITS):
        about, of_pair = architecture_label(pair[0]), functools.partial(measure, pair)
        yield from _by_reference(reader, about, pair, of_pair)


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
    """Accuracy under attack of aligned models less their controls', in points.

    Also that of a model that is robust and aligned, where there is one, less its control's.
    """
    pairs = [
        (name, reader.aligned(name, attack), control(name), attack)
        for name in ALIGNED
        for attack in ("pgd", "fgsm")
    ]
    robust = ("resnet18-robust_aligned", "resnet18-robust_aligned@beta=0.0")
    if all(reader.has(each, "pgd") for each in robust):
        pairs.append((robust[0], *robust, "pgd"))
    for name, aligned, without, attack in pairs:
        wanted = [(each, attack) for each in (aligned, without)]
        # Where nothing is left to lose, nothing can be lost.
        levels = tuple(100 * float(np.mean(right)) for right in reader.together(wanted))
        about = f"{architecture_label(name)}, {attack.upper()} (control: {levels[1]:.1f} %)"
        yield Part(_named(about, {name: aligned}), paired(reader, *wanted), levels=levels)


def breakage(reader: Reader, name: str) -> Estimate:
    """Rank correlation of surviving PGD with the share of corrupted versions that are right.

    Between images of equal confidence: otherwise it is that both are easy or hard.
    """
    outcomes, pgd = reader.outcomes(name), reader.record(name, "pgd")
    common = np.isin(outcomes.images, pgd["image"])
    attacked = estimates.on_images(pgd, outcomes.images[common])
    right = attacked["clean_correct"].to_numpy(bool)
    survives = attacked["correct"].to_numpy(float)[right]
    shares = 1 - outcomes.share_wrong()[common][right]
    clean = estimates.on_images(reader.record(name, "clean"), outcomes.images[common])
    given = [clean["confidence"].to_numpy(float)[right]]
    return estimates.rank_correlation(survives, shares, given, **reader.at)[0]


def other_methods(reader: Reader) -> Iterator[Part]:
    """IoU of other methods' maps of aligned models less those of the baselines."""
    for name, own in zip(ALIGNED, ("gradcam", "rollout"), strict=True):
        aligned = reader.aligned(name, "faithfulness")
        for method in _methods(reader, aligned):
            if method != own:
                gap = _method_gap(reader, method, aligned, baseline(name))
                about = f"{architecture_label(name)}, {method.replace('_', ' ')}"
                yield Part(_named(about, {name: aligned}), gap)


def higher_by_one_method(reader: Reader) -> Iterator[Part]:
    """IoU of ResNet-18's maps less that of ViT-Small's, each by the same method."""
    for training in ("standard", "adversarial", "aligned"):
        pair = [f"{architecture}-{training}" for architecture in ("resnet18", "vit_small")]
        pair = [reader.aligned(each, "faithfulness") if each in ALIGNED else each for each in pair]
        shared = [each for each in _methods(reader, pair[0]) if each in _methods(reader, pair[1])]
        if not shared:
            raise Untested("no method explains both architectures")
        for method in shared:
            gap = _method_gap(reader, method, *pair)
            yield Part(training, gap, method.replace("_", " "), "methods of explanation")


def _methods(reader: Reader, name: str) -> list[str]:
    """The methods whose overlap was measured of a model."""
    columns = reader.record(name, "faithfulness").columns
    found = [each.removesuffix("_iou") for each in columns if each.endswith("_iou")]
    return [each for each in found if each != "random"]


def _method_gap(reader: Reader, method: str, first: str, second: str) -> Estimate:
    wanted = [(each, "faithfulness") for each in (first, second)]
    pair = np.stack(reader.together(wanted, f"{method}_iou"), axis=1)
    return measures.difference(pair, **reader.at)


def right_where_it_looks(reader: Reader, name: str) -> Estimate:
    """IoU on the images that a model gets right, less that on those it gets wrong."""
    record = reader.record(reader.aligned(name), "saliency")
    known = record[record[f"iou_{reader.run.mask_source}"].notna()]
    right, iou = known["correct"].to_numpy(bool), known[f"iou_{reader.run.mask_source}"].to_numpy()
    if min(right.sum(), (~right).sum()) < 2:
        raise Untested(f"{architecture_label(name)} is right, or wrong, on fewer than two images")
    return estimates.difference_of_means(iou[right], iou[~right], **reader.at)


def gain_from_few_masks(reader: Reader) -> Iterator[Part]:
    """The gain of IoU with masks for a few images, less half of that with all masks.

    They are those of the smallest share that the run has; the gain is over the control.
    """
    study = reader.run.settings.alignment
    joint, name = "," if "@" in study.shared else "@", study.shared
    few = {share: f"{name}{joint}share={share}" for share in sorted(study.shares) if share < 1}
    there = {share: each for share, each in few.items() if reader.has(each, "saliency")}
    if not there:
        raise Untested("no model was aligned with masks for a few images")
    share = min(there)
    wanted = [(each, "saliency") for each in (there[share], name, control(name.partition("@")[0]))]
    columns = reader.together(wanted, f"iou_{reader.run.mask_source}")
    found = measures.resampled(
        np.stack(columns, axis=1),
        lambda m: (m[..., 0] - m[..., 2]) - (m[..., 1] - m[..., 2]) / 2,
        **reader.at,
    )
    gain = float(np.nanmean(columns[1]) - np.nanmean(columns[2]))
    if gain <= estimates.mean_difference(columns[1], columns[2], **reader.at).value / 2:
        raise Untested("all masks bring no gain of IoU over the control either")
    yield Part(f"{100 * share:g} % of the images", found)


def cheapest_robustness(reader: Reader) -> Iterator[Part]:
    """Clean accuracy that the cheapest robust recipe costs, in points, over all that were trained.

    One is robust with accuracy under PGD ten points above the baseline's.
    """
    for name in BASELINES:
        costs = {}
        for other in _recipes(reader, name):
            if paired(reader, (other, "pgd"), (name, "pgd")).low >= 10:
                costs[other] = paired(reader, (name, "clean"), (other, "clean"))
        if costs:
            cheapest = min(costs, key=lambda each: costs[each].value)
            yield Part(f"{architecture_label(name)}, {training_phrase(cheapest)}", costs[cheapest])
        elif name == BASELINES[0]:
            raise Untested("no recipe made a robust model")


def dominance(reader: Reader) -> Iterator[Part]:
    """By how much the best other recipe dominates adversarial training, in points.

    It is the smaller of what it gains in clean accuracy and in accuracy under PGD.
    """
    for name in (_RESNETS[1], _VITS[1]):
        gains = {
            other: min(
                (paired(reader, (other, kind), (name, kind)) for kind in ("clean", "pgd")),
                key=lambda gain: gain.value,
            )
            for other in _recipes(reader, baseline(name))
            if other != name
        }
        if gains:
            best = max(gains, key=lambda each: gains[each].value)
            yield Part(f"{architecture_label(name)}, {training_phrase(best)}", gains[best])
        elif name == _RESNETS[1]:
            raise Untested("no other recipe was attacked")


def _recipes(reader: Reader, name: str) -> list[str]:
    """The models of an architecture, other than its baseline, that were attacked by PGD."""
    chosen, network = reader.run.settings, architecture(name)
    known = [f"{network}-{each}" for each in ("adversarial", "purely_adversarial", "trades")]
    known += [f"{network}-robust_aligned", *chosen.extra_models, *chosen.combination.models]
    there = dict.fromkeys(each for each in known if architecture(each) == network)
    return [each for each in there if reader.has(each, "pgd") and reader.has(each, "saliency")]


def best_weight(reader: Reader) -> Iterator[Part]:
    """IoU with the paper's weight of the alignment loss less the best other's, at equal accuracy.

    Another weight counts if it costs at most a point of accuracy more; the reading is the paper's
    own where that was trained with three weights.
    """
    for name in ALIGNED:
        by_reading: dict[str, dict[float, str]] = {}
        study = reader.run.settings.alignment
        for each in dict.fromkeys([name, *study.variants]):
            changes = parts_of(each).changes
            own = each.partition("@")[0] == name and {*changes} <= {"beta", "reading"}
            if own and reader.has(each, "saliency") and changes.get("beta", 1) > 0:
                section = plan(reader.run.settings, each).section
                by_reading.setdefault(section.reading, {})[section.beta] = each
        enough = {k: v for k, v in by_reading.items() if len(v) >= 3 and PAPER_BETA in v}
        if not enough:
            raise Untested("not tested: fewer than three weights β were trained by one reading")
        for reading, weights in enough.items():
            records = {beta: reader.record(each, "saliency") for beta, each in weights.items()}
            least = records[PAPER_BETA]["correct"].mean() - 0.01
            column, own = f"iou_{reader.run.mask_source}", records.pop(PAPER_BETA)
            near = {k: v for k, v in records.items() if v["correct"].mean() >= least}
            if not near:
                continue
            best = max(near, key=lambda beta: near[beta][column].mean())
            gap = estimates.mean_difference(own[column], near[best][column], **reader.at)
            told = f"{architecture_label(name)}, against β = {best:g}"
            yield Part(told, gap, reading=reading.replace("_", " "))


def step_time(reader: Reader) -> Iterator[Part]:
    """By how many percent ViT-Small's training step takes longer than ResNet-18's, untrained."""
    seconds = reader.step_times()
    for patch, reading in ((8, "16 patches, of 8 × 8 pixels"), (2, "patches of 2 × 2 pixels")):
        ratio = seconds[f"vit_small, patch {patch}"] / seconds["resnet18"]
        yield Part("", Estimate(100 * (ratio - 1)), reading=reading)


def reliance_reduced(reader: Reader, name: str) -> Estimate:
    """The control's :func:`background_reliance`, less that of the aligned model, in points."""
    aligned = reader.aligned(name, "swapped")
    records = [reader.record(model, "swapped") for model in (control(name), aligned)]
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

    def each(reader: Reader) -> Iterator[Part]:
        for name in names:
            found, about = measure(reader, name), architecture_label(name)
            read = [model for model, _ in reader.used if model.startswith(f"{name}@reading")]
            yield Part(_named(about, dict(zip(read, read, strict=True))), found)

    return each


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
    "beta_is_best": best_weight,
    "training_time": step_time,
    "resnet_iou_higher": higher_by_one_method,
    "shared_features": _each(ALIGNED, right_where_it_looks),
    "practical": gain_from_few_masks,
    "conclusion_feasible": gain_from_few_masks,
    "tradeoff_genuine": cheapest_robustness,
    "conclusion_fundamental": cheapest_robustness,
    "pareto_frontier": dominance,
    "weak_correlation": _each([_RESNETS[1], _VITS[1]], breakage),
    "other_methods": other_methods,
    "not_gaming": _each(ALIGNED, reliance_reduced),
    "conclusion_ratio": tradeoff_ratio,
    "conclusion_shortcuts": _each(BASELINES, background_reliance),
    "conclusion_orthogonal": robustness_kept,
}
"""By the claim's name; each raises ``Unmeasured`` where records are missing."""
