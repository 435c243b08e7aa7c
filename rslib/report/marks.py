"""Marks that figures share: points with intervals, other seeds, notes, rows and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics.estimates import Estimate
from rslib.report import numbers, seeds

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from rslib.run import Run

THIN = {"linewidth": 0.7, "alpha": 0.55, "marker": "", "zorder": 1.5, "gid": "seed"}
"""The look of another seed's curve, beside the color and dashes of its model."""
_DOT = {"ls": "", "marker": "o", "ms": 3.4, "mec": "white", "mew": 0.5, "zorder": 2.5}


def point(axis: Axes, x: float | Estimate, y: float | Estimate, **look: Any) -> None:
    """A point, with the intervals of those of its coordinates that are estimates."""
    at = [each.value if isinstance(each, Estimate) else each for each in (x, y)]
    axis.errorbar(*at, xerr=_reach(x), yerr=_reach(y), **look)


def _reach(estimate: float | Estimate) -> np.ndarray | None:
    """How far an interval reaches below and above its estimate, (2, 1)."""
    if not isinstance(estimate, Estimate) or estimate.low is None:
        return None
    ends = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    return np.maximum(0.0, ends)


def cells(frame: pd.DataFrame, names: Sequence[str], quantity: str) -> pd.DataFrame:
    """The rows of a table about one quantity, a row for each model in this order."""
    return frame[frame["quantity"] == quantity].set_index("model").loc[list(names)]


def intervals(cells: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of a table's rows, (n,), and how far their intervals, if any, reach, (2, n)."""
    middle, low, high = cells[["ours", "low", "high"]].to_numpy(float).T
    return middle, np.nan_to_num([middle - low, high - middle])


def history(axis: Axes, summary: Mapping[str, Any], quantity: str, **look: Any) -> None:
    """A quantity of a training, epoch by epoch; accuracies in percent."""
    _epochs(axis, summary["history"], quantity, **look)


def kept(axis: Axes, summary: Mapping[str, Any], quantity: str, **look: Any) -> None:
    """A dot at the epoch whose weights are kept."""
    _epochs(axis, [summary["history"][summary["best_epoch"] - 1]], quantity, marker="o", **look)


def _epochs(axis: Axes, epochs: Sequence[Mapping[str, Any]], quantity: str, **look: Any) -> None:
    scale = 100 if "accuracy" in quantity else 1
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
    """The numbers of a table's rows under the other seeds that it knows, (rows, seeds).

    NaN where a seed lacks one; see :mod:`rslib.report.seeds`.
    """
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
    """Write each value of a heat map, (rows, columns), in its cell; NaN is a dash.

    ``strong`` is where a dark color asks for white letters.
    """
    for (row, column), value in np.ndenumerate(values):
        text = numbers.NONE if np.isnan(value) else numbers.written(value, unit)
        shade = "white" if strong[row, column] else "black"
        axis.text(column, row, text, ha="center", va="center", fontsize=size, color=shade)
    axis.tick_params(length=0)


def plain(text: str) -> str:
    """A user's text, in which nothing is read as a formula."""
    return text.replace("$", r"\$")
