"""Figure 4 and what it leaves out: the models' trade-offs, with their uncertainty (paper 4.6)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.corruptions import CATEGORIES
from rslib.metrics import pareto
from rslib.report import labels, seeds, style, tradeoffs
from rslib.report.tables import tradeoff
from rslib.run import joined

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

_TITLES = {
    "clean_accuracy": "Accuracy (%)",
    "pgd_accuracy": "Under PGD (%)",
    "mce": "mCE",
    "iou_mean": "IoU",
    "ece": "ECE",
}
_KINDS = ("clean", "pgd", "saliency")
_SHADES = {"fgsm": style.ORANGE, "pgd": style.PURPLE, "corruptions": style.GREEN}


@style.styled
def figure4(run: Run, names: Sequence[str]) -> Figure:
    """Figure 4: accuracy against robustness, and against the overlap of saliency and object (4.6).

    Left: accuracy under PGD against accuracy, with the Pareto front of the estimates and, faintly,
    those of 60 resamples of the test images. Right: IoU against accuracy, with the front of these
    two. Bars are intervals; the larger a point, the longer its training took, with that of the
    models it starts from. Hollow diamonds are the paper's.
    """
    sources = [run.record(name, kind) for name in names for kind in _KINDS]
    footer = style.footer(run, names, sources, others="small dots")
    figure, axes = style.canvas([["plane", "overlap"]], height=3.9, footer=footer, grid="both")
    plane, overlap = axes["plane"], axes["overlap"]
    _plane(plane, run, names, "pgd_accuracy", "table2", bottom=-2)
    _plane(overlap, run, names, "iou_mean", "table3", bottom=0)
    plane.set(title="Accuracy and robustness", ylabel="Accuracy under PGD (%)")
    overlap.set(title="Accuracy and interpretability", ylabel="IoU of saliency and object")
    front = style.line("Pareto front", color=style.GREY)
    return style.legend(figure, [*style.models(names), front, *style.paper_handle(run)])


@style.styled
def objectives(run: Run, names: Sequence[str]) -> Figure:
    """All models on all five axes (paper 4.6): accuracy, PGD accuracy, mCE, IoU, calibration error.

    One panel an axis, one line a model, bars for intervals; arrows say which way is better. Filled
    points are on the Pareto front of all five axes in more than half of the resamples.
    """
    chosen, looks = [axis.name for axis in tradeoffs.AXES], style.looks(names)
    higher, resampled = [a.higher for a in tradeoffs.AXES], tradeoffs.resampled(run, names, chosen)
    shares = pareto.membership(resampled, higher)
    sources = [run.record(name, kind) for name in names for kind in (*_KINDS, "corruptions")]
    footer, height = style.footer(run, names, sources, others="small dots"), 1 + 0.27 * len(names)
    figure, axes = style.canvas([chosen], height=height, footer=footer, grid="both")
    rest = _places(run, names, chosen)
    for column, axis in enumerate(tradeoffs.AXES):
        panel = axes[axis.name]
        for line, (name, share) in enumerate(zip(names, shares, strict=True)):
            color, mark = looks[name]
            style.dots(panel, rest[name][:, column], line + 0.25, color)
            fill = color if share > 0.5 else "white"
            look = {"color": color, "marker": mark, "ms": 6, "ls": "", "markerfacecolor": fill}
            style.point(panel, tradeoffs.measured(run, name, axis.name), line, **look)
        _model_rows(panel, names, labeled=column == 0)
        panel.margins(x=0.12)
        panel.set_title(_TITLES[axis.name], fontsize=8.5)
        way = "right" if axis.higher else "left"
        panel.set_xlabel(f"{way} is better", fontsize=8, color=style.GREY)
    return figure


@style.styled
def correlations(run: Run, names: Sequence[str]) -> Figure:
    """Correlations of attacks with corruptions, and of overlap with robustness (paper 5.3).

    Left: rank correlation between being right under an attack and under corruptions. Right: of IoU
    with being right under PGD and under corruptions. Hollow: plain; filled: among images of equal
    confidence (right: and of equal object size). Bars are intervals.
    """
    breakage = tradeoff.breakage_table(run, names)
    overlap = tradeoff.overlap_robustness_table(run, names)
    footer = style.footer(run, names, breakage, others="small dots (at equal confidence)")
    places, height = [["breakage", "overlap"]], 1.1 + 0.36 * len(names)
    figure, axes = style.canvas(places, height=height, footer=footer, grid="x")
    for panel, frame, kinds, title in (
        ("breakage", breakage, ("fgsm", "pgd"), "Right under attack\nand under corruptions"),
        ("overlap", overlap, ("pgd", "corruptions"), "Overlap with the object\nand robustness"),
    ):
        axis = axes[panel]
        for kind, shift in zip(kinds, (-0.17, 0.17), strict=True):
            shade, plain = _SHADES[kind], style.cells(frame, names, kind)
            partial = style.cells(frame, names, f"{kind}_partial")
            look = {"color": shade, "fmt": "o", "ms": 4.5, "capsize": 0, "elinewidth": 0.9}
            for cells, fill, alpha in ((plain, "white", 0.7), (partial, shade, 1)):
                (value, reach), face = style.intervals(cells), {"mfc": fill, "alpha": alpha}
                axis.errorbar(value, np.arange(len(names)) + shift, xerr=reach, **look, **face)
            for line, rest in enumerate(style.other_seeds(run, partial)):
                style.dots(axis, rest, line + shift + 0.09, shade)
        axis.axvline(0, color=style.GREY, linewidth=1)
        axis.set(title=title, xlabel="Rank correlation")
        _model_rows(axis, names, labeled=panel == "breakage")
    look = {"marker": "o", "ls": ""}
    handles = [
        style.line(labels.evaluation_label(kind), color=shade, **look)
        for kind, shade in _SHADES.items()
    ]
    handles.append(style.line("plain", color=style.GREY, markerfacecolor="white", **look))
    handles.append(style.line("at equal confidence", color=style.GREY, **look))
    return style.legend(figure, handles)


@style.styled
def confident_errors(run: Run, names: Sequence[str]) -> Figure:
    """Confident errors by class, on clean images and under each category of corruptions.

    Each cell is the share of a class's images (or corrupted versions, at all severities) that the
    model gets wrong with a confidence of 0.9 or more.
    """
    shares = {name: _confidently_wrong(run, name) for name in names}
    sources = [run.record(name, kind) for name in names for kind in ("clean", "corruptions")]
    footer = style.footer(run, names, sources)
    figure, axes = style.canvas([list(names)], height=3.4, footer=footer)
    top = max(1.0, max(float(each.max()) for each in shares.values()))
    for name, values in shares.items():
        panel = axes[name]
        shown = panel.imshow(values, aspect="auto", cmap="Purples", vmin=0, vmax=top)
        style.written_map(panel, values, "%", values > 0.6 * top, size=7.5)
        panel.set_yticks(range(len(run.classes)), run.classes if name == names[0] else [])
        panel.set_xticks(range(1 + len(CATEGORIES)), ["clean", *CATEGORIES], rotation=30)
        panel.set_title(labels.short_label(name))
    bar = figure.colorbar(shown, ax=list(axes.values()), shrink=0.7, pad=0.02)
    bar.set_label("Confidently wrong (%)")
    return figure


def _plane(
    axis: Axes, run: Run, names: Sequence[str], upward: str, table: str, *, bottom: float
) -> None:
    """One axis against accuracy: points, the paper's, and the Pareto fronts."""
    chosen, looks = ["clean_accuracy", upward], style.looks(names)
    rest = _places(run, names, chosen)
    spent = np.array([tradeoff.seconds(run, name) for name in names])
    # From 25 to 190 square points, for the quickest and the slowest training.
    areas = 25 + 165 * (spent - spent.min()) / max(float(np.ptp(spent)), 1e-9)
    for name, area in zip(names, areas, strict=True):
        color, mark = looks[name]
        style.dots(axis, *rest[name].T, color)
        x, y = (tradeoffs.measured(run, name, each) for each in chosen)
        style.point(axis, x, y, color=color, linewidth=0.8, capsize=0, linestyle="", zorder=2)
        look = {"color": color, "edgecolors": "white", "linewidths": 0.7, "zorder": 3}
        axis.scatter(x.value, y.value, s=area, marker=mark, label=name, **look)
        where = "table4" if name.endswith("-aligned") else "table2"
        x = style.paper_value(run, where, name, "clean_accuracy")
        y = style.paper_value(run, table, name, upward)
        if x is not None and y is not None:
            axis.plot(x, y, **style.PAPER | {"markeredgecolor": style.color(name)})
    axis.set(xlabel="Accuracy (%)", ylim=(bottom, None))
    limits = axis.get_xlim(), axis.get_ylim()
    for values in tradeoffs.resampled(run, names, chosen, resamples=60):
        _front(axis, values, limits, color=style.GREY, linewidth=0.6, alpha=0.12)
    _front(axis, tradeoffs.place(run, names, chosen), limits, color=style.GREY, linewidth=1.2)
    axis.set(xlim=limits[0], ylim=limits[1])


def _model_rows(axis: Axes, names: Sequence[str], *, labeled: bool) -> None:
    """A row a model; only the first of several panels tells their names."""
    style.rows(axis, [labels.short_label(name) for name in names], fontsize=8)
    axis.tick_params(labelleft=labeled)


def _places(run: Run, names: Sequence[str], axes: Sequence[str]) -> dict[str, np.ndarray]:
    """Each model's place under the other seeds that have it, (siblings, axes)."""
    found = {}
    for name in names:
        rest = seeds.others(run, functools.partial(tradeoffs.place, names=[name], axes=axes))
        found[name] = np.reshape(rest, (-1, len(axes)))
    return found


def _front(axis: Axes, values: np.ndarray, limits: Sequence[Any], **look: Any) -> None:
    """The edge of what the best models dominate, as steps from side to bottom of the panel."""
    best = values[pareto.front(values, [True, True])]
    best = best[np.argsort(best[:, 0])]
    (left, _), (bottom, _) = limits
    edge = np.vstack([[left, best[0, 1]], best, [best[-1, 0], bottom]])
    axis.step(edge[:, 0], edge[:, 1], where="pre", zorder=0, label="front", **look)


def _confidently_wrong(run: Run, name: str) -> np.ndarray:
    """(classes, 1 + categories), in percent."""
    sure, clean, found = tradeoff.CONFIDENT, joined.load(run, name), tradeoff.outcomes(run, name)
    wrong = (clean["confidence"] >= sure) & ~clean["clean_correct"].astype(bool)
    columns = [wrong.groupby(clean["label"]).mean()]
    label = run.record(name, "corruptions")["label"]
    for members in CATEGORIES.values():
        shares = [(found.wrong[c] & (found.confidence[c] >= sure)).mean(0) for c in members]
        mistaken = label.to_frame().assign(share=np.mean(shares, axis=0))
        columns.append(mistaken.groupby("label")["share"].mean())
    return 100 * np.stack([each.to_numpy(float) for each in columns], axis=1)
