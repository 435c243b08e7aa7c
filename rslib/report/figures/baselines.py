"""The baselines: how they train, how accurate and how well calibrated they are (paper 3.1, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib.metrics import estimates
from rslib.report import labels, numbers, seeds, style
from rslib.report.style import GREY
from rslib.settings.names import BASELINES

if TYPE_CHECKING:
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
    interval; the hollow diamond is the paper's value (Table 1).
    """
    summaries = {name: run.summary(name) for name in names}
    clean = {name: run.record(name, "clean") for name in names}
    sources = [*summaries.values(), *clean.values()]
    footer = style.footer(run, names, sources, others="small dots and thin lines")
    places = [["accuracy", "test"], ["loss", "test"]]
    figure, axes = style.canvas(places, height=4.1, footer=footer, width_ratios=[1.55, 1])
    above, below, test = axes["accuracy"], axes["loss"], axes["test"]
    for place, (name, record) in enumerate(clean.items()):
        _dynamics(above, run, name, summaries[name], "accuracy")
        _dynamics(below, run, name, summaries[name], "loss")
        shade, confidence = style.color(name), run.settings.evaluation.confidence
        found = estimates.accuracy(record["correct"], confidence=confidence)
        test.bar(place, found.value, 0.6, color=shade, edgecolor=shade, linewidth=1)
        style.point(test, place, found, fmt="none", ecolor="black", elinewidth=1.1)
        reported, end = style.paper_value(run, "table1", name, "clean_accuracy"), found.high
        if reported is not None:
            test.plot(place, reported, label="paper", **style.PAPER)
            end = style.clear_of(reported, end, 8)
        text = numbers.written(found.value, "%")
        style.note(test, text, (place, end), (0, 3), ha="center", va="bottom")
        style.dots(test, place + 0.2, style.accuracies(run, name, "clean"), shade)
    above.set(title="Training dynamics", ylabel="Accuracy (%)")
    above.tick_params(labelbottom=False)
    above.sharex(below)
    below.set(xlabel="Epoch", ylabel="Cross-entropy", ylim=(0, None))
    style.whole_numbers(below)
    test.set(title="Test accuracy", ylabel="Accuracy (%)", ylim=(0, 112), yticks=range(0, 101, 20))
    test.set_xlim(-0.6, len(names) - 0.4)
    test.set_xticks(range(len(names)), [labels.architecture_label(name) for name in names])
    test.tick_params(axis="x", length=0)
    test.grid(True, axis="y")
    lines, thin = [style.line("validation", color=GREY)], {"color": GREY, "linewidth": 1.1}
    if any(estimates.RAW_ACCURACY in each["history"][0] for each in summaries.values()):
        lines = [style.line("validation, weights averaged", color=GREY)]
        lines.append(style.line("validation, not averaged", ls=":", **thin))
    lines.append(style.line("training (augmented)", ls="--", **thin))
    lines.append(style.line("epoch kept", color=GREY, marker="o", ls=""))
    return style.legend(figure, [*style.architectures(names), *lines, *style.paper_handle(run)])


@style.styled
def reliability_diagram(
    run: Run, names: Sequence[str] = BASELINES, *, binning: str = "width"
) -> Figure:
    """Accuracy against confidence, bin by bin, behind the calibration error (paper 4.1, Table 1).

    One panel a model: above, accuracy of each bin of confidence with its interval against the
    diagonal of perfect calibration (below it: overconfident); below, the share of test images at
    each confidence, always in bins equally wide. The bins above are equally wide (``"width"``), or
    hold equally many images (``"mass"``).
    """
    clean = {name: run.record(name, "clean") for name in names}
    places = [list(names), [f"{name} share" for name in names]]
    footer = style.footer(run, names, clean.values(), others="thin lines")
    look = {"grid": "both", "height_ratios": [3, 1]}
    figure, axes = style.canvas(places, height=4.0, footer=footer, **look)
    chosen = run.settings.evaluation
    options = {"bins": chosen.ece_bins, "binning": binning, "confidence": chosen.confidence}
    for name, record in clean.items():
        above, below, shade = axes[name], axes[f"{name} share"], style.color(name)
        found = estimates.reliability(record, **options)
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        gaps = found[["low", "high"]].sub(found["accuracy"], axis=0).abs().to_numpy().T
        look = {"color": shade, "fmt": "o-", "linewidth": 1}
        above.errorbar(found["confidence"], found["accuracy"], gaps, **look)
        for other in seeds.records(run, name, "clean"):
            rest = estimates.reliability(other, **options)
            above.plot(rest["confidence"], rest["accuracy"], color=shade, **style.THIN)
        error = estimates.calibration_error(record, **options)
        value, *ends = (numbers.written(e, "") for e in (error.value, error.low, error.high))
        told = f"ECE {value} [{', '.join(ends)}]"
        above.text(0.04, 0.96, told, transform=above.transAxes, va="top")
        spread = estimates.reliability(record, **options | {"binning": "width"})
        shares = 100 * spread["n"] / spread["n"].sum()
        below.vlines(spread["confidence"], 0, shares, color=shade, linewidth=6)
        below.sharex(above)
        above.set(title=labels.architecture_label(name), xlim=(0, 1.02), ylim=(-0.02, 1.02))
        above.tick_params(labelbottom=False)
        below.set(xlabel="Confidence", ylim=(0, None))
    axes[names[0]].set_ylabel("Accuracy")
    axes[f"{names[0]} share"].set_ylabel("Images (%)")
    return figure


@style.styled
def learning_rates(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """The learning rate at the end of each epoch, as a share of the recipe's (paper 3.1.3)."""
    summaries = {name: run.summary(name) for name in names}
    footer = style.footer(run, names, summaries.values())
    figure, axes = style.canvas([["rate"]], height=2.6, footer=footer, grid="both")
    axis = axes["rate"]
    for number, (name, summary) in enumerate(summaries.items()):
        peak, epochs = summary["recipe"]["learning_rate"], summary["history"]
        label = f"{labels.architecture_label(name)}, times {peak:.3g}"
        # Curves of one schedule coincide: dashes let the one below be seen.
        look = style.numbered_look(number) | {"color": style.color(name), "label": label}
        rates = [each["learning_rate"] / peak for each in epochs]
        axis.plot([each["epoch"] for each in epochs], rates, marker=".", **look)
    axis.set(xlabel="Epoch", ylabel="Learning rate / peak", ylim=(0, 1.05))
    axis.legend()
    style.whole_numbers(axis)
    return figure


def _dynamics(axis: Axes, run: Run, name: str, summary: Mapping[str, Any], quantity: str) -> None:
    """Accuracy or loss over the epochs of a training."""
    shade, label = style.color(name), labels.architecture_label(name)
    for rest in seeds.summaries(run, name):
        style.history(axis, rest, f"validation_{quantity}", color=shade, **style.THIN)
    for split, dashes, width in (
        ("validation", "-", 1.8),
        ("raw_validation", ":", 1.1),  # missing where no average is kept
        ("train", "--", 1.1),
    ):
        if f"{split}_{quantity}" in summary["history"][0]:
            look = {"linestyle": dashes, "linewidth": width, "color": shade}
            look["label"] = f"{label}, {split.replace('_', ' ')}"
            style.history(axis, summary, f"{split}_{quantity}", **look)
    style.history(axis, summary, f"validation_{quantity}", kept=True, color=shade)
    axis.grid(True)
