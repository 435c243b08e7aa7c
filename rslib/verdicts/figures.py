"""Pictures of the verdicts: how many there are, and the paper's numbers beside ours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import numbers, style
from rslib.report.labels import training_phrase
from rslib.verdicts.frame import counts_by_group
from rslib.verdicts.listing import COLORS, group_label
from rslib.verdicts.rules import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from rslib.run import Run

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
    """The verdicts on numbers and claims of :func:`rslib.verdicts.table`, counted by section."""
    found = counts_by_group(frame)
    figure, axes = style.canvas([["counts"]], height=0.6 + 0.27 * len(found), footer=_footer(frame))
    axis, start = axes["counts"], np.zeros(len(found), int)
    for verdict in Verdict:
        widths, look = found[verdict.value].to_numpy(), {"color": COLORS[verdict]}
        bars = axis.barh(range(len(found)), widths, 0.72, left=start, edgecolor="white", **look)
        texts = [str(width) if width else "" for width in widths]
        letters = "white" if verdict in _DARK else "black"
        axis.bar_label(bars, texts, label_type="center", fontsize=8, color=letters)
        start += widths
    style.rows(axis, [group_label(group) for group in found.index], margin=0.6)
    axis.set_xlabel("Numbers and claims")
    style.whole_numbers(axis)
    style.legend(figure, [style.patch(each.value, facecolor=COLORS[each]) for each in Verdict])
    return figure


@style.styled
def beside(run: Run, frame: pd.DataFrame) -> Figure:
    """The numbers of Tables 1 to 5 beside ours with their intervals.

    Hollow diamonds are the paper's, drawn where the data set is the paper's. What was not measured
    has no dot; calibration errors, hours and sizes, which have other scales, are left out.
    """
    rows = {
        panel: [
            (model, said, table, column)
            for (table, column), said in shown.items()
            for model in paper.TABLES[table].rows
            if (table, column) != ("table2", "clean_accuracy") or not model.endswith("-standard")
        ]
        for panel, (_, _, shown) in _PANELS.items()
    }
    percent, overlap, errors = map(len, rows.values())
    figure, axes = style.canvas(
        [["percent", "overlap"], ["percent", "errors"]],
        height=1.6 + 0.19 * max(overlap + errors, percent),
        footer=_footer(frame),
        height_ratios=[overlap + 2, errors],
    )
    ours = frame.set_index("model")
    dot = {"fmt": "o", "markersize": 4, "capsize": 2, "elinewidth": 1}
    for panel, (title, label, _) in _PANELS.items():
        axis = axes[panel]
        for place, (model, _, table, column) in enumerate(rows[panel]):
            cell, look = ours.loc[f"{table}/{model}/{column}"], {"color": style.color(model)}
            value, reported = cell["ours"], style.paper_value(run, table, model, column)
            if not numbers.missing(value):
                ends = (cell["low"], cell["high"])
                low, high = (value if numbers.missing(end) else end for end in ends)
                style.point(axis, Estimate(value, low, high), place, **dot, **look)
                if reported is not None:
                    axis.plot([value, reported], [place] * 2, linewidth=0.6, alpha=0.5, **look)
            if reported is not None:
                hollow = style.PAPER | {"markersize": 4.5, "markeredgewidth": 1.0}
                axis.plot(reported, place, **hollow)
        names = [f"{training_phrase(model)}, {said}" for model, said, _, _ in rows[panel]]
        style.rows(axis, names, margin=0.6, fontsize=7.5)
        axis.grid(True, axis="x")
        axis.set(title=title, xlabel=label)
    handles = [
        *style.architectures(["resnet18-standard", "vit_small-standard"]),
        style.line("ours", color=style.GREY, marker="o", linestyle=""),
        *style.paper_handle(run),
    ]
    style.legend(figure, handles)
    return figure


def _footer(frame: pd.DataFrame) -> str:
    """What the frame is of, in lines that fit below a figure."""
    return textwrap.fill(frame.attrs["stamp"], 125)
