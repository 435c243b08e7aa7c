"""The text of a table's cells, written as in the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"

_FORMATS = {"%": ".1f", "ratio": ".2f", "images": ",.0f"}


def missing(value: Any) -> bool:
    """True where a cell holds nothing."""
    import pandas as pd

    return bool(pd.isna(value))


def value(cell: Mapping[str, Any], key: str = "ours") -> str:
    """Our value or the paper's, by its key; a dash where there is none."""
    return NONE if missing(cell[key]) else written(cell[key], cell["unit"])


def images(cell: Mapping[str, Any]) -> str:
    """Its number of images; a dash where it is not about images."""
    return NONE if missing(cell["n"]) else f"{cell['n']:,}"


def interval(cell: Mapping[str, Any]) -> str:
    """Its interval, such as "[90.6, 91.7]"; empty where it has none."""
    if missing(cell["low"]):
        return ""
    return f"[{value(cell, 'low')}, {value(cell, 'high')}]"


def spread(cell: Mapping[str, Any]) -> str:
    """Its mean and standard deviation over seeds, such as "90.9 ± 0.4"; empty where it has none."""
    if missing(cell.get("seed_std")):
        return ""
    unit = cell["unit"]
    # A deviation has no sign.
    deviation = written(cell["seed_std"], "%" if unit == "points" else unit)
    return f"{written(cell['seed_mean'], unit)} ± {deviation}"


def versus(cell: Mapping[str, Any]) -> str:
    """Our value less the paper's, or why they do not compare."""
    if cell["incomparable"]:
        return f"not comparable ({cell['incomparable']})"
    if missing(cell["difference"]):
        return NONE
    sign = MINUS if cell["difference"] < 0 else "+"
    return f"{sign}{written(abs(cell['difference']), cell['unit'])}"


def quantity(value: float, unit: str) -> str:
    """A value with its unit, as prose writes it."""
    text = written(value, unit)
    if unit == "p":
        return f"p {text}" if text.startswith("<") else f"p = {text}"
    return f"{text} {unit}" if unit in {"%", "points"} else text


def written(value: float, unit: str) -> str:
    """A value in its unit as a cell writes it.

    Units are ``"%"``, ``"points"`` (signed), ``"h"``, ``"count"`` (rounded), ``"images"`` (exact),
    ``"p"`` (a p-value), ``"ratio"`` (of errors) and ``""`` (another plain number).
    """
    match unit:
        case "points":
            # Rounded first: a difference that rounds to 0 has no sign.
            rounded = round(value, 1)
            return f"{rounded:+.1f}".replace("-", MINUS) if rounded else "0.0"
        case "p" if value < 0.001:
            return "< 0.001"
        case "h" if value >= 1:
            return f"{value:.1f} h"
        case "h":
            return f"{value * 60:.0f} min" if value * 60 >= 2 else f"{value * 3600:.0f} s"
        case "count" if value >= 1000:
            size, letter = (1e6, "M") if value >= 1e6 else (1e3, "k")
            return f"{value / size:.{1 if value < 100 * size else 0}f} {letter}"
        case "count":
            return f"{value:.0f}"
    return f"{value:{_FORMATS.get(unit, '.3f')}}"
