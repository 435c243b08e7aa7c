"""The effects of corruptions, drawn from records (paper 3.5, 4.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import CATEGORIES, SEVERITIES
from rslib.report import labels, numbers, style
from rslib.report.tables import corruption
from rslib.settings.names import REFERENCE, ROBUSTNESS

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

IN_ORDER = tuple(name for names in CATEGORIES.values() for name in names)
"""The nineteen corruptions, category by category."""


@style.styled
def corruption_sheet(versions: torch.Tensor, names: Sequence[str], *, footer: str = "") -> Figure:
    """One image under every corruption at every severity (paper 3.5).

    The versions are uint8 (names, 5, 3, H, W), in the order of the corruptions' names.

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
    # The severities side by side, (5, 3, H, W) to (H, 5 W, 3), with two white columns between.
    wide = np.pad(versions.numpy(), [*[(0, 0)] * 4, (0, 2)], constant_values=255)
    for number, name in enumerate(names):
        strip = np.concatenate(wide[number].transpose(0, 2, 3, 1), axis=1)
        style.picture(axes[f"{number}"], strip, labels.corruption_label(name))
    for number in range(len(names), 2 * rows):
        axes[f"{number}"].set_axis_off()
    return figure


@style.styled
def corruption_heat_map(
    run: Run, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE
) -> Figure:
    """Corruption error by corruption and model, relative to the reference (paper 4.5)."""
    from matplotlib.colors import LogNorm

    frame = corruption.corruption_table(run.alone, names, reference=reference)
    extra = corruption.added(run, [*names, reference])
    order = [*IN_ORDER, *extra]
    values = np.array([style.cells(frame, names, each)["ours"] for each in order], float)
    # Half the reference's error is as far from it as twice; beyond a factor of 4 colors end.
    far = min(4.0, max(1.1, np.nanmax(values), 1 / max(np.nanmin(values), 1e-9)))
    drawn = np.clip(values, 1 / far, far)
    footer, strong = style.footer(run, names, frame), abs(np.log(drawn)) > 0.6 * np.log(far)
    figure, axis = _map(order, 5.2, footer)
    shown = axis.imshow(drawn, aspect="auto", cmap="PuOr_r", norm=LogNorm(1 / far, far))
    style.written_map(axis, values, "ratio", strong)
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
    """Accuracy and calibration error against severity (paper 4.1, 4.5)."""
    frame = corruption.severity_table(run, names)
    footer = style.footer(run, names, frame, others="thin lines")
    figure, axes = style.canvas([["accuracy", "ece"]], height=2.9, footer=footer, grid="both")
    for panel, first in (("accuracy", 0), ("ece", 1)):
        axis, severities = axes[panel], range(first, len(SEVERITIES) + 1)
        for name in names:
            cells = frame[frame["model"] == name].set_index("quantity")
            cells = cells.loc[[f"{panel}_{severity}" for severity in severities]]
            look = {"color": style.color(name), "marker": style.marker(name)}
            look["ls"] = "-" if name.endswith("-standard") else "--"
            axis.errorbar(severities, *style.intervals(cells), **look)
            axis.plot(severities, style.other_seeds(run, cells), **look | style.THIN)
        axis.set_xticks(range(6), ["clean", *map(str, SEVERITIES)])
        axis.set(xlim=(-0.2, 5.2), ylim=(0, None), xlabel="Severity")
    axes["accuracy"].set(title="Accuracy", ylabel="Accuracy (%)")
    axes["ece"].set(title="Calibration", ylabel="Expected calibration error")
    return style.legend(figure, [*style.architectures(names), *style.trainings(names)])


@style.styled
def corruption_differences(run: Run, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Error of one model less error of another, corruption by corruption (paper 4.5).

    Pairs are models A and B; below 0, A is the more robust.
    """
    frame = corruption.corruption_difference_table(run, pairs)
    named = list(dict.fromkeys(name for pair in pairs for name in pair))
    extra = corruption.added(run, named)
    order = [*IN_ORDER, *extra, "all"]
    heads = [labels.corruption_label(name) for name in order[:-1]]
    heads.append("All of the 19" if extra else "All corruptions")
    places = [[f"{a}_vs_{b}" for a, b in pairs]]
    footer = style.footer(run, named, frame, others="small dots")
    height = 4.6 + 0.25 * len(extra)
    figure, axes = style.canvas(places, height=height, footer=footer, grid="x")
    for (a, b), (pair, axis) in zip(pairs, axes.items(), strict=True):
        cells = frame[frame["model"] == pair].set_index("quantity").loc[order]
        values, reach = style.intervals(cells)
        look = {"color": style.color(a), "ls": "", "marker": "o", "ms": 4}
        axis.errorbar(values, range(len(order)), xerr=reach, **look)
        for line, rest in enumerate(style.other_seeds(run, cells)):
            style.dots(axis, rest, line + 0.25, style.color(a))
        axis.axvline(0, color=style.GREY, linewidth=1)
        for edge in {len(IN_ORDER), len(order) - 1}:
            axis.axhline(edge - 0.5, color=style.GREY, linewidth=0.6)
        axis.set_yticks(range(len(order)), heads)
        axis.tick_params(labelleft=(a, b) == pairs[0])
        axis.set(xlabel="Difference in error (points)", ylim=(len(order) - 0.4, -0.6))
        first, second = (labels.training_phrase(name) for name in (a, b))
        axis.set_title(f"{labels.architecture_label(a)}:\n{first} less {second}")
    return figure


@style.styled
def corruption_errors(run: Run, name: str) -> Figure:
    """One model's error under each corruption at each severity (paper 3.5, equation 15)."""
    errors = corruption.outcomes(run, name).errors().errors
    extra = corruption.added(run, [name])
    if extra:
        errors = errors | corruption.added_outcomes(run, name).errors().errors
    order = [*IN_ORDER, *extra]
    values = 100 * np.array([errors[each] for each in order])
    footer = style.footer(run, [name], [run.record(name, "corruptions")])
    figure, axis = _map(order, 4.6, footer)
    shown = axis.imshow(values, aspect="auto", cmap="Purples", vmin=0, vmax=100)
    style.written_map(axis, values, "images", values > 60)
    axis.set_xticks(range(len(SEVERITIES)), SEVERITIES)
    axis.set(xlabel="Severity", title=labels.short_label(name))
    figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02).set_label("Error (%)")
    return figure


def _map(order: Sequence[str], height: float, footer: str) -> tuple[Figure, Axes]:
    """A panel with a row for each corruption, as high as given for the nineteen."""
    height += 0.25 * (len(order) - len(IN_ORDER))
    figure, axes = style.canvas([["map"]], height=height, footer=footer)
    axes["map"].set_yticks(range(len(order)), [labels.corruption_label(each) for each in order])
    return figure, axes["map"]
