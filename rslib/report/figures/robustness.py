"""Attacks and certificates: Figure 2, and the figures that the paper omits (paper 3.2, 4.2)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib import paper
from rslib.metrics import estimates
from rslib.metrics.estimates import ROBUST_ACCURACY
from rslib.report import labels, numbers, seeds, style
from rslib.report.style import GREEN, GREY
from rslib.report.tables.robustness import PIXEL_VALUES, STAGES, budget_curve, fgsm_budget
from rslib.settings.names import ROBUSTNESS
from rslib.settings.plan import plan

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run


PAPER_EPS = 8
"""The budget that the paper states for all its attacks (3.2.1), in 255ths."""

_STAGE_COLORS = {
    "known": "#F0E442",
    "apgd-ce": style.ORANGE,
    "apgd-t": style.PURPLE,
    "apgd-dlr": "#8C564B",
    "fab": "#17BECF",
    "fab-t": style.SKY,
    "square": "black",
    "clean": "#CCCCCC",
}


@style.styled
def figure2(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Figure 2: how often attacks succeed, and accuracy against robustness (paper 4.2).

    Left: success of FGSM and PGD among the images that are right when clean, with intervals (higher
    is worse for the model). Right: accuracy under PGD against accuracy on all clean test images,
    with both intervals. Hollow marks are the paper's (Table 2; FGSM's success follows from its
    accuracies there, the text's "over 99 %" does not).
    """
    confidence, kinds = run.settings.evaluation.confidence, ("clean", "fgsm", "pgd")
    held = {name: {kind: run.record(name, kind) for kind in kinds} for name in names}
    sources = [record for records in held.values() for record in records.values()]
    footer = style.footer(run, names, sources, others="small dots")
    places, height = [["success", "plane"]], max(3.2, 1.3 + 0.58 * len(names))
    figure, axes = style.canvas(places, height=height, footer=footer, width_ratios=[1.1, 1])
    success = axes["success"]
    for kind, offset in (("fgsm", -0.19), ("pgd", 0.19)):
        for row, name in enumerate(names):
            place, shade = row + offset, style.color(name)
            found = estimates.attack_success(held[name][kind], confidence=confidence)
            end, fill = found.high, style.tint(shade) if kind == "fgsm" else shade
            success.barh(place, found.value, 0.36, color=fill, edgecolor=shade, linewidth=1)
            look = {"fmt": "none", "ecolor": "black", "elinewidth": 1.1, "capsize": 2}
            style.point(success, found, place, **look)
            there = _reported(run, name, kind)
            if None not in there:
                reported = paper.attack_success(*there)
                success.plot(reported, place, label="paper", **style.PAPER)
                end = style.clear_of(reported, end, 16)
            text = numbers.written(found.value, "%")
            style.note(success, text, (end, place), (3, 0), va="center")
            rest = seeds.records(run, name, kind)
            turned = [estimates.attack_success(each).value for each in rest]
            style.dots(success, turned, place + 0.1, shade)
    success.set(title="Attack success", xlabel="Correct images turned (%)")
    success.set(xlim=(0, 121), xticks=range(0, 101, 20))
    success.grid(True, axis="x")
    heads = [f"{labels.architecture_label(n)}\n{labels.training_phrase(n)}" for n in names]
    style.rows(success, heads, margin=0.55)
    _plane(axes["plane"], run, held)
    handles, trainings = style.architectures(names), style.trainings(names)
    handles.append(style.patch("FGSM", facecolor=style.tint(GREY), edgecolor=GREY))
    handles.append(style.patch("PGD", facecolor=GREY, edgecolor=GREY))
    if len(trainings) > 1:
        handles += trainings
    return style.legend(figure, [*handles, *style.paper_handle(run)])


@style.styled
def certified_curves(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """Certified accuracy over the l2 radius (paper 3.2.2, which reports no result of it).

    One panel an architecture, one curve a training, with a pointwise band of Wilson intervals. At
    radius 0 a curve is the accuracy of the smoothed classifier. The line is the largest radius that
    the votes can certify, whatever the model: there all curves end.
    """
    from rslib.smoothing import largest_radius

    chosen, confidence = run.settings.smoothing, run.settings.evaluation.confidence
    ceiling = largest_radius(chosen.samples, sigma=chosen.sigma, alpha=chosen.alpha)
    held = {name: run.record(name, "smoothing") for name in names}
    told = (
        f"noise {chosen.sigma:g}; {chosen.samples:,} votes a certificate, each wrong with "
        f"probability at most {chosen.alpha:g}; an l2 radius of {ceiling:.3f} is only "
        f"{255 * ceiling / PIXEL_VALUES**0.5:.1f}/255 in l-infinity"
    )
    footer = f"{told}\n{style.footer(run, names, held.values(), others='thin lines')}"
    panels = list(dict.fromkeys(map(labels.architecture_label, names)))
    figure, axes = style.canvas([panels], height=3.4, footer=footer, grid="both")
    for name, record in held.items():
        axis, look = axes[labels.architecture_label(name)], style.training_look(name)
        for rest in seeds.records(run, name, "smoothing"):
            # The curve holds a value up to and including the radius where images drop out.
            radii, (value, *_) = _certified(rest, ceiling, confidence)
            axis.step(radii, value, where="pre", **look | style.THIN)
        radii, (value, low, high) = _certified(record, ceiling, confidence)
        axis.step(radii, value, where="pre", label=name, **look)
        band = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
        axis.fill_between(radii, low, high, step="pre", **band)
    for title, axis in axes.items():
        axis.axvline(ceiling, color=GREY, linewidth=1)
        axis.axvspan(ceiling, 2 * ceiling, color="#EEEEEE", linewidth=0)
        look = {"va": "top", "rotation": 90, "xycoords": axis.get_xaxis_transform(), "color": GREY}
        style.note(axis, f"ceiling {ceiling:.3f}", (ceiling, 0.97), (3, 0), **look)
        axis.set(title=title, xlabel="l2 radius (image range = 1)")
        axis.set(xlim=(0, 1.12 * ceiling), ylim=(0, 100))
        axis.tick_params(labelleft=title == panels[0])
    axes[panels[0]].set_ylabel("Certified accuracy (%)")
    looks = {labels.training_phrase(name): style.training_look(name) for name in names}
    band = style.patch(f"{100 * confidence:g} % interval", facecolor=GREY, alpha=0.2)
    lines = [style.line(label, **look) for label, look in looks.items()]
    return style.legend(figure, [*lines, band])


@style.styled
def robust_overfitting(run: Run, names: Sequence[str]) -> Figure:
    """Robustness gained and lost over the epochs of adversarial training (paper 3.2.2).

    One column a model. Above: accuracy on training images as the objective shows them, and on clean
    and attacked validation images. Below: mean loss of the objective, and cross-entropy on clean
    validation images. Dots mark the epoch kept, the best under attack; the heading compares it with
    the last. Source of the effect: Rice, Wong and Kolter, ICML 2020, arXiv:2002.11569.

    Raises:
        ValueError: a model was not validated under attack.
    """
    summaries = {name: run.summary(name) for name in names}
    for summary in summaries.values():
        estimates.robust_history(summary)
    used = [plan(run.settings, name).attack for name in names]
    told = {f"PGD with {a.steps} steps and budget {a.eps}/255 in l-infinity" for a in used}
    footer = f"under attack: {' or '.join(sorted(told))}, on validation images\n"
    others = "thin lines (validation under attack)"
    footer += style.footer(run, names, summaries.values(), others=others)
    places = [
        [name if name == "." else f"{name} {part}" for name in some]
        for some in style.in_rows(names, 2)
        for part in ("accuracy", "loss")
    ]
    look = {"grid": "both", "height_ratios": [1.5, 1] * (len(places) // 2)}
    figure, axes = style.canvas(places, height=1.9 * len(places) + 0.3, footer=footer, **look)
    for place, (name, summary) in enumerate(summaries.items()):
        above, below, shade = axes[f"{name} accuracy"], axes[f"{name} loss"], style.color(name)
        for rest in seeds.summaries(run, name):
            style.history(above, rest, ROBUST_ACCURACY, color=shade, **style.THIN)
        for axis, quantity, dashes, width in (
            (above, "train_accuracy", "--", 1.1),
            (above, "validation_accuracy", "-", 1.2),
            (above, ROBUST_ACCURACY, "-", 2.2),
            (below, "train_loss", "--", 1.1),
            (below, "validation_loss", "-", 1.2),
        ):
            look = {"color": shade, "linestyle": dashes, "linewidth": width, "label": quantity}
            style.history(axis, summary, quantity, **look)
            if not quantity.startswith("train"):
                style.history(axis, summary, quantity, kept=True, color=shade, label="kept")
        best, history = summary["best_epoch"], summary["history"]
        for axis in (above, below):
            axis.axvline(best, color=GREY, linewidth=0.8, linestyle=":", zorder=0)
            style.whole_numbers(axis)
        accuracies = (100 * history[at][ROBUST_ACCURACY] for at in (best - 1, -1))
        kept, last = (numbers.quantity(accuracy, "%") for accuracy in accuracies)
        told = f"{labels.short_label(name)}\nunder attack: {kept} kept, {last} last"
        above.set(title=told, ylim=(0, 100))
        above.tick_params(labelbottom=False)
        above.sharex(below)
        below.set(xlabel="Epoch", ylim=(0, None))
        if place % 2 == 0:
            above.set_ylabel("Accuracy (%)")
            below.set_ylabel("Loss (nats)")
    handles = [
        style.line("training, as the objective shows it", color=GREY, ls="--", lw=1.1),
        style.line("validation, clean", color=GREY, lw=1.2),
        style.line("validation, under attack", color=GREY, lw=2.2),
        style.line("epoch kept", color=GREY, marker="o", ls=""),
    ]
    return style.legend(figure, handles)


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

    A curve is, by its label, budgets in 255ths, the accuracies under them as fractions, and the
    number of images behind each, which Wilson intervals rest on. A line marks the ``budget`` that
    is reported elsewhere, in 255ths. ``log`` spaces budgets by their logarithm (to base 2; a budget
    of 0 stays at 0); ``norm`` is their geometry, in words.

    Raises:
        ValueError: no curves, lengths differ, or an accuracy is not between 0 and 1.
    """
    from matplotlib.ticker import ScalarFormatter

    if not curves:
        raise ValueError("curves is empty: at least one is needed")
    figure, axes = style.canvas([["accuracy"]], height=3.2, footer=footer, grid="both")
    axis = axes["accuracy"]
    for number, (label, (budgets, shares, n)) in enumerate(curves.items()):
        budgets, shares = np.asarray(budgets, float), np.asarray(shares, float)
        if budgets.shape != shares.shape or budgets.ndim != 1:
            raise ValueError(
                f"{label}: {budgets.size} budgets and {shares.size} accuracies; one each is needed"
            )
        if not ((shares >= 0) & (shares <= 1)).all():
            span = f"{shares.min()} to {shares.max()}"
            raise ValueError(f"{label}: accuracies span {span}: give fractions between 0 and 1")
        found = [estimates.proportion(round(share * n), n, confidence) for share in shares]
        value, low, high = _ends(found)
        look = style.numbered_look(number) | {"marker": "osv^DP"[number % 6], "label": label}
        axis.errorbar(budgets, value, np.maximum(0, [value - low, high - value]), **look)
    if log:
        smallest = min(b for budgets, _, _ in curves.values() for b in budgets if b > 0)
        largest = max(max(budgets) for budgets, _, _ in curves.values())
        axis.set_xscale("symlog", base=2, linthresh=smallest)
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.set_xlim(right=1.15 * largest)
    if budget is not None:
        axis.axvline(budget, color=GREY, linewidth=1, linestyle=":")
        place = {"xycoords": axis.get_xaxis_transform(), "va": "top"}
        style.note(axis, f"{budget:g}/255", (budget, 0.99), (3, 0), color=GREY, **place)
    axis.set(title=title, xlabel=f"Budget in {norm} (255ths)", ylabel="Accuracy under attack (%)")
    axis.set_ylim(-2, 102)
    axis.legend()
    return figure


def budget_curves(run: Run, names: Sequence[str] = ROBUSTNESS, attack: str = "pgd") -> Figure:
    """Accuracy under PGD, or ``"fgsm"``, against the budget, from records of ``"budgets"``.

    Under FGSM diamonds are the paper's accuracies (Table 2) at the budget it states, and crosses
    the same accuracies where the curve of that model falls to them (:func:`fgsm_budget`), where the
    data set is the paper's.
    """
    held = {name: run.record(name, "budgets") for name in names}
    n, told = len(next(iter(held.values()))), f"{labels.count(run.settings.pgd.steps, 'step')}, "
    footer = style.footer(run, names, held.values())
    title = f"Accuracy under PGD ({told}{labels.count(run.settings.pgd.restarts, 'start')})"
    if attack == "fgsm":
        title = "Accuracy under FGSM"
    confidence = run.settings.evaluation.confidence
    curves = {
        labels.short_label(name): (*budget_curve(record, attack), len(record))
        for name, record in held.items()
    }
    stated = getattr(run.settings, attack).eps
    norm = "l2" if attack == "pgd" and run.settings.pgd.norm == "l2" else "l-infinity"
    figure = accuracy_against_budget(
        curves,
        title=f"{title}, n = {n:,}",
        norm=norm,
        budget=stated,
        # Spaced evenly, a crossing lies on the line that is drawn.
        log=attack == "pgd",
        confidence=confidence,
        footer=footer,
    )
    if attack != "fgsm" or not labels.comparable(run):
        return figure
    (axis,) = figure.axes
    for name, drawn in zip(names, axis.containers, strict=True):
        level = paper.find("table2", name, "fgsm_accuracy")
        if level is None:
            continue
        shade = drawn.lines[0].get_color()
        look = style.PAPER | {"markeredgecolor": shade, "label": "paper"}
        axis.plot(PAPER_EPS, level.value, **look)
        crossed = fgsm_budget(held[name], level.value, confidence)
        if not math.isnan(crossed.value):
            axis.plot(crossed.value, level.value, "X", ms=9, color=shade, label="crossing")
    return figure


@style.styled
def autoattack_stages(run: Run, names: Sequence[str] = ROBUSTNESS) -> Figure:
    """The images that each stage of AutoAttack broke, and that PGD left (paper 3.2.1).

    One bar a model, over all images that AutoAttack was run on: those that no stage broke, those
    that each broke, the last stage first, and those that are wrong when clean. So each color ends
    at the accuracy left before that stage. The tick is accuracy under PGD on the same images.

    Raises:
        ValueError: PGD was run on fewer images.
    """
    held = {name: run.record(name, "autoattack") for name in names}
    footer = style.footer(run, names, held.values(), others="small dots (still right)")
    figure, axes = style.canvas([["stages"]], height=0.9 + 0.42 * len(names), footer=footer)
    axis, seen = axes["stages"], {}
    for place, (name, record) in enumerate(held.items()):
        pgd = estimates.on_images(run.record(name, "pgd"), record["image"])["correct"]
        left = 100 * float((record["broken_by"] < 0).mean())
        axis.barh(place, left, 0.62, color=GREEN)
        look = {"color": GREEN, "fontweight": "bold", "va": "center"}
        at = axis.get_yaxis_transform()
        style.note(axis, numbers.quantity(left, "%"), (1, place), (5, 0), xycoords=at, **look)
        for position, stage in reversed(list(enumerate(record.attrs["notes"]["stages"]))):
            share = 100 * float((record["broken_by"] == position).mean())
            axis.barh(place, share, 0.62, left=left, color=_STAGE_COLORS.get(stage, GREY))
            left += share
            seen[stage] = seen.get(stage, 0) + share
        style.dots(axis, style.accuracies(run, name, "autoattack"), place + 0.15, GREEN)
        right = 100 * float(pgd.mean())
        axis.plot([right] * 2, [place - 0.4, place + 0.4], color="black", lw=2, label="PGD")
    axis.set(xlabel="Test images (%)", xlim=(0, 100))
    style.rows(axis, [labels.short_label(name) for name in names], margin=0.6)
    handles = [style.patch("still right", facecolor=GREEN)]
    for stage in (stage for stage, share in seen.items() if share):
        label = "wrong when clean" if stage == "clean" else f"broken by {STAGES[stage]}"
        handles.append(style.patch(label, facecolor=_STAGE_COLORS.get(stage, GREY)))
    handles.append(style.line("right under PGD", color="black", marker="|", ls="", ms=10, mew=2))
    return style.legend(figure, handles)


def _plane(axis: Axes, run: Run, held: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """Accuracy under PGD against clean accuracy, in limits that hold all marks."""
    confidence = run.settings.evaluation.confidence
    across, up = [], [0.0]
    for name, records in held.items():
        shade, marker = style.color(name), style.marker(name)
        x = estimates.accuracy(records["clean"]["correct"], confidence=confidence)
        y = estimates.accuracy(records["pgd"]["correct"], confidence=confidence)
        look = {"color": shade, "fmt": marker, "markersize": 8, "zorder": 3, "label": name}
        look |= {"markeredgecolor": "white", "markeredgewidth": 0.7, "elinewidth": 1, "capsize": 0}
        style.point(axis, x, y, **look)
        rest = [style.accuracies(run, name, kind) for kind in ("clean", "pgd")]
        style.dots(axis, *rest, shade)
        across += [x.low, x.high, *rest[0]]
        up += [y.high, *rest[1]]
        there = _reported(run, name, "pgd")
        if None not in there:
            look = {"markerfacecolor": "none", "color": shade, "markersize": 8}
            axis.plot(*there, marker, markeredgewidth=1.4, label=f"{name}, paper", **look)
            across.append(there[0])
            up.append(there[1])
    left, right = min(across), max(across)
    margin, ceiling = max(2.0, 0.12 * (right - left)), max(10.0, 1.15 * max(up))
    axis.set(title="Accuracy and robustness", xlabel="Clean accuracy (%)")
    axis.set(ylabel="Accuracy under PGD (%)", ylim=(-0.03 * ceiling, ceiling))
    axis.set_xlim(max(0.0, left - margin), min(100.0, right + margin))
    axis.grid(True)


def _reported(run: Run, name: str, attack: str) -> list[float | None]:
    """The paper's accuracies, clean and under attack."""
    columns = ("clean_accuracy", f"{attack}_accuracy")
    return [style.paper_value(run, "table2", name, column) for column in columns]


def _certified(
    record: pd.DataFrame, ceiling: float, confidence: float
) -> tuple[list[float], np.ndarray]:
    """The radii where a curve of certified accuracy steps, and its values there with their ends."""
    right = record["correct"].to_numpy(bool)
    # Stored radii may be the ceiling up to rounding; it is named once.
    ends = np.unique(record["radius"].to_numpy(float)[right])
    radii = [0.0, *ends[ends < ceiling * (1 - 1e-6)], ceiling]
    found = [estimates.certified_accuracy(record, r, confidence=confidence) for r in radii]
    return radii, _ends(found)


def _ends(found: Sequence[estimates.Estimate]) -> np.ndarray:
    """Values, lower and upper ends, (3, n)."""
    return np.array([(each.value, each.low, each.high) for each in found]).T
