"""A scorecard as a picture: every axis in a panel, the scored model above the book's own."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rslib.metrics.estimates import Estimate
from rslib.report import labels, style
from rslib.report.style import GREY
from rslib.scorecard import page
from rslib.scorecard.card import Axis, Scorecard
from rslib.store.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACES = [
    ["clean", "fgsm", "pgd", "autoattack"],
    ["ece", "corruptions", "saliency", "reliability"],
]
_HEADS = {
    "clean": "Clean accuracy (%)",
    "fgsm": "FGSM (%)",
    "pgd": "PGD (%)",
    "autoattack": "AutoAttack (%)",
    "ece": "ECE (lower is better)",
    "corruptions": "Corruption error (%)",
    "saliency": "Saliency IoU",
    "reliability": "Verdict",
}
_LONGEST = 24


@style.styled
def draw(card: Scorecard) -> Figure:
    """Every axis with its interval, the book's models below, and what guessing would score."""
    peers = {each.model: each.label for axis in card.axes for each in axis.compared}
    rows = [None, *peers]
    height = 2 * (0.75 + 0.2 * len(rows))
    figure, axes = style.canvas(_PLACES, height=height, footer=_footer(card))
    for name, place in axes.items():
        place.set_title(_HEADS[name], fontsize=9)
        if name == "reliability":
            _verdict(place, card)
        else:
            _panel(place, card.axis(name), rows)
        if name in {"clean", "ece"}:
            names = [_short(card.name), *map(_short, peers.values())]
            place.set_yticks(range(len(rows)), names)
            place.get_yticklabels()[0].set_fontweight("bold")
    return figure


def _panel(place: Axes, axis: Axis, rows: list[str | None]) -> None:
    place.set_ylim(len(rows) - 0.4, -0.6)
    place.set_yticks(range(len(rows)), [])
    place.grid(axis="x")
    if axis.result is None:
        place.set_xticks([])
        look = {"ha": "center", "va": "center", "fontsize": 7.5, "color": GREY}
        told = _wrapped(f"not available: {axis.reason}")
        place.text(0.5, 0.5, told, transform=place.transAxes, **look)
        return
    found = {None: axis.result} | {each.model: each.measure for each in axis.compared}
    for row, name in enumerate(rows):
        if name in found:
            measure, look = found[name], {"color": "black", "marker": "D", "markersize": 6}
            if name is not None:
                look = {"color": style.color(name), "marker": style.marker(name)}
            style.point(place, Estimate(**measure.model_dump()), row, linestyle="", **look)
    if axis.chance is not None:
        place.axvline(axis.chance, color=GREY, linestyle=":", linewidth=1.2)
    ends = [each.high or each.value for each in found.values()]
    top = 100 if axis.unit == "%" else 1.1 * max(*ends, axis.chance or 0, 0.01)
    place.set_xlim(-0.03 * top, 1.03 * top)


def _verdict(place: Axes, card: Scorecard) -> None:
    verdict = card.reliability
    place.axis("off")
    look = {"ha": "left", "va": "top", "fontsize": 8}
    look["fontweight"] = "bold" if verdict.passed is False else "normal"
    place.text(0, 0.95, _wrapped(page.judged(verdict)), transform=place.transAxes, **look)


def _footer(card: Scorecard) -> str:
    counts = sorted({axis.result.n for axis in card.axes if axis.result and axis.result.n})
    images = " to ".join(f"{n:,}" for n in dict.fromkeys([*counts[:1], *counts[-1:]]))
    stamp = (
        f"profile {card.profile}; {labels.DATASETS.get(card.data.name, card.data.name)}; "
        f"{card.provenance['device']}; n = {images} test images; seed {card.seed}"
    )
    told = f"{stamp}\nBars: {card.confidence:.0%} intervals over images. Dotted: chance."
    return style.plain("\n".join(map(printable, told.split("\n"))))


def _short(name: str) -> str:
    """A name that fits."""
    name = printable(name)
    return style.plain(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")


def _wrapped(text: str) -> str:
    return style.plain("\n".join(textwrap.wrap(printable(text), 26, max_lines=9, placeholder=" …")))
