"""The text of a table's cells, written as in the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MINUS, NONE, PLUS_MINUS = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{PLUS-MINUS SIGN}"


def missing(value: Any) -> bool:
    """True where a cell holds nothing."""
    import pandas as pd

    return bool(pd.isna(value))


def ours(cell: Mapping[str, Any]) -> str:
    """Our value; a dash where it is undefined."""
    return NONE if missing(cell["ours"]) else written(cell["ours"], cell["unit"])


def reported(cell: Mapping[str, Any]) -> str:
    """The paper's value."""
    return NONE if missing(cell["paper"]) else written(cell["paper"], cell["unit"])


def images(cell: Mapping[str, Any]) -> str:
    """Its number of images; a dash where it is not about images."""
    return NONE if missing(cell["n"]) else f"{cell['n']:,}"


def interval(cell: Mapping[str, Any]) -> str:
    """Its interval, such as "[90.6, 91.7]"; empty where it has none."""
    if missing(cell["low"]):
        return ""
    low, high = (written(cell[end], cell["unit"]) for end in ("low", "high"))
    return f"[{low}, {high}]"


def spread(cell: Mapping[str, Any]) -> str:
    """Its mean and standard deviation over seeds, such as "90.9 ± 0.4"; empty where it has none."""
    if missing(cell.get("seed_std")):
        return ""
    unit = cell["unit"]
    # A deviation has no sign.
    deviation = written(cell["seed_std"], "%" if unit == "points" else unit)
    return f"{written(cell['seed_mean'], unit)} {PLUS_MINUS} {deviation}"


def versus(cell: Mapping[str, Any], *, spelled: bool = False) -> str:
    """Our value less the paper's, or why they do not compare."""
    if cell["incomparable"]:
        return f"not comparable ({cell['incomparable']})"
    if missing(cell["difference"]):
        return "not reported by the paper" if spelled else NONE
    sign = MINUS if cell["difference"] < 0 else "+"
    size = written(abs(cell["difference"]), cell["unit"])
    return f"{sign}{size}" + (" points" if spelled and cell["unit"] == "%" else "")


def quantity(value: float, unit: str) -> str:
    """A value with its unit, as prose writes it."""
    text = written(value, unit)
    if unit == "p":
        return f"p {text}" if text.startswith("<") else f"p = {text}"
    return f"{text} {unit}" if unit in {"%", "points"} else text


def written(value: float, unit: str) -> str:
    """A value as a cell writes it.

    Args:
        value: in its unit.
        unit: ``"%"``, ``"points"`` (signed), ``"h"``, ``"count"`` (rounded), ``"images"`` (exact),
            ``"p"`` (a p-value), ``"ratio"`` (of errors) or ``""`` (another plain number).
    """
    match unit:
        case "%":
            return f"{value:.1f}"
        case "points":
            # Rounded first: a difference that rounds to 0 has no sign.
            rounded = round(value, 1)
            sign = MINUS if rounded < 0 else "+" * (rounded > 0)
            return f"{sign}{abs(rounded):.1f}"
        case "h":
            return _duration(value)
        case "ratio":
            return f"{value:.2f}"
        case "count":
            return _thousands(value)
        case "images":
            return f"{value:,.0f}"
        case "p":
            return "< 0.001" if value < 0.001 else f"{value:.3f}"
    return f"{value:.3f}"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"


def _thousands(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            digits = max(0, 2 - int(math.log10(count / size)))
            return f"{count / size:.{min(digits, 1)}f} {letter}"
    return f"{count:.0f}"
