"""What victims do. The process that they are forked from imports it, with all that is slow."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet  # noqa: F401
import pyautoattack  # noqa: F401
import skimage.filters  # noqa: F401
import timm  # noqa: F401
import torch
from torch import nn

from rslib import data, settings
from rslib.corruptions import cifar10c
from rslib.metrics import estimates
from rslib.run import Run
from rslib.scorecard import folders, scorecard
from rslib.store import records
from tests.helpers.tiny import TINY

NAME = "resnet18-standard"
# Epochs and shards enough that a moment falls between two of them, or into one.
SIZES = {
    "training": {"standard": {"resnet18": {"epochs": 4}}},
    "evaluation": {"batch_size": 5},
    "autoattack": {"n": 20, "batch_size": 5, "steps": 3, "queries": 10},
    "smoothing": {"n": 20, "samples": 30},
    "corruptions": {"n": 10},
    "masks": {"sources": ["exact"]},
}


def tiny(root: Path, overrides: dict[str, Any] | None = None, *, progress: bool = False) -> Run:
    """A run of seconds in a folder."""
    sizes = functools.reduce(settings.merge, (TINY, SIZES, overrides or {}))
    return Run(settings.load("smoke", sizes), root=root, progress=progress)


def train(root: Path) -> None:
    """Train a model."""
    tiny(root).trained(NAME)


def evaluate(root: Path, evaluated: str) -> None:
    """Make the record of an evaluation."""
    tiny(root).evaluate(NAME, evaluated)


def company(root: Path) -> None:
    """Train and evaluate, and say for whom it waits."""
    run = tiny(root, progress=True)
    run.trained(NAME)
    run.evaluate(NAME, "clean")
    run.evaluate(NAME, "smoothing")


class Small(nn.Module):
    """Ten logits from the mean of a few features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Linear(4, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).relu().mean((2, 3)))


SCORED = {"pgd": {"steps": 2}, "reliability": {"n": 10, "strong_steps": 2, "queries": 2}}
LEFT_OUT = ("autoattack", "corruptions")  # which take longest


def score(root: Path, n: int = 20, model: nn.Module | None = None, **options: Any) -> Any:
    """Score a model of a few weights in the folder ``card``."""
    run, options = tiny(root, SCORED), {"without": LEFT_OUT, "folder": root / "card"} | options
    before, estimates.RESAMPLES = estimates.RESAMPLES, 20
    try:
        return scorecard(model or Small(), None, run, n=n, progress=False, **options)
    finally:
        estimates.RESAMPLES = before


def replace_card(root: Path) -> None:
    """Put another version of a scorecard, of fewer records, in its place."""
    folder = root / "card"
    card = folders.read(root.parent / "scored" / "card")
    frame = records.read_record(root.parent / "scored" / "card" / "records" / "clean.parquet")
    of = folders.identity(card.model, card.data, card.profile, card.seed)
    with folders.claimed(folder, of, "another"):
        newer = card.model_copy(update={"comparison": "Newer than the one before."})
        folders.write(folder, newer, {"clean": frame.iloc[:5]})


VERSIONS, ROWS = 40, 20_000


def write(root: Path) -> None:
    """Write a record and a document over and over, each time another version."""
    for version in range(VERSIONS):
        frame = pd.DataFrame({"version": [version] * ROWS, "row": range(ROWS)})
        records.write_record(root / "record.parquet", frame, {"version": version})
        records.write_json(root / "document.json", {"version": version, "rows": [version] * 500})


def hold(root: Path, path: str) -> None:
    """Hold a lock of a run until killed."""
    import time

    run = tiny(root)
    with run.lock(run.directory / path):
        (root / "held").touch()
        time.sleep(600)


def wait(root: Path, path: str) -> None:
    """Wait for a lock of a run, and say so."""
    run = tiny(root, progress=True)
    with run.lock(run.directory / path):
        print("mine", flush=True)


def export(root: Path) -> None:
    """Write corrupted images in the official layout."""
    images = data.load("shapes", "test", n=100)
    cifar10c.export(images, root / "export", names=["contrast", "brightness", "saturate"])


def download(root: Path, remote: list, files: dict[str, list]) -> None:
    """Fetch CIFAR-10 from a server of the test's, with the checksums of its small files."""
    from rslib.data import cifar10
    from rslib.store import downloads

    cifar10.ARCHIVE = downloads.Remote(*remote)
    known = {split: tuple(cifar10.File(*each) for each in kept) for split, kept in files.items()}
    small = cifar10.Layout(cifar10.PYTHON.folder, "md5", known, cifar10.parse_py)
    cifar10.LAYOUTS = (small, cifar10.BINARY)
    print(json.dumps({"images": len(data.load("cifar10", "test", root=root, download=True))}))
