"""Where models look, and whether that means anything (paper 3.3, 4.3): Table 3 and what it omits.

Call these as ``tables.table3`` and so on. Overlap with a teacher's masks is agreement with that
teacher; only exact masks and a user's own speak of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import paper
from rslib.metrics.estimates import UNDEFINED, Estimate, accuracy, mean, mean_difference, proportion
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.labels import mask_label, sizes
from rslib.report.seeds import over_seeds
from rslib.saliency.methods import LABELS
from rslib.settings.names import INTERPRETABILITY, TEACHERS

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

_OF = "'s"


@over_seeds()
def masks_table(run: Run, sources: Sequence[str] | None = None) -> pd.DataFrame:
    """The object masks of the test images, by source: how many, how large, and what they allow.

    Args:
        run: whose record of the masks' priors is read.
        sources: of the masks, in order; None for all that the record holds.

    Returns:
        One row per source and quantity; see :func:`rslib.report.frames.save`. Coverage and IoUs are
        means over the images that have a mask; ``refused`` is the share that have none, in percent.

    Raises:
        RecordError: the record has not been made.
    """
    record, confidence = run.priors(), run.settings.evaluation.confidence
    about = record.attrs["sources"]
    rows = []
    for source in sources or about:
        known, n = about[source]["known"], about[source]["images"]
        cells = [
            ("refused", proportion(n - known, n, confidence), Column("Refused (%)", "%")),
            *(
                (kind, mean(record[column], confidence=confidence), Column(header, ""))
                for kind, column, header in (
                    ("coverage", f"coverage_{source}", "Share of Image"),
                    ("chance", f"chance_{source}_30", "IoU, Random Map"),
                    ("center", f"center_{source}", "IoU, Center"),
                    ("average", f"average_{source}", "IoU, Mean Mask"),
                    ("ceiling", f"ceiling_{source}", "IoU, Best Possible"),
                )
            ),
        ]
        label = mask_label(source)
        label = label[:1].upper() + label[1:]
        rows += [row(run, "masks", source, *cell, labeled=label) for cell in cells]
    frame = build(
        run,
        rows,
        [record.attrs],
        title="Object masks of the test images, by where they come from (paper 3.4.1)",
        notes=[
            "IoU is of the top 30 % of a map (paper 3.3.3). A refused mask is one that covers next "
            "to nothing or nearly all of the image, or comes from a constant map; overlap is "
            "taken over the others.",
            *_teachers(about),
        ],
        intervals="bootstrap, and Wilson's score for the refused",
        unreported="",
        facts={
            f"{source}_{key}": value
            for source, made in about.items()
            for key, value in made.items()
            if key not in {"known", "images"}
        },
    )
    frame.attrs["pairs"] = "Masks"
    return frame


@over_seeds()
def table3(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> pd.DataFrame:
    """Table 3: overlap of saliency with object masks, beside what means nothing (paper 4.3).

    The paper gives mean and standard deviation alone. Beside them are the IoU of a random map on
    the same masks, of the same maps with other images' masks, of the image's center and of the mean
    mask, the best that any map can reach, the share of the saliency inside the mask (as which 4.3
    reads the IoU), how often the most salient pixel lies on the object, and constant maps.

    Args:
        run: whose saliency records are read; nothing is computed.
        names: models, in order.
        source: of the masks (:data:`rslib.settings.names.MASK_SOURCES`); None takes those that
            models are aligned to.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a record has not been made.
    """
    source = source or run.mask_source
    confidence = run.settings.evaluation.confidence
    priors = run.priors()
    table = "table3" if source == run.mask_source else f"overlap_{source}"
    columns = paper.TABLES["table3"].columns
    rows, sources = [], [priors.attrs]
    for name in names:
        record = run.record(name, "saliency")
        sources.append(record.attrs)
        found = record[f"iou_{source}"]
        spread = Estimate(float(found.std(ddof=0)), n=int(found.notna().sum()))
        constant = record["degenerate"].to_numpy(bool)
        cells = [
            ("iou_mean", mean(found, confidence=confidence), columns["iou_mean"]),
            ("iou_std", spread, columns["iou_std"]),
            *(
                (kind, mean(values, confidence=confidence), Column(header, ""))
                for kind, values, header in (
                    ("chance", priors[f"chance_{source}_30"], "Random Map"),
                    ("shuffled", record[f"shuffled_{source}"], "Shuffled Masks"),
                    ("center", priors[f"center_{source}"], "Image Center"),
                    ("average", priors[f"average_{source}"], "Mean Mask"),
                    ("ceiling", priors[f"ceiling_{source}"], "Best Possible"),
                    ("mass", record[f"mass_{source}"], "Mass Inside"),
                    ("pointing", record[f"pointing_{source}"], "Pointing Game"),
                )
            ),
            (
                "degenerate",
                proportion(int(constant.sum()), len(constant), confidence),
                Column("Constant Maps (%)", "%"),
            ),
        ]
        rows += [row(run, table, name, *cell) for cell in cells]
    title = "Table 3. Overlap of saliency with object masks (paper 4.3)"
    if table != "table3":
        title = "Overlap of saliency with object masks (paper 3.4.1)"
    return build(
        run,
        rows,
        sources,
        title=f"{title}, {_masks_phrase(run, source)}",
        notes=[
            "IoU of the top 30 % of Grad-CAM (ResNet-18) or attention rollout (ViT-Small), both "
            "bilinear at the image's size; tied pixels count by expectation. Std is over images. "
            "Columns from Random Map on are ours.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="bootstrap, and Wilson's score for shares",
        facts={"source": source, "masks": _masks_phrase(run, source)},
    )


@over_seeds()
def class_iou_table(run: Run, names: Sequence[str], *, source: str | None = None) -> pd.DataFrame:
    """Mean IoU by class: 4.3 speaks of airplanes, cats and dogs.

    Args:
        run: whose saliency records are read.
        names: models, in order.
        source: of the masks; see :func:`table3`.

    Raises:
        RecordError: a record has not been made.
    """
    source = source or run.mask_source
    confidence, classes = run.settings.evaluation.confidence, run.classes
    rows, sources = [], []
    for name in names:
        record = run.record(name, "saliency")
        sources.append(record.attrs)
        for label, title in enumerate(classes):
            values = record.loc[record["label"] == label, f"iou_{source}"]
            found = mean(values, confidence=confidence)
            rows.append(row(run, "class_iou", name, title, found, Column(title.capitalize(), "")))
    return build(
        run,
        rows,
        sources,
        title=f"IoU by class (paper 4.3), {_masks_phrase(run, source)}",
        notes=[],
        intervals="bootstrap",
        unreported="",
    )


@over_seeds()
def faithfulness_table(run: Run, names: Sequence[str], measure: str) -> pd.DataFrame:
    """One measure of faithfulness for every method and model (ours; the paper's reference 14).

    Args:
        run: whose faithfulness records are read.
        names: models, in order.
        measure: ``"insertion"`` or ``"deletion"`` (mean over the curve; higher and lower is
            better), ``"infidelity"`` (lower is better) or ``"iou"``.

    Returns:
        One row per model and method, with a random map where that makes sense.

    Raises:
        RecordError: a record has not been made.
        ValueError: no such measure.
    """
    said = {
        "insertion": ("Insertion: mean probability of the class as the most salient pixels appear",
                      "Higher is better."),
        "deletion": ("Deletion: mean probability of the class as the most salient pixels vanish",
                     "Lower is better."),
        "infidelity": ("Infidelity under small noise", "Lower is better."),
        "iou": ("IoU of the top 30 % with the masks, method by method", ""),
    }  # fmt: skip
    if measure not in said:
        raise ValueError(f"no measure {measure!r}; there are: {', '.join(said)}")
    methods = [*LABELS, *(["random"] if measure != "infidelity" else [])]
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        record = run.record(name, "faithfulness")
        sources.append(record.attrs)
        for method in methods:
            values = curve_mean(record, method, measure)
            estimate = UNDEFINED if values is None else mean(values, confidence=confidence)
            column = Column(LABELS.get(method, "Random Map"), "")
            rows.append(row(run, f"faithfulness_{measure}", name, method, estimate, column))
    title, better = said[measure]
    return build(
        run,
        rows,
        sources,
        title=title,
        notes=[f"{better} A dash: the method is not defined for the model.".strip()],
        same_images=True,
        intervals="bootstrap",
        unreported="",
    )


def curve_mean(record: pd.DataFrame, method: str, measure: str) -> np.ndarray | None:
    """Per image: the mean over a curve, or the measure itself; None where there is none."""
    columns = [c for c in record if c.startswith(f"{method}_{measure}")]
    return record[columns].to_numpy(float).mean(1) if columns else None


@over_seeds()
def attacked_saliency_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Saliency before and after PGD, on the images that are right when clean (ours).

    Args:
        run: whose records of saliency under attack are read.
        names: models, in order.

    Raises:
        RecordError: a record has not been made.
    """
    confidence, source = run.settings.evaluation.confidence, run.mask_source
    rows, sources = [], []
    for name in names:
        record = run.record(name, "attacked_saliency")
        sources.append(record.attrs)
        right = record[record["clean_correct"]]
        fooled = UNDEFINED
        if len(right):
            fooled = accuracy(right["fooled"], confidence=confidence)
        moved = mean_difference_known(right["iou_attacked"], right["iou_clean"], confidence)
        cells = [
            ("fooled", fooled, Column("Fooled (%)", "%")),
            *(
                (kind, mean(right[kind], confidence=confidence), Column(header, ""))
                for kind, header in (
                    ("iou_clean", "IoU, Clean"),
                    ("iou_attacked", "IoU, Attacked"),
                )
            ),
            ("iou_moved", moved, Column("IoU, Change", "")),
            *(
                (kind, mean(right[kind], confidence=confidence), Column(header, ""))
                for kind, header in (
                    ("rank_correlation", "Rank Correlation"),
                    ("same_top", "IoU of the Two Maps"),
                )
            ),
        ]
        rows += [row(run, "attacked_saliency", name, *cell) for cell in cells]
    return build(
        run,
        rows,
        sources,
        title=f"Saliency before and after PGD, {_masks_phrase(run, source)}",
        notes=[
            "On the images that are right when clean; each map explains the class predicted there."
        ],
        intervals="bootstrap, and Wilson's score for the fooled",
        unreported="",
    )


def mean_difference_known(first: Any, second: Any, confidence: float) -> Estimate:
    """Mean difference over the images for which both values are known."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    known = ~np.isnan(first) & ~np.isnan(second)
    if not known.any():
        return UNDEFINED
    return mean_difference(first[known], second[known], confidence=confidence)


def _masks_phrase(run: Run, source: str) -> str:
    if source in TEACHERS:
        return f"the {mask_label(source)} proxy masks"
    return {"exact": "exact masks", "own": "masks of your own"}[source]


def _teachers(about: dict[str, Any]) -> list[str]:
    return [
        f"The {mask_label(source).removesuffix(_OF)}: "
        f"{100 * made['accuracy']:.1f} % right on validation images, temperature "
        f"{made['temperature']:.2f}, ECE {made['ece_before']:.3f} before and "
        f"{made['ece_after']:.3f} after."
        for source, made in about.items()
        if "temperature" in made
    ]
