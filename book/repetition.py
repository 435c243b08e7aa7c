"""Whether a run repeats another: table by table and number by number.

On a CPU of the same kind, with as many threads and the same packages, a run from nothing gives
every number bit for bit. Elsewhere sums are rounded otherwise, trainings drift apart, and numbers
should agree as far as their intervals say. How long something took is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rslib.run.published import PUBLISHED
from rslib.settings import PROJECT
from rslib.store import records
from rslib.store.records import RecordError

FIELDS = ("ours", "low", "high", "n", "verdict")
"""What of a row is compared: its number, interval and images, and in verdicts the verdict."""

# What rows of times are called in tables and, after the table's and the model's names, in verdicts.
_TIMES = ("training_hours", "training_time")
_SHOWN = 20

Row = Mapping[str, Any]
Tables = dict[str, dict[tuple[str, str], Row]]


@dataclass(frozen=True)
class Difference:
    """A row that is not the same in both runs.

    Attributes:
        table: name of the table.
        row: the row's model and quantity; in verdicts a claim and the place of its part.
        repeated: what the repetition has there; None where it has no such row.
        original: what the original has there; None where it has no such row.
    """

    table: str
    row: tuple[str, str]
    repeated: Row | None
    original: Row | None

    @property
    def within(self) -> bool:
        """Whether the two numbers lie in each other's intervals, and their verdicts agree."""
        one, other = self.repeated, self.original
        if one is None or other is None or one.get("verdict") != other.get("verdict"):
            return False
        return _holds(one, other["ours"]) and _holds(other, one["ours"])

    def __str__(self) -> str:
        name = " ".join((self.table, *self.row))
        return f"{name}: {_told(self.repeated)} here, {_told(self.original)} there"


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        tables: how many tables both have.
        rows: how many rows there are in either's.
        alone: names of the tables that only one of them has.
        differences: the rows that are not the same, those beyond their intervals first.
    """

    tables: int
    rows: int
    alone: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether all tables are there in both, and all their rows the same bit for bit."""
        return not self.alone and not self.differences

    def __str__(self) -> str:
        beyond = [each for each in self.differences if not each.within]
        lines = [f"{self.tables} tables, {self.rows:,} rows, leaving out times:"]
        lines.append(f"  the same to the last digit    {self.rows - len(self.differences):,}")
        lines.append(f"  within their intervals        {len(self.differences) - len(beyond):,}")
        lines.append(f"  beyond, or in one run alone   {len(beyond):,}")
        lines += [f"  table in one run alone: {name}" for name in self.alone]
        lines += [f"- {each}" for each in beyond[:_SHOWN]]
        if len(beyond) > _SHOWN:
            lines.append(f"- and {len(beyond) - _SHOWN:,} more")
        return "\n".join(lines)


def compare(repeated: Path, original: Path | None = None) -> Comparison:
    """Hold the tables of a run against those of another.

    Args:
        repeated: folder of a run, ``<profile>/seed<k>``.
        original: folder of the run that it should repeat; by default the published one of that
            profile and seed.

    Raises:
        RecordError: a folder holds no tables, or a damaged one.
    """
    one, other = _tables(repeated), _tables(original or _published(repeated))
    both = sorted(one.keys() & other.keys())
    differences, rows = [], 0
    for name in both:
        keys = list(dict.fromkeys((*one[name], *other[name])))
        rows += len(keys)
        for key in keys:
            found = one[name].get(key), other[name].get(key)
            if None in found or _compared(found[0]) != _compared(found[1]):
                differences.append(Difference(name, key, *found))
    differences.sort(key=lambda each: each.within)
    alone = tuple(sorted(one.keys() ^ other.keys()))
    return Comparison(len(both), rows, alone, tuple(differences))


def is_time(row: object) -> bool:
    """Whether a row of a table, or a verdict, is about how long something took."""
    if not isinstance(row, Mapping):
        return False
    return not {row.get("quantity"), str(row.get("model")).rpartition("/")[2]}.isdisjoint(_TIMES)


def _tables(folder: Path) -> Tables:
    paths = sorted((folder / "tables").glob("*.json"))
    if not paths:
        raise RecordError(
            f"{folder} holds no tables: name the folder of a run whose notebooks were run, such as "
            "runs/cpu/seed0"
        )
    return {path.stem: _rows(path) for path in paths}


def _rows(path: Path) -> dict[tuple[str, str], Row]:
    found = records.read_json(path)
    try:
        return {(row["model"], row["quantity"]): row for row in found["rows"] if not is_time(row)}
    except (KeyError, TypeError):
        raise RecordError(f"{path} is no table of a run: it holds no rows of models") from None


def _compared(row: Row) -> list[Any]:
    return [row.get(field) for field in FIELDS]


def _holds(row: Row, number: float | None) -> bool:
    """Whether a row's interval holds a number; without an interval only its own."""
    if number is None or row["low"] is None:
        return number == row["ours"]
    return row["low"] <= number <= row["high"]


def _told(row: Row | None) -> str:
    if row is None:
        return "no such row"
    number = "none" if row["ours"] is None else f"{row['ours']:.4g}"
    interval = "" if row["low"] is None else f" [{row['low']:.4g}, {row['high']:.4g}]"
    return ", ".join(filter(None, (number + interval, row.get("verdict"))))


def _published(folder: Path) -> Path:
    return PROJECT / PUBLISHED / Path(*folder.resolve().parts[-2:])
