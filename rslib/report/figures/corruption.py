"""The effects of corruptions, drawn from records (paper 3.5, 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import CATEGORIES, SEVERITIES
from rslib.report import labels, marks, numbers, style
from rslib.report.style import GREY
from rslib.report.tables.corruption import (
    added,
    added_outcomes,
    corruption_difference_table,
    corruption_table,
    outcomes,
    severity_table,
)
from rslib.settings.names import REFERENCE, ROBUSTNESS

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from rslib.run import Run

IN_ORDER = tuple(name for names in CATEGORIES.values() for name in names)
"""The nineteen corruptions, category by category."""

_ROW = 0.25  # inches that one more corruption takes


@style.styled
def corruption_sheet(versions: torch.Tensor, names: Sequence[str], *, footer: str = "") -> Figure:
    """One image under every corruption at every severity (paper 3.5).

    Args:
        versions: uint8 (names, 5, 3, H, W).
        names: of the corruptions, in the order of ``versions``.
        footer: last line, such as :func:`rslib.report.labels.stamp`.

    Raises:
        ValueError: the numbers of names and versions differ.
    """
    if versions.ndim != 5 or versions.shape[:2] != (len(names), len(SEVERITIES)):
        raise ValueError(
            f"versions has shape {tuple(versions.shape)}; ({len(names)}, {len(SEVERITIES)}, 3, H, "
            "W) is needed"
        )
    rows = -(-len(names) // 2)
    places = [[f"{row}", f"{rows + row}"] for row in range(rows)]
    figure, axes = style.canvas(places, height=0.62 * rows + 0.25, footer=footer)
    for number, name in enumerate(names):
        # The severities side by side, (5, 3, H, W) to (H, 5 W, 3), with two white columns between.
        strip = np.pad(
            versions[number].numpy(), ((0, 0), (0, 0), (0, 0), (0, 2)), constant_values=255
        )
        axis = axes[f"{number}"]
        marks.picture(axis, np.concatenate(strip.transpose(0, 2, 3, 1), axis=1))
        marks.row_title(axis, labels.corruption_label(name), 8.5)
    for number in range(len(names), 2 * rows):
        axes[f"{number}"].set_axis_off()
    return figure


@style.styled
def corruption_heat_map(
    run: Run, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE
) -> Figure:
    """Corruption error by corruption and model, relative to the reference (paper 4.5).

    Args:
        run: whose clean and corruption records are read.
        names: models, in order.
        reference: the model whose errors count as 1.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    from matplotlib.colors import LogNorm

    frame = corruption_table(run.alone, names, reference=reference)
    extra = added(run, [*names, reference])
    order = [*IN_ORDER, *extra]
    values = np.array([marks.cells(frame, names, each)["ours"] for each in order], float)
    # Half the reference's error is as far from it as twice; beyond a factor of 4 colors end.
    far = min(4.0, max(1.1, np.nanmax(values), 1 / max(np.nanmin(values), 1e-9)))
    drawn = np.clip(values, 1 / far, far)
    footer = style.table_footer(run, names, frame)
    figure, axes = style.canvas([["map"]], height=5.2 + _ROW * len(extra), footer=footer)
    axis = axes["map"]
    shown = axis.imshow(drawn, aspect="auto", cmap="PuOr_r", norm=LogNorm(1 / far, far))
    marks.written_map(axis, values, "ratio", abs(np.log(drawn)) > 0.6 * np.log(far))
    axis.set_yticks(range(len(order)), [labels.corruption_label(name) for name in order])
    heads = [f"{labels.architecture_label(m)}\n{labels.training_phrase(m)}" for m in names]
    axis.set_xticks(range(len(names)), heads)
    axis.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False)
    parts = [*map(len, CATEGORIES.values()), len(extra)]
    edges = np.cumsum(parts[: -1 if extra else -2])
    axis.hlines(edges - 0.5, -0.5, len(names) - 0.5, color="black", linewidth=1)
    bar = figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02)
    steps = [1.0, 1.25, 1.5, 2.0, 3.0, 4.0]
    ticks = sorted({mark for step in steps if step <= far for mark in (step, 1 / step)})
    bar.set_ticks(ticks, labels=[numbers.written(tick, "ratio") for tick in ticks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label(f"Error relative to {labels.short_label(reference)}")
    return figure


@style.styled
def by_severity(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Accuracy and calibration error against severity (paper 4.1, 4.5).

    Raises:
        rslib.store.records.RecordError: a clean or corruption record has not been made.
    """
    frame = severity_table(run, names)
    footer = style.table_footer(run, names, frame, others="thin lines")
    figure, axes = style.canvas([["accuracy", "ece"]], height=2.9, footer=footer, grid="both")
    for panel, first in (("accuracy", 0), ("ece", 1)):
        axis, severities = axes[panel], range(first, len(SEVERITIES) + 1)
        for name in names:
            cells = frame[frame["model"] == name].set_index("quantity")
            cells = cells.loc[[f"{panel}_{severity}" for severity in severities]]
            look = {"color": style.color(name), "marker": style.marker(name)}
            look["ls"] = "-" if name.endswith("-standard") else "--"
            axis.errorbar(severities, *marks.intervals(cells), **look)
            axis.plot(severities, marks.other_seeds(run, cells), **look | marks.THIN)
        axis.set_xticks(range(6), ["clean", *map(str, SEVERITIES)])
        axis.set_xlim(-0.2, 5.2)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("Severity")
    axes["accuracy"].set(title="Accuracy", ylabel="Accuracy (%)")
    axes["ece"].set(title="Calibration", ylabel="Expected calibration error")
    style.legend(figure, [*style.architectures(names), *style.trainings(names)])
    return figure


@style.styled
def corruption_differences(run: Run, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Error of one model less error of another, corruption by corruption (paper 4.5).

    Args:
        run: whose corruption records are read.
        pairs: models A and B; below 0, A is the more robust.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    frame = corruption_difference_table(run, pairs)
    named = list(dict.fromkeys(name for pair in pairs for name in pair))
    extra = added(run, named)
    order = [*IN_ORDER, *extra, "all"]
    heads = [labels.corruption_label(name) for name in order[:-1]]
    heads.append("All of the 19" if extra else "All corruptions")
    places = [[f"{a}_vs_{b}" for a, b in pairs]]
    footer = style.table_footer(run, named, frame, others="small dots")
    height = 4.6 + _ROW * len(extra)
    figure, axes = style.canvas(places, height=height, footer=footer, grid="x")
    for (a, b), axis in zip(pairs, axes.values(), strict=True):
        cells = frame[frame["model"] == f"{a}_vs_{b}"].set_index("quantity").loc[order]
        values, reach = marks.intervals(cells)
        look = {"color": style.color(a), "ls": "", "marker": "o", "ms": 4}
        axis.errorbar(values, range(len(order)), xerr=reach, **look)
        for line, rest in enumerate(marks.other_seeds(run, cells)):
            marks.dots(axis, rest, line + 0.25, style.color(a))
        axis.axvline(0, color=GREY, linewidth=1)
        for edge in {len(IN_ORDER), len(order) - 1}:
            axis.axhline(edge - 0.5, color=GREY, linewidth=0.6)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_yticks(range(len(order)), heads)
        axis.tick_params(labelleft=(a, b) == pairs[0])
        axis.set_xlabel("Difference in error (points)")
        title = f"{labels.architecture_label(a)}:\n{labels.training_phrase(a)} less "
        axis.set_title(title + labels.training_phrase(b))
    return figure


@style.styled
def corruption_errors(run: Run, name: str) -> Figure:
    """One model's error under each corruption at each severity (paper 3.5, equation 15).

    Args:
        run: whose clean and corruption records are read.
        name: of the model.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    errors = outcomes(run, name).errors().errors
    extra = added(run, [name])
    if extra:
        errors = errors | added_outcomes(run, name).errors().errors
    order = [*IN_ORDER, *extra]
    values = 100 * np.array([errors[corruption] for corruption in order])
    footer = style.footer(run, [name], [run.record(name, "corruptions")])
    figure, axes = style.canvas([["map"]], height=4.6 + _ROW * len(extra), footer=footer)
    axis = axes["map"]
    shown = axis.imshow(values, aspect="auto", cmap="Purples", vmin=0, vmax=100)
    marks.written_map(axis, values, "images", values > 60)
    axis.set_yticks(range(len(order)), [labels.corruption_label(c) for c in order])
    axis.set_xticks(range(len(SEVERITIES)), SEVERITIES)
    axis.set_xlabel("Severity")
    axis.set_title(labels.short_label(name))
    figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02).set_label("Error (%)")
    return figure
