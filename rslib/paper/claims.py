"""The claims of the paper, from ``claims.yaml``, and how to look one up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import ConfigDict, StringConstraints
from pydantic.dataclasses import dataclass

from rslib.paper.tables import FOLDER, TABLES, Data, known, read

#: The relation that a claim states between the measured number and the claimed one. "about": equal
#: to it. "nearly": at the end of the scale that it names (0 or 100 %), which any network can be.
#: "below", "above": on that side of it. "differs": a difference with its sign and about its size,
#: or a quotient on its side of 1. "compares": a difference in the direction stated, of any size.
#: "alike": no difference worth speaking of. "untestable": nothing that could be measured is said.
Relation = Literal[
    "about", "nearly", "below", "above", "differs", "compares", "alike", "untestable"
]
#: The unpublished thing that a claimed size depends on; empty if there is none.
Scale = Literal["", "masks", "reference", "hardware"]
#: Of a number: points are percentage points, a ratio is a quotient, the last is a plain number.
Unit = Literal["%", "points", "count", "ratio", "h", ""]
#: How the numbers of evidence become one. "value": the only one. "difference": the first less the
#: second. "quotient": the first over the second. "percent": by how many percent the first exceeds
#: the second. "most": the first less the largest of the others. "least": the smallest of the others
#: less the first.
Kind = Literal["value", "difference", "quotient", "percent", "most", "least"]

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Evidence(Data):
    """A number of a run that settles a claim, or one of several.

    Its cells are numbers of models, each ``<model>/<quantity>``. Quantities are the columns of the
    paper's tables, and also ``fgsm_success`` and ``attention_share`` (the share of the saliency
    inside the masks, in percent).
    """

    about: str = ""  #: its subject; empty where the claim says it
    kind: Kind
    cells: tuple[Annotated[str, StringConstraints(pattern=r"^[^/]+/\w+$")], ...]
    every_mask: bool = False  #: whether with all masks, not only those that models align to
    every_reference: bool = False  #: whether as plain errors, and relative to every reference
    as_written: bool = False  #: whether of the paper's own models alone, in no other reading
    optional: bool = False  #: whether it is left out where it was not measured


@dataclass(frozen=True, config=_STRICT)
class Asserted:
    """The part of a claim that a rule of verdicts needs."""

    relation: Relation  #: how our number must stand to the value
    value: float | None = None  #: the number claimed, if there is one
    unit: Unit = ""  #: of the value and of our estimates
    rounding: float = 0.0  #: half a unit of the printed number's last digit
    scale: Scale = ""  #: what the size depends on and the paper does not publish
    sized: bool = False  #: whether it speaks of networks of the paper's size alone
    better: int = 0  #: 1 if a higher number is better, -1 if a lower one is, 0 if neither
    why: str = ""  #: a claim is untestable
    neutral: float = 0.0  #: the value that would mean no difference: 0, or 1 for a quotient
    refutable: bool = False  #: whether what was tried can at best fail to refute it

    @property
    def structural(self) -> bool:
        """Whether no training changes the number: a count, or a size of the networks described."""
        return self.unit == "count" or (self.sized and self.unit == "ratio")


@dataclass(frozen=True, config=_STRICT, kw_only=True)
class Claim(Asserted):
    """A statement of the paper's text."""

    name: str  #: short and unique
    statement: str  #: in our words; how it is read, where it must be read somehow
    section: str  #: "abstract", "4.2", "6"
    also: tuple[str, ...] = ()  #: other sections that say the same
    models: tuple[str, ...] = ()  #: that it speaks of
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)  #: their columns, by table
    evidence: tuple[Evidence, ...] = ()  #: none where a function of verdicts.evidence settles it

    @property
    def cells(self) -> tuple[tuple[str, str, str], ...]:
        """The numbers of the paper's tables that bear on it, (table, row, column)."""
        return tuple(
            (table, row, column)
            for table, columns in self.tables.items()
            for row in self.models
            if row in TABLES[table].rows
            for column in columns
        )


def section_of(section: str) -> str:
    """The entry of :data:`SECTIONS` that a section belongs to: ``"5.3"`` to ``"5"``."""
    return next(key for key in SECTIONS if section == key or section.startswith(f"{key}."))


def claim(name: str) -> Claim:
    """Look a claim up.

    Raises:
        UnknownValue: there is none of that name; names the nearest.
    """
    return known("no claim", name, CLAIMS)


class _File(Data):
    sections: dict[str, str]
    claims: list[Claim]


_FILE = read(FOLDER / "claims.yaml", _File)
#: Sections that make claims, in order, with what they are about.
SECTIONS: Mapping[str, str] = MappingProxyType(_FILE.sections)
#: Claims of the abstract, of sections 4 to 6, and two of 3.2, in the paper's order.
CLAIMS: Mapping[str, Claim] = MappingProxyType({each.name: each for each in _FILE.claims})
