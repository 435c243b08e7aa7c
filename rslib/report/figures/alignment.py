"""The effects of alignment, drawn from records and summaries (paper 3.4, 4.4, 5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import accuracy, mean
from rslib.report import labels, marks, seeds, style
from rslib.report.tables.alignment import shares_table
from rslib.settings.names import baseline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rslib.run import Run

_DYNAMICS = {
    "validation_iou": "IoU",
    "validation_accuracy": "Accuracy (%)",
    "validation_alignment_loss": "Alignment loss",
    "validation_loss": "Cross-entropy",
}


@style.styled
def alignment_dynamics(run: Run, names: Sequence[str]) -> Figure:
    """IoU, accuracy and both losses over the epochs of alignment (paper 4.4 describes them)."""
    summaries = {name: run.summary(name) for name in names}
    keys = list(_DYNAMICS)
    footer = style.footer(run, names, summaries.values(), others="thin lines")
    figure, axes = style.canvas([keys[:2], keys[2:]], height=3.6, footer=footer, grid="both")
    for number, (name, summary) in enumerate(summaries.items()):
        look = style.numbered_look(number) | {"color": style.color(name)}
        rest, label = seeds.summaries(run, name), labels.short_label(name)
        for key, axis in axes.items():
            scale = 100 if key == "validation_accuracy" else 1
            marks.history(axis, summary, key, scale, marker=".", label=label, **look)
            for each in rest:
                marks.history(axis, each, key, scale, **look | marks.THIN)
    for key, axis in axes.items():
        axis.set_title(_DYNAMICS[key])
        marks.whole_numbers(axis)
    for key in keys[2:]:
        axes[key].set_xlabel("Epoch of alignment")
    return style.legend(figure)


@style.styled
def alignment_plane(run: Run, names: Sequence[str]) -> Figure:
    """Accuracy against IoU for the variants of alignment, and what they start from (paper 4.4).

    Each architecture's baseline is added to the models.
    """
    families = list(dict.fromkeys(map(baseline, names)))
    confidence, overlap = run.settings.evaluation.confidence, f"iou_{run.mask_source}"
    records = {name: run.record(name, "saliency") for name in (*families, *names)}
    footer = style.footer(run, names, records.values(), others="small dots")
    figure, axes = style.canvas([families], height=2.9, footer=footer, grid="both")
    for family, axis in axes.items():
        shown = [family, *(name for name in names if baseline(name) == family)]
        for shade, name in zip(style.CYCLE * len(shown), shown, strict=False):
            x = mean(records[name][overlap], confidence=confidence)
            y = accuracy(records[name]["correct"], confidence=confidence)
            label = labels.training_label(name).removeprefix("Aligned ").strip("()")
            look = {"color": shade, "label": label, "fmt": "o" if name == family else "^"}
            marks.point(axis, x, y, elinewidth=1, capsize=0, **look)
            overlaps = [rest[overlap].mean() for rest in seeds.records(run, name, "saliency")]
            marks.dots(axis, overlaps, marks.accuracies(run, name, "saliency"), shade)
        axis.set(title=labels.architecture_label(family), xlabel="Mean IoU")
        axis.set_ylabel("Clean accuracy (%)")
        axis.legend(fontsize=7, loc="best")
    return figure


@style.styled
def masks_needed(run: Run, names: Sequence[str]) -> Figure:
    """IoU and accuracy against the number of training images that have a mask (paper 5.5).

    The models are one, trained with masks for growing shares.
    """
    frame, overlap = shares_table(run, names), f"iou_{run.mask_source}"
    start = run.record(baseline(names[0]), "saliency")
    footer = style.footer(run, names, frame, others="thin lines")
    figure, axes = style.canvas([["iou", "accuracy"]], height=2.4, footer=footer, grid="both")
    known = marks.cells(frame, names, "masked_images")["ours"].to_numpy(float)
    for axis, quantity, title, level in (
        (axes["iou"], overlap, "Mean IoU", start[overlap].mean()),
        (axes["accuracy"], "clean_accuracy", "Clean accuracy (%)", 100 * start["correct"].mean()),
    ):
        found = marks.cells(frame, names, quantity)
        axis.errorbar(known, *marks.intervals(found), marker="o", color=style.PURPLE)
        axis.plot(known, marks.other_seeds(run, found), color=style.PURPLE, **marks.THIN)
        axis.axhline(level, color=style.GREY, ls=":", label="baseline, no masks")
        axis.set(xscale="log", xlabel="Training images with a mask", title=title)
        axis.legend()
    return figure
