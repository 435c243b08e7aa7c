"""The paper's figures, drawn from records and models' summaries alone, never from models.

Each is returned closed, so that a notebook shows it once, as the value of its cell; its last line
says where it comes from (:func:`rslib.report.labels.stamp`). Colors are Okabe and Ito's, which
color-blind readers can tell apart: blue for ResNet-18, vermilion for ViT-Small; hollow marks are
the paper's. Where a run has siblings, small dots or thin lines are its other seeds
(:mod:`rslib.report.seeds`), and the line below the stamp says so.

The figures that 4.2 needs and the paper omits are written in
:mod:`rslib.report.figures.robustness`, those of saliency and alignment in
:mod:`rslib.report.figures.saliency` and :mod:`rslib.report.figures.alignment`, Figure 4 and what
belongs to it in :mod:`rslib.report.figures.tradeoff`, pictures of images in
:mod:`rslib.report.figures.pictures`; all are called from here like the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import paper
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.report import labels, seeds, style
from rslib.report.figures.alignment import alignment_dynamics as alignment_dynamics
from rslib.report.figures.alignment import alignment_plane as alignment_plane
from rslib.report.figures.alignment import masks_needed as masks_needed

# What notebooks call as figures.<name>, wherever it lives.
from rslib.report.figures.corruption import by_severity as by_severity
from rslib.report.figures.corruption import corruption_differences as corruption_differences
from rslib.report.figures.corruption import corruption_errors as corruption_errors
from rslib.report.figures.corruption import corruption_heat_map as corruption_heat_map
from rslib.report.figures.corruption import corruption_sheet as corruption_sheet
from rslib.report.figures.pictures import attack_anatomy as attack_anatomy
from rslib.report.figures.pictures import image_grid as image_grid
from rslib.report.figures.pictures import loss_trace as loss_trace
from rslib.report.figures.robustness import accuracy_against_budget as accuracy_against_budget
from rslib.report.figures.robustness import autoattack_stages as autoattack_stages
from rslib.report.figures.robustness import certified_curves as certified_curves
from rslib.report.figures.robustness import robust_overfitting as robust_overfitting
from rslib.report.figures.saliency import chance_curve as chance_curve
from rslib.report.figures.saliency import faithfulness_curves as faithfulness_curves
from rslib.report.figures.saliency import mask_sheet as mask_sheet
from rslib.report.figures.saliency import overlap_bars as overlap_bars
from rslib.report.figures.saliency import overlap_curve as overlap_curve
from rslib.report.figures.saliency import randomization_curves as randomization_curves
from rslib.report.figures.saliency import saliency_grid as saliency_grid
from rslib.report.figures.tradeoff import confident_errors as confident_errors
from rslib.report.figures.tradeoff import correlations as correlations
from rslib.report.figures.tradeoff import figure4 as figure4
from rslib.report.figures.tradeoff import objectives as objectives
from rslib.report.style import DASHES, GREY, PAPER
from rslib.report.style import WIDTH as WIDTH
from rslib.settings.names import BASELINES, ROBUSTNESS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run


@style.styled
def figure1(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """Figure 1: how the baselines train, and how accurate they end (paper 4.1).

    Left: accuracy and cross-entropy per epoch, on validation images (solid) and on the augmented
    training images (dashed, running mean over the epoch); the dot is the epoch whose weights are
    kept. Where a moving average of the weights is kept, the solid line is the average's and a
    dotted line that of the weights themselves. Right: accuracy on all test images with its
    interval; the hollow diamond is the paper's value (Table 1), drawn where the data set is the
    paper's.

    Args:
        run: whose clean records and models' summaries are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a model or a record has not been made.
    """
    summaries = {name: run.summary(name) for name in names}
    clean = {name: run.record(name, "clean") for name in names}
    sources = [*summaries.values(), *(record.attrs for record in clean.values())]
    figure, axes = style.canvas(
        [["accuracy", "test"], ["loss", "test"]],
        height=4.1,
        footer=style.footer(run, names, sources, others="small dots and thin lines"),
        width_ratios=[1.55, 1],
    )
    for name, summary in summaries.items():
        _dynamics(axes["accuracy"], axes["loss"], run, name, summary)
    axes["accuracy"].set(title="Training dynamics", ylabel="Accuracy (%)")
    axes["accuracy"].tick_params(labelbottom=False)
    axes["accuracy"].sharex(axes["loss"])
    axes["loss"].set(xlabel="Epoch", ylabel="Cross-entropy")
    axes["loss"].set_ylim(bottom=0)
    style.whole_numbers(axes["loss"])
    confidence = run.settings.evaluation.confidence
    found = [estimates.accuracy(clean[name]["correct"], confidence=confidence) for name in names]
    reported = [style.paper_value(run, "table1", name, "clean_accuracy") for name in names]
    colors = [style.color(name) for name in names]
    _bars(axes["test"], range(len(names)), found, colors, reported, width=0.6)
    for place, name in enumerate(names):
        rest = [100 * each["correct"].mean() for each in seeds.records(run, name, "clean")]
        style.dots(axes["test"], [place + 0.2] * len(rest), rest, style.color(name))
    axes["test"].set(title="Test accuracy", ylabel="Accuracy (%)", ylim=(0, 112))
    axes["test"].set_yticks(range(0, 101, 20))
    axes["test"].set_xlim(-0.6, len(names) - 0.4)
    axes["test"].set_xticks(range(len(names)), [labels.architecture_label(n) for n in names])
    axes["test"].tick_params(axis="x", length=0)
    lines = [style.line("validation", color=GREY)]
    if any(estimates.RAW_ACCURACY in each["history"][0] for each in summaries.values()):
        lines = [
            style.line("validation, weights averaged", color=GREY),
            style.line("validation, not averaged", color=GREY, linestyle=":", linewidth=1.1),
        ]
    style.legend(
        figure,
        [
            *style.architectures(names),
            *lines,
            style.line("training (augmented)", color=GREY, linestyle="--", linewidth=1.1),
            style.line("epoch kept", color=GREY, marker="o", linestyle=""),
            *style.paper_handle(run),
        ],
    )
    return figure


@style.styled
def figure2(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Figure 2: how often attacks succeed, and accuracy against robustness (paper 4.2).

    Left: success of FGSM and PGD among the images that are right when clean, with intervals (higher
    is worse for the model). Right: accuracy under PGD against accuracy on all clean test images,
    with both intervals. Hollow marks are the paper's (Table 2; FGSM's success follows from its
    accuracies there, the text's "over 99 %" does not), drawn where the data set is the paper's.

    Args:
        run: whose records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    held = {
        name: {kind: run.record(name, kind) for kind in ("clean", "fgsm", "pgd")} for name in names
    }
    sources = [record.attrs for kinds in held.values() for record in kinds.values()]
    figure, axes = style.canvas(
        [["success", "plane"]],
        height=max(3.2, 1.3 + 0.58 * len(names)),
        footer=style.footer(run, names, sources, others="small dots"),
        width_ratios=[1.1, 1],
    )
    for offset, kind in ((-0.19, "fgsm"), (0.19, "pgd")):
        for place, name in enumerate(names):
            found = estimates.attack_success(held[name][kind], confidence=confidence)
            _success(axes["success"], place + offset, run, name, kind, found)
            rest = map(estimates.attack_success, seeds.records(run, name, kind))
            values = [each.value for each in rest]
            beside = [place + offset + 0.1] * len(values)
            style.dots(axes["success"], values, beside, style.color(name))
    axes["success"].set(title="Attack success", xlabel="Correct images turned (%)")
    axes["success"].set(xlim=(0, 121), ylim=(len(names) - 0.45, -0.55))
    axes["success"].set_xticks(range(0, 101, 20))
    axes["success"].grid(True, axis="x")
    axes["success"].set_yticks(
        range(len(names)),
        [f"{labels.architecture_label(n)}\n{labels.training_phrase(n)}" for n in names],
    )
    axes["success"].tick_params(axis="y", length=0)
    _plane(axes["plane"], run, names, held, confidence)
    entries = style.trainings(names)
    style.legend(
        figure,
        [
            *style.architectures(names),
            style.patch("FGSM", facecolor=style.tint(GREY), edgecolor=GREY),
            style.patch("PGD", facecolor=GREY, edgecolor=GREY),
            *(entries if len(entries) > 1 else []),
            *style.paper_handle(run),
        ],
    )
    return figure


@style.styled
def reliability_diagram(
    run: Run, names: Sequence[str] = BASELINES, *, binning: str = "width"
) -> Figure:
    """Accuracy against confidence, bin by bin, behind the calibration error (paper 4.1, Table 1).

    One panel a model: above, accuracy of each bin of confidence with its interval against the
    diagonal of perfect calibration (below it: overconfident); below, the share of test images at
    each confidence, always in bins equally wide.

    Args:
        run: whose clean records are read.
        names: models, in order.
        binning: ``"width"`` or ``"mass"``: bins equally wide, or with equally many images.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    chosen = run.settings.evaluation
    clean = {name: run.record(name, "clean") for name in names}
    figure, axes = style.canvas(
        [list(names), [f"{name} share" for name in names]],
        height=4.0,
        footer=style.footer(
            run, names, [record.attrs for record in clean.values()], others="thin lines"
        ),
        height_ratios=[3, 1],
    )
    options = {"bins": chosen.ece_bins, "binning": binning, "confidence": chosen.confidence}
    for place, name in enumerate(names):
        found = estimates.reliability(clean[name], **options)
        error = estimates.calibration_error(clean[name], **options)
        above, below = axes[name], axes[f"{name} share"]
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        gaps = found[["low", "high"]].sub(found["accuracy"], axis=0).abs().to_numpy().T
        above.errorbar(
            found["confidence"],
            found["accuracy"],
            gaps,
            color=style.color(name),
            fmt="o-",
            linewidth=1,
        )
        for record in seeds.records(run, name, "clean"):
            rest = estimates.reliability(record, **options)
            look = {"color": style.color(name)} | style.THIN
            above.plot(rest["confidence"], rest["accuracy"], **look)
        above.text(
            0.04,
            0.96,
            f"ECE {error.value:.3f} [{error.low:.3f}, {error.high:.3f}]",
            transform=above.transAxes,
            va="top",
        )
        spread = estimates.reliability(clean[name], **options | {"binning": "width"})
        shares = 100 * spread["n"] / spread["n"].sum()
        below.vlines(spread["confidence"], 0, shares, color=style.color(name), linewidth=6)
        below.sharex(above)
        above.set(title=labels.architecture_label(name), xlim=(0, 1.02), ylim=(-0.02, 1.02))
        above.tick_params(labelbottom=False)
        below.set(xlabel="Confidence", ylim=(0, None))
        if place == 0:
            above.set_ylabel("Accuracy")
            below.set_ylabel("Images (%)")
        for axis in (above, below):
            axis.grid(True)
    return figure


@style.styled
def learning_rates(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """The learning rate at the end of each epoch, as a share of the recipe's (paper 3.1.3).

    Args:
        run: whose models' summaries are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a model has not been trained.
    """
    summaries = {name: run.summary(name) for name in names}
    footer = style.footer(run, names, list(summaries.values()))
    figure, axes = style.canvas([["rate"]], height=2.6, footer=footer)
    for number, (name, summary) in enumerate(summaries.items()):
        peak = summary["recipe"]["learning_rate"]
        axes["rate"].plot(
            [row["epoch"] for row in summary["history"]],
            [row["learning_rate"] / peak for row in summary["history"]],
            color=style.color(name),
            # Curves of one schedule coincide: dashes let the one below be seen.
            linestyle=DASHES[number % len(DASHES)],
            label=f"{labels.architecture_label(name)}, times {peak:.3g}",
            marker=".",
        )
    axes["rate"].set(xlabel="Epoch", ylabel="Learning rate / peak", ylim=(0, 1.05))
    axes["rate"].grid(True)
    axes["rate"].legend()
    style.whole_numbers(axes["rate"])
    return figure


def _dynamics(above: Axes, below: Axes, run: Run, name: str, summary: Mapping[str, Any]) -> None:
    history, color = summary["history"], style.color(name)
    epochs = [row["epoch"] for row in history]
    for rest in seeds.summaries(run, name):
        style.history(above, rest, "validation_accuracy", 100, color=color, **style.THIN)
        style.history(below, rest, "validation_loss", color=color, **style.THIN)
    for axis, quantity, scale in ((above, "accuracy", 100), (below, "loss", 1)):
        for split, line in (("validation", "-"), ("raw_validation", ":"), ("train", "--")):
            if f"{split}_{quantity}" not in history[0]:
                continue  # no average is kept, or by code that did not validate the rest
            series = [scale * row[f"{split}_{quantity}"] for row in history]
            width = 1.8 if split == "validation" else 1.1
            label = f"{labels.architecture_label(name)}, {split.replace('_', ' ')}"
            axis.plot(epochs, series, line, color=color, linewidth=width, label=label)
        best = summary["best_epoch"]
        kept = next(row for row in history if row["epoch"] == best)
        axis.plot(best, scale * kept[f"validation_{quantity}"], "o", color=color)
        axis.grid(True)


def _success(axis: Axes, place: float, run: Run, name: str, kind: str, found: Estimate) -> None:
    color, mark = style.color(name), _paper_success(run, name, kind)
    fill = style.tint(color) if kind == "fgsm" else color
    axis.barh(place, found.value, 0.36, color=fill, edgecolor=color, linewidth=1)
    axis.errorbar(
        found.value, place, xerr=style.reach(found), fmt="none", ecolor="black", elinewidth=1.1,
        capsize=2,
    )  # fmt: skip
    end = found.high
    if mark is not None:
        axis.plot(mark, place, label="paper", **PAPER)
        # The number stays next to its bar unless the paper's mark is there.
        end = mark + 2 if -3 < mark - end < 16 else end
    axis.annotate(
        f"{found.value:.1f}", (end, place), (3, 0), textcoords="offset points", ha="left",
        va="center", fontsize=8.5,
    )  # fmt: skip


def _plane(
    axis: Axes,
    run: Run,
    names: Sequence[str],
    held: Mapping[str, Mapping[str, pd.DataFrame]],
    confidence: float,
) -> None:
    top = right = 0.0
    left = 100.0
    for name in names:
        x = estimates.accuracy(held[name]["clean"]["correct"], confidence=confidence)
        y = estimates.accuracy(held[name]["pgd"]["correct"], confidence=confidence)
        marker = style.marker(name)
        axis.errorbar(
            x.value, y.value, style.reach(y), style.reach(x), color=style.color(name),
            fmt=marker, zorder=3, label=name, markersize=8, markeredgecolor="white",
            markeredgewidth=0.7, elinewidth=1, capsize=0,
        )  # fmt: skip
        left, right, top = min(left, x.low), max(right, x.high), max(top, y.high)
        rest = [
            [100 * each["correct"].mean() for each in seeds.records(run, name, kind)]
            for kind in ("clean", "pgd")
        ]
        style.dots(axis, *rest, style.color(name))
        left, right, top = min([left, *rest[0]]), max([right, *rest[0]]), max([top, *rest[1]])
        kinds = ("clean_accuracy", "pgd_accuracy")
        there = [style.paper_value(run, "table2", name, kind) for kind in kinds]
        if None not in there:
            axis.plot(
                *there, marker, markerfacecolor="none", color=style.color(name), markersize=8,
                markeredgewidth=1.4, label=f"{name}, paper",
            )  # fmt: skip
            left, right, top = min(left, there[0]), max(right, there[0]), max(top, there[1])
    margin = max(2.0, 0.12 * (right - left))
    low, high = max(0.0, left - margin), min(100.0, right + margin)
    ceiling = max(10.0, 1.15 * top)
    axis.set(
        title="Accuracy and robustness",
        xlabel="Clean accuracy (%)",
        ylabel="Accuracy under PGD (%)",
        xlim=(low, high),
        ylim=(-0.03 * ceiling, ceiling),
    )
    axis.grid(True)


def _bars(
    axis: Axes,
    places: Sequence[float],
    found: Sequence[Estimate],
    colors: Sequence[str],
    reported: Sequence[float | None],
    *,
    width: float,
) -> None:
    heights = [e.value for e in found]
    reach = np.hstack([style.reach(e) for e in found])
    axis.bar(places, heights, width, color=colors, edgecolor=colors, linewidth=1)
    axis.errorbar(places, heights, reach, fmt="none", ecolor="black", elinewidth=1.1)
    for place, estimate, mark in zip(places, found, reported, strict=True):
        top = estimate.high
        if mark is not None:
            axis.plot(place, mark, label="paper", **PAPER)
            # The number stays next to its bar unless the paper's mark is there.
            top = mark + 2 if -3 < mark - top < 8 else top
        axis.annotate(
            f"{estimate.value:.1f}", (place, top), (0, 3), textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5,
        )  # fmt: skip
    axis.grid(True, axis="y")


def _paper_success(run: Run, name: str, kind: str) -> float | None:
    clean = style.paper_value(run, "table2", name, "clean_accuracy")
    attacked = style.paper_value(run, "table2", name, f"{kind}_accuracy")
    return None if clean is None or attacked is None else paper.attack_success(clean, attacked)
