"""Robust and aligned at once, which the paper conjectures and does not try (paper 4.6, 6).

Call these as ``tables.combination_table`` and ``tables.orthogonality_table``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics.estimates import UNDEFINED, mean_difference, on_images, paired_difference
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.labels import mask_label, short_label, sizes
from rslib.report.seeds import over_seeds
from rslib.run.outcomes import outcomes

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@over_seeds(compared="*")
def combination_table(run: Run, names: Sequence[str], *, against: str) -> pd.DataFrame:
    """What each way of combining changes, against one model, on the same images (paper 4.6).

    Args:
        run: whose clean, PGD, corruption and saliency records are read, and AutoAttack's where both
            models have one.
        names: models, in order.
        against: the model that is subtracted.

    Returns:
        One row per model and quantity, each a paired difference; see
        :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], [run.record(against, kind).attrs for kind in _READ]
    for name in names:
        sources += [run.record(name, kind).attrs for kind in _READ]
        for kind, header in (("clean", "Clean"), ("pgd", "PGD"), ("autoattack", "AutoAttack")):
            estimate = UNDEFINED
            if all(run.has_record(each, kind) for each in (name, against)):
                ours, theirs = run.record(name, kind), run.record(against, kind)
                theirs = on_images(theirs, ours["image"])
                estimate = paired_difference(
                    ours["correct"], theirs["correct"], confidence=confidence
                )
            column = Column(f"{header} Acc", "points")
            rows.append(row(run, "combination", name, f"{kind}_accuracy", estimate, column))
        for quantity, (column, values) in _measures(run).items():
            if quantity in ("clean", "pgd"):
                continue
            pair = _together(run, (name, against), values)
            estimate = mean_difference(*pair, confidence=confidence)
            rows.append(row(run, "combination", name, quantity, estimate, column))
    return build(
        run,
        rows,
        sources,
        title=f"Each model less {short_label(against)} (paper 4.6), on the same images",
        notes=[
            "Accuracies in points; corruptions: the share of corrupted versions that are right.",
            *(f"{text}." for text in [sizes(run, [*names, against])] if text),
        ],
        intervals="Agresti-Min for accuracies, bootstrap for the others, paired",
        unreported="",
    )


@over_seeds(compared="*")
def orthogonality_table(
    run: Run, *, neither: str, aligned: str, robust: str, both: str
) -> pd.DataFrame:
    """Are alignment and adversarial robustness orthogonal (paper 4.6, 6)? Two by two, per image.

    On each outcome: what alignment changes without adversarial training (aligned - neither) and
    with it (both - robust), what adversarial training changes without alignment (robust - neither)
    and with it (both - aligned), and the interaction, ``(both - robust) - (aligned - neither)``,
    which is 0 if the two do not meddle with each other.

    Args:
        run: whose clean, PGD, corruption and saliency records are read.
        neither: a model trained with neither.
        aligned: with the alignment term only.
        robust: with attacked batches only.
        both: with both.

    Returns:
        One row per outcome and effect; see :func:`rslib.report.frames.save`. Its ``model`` names
        the outcome. Accuracies in percentage points.

    Raises:
        RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    corners = (neither, aligned, robust, both)
    rows = []
    for outcome, (column, values) in _measures(run).items():
        n, a, r, b = _together(run, corners, values)
        zero = np.zeros_like(n)
        effects = {
            "alignment": (a - n, "Alignment, Standard"),
            "alignment_robust": (b - r, "Alignment, Adversarial"),
            "attack": (r - n, "Adversarial, Plain"),
            "attack_aligned": (b - a, "Adversarial, Aligned"),
            "interaction": ((b - r) - (a - n), "Interaction"),
        }
        for effect, (gap, header) in effects.items():
            estimate = mean_difference(gap, zero, confidence=confidence)
            cell = Column(header, column.unit)
            rows.append(
                row(run, "orthogonality", outcome, effect, estimate, cell, labeled=column.header)
            )
    return build(
        run,
        rows,
        [run.record(name, kind).attrs for name in corners for kind in _READ],
        title="Alignment and adversarial training, two by two (paper 4.6, 6)",
        notes=[
            "Each cell is a mean change over the same images, accuracies in points. Alignment, "
            "Standard: " + _minus(aligned, neither) + ". Alignment, Adversarial: "
            + _minus(both, robust) + ". Adversarial, Plain: " + _minus(robust, neither)
            + ". Adversarial, Aligned: " + _minus(both, aligned)
            + ". Interaction: the second less the first; 0 if the two do not meddle.",
            *(f"{text}." for text in [sizes(run, corners)] if text),
        ],
        intervals="bootstrap, paired",
        unreported="",
    )  # fmt: skip


_READ = ("clean", "pgd", "corruptions", "saliency")
_Values = Callable[["Run", str], tuple[Any, np.ndarray]]


def _measures(run: Run) -> dict[str, tuple[Column, _Values]]:
    """What is compared, image by image: header and unit, and how a model's values are read."""

    def share(kind: str) -> _Values:
        def values(run: Run, name: str) -> tuple[Any, np.ndarray]:
            record = run.record(name, kind)
            return record["image"], 100 * record["correct"].to_numpy(float)

        return values

    def corrupted(run: Run, name: str) -> tuple[Any, np.ndarray]:
        found = outcomes(run, name)
        return found.images, 100 * (1 - found.share_wrong())

    def overlap(source: str) -> _Values:
        def values(run: Run, name: str) -> tuple[Any, np.ndarray]:
            record = run.record(name, "saliency")
            return record["image"], record[f"iou_{source}"].to_numpy(float)

        return values

    sources = [run.mask_source, *run.mask_sources]
    return {
        "clean": (Column("Clean accuracy", "points"), share("clean")),
        "pgd": (Column("PGD accuracy", "points"), share("pgd")),
        "corruptions": (Column("Corruptions", "points"), corrupted),
        **{
            f"iou_{source}": (Column(f"IoU, {mask_label(source)} masks", ""), overlap(source))
            for source in dict.fromkeys(sources)
        },
    }


def _together(run: Run, names: Sequence[str], values: _Values) -> list[np.ndarray]:
    """The values of several models on the images of the first one that all know."""
    import pandas as pd

    columns = []
    for name in names:
        images, found = values(run, name)
        columns.append(pd.Series(found, index=np.asarray(images)))
    joined = pd.concat(columns, axis=1, join="inner").dropna()
    return [joined.iloc[:, place].to_numpy(float) for place in range(len(names))]


def _minus(one: str, other: str) -> str:
    return f"{short_label(one)}, less {short_label(other)}"
