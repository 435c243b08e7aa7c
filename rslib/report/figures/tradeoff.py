"""Figure 4 and what it leaves out: what models trade for what, with its uncertainty (paper 4.6).

Call these as ``figures.figure4`` and so on.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.corruptions import CATEGORIES
from rslib.metrics import pareto
from rslib.metrics.estimates import Estimate
from rslib.report import labels, seeds, style, tradeoffs
from rslib.report.style import GREY, PAPER
from rslib.report.tables import tradeoff
from rslib.run import joined

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

# Fronts of single resamples that are drawn faintly behind the front of the estimates.
_FRONTS = 60
# Areas of the points, in square points, of the quickest and the slowest training.
_AREAS = (25.0, 190.0)
_TITLES = {
    "clean_accuracy": "Accuracy (%)",
    "pgd_accuracy": "Under PGD (%)",
    "mce": "mCE",
    "iou_mean": "IoU",
    "ece": "ECE",
}


@style.styled
def figure4(run: Run, names: Sequence[str]) -> Figure:
    """Figure 4: accuracy against robustness, and against the overlap of saliency and object (4.6).

    Left: accuracy under PGD against accuracy, with the Pareto front of the estimates and, faintly,
    those of 60 resamples of the test images. Right: IoU against accuracy, with the front of these
    two. Bars are intervals; the larger a point, the longer its training took, with that of the
    models it starts from. Hollow diamonds are the paper's, drawn where the data set is the paper's.

    Args:
        run: whose summaries and clean, PGD and saliency records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a model or a record has not been made.
    """
    sources = [run.record(name, kind).attrs for name in names for kind in _KINDS]
    figure, axes = style.canvas(
        [["plane", "overlap"]],
        height=3.9,
        footer=style.footer(run, names, sources, others="small dots"),
    )
    sizes, looks = _areas(run, names), style.looks(names)
    reported = {"pgd_accuracy": ("table2", "pgd_accuracy"), "iou_mean": ("table3", "iou_mean")}
    for panel, upward in (("plane", "pgd_accuracy"), ("overlap", "iou_mean")):
        axis = axes[panel]
        rest = _places(run, names, ["clean_accuracy", upward])
        for name in names:
            style.dots(axis, *rest[name].T, looks[name][0])
            across, up = (tradeoffs.measured(run, name, a) for a in ("clean_accuracy", upward))
            _point(axis, name, across, up, sizes[name], looks[name])
            table, column = reported[upward]
            where = "table4" if name.endswith("-aligned") else "table2"
            told = (
                style.paper_value(run, where, name, "clean_accuracy"),
                style.paper_value(run, table, name, column),
            )
            if None not in told:
                axis.plot(*told, **PAPER | {"markeredgecolor": style.color(name)})
        axis.set_ylim(bottom=-2 if panel == "plane" else 0)
        _fronts(axis, run, names, upward)
        axis.grid(True)
    axes["plane"].set(
        title="Accuracy and robustness",
        xlabel="Accuracy (%)",
        ylabel="Accuracy under PGD (%)",
    )
    axes["overlap"].set(
        title="Accuracy and interpretability",
        xlabel="Accuracy (%)",
        ylabel="IoU of saliency and object",
    )
    style.legend(
        figure,
        [
            *style.models(names),
            style.line("Pareto front", color=GREY),
            *style.paper_handle(run),
        ],
    )
    return figure


@style.styled
def objectives(run: Run, names: Sequence[str]) -> Figure:
    """All models on all five axes (paper 4.6): accuracy, PGD accuracy, mCE, IoU, calibration error.

    One panel an axis, one line a model, bars for intervals; arrows say which way is better. Filled
    points are on the Pareto front of all five axes in more than half of the resamples.

    Args:
        run: whose clean, PGD, corruption and saliency records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    chosen, looks = [axis.name for axis in tradeoffs.AXES], style.looks(names)
    shares = pareto.membership(
        tradeoffs.resampled(run, names, chosen), [axis.higher for axis in tradeoffs.AXES]
    )
    sources = [run.record(name, kind).attrs for name in names for kind in (*_KINDS, "corruptions")]
    figure, axes = style.canvas(
        [chosen],
        height=1.0 + 0.27 * len(names),
        footer=style.footer(run, names, sources, others="small dots"),
    )
    rest = _places(run, names, chosen)
    for column, axis in enumerate(tradeoffs.AXES):
        panel = axes[axis.name]
        for line, (name, share) in enumerate(zip(names, shares, strict=True)):
            found = tradeoffs.measured(run, name, axis.name)
            color, mark = looks[name]
            beside = rest[name][:, column]
            style.dots(panel, beside, [line + 0.25] * len(beside), color)
            panel.errorbar(
                found.value, line, xerr=style.reach(found), color=color,
                marker=mark, markersize=6, linestyle="",
                markerfacecolor=color if share > 0.5 else "white",
            )  # fmt: skip
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_yticks(range(len(names)), [])
        panel.tick_params(axis="y", length=0)
        panel.grid(True)
        panel.margins(x=0.12)
        way = "right is better" if axis.higher else "left is better"
        panel.set_title(_TITLES[axis.name], fontsize=8.5)
        panel.set_xlabel(way, fontsize=8, color=GREY)
    axes[chosen[0]].set_yticks(
        range(len(names)), [labels.short_label(name) for name in names], fontsize=8
    )
    return figure


@style.styled
def correlations(run: Run, names: Sequence[str]) -> Figure:
    """Whether what breaks an image also breaks it otherwise, and whether overlap helps (paper 5.3).

    Left: rank correlation between being right under an attack and under corruptions. Right: of IoU
    with being right under PGD and under corruptions. Hollow: plain; filled: among images of equal
    confidence (right: and of equal object size). Bars are intervals.

    Args:
        run: whose clean, FGSM, PGD, corruption and saliency records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    panels = {
        "breakage": (
            tradeoff.breakage_table(run, names),
            {"fgsm": "FGSM", "pgd": "PGD"},
            "Right under attack\nand under corruptions",
        ),
        "overlap": (
            tradeoff.overlap_robustness_table(run, names),
            {"pgd": "PGD", "corruptions": "corruptions"},
            "Overlap with the object\nand robustness",
        ),
    }
    footer = style.below(
        run, names, panels["breakage"][0], others="small dots (at equal confidence)"
    )
    figure, axes = style.canvas([list(panels)], height=1.1 + 0.36 * len(names), footer=footer)
    shades = {"fgsm": style.ORANGE, "pgd": style.PURPLE, "corruptions": style.GREEN}
    for key, (frame, kinds, title) in panels.items():
        panel = axes[key]
        for line, name in enumerate(names):
            for shift, kind in zip((-0.17, 0.17), kinds, strict=True):
                for quantity, filled in ((kind, False), (f"{kind}_partial", True)):
                    _correlation(panel, frame, name, quantity, line + shift, shades[kind], filled)
                at = (frame.model == name) & (frame.quantity == f"{kind}_partial")
                rest = style.others(run, frame[at].iloc[0])
                style.dots(panel, rest, [line + shift + 0.09] * len(rest), shades[kind])
        panel.axvline(0, color=GREY, linewidth=1)
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_yticks(range(len(names)), [])
        panel.tick_params(axis="y", length=0)
        panel.grid(True, axis="x")
        panel.set(title=title, xlabel="Rank correlation")
    axes["breakage"].set_yticks(
        range(len(names)), [labels.short_label(name) for name in names], fontsize=8
    )
    style.legend(
        figure,
        [
            *(style.line(labels.evaluation_label(kind), color=shade, marker="o", linestyle="")
              for kind, shade in shades.items()),
            style.line("plain", color=GREY, marker="o", ls="", markerfacecolor="white"),
            style.line("at equal confidence", color=GREY, marker="o", ls=""),
        ],
    )  # fmt: skip
    return figure


@style.styled
def confident_errors(run: Run, names: Sequence[str]) -> Figure:
    """Where a model is confidently wrong: by class, clean and under each category of corruptions.

    Each cell is the share of a class's images (or corrupted versions, at all severities) that the
    model gets wrong with a confidence of 0.9 or more.

    Args:
        run: whose clean and corruption records are read.
        names: models, one panel each.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    shares = {name: _confidently_wrong(run, name) for name in names}
    sources = [run.record(name, kind).attrs for name in names for kind in ("clean", "corruptions")]
    figure, axes = style.canvas([list(names)], height=3.4, footer=style.footer(run, names, sources))
    top = max(1.0, max(float(each.max()) for each in shares.values()))
    for place, (name, values) in enumerate(shares.items()):
        panel = axes[name]
        shown = panel.imshow(values, aspect="auto", cmap="Purples", vmin=0, vmax=top)
        for (line, column), value in np.ndenumerate(values):
            panel.text(column, line, f"{value:.1f}", ha="center", va="center", fontsize=7.5,
                       color="white" if value > 0.6 * top else "black")  # fmt: skip
        panel.set_yticks(range(len(run.classes)), run.classes if place == 0 else [])
        panel.set_xticks(range(1 + len(CATEGORIES)), ["clean", *CATEGORIES], rotation=30)
        panel.tick_params(length=0)
        panel.set_title(labels.short_label(name))
    figure.colorbar(shown, ax=list(axes.values()), shrink=0.7, pad=0.02).set_label(
        "Confidently wrong (%)"
    )
    return figure


_KINDS = ("clean", "pgd", "saliency")


def _places(run: Run, names: Sequence[str], axes: Sequence[str]) -> dict[str, np.ndarray]:
    """Where models stand under the other seeds that have them: each (siblings, axes)."""
    found = {}
    for name in names:
        rest = seeds.others(run, functools.partial(tradeoffs.place, names=[name], axes=axes))
        found[name] = np.reshape(rest, (-1, len(axes)))
    return found


def _fronts(axis: Axes, run: Run, names: Sequence[str], upward: str) -> None:
    chosen, limits = ["clean_accuracy", upward], (axis.get_xlim(), axis.get_ylim())
    for values in tradeoffs.resampled(run, names, chosen, resamples=_FRONTS):
        _front(axis, values, limits, color=GREY, linewidth=0.6, alpha=0.12)
    _front(axis, tradeoffs.place(run, names, chosen), limits, color=GREY, linewidth=1.2)
    axis.set(xlim=limits[0], ylim=limits[1])


def _front(axis: Axes, values: np.ndarray, limits: Sequence[Any], **look: Any) -> None:
    """The edge of what the best models dominate, as steps from side to bottom of the panel."""
    best = values[pareto.front(values, [True, True])]
    best = best[np.argsort(best[:, 0])]
    (left, _), (bottom, _) = limits
    edge = np.vstack([[left, best[0, 1]], best, [best[-1, 0], bottom]])
    axis.step(edge[:, 0], edge[:, 1], where="pre", zorder=0, label="front", **look)


def _point(
    axis: Axes, name: str, across: Estimate, up: Estimate, size: float, look: tuple[str, str]
) -> None:
    color, mark = look
    axis.errorbar(
        across.value, up.value, xerr=style.reach(across), yerr=style.reach(up),
        color=color, linewidth=0.8, capsize=0, linestyle="", zorder=2,
    )  # fmt: skip
    axis.scatter(
        across.value, up.value, s=size, marker=mark, color=color,
        edgecolors="white", linewidths=0.7, zorder=3, label=name,
    )  # fmt: skip


def _areas(run: Run, names: Sequence[str]) -> dict[str, float]:
    """The area of each model's point, by its training time."""
    spent = np.array([tradeoff.seconds(run, name) for name in names])
    share = (spent - spent.min()) / max(float(np.ptp(spent)), 1e-9)
    areas = _AREAS[0] + share * (_AREAS[1] - _AREAS[0])
    return dict(zip(names, areas.tolist(), strict=True))


def _correlation(
    panel: Axes, frame: pd.DataFrame, name: str, quantity: str, at: float, shade: str, filled: bool
) -> None:
    (found,) = frame[(frame.model == name) & (frame.quantity == quantity)].to_dict("records")
    if np.isnan(found["ours"]):
        return
    reach = style.reach(Estimate(found["ours"], found["low"], found["high"]))
    panel.errorbar(
        found["ours"], at, xerr=reach, color=shade, marker="o", markersize=4.5, capsize=0,
        linewidth=0.9, markerfacecolor=shade if filled else "white", alpha=1 if filled else 0.7,
    )  # fmt: skip


def _confidently_wrong(run: Run, name: str) -> np.ndarray:
    """(classes, 1 + categories), in percent."""
    sure = tradeoff.CONFIDENT
    clean = joined.load(run, name)
    wrong = (clean["confidence"] >= sure) & ~clean["clean_correct"].astype(bool)
    columns = [wrong.groupby(clean["label"]).mean()]
    found = tradeoff.outcomes(run, name)
    label = run.record(name, "corruptions")["label"]
    for members in CATEGORIES.values():
        mistaken = np.mean(
            [(found.wrong[c] & (found.confidence[c] >= sure)).mean(0) for c in members], axis=0
        )
        columns.append(label.to_frame().assign(share=mistaken).groupby("label")["share"].mean())
    return 100 * np.stack([each.to_numpy(float) for each in columns], axis=1)
