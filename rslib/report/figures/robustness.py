"""Figures the paper omits: certificates, robust overfitting, AutoAttack, accuracy against budget.

Call these as ``figures.certified_curves`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics.estimates import (
    ROBUST_ACCURACY,
    Estimate,
    accuracy,
    certified_accuracy,
    on_images,
    robust_history,
)
from rslib.report import labels, seeds, style
from rslib.report.style import CYCLE, DASHES, GREEN, GREY, ORANGE, PURPLE, SKY
from rslib.report.tables.robustness import PIXEL_VALUES, STAGES
from rslib.settings.names import ROBUSTNESS
from rslib.settings.plan import plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run


_STAGE_COLORS = {
    "known": "#F0E442",
    "apgd-ce": ORANGE,
    "apgd-t": PURPLE,
    "apgd-dlr": "#8C564B",
    "fab": "#17BECF",
    "fab-t": SKY,
    "square": "black",
    "clean": "#CCCCCC",
}


@style.styled
def certified_curves(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Certified accuracy over the l2 radius (paper 3.2.2, which reports no result of it).

    One panel an architecture, one curve a training, with a pointwise band of Wilson intervals. At
    radius 0 a curve is the accuracy of the smoothed classifier. The line is the largest radius that
    the votes can certify, whatever the model: there all curves end.

    Args:
        run: whose smoothing records are read.
        names: base classifiers, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    from rslib.smoothing import largest_radius

    chosen, confidence = run.settings.smoothing, run.settings.evaluation.confidence
    ceiling = largest_radius(chosen.samples, sigma=chosen.sigma, alpha=chosen.alpha)
    held = {name: run.record(name, "smoothing") for name in names}
    panels = list(dict.fromkeys(map(labels.architecture_label, names)))
    footer = "\n".join(
        [
            f"noise {chosen.sigma:g}; {chosen.samples:,} votes a certificate, each wrong with "
            f"probability at most {chosen.alpha:g}; an l2 radius of {ceiling:.3f} is only "
            f"{255 * ceiling / PIXEL_VALUES**0.5:.1f}/255 in l-infinity",
            style.footer(
                run, names, [record.attrs for record in held.values()], others="thin lines"
            ),
        ]
    )
    figure, axes = style.canvas([panels], height=3.4, footer=footer)
    for name, record in held.items():
        axis = axes[labels.architecture_label(name)]
        for rest in seeds.records(run, name, "smoothing"):
            radii, found = _certified(rest, ceiling, confidence)
            look = style.training_look(name) | style.THIN
            axis.step(radii, [e.value for e in found], where="pre", **look)
        _certified_curve(axis, name, record, ceiling, confidence)
    for place, (title, axis) in enumerate(axes.items()):
        axis.axvline(ceiling, color=GREY, linewidth=1)
        axis.axvspan(ceiling, 2 * ceiling, color="#EEEEEE", linewidth=0)
        axis.annotate(
            f"ceiling {ceiling:.3f}", (ceiling, 0.97), (3, 0), xycoords=axis.get_xaxis_transform(),
            textcoords="offset points", rotation=90, va="top", fontsize=8.5, color=GREY,
        )  # fmt: skip
        axis.set(title=title, xlabel="l2 radius (image range = 1)", ylim=(0, 100))
        axis.set_xlim(0, 1.12 * ceiling)
        axis.grid(True)
        if place == 0:
            axis.set_ylabel("Certified accuracy (%)")
        else:
            axis.tick_params(labelleft=False)
    looks = {labels.training_phrase(name): style.training_look(name) for name in names}
    band = style.patch(f"{100 * confidence:g} % interval", facecolor=GREY, alpha=0.2)
    style.legend(figure, [*(style.line(label, **look) for label, look in looks.items()), band])
    return figure


@style.styled
def robust_overfitting(run: Run, names: Sequence[str]) -> Figure:
    """How adversarially trained models learn, and unlearn robustness (paper 3.2.2).

    One column a model. Above: accuracy on the training images as the objective shows them (attacked
    or clean), on clean validation images, and on attacked ones. Below: mean loss of the objective,
    and cross-entropy on clean validation images. The dots mark the epoch whose weights are kept,
    the one of the best accuracy under attack; the heading compares it with the last. Source of the
    effect: Rice, Wong and Kolter, ICML 2020, arXiv:2002.11569.

    Args:
        run: whose models' summaries are read.
        names: models whose training validates them under attack, in order.

    Raises:
        rslib.store.records.RecordError: a model has not been trained.
        ValueError: a model was not validated under attack.
    """
    summaries = {name: run.summary(name) for name in names}
    for summary in summaries.values():
        robust_history(summary)
    used = [plan(run.settings, name).attack for name in names]
    told = {f"PGD with {a.steps} steps and budget {a.eps}/255 in l-infinity" for a in used}
    lines = [
        f"under attack: {' or '.join(sorted(told))}, on validation images",
        style.footer(run, names, summaries.values(), others="thin lines (validation under attack)"),
    ]
    rows = []
    for start in range(0, len(names), 2):
        some = [*names[start : start + 2], "."][: min(2, len(names))]
        rows += [
            [name if name == "." else f"{name} {what}" for name in some]
            for what in ("accuracy", "loss")
        ]
    ratios = [1.5, 1] * (len(rows) // 2)
    height = 1.9 * len(ratios) + 0.3
    figure, axes = style.canvas(rows, height=height, footer="\n".join(lines), height_ratios=ratios)
    for place, (name, summary) in enumerate(summaries.items()):
        above, below = axes[f"{name} accuracy"], axes[f"{name} loss"]
        for rest in seeds.summaries(run, name):
            look = {"color": style.color(name)} | style.THIN
            style.history(above, rest, ROBUST_ACCURACY, 100, **look)
        _overfitting(above, below, name, summary)
        if place % 2 == 0:
            above.set_ylabel("Accuracy (%)")
            below.set_ylabel("Loss (nats)")
    style.legend(
        figure,
        [
            style.line("training, as the objective shows it", color=GREY, ls="--", lw=1.1),
            style.line("validation, clean", color=GREY, lw=1.2),
            style.line("validation, under attack", color=GREY, lw=2.2),
            style.line("epoch kept", color=GREY, marker="o", ls=""),
        ],
    )
    return figure


@style.styled
def accuracy_against_budget(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float], int]],
    *,
    title: str = "Accuracy against the budget",
    norm: str = "l-infinity",
    budget: float | None = None,
    log: bool = False,
    confidence: float = 0.95,
    footer: str = "",
) -> Figure:
    """Accuracy under attack as the budget grows (paper 3.2.1): it must fall to about zero.

    Args:
        curves: label to budgets in 255ths, the accuracies under them as fractions, and the number
            of images behind each.
        title: above the axes.
        norm: geometry of the budget, in words.
        budget: the one that is reported elsewhere, in 255ths, marked by a line.
        log: whether budgets are spaced by their logarithm (to base 2; a budget of 0 stays at 0).
        confidence: coverage of the Wilson intervals.
        footer: last line, such as :func:`rslib.report.labels.stamp`.

    Raises:
        ValueError: no curves, lengths differ, or an accuracy is not between 0 and 1.
    """
    from matplotlib.ticker import ScalarFormatter

    if not curves:
        raise ValueError("curves is empty: at least one is needed")
    figure, axes = style.canvas([["accuracy"]], height=3.2, footer=footer)
    axis = axes["accuracy"]
    marks = ("o", "s", "v", "^", "D", "P")
    for number, (label, (budgets, shares, n)) in enumerate(curves.items()):
        budgets, shares = np.asarray(budgets, float), np.asarray(shares, float)
        if budgets.shape != shares.shape or budgets.ndim != 1:
            raise ValueError(
                f"{label}: {budgets.size} budgets and {shares.size} accuracies; one each is needed"
            )
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"{label}: accuracies span {shares.min()} to {shares.max()}: give "
                             "fractions between 0 and 1")  # fmt: skip
        found = [accuracy(np.arange(n) < round(s * n), confidence=confidence) for s in shares]
        reach = np.hstack([style.reach(estimate) for estimate in found])
        axis.errorbar(
            budgets,
            [estimate.value for estimate in found],
            reach,
            label=label,
            color=CYCLE[number % len(CYCLE)],
            linestyle=DASHES[number % len(DASHES)],
            marker=marks[number % len(marks)],
        )
    largest = max(max(budgets) for budgets, _, _ in curves.values())
    if log:
        smallest = min(b for budgets, _, _ in curves.values() for b in budgets if b > 0)
        axis.set_xscale("symlog", base=2, linthresh=smallest)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_xlim(right=1.15 * largest)
    if budget is not None:
        axis.axvline(budget, color=GREY, linewidth=1, linestyle=":")
        axis.annotate(
            f"{budget:g}/255", (budget, 0.99), (3, 0), xycoords=axis.get_xaxis_transform(),
            textcoords="offset points", va="top", fontsize=8.5, color=GREY,
        )  # fmt: skip
    axis.set(title=title, xlabel=f"Budget in {norm} (255ths)", ylabel="Accuracy under attack (%)")
    axis.set_ylim(-2, 102)
    axis.grid(True)
    axis.legend()
    return figure


@style.styled
def autoattack_stages(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Which stage of AutoAttack broke how many images, and what PGD left (paper 3.2.1).

    One bar a model, over all images that AutoAttack was run on: those that no stage broke, then
    those that each stage broke, the last stage first, then those that are wrong when clean. So the
    right end of each color is the accuracy that was left before that stage. The black tick is
    accuracy under PGD on the same images.

    Args:
        run: whose PGD and AutoAttack records are read.
        names: models, in order.

    Raises:
        rslib.store.records.RecordError: a record has not been made, or PGD was run on fewer images.
    """
    held = {name: run.record(name, "autoattack") for name in names}
    sources = [record.attrs for record in held.values()]
    pgd = {
        name: on_images(run.record(name, "pgd"), record["image"])["correct"]
        for name, record in held.items()
    }
    figure, axes = style.canvas(
        [["stages"]],
        height=0.9 + 0.42 * len(names),
        footer=style.footer(run, names, sources, others="small dots (still right)"),
    )
    axis, seen = axes["stages"], {}
    for place, (name, record) in enumerate(held.items()):
        broken_by = record["broken_by"].to_numpy()
        left = 100 * float((broken_by < 0).mean())
        axis.barh(place, left, 0.62, color=GREEN)
        axis.annotate(
            f"{left:.1f} %", (1, place), (5, 0), xycoords=axis.get_yaxis_transform(),
            textcoords="offset points", va="center", fontsize=8.5, color=GREEN, fontweight="bold",
        )  # fmt: skip
        for position, stage in reversed(list(enumerate(record.attrs["notes"]["stages"]))):
            share = 100 * float((broken_by == position).mean())
            axis.barh(place, share, 0.62, left=left, color=_STAGE_COLORS.get(stage, GREY))
            left += share
            seen[stage] = seen.get(stage, 0) + share
        rest = [100 * each["correct"].mean() for each in seeds.records(run, name, "autoattack")]
        style.dots(axis, rest, [place + 0.15] * len(rest), GREEN)
        right = 100 * float(pgd[name].mean())
        axis.plot([right] * 2, [place - 0.4, place + 0.4], color="black", lw=2, label="PGD")
    axis.set(xlabel="Test images (%)", xlim=(0, 100), ylim=(len(names) - 0.4, -0.6))
    axis.set_yticks(range(len(names)), [labels.short_label(name) for name in names])
    axis.tick_params(axis="y", length=0)
    drawn = [stage for stage, share in seen.items() if share]
    style.legend(
        figure,
        [
            style.patch("still right", facecolor=GREEN),
            *(
                style.patch(
                    "wrong when clean" if stage == "clean" else f"broken by {STAGES[stage]}",
                    facecolor=_STAGE_COLORS.get(stage, GREY),
                )
                for stage in drawn
            ),
            style.line("right under PGD", color="black", marker="|", ls="", ms=10, mew=2),
        ],
    )
    return figure


def _certified(
    record: pd.DataFrame, ceiling: float, confidence: float
) -> tuple[list[float], list[Estimate]]:
    """The radii where a curve of certified accuracy steps, and its values there."""
    right = record["correct"].to_numpy(bool)
    # Stored radii may be the ceiling up to rounding; it is named once.
    ends = np.unique(record["radius"].to_numpy(float)[right])
    radii = [0.0, *ends[ends < ceiling * (1 - 1e-6)], ceiling]
    return radii, [certified_accuracy(record, radius, confidence=confidence) for radius in radii]


def _certified_curve(
    axis: Axes, name: str, record: pd.DataFrame, ceiling: float, confidence: float
) -> None:
    radii, found = _certified(record, ceiling, confidence)
    look = style.training_look(name)
    # The curve holds a value up to and including the radius where images drop out.
    axis.step(radii, [e.value for e in found], where="pre", label=name, **look)
    axis.fill_between(
        radii, [e.low for e in found], [e.high for e in found], step="pre",
        color=look["color"], alpha=0.15, linewidth=0,
    )  # fmt: skip


def _overfitting(above: Axes, below: Axes, name: str, summary: Mapping[str, Any]) -> None:
    history, color, best = summary["history"], style.color(name), summary["best_epoch"]
    epochs = [row["epoch"] for row in history]
    (kept,) = (row for row in history if row["epoch"] == best)
    for axis, series in (
        (
            above,
            [
                ("train_accuracy", 100, "--", 1.1),
                ("validation_accuracy", 100, "-", 1.2),
                (ROBUST_ACCURACY, 100, "-", 2.2),
            ],
        ),
        (below, [("train_loss", 1, "--", 1.1), ("validation_loss", 1, "-", 1.2)]),
    ):
        for quantity, scale, dashes, width in series:
            shown = [scale * row[quantity] for row in history]
            axis.plot(epochs, shown, dashes, color=color, linewidth=width, label=quantity)
            if quantity != "train_accuracy" and quantity != "train_loss":
                axis.plot(best, scale * kept[quantity], "o", color=color, label="kept")
        axis.axvline(best, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
        axis.grid(True)
        style.whole_numbers(axis)
    above.set_title(
        f"{labels.short_label(name)}\nunder attack: {100 * kept[ROBUST_ACCURACY]:.1f} % kept, "
        f"{100 * history[-1][ROBUST_ACCURACY]:.1f} % last"
    )
    above.set_ylim(0, 100)
    above.tick_params(labelbottom=False)
    above.sharex(below)
    below.set(xlabel="Epoch", ylim=(0, None))
