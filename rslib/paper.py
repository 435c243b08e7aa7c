"""What the paper reports: Tables 1 to 5, and the claims of its abstract, 4.1 and 4.2, as data.

Values are kept in the units the paper prints: accuracies and attack success in percent, training
times in hours, parameters as counts, calibration error, IoU, losses and mCE as plain ratios. Each
remembers how it was printed, so that rounding can be told from disagreement.

Rows are named as models are named everywhere in rslib, ``<architecture>-<training>``::

    paper.value("table2", "resnet18-standard", "pgd_accuracy").value  # 0.1
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

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
        return float(Decimal(5).scaleb(int(digits.as_tuple().exponent) - 1) * scale)

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


@dataclass(frozen=True)
class Claim:
    """A statement of the paper's text that a number can support or contradict.

    Attributes:
        name: short and unique.
        statement: what is said, in our words.
        section: where.
        value: the number claimed, in ``unit``; None where the claim is a comparison.
        unit: ``"%"``, ``"points"`` (percentage points), ``"count"`` or ``""``.
        relation: how the measured number must stand to ``value``; "about" means to rounding.
        models: what it speaks of.
        tables: the numbers of the paper's own tables that bear on it, (table, row, column).
    """

    name: str
    statement: str
    section: str
    value: float | None
    unit: str
    relation: Literal["about", "below", "above", "compares"]
    models: tuple[str, ...]
    tables: tuple[tuple[str, str, str], ...] = ()


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
        raise UnknownValue(f"the paper has no {table!r}{_nearest(table, TABLES)}")
    found = TABLES[table]
    if column not in found.columns:
        raise UnknownValue(f"{table} has no column {column!r}{_nearest(column, found.columns)}")
    if row not in found.rows:
        raise UnknownValue(f"{table} has no row {row!r}{_nearest(row, found.rows)}")
    return found.values[row, column]


def find(table: str, row: str, column: str) -> PaperValue | None:
    """Look a number up; None where the paper does not report it."""
    return TABLES[table].values.get((row, column)) if table in TABLES else None


def claim(name: str) -> Claim:
    """Look a claim up.

    Raises:
        UnknownValue: there is none of that name; names the nearest.
    """
    if name not in CLAIMS:
        raise UnknownValue(f"no claim {name!r}{_nearest(name, CLAIMS)}")
    return CLAIMS[name]


def attack_success(clean: float, attacked: float) -> float:
    """The share of correctly classified images that an attack turns, in percent.

    The paper does not define it; Table 2 agrees with this reading in all four rows.

    Args:
        clean: accuracy on clean images, in percent, above 0.
        attacked: accuracy under the attack, in percent.
    """
    return 100 * (1 - attacked / clean)


def _parse(printed: str) -> tuple[Decimal, Decimal]:
    scale = _SCALE.get(printed[-1], Decimal(1))
    return Decimal(printed.rstrip("".join(_SCALE))), scale


def _nearest(name: str, valid: Iterable[str]) -> str:
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

_BASELINES = ("resnet18-standard", "vit_small-standard")
_RESNETS = ("resnet18-standard", "resnet18-adversarial")


def _cells(table: str, rows: tuple[str, ...], *columns: str) -> tuple[tuple[str, str, str], ...]:
    return tuple((table, row, column) for row in rows for column in columns)


CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            Claim(
                "abstract_pgd_before",
                "ResNet-18 has no PGD robustness before adversarial training",
                "abstract", 0.0, "%", "about", ("resnet18-standard",),
                _cells("table2", ("resnet18-standard",), "pgd_accuracy"),
            ),
            Claim(
                "abstract_pgd_after",
                "adversarial training raises the PGD accuracy of ResNet-18 to 45 %",
                "abstract", 45.0, "%", "about", ("resnet18-adversarial",),
                _cells("table2", ("resnet18-adversarial",), "pgd_accuracy"),
            ),
            Claim(
                "abstract_clean_loss",
                "adversarial training costs ResNet-18 8 points of clean accuracy",
                "abstract", 8.0, "points", "about", _RESNETS,
                _cells("table2", _RESNETS, "clean_accuracy"),
            ),
            Claim(
                "abstract_iou_before",
                "the explanations of the baseline ResNet-18 overlap the object by an IoU of 0.15",
                "abstract", 0.15, "", "about", ("resnet18-standard",),
                _cells("table3", ("resnet18-standard",), "iou_mean"),
            ),
            Claim(
                "abstract_iou_after",
                "alignment raises that IoU to 0.42",
                "abstract", 0.42, "", "about", ("resnet18-aligned",),
                _cells("table3", ("resnet18-aligned",), "iou_mean"),
            ),
            Claim(
                "accuracy_gap",
                "ResNet-18 is 3.6 points more accurate than ViT-Small",
                "4.1", 3.6, "points", "about", _BASELINES,
                _cells("table1", _BASELINES, "clean_accuracy"),
            ),
            Claim(
                "calibration",
                "both baseline models have an expected calibration error below 0.05",
                "4.1", 0.05, "", "below", _BASELINES,
                _cells("table1", _BASELINES, "ece"),
            ),
            Claim(
                "calibration_order",
                "ResNet-18 is better calibrated than ViT-Small",
                "4.1", None, "", "compares", _BASELINES,
                _cells("table1", _BASELINES, "ece"),
            ),
            Claim(
                "training_time",
                "ViT-Small takes 24 % more training time than ResNet-18",
                "4.1", 24.0, "%", "about", _BASELINES,
                _cells("table1", _BASELINES, "training_hours"),
            ),
            Claim(
                "parameters",
                "ViT-Small has twice the parameters of ResNet-18",
                "4.1", 2.0, "", "about", _BASELINES,
                _cells("table1", _BASELINES, "parameters"),
            ),
            Claim(
                "convergence",
                "ResNet-18 converges faster at first; both end at similar accuracies (Figure 1)",
                "4.1", None, "", "compares", _BASELINES,
            ),
            Claim(
                "fgsm_success",
                "FGSM succeeds on more than 99 % of images against both baseline models "
                "(Table 2's FGSM accuracies of 31.2 % and 28.7 % make it 67.1 % and 68.5 %)",
                "4.2", 99.0, "%", "above", _BASELINES,
                _cells("table2", _BASELINES, "clean_accuracy", "fgsm_accuracy"),
            ),
            Claim(
                "pgd_success",
                "PGD succeeds on all images against both baseline models",
                "4.2", 100.0, "%", "about", _BASELINES,
                _cells("table2", _BASELINES, "attack_success"),
            ),
            Claim(
                "robustness_gain",
                "adversarial training gains ResNet-18 45 points of PGD accuracy",
                "4.2", 45.0, "points", "about", _RESNETS,
                _cells("table2", _RESNETS, "pgd_accuracy"),
            ),
            Claim(
                "robustness_gap",
                "adversarially trained, ResNet-18 is 6.2 points more robust than ViT-Small "
                "(Table 2: 6.5)",
                "4.2", 6.2, "points", "about", ("resnet18-adversarial", "vit_small-adversarial"),
                _cells(
                    "table2", ("resnet18-adversarial", "vit_small-adversarial"), "pgd_accuracy"
                ),
            ),
        )
    }
)  # fmt: skip
"""Claims of the abstract, 4.1 and 4.2, by name."""
