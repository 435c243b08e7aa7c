"""What alignment changes, drawn from records and summaries (paper 3.4, 4.4, 5.5).

Call these as ``figures.alignment_dynamics`` and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import accuracy, mean
from rslib.report import labels, seeds, style
from rslib.report.style import CYCLE, DASHES, GREY, PURPLE
from rslib.report.tables.alignment import shares_table
from rslib.settings.names import baseline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rslib.run import Run


@style.styled
def alignment_dynamics(run: Run, names: Sequence[str]) -> Figure:
    """IoU, accuracy and both losses over the epochs of alignment (paper 4.4 describes them).

    Args:
        run: whose models' summaries are read.
        names: aligned models and controls, in order.

    Raises:
        rslib.store.records.RecordError: a model has not been trained.
    """
    summaries = {name: run.summary(name) for name in names}
    panels = {
        "validation_iou": "IoU",
        "validation_accuracy": "Accuracy (%)",
        "validation_alignment_loss": "Alignment loss",
        "validation_loss": "Cross-entropy",
    }
    keys = list(panels)
    figure, axes = style.canvas(
        [keys[:2], keys[2:]],
        height=3.6,
        footer=style.footer(run, names, list(summaries.values()), others="thin lines"),
    )
    for number, (name, summary) in enumerate(summaries.items()):
        look = {"color": style.color(name), "ls": DASHES[number % len(DASHES)]}
        rest = seeds.summaries(run, name)
        for key, axis in axes.items():
            scale = 100 if key == "validation_accuracy" else 1
            label = labels.short_label(name)
            style.history(axis, summary, key, scale, marker=".", label=label, **look)
            for each in rest:
                style.history(axis, each, key, scale, **look | style.THIN)
    for key, axis in axes.items():
        axis.set(title=panels[key])
        axis.grid(True)
        style.whole_numbers(axis)
        if key in keys[2:]:
            axis.set_xlabel("Epoch of alignment")
    style.legend(figure, axes[keys[0]].get_legend_handles_labels()[0])
    return figure


@style.styled
def alignment_plane(run: Run, names: Sequence[str]) -> Figure:
    """Accuracy against IoU for the variants of alignment, and what they start from (paper 4.4).

    Args:
        run: whose models' summaries and saliency records are read.
        names: aligned models, in order; each architecture's baseline is added.

    Raises:
        rslib.store.records.RecordError: a model or a record has not been made.
    """
    families = list(dict.fromkeys(map(baseline, names)))
    source = run.mask_source
    confidence = run.settings.evaluation.confidence
    records = {name: run.record(name, "saliency") for name in (*families, *names)}
    sources = [each.attrs for each in records.values()]
    footer = style.footer(run, names, sources, others="small dots")
    figure, axes = style.canvas([families], height=2.9, footer=footer)
    for family in families:
        axis = axes[family]
        shown = [family, *(name for name in names if baseline(name) == family)]
        for shade, name in zip(CYCLE * len(shown), shown, strict=False):
            x = mean(records[name][f"iou_{source}"], confidence=confidence)
            y = accuracy(records[name]["correct"], confidence=confidence)
            label = labels.training_label(name).removeprefix("Aligned ").strip("()")
            axis.errorbar(
                x.value, y.value, style.reach(y), style.reach(x), color=shade, elinewidth=1,
                capsize=0, fmt="o" if name == family else "^", label=label,
            )  # fmt: skip
            rest = seeds.records(run, name, "saliency")
            overlaps = [each[f"iou_{source}"].mean() for each in rest]
            style.dots(axis, overlaps, [100 * each["correct"].mean() for each in rest], shade)
        axis.set(title=labels.architecture_label(family), xlabel="Mean IoU",
                 ylabel="Clean accuracy (%)")  # fmt: skip
        axis.grid(True)
        axis.legend(fontsize=7, loc="best")
    return figure


@style.styled
def masks_needed(run: Run, names: Sequence[str]) -> Figure:
    """IoU and accuracy against the number of training images that have a mask (paper 5.5).

    Args:
        run: whose models' summaries and saliency records are read.
        names: the same model trained with masks for growing shares.

    Raises:
        rslib.store.records.RecordError: a model or a record has not been made.
    """
    frame = shares_table(run, names)
    source, start = run.mask_source, run.record(baseline(names[0]), "saliency")
    figure, axes = style.canvas(
        [["iou", "accuracy"]], height=2.4,
        footer=style.below(run, names, frame, others="thin lines"),
    )  # fmt: skip
    wide = {q: rows.set_index("model").loc[list(names)] for q, rows in frame.groupby("quantity")}
    known = wide["masked_images"]["ours"].to_numpy(float)
    confidence = run.settings.evaluation.confidence
    level = {"iou": mean(start[f"iou_{source}"], confidence=confidence).value,
             "accuracy": 100 * start["correct"].mean()}  # fmt: skip
    for key, quantity, title in (
        ("iou", f"iou_{source}", "Mean IoU"),
        ("accuracy", "clean_accuracy", "Clean accuracy (%)"),
    ):
        cells = wide[quantity]
        reach = [cells["ours"] - cells["low"], cells["high"] - cells["ours"]]
        axes[key].errorbar(known, cells["ours"], reach, marker="o", color=PURPLE)
        rest = [style.others(run, row) for row in cells.to_dict("records")]
        axes[key].plot(known, rest, color=PURPLE, **style.THIN)
        axes[key].axhline(level[key], color=GREY, ls=":", label="baseline, no masks")
        axes[key].set(xscale="log", xlabel="Training images with a mask", title=title)
        axes[key].grid(True)
        axes[key].legend()
    return figure
