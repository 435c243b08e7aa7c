"""What all figures share: canvas, last line, colors, marks, legends."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import labels
from rslib.settings.names import parts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

P = ParamSpec("P")

WIDTH = 7.5
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, ORANGE, PURPLE, GREY = "#56B4E9", "#E69F00", "#CC79A7", "#595959"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE)
DASHES = ("-", "--", "-.", ":")

PAPER = {
    "marker": "D",
    "linestyle": "",
    "markersize": 6.5,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 1.3,
}

_COLORS = {"resnet18": BLUE, "vit_small": VERMILION, "alexnet": GREEN}
_MARKERS = {
    "standard": "o",
    "adversarial": "s",
    "purely_adversarial": "P",
    "trades": "v",
    "noise": "X",
    "aligned": "^",
    "robust_aligned": "*",
}
# Where one panel is one architecture: neither blue nor vermilion, which tell architectures apart.
_TRAININGS = {
    "standard": ("black", "-"),
    "adversarial": (PURPLE, "--"),
    "purely_adversarial": (ORANGE, "-."),
    "trades": (SKY, (0, (1, 1))),
    "noise": (GREEN, (0, (6, 1.5))),
    "aligned": (GREY, ":"),
    "robust_aligned": (BLUE, "-"),
}
_STYLE = {
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.color": "black",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.facecolor": "white",
    "axes.edgecolor": "#444444",
    "axes.labelcolor": "black",
    "axes.labelsize": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": "#222222",
    "ytick.color": "#222222",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "errorbar.capsize": 3,
    "image.interpolation": "nearest",
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
THIN = {"linewidth": 0.7, "alpha": 0.55, "marker": "", "zorder": 1.5, "gid": "seed"}
"""How another seed's curve is drawn, in the color and dashes of its model."""

_DOT = {
    "linestyle": "",
    "marker": "o",
    "markersize": 3.4,
    "markeredgecolor": "white",
    "markeredgewidth": 0.5,
    "zorder": 2.5,
    "gid": "seed",
}
_FOOTER_SIZE = 8
_LINE_INCHES = 0.16
# Letters that fit into a legend's line at book width, with the room that a handle takes.
_LEGEND_LETTERS, _HANDLE_LETTERS = 116, 7


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this style, and take the figure from pyplot, which would show it twice."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib.pyplot as plt

        already = plt.get_fignums()
        try:
            with plt.rc_context(_STYLE):
                return draw(*args, **kwargs)
        finally:
            # Also the one left behind where drawing failed half way.
            for number in set(plt.get_fignums()) - set(already):
                plt.close(number)

    return drawn


def canvas(
    places: list[list[str]], *, height: float, footer: str, **ratios: Any
) -> tuple[Figure, dict[str, Axes]]:
    """A figure of book width with named axes and a last line of text."""
    import matplotlib.pyplot as plt

    room = _LINE_INCHES * len(footer.splitlines())
    total = height + room
    figure = plt.figure(figsize=(WIDTH, total), layout="constrained")
    figure.get_layout_engine().set(rect=(0, room / total, 1, 1 - room / total))
    axes = figure.subplot_mosaic(places, gridspec_kw=ratios)
    if footer:
        figure.text(
            0.005, 0.03 / total, footer, fontsize=_FOOTER_SIZE, color=GREY, va="bottom",
            ha="left", linespacing=1.3, gid="footer",
        )  # fmt: skip
    return figure, axes


def footer(
    run: Run,
    names: Sequence[str],
    sources: Iterable[Mapping[str, Any]],
    *,
    others: str = "",
) -> str:
    """The stamp, what stands for the other seeds, and the sizes of nets that are not the paper's.

    Args:
        run: the run.
        names: models that are drawn.
        sources: metadata of the records and models that were read.
        others: what the figure draws for the run's siblings, such as "small dots"; empty where it
            is about this seed alone.
    """
    sources = list(sources)
    beside = [each.seed for each in run.siblings if others and any(map(each.has, names))]
    seeds = sorted([run.seed, *beside])
    told = labels.stamp(run, labels.images(sources) or None, sources=sources, seeds=seeds)
    return _last_lines(run, names, told, others, beside)


def below(run: Run, names: Sequence[str], table: pd.DataFrame, *, others: str = "") -> str:
    """The same for a figure that is drawn from a table, whose stamp and seeds it takes."""
    beside = [seed for seed in table.attrs.get("seeds", []) if others and seed != run.seed]
    return _last_lines(run, names, table.attrs["stamp"], others, beside)


def _last_lines(
    run: Run, names: Sequence[str], stamp: str, others: str, beside: Sequence[int]
) -> str:
    # Where further seeds have some of the models only, the others are without these marks.
    where = "" if run.settings.seeded is None else ", where drawn"
    told = (
        f"{others[:1].upper()}{others[1:]}{where}: {labels.seeds_phrase(beside)}; "
        f"all else is of seed {run.seed}."
    ) * bool(beside)
    return "\n".join(filter(None, [stamp, told, labels.sizes(run, names)]))


def dots(axis: Axes, across: Sequence[float], up: Sequence[float], shade: str) -> None:
    """Where a point is under the other seeds, if there are any."""
    if len(across):
        axis.plot(across, up, color=shade, **_DOT)


def history(
    axis: Axes, summary: Mapping[str, Any], quantity: str, scale: float = 1, **look: Any
) -> None:
    """What a training measured, epoch by epoch."""
    epochs = summary["history"]
    axis.plot([e["epoch"] for e in epochs], [scale * e[quantity] for e in epochs], **look)


def others(run: Run, row: Mapping[str, Any]) -> list[float]:
    """A number of a table under the other seeds that it knows; NaN where a seed lacks this one.

    See :mod:`rslib.report.seeds`.
    """
    keys = [f"seed_{sibling.seed}" for sibling in run.siblings]
    return [row[key] for key in keys if key in row]


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, above them, where it cannot hide a point."""
    letters = sum(len(handle.get_label()) + _HANDLE_LETTERS for handle in handles)
    lines = -(-letters // _LEGEND_LETTERS)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=-(-len(handles) // lines),
        columnspacing=1.3,
        handletextpad=0.5,
        borderpad=0.1,
    )


def architectures(names: Sequence[str]) -> list[Any]:
    """A legend's entries for the architectures of some models."""
    found = {labels.architecture_label(name): color(name) for name in names}
    return [line(label, color=shade, linewidth=4) for label, shade in found.items()]


def trainings(names: Sequence[str]) -> list[Any]:
    """A legend's entries for the marks of some models' trainings."""
    found = {labels.training_phrase(name): marker(name) for name in names}
    return [line(label, color=GREY, marker=mark, ls="") for label, mark in found.items()]


def line(label: str, **look: Any) -> Any:
    """A legend's entry."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def patch(label: str, **look: Any) -> Any:
    """A legend's entry for a bar or an area."""
    from matplotlib.patches import Patch

    return Patch(label=label, **look)


def paper_handle(run: Run) -> list[Any]:
    """A legend's entry for the paper's marks, where they are drawn."""
    return [line("paper (hollow)", **PAPER)] if labels.comparable(run) else []


def paper_value(run: Run, table: str, name: str, quantity: str) -> float | None:
    """What the paper reports, where it speaks of this data set and has the number."""
    found = paper.find(table, name, quantity) if labels.comparable(run) else None
    return None if found is None else found.value


def color(name: str) -> str:
    """A model's color, by its architecture."""
    return _COLORS.get(parts(name).architecture, GREY)


def marker(name: str) -> str:
    """A model's mark, by its training."""
    return _MARKERS.get(parts(name).objective, "o")


def looks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Color and mark of each model: by architecture and training, where that tells them apart.

    Where two models would look alike, such as two that differ in a setting, each has its own color.
    """
    found = {name: (color(name), marker(name)) for name in names}
    if len(set(found.values())) == len(names):
        return found
    return {name: (CYCLE[k % len(CYCLE)], marker(name)) for k, name in enumerate(names)}


def models(names: Sequence[str]) -> list[Any]:
    """A legend's entries for models drawn as :func:`looks` has it."""
    found = looks(names)
    if found == {name: (color(name), marker(name)) for name in names}:
        return [*architectures(names), *trainings(names)]
    return [
        line(labels.short_label(name), color=shade, marker=mark, ls="")
        for name, (shade, mark) in found.items()
    ]


def training_look(name: str) -> dict[str, Any]:
    """Color and dashes of a model's curve, by its training."""
    shade, dashes = _TRAININGS.get(parts(name).objective, (GREY, "-"))
    return {"color": shade, "linestyle": dashes}


def tint(shade: str) -> tuple[float, ...]:
    """A light version of a color."""
    from matplotlib.colors import to_rgb

    return tuple(0.35 * channel + 0.65 for channel in to_rgb(shade))


def reach(estimate: Estimate) -> np.ndarray:
    """How far an interval reaches below and above its estimate, (2, 1)."""
    ends = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    return np.maximum(0.0, ends)


def whole_numbers(axis: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
