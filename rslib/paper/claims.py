"""All claims of the paper, by name, and how to look one up."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rslib.paper import in_results, in_summary
from rslib.paper.statement import Claim
from rslib.paper.tables import UnknownValue, nearest

SECTIONS = MappingProxyType(
    {
        "abstract": "Abstract",
        "3.2": "Methods",
        "4.1": "Baseline performance",
        "4.2": "Adversarial robustness",
        "4.3": "Interpretability",
        "4.4": "Human-guided alignment",
        "4.5": "Distribution shift",
        "4.6": "Trade-offs",
        "5": "Discussion",
        "6": "Conclusion",
    }
)
"""Sections that make claims, in order, with what they are about."""


def section_of(section: str) -> str:
    """The entry of :data:`SECTIONS` that a section belongs to: ``"5.3"`` to ``"5"``."""
    return next(key for key in SECTIONS if section == key or section.startswith(f"{key}."))


def claim(name: str) -> Claim:
    """Look a claim up.

    Raises:
        UnknownValue: there is none of that name; names the nearest.
    """
    if name not in CLAIMS:
        raise UnknownValue(f"no claim {name!r}{nearest(name, CLAIMS)}")
    return CLAIMS[name]


CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        entry.name: entry
        for entry in (
            *in_summary.ABSTRACT,
            *in_results.METHODS,
            *in_results.BASELINE,
            *in_results.ROBUSTNESS,
            *in_results.INTERPRETABILITY,
            *in_results.ALIGNMENT,
            *in_results.SHIFT,
            *in_results.TRADE_OFFS,
            *in_summary.DISCUSSION,
            *in_summary.CONCLUSION,
        )
    }
)
"""Claims of the abstract, of sections 4 to 6, and two of 3.2, in the paper's order."""
