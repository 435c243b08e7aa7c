"""Which workloads are measured at which sizes, and the measuring itself, cell by cell.

Cells are measured in rounds, each cell once a round, so that a busy moment of the machine meets
them all. A finished cell is kept in a work file at once: an interrupted run goes on after it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.growth.work import NARROW, Work, measure
from rslib.run.provenance import provenance
from rslib.store import records

ROUNDS = 3
LARGE = ("resnet50", "vit_small_patch16_224")
"""The nets of the projection, by their names in timm."""
SIDE, CLASSES = 224, 1000
"""Pixels and classes of ImageNet."""

# What the server of fresh processes imports beforehand, so that no cell waits for it.
_IMPORTED = [
    "benchmarks.growth.work",
    "pandas",
    "pyarrow.parquet",
    "pyautoattack",
    "scipy.ndimage",
    "scipy.stats",
    "timm",
    "torch.fx.experimental.optimization",
]


@dataclass(frozen=True)
class Series:
    """One workload at several sizes.

    Attributes:
        axis: the field of :class:`Work` that varies.
        work: the rest.
        sizes: its values, in rising order.
    """

    axis: str
    work: Work
    sizes: tuple[int, ...]

    def works(self) -> list[Work]:
        """The work at each size."""
        return [replace(self.work, **{self.axis: size}) for size in self.sizes]


# Over images, even the smallest size has two batches: with one, no next one is held beside it, and
# memory would seem to grow.
SERIES = (
    Series("images", Work("clean"), (128, 512, 2048)),
    Series("images", Work("clean", batch=64, classes=CLASSES), (128, 512, 1024)),
    Series("images", Work("pgd"), (64, 256, 1024)),
    Series("images", Work("smoothing"), (64, 128, 384)),
    Series("images", Work("corruptions"), (64, 192, 512)),
    Series("images", Work("saliency"), (128, 512, 2048)),
    Series("models", Work("corruptions", images=32), (1, 2, 4, 8)),
    Series("samples", Work("smoothing", images=4), (50, 100, 200, 400)),
    *(
        Series("side", Work(kind, net, images=images), (32, 48, 64, 96))
        for kind, images in (("clean", 64), ("pgd", 32), ("saliency", 64))
        for net in NARROW
    ),
    Series("classes", Work("clean", images=128), (10, 100, CLASSES)),
    Series("classes", Work("autoattack", images=8, batch=8), (10, 100, CLASSES)),
    Series("classes", Work("saliency", images=128), (10, 100, CLASSES)),
    *(
        Series("batch", Work(kind, images=images), (16, 32, 64, 128))
        for kind, images in (("clean", 512), ("pgd", 128), ("corruptions", 128), ("saliency", 256))
    ),
    Series("batch", Work("votes", images=8, samples=100), (16, 32, 64, 128)),
)

BARE = tuple(
    series
    for kind in ("forward", "gradient")
    for series in (
        Series("images", Work(kind, batch=64), (128, 256, 512)),
        *(
            Series("images", Work(kind, net, batch=64, side=SIDE, classes=CLASSES), (1, 2, 4))
            for net in LARGE
        ),
    )
)
"""Bare passes: of the narrow ResNet-18, and of the nets of the projection, whose images all fit
into one batch, so that an additional image is one more in flight."""


def lighter(series: Series) -> Series:
    """The same with a quarter of the images, where they are not what fills the batches."""
    if series.axis == "batch":
        return series
    if series.axis == "images":
        return replace(series, sizes=tuple(size // 4 for size in series.sizes))
    return replace(series, work=replace(series.work, images=max(4, series.work.images // 4)))


def schedule(series: Iterable[Series], rounds: int) -> Iterator[tuple[int, Work]]:
    """Every cell of every round; a work that several series share is measured once a round."""
    works = dict.fromkeys(work for each in (*series, *BARE) for work in each.works())
    for number in range(rounds):
        for work in works:
            yield number, work


def name(work: Work) -> str:
    """What a cell is called in the work file."""
    return " ".join(f"{field}={value}" for field, value in asdict(work).items())


def fresh_processes() -> ProcessPoolExecutor:
    """An executor that gives each task a process of its own, one after the other.

    They are forked from a server that has imported everything and computed nothing: each starts
    from the same memory, and none inherits another's highest level.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    return ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1)


def measured(
    series: Sequence[Series],
    rounds: int,
    path: Path,
    machine: Mapping[str, Any],
    *,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, list[dict[str, Any]]]:
    """Measure all cells that the work file does not hold yet.

    Args:
        series: what is measured, beside :data:`BARE`.
        rounds: how often.
        path: the work file. Cells of another machine or of other code are dropped.
        machine: as the harness describes it.
        progress: called with a line before each cell.

    Returns:
        For each cell, by :func:`name`, what :func:`measure` gave in each round.

    Raises:
        RuntimeError: the operating system ended a cell's process, mostly for want of memory.
    """
    code = [records.source_digest(measure), provenance(torch.device("cpu"))["revision"]]
    made_by = records.key(machine=dict(machine), code=code)
    kept: dict[str, Any] = {"made_by": made_by, "cells": {}}
    if path.exists():
        found = records.read_json(path)
        kept = found if found["made_by"] == made_by else kept
    cells = kept["cells"]
    planned = list(schedule(series, rounds))
    with fresh_processes() as fresh:
        for place, (number, work) in enumerate(planned, start=1):
            done = cells.setdefault(name(work), [])
            if number < len(done):
                continue
            progress(f"{place}/{len(planned)} {name(work)}")
            try:
                done.append(fresh.submit(measure, work).result())
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"the process of the cell {name(work)} was ended from outside, mostly for want "
                    "of memory; finished cells are kept, so free some and run again"
                ) from error
            records.write_json(path, kept)
    return {name(work): cells[name(work)][:rounds] for _, work in planned}
