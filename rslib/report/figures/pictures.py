"""Pictures of images and of attacks on them: contact sheets, anatomies, loss traces.

Call these as ``figures.image_grid`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike

from rslib.report import style
from rslib.report.style import BLUE, CYCLE, DASHES, VERMILION, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Images = ArrayLike | torch.Tensor


@style.styled
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
        footer: last line, such as :func:`rslib.report.labels.stamp`.

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
    figure, axes = style.canvas(places, height=rows * (side + title_inches), footer=footer)
    for number, axis in enumerate(axes.values()):
        axis.set_axis_off()
        if number >= len(shown):
            continue
        axis.imshow(shown[number])
        if outlines is not None:
            _outline(axis, outlines[number])
        if titles is not None:
            axis.set_title(_plain(titles[number]), fontsize=8, loc="center", pad=2)
    return figure


@style.styled
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
        footer: last line, such as :func:`rslib.report.labels.stamp`.

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
    figure, axes = style.canvas(
        [[f"{kind} {row}" for kind in kinds] for row in range(len(clean))],
        height=1.75 * len(clean) + 0.1,
        footer=footer,
        width_ratios=[1, 1, 1, 1.5],
    )
    for row in range(len(clean)):
        truth = "" if labels is None else f"{_plain(classes[int(labels[row])])}\n"
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


@style.styled
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
        footer: last line, such as :func:`rslib.report.labels.stamp`.
    """
    figure, axes = style.canvas([["loss"]], height=2.8, footer=footer)
    for number, (label, trace) in enumerate(traces.items()):
        axes["loss"].plot(
            range(len(trace)),
            _array(trace),
            label=label,
            color=CYCLE[number % len(CYCLE)],
            linestyle=DASHES[number % len(DASHES)],
            marker=".",
        )
    axes["loss"].set(title=title, xlabel="Step", ylabel="Mean cross-entropy")
    axes["loss"].set_ylim(bottom=0)
    axes["loss"].grid(True)
    axes["loss"].legend()
    style.whole_numbers(axes["loss"])
    return figure


def _beliefs(
    axis: Axes, before: np.ndarray, after: np.ndarray, classes: Sequence[str], top: int
) -> None:
    leading = {*np.argsort(-before)[:top], *np.argsort(-after)[:top]}
    order = sorted(leading, key=lambda c: before[c])
    places = np.arange(len(order))
    axis.barh(places + 0.2, 100 * before[order], 0.38, color=BLUE, label="before")
    axis.barh(places - 0.2, 100 * after[order], 0.38, color=VERMILION, label="after")
    axis.set_yticks(places, [_plain(classes[c]) for c in order], fontsize=8)
    axis.set_xlim(0, 100)
    axis.tick_params(axis="y", length=0)
    axis.grid(True, axis="x")


def _belief(probabilities: np.ndarray, classes: Sequence[str]) -> str:
    best = int(probabilities.argmax())
    return f"{_plain(classes[best])}, {100 * probabilities[best]:.0f} %"


def _plain(text: str) -> str:
    """A user's text, in which nothing is read as a formula."""
    return text.replace("$", r"\$")


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
