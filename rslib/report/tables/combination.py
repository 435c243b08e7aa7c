"""Robust and aligned at once, which the paper conjectures and does not try (paper 4.6, 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import UNDEFINED, on_images
from rslib.report.labels import mask_label, short_label
from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.run.outcomes import outcomes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from rslib.run import Run

_READ = ("clean", "pgd", "corruptions", "saliency")


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
                table.add(name, outcome, table.mean(ours - theirs), header, unit)


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


def _values(run: Run, name: str, outcome: str) -> pd.Series:
    """A model's outcome by image, shares in percent."""
    import pandas as pd

    if outcome == "corruptions":
        found = outcomes(run, name)
        return pd.Series(100 * (1 - found.share_wrong()), index=found.images)
    if outcome.startswith("iou_"):
        return run.record(name, "saliency").set_index("image")[outcome].astype(float)
    return 100 * run.record(name, outcome).set_index("image")["correct"].astype(float)


def _together(run: Run, names: Sequence[str], outcome: str) -> np.ndarray:
    """One outcome of several models (models, images), on the images of the first that all know."""
    import pandas as pd

    columns = [_values(run, name, outcome) for name in names]
    return pd.concat(columns, axis=1, join="inner").dropna().to_numpy(float).T


def _minus(one: str, other: str) -> str:
    return f"{short_label(one)}, less {short_label(other)}"
