"""CIFAR-10H: how many people chose each class for each CIFAR-10 test image, where the file is.

Peterson, Battleday, Griffiths and Russakovsky, "Human uncertainty makes classification more
robust", ICCV 2019. The counts are published as ``cifar10h-counts.npy`` under CC BY-NC-SA 4.0 at
https://github.com/jcpeterson/cifar-10h; they are read where they lie and never copied.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rslib.data import cifar10
from rslib.data.datasets import DataError
from rslib.store.arrays import ArrayError, open_array

NAMES = ("cifar10h-counts.npy", "cifar10h-counts.npz")
_BYTES = 10_000 * 10 * 16 + 10_000  # with a header
MOST = 10_000  # people asked about one image: about 51 in the published file


def find(root: str | Path | None = None) -> Path | None:
    """The file with the counts in a folder, by default where CIFAR-10 is; or None."""
    folder = cifar10.default_root() if root is None else Path(root)
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def load(root: str | Path | None = None) -> Tensor:
    """The counts, int64 (10000, 10), in the canonical order of the test images; see :func:`find`.

    Raises:
        DataError: the file is missing, damaged, or not of this form.
    """
    path = find(root)
    if path is None:
        raise DataError(
            f"no CIFAR-10H in {root or cifar10.default_root()}: put cifar10h-counts.npy there, "
            "from https://github.com/jcpeterson/cifar-10h"
        )
    try:
        member = "counts" if path.suffix == ".npz" else None
        counts = open_array(path, member, most=_BYTES)
    except ArrayError as error:
        raise DataError(f"{path} cannot be read ({error}): fetch it again") from None
    whole = counts.shape == (10_000, 10) and counts.dtype.kind in "iuf"
    # NaN is in no range.
    if not whole or not ((counts >= 0) & (counts <= MOST) & (counts == np.floor(counts))).all():
        raise DataError(
            f"{path} holds {counts.dtype} {counts.shape}; whole numbers from 0 (10000, 10), how "
            "many people chose each class, are needed: fetch it again"
        )
    if (counts.sum(1) == 0).any():
        raise DataError(f"{path}: for some images nobody chose a class; fetch it again")
    return torch.from_numpy(counts.astype(np.int64))
