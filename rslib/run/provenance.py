"""Who made a result: device, code revision, versions, date."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rslib.models import determinism
from rslib.models.device import describe
from rslib.settings import PROJECT

MAKERS = (
    "settings",
    "metrics",
    "store",
    "models",
    "data",
    "attacks",
    "smoothing.py",
    "saliency",
    "corruptions",
    "training",
    "run",
)
"""The rooms of rslib whose code decides models and records."""


def provenance(device: torch.device, reported: Sequence[str] = ()) -> dict[str, Any]:
    """Who made a result: device, code revision, versions, date. Not part of any key.

    Args:
        device: where it was made.
        reported: the operations that torch said are not deterministic meanwhile
            (:func:`rslib.models.determinism.reported`); whether it was asked to is told beside
            them.
    """
    return {
        "device": describe(device),
        "deterministic": determinism.stated(),
        "nondeterministic": list(reported),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
    }


@functools.cache
def revision(project: Path = PROJECT) -> str:
    """The last git revision that changed what makes results, marked where files differ from it.

    Later ones, which changed other things, hold the same code. Where the code was copied without
    its repository, whoever copied it can say which it is, by ``RSLIB_REVISION``; otherwise it is
    "unknown" there.

    Args:
        project: folder that holds ``rslib`` and ``params``.
    """
    git = ["git", "-C", str(project)]
    code = ["--", *(f"rslib/{room}" for room in MAKERS), "params"]
    try:
        last, changed = (
            subprocess.run(
                [*git, *asked, *code], capture_output=True, text=True, check=True
            ).stdout.strip()
            for asked in (
                ["log", "-1", "--format=%h", "--abbrev=10"],
                ["status", "--porcelain", "--untracked-files=no"],
            )
        )
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("RSLIB_REVISION") or "unknown"
    return f"{last or 'unknown'}{'+changes' * bool(changed)}"
