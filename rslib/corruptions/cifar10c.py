"""CIFAR-10-C: the official archive where there is one, generated images otherwise (paper 3.5).

The archive (https://zenodo.org/records/2535967) is a folder ``CIFAR-10-C`` with one
``<corruption>.npy`` each, uint8 (50000, 32, 32, 3), the 10,000 test images at severity 1 first, and
``labels.npy``. Generated images are made when they are asked for; only :func:`export` stores them.
The two are not the same pixels: the published generator was not seeded.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rslib.corruptions import ADDED, NAMES, SEVERITIES, check_name, check_severity, corrupt
from rslib.corruptions.weather import photographs_digest
from rslib.data.cifar10 import default_root
from rslib.data.datasets import DataError, Dataset
from rslib.store.arrays import ArrayError, open_array
from rslib.store.records import RecordError, atomic, known_digest, read_json, write_json

FOLDER = "CIFAR-10-C"
OFFICIAL_IMAGES = 10_000
# An export holds this file, so that nobody takes it for the official archive.
MARKER = "generated.json"
_MEND = "Unpack the archive again, or move the folder away to have images generated."
_FILES = tuple(f"{name}.npy" for name in (*NAMES, "labels"))
# Raise when the same seed comes to mean other pixels: stored results then no longer match.
GENERATOR_VERSION = 1


class Archive:
    """A folder in the official layout, checked when opened; the images stay on disk.

    Its labels are int64 (N,); it is ``generated`` if :func:`export` wrote it.

    Raises:
        DataError: if a file is missing, truncated, or of another shape or type, or if the labels
            differ between severities.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder = Path(folder).expanduser()
        self.generated = (folder / MARKER).is_file()
        missing = [file for file in _FILES if not (folder / file).is_file()]
        if missing:
            raise DataError(f"{folder} is incomplete: {', '.join(missing)} missing. {_MEND}")
        path = folder / "labels.npy"
        labels = _open(path)
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) % len(SEVERITIES):
            told = f"{path}: expected whole numbers, as many for each of 5 severities, got "
            raise DataError(f"{told}{labels.dtype} {labels.shape}. {_MEND}")
        rows = np.asarray(labels).reshape(len(SEVERITIES), -1)
        if (rows != rows[0]).any():
            raise DataError(f"{path}: the labels differ between severities. {_MEND}")
        self.labels = torch.from_numpy(rows[0].astype(np.int64))
        expected = (len(labels), 32, 32, 3)
        for name in NAMES:
            images = _open(folder / f"{name}.npy")
            if images.dtype != np.uint8 or images.shape != expected:
                got = f"got {images.dtype} {images.shape}"
                raise DataError(f"{folder / name}.npy: expected uint8 {expected}, {got}. {_MEND}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all files by name, of 2.9 GB; quick where none has changed since.

        The archive was published with a digest of its own, not of these files, so that theirs tell
        one copy from another and not the right one from a wrong one.
        """
        bar = tqdm(_FILES, "checking CIFAR-10-C", leave=False, delay=1, disable=None)
        found = {file: known_digest(self.folder / file) for file in bar}
        return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()

    def images(self, name: str, severity: int, positions: Tensor) -> Tensor:
        """Corrupted images at positions, int64 (B,): uint8 (B, 3, 32, 32) on the CPU."""
        check_name(name)
        start = (check_severity(severity) - 1) * len(self)
        rows = _open(self.folder / f"{name}.npy")[start + positions.cpu().numpy()]
        return torch.from_numpy(rows).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Corrupted:
    """A data set in all its corrupted versions, each read or made when it is asked for.

    They are read from the archive, or made where it is None, with this seed and folder of frost
    photographs (None for the installed package's).
    """

    clean: Dataset
    archive: Archive | None
    seed: int = 0
    photographs: str | Path | None = None

    @property
    def origin(self) -> str:
        """``"official"`` or ``"generated"``."""
        return "generated" if self.archive is None else "official"

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the pixels, as JSON: results of different identities do not compare."""
        clean = self.clean
        found = {"origin": self.origin, "dataset": clean.name, "split": clean.split}
        found |= {"images": len(clean), "fingerprint": clean.fingerprint}
        if self.archive is None:
            found |= {"seed": self.seed, "generator": GENERATOR_VERSION}
            if self.photographs is not None:
                found["photographs"] = photographs_digest(self.photographs)
        else:
            found["digest"] = self.archive.digest
        return found

    def __str__(self) -> str:
        what = f"{self.clean.name} {self.clean.split}, n={len(self.clean):,}"
        if self.archive:
            return f"CIFAR-10-C, official files ({what})"
        return f"corruptions generated with seed {self.seed}, not the official files ({what})"

    def images(self, name: str, severity: int) -> Tensor:
        """All images under one corruption: uint8 (N, 3, 32, 32) on the data set's device.

        Added corruptions are in no archive and are always made.

        Raises:
            ValueError: if the name or the severity is unknown.
            DataError: if a file has become unreadable, or frost lacks its photographs.
        """
        if self.archive is None or name in ADDED:
            return corrupt(
                self.clean.images, name, severity, seed=self.seed, photographs=self.photographs
            )
        return self.archive.images(name, severity, self.clean.ids).to(self.clean.device)


def load(
    clean: Dataset,
    *,
    root: str | Path | None = None,
    official: bool | None = None,
    seed: int = 0,
    photographs: str | Path | None = None,
) -> Corrupted:
    """Find the official archive for a data set, or prepare to generate.

    The archive is of CIFAR-10's test split, or a subset of it, and lies in the folder ``root``, by
    default ``$RSLIB_DATA``. ``official`` is True to insist on it and False to generate even where
    it is; an export is never taken for it. Seed and photographs are as in :class:`Corrupted`.

    Raises:
        DataError: if the archive is damaged or of other images, or insisted on and not there.
    """
    folder = (default_root() if root is None else Path(root).expanduser()) / FOLDER
    lacking = ""
    if clean.name != "cifar10" or clean.split != "test":
        lacking = f"there is none for {clean.name} {clean.split}, only for cifar10 test"
    elif not folder.is_dir():
        lacking = f"{folder} does not exist: get CIFAR-10-C.tar from "
        lacking += "https://zenodo.org/records/2535967 and unpack it there"
    elif (folder / MARKER).is_file():
        lacking = f"{folder} holds generated images ({MARKER})"
    if official and lacking:
        raise DataError(f"the official archive was asked for, but {lacking}.")
    if official is False or lacking:
        return Corrupted(clean, None, seed, photographs)
    archive = Archive(folder)
    if len(archive) != OFFICIAL_IMAGES:
        told = f"{folder}: the official files hold {OFFICIAL_IMAGES:,} images a severity, these "
        raise DataError(f"{told}{len(archive):,}. {_MEND}")
    wrong = archive.labels[clean.ids.cpu()] != clean.labels.cpu()
    if wrong.any():
        told = (
            f"{folder / 'labels.npy'}: {int(wrong.sum()):,} of {len(clean):,} labels differ from "
        )
        told += "those of the CIFAR-10 test images, so these are other images or in another order."
        raise DataError(f"{told} {_MEND}")
    return Corrupted(clean, archive, seed, photographs)


def export(
    clean: Dataset,
    folder: str | Path,
    *,
    seed: int = 0,
    photographs: str | Path | None = None,
    names: Sequence[str] = NAMES,
) -> Path:
    """Write generated images in the official layout, for use with other tools.

    The images keep their order. The folder is made, and may hold nothing but an unfinished export
    of the same, which is finished: each file is whole or absent. The full test set takes 2.9 GB.
    Seed and photographs are as in :class:`Corrupted`.

    Raises:
        DataError: if the folder holds other arrays, or frost lacks its photographs.
        RecordError: if the disk is full or the folder cannot be written.
        ValueError: if a name is unknown.
    """
    for name in names:
        check_name(name)
    folder = Path(folder).expanduser()
    corrupted = Corrupted(clean, None, seed, photographs)
    identity = {"generated by": "rslib.corruptions", **corrupted.identity}
    marker = folder / MARKER
    if marker.is_file():
        try:
            found = read_json(marker)
        except RecordError:
            found = None
        if found != identity:
            raise DataError(f"{folder} holds another export ({MARKER}); choose another folder.")
    elif any(folder.glob("*.npy")):
        told = f"{folder} holds arrays that no export made, perhaps the official archive"
        raise DataError(f"{told}; choose another folder.")
    else:
        write_json(marker, identity)
    with atomic(folder / "labels.npy") as path, open(path, "wb") as file:
        labels = clean.labels.cpu().numpy().astype(np.uint8)
        np.save(file, np.tile(labels, len(SEVERITIES)))
    for name in names:
        target = folder / f"{name}.npy"
        if target.is_file():
            continue
        with atomic(target) as path, open(path, "wb") as file:
            # Not through a memory map: where the disk is full, that ends the process with SIGBUS.
            shape = (len(SEVERITIES) * len(clean), 32, 32, 3)
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for severity in SEVERITIES:
                images = corrupted.images(name, severity).permute(0, 2, 3, 1).cpu().numpy()
                file.write(images.tobytes())
    return folder


def _open(path: Path) -> np.ndarray:
    try:
        return open_array(path)
    except ArrayError as error:
        raise DataError(f"{error}. {_MEND}") from error
