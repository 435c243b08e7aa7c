"""Who made a result: device, code revision, versions, date."""

from __future__ import annotations

import datetime
import functools
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rslib.models import determinism
from rslib.models.device import describe
from rslib.settings import PROJECT, environment

MAKERS = (
    *("settings", "metrics", "store", "models", "data", "attacks", "smoothing.py", "saliency"),
    *("corruptions", "training", "run"),
)
"""The rooms of rslib whose code decides models and records."""

PACKAGES = (
    *("torchvision", "timm", "numpy", "scipy", "pandas", "pillow", "scikit-image", "captum"),
    *("pyautoattack", "statsmodels", "safetensors"),
)
"""The packages, beside PyTorch, whose versions can decide a result."""


def provenance(device: torch.device, reported: Sequence[str] = ()) -> dict[str, Any]:
    """Who made a result: device, code revision, versions, date. Not part of any key.

    ``reported`` names the operations that torch said are not deterministic meanwhile.
    """
    return {
        "device": describe(device),
        "deterministic": determinism.stated(),
        "nondeterministic": list(reported),
        "revision": revision(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
    } | {package: version(package) for package in PACKAGES}


@functools.cache
def revision(project: Path = PROJECT) -> str:
    """The last git revision that changed what makes results, marked where files differ from it.

    Without a repository it is what ``RSLIB_REVISION`` says, or "unknown".
    """
    code = ["--", *(f"rslib/{room}" for room in MAKERS), "params"]

    def git(*asked: str) -> str:
        command = ["git", "-C", str(project), *asked, *code]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        last = git("log", "-1", "--format=%h", "--abbrev=10") or "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return environment.text("RSLIB_REVISION") or "unknown"
    return f"{last}+changes" if changed else last
