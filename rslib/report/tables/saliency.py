"""Where models look, and whether that means anything (paper 3.3, 4.3): Table 3 and what it omits.

Overlap with a teacher's masks is agreement with that teacher; only exact masks and a user's own
speak of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import paper
from rslib.metrics.estimates import UNDEFINED, Estimate, mean_difference
from rslib.report.labels import mask_label
from rslib.report.seeds import over_seeds
from rslib.report.table import Table
from rslib.saliency.methods import LABELS
from rslib.settings.names import INTERPRETABILITY, TEACHERS

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@over_seeds()
def masks_table(run: Run, sources: Sequence[str] | None = None) -> pd.DataFrame:
    """The object masks of the test images, by source: how many, how large, and what they allow.

    Rows are sources of masks, by default all that the record of the masks' priors holds. Coverage
    and IoUs are means over the images that have a mask; ``refused`` is the share that have none, in
    percent.
    """
    table = Table(
        run,
        "masks",
        title="Object masks of the test images, by where they come from (paper 3.4.1)",
        notes=[
            "IoU is of the top 30 % of a map (paper 3.3.3). A refused mask is one that covers next "
            "to nothing or nearly all of the image, or comes from a constant map; overlap is "
            "taken over the others."
        ],
        intervals="bootstrap, and Wilson's score for the refused",
        pairs="Masks",
    )
    record = run.priors()
    table.note(record.attrs)
    about = record.attrs["sources"]
    for source in sources or about:
        known, n = about[source]["known"], about[source]["images"]
        label = mask_label(source)
        label = label[:1].upper() + label[1:]
        refused = table.proportion(n - known, n)
        table.add(source, "refused", refused, "Refused (%)", "%", label=label)
        for kind, column, header in (
            ("coverage", f"coverage_{source}", "Share of Image"),
            ("chance", f"chance_{source}_30", "IoU, Random Map"),
            ("center", f"center_{source}", "IoU, Center"),
            ("average", f"average_{source}", "IoU, Mean Mask"),
            ("ceiling", f"ceiling_{source}", "IoU, Best Possible"),
        ):
            table.add(source, kind, table.mean(record[column]), header, label=label)
    for source, made in about.items():
        for key, value in made.items():
            if key not in {"known", "images"}:
                table.facts[f"{source}_{key}"] = value
        if "temperature" in made:
            teacher = mask_label(source).removesuffix("'s")
            table.notes.append(
                f"The {teacher}: {100 * made['accuracy']:.1f} % right on validation images, "
                f"temperature {made['temperature']:.2f}, ECE {made['ece_before']:.3f} before and "
                f"{made['ece_after']:.3f} after."
            )
    return table.done()


@over_seeds()
def table3(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> pd.DataFrame:
    """Table 3: overlap of saliency with object masks, beside what means nothing (paper 4.3).

    The paper gives mean and standard deviation alone. Beside them are the IoU of a random map on
    the same masks, of the same maps with other images' masks, of the image's center and of the mean
    mask, the best that any map can reach, the share of the saliency inside the mask (as which 4.3
    reads the IoU), how often the most salient pixel lies on the object, and constant maps.

    The masks are of ``source`` (:data:`rslib.settings.names.MASK_SOURCES`); None takes those that
    models are aligned to.
    """
    main = run.mask_source
    source = source or main
    title, name = "Table 3. Overlap of saliency with object masks (paper 4.3)", "table3"
    if source != main:
        title, name = "Overlap of saliency with object masks (paper 3.4.1)", f"overlap_{source}"
    table = Table(
        run,
        name,
        title=f"{title}, {_masks_phrase(source)}",
        notes=[
            "IoU of the top 30 % of Grad-CAM (ResNet-18) or attention rollout (ViT-Small), both "
            "bilinear at the image's size; tied pixels count by expectation. Std is over images. "
            "Columns from Random Map on are ours."
        ],
        sizes=names,
        intervals="bootstrap, and Wilson's score for shares",
        unreported="not reported",
        facts={"source": source, "masks": _masks_phrase(source)},
    )
    priors = run.priors()
    table.note(priors.attrs)
    columns = paper.TABLES["table3"].columns
    for name in table.rows(names):
        record = table.read(name, "saliency")
        found, constant = record[f"iou_{source}"], record["degenerate"].to_numpy(bool)
        spread = Estimate(float(found.std(ddof=0)), n=int(found.notna().sum()))
        table.add(name, "iou_mean", table.mean(found), columns["iou_mean"].header)
        table.add(name, "iou_std", spread, columns["iou_std"].header)
        for kind, values, header in (
            ("chance", priors[f"chance_{source}_30"], "Random Map"),
            ("shuffled", record[f"shuffled_{source}"], "Shuffled Masks"),
            ("center", priors[f"center_{source}"], "Image Center"),
            ("average", priors[f"average_{source}"], "Mean Mask"),
            ("ceiling", priors[f"ceiling_{source}"], "Best Possible"),
            ("mass", record[f"mass_{source}"], "Mass Inside"),
            ("pointing", record[f"pointing_{source}"], "Pointing Game"),
        ):
            table.add(name, kind, table.mean(values), header)
        share = table.proportion(int(constant.sum()), len(constant))
        table.add(name, "degenerate", share, "Constant Maps (%)", "%")
    return table.done()


@over_seeds()
def class_iou_table(run: Run, names: Sequence[str], *, source: str | None = None) -> pd.DataFrame:
    """Mean IoU by class: 4.3 speaks of airplanes, cats and dogs. ``source`` is as in table3."""
    source = source or run.mask_source
    title = f"IoU by class (paper 4.3), {_masks_phrase(source)}"
    table = Table(run, "class_iou", title=title, intervals="bootstrap")
    for name in table.rows(names):
        record = table.read(name, "saliency")
        for label, of_class in enumerate(run.classes):
            values = record.loc[record["label"] == label, f"iou_{source}"]
            table.add(name, of_class, table.mean(values), of_class.capitalize())
    return table.done()


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
    title, better = said[measure]
    table = Table(
        run,
        f"faithfulness_{measure}",
        title=title,
        notes=[f"{better} A dash: the method is not defined for the model.".strip()],
        same_images=True,
        intervals="bootstrap",
    )
    methods = dict(LABELS)
    if measure != "infidelity":
        methods["random"] = "Random Map"
    for name in table.rows(names):
        record = table.read(name, "faithfulness")
        for method, header in methods.items():
            values = curve_mean(record, method, measure)
            estimate = UNDEFINED if values is None else table.mean(values)
            table.add(name, method, estimate, header)
    return table.done()


def curve_mean(record: pd.DataFrame, method: str, measure: str) -> np.ndarray | None:
    """Per image: the mean over a curve, or the measure itself; None where there is none."""
    columns = [c for c in record if c.startswith(f"{method}_{measure}")]
    return record[columns].to_numpy(float).mean(1) if columns else None


@over_seeds()
def attacked_saliency_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Saliency before and after PGD, on the images that are right when clean (ours)."""
    table = Table(
        run,
        "attacked_saliency",
        title=f"Saliency before and after PGD, {_masks_phrase(run.mask_source)}",
        notes=[
            "On the images that are right when clean; each map explains the class predicted there."
        ],
        intervals="bootstrap, and Wilson's score for the fooled",
    )
    for name in table.rows(names):
        record = table.read(name, "attacked_saliency")
        right = record[record["clean_correct"]]
        fooled = table.accuracy(right["fooled"]) if len(right) else UNDEFINED
        before, after = right["iou_clean"], right["iou_attacked"]
        moved = mean_difference_known(after, before, table.confidence)
        table.add(name, "fooled", fooled, "Fooled (%)", "%")
        table.add(name, "iou_clean", table.mean(before), "IoU, Clean")
        table.add(name, "iou_attacked", table.mean(after), "IoU, Attacked")
        table.add(name, "iou_moved", moved, "IoU, Change")
        correlation = table.mean(right["rank_correlation"])
        table.add(name, "rank_correlation", correlation, "Rank Correlation")
        table.add(name, "same_top", table.mean(right["same_top"]), "IoU of the Two Maps")
    return table.done()


def mean_difference_known(first: Any, second: Any, confidence: float) -> Estimate:
    """Mean difference over the images for which both values are known."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    known = ~np.isnan(first) & ~np.isnan(second)
    if not known.any():
        return UNDEFINED
    return mean_difference(first[known], second[known], confidence=confidence)


def _masks_phrase(source: str) -> str:
    if source in TEACHERS:
        return f"the {mask_label(source)} proxy masks"
    return {"exact": "exact masks", "own": "masks of your own"}[source]
