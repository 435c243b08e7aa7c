"""What alignment changes, and whether it helps or games its metric (paper 3.4, 4.4, 4.6, 5.5, 6).

The control is the same training without the alignment term (β = 0): same images, same extra epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import UNDEFINED, Estimate, on_images
from rslib.report.labels import mask_label, short_label
from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.run.outcomes import outcomes
from rslib.run.results import shortcut_runs
from rslib.settings.names import ALIGNED, TEACHERS, baseline, control

if TYPE_CHECKING:
    import numpy as np

    from rslib.run import Run

_READ = ("clean", "pgd", "corruptions", "saliency")


@fills(
    "table4",
    note="IoU is of the explanation, over the test images; the alignment loss (equation 12) is "
    "over the validation images, at the epoch that is kept. The control is trained alike without "
    "the alignment term (β = 0).",
    compared="*_over_*",
    intervals="Wilson's score, Agresti-Min for accuracy differences, bootstrap for IoU",
    unreported="not reported",
)
def table4(table: Table, names: Sequence[str] = ALIGNED) -> None:
    """Table 4: accuracy, IoU, alignment loss and training time of aligned models (paper 4.4).

    Beside the paper's columns: accuracy and IoU less the baseline's and less the control's.
    """
    source, table.sizes = table.run.mask_source, names
    table.title = f"Table 4. Human-guided alignment (paper 4.4), with {mask_label(source)} masks"
    if source in TEACHERS:
        table.title += " (proxies)"
    table.notes.append(_settings_note(table.run))
    table.facts = {"beta": table.run.settings.training.aligned.beta, "source": source}
    rows = table.rows([(name, baseline(name), control(name)) for name in names])
    for name, *compared in rows:
        summary, own = table.read(name, "summary", "saliency")
        best = summary["history"][summary["best_epoch"] - 1]
        table.add(name, "clean_accuracy", table.accuracy(own["correct"]))
        table.add(name, "final_iou", table.mean(own[f"iou_{source}"]))
        table.add(name, "alignment_loss", Estimate(best["validation_alignment_loss"]))
        table.add(name, "training_hours", Estimate(summary["seconds"] / 3600))
        for kind, model in zip(("baseline", "control"), compared, strict=True):
            other, said = table.read(model, "saliency"), kind.capitalize()
            gained = table.paired_difference(own["correct"], other["correct"])
            nearer = table.mean_difference(own[f"iou_{source}"], other[f"iou_{source}"])
            table.add(name, f"accuracy_over_{kind}", gained, f"Acc − {said} (points)")
            table.add(name, f"iou_over_{kind}", nearer, f"IoU − {said}")


@fills("variants", "The alignment objective read in several ways (paper 3.4)")
def variants_table(table: Table, names: Sequence[str]) -> None:
    """Weights of the alignment loss, readings of equation 12, and the head, side by side (3.4)."""
    _side_by_side(table, names)


@fills("shares", "Alignment with masks for a share of the training images (paper 5.5)")
def shares_table(table: Table, names: Sequence[str]) -> None:
    """The same model aligned with masks for growing shares of the training images (paper 5.5)."""
    _side_by_side(table, names)


def _side_by_side(table: Table, names: Sequence[str]) -> None:
    run = table.run
    table.notes = [
        f"Aligned to {mask_label(run.mask_source)} masks. IoU is of the explanation (Grad-CAM, "
        "rollout) over the test images, the head's over the validation images. The alignment "
        "loss is each objective's own, so it compares within one reading only.",
        _settings_note(run),
    ]
    table.intervals = "Wilson's score, and bootstrap for IoU"
    for name, summary, record in table.each(names, "summary", "saliency"):
        best = summary["history"][summary["best_epoch"] - 1]
        if table.name == "shares":
            masked = Estimate(summary["masked_images"])
            table.add(name, "masked_images", masked, "Masks", "images")
        table.add(name, "clean_accuracy", table.accuracy(record["correct"]), "Clean Acc (%)")
        for source in dict.fromkeys([run.mask_source, *run.mask_sources]):
            overlap = table.mean(record[f"iou_{source}"])
            table.add(name, f"iou_{source}", overlap, f"IoU, {mask_label(source)}")
        for key, header in (("alignment_loss", "Alignment Loss"), ("head_iou", "IoU of Head")):
            value = best.get(f"validation_{key}")
            table.add(name, key, UNDEFINED if value is None else Estimate(value), header)


@fills(
    "aligned_attack",
    "Baseline, control and aligned models under attack (paper 4.6)",
    note="Clean accuracy is over the images that PGD was run on.",
)
def aligned_attack_table(table: Table, names: Sequence[str]) -> None:
    """Aligned models under FGSM and PGD: 4.6 claims orthogonality and tabulates nothing."""
    for name, fgsm, pgd in table.each(names, "fgsm", "pgd"):
        table.add(name, "clean_accuracy", table.accuracy(pgd["clean_correct"]), "Clean Acc (%)")
        table.add(name, "fgsm_accuracy", table.accuracy(fgsm["correct"]), "FGSM Acc (%)")
        table.add(name, "pgd_accuracy", table.accuracy(pgd["correct"]), "PGD Acc (%)")


@fills(
    "swapped",
    "Accuracy when objects stand before other images' backgrounds",
    intervals="Wilson's score, and Agresti-Min for the gap",
)
def swapped_table(table: Table, names: Sequence[str]) -> None:
    """Objects before backgrounds of the same and of another class: is the object named (ours)?"""
    table.notes = [
        f"Objects are cut out by {mask_label(table.run.mask_source)} masks. The gap is what the "
        "background's class is worth to the model."
    ]
    for name, record in table.each(names, "swapped"):
        known = record.dropna(subset=["clean_correct"])
        same, other = known["same_correct"] > 0.5, known["other_correct"] > 0.5
        as_it_is = table.accuracy(known["clean_correct"] > 0.5)
        named = table.accuracy(known["background"] > 0.5)
        gap = table.paired_difference(same, other)
        table.add(name, "clean_correct", as_it_is, "As It Is (%)")
        table.add(name, "same_correct", table.accuracy(same), "Same Class Behind (%)")
        table.add(name, "other_correct", table.accuracy(other), "Other Class Behind (%)")
        table.add(name, "gap", gap, "Same − Other (points)")
        table.add(name, "background", named, "Names the Background (%)")


@fills(
    "human",
    "Agreement with people's label distributions (CIFAR-10H)",
    note="No model can have a cross-entropy below the people's own entropy.",
    intervals="bootstrap",
)
def human_table(table: Table, names: Sequence[str]) -> None:
    """Agreement with the people of CIFAR-10H (ours): distributions, not only labels."""
    for name, record in table.each(names, "human"):
        for key, header in (
            ("cross_entropy", "Cross-Entropy (nats)"),
            ("people_entropy", "People's Entropy (nats)"),
            ("distance", "Total Variation"),
            ("chosen", "Share of People Who Agree"),
        ):
            table.add(name, key, table.mean(record[key]), header)


@fills(
    "shortcut",
    compared="over_control",
    intervals="Wilson's score, Agresti-Min for differences, bootstrap for IoU",
)
def shortcut_table(table: Table, names: Sequence[str]) -> None:
    """Models that could learn the background instead of the object (ours).

    Records are those of the two runs of :func:`rslib.run.results.shortcut_runs`. Accuracy less the
    control's and IoU, with exact masks, are on the images whose correlation is broken.
    """
    table.run, broken = shortcut_runs(table.run)
    share = table.run.settings.data.background_correlation
    table.facts["correlation"] = share
    table.title = (
        f"A shortcut on Shapes: the background tells the class with probability {share:g} in "
        "training, and nothing in the broken test images"
    )
    table.notes = [
        "Objects, positions and colors of the two test sets are the same. The control is "
        f"{short_label(control(names[0]))}."
    ]
    for name, plain in table.rows([(name, control(name)) for name in names]):
        with_it, without = table.read(name, "saliency"), table.read(name, "saliency", run=broken)
        held = table.accuracy(with_it["correct"]), table.accuracy(without["correct"])
        rest = broken.record(plain, "saliency")
        gained = table.paired_difference(without["correct"], rest["correct"])
        table.add(name, "tied", held[0], "Correlated (%)")
        table.add(name, "broken", held[1], "Broken (%)")
        table.add(name, "drop", Estimate(held[0].value - held[1].value), "Drop (points)")
        table.add(name, "over_control", gained, "Broken − Control (points)")
        table.add(name, "iou", table.mean(without["iou_exact"]), "IoU, Broken")


@fills(
    "combination",
    note="Accuracies in points; corruptions: the share of corrupted versions that are right.",
    compared="*",
    intervals="Agresti-Min for accuracies, bootstrap for the others, paired",
)
def combination_table(table: Table, names: Sequence[str], *, against: str) -> None:
    """What each way of combining changes, against one model, on the same images (paper 4.6).

    Each number is a paired difference: the model less ``against``. AutoAttack's records are read
    where both models have one.
    """
    run, table.sizes = table.run, [*names, against]
    table.title = f"Each model less {short_label(against)} (paper 4.6), on the same images"
    table.read(against, *_READ)
    for name, *_ in table.each(names, *_READ):
        for kind, header in (("clean", "Clean"), ("pgd", "PGD"), ("autoattack", "AutoAttack")):
            gap = UNDEFINED
            if all(run.has_record(each, kind) for each in (name, against)):
                ours, theirs = run.record(name, kind), run.record(against, kind)
                theirs = on_images(theirs, ours["image"])
                gap = table.paired_difference(ours["correct"], theirs["correct"])
            table.add(name, f"{kind}_accuracy", gap, f"{header} Acc", "points")
        for outcome, (header, unit) in _outcomes(run).items():
            if outcome not in ("clean", "pgd"):
                ours, theirs = _together(run, (name, against), outcome)
                table.add(name, outcome, table.mean_difference(ours, theirs), header, unit)


@fills(
    "orthogonality",
    "Alignment and adversarial training, two by two (paper 4.6, 6)",
    compared="*",
    intervals="bootstrap, paired",
)
def orthogonality_table(
    table: Table, *, neither: str, aligned: str, robust: str, both: str
) -> None:
    """Are alignment and adversarial robustness orthogonal (paper 4.6, 6)? Two by two, per image.

    On each outcome, a row: what alignment changes without adversarial training (aligned - neither)
    and with it (both - robust), what adversarial training changes without alignment and with it,
    and the interaction, ``(both - robust) - (aligned - neither)``. The arguments name models
    trained with neither, with the alignment term, with attacked batches, and with both.
    """
    table.sizes = corners = (neither, aligned, robust, both)
    table.notes = [
        "Each cell is a mean change over the same images, accuracies in points. Alignment, "
        f"Standard: {_minus(aligned, neither)}. Alignment, Adversarial: {_minus(both, robust)}. "
        f"Adversarial, Plain: {_minus(robust, neither)}. Adversarial, Aligned: "
        f"{_minus(both, aligned)}. Interaction: the second less the first; 0 if the two do not "
        "meddle."
    ]
    for name in corners:
        table.read(name, *_READ)
    for outcome, (label, unit) in _outcomes(table.run).items():
        n, a, r, b = _together(table.run, corners, outcome)
        for effect, change, header in (
            ("alignment", a - n, "Alignment, Standard"),
            ("alignment_robust", b - r, "Alignment, Adversarial"),
            ("attack", r - n, "Adversarial, Plain"),
            ("attack_aligned", b - a, "Adversarial, Aligned"),
            ("interaction", (b - r) - (a - n), "Interaction"),
        ):
            table.add(outcome, effect, table.mean(change), header, unit, label=label)


def _outcomes(run: Run) -> dict[str, tuple[str, str]]:
    """What is compared, image by image: label and unit."""
    found = {
        "clean": ("Clean accuracy", "points"),
        "pgd": ("PGD accuracy", "points"),
        "corruptions": ("Corruptions", "points"),
    }
    for source in (run.mask_source, *run.mask_sources):
        found[f"iou_{source}"] = (f"IoU, {mask_label(source)} masks", "")
    return found


def _together(run: Run, names: Sequence[str], outcome: str) -> np.ndarray:
    """One outcome, shares in percent, of several models (models, images) on the images all know."""
    import pandas as pd

    columns = []
    for name in names:
        if outcome == "corruptions":
            found = outcomes(run, name)
            column = pd.Series(100 * (1 - found.share_wrong()), index=found.images)
        elif outcome.startswith("iou_"):
            column = run.record(name, "saliency").set_index("image")[outcome].astype(float)
        else:
            column = 100 * run.record(name, outcome).set_index("image")["correct"].astype(float)
        columns.append(column)
    return pd.concat(columns, axis=1, join="inner").dropna().to_numpy(float).T


def _minus(one: str, other: str) -> str:
    return f"{short_label(one)}, less {short_label(other)}"


def _settings_note(run: Run) -> str:
    chosen = run.settings.training.aligned
    return (
        f"Unless a row says otherwise: α = {chosen.alpha:g}, β = {chosen.beta:g}, equation 12 "
        f"{chosen.reading.replace('_', ' ')}."
    )
