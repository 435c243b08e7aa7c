"""Verdicts as a notebook or a terminal shows them: one entry a claim, which folds on a phone."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rslib import paper
from rslib.paper import Check
from rslib.report import numbers
from rslib.report.rendering import render, sentence
from rslib.verdicts.frame import number_text
from rslib.verdicts.rules import Verdict

if TYPE_CHECKING:
    import pandas as pd

COLORS = {
    Verdict.REPRODUCED: "#009E73",
    Verdict.REACHED: "#56B4E9",
    Verdict.DIRECTION: "#0072B2",
    Verdict.SHORT: "#E69F00",
    Verdict.FAILED: "#D55E00",
    Verdict.INCOMPARABLE: "#999999",
    Verdict.UNTESTABLE: "#CCCCCC",
}
"""Okabe and Ito's, which color-blind readers can tell apart; the verdict is always written, too."""


@dataclass(frozen=True)
class Entry:
    """One claim as it is shown; of its numbers, line by line, who, what, and on how many images.

    ``differs`` are the settings that are not the paper's, value beside value.
    """

    statement: str
    numbers: tuple[tuple[str, str, str], ...]
    verdict: str
    why: str
    color: str
    differs: str = ""


@dataclass(frozen=True)
class Listing:
    """Entries ready to display."""

    caption: str
    entries: tuple[Entry, ...]

    def _repr_html_(self) -> str:
        return render("verdicts.html", listing=self)

    def __repr__(self) -> str:
        blocks = [textwrap.fill(self.caption, 100)]
        for each in self.entries:
            numbers = [f"  {who}: {what}{n}" for who, what, n in each.numbers]
            told = [each.statement, *numbers, f"  {each.verdict}: {each.why}"]
            blocks.append("\n".join(told + [f"  settings: {each.differs}"] * bool(each.differs)))
        return "\n\n".join(blocks)


def show(frame: pd.DataFrame, *groups: str) -> Listing:
    """The verdicts on one table or section of the paper, or several.

    Args:
        frame: from :func:`rslib.verdicts.table`.
        groups: ``"table1"`` to ``"table5"``, or a key of :data:`rslib.paper.SECTIONS`.

    Raises:
        ValueError: there is no such group in the frame.
    """
    known = list(dict.fromkeys(frame["group"]))
    for group in groups:
        if group not in known:
            raise ValueError(f"no group {group!r} among the verdicts; there are: {known}")
    entries = []
    for _, rows in frame[frame["group"].isin(groups)].groupby("model", sort=False):
        cells = rows.to_dict("records")
        first, verdict = cells[0], Verdict(cells[0]["verdict"])
        told = [] if first["claimed"] == numbers.NONE else [("paper", first["claimed"], "")]
        for cell in cells:
            if not numbers.missing(cell["ours"]):
                counted = "" if numbers.missing(cell["n"]) else f" (n = {numbers.images(cell)})"
                who = f"ours, {cell['label']}" if cell["label"] else "ours"
                told.append((who, number_text(cell), counted))
        look = {"color": COLORS[verdict], "differs": first["differs"]}
        shown = Entry(first["statement"], tuple(told), verdict, first["why"], **look)
        entries.append(shown)
    names = " and ".join(map(group_label, groups))
    return Listing(f"{names}. {sentence(frame.attrs['stamp'])}.", tuple(entries))


def show_arithmetic(checks: Sequence[Check]) -> Listing:
    """The checks of the paper's internal arithmetic, from :func:`rslib.paper.arithmetic`."""
    entries = []
    for each in checks:
        told = ("printed", each.printed, ""), ("follows", each.follows, "")
        verdict, color = "contradicts itself", COLORS[Verdict.FAILED]
        if each.agrees:
            verdict, color = "agrees", COLORS[Verdict.REPRODUCED]
        statement = f"{each.statement} [{each.section}]"
        entries.append(Entry(statement, told, verdict, each.consequence, color))
    return Listing("From the paper's own numbers; nothing here is measured.", tuple(entries))


def group_label(group: str) -> str:
    """A table's or section's name, such as ``Table 2`` or ``4.5 Distribution shift``."""
    if group in paper.TABLES:
        return paper.TABLES[group].label
    title = paper.SECTIONS[group]
    return title if group == "abstract" else f"{group} {title}"
