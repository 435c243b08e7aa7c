"""CIFAR-10 and the synthetic Shapes, their splits, and batches of them on the device."""

from __future__ import annotations

import difflib
import inspect
from pathlib import Path
from typing import Any

from rslib.data import cifar10, shapes
from rslib.data.added import ADDED
from rslib.data.dataset import DataError, Dataset, Source
from rslib.data.loader import Augment, Batch, Batches
from rslib.data.splits import balanced_subset, halves, split_validation

__all__ = [
    "CLASSES",
    "NAMES",
    "SOURCES",
    "Augment",
    "Batch",
    "Batches",
    "DataError",
    "Dataset",
    "Source",
    "balanced_subset",
    "halves",
    "load",
    "split_validation",
]

SOURCES = {
    "cifar10": Source(cifar10.CLASSES, cifar10.load),
    "shapes": Source(shapes.CLASSES, shapes.load),
    **ADDED,
}
"""The data sets, ours and added ones, by name."""

NAMES = tuple(SOURCES)

CLASSES = {name: source.classes for name, source in SOURCES.items()}
"""The names of each set's classes; a label is a position in them."""


def load(
    name: str,
    split: str,
    *,
    root: str | Path | None = None,
    download: bool = False,
    **options: Any,
) -> Dataset:
    """Load a split of a dataset.

    Args:
        name: one of :data:`SOURCES`, such as ``"cifar10"`` (:func:`rslib.data.cifar10.load`) or
            ``"shapes"`` (:func:`rslib.data.shapes.load`).
        split: ``"train"`` or ``"test"``.
        root: where the files are; by default ``$RSLIB_DATA``, else ``data/`` in the project's
            root. Shapes needs no files.
        download: fetch CIFAR-10 if it is not there.
        **options: of Shapes: `n`, `seed`, `background_correlation`.

    Raises:
        DataError: if files are missing, damaged or cannot be fetched.
        ValueError: if the name, the split or an option's value is not one of those allowed.
        TypeError: if the dataset has no such option.
    """
    if name not in NAMES:
        raise ValueError(f"dataset: expected one of {NAMES}, got {name!r}.{_nearest(name, NAMES)}")
    source = SOURCES[name].load
    files = {"root": root, "download": download}  # for those that have files
    takes = _options(source)
    known = tuple(option for option in takes if option not in files)
    for option in options:
        if option not in known:
            allowed = f"has {', '.join(known)}" if known else "has none"
            raise TypeError(
                f"{name} has no option {option!r} ({allowed}).{_nearest(option, known)}"
            )
    where = {option: value for option, value in files.items() if option in takes}
    return source(split, **where, **options)


def _options(function: Any) -> tuple[str, ...]:
    """The names of a function's keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _nearest(given: str, allowed: tuple[str, ...]) -> str:
    """A suggestion for a mistyped name, or nothing."""
    close = difflib.get_close_matches(given, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
