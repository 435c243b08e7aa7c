"""A run: what a profile and a seed have made, and how it is made."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rslib.run.results import Results as Results
    from rslib.run.run import Run as Run


def __getattr__(name: str) -> Any:
    # Whoever reads records must not load what makes them.
    if name in ("Results", "Run"):
        return getattr(importlib.import_module(f"rslib.run.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
