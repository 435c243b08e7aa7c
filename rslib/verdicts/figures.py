"""Pictures of the verdicts: how many there are, and the paper's numbers beside ours."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import marks, numbers, style
from rslib.report.labels import training_phrase
from rslib.report.style import GREY
from rslib.verdicts.judging import counts_by_group
from rslib.verdicts.listing import COLORS, group_label
from rslib.verdicts.rules import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

# Letters that fit into a line below a figure.
_FOOTER_LETTERS = 125
_DARK = (Verdict.DIRECTION, Verdict.FAILED, Verdict.REPRODUCED)
# Panel: its title, its axis, and the tables and columns whose numbers it shows.
_PANELS = {
    "percent": (
        "Accuracy and attack success",
        "%",
        {
            ("table1", "clean_accuracy"): "clean",
            ("table2", "clean_accuracy"): "clean",
            ("table4", "clean_accuracy"): "clean",
            ("table2", "fgsm_accuracy"): "FGSM",
            ("table2", "pgd_accuracy"): "PGD",
            ("table2", "attack_success"): "success",
        },
    ),
    "overlap": ("Overlap with masks", "IoU", {("table3", "iou_mean"): "IoU"}),
    "errors": (
        "Corruption error",
        "relative to a reference",
        {("table5", key): key for key in ("noise", "blur", "weather", "digital")}
        | {("table5", "mce"): "mCE"},
    ),
}


@style.styled
def counts(frame: pd.DataFrame) -> Figure:
    """The verdicts on numbers and claims, counted by table and section.

    Args:
        frame: from :func:`rslib.verdicts.table`.
    """
    found = counts_by_group(frame)
    figure, axes = style.canvas([["counts"]], height=0.6 + 0.27 * len(found), footer=_footer(frame))
    axis, start = axes["counts"], np.zeros(len(found), int)
    for verdict in Verdict:
        widths, shade = found[verdict.value].to_numpy(), COLORS[verdict]
        bars = axis.barh(
            range(len(found)), widths, 0.72, left=start, color=shade, edgecolor="white"
        )
        texts = [str(width) if width else "" for width in widths]
        letters = "white" if verdict in _DARK else "black"
        axis.bar_label(bars, texts, label_type="center", fontsize=8, color=letters)
        start += widths
    marks.rows(axis, [group_label(group) for group in found.index], margin=0.6)
    axis.set_xlabel("Numbers and claims")
    marks.whole_numbers(axis)
    style.legend(figure, [style.patch(each.value, facecolor=COLORS[each]) for each in Verdict])
    return figure


@style.styled
def beside(run: Run, frame: pd.DataFrame) -> Figure:
    """The numbers of Tables 1 to 5 beside ours with their intervals.

    Hollow diamonds are the paper's, drawn where the data set is the paper's. What was not measured
    has no dot; calibration errors, hours and sizes, which have other scales, are left out.

    Args:
        run: the run that the frame is of.
        frame: from :func:`rslib.verdicts.table`.
    """
    rows = {
        panel: [
            (model, said, table, column)
            for (table, column), said in numbers.items()
            for model in paper.TABLES[table].rows
            if (table, column) != ("table2", "clean_accuracy") or not model.endswith("-standard")
        ]
        for panel, (_, _, numbers) in _PANELS.items()
    }
    right = len(rows["overlap"]) + len(rows["errors"])
    figure, axes = style.canvas(
        [["percent", "overlap"], ["percent", "errors"]],
        height=1.6 + 0.19 * max(right, len(rows["percent"])),
        footer=_footer(frame),
        height_ratios=[len(rows["overlap"]) + 2, len(rows["errors"])],
    )
    ours = frame.set_index("model")
    for panel, (title, label, _) in _PANELS.items():
        axis = axes[panel]
        for place, (model, _, table, column) in enumerate(rows[panel]):
            cell = ours.loc[f"{table}/{model}/{column}"]
            reported = style.paper_value(run, table, model, column)
            _dot(axis, place, style.color(model), cell, reported)
        names = [f"{training_phrase(model)}, {said}" for model, said, _, _ in rows[panel]]
        marks.rows(axis, names, margin=0.6, fontsize=7.5)
        axis.grid(True, axis="x")
        axis.set(title=title, xlabel=label)
    handles = [
        *style.architectures(["resnet18-standard", "vit_small-standard"]),
        style.line("ours", color=GREY, marker="o", linestyle=""),
        *style.paper_handle(run),
    ]
    style.legend(figure, handles)
    return figure


def _footer(frame: pd.DataFrame) -> str:
    return "\n".join(textwrap.wrap(frame.attrs["stamp"], _FOOTER_LETTERS))


def _dot(
    axis: Axes, place: int, shade: str, cell: Mapping[str, Any], reported: float | None
) -> None:
    """Our number with its interval, the paper's, and a line between them."""
    value = cell["ours"]
    if not numbers.missing(value):
        low, high = (value if numbers.missing(cell[e]) else cell[e] for e in ("low", "high"))
        look = {"fmt": "o", "color": shade, "markersize": 4, "capsize": 2, "elinewidth": 1}
        marks.point(axis, Estimate(value, low, high), place, **look)
        if reported is not None:
            axis.plot([value, reported], [place] * 2, color=shade, linewidth=0.6, alpha=0.5)
    if reported is not None:
        axis.plot(reported, place, **style.PAPER | {"markersize": 4.5, "markeredgewidth": 1.0})
