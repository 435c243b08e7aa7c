"""The paper's figures, and the notebooks' pictures of images and attacks.

Figures of results are drawn from records and models' summaries alone, never from models. Each is
returned closed, so that a notebook shows it once, as the value of its cell; its last line says
where it comes from (:func:`rslib.tables.stamp`). Colors are Okabe and Ito's, which color-blind
readers can tell apart: blue for ResNet-18, vermilion for ViT-Small; hollow marks are the paper's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np
import torch
from numpy.typing import ArrayLike

from rslib import paper, tables
from rslib.tables import BASELINES, Estimate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

    Images = ArrayLike | torch.Tensor

P = ParamSpec("P")

WIDTH = 7.5
"""Inches: the text width of the book."""

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SKY, ORANGE, PURPLE, GREY = "#56B4E9", "#E69F00", "#CC79A7", "#595959"

_COLORS = {"resnet18": BLUE, "vit_small": VERMILION, "alexnet": GREEN}
_CYCLE = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE)
_DASHES = ("-", "--", "-.", ":")
_MARKERS = {"standard": "o", "adversarial": "s", "aligned": "^", "noise": "D"}
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
_FOOTER_SIZE = 8
_LINE_INCHES = 0.16


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in this module's style, and take the figure from pyplot, which would show it twice."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        import matplotlib.pyplot as plt

        with plt.rc_context(_STYLE):
            figure = draw(*args, **kwargs)
        plt.close(figure)
        return figure

    return drawn


# The paper's figures


@_styled
def figure1(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """Figure 1: how the baselines train, and how accurate they end (paper 4.1).

    Left: accuracy and cross-entropy per epoch, on validation images (solid) and on the augmented
    training images (dashed, running mean over the epoch); the dot is the epoch whose weights are
    kept. Right: accuracy on all test images with its interval; the hollow diamond is the paper's
    value (Table 1), drawn where the data set is the paper's.

    Args:
        run: whose clean records and models' summaries are read.
        names: models, in order.

    Raises:
        rslib.records.RecordError: a model or a record has not been made.
    """
    summaries = {name: run.summary(name) for name in names}
    clean = {name: run.record(name, "clean") for name in names}
    sources = [*summaries.values(), *(record.attrs for record in clean.values())]
    figure, axes = _canvas(
        [["accuracy", "test"], ["loss", "test"]],
        height=4.1,
        footer=_footer(run, names, sources),
        width_ratios=[1.55, 1],
    )
    for name, summary in summaries.items():
        _dynamics(axes["accuracy"], axes["loss"], run, name, summary)
    axes["accuracy"].set(title="Training dynamics", ylabel="Accuracy (%)")
    axes["accuracy"].tick_params(labelbottom=False)
    axes["accuracy"].sharex(axes["loss"])
    axes["loss"].set(xlabel="Epoch", ylabel="Cross-entropy")
    axes["loss"].set_ylim(bottom=0)
    _whole_numbers(axes["loss"])
    confidence = run.settings.evaluation.confidence
    found = [tables.accuracy(clean[name]["correct"], confidence=confidence) for name in names]
    reported = [_paper_value(run, "table1", name, "clean_accuracy") for name in names]
    colors = [_color(name) for name in names]
    _bars(axes["test"], range(len(names)), found, colors, reported, width=0.6)
    axes["test"].set(title="Test accuracy", ylabel="Accuracy (%)", ylim=(0, 112))
    axes["test"].set_yticks(range(0, 101, 20))
    axes["test"].set_xlim(-0.6, len(names) - 0.4)
    _names_below(axes["test"], names)
    _legend(
        figure,
        [
            *_architectures(names),
            _line("validation", color=GREY),
            _line("training (augmented)", color=GREY, linestyle="--", linewidth=1.1),
            _line("epoch kept", color=GREY, marker="o", linestyle=""),
            *_paper_handle(run),
        ],
    )
    return figure


@_styled
def figure2(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """Figure 2: how often attacks succeed, and accuracy against robustness (paper 4.2).

    Left: success of FGSM and PGD among the images that are right when clean, with intervals (higher
    is worse for the model). Right: accuracy under PGD against accuracy on all clean test images,
    with both intervals. Hollow marks are the paper's (Table 2; FGSM's success follows from its
    accuracies there, the text's "over 99 %" does not), drawn where the data set is the paper's.

    Args:
        run: whose records are read.
        names: models, in order.

    Raises:
        rslib.records.RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    held = {
        name: {kind: run.record(name, kind) for kind in ("clean", "fgsm", "pgd")} for name in names
    }
    sources = [record.attrs for kinds in held.values() for record in kinds.values()]
    figure, axes = _canvas(
        [["success", "plane"]],
        height=3.7,
        footer=_footer(run, names, sources),
        width_ratios=[1.15, 1],
    )
    colors = [_color(name) for name in names]
    for offset, kind in ((-0.2, "fgsm"), (0.2, "pgd")):
        places = [place + offset for place in range(len(names))]
        found = [tables.attack_success(held[name][kind], confidence=confidence) for name in names]
        reported = [_paper_success(run, name, kind) for name in names]
        light = kind == "fgsm"
        _bars(axes["success"], places, found, colors, reported, width=0.36, light=light)
    axes["success"].set(title="Attack success", ylabel="Images turned (%)", ylim=(0, 112))
    axes["success"].set_yticks(range(0, 101, 20))
    axes["success"].set_xlim(-0.6, len(names) - 0.4)
    _names_below(axes["success"], names, training=True)
    _plane(axes["plane"], run, names, held, confidence)
    kinds = dict.fromkeys(name.partition("-")[2] for name in names)
    trainings = [
        _line(tables.training_label(f"-{kind}").lower(), color=GREY, marker=_marker(kind), ls="")
        for kind in kinds
    ]
    _legend(
        figure,
        [
            *_architectures(names),
            _patch("FGSM", light=True),
            _patch("PGD"),
            *(trainings if len(kinds) > 1 else []),
            *_paper_handle(run),
        ],
    )
    return figure


@_styled
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
        rslib.records.RecordError: a record has not been made.
    """
    chosen = run.settings.evaluation
    clean = {name: run.record(name, "clean") for name in names}
    figure, axes = _canvas(
        [list(names), [f"{name} share" for name in names]],
        height=4.0,
        footer=_footer(run, names, [record.attrs for record in clean.values()]),
        height_ratios=[3, 1],
    )
    options = {"bins": chosen.ece_bins, "binning": binning, "confidence": chosen.confidence}
    for place, name in enumerate(names):
        found = tables.reliability(clean[name], **options)
        error = tables.calibration_error(clean[name], **options)
        above, below = axes[name], axes[f"{name} share"]
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        gaps = found[["low", "high"]].sub(found["accuracy"], axis=0).abs().to_numpy().T
        above.errorbar(
            found["confidence"], found["accuracy"], gaps, color=_color(name), fmt="o-", linewidth=1
        )
        above.text(
            0.04,
            0.96,
            f"ECE {error.value:.3f} [{error.low:.3f}, {error.high:.3f}]",
            transform=above.transAxes,
            va="top",
        )
        spread = tables.reliability(clean[name], **options | {"binning": "width"})
        shares = 100 * spread["n"] / spread["n"].sum()
        below.vlines(spread["confidence"], 0, shares, color=_color(name), linewidth=6)
        below.sharex(above)
        above.set(title=tables.architecture_label(name), xlim=(0, 1.02), ylim=(-0.02, 1.02))
        above.tick_params(labelbottom=False)
        below.set(xlabel="Confidence", ylim=(0, None))
        if place == 0:
            above.set_ylabel("Accuracy")
            below.set_ylabel("Images (%)")
        for axis in (above, below):
            axis.grid(True)
    return figure


@_styled
def learning_rates(run: Run, names: Sequence[str] = BASELINES) -> Figure:
    """The learning rate at the end of each epoch, as a share of the recipe's (paper 3.1.3).

    Args:
        run: whose models' summaries are read.
        names: models, in order.

    Raises:
        rslib.records.RecordError: a model has not been trained.
    """
    summaries = {name: run.summary(name) for name in names}
    footer = _footer(run, names, list(summaries.values()))
    figure, axes = _canvas([["rate"]], height=2.6, footer=footer)
    for number, (name, summary) in enumerate(summaries.items()):
        peak = summary["recipe"]["learning_rate"]
        axes["rate"].plot(
            [row["epoch"] for row in summary["history"]],
            [row["learning_rate"] / peak for row in summary["history"]],
            color=_color(name),
            # Curves of one schedule coincide: dashes let the one below be seen.
            linestyle=_DASHES[number % len(_DASHES)],
            label=f"{tables.architecture_label(name)}, times {peak:.3g}",
            marker=".",
        )
    axes["rate"].set(xlabel="Epoch", ylabel="Learning rate / peak", ylim=(0, 1.05))
    axes["rate"].grid(True)
    axes["rate"].legend()
    _whole_numbers(axes["rate"])
    return figure


# Pictures of images and attacks


@_styled
def image_grid(
    images: Images,
    titles: Sequence[str] | None = None,
    *,
    masks: Images | None = None,
    columns: int = 10,
    footer: str = "",
) -> Figure:
    """A contact sheet.

    Args:
        images: (N, 3, H, W), float in [0, 1] or uint8.
        titles: N short titles.
        masks: (N, H, W) bool; each object's outline is drawn on its image.
        columns: images a row.
        footer: last line, such as :func:`rslib.tables.stamp`.

    Raises:
        ValueError: shapes or lengths disagree.
    """
    shown = _pixels(images)
    outlines = None if masks is None else _array(masks).astype(bool)
    for what, given in (("titles", titles), ("masks", outlines)):
        if given is not None and len(given) != len(shown):
            raise ValueError(f"{len(given)} {what} for {len(shown)} images: one each is needed")
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    side = WIDTH / columns
    title_inches = 0.22 if titles is not None else 0.04
    places = [[f"{row} {column}" for column in range(columns)] for row in range(rows)]
    figure, axes = _canvas(places, height=rows * (side + title_inches), footer=footer)
    for number, axis in enumerate(axes.values()):
        axis.set_axis_off()
        if number >= len(shown):
            continue
        axis.imshow(shown[number])
        if outlines is not None:
            _outline(axis, outlines[number])
        if titles is not None:
            axis.set_title(titles[number], fontsize=8, loc="center", pad=2)
    return figure


@_styled
def attack_anatomy(
    x: Images,
    x_adv: Images,
    before: Images,
    after: Images,
    classes: Sequence[str],
    *,
    labels: Sequence[int] | None = None,
    eps: float | None = None,
    top: int = 3,
    footer: str = "",
) -> Figure:
    """What an attack does to an image and to the model's belief (paper 3.2.1).

    One row an image: the image, the perturbation magnified about mid-grey, the perturbed image, and
    the classes most probable before or after. All images share one magnification.

    Args:
        x: (B, 3, H, W) or (3, H, W) in [0, 1], clean.
        x_adv: the same shape, attacked.
        before: (B, C) or (C,) probabilities for ``x``.
        after: probabilities for ``x_adv``.
        classes: C names.
        labels: (B,) true classes, named in the titles.
        eps: budget in [0, 1]: what fills the magnified range; by default the largest change.
        top: classes taken from each of the two beliefs.
        footer: last line, such as :func:`rslib.tables.stamp`.

    Raises:
        ValueError: shapes disagree.
    """
    clean, attacked = _batch(x), _batch(x_adv)
    beliefs = [np.atleast_2d(_array(p).astype(float)) for p in (before, after)]
    if clean.shape != attacked.shape or any(p.shape != (len(clean), len(classes)) for p in beliefs):
        raise ValueError(
            f"shapes disagree: x {clean.shape}, x_adv {attacked.shape}, before {beliefs[0].shape}, "
            f"after {beliefs[1].shape}, {len(classes)} classes"
        )
    change = attacked - clean
    largest = float(np.abs(change).max()) if eps is None else eps
    magnified = np.clip(0.5 + 0.5 * change / (largest or 1.0), 0, 1)
    kinds = ("clean", "change", "attacked", "belief")
    figure, axes = _canvas(
        [[f"{kind} {row}" for kind in kinds] for row in range(len(clean))],
        height=1.75 * len(clean) + 0.1,
        footer=footer,
        width_ratios=[1, 1, 1, 1.5],
    )
    for row in range(len(clean)):
        truth = "" if labels is None else f"{classes[int(labels[row])]}\n"
        pictures = {
            "clean": (clean, f"{truth}clean: {_belief(beliefs[0][row], classes)}"),
            "change": (
                magnified,
                f"change, ×{0.5 / (largest or 0.5):.0f}\n≤ {255 * largest:.3g}/255",
            ),
            "attacked": (attacked, f"\nattacked: {_belief(beliefs[1][row], classes)}"),
        }
        for kind, (pictured, title) in pictures.items():
            axis = axes[f"{kind} {row}"]
            axis.imshow(pictured[row].transpose(1, 2, 0))
            axis.set_title(title, fontsize=8, loc="center", pad=3)
            axis.set_axis_off()
        # All rows share one scale, named once.
        if row == len(clean) - 1:
            axes[f"belief {row}"].set_xlabel("Probability (%)")
        _beliefs(axes[f"belief {row}"], *(p[row] for p in beliefs), classes, top)
    axes["belief 0"].legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, fontsize=8, handlelength=1
    )
    return figure


@_styled
def loss_trace(
    traces: Mapping[str, Sequence[float]],
    *,
    title: str = "Loss along the attack",
    footer: str = "",
) -> Figure:
    """Mean loss at each step of an iterated attack (paper 3.2.1, equation 2).

    Args:
        traces: label to (steps + 1,) mean losses; step 0 is the starting point.
        title: above the axes.
        footer: last line, such as :func:`rslib.tables.stamp`.
    """
    figure, axes = _canvas([["loss"]], height=2.8, footer=footer)
    for number, (label, trace) in enumerate(traces.items()):
        axes["loss"].plot(
            range(len(trace)),
            _array(trace),
            label=label,
            color=_CYCLE[number % len(_CYCLE)],
            linestyle=_DASHES[number % len(_DASHES)],
            marker=".",
        )
    axes["loss"].set(title=title, xlabel="Step", ylabel="Mean cross-entropy")
    axes["loss"].set_ylim(bottom=0)
    axes["loss"].grid(True)
    axes["loss"].legend()
    _whole_numbers(axes["loss"])
    return figure


# Parts of the figures


def _dynamics(above: Axes, below: Axes, run: Run, name: str, summary: Mapping[str, Any]) -> None:
    history, color = summary["history"], _color(name)
    epochs = [row["epoch"] for row in history]
    for axis, quantity, scale in ((above, "accuracy", 100), (below, "loss", 1)):
        for split, line in (("validation", "-"), ("train", "--")):
            series = [scale * row[f"{split}_{quantity}"] for row in history]
            width = 1.8 if split == "validation" else 1.1
            label = f"{tables.architecture_label(name)}, {split}"
            axis.plot(epochs, series, line, color=color, linewidth=width, label=label)
        best = summary["best_epoch"]
        kept = next(row for row in history if row["epoch"] == best)
        axis.plot(best, scale * kept[f"validation_{quantity}"], "o", color=color)
        axis.grid(True)


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
        x = tables.accuracy(held[name]["clean"]["correct"], confidence=confidence)
        y = tables.accuracy(held[name]["pgd"]["correct"], confidence=confidence)
        marker = _marker(name.partition("-")[2])
        axis.errorbar(
            x.value, y.value, _reach(y), _reach(x), color=_color(name), fmt=marker, zorder=3,
            label=name,
        )  # fmt: skip
        left, right, top = min(left, x.low), max(right, x.high), max(top, y.high)
        kinds = ("clean_accuracy", "pgd_accuracy")
        there = [_paper_value(run, "table2", name, kind) for kind in kinds]
        if None not in there:
            axis.plot(
                *there, marker, markerfacecolor="none", color=_color(name), markersize=7,
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
    light: bool = False,
) -> None:
    fill = [_tint(color) for color in colors] if light else colors
    heights = [e.value for e in found]
    reach = np.hstack([_reach(e) for e in found])
    axis.bar(places, heights, width, color=fill, edgecolor=colors, linewidth=1)
    axis.errorbar(places, heights, reach, fmt="none", ecolor="black", elinewidth=1.1)
    for place, estimate, mark in zip(places, found, reported, strict=True):
        top = estimate.high
        if mark is not None:
            axis.plot(place, mark, label="paper", **_PAPER)
            # The number stays next to its bar unless the paper's mark is there.
            top = mark + 2 if -3 < mark - top < 8 else top
        axis.annotate(
            f"{estimate.value:.1f}", (place, top), (0, 3), textcoords="offset points",
            ha="center", va="bottom", fontsize=8.5,
        )  # fmt: skip
    axis.grid(True, axis="y")


_PAPER = {
    "marker": "D",
    "linestyle": "",
    "markersize": 7,
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "markeredgewidth": 1.3,
}


def _paper_handle(run: Run) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], label="paper (hollow)", **_PAPER)] if tables.comparable(run) else []


def _paper_value(run: Run, table: str, name: str, quantity: str) -> float | None:
    """What the paper reports, where it speaks of this data set and has the number."""
    found = paper.find(table, name, quantity) if tables.comparable(run) else None
    return None if found is None else found.value


def _paper_success(run: Run, name: str, kind: str) -> float | None:
    clean = _paper_value(run, "table2", name, "clean_accuracy")
    attacked = _paper_value(run, "table2", name, f"{kind}_accuracy")
    return None if clean is None or attacked is None else paper.attack_success(clean, attacked)


def _beliefs(
    axis: Axes, before: np.ndarray, after: np.ndarray, classes: Sequence[str], top: int
) -> None:
    leading = {*np.argsort(-before)[:top], *np.argsort(-after)[:top]}
    order = sorted(leading, key=lambda c: before[c])
    places = np.arange(len(order))
    axis.barh(places + 0.2, 100 * before[order], 0.38, color=BLUE, label="before")
    axis.barh(places - 0.2, 100 * after[order], 0.38, color=VERMILION, label="after")
    axis.set_yticks(places, [classes[c] for c in order], fontsize=8)
    axis.set_xlim(0, 100)
    axis.tick_params(axis="y", length=0)
    axis.grid(True, axis="x")


def _belief(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    best = int(probabilities.argmax())
    return f"{classes[best]}, {100 * probabilities[best]:.0f} %"


def _outline(axis: Axes, mask: np.ndarray) -> None:
    """Draw the border between a mask's pixels and the others along the pixels' edges."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    across = np.argwhere(padded[:, 1:] != padded[:, :-1]) - [1, 0]
    down = np.argwhere(padded[1:, :] != padded[:-1, :]) - [0, 1]
    segments = [((c - 0.5, r - 0.5), (c - 0.5, r + 0.5)) for r, c in across]
    segments += [((c - 0.5, r - 0.5), (c + 0.5, r - 0.5)) for r, c in down]
    # White under black can be seen on any background.
    axis.add_collection(LineCollection(segments, colors="white", linewidths=1.8))
    axis.add_collection(LineCollection(segments, colors="black", linewidths=0.8))


# Canvas, colors, arrays


def _canvas(
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


def _footer(run: Run, names: Sequence[str], sources: Sequence[Mapping[str, Any]]) -> str:
    """The stamp, and below it the sizes of nets that are not the paper's."""
    sizes = {tables.architecture_label(name): tables.model_size(run, name) for name in names}
    lines = [
        tables.stamp(run, tables.images(sources) or None, sources=sources),
        "; ".join(f"{label}: {size}" for label, size in sizes.items() if size),
    ]
    return "\n".join(filter(None, lines))


def _whole_numbers(axis: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def _names_below(axis: Axes, names: Sequence[str], *, training: bool = False) -> None:
    labels = [tables.architecture_label(name) for name in names]
    if training:
        labels = [
            f"{label}\n{tables.training_label(name).lower()}"
            for label, name in zip(labels, names, strict=True)
        ]
    axis.set_xticks(range(len(names)), labels)
    axis.tick_params(axis="x", length=0)


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend for all panels, in a line above them, where it cannot hide a point."""
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(handles),
        columnspacing=1.3,
        handletextpad=0.5,
        borderpad=0.1,
    )


def _architectures(names: Sequence[str]) -> list[Any]:
    labels = {tables.architecture_label(name): _color(name) for name in names}
    return [_line(label, color=color, linewidth=4) for label, color in labels.items()]


def _color(name: str) -> str:
    return _COLORS.get(name.partition("-")[0], GREY)


def _marker(training: str) -> str:
    return _MARKERS.get(training, "o")


def _tint(color: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(0.35 * channel + 0.65 for channel in to_rgb(color))


def _line(label: str, **look: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **look)


def _patch(label: str, *, light: bool = False) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=_tint(GREY) if light else GREY, edgecolor=GREY, label=label)


def _reach(estimate: Estimate) -> np.ndarray:
    """How far an interval reaches below and above its estimate, (2, 1)."""
    reach = [[estimate.value - estimate.low], [estimate.high - estimate.value]]
    return np.maximum(0.0, reach)


def _array(values: Images) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().numpy()
    return np.asarray(values)


def _batch(images: Images) -> np.ndarray:
    """Images as float (B, 3, H, W) in [0, 1]."""
    array = _array(images)
    array = array[None] if array.ndim == 3 else array
    if array.ndim != 4 or array.shape[1] != 3:
        raise ValueError(f"images have shape {array.shape}; (N, 3, H, W) is needed")
    array = array / 255 if array.dtype == np.uint8 else array.astype(float)
    if array.min() < 0 or array.max() > 1:
        raise ValueError(
            f"images span [{array.min():.3g}, {array.max():.3g}]; [0, 1], or uint8, is needed"
        )
    return array


def _pixels(images: Images) -> np.ndarray:
    """Images as float (B, H, W, 3), which matplotlib draws."""
    return _batch(images).transpose(0, 2, 3, 1)
