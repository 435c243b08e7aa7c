"""Reproducibility bit for bit: torch's setting, and the operations that it reported.

Torch runs some operations, mostly on GPUs, in an order of its own, so that the last bits of sums
vary. It reports them only after ``torch.use_deterministic_algorithms(True, warn_only=True)``.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

_REPORT = re.compile(
    r"(does not have a deterministic implementation|(is not|non-) ?deterministic)", re.IGNORECASE
)


def stated() -> str:
    """Torch's setting for operations that are not deterministic.

    ``"off"`` runs them and says nothing, ``"warn only"`` reports them, ``"on"`` refuses them.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "warn only" if torch.is_deterministic_algorithms_warn_only_enabled() else "on"


@contextmanager
def reported() -> Iterator[list[str]]:
    """Collect what torch reports of operations that are not deterministic.

    Yields:
        A list, filled while the context lasts: an operation's name, or the report's first sentence
        where it names none; each once, in order. The warnings are not shown; all others are.
    """
    found: list[str] = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", message=f".*{_REPORT.pattern}")
        passed_on = warnings.showwarning

        def keep(message: Warning | str, *details: Any, **more: Any) -> None:
            text = str(message)
            if not _REPORT.search(text):
                passed_on(message, *details, **more)
                return
            name = text.partition(" does not have")[0].partition(". ")[0]
            if name not in found:
                found.append(name)

        warnings.showwarning = keep
        yield found
