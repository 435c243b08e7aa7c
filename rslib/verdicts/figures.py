"""Pictures of the verdicts: how many there are, and the paper's numbers beside ours."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import numbers, style
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
    """How many numbers and claims of each table and section have which verdict.

    Args:
        frame: from :func:`rslib.verdicts.table`.
    """
    found = counts_by_group(frame)
    figure, axes = style.canvas([["counts"]], height=0.6 + 0.27 * len(found), footer=_footer(frame))
    axis = axes["counts"]
    start = [0] * len(found)
    for verdict in Verdict:
        widths = found[verdict.value].tolist()
        axis.barh(
            range(len(found)), widths, 0.72, left=start, color=COLORS[verdict], edgecolor="white"
        )
        for place, (left, width) in enumerate(zip(start, widths, strict=True)):
            if width:
                dark = verdict in (Verdict.DIRECTION, Verdict.FAILED, Verdict.REPRODUCED)
                axis.text(
                    left + width / 2, place, str(width), ha="center", va="center", fontsize=8,
                    color="white" if dark else "black",
                )  # fmt: skip
        start = [left + width for left, width in zip(start, widths, strict=True)]
    axis.set_yticks(range(len(found)), [group_label(group) for group in found.index])
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="Numbers and claims", ylim=(len(found) - 0.4, -0.6))
    style.whole_numbers(axis)
    handles = [style.patch(each.value, facecolor=COLORS[each]) for each in Verdict]
    style.legend(figure, handles)
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
            _dot(axis, run, place, model, ours.loc[f"{table}/{model}/{column}"], table, column)
        names = [f"{training_phrase(model)}, {said}" for model, said, _, _ in rows[panel]]
        axis.set_yticks(range(len(names)), names, fontsize=7.5)
        axis.tick_params(axis="y", length=0)
        axis.grid(True, axis="x")
        axis.set(title=title, xlabel=label, ylim=(len(names) - 0.4, -0.6))
    handles = [
        *style.architectures(["resnet18-standard", "vit_small-standard"]),
        style.line("ours", color=GREY, marker="o", linestyle=""),
        *style.paper_handle(run),
    ]
    style.legend(figure, handles)
    return figure


def _footer(frame: pd.DataFrame) -> str:
    return "\n".join(textwrap.wrap(frame.attrs["stamp"], _FOOTER_LETTERS))


def _dot(axis: Axes, run: Run, place: int, model: str, cell: Any, table: str, column: str) -> None:
    color = style.color(model)
    reported = style.paper_value(run, table, model, column)
    if not numbers.missing(cell["ours"]):
        ends = [
            cell["ours"] if numbers.missing(cell[end]) else cell[end] for end in ("low", "high")
        ]
        reach = style.reach(Estimate(cell["ours"], *ends))
        axis.errorbar(
            cell["ours"], place, xerr=reach, fmt="o", color=color, markersize=4, capsize=2,
            elinewidth=1,
        )  # fmt: skip
        if reported is not None:
            axis.plot(
                [cell["ours"], reported], [place, place], color=color, linewidth=0.6, alpha=0.5
            )
    if reported is not None:
        axis.plot(reported, place, **style.PAPER | {"markersize": 4.5, "markeredgewidth": 1.0})
