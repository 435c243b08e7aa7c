"""Pictures of images and of attacks on them: contact sheets, anatomies, loss traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from rslib.report import style

if TYPE_CHECKING:
    import torch
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
    """A contact sheet of images, (N, 3, H, W), float in [0, 1] or uint8, so many a row.

    They may have N titles and masks, (N, H, W) bool, whose outlines are drawn on them.

    Raises:
        ValueError: shapes or lengths disagree.
    """
    shown = _batch(images).transpose(0, 2, 3, 1)
    outlines = None if masks is None else _array(masks).astype(bool)
    for what, given in (("titles", titles), ("masks", outlines)):
        if given is not None and len(given) != len(shown):
            raise ValueError(f"{len(given)} {what} for {len(shown)} images: one each is needed")
    places = style.in_rows([f"{number}" for number in range(len(shown))], columns)
    height = len(places) * (style.WIDTH / len(places[0]) + (0.04 if titles is None else 0.22))
    figure, axes = style.canvas(places, height=height, footer=footer)
    for number, axis in enumerate(axes.values()):
        axis.set_axis_off()
        axis.imshow(shown[number])
        if outlines is not None:
            _outline(axis, outlines[number])
        if titles is not None:
            axis.set_title(style.plain(titles[number]), fontsize=8, loc="center", pad=2)
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
    """An attack's effect on images and on the model's belief (paper 3.2.1).

    One row an image: the image, the perturbation magnified about mid-grey, in all rows alike, the
    perturbed image, and the ``top`` classes most probable before and after.

    ``x``, clean, and ``x_adv``, attacked, are (B, 3, H, W) or (3, H, W) in [0, 1]; ``before`` and
    ``after`` the probabilities of the C classes for them, (B, C) or (C,); ``labels`` (B,) the true
    ones. The budget ``eps`` in [0, 1], by default the largest change, fills the magnified range.

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
    classes, change = [style.plain(each) for each in classes], attacked - clean
    largest = float(np.abs(change).max()) if eps is None else eps
    magnified = np.clip(0.5 + 0.5 * change / (largest or 1.0), 0, 1)
    magnification = f"change, ×{0.5 / (largest or 0.5):.0f}\n≤ {255 * largest:.3g}/255"
    kinds, look = ("clean", "change", "attacked", "belief"), {"width_ratios": [1, 1, 1, 1.5]}
    places = [[f"{kind} {row}" for kind in kinds] for row in range(len(clean))]
    height = 1.75 * len(clean) + 0.1
    figure, axes = style.canvas(places, height=height, footer=footer, **look)
    for row, (old, new) in enumerate(zip(*beliefs, strict=True)):
        truth = "" if labels is None else f"{classes[int(labels[row])]}\n"
        held, lost = (f"{classes[p.argmax()]}, {100 * p.max():.0f} %" for p in (old, new))
        for kind, pictured, title in (
            ("clean", clean, f"{truth}clean: {held}"),
            ("change", magnified, magnification),
            ("attacked", attacked, f"\nattacked: {lost}"),
        ):
            axis = axes[f"{kind} {row}"]
            axis.imshow(pictured[row].transpose(1, 2, 0))
            axis.set_title(title, fontsize=8, loc="center", pad=3)
            axis.set_axis_off()
        axis, leading = axes[f"belief {row}"], {*np.argsort(-old)[:top], *np.argsort(-new)[:top]}
        order = sorted(leading, key=lambda c: old[c])
        heights = np.arange(len(order))
        axis.barh(heights + 0.2, 100 * old[order], 0.38, color=style.BLUE, label="before")
        axis.barh(heights - 0.2, 100 * new[order], 0.38, color=style.VERMILION, label="after")
        axis.set_yticks(heights, [classes[c] for c in order], fontsize=8)
        axis.set_xlim(0, 100)
        axis.tick_params(axis="y", length=0)
        axis.grid(True, axis="x")
    # All rows share one scale, named once.
    axis.set_xlabel("Probability (%)")
    look = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "fontsize": 8, "handlelength": 1}
    axes["belief 0"].legend(ncols=2, **look)
    return figure


@style.styled
def loss_trace(
    traces: Mapping[str, Sequence[float]], *, title: str = "Loss along the attack", footer: str = ""
) -> Figure:
    """Mean losses, (steps + 1,) by label, from an attack's start on (paper 3.2.1, equation 2)."""
    figure, axes = style.canvas([["loss"]], height=2.8, footer=footer, grid="both")
    axis = axes["loss"]
    for number, (label, trace) in enumerate(traces.items()):
        look = style.numbered_look(number) | {"marker": ".", "label": label}
        axis.plot(range(len(trace)), _array(trace), **look)
    axis.set(title=title, xlabel="Step", ylabel="Mean cross-entropy", ylim=(0, None))
    axis.legend()
    style.whole_numbers(axis)
    return figure


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
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu()
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
