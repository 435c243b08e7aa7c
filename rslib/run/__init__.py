"""A run: what a profile and a seed have made, and how it is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rslib.run.run import Run as Run

__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    # Whoever reads records must not load what makes them.
    if name == "Run":
        from rslib.run.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
