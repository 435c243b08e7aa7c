"""What a claim of the paper is, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Relation = Literal[
    "about", "nearly", "below", "above", "differs", "compares", "alike", "untestable"
]
"""How the measured number must stand to the claimed one.

``about``: equal to it. ``nearly``: at the end of the scale that it names (0 or 100 %), which any
network can be. ``below``, ``above``: on that side of it. ``differs``: a difference with its sign
and about its size, or a quotient on its side of 1. ``compares``: a difference in the direction
stated, whose size is not claimed. ``alike``: no difference worth speaking of. ``untestable``:
nothing that could be measured is said.
"""

Scale = Literal["", "masks", "reference", "hardware"]
"""What the claimed size depends on and the paper does not publish; empty if on nothing."""


@dataclass(frozen=True)
class Claim:
    """A statement of the paper's text.

    Attributes:
        name: short and unique.
        statement: what is said, in our words; how it is read, where it must be read somehow.
        section: where: ``"abstract"``, ``"4.2"``, ``"6"``.
        value: the number claimed, in ``unit``; None where there is none.
        unit: ``"%"``, ``"points"`` (percentage points), ``"count"``, ``"ratio"`` (a quotient) or
            ``""`` (another plain number).
        relation: how the measured number must stand to ``value``.
        models: what it speaks of.
        tables: the numbers of the paper's own tables that bear on it, (table, row, column).
        scale: what its size depends on and the paper does not publish.
        sized: whether it speaks of networks of the size described, and of no others.
        why: of an untestable claim, why it is.
        also: other sections that say the same.
        neutral: the value that would mean no difference: 0, or 1 for a quotient.
    """

    name: str
    statement: str
    section: str
    value: float | None
    unit: str
    relation: Relation
    models: tuple[str, ...]
    tables: tuple[tuple[str, str, str], ...] = ()
    scale: Scale = ""
    sized: bool = False
    why: str = ""
    also: tuple[str, ...] = ()
    neutral: float = 0.0


RESNET, VIT = "resnet18-standard", "vit_small-standard"
ROBUST_RESNET, ROBUST_VIT = "resnet18-adversarial", "vit_small-adversarial"
ALIGNED_RESNET, ALIGNED_VIT = "resnet18-aligned", "vit_small-aligned"
BASELINES = (RESNET, VIT)
ROBUST = (ROBUST_RESNET, ROBUST_VIT)
ALIGNED = (ALIGNED_RESNET, ALIGNED_VIT)
COMBINED = (ROBUST_RESNET, "resnet18-robust_aligned")
TABLE2 = (RESNET, ROBUST_RESNET, VIT, ROBUST_VIT)


def cells(table: str, rows: tuple[str, ...], *columns: str) -> tuple[tuple[str, str, str], ...]:
    """Numbers of a table that bear on a claim: these columns of these rows."""
    return tuple((table, row, column) for row in rows for column in columns)


def untestable(
    name: str, statement: str, section: str, why: str, *also: str, models: tuple[str, ...] = ()
) -> Claim:
    """A finding in which nothing is said that could be measured."""
    return Claim(name, statement, section, None, "", "untestable", models, why=why, also=also)
