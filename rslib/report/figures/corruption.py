"""What corruptions do, drawn from records (paper 3.5, 4.5). Call these as ``figures.<name>``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import CATEGORIES, SEVERITIES
from rslib.report import labels, style
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
    import pandas as pd
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
    columns = 2
    rows = -(-len(names) // columns)
    places = [[f"{column} {row}" for column in range(columns)] for row in range(rows)]
    figure, axes = style.canvas(places, height=0.62 * rows + 0.25, footer=footer)
    for number in range(rows * columns):
        axis = axes[f"{number // rows} {number % rows}"]
        if number >= len(names):
            axis.axis("off")
            continue
        strip = versions[number].permute(2, 0, 3, 1)  # H, severity, W, channel
        gap = np.full((strip.shape[0], 1, 2, 3), 255, dtype=np.uint8)
        tiles = [np.concatenate([strip[:, k : k + 1].numpy(), gap], 2) for k in range(5)]
        axis.imshow(np.concatenate(tiles, 2)[:, 0], aspect="equal")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        axis.set_ylabel(
            labels.corruption_label(names[number]),
            rotation=0,
            ha="right",
            va="center",
            fontsize=8.5,
        )
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
    values = np.array([[_pick(frame, m, c) for m in names] for c in order])
    # Half the reference's error is as far from it as twice; beyond a factor of 4 colors end.
    far = min(4.0, max(1.1, np.nanmax(values), 1 / max(np.nanmin(values), 1e-9)))
    figure, axes = style.canvas(
        [["map"]],
        height=5.2 + _ROW * len(extra),
        footer=style.below(run, names, frame),
    )
    axis = axes["map"]
    drawn = np.clip(values, 1 / far, far)
    shown = axis.imshow(drawn, aspect="auto", cmap="PuOr_r", norm=LogNorm(1 / far, far))
    for (row, column), value in np.ndenumerate(values):
        strong = abs(np.log(drawn[row, column])) > 0.6 * np.log(far)
        text = "–" if np.isnan(value) else f"{value:.2f}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8,
                  color="white" if strong else "black")  # fmt: skip
    axis.set_yticks(range(len(order)), [labels.corruption_label(name) for name in order])
    heads = [f"{labels.architecture_label(m)}\n{labels.training_phrase(m)}" for m in names]
    axis.set_xticks(range(len(names)), heads)
    axis.tick_params(length=0, top=True, bottom=False, labeltop=True, labelbottom=False)
    parts = [*map(len, CATEGORIES.values()), len(extra)]
    edges = np.cumsum(parts[: -1 if extra else -2])
    axis.hlines(edges - 0.5, -0.5, len(names) - 0.5, color="black", linewidth=1)
    bar = figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02)
    steps = [1.0, 1.25, 1.5, 2.0, 3.0, 4.0]
    marks = sorted({mark for step in steps if step <= far for mark in (step, 1 / step)})
    bar.set_ticks(marks, labels=[f"{mark:.2f}" for mark in marks], minor=False)
    bar.ax.minorticks_off()
    bar.set_label(f"Error relative to {labels.short_label(reference)}")
    return figure


@style.styled
def by_severity(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Accuracy and calibration error against severity (paper 4.1, 4.5).

    Args:
        run: whose clean and corruption records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    frame = severity_table(run, names)
    figure, axes = style.canvas(
        [["accuracy", "ece"]],
        height=2.9,
        footer=style.below(run, names, frame, others="thin lines"),
    )
    for panel, first in (("accuracy", 0), ("ece", 1)):
        axis = axes[panel]
        for name in names:
            severities = range(first, len(SEVERITIES) + 1)
            rows = [_row(frame, name, f"{panel}_{severity}") for severity in severities]
            middle, low, high = (
                np.array([row[key] for row in rows], float) for key in ("ours", "low", "high")
            )
            look = {"color": style.color(name), "marker": style.marker(name)}
            dashed = "-" if name.endswith("-standard") else "--"
            reach = np.nan_to_num([middle - low, high - middle])
            axis.errorbar(severities, middle, reach, ls=dashed, **look)
            rest = [style.others(run, row) for row in rows]
            axis.plot(severities, rest, ls=dashed, **look | style.THIN)
        axis.grid(True)
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
    places = [[f"{a}_vs_{b}" for a, b in pairs]]
    named = list(dict.fromkeys(name for pair in pairs for name in pair))
    footer = style.below(run, named, frame, others="small dots")
    extra = added(run, named)
    order = [*IN_ORDER, *extra, "all"]
    figure, axes = style.canvas(places, height=4.6 + _ROW * len(extra), footer=footer)
    for place, (a, b) in enumerate(pairs):
        axis = axes[f"{a}_vs_{b}"]
        rows = [_row(frame, f"{a}_vs_{b}", name) for name in order]
        middle, low, high = (np.array([r[k] for r in rows], float) for k in ("ours", "low", "high"))
        reach = np.nan_to_num([middle - low, high - middle])
        axis.errorbar(middle, range(len(order)), xerr=reach, ls="", marker="o", ms=4,
                      color=style.color(a))  # fmt: skip
        for line, row in enumerate(rows):
            rest = style.others(run, row)
            style.dots(axis, rest, [line + 0.25] * len(rest), style.color(a))
        axis.axvline(0, color=GREY, linewidth=1)
        for edge in {len(IN_ORDER), len(order) - 1}:
            axis.axhline(edge - 0.5, color=GREY, linewidth=0.6)
        axis.grid(True, axis="x")
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_yticks(range(len(order)), [])
        if place == 0:
            axis.set_yticks(
                range(len(order)),
                [
                    *map(labels.corruption_label, order[:-1]),
                    "All of the 19" if extra else "All corruptions",
                ],
            )
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
    record = run.record(name, "corruptions")
    figure, axes = style.canvas(
        [["map"]],
        height=4.6 + _ROW * len(extra),
        footer=style.footer(run, [name], [record.attrs]),
    )
    axis = axes["map"]
    shown = axis.imshow(values, aspect="auto", cmap="Purples", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(values):
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8,
                  color="white" if value > 60 else "black")  # fmt: skip
    axis.set_yticks(range(len(order)), [labels.corruption_label(c) for c in order])
    axis.set_xticks(range(len(SEVERITIES)), SEVERITIES)
    axis.tick_params(length=0)
    axis.set_xlabel("Severity")
    axis.set_title(labels.short_label(name))
    figure.colorbar(shown, ax=axis, shrink=0.6, pad=0.02).set_label("Error (%)")
    return figure


def _row(frame: pd.DataFrame, name: str, quantity: str) -> dict:
    (row,) = frame[(frame.model == name) & (frame.quantity == quantity)].to_dict("records")
    return row


def _pick(frame: pd.DataFrame, name: str, quantity: str) -> float:
    return _row(frame, name, quantity)["ours"]
