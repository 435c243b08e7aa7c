"""Tables 1 to 5 of the paper, from ``tables.yaml``.

Each number remembers how it was printed, so that rounding can be told from disagreement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from rslib.settings.nearest import nearest
from rslib.settings.reading import PackageLoader

#: The paper's names of the architectures.
ARCHITECTURES = MappingProxyType({"resnet18": "ResNet-18", "vit_small": "ViT-Small"})
#: The folder of the YAML files.
FOLDER = Path(__file__).parent

_SCALE = {"M": Decimal(1_000_000), "h": Decimal(1)}
_T = TypeVar("_T")


class Data(BaseModel):
    """Something that a YAML file of this package holds: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class PaperValue:
    """One number of one of the paper's tables."""

    printed: str  #: the number as the paper prints it, such as "22.1M"
    unit: str  #: "%", "h", "count", "ratio" (of errors) or "" (plain)
    section: str  #: of the table
    table: str  #: such as "table2"
    row: str  #: the model's name
    column: str  #: the quantity's name

    @property
    def value(self) -> float:
        """The number, in ``unit``."""
        digits, scale = self._parsed()
        return float(digits * scale)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit: how far the unrounded number may lie off."""
        digits, scale = self._parsed()
        return rounding(digits) * float(scale)

    def _parsed(self) -> tuple[Decimal, Decimal]:
        scale = _SCALE.get(self.printed[-1], Decimal(1))
        return Decimal(self.printed.rstrip("".join(_SCALE))), scale


@dataclass(frozen=True)
class Column:
    """A column of a table: its header as printed, and the unit of its numbers."""

    header: str
    unit: str


class PaperTable(Data):
    """One of the paper's tables."""

    name: str  #: such as "table2"
    title: str  #: its caption in the paper
    section: str
    columns: dict[str, Column]  #: by name of the quantity, in the paper's order
    rows: dict[str, str]  #: by model, in the paper's order: the numbers as printed

    @property
    def label(self) -> str:
        """Such as ``Table 2``."""
        return f"Table {self.name.removeprefix('table')}"

    @cached_property
    def values(self) -> Mapping[tuple[str, str], PaperValue]:
        """The numbers, by (row, column)."""
        found = {}
        for row, line in self.rows.items():
            for (key, column), printed in zip(self.columns.items(), line.split(), strict=True):
                where = (self.section, self.name, row, key)
                found[row, key] = PaperValue(printed, column.unit, *where)
        return MappingProxyType(found)


class UnknownValue(KeyError):
    """The paper has no such table, row or column; the message names the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


def value(table: str, row: str, column: str) -> PaperValue:
    """Look a number up: ``value("table2", "resnet18-standard", "pgd_accuracy")``.

    Raises:
        UnknownValue: the paper does not report it; names the nearest name there is.
    """
    found = known("the paper has no", table, TABLES)
    known(f"{table} has no column", column, found.columns)
    known(f"{table} has no row", row, found.rows)
    return found.values[row, column]


def known(no: str, name: str, held: Mapping[str, _T]) -> _T:
    """The thing of a name.

    Raises:
        UnknownValue: it is not there; opens with ``no`` and names the nearest, and all there are.
    """
    if name not in held:
        raise UnknownValue(f"{no} {name!r}{nearest(name, held)} There are: {', '.join(held)}")
    return held[name]


def find(table: str, row: str, column: str) -> PaperValue | None:
    """Look a number up; None where the paper does not report it."""
    return TABLES[table].values.get((row, column)) if table in TABLES else None


def rounding(printed: Decimal) -> float:
    """Half a unit of a number's last digit."""
    return float(Decimal(5).scaleb(int(printed.as_tuple().exponent) - 1))


def read(path: Path, kind: type[_T]) -> _T:
    """Read a YAML file that holds something of a type.

    Raises:
        pydantic.ValidationError: it holds something else.
    """
    found = yaml.load(path.read_text("utf-8"), PackageLoader)
    # As JSON, in which a list may become a tuple and nothing else is converted.
    return TypeAdapter(kind).validate_json(json.dumps(found))


TABLES: Mapping[str, PaperTable] = MappingProxyType(
    {table.name: table for table in read(FOLDER / "tables.yaml", list[PaperTable])}
)
"""The paper's tables, by name."""
