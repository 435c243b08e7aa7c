"""The parts that figures share: canvas, last line, colors, legends, and the marks in panels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import labels, numbers, rendering, seeds
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

PAPER = {"marker": "D", "linestyle": "", "markersize": 6.5, "markerfacecolor": "white"}
PAPER |= {"markeredgecolor": "black", "markeredgewidth": 1.3}
THIN = {"linewidth": 0.7, "alpha": 0.55, "marker": "", "zorder": 1.5, "gid": "seed"}
"""The look of another seed's curve, beside the color and dashes of its model."""
_DOT = {"ls": "", "marker": "o", "ms": 3.4, "mec": "white", "mew": 0.5, "zorder": 2.5}
_COLORS = {"resnet18": BLUE, "vit_small": VERMILION, "alexnet": GREEN}
# A training's mark and, where one panel is one architecture, the color and dashes of its curve:
# neither blue nor vermilion, which tell architectures apart.
_TRAININGS = {
    "standard": ("o", "black", "-"),
    "adversarial": ("s", PURPLE, "--"),
    "purely_adversarial": ("P", ORANGE, "-."),
    "trades": ("v", SKY, (0, (1, 1))),
    "noise": ("X", GREEN, (0, (6, 1.5))),
    "aligned": ("^", GREY, ":"),
    "robust_aligned": ("*", BLUE, "-"),
}
_STYLE = {
    "figure": {"dpi": 150},
    "font": {"size": 9},
    "axes": {"edgecolor": "#444444", "titlesize": 9.5, "titlelocation": "left", "axisbelow": True},
    "axes.spines": {"top": False, "right": False},
    "grid": {"color": "#DDDDDD", "linewidth": 0.6},
    ("xtick", "ytick"): {"labelsize": 8.5, "color": "#222222"},
    "legend": {"fontsize": 8.5, "frameon": False},
    "lines": {"linewidth": 1.6, "markersize": 5},
    "errorbar": {"capsize": 3},
    "image": {"interpolation": "nearest"},
}
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
            with plt.style.context("default"):
                for group, values in _STYLE.items():
                    plt.rc(group, **values)
                return draw(*args, **kwargs)
        finally:
            # Also the one left behind where drawing failed half way.
            for number in set(plt.get_fignums()) - set(already):
                plt.close(number)

    return drawn


def canvas(
    places: list[list[str]], *, height: float, footer: str, grid: str = "", **ratios: Any
) -> tuple[Figure, dict[str, Axes]]:
    """A figure of book width, so many inches high, with named axes and a footer below.

    The places are names of the axes, row by row; ``"."`` leaves one empty. Their ratios are
    ``width_ratios`` and ``height_ratios``. A grid is ``"x"``, ``"y"`` or ``"both"``, on all axes.
    """
    import matplotlib.pyplot as plt

    room = _LINE_INCHES * len(footer.splitlines())
    total = height + room
    # By pyplot, which when it is first asked tells a notebook to show figures as pictures.
    figure = plt.figure(figsize=(WIDTH, total), layout="constrained")
    figure.get_layout_engine().set(rect=(0, room / total, 1, 1 - room / total))
    axes = figure.subplot_mosaic(places, gridspec_kw=ratios)
    if footer:
        look = {"fontsize": 8, "color": GREY, "va": "bottom", "linespacing": 1.3}
        figure.text(0.005, 0.03 / total, footer, gid="footer", **look)
    if grid:
        for axis in axes.values():
            axis.grid(True, axis=grid)
    return figure, axes


def in_rows(names: Sequence[str], columns: int) -> list[list[str]]:
    """Names in rows for :func:`canvas`, the last row filled up with empty places."""
    columns = min(columns, len(names))
    rows = [list(names[start : start + columns]) for start in range(0, len(names), columns)]
    rows[-1] += ["."] * (columns - len(rows[-1]))
    return rows


def footer(
    run: Run,
    names: Sequence[str],
    sources: Iterable[Mapping[str, Any] | pd.DataFrame] | pd.DataFrame,
    *,
    others: str = "",
    masks: str = "",
) -> str:
    """The stamp, what stands for the other seeds, and the sizes of nets that are not the paper's.

    With ``masks``, their source, their quality is told where it is known.

    The sources are the records and summaries that were read, or the table, which knows its stamp.
    ``others`` is what is drawn for the run's siblings, such as "small dots"; empty for nothing.
    """
    if hasattr(sources, "attrs"):
        stamp, told = sources.attrs["stamp"], sources.attrs.get("seeds", [])
    else:
        known = [getattr(source, "attrs", source) for source in sources]
        beside = [each.seed for each in run.siblings if others and any(map(each.has, names))]
        told = sorted([run.seed, *beside])
        stamp = labels.stamp(run, labels.images(known) or None, sources=known, seeds=told)
    lines, beside = [stamp], [seed for seed in told if seed != run.seed]
    if others and beside:
        # Where further seeds have some of the models only, the others are without these marks.
        where = "" if run.settings.seeded is None else ", where drawn"
        drawn = f"{rendering.sentence(others)}{where}: {labels.seeds_phrase(beside)}"
        lines.append(f"{drawn}; all else is of seed {run.seed}.")
    quality = labels.mask_quality(run, labels.mask_label(masks)) if masks else ""
    return "\n".join(filter(None, [*lines, labels.sizes(run, names), quality]))


def legend(figure: Figure, handles: Sequence[Any] = ()) -> Figure:
    """Give a figure one legend for all panels, above them, where it cannot hide a point.

    By default its entries are all that is labeled in the panels, each label once.
    """
    if not handles:
        found = (handle for axis in figure.axes for handle in axis.get_legend_handles_labels()[0])
        handles = list({handle.get_label(): handle for handle in found}.values())
    letters = sum(len(handle.get_label()) + _HANDLE_LETTERS for handle in handles)
    columns = -(-len(handles) // -(-letters // _LEGEND_LETTERS))
    look = {"columnspacing": 1.3, "handletextpad": 0.5, "borderpad": 0.1}
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, **look)
    return figure


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
    """The paper's number, where it speaks of this data set and has it."""
    found = paper.find(table, name, quantity) if labels.comparable(run) else None
    return None if found is None else found.value


def color(name: str) -> str:
    """A model's color, by its architecture."""
    return _COLORS.get(parts(name).architecture, GREY)


def marker(name: str) -> str:
    """A model's mark, by its training."""
    return _training(name)[0]


def training_look(name: str) -> dict[str, Any]:
    """Color and dashes of a model's curve, by its training."""
    return dict(zip(("color", "linestyle"), _training(name)[1:], strict=True))


def _training(name: str) -> tuple[str, str, Any]:
    return _TRAININGS.get(parts(name).objective, ("o", GREY, "-"))


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
    if all(shade == color(name) for name, (shade, _) in found.items()):
        return [*architectures(names), *trainings(names)]
    return [
        line(labels.short_label(name), color=shade, marker=mark, ls="")
        for name, (shade, mark) in found.items()
    ]


def numbered_look(number: int) -> dict[str, Any]:
    """Color and dashes of one curve among several."""
    return {"color": CYCLE[number % len(CYCLE)], "linestyle": DASHES[number % len(DASHES)]}


def tint(shade: str) -> tuple[float, ...]:
    """A light version of a color."""
    from matplotlib.colors import to_rgb

    return tuple(0.35 * channel + 0.65 for channel in to_rgb(shade))


def point(axis: Axes, x: float | Estimate, y: float | Estimate, **look: Any) -> None:
    """A point, with the intervals of those of its coordinates that are estimates."""
    at = {"x": x, "y": y}
    for key, each in at.items():
        if isinstance(each, Estimate):
            at[key] = each.value
            if each.low is not None:
                reach = [[each.value - each.low], [each.high - each.value]]
                look[f"{key}err"] = np.maximum(0.0, reach)
    axis.errorbar(**at, **look)


def cells(frame: pd.DataFrame, names: Sequence[str], quantity: str) -> pd.DataFrame:
    """The rows of a table about one quantity, a row for each model in this order."""
    return frame[frame["quantity"] == quantity].set_index("model").loc[list(names)]


def intervals(cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a table's rows, (n,), and how far their intervals, if any, reach, (2, n)."""
    middle, low, high = cells[["ours", "low", "high"]].to_numpy(float).T
    return middle, np.nan_to_num([middle - low, high - middle])


def history(
    axis: Axes, summary: Mapping[str, Any], quantity: str, *, kept: bool = False, **look: Any
) -> None:
    """A quantity of a training by epoch, or a dot at the epoch kept; accuracies in percent."""
    epochs, scale = summary["history"], 100 if "accuracy" in quantity else 1
    if kept:
        epochs, look["marker"] = [epochs[summary["best_epoch"] - 1]], "o"
    axis.plot([e["epoch"] for e in epochs], [scale * e[quantity] for e in epochs], **look)


def dots(axis: Axes, x: float | Sequence[float], y: float | Sequence[float], shade: str) -> None:
    """A point under the other seeds, if there are any; a single number holds for all of them."""
    across, up = np.broadcast_arrays(x, y)
    if across.size:
        axis.plot(across, up, color=shade, gid="seed", **_DOT)


def accuracies(run: Run, name: str, kind: str) -> list[float]:
    """A model's accuracy in an evaluation under each of the other seeds, in percent."""
    return [100 * record["correct"].mean() for record in seeds.records(run, name, kind)]


def other_seeds(run: Run, cells: pd.DataFrame) -> np.ndarray:
    """The numbers of a table's rows under the other seeds that it knows, (rows, seeds), or NaN."""
    keys = [f"seed_{sibling.seed}" for sibling in run.siblings]
    return cells[[key for key in keys if key in cells]].to_numpy(float)


def note(
    axis: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **look: Any
) -> None:
    """A text beside a point, shifted to the right and up by so many typographic points."""
    axis.annotate(text, at, shift, textcoords="offset points", **{"fontsize": 8.5} | look)


def clear_of(reported: float, end: float, room: float) -> float:
    """Where a bar's number, ``room`` percent long, begins: at the bar's end or past the paper's."""
    return reported + 2 if -3 < reported - end < room else end


def rows(axis: Axes, names: Sequence[str], *, margin: float = 0.5, **look: Any) -> None:
    """A row for each name, the first on top; ``margin`` is the room above it and below the last."""
    axis.set_yticks(range(len(names)), names, **look)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(names) - 1 + margin, -margin)


def whole_numbers(axis: Axes) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def picture(axis: Axes, image: np.ndarray, title: str = "", size: float = 8.5) -> None:
    """An image, (H, W, 3), without ticks and frame; the title stands at its left."""
    axis.imshow(image)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    axis.set_ylabel(title, rotation=0, ha="right", va="center", fontsize=size)


def written_map(
    axis: Axes, values: np.ndarray, unit: str, strong: np.ndarray, *, size: float = 8
) -> None:
    """Write a heat map's values, (rows, columns), white where it is ``strong``; NaN is a dash."""
    for (row, column), value in np.ndenumerate(values):
        text = numbers.NONE if np.isnan(value) else numbers.written(value, unit)
        shade = "white" if strong[row, column] else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=size, color=shade)
    axis.tick_params(length=0)


def plain(text: str) -> str:
    """A user's text, in which nothing is read as a formula."""
    return text.replace("$", r"\$")
