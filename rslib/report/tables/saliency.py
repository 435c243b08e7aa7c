"""Where models look, and whether that means anything (paper 3.3, 4.3): Table 3 and what it omits.

Overlap with a teacher's masks is agreement with that teacher; only exact masks and a user's own
speak of objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib import paper
from rslib.metrics.estimates import UNDEFINED, Estimate, on_images
from rslib.report.labels import mask_label
from rslib.report.rendering import sentence
from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.saliency.methods import LABELS
from rslib.saliency.overlap import iou_elsewhere
from rslib.settings.names import INTERPRETABILITY, TEACHERS, TOPS

if TYPE_CHECKING:
    import pandas as pd


@fills(
    "masks",
    "Object masks of the test images, by where they come from (paper 3.4.1)",
    note="IoU is of the top 30 % of a map (paper 3.3.3). A refused mask is one that covers next to "
    "nothing or nearly all of the image, or comes from a constant map; overlap is taken over the "
    "others.",
    intervals="bootstrap, and Wilson's score for the refused",
    pairs="Masks",
)
def masks_table(table: Table, sources: Sequence[str] | None = None) -> None:
    """The object masks of the test images, by source: how many, how large, and what they allow.

    Sources are by default all that the record of the masks' priors holds. Coverage and IoUs are
    means over the images that have a mask; ``refused`` are those that have none.
    """
    record = table.run.priors()
    table.note(record.attrs)
    about = record.attrs["sources"]
    for source in sources or about:
        known, n = about[source]["known"], about[source]["images"]
        label = sentence(mask_label(source))
        refused = table.proportion(n - known, n)
        table.add(source, "refused", refused, "Refused (%)", label=label)
        for kind, column, header in (
            ("coverage", f"coverage_{source}", "Share of Image"),
            ("chance", f"chance_{source}_30", "IoU, Random Map"),
            ("center", f"center_{source}", "IoU, Center"),
            ("average", f"average_{source}", "IoU, Mean Mask"),
            ("ceiling", f"ceiling_{source}", "IoU, Best Possible"),
        ):
            table.add(source, kind, table.mean(record[column]), header, label=label)
    for source, made in about.items():
        facts = {f"{source}_{key}": made[key] for key in made if key not in {"known", "images"}}
        table.facts |= facts
        if "temperature" in made:
            teacher = mask_label(source).removesuffix("'s")
            table.notes.append(
                f"The {teacher}: {100 * made['accuracy']:.1f} % right on validation images, "
                f"temperature {made['temperature']:.2f}, ECE {made['ece_before']:.3f} before and "
                f"{made['ece_after']:.3f} after."
            )


@fills(
    "table3",
    "Table 3. Overlap of saliency with object masks (paper 4.3)",
    note="IoU of the top 30 % of Grad-CAM (ResNet-18) or attention rollout (ViT-Small), both "
    "bilinear at the image's size; tied pixels count by expectation. Std is over images. Columns "
    "from Random Map on are ours.",
    intervals="bootstrap, and Wilson's score for shares",
    unreported="not reported",
)
def table3(
    table: Table, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> None:
    """Table 3: overlap of saliency with object masks, beside what means nothing (paper 4.3).

    The paper gives mean and standard deviation alone. Ours are the IoU of a random map, of other
    images' masks, of the image's center and of the mean mask, the best that any map can reach, the
    share of the saliency inside the mask (as which 4.3 reads the IoU), how often the most salient
    pixel lies on the object, and constant maps.

    The masks are of ``source`` (:data:`rslib.settings.names.MASK_SOURCES`), by default those that
    models are aligned to; with others the table is called ``overlap_<source>``.
    """
    run = table.run
    source = source or run.mask_source
    if source != run.mask_source:
        table.name = f"overlap_{source}"
        table.title = "Overlap of saliency with object masks (paper 3.4.1)"
    table.title += f", {_masks_phrase(source)}"
    table.facts = {"source": source, "masks": _masks_phrase(source)}
    table.sizes, priors = names, run.priors()
    table.note(priors.attrs)
    columns = paper.TABLES["table3"].columns
    for name, record in table.each(names, "saliency"):
        found, constant = record[f"iou_{source}"], record["degenerate"]
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
        table.add(name, "degenerate", table.accuracy(constant), "Constant Maps (%)")


@fills("class_iou", intervals="bootstrap")
def class_iou_table(table: Table, names: Sequence[str], *, source: str | None = None) -> None:
    """Mean IoU by class: 4.3 speaks of airplanes, cats and dogs. ``source`` is as in table3."""
    source = source or table.run.mask_source
    table.title = f"IoU by class (paper 4.3), {_masks_phrase(source)}"
    for name, record in table.each(names, "saliency"):
        for label, of_class in enumerate(table.run.classes):
            values = record.loc[record["label"] == label, f"iou_{source}"]
            table.add(name, of_class, table.mean(values), of_class.capitalize())


@fills(
    "thresholds",
    note="Top 30 %: the paper's threshold. Otsu: that which separates each map's own values best, "
    "beside a random map of as many pixels. Best share: every second image at the share of "
    "its pixels (of those in the figure) that is best on the others, and the reverse. All shares: "
    "the area under the curve of IoU against the share kept. A dash: not in this record.",
    intervals="bootstrap",
)
def thresholds_table(table: Table, names: Sequence[str], *, source: str | None = None) -> None:
    """IoU by other rules than the top 30 %: 3.3.3 also says "optimized for maximum separation".

    Two readings of that, neither of which looks at an image's mask to choose its threshold
    (:func:`rslib.saliency.separated`, :func:`rslib.saliency.overlap.iou_elsewhere`), and the IoU
    over all thresholds (:func:`rslib.saliency.iou_area`). ``source`` is as in table3.
    """
    source = source or table.run.mask_source
    table.title = f"IoU by the rule of its threshold (paper 3.3.3), {_masks_phrase(source)}"
    shares = [f"iou_{source}_{100 * top:02.0f}" for top in TOPS]
    for name, record in table.each(names, "saliency"):
        try:
            best, columns = iou_elsewhere(record[shares].to_numpy(float))
            kept = Estimate(100 * sum(TOPS[column] for column in columns) / 2)
            chosen = table.mean(best)
        except ValueError:  # fewer than two masks
            chosen = kept = UNDEFINED
        table.add(name, "iou_mean", table.mean(record[f"iou_{source}"]), "Top 30 %")
        for kind, header in (("otsu", "Otsu"), ("otsu_chance", "Random Map, Otsu")):
            table.add(name, kind, _if_known(table, record, f"{kind}_{source}"), header)
        table.add(name, "iou_best", chosen, "Best Share")
        table.add(name, "best_share", kept, "Share Kept (%)")
        for kind, header in (
            ("area", "All Shares"),
            ("area_chance", "Random Map, All Shares"),
            ("area_ceiling", "Best Possible, All Shares"),
        ):
            table.add(name, kind, _if_known(table, record, f"{kind}_{source}"), header)


def _if_known(table: Table, record: pd.DataFrame, column: str) -> Estimate:
    return table.mean(record[column]) if column in record else UNDEFINED


_MEASURES = {
    "insertion": "Insertion: mean probability of the class as the most salient pixels appear",
    "deletion": "Deletion: mean probability of the class as the most salient pixels vanish",
    "infidelity": "Infidelity under small noise",
    "iou": "IoU of the top 30 % with the masks, method by method",
}
_BETTER = {"insertion": "Higher is better. ", "iou": ""}


@fills("faithfulness", same_images=True, intervals="bootstrap")
def faithfulness_table(table: Table, names: Sequence[str], measure: str) -> None:
    """One measure of faithfulness for every method and model (ours; the paper's reference 14).

    ``measure`` is ``"insertion"`` or ``"deletion"`` (mean over the curve; higher and lower is
    better), ``"infidelity"`` (lower is better) or ``"iou"``; the table is called
    ``faithfulness_<measure>``. There is a random map where that makes sense; beside IoU there are
    its expectation and the best that any map can reach. Methods that no record has are left out.

    Raises:
        ValueError: no such measure.
    """
    if measure not in _MEASURES:
        raise ValueError(f"no measure {measure!r}; there are: {', '.join(_MEASURES)}")
    table.name, table.title = f"faithfulness_{measure}", _MEASURES[measure]
    better = _BETTER.get(measure, "Lower is better. ")
    told = "the method is not defined for the model"
    table.notes = [f"{better}A dash: {told}, or not in its record."]
    methods = dict(LABELS)
    if measure != "infidelity":
        methods["random"] = "Random Map"
    records, source = dict(table.each(names, "faithfulness")), table.run.mask_source
    # The points of a curve, or the measure itself.
    of = {
        (name, method): [each for each in record if each.startswith(f"{method}_{measure}")]
        for name, record in records.items()
        for method in methods
    }
    for name, record in records.items():
        for method, header in methods.items():
            if not any(of[each, method] for each in records):
                continue
            values = record[of[name, method]].to_numpy(float)
            known = table.mean(values.mean(1)) if of[name, method] else UNDEFINED
            table.add(name, method, known, header)
        if measure == "iou":
            priors = on_images(table.run.priors(), record["image"])
            for kind, header in (("chance", "Chance"), ("ceiling", "Best Possible")):
                column = f"{kind}_{source}" if kind == "ceiling" else f"{kind}_{source}_30"
                table.add(name, kind, table.mean(priors[column]), header)


@fills(
    "attacked_saliency",
    note="On the images that are right when clean; each map explains the class predicted there.",
    intervals="bootstrap, and Wilson's score for the fooled",
)
def attacked_saliency_table(table: Table, names: Sequence[str]) -> None:
    """Saliency before and after PGD, on the images that are right when clean (ours)."""
    table.title = f"Saliency before and after PGD, {_masks_phrase(table.run.mask_source)}"
    for name, record in table.each(names, "attacked_saliency"):
        right = record[record["clean_correct"]]
        fooled = table.accuracy(right["fooled"]) if len(right) else UNDEFINED
        before, after = right["iou_clean"], right["iou_attacked"]
        table.add(name, "fooled", fooled, "Fooled (%)")
        for kind, found, header in (
            ("iou_clean", table.mean(before), "IoU, Clean"),
            ("iou_attacked", table.mean(after), "IoU, Attacked"),
            ("iou_moved", table.mean_difference(after, before), "IoU, Change"),
            ("rank_correlation", table.mean(right["rank_correlation"]), "Rank Correlation"),
            ("same_top", table.mean(right["same_top"]), "IoU of the Two Maps"),
        ):
            table.add(name, kind, found, header)


def _masks_phrase(source: str) -> str:
    if source in TEACHERS:
        return f"the {mask_label(source)} proxy masks"
    return {"exact": "exact masks", "own": "masks of your own"}[source]
