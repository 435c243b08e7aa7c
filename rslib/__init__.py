"""RobustSight's helper package: everything the notebooks call.

Each folder is a room with one concern; CONTRIBUTING tells which may use which. A room is imported
when it is first asked for (``rslib.attacks``), so that a kernel starts quickly. Tables and figures
are called ``rslib.tables`` and ``rslib.figures``, wherever they live.
"""

import importlib
from types import ModuleType

__version__ = "0.2.0"

_ROOMS = (
    *("attacks", "corruptions", "data", "metrics", "models", "notebook", "paper", "report", "run"),
    *("saliency", "scorecard", "settings", "smoothing", "store", "training", "verdicts"),
)
_WITHIN = {"tables": "report.tables", "figures": "report.figures"}


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS or name in _WITHIN:
        return importlib.import_module(f"{__name__}.{_WITHIN.get(name, name)}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_WITHIN})
