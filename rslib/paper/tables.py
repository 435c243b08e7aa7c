"""Tables 1 to 5 of the paper, as data.

Each number remembers how it was printed, so that rounding can be told from disagreement.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

ARCHITECTURES = MappingProxyType({"resnet18": "ResNet-18", "vit_small": "ViT-Small"})
"""The paper's names of the architectures."""

SALIENCY_METHODS = MappingProxyType({"resnet18": "Grad-CAM", "vit_small": "Attention Rollout"})
"""The column "Method" of Table 3, which depends on the architecture alone."""

_SCALE = {"M": Decimal(1_000_000), "h": Decimal(1)}


@dataclass(frozen=True)
class PaperValue:
    """One number of one of the paper's tables.

    Attributes:
        printed: the number as the paper prints it, such as ``"22.1M"``.
        unit: ``"%"``, ``"h"``, ``"count"``, ``"ratio"`` (of errors) or ``""`` (a plain number).
        section: where the table stands.
        table: such as ``"table2"``.
        row: the model's name.
        column: the quantity's name.
    """

    printed: str
    unit: str
    section: str
    table: str
    row: str
    column: str

    @property
    def value(self) -> float:
        """The number, in ``unit``."""
        digits, scale = _parse(self.printed)
        return float(digits * scale)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit: how far the unrounded number may lie off."""
        digits, scale = _parse(self.printed)
        return rounding(digits) * float(scale)

    @property
    def source(self) -> str:
        """Where to find it, such as ``Table 2, PGD Acc (%)``."""
        table = TABLES[self.table]
        return f"{table.label}, {table.columns[self.column].header}"


@dataclass(frozen=True)
class Column:
    """A column of a table: its header as printed, and the unit of its numbers."""

    header: str
    unit: str


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables.

    Attributes:
        name: such as ``"table2"``.
        title: its caption in the paper.
        section: where it stands.
        columns: by name of the quantity, in the paper's order.
        rows: model names, in the paper's order.
        values: by (row, column).
    """

    name: str
    title: str
    section: str
    columns: Mapping[str, Column]
    rows: tuple[str, ...]
    values: Mapping[tuple[str, str], PaperValue]

    @property
    def label(self) -> str:
        """Such as ``Table 2``."""
        return f"Table {self.name.removeprefix('table')}"


class UnknownValue(KeyError):
    """The paper has no such table, row or column; the message names the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


def value(table: str, row: str, column: str) -> PaperValue:
    """Look a number up.

    Args:
        table: ``"table1"`` to ``"table5"``.
        row: a model's name, such as ``"resnet18-standard"``.
        column: a quantity, such as ``"pgd_accuracy"``.

    Raises:
        UnknownValue: the paper does not report it; names the nearest name there is.
    """
    if table not in TABLES:
        raise UnknownValue(f"the paper has no {table!r}{nearest(table, TABLES)}")
    found = TABLES[table]
    if column not in found.columns:
        raise UnknownValue(f"{table} has no column {column!r}{nearest(column, found.columns)}")
    if row not in found.rows:
        raise UnknownValue(f"{table} has no row {row!r}{nearest(row, found.rows)}")
    return found.values[row, column]


def find(table: str, row: str, column: str) -> PaperValue | None:
    """Look a number up; None where the paper does not report it."""
    return TABLES[table].values.get((row, column)) if table in TABLES else None


def rounding(printed: Decimal) -> float:
    """Half a unit of a number's last digit."""
    return float(Decimal(5).scaleb(int(printed.as_tuple().exponent) - 1))


def _parse(printed: str) -> tuple[Decimal, Decimal]:
    scale = _SCALE.get(printed[-1], Decimal(1))
    return Decimal(printed.rstrip("".join(_SCALE))), scale


def nearest(name: str, valid: Iterable[str]) -> str:
    """For an error: the nearest of the valid names, and all of them."""
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return (f"; did you mean {close[0]!r}?" if close else ";") + f" There are: {', '.join(valid)}"


def _table(
    name: str,
    section: str,
    title: str,
    columns: dict[str, tuple[str, str]],
    rows: dict[str, str],
) -> PaperTable:
    described = {key: Column(*column) for key, column in columns.items()}
    values = {
        (row, column): PaperValue(printed, described[column].unit, section, name, row, column)
        for row, line in rows.items()
        for column, printed in zip(columns, line.split(), strict=True)
    }
    return PaperTable(
        name, title, section, MappingProxyType(described), tuple(rows), MappingProxyType(values)
    )


TABLES: Mapping[str, PaperTable] = MappingProxyType(
    {
        table.name: table
        for table in (
            _table(
                "table1",
                "4.1",
                "Baseline Model Performance on CIFAR-10",
                {
                    "clean_accuracy": ("Clean Acc (%)", "%"),
                    "ece": ("ECE", ""),
                    "training_hours": ("Training Time", "h"),
                    "parameters": ("Parameters", "count"),
                },
                {
                    "resnet18-standard": "94.8 0.032 2.5h 11.2M",
                    "vit_small-standard": "91.2 0.047 3.1h 22.1M",
                },
            ),
            _table(
                "table2",
                "4.2",
                "Adversarial Robustness Results",
                {
                    "clean_accuracy": ("Clean Acc (%)", "%"),
                    "fgsm_accuracy": ("FGSM Acc (%)", "%"),
                    "pgd_accuracy": ("PGD Acc (%)", "%"),
                    "attack_success": ("Attack Success (%)", "%"),
                },
                {
                    "resnet18-standard": "94.8 31.2 0.1 99.9",
                    "resnet18-adversarial": "86.9 72.4 45.2 48.0",
                    "vit_small-standard": "91.2 28.7 0.0 100.0",
                    "vit_small-adversarial": "83.1 68.9 38.7 53.4",
                },
            ),
            _table(
                "table3",
                "4.3",
                "Interpretability Analysis Results",
                {"iou_mean": ("IoU Mean", ""), "iou_std": ("IoU Std", "")},
                {
                    "resnet18-standard": "0.152 0.089",
                    "resnet18-adversarial": "0.181 0.095",
                    "resnet18-aligned": "0.423 0.112",
                    "vit_small-standard": "0.118 0.076",
                    "vit_small-adversarial": "0.142 0.081",
                    "vit_small-aligned": "0.387 0.098",
                },
            ),
            _table(
                "table4",
                "4.4",
                "Human-Guided Alignment Results",
                {
                    "clean_accuracy": ("Clean Acc (%)", "%"),
                    "final_iou": ("Final IoU", ""),
                    "alignment_loss": ("Alignment Loss", ""),
                    "training_hours": ("Training Time", "h"),
                },
                {
                    "resnet18-aligned": "92.1 0.423 0.089 1.8h",
                    "vit_small-aligned": "88.7 0.387 0.095 2.1h",
                },
            ),
            _table(
                "table5",
                "4.5",
                "Corruption Robustness Results (mCE Scores)",
                {
                    "noise": ("Noise", "ratio"),
                    "blur": ("Blur", "ratio"),
                    "weather": ("Weather", "ratio"),
                    "digital": ("Digital", "ratio"),
                    "mce": ("mCE", "ratio"),
                },
                {
                    "resnet18-standard": "1.68 1.52 1.41 1.33 1.49",
                    "resnet18-adversarial": "1.45 1.38 1.35 1.29 1.37",
                    "vit_small-standard": "1.89 1.71 1.63 1.58 1.70",
                    "vit_small-adversarial": "1.76 1.62 1.59 1.54 1.63",
                },
            ),
        )
    }
)
"""The paper's tables, by name."""
