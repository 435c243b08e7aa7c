"""CIFAR-10 and the synthetic Shapes, their splits, and batches of them on the device."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

# ruff: noqa: F401 (names that others use)
from rslib.data import cifar10, shapes
from rslib.data.datasets import ADDED, DataError, Dataset, Source, dataset
from rslib.data.loader import Augment, Batch, Batches
from rslib.data.splits import balanced_subset, halves, split_validation
from rslib.settings.nearest import nearest

_OURS = {
    "cifar10": Source(cifar10.CLASSES, cifar10.load),
    "shapes": Source(shapes.CLASSES, shapes.load),
}


def names() -> tuple[str, ...]:
    """The data sets, ours and added ones."""
    return (*_OURS, *ADDED)


def classes(name: str) -> tuple[str, ...]:
    """The names of a data set's classes; a label is a position in them.

    Raises:
        ValueError: there is no such data set.
    """
    return _source(name).classes


def load(
    name: str, split: str, *, root: str | Path | None = None, download: bool = False, **options: Any
) -> Dataset:
    """Load a split of a dataset.

    Args:
        name: one of :func:`names`, such as ``"cifar10"`` or ``"shapes"``.
        split: ``"train"`` or ``"test"``.
        root: of files, by default ``$RSLIB_DATA``, else ``data/`` in the project's root.
        download: fetch CIFAR-10 if it is not there.
        **options: of Shapes: `n`, `seed`, `background_correlation`.

    Raises:
        DataError: if files are missing, damaged or cannot be fetched.
        ValueError: if the name, the split or an option's value is not allowed.
        TypeError: if the dataset has no such option.
    """
    function = _source(name).load
    parameters = inspect.signature(function).parameters.values()
    takes = [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]
    files = {"root": root, "download": download}  # for those that have files
    known = [option for option in takes if option not in files]
    for option in options:
        if option not in known:
            there = f"There are: {', '.join(known)}" if known else "It has none"
            raise TypeError(f"{name} has no option {option!r}{nearest(option, known)} {there}.")
    where = {option: value for option, value in files.items() if option in takes}
    return function(split, **where, **options)


def _source(name: str) -> Source:
    source = _OURS.get(name) or ADDED.get(name)
    if source is None:
        there = ", ".join(names())
        raise ValueError(f"no data set {name!r}{nearest(name, names())} There are: {there}.")
    return source
