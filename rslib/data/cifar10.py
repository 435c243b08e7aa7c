"""CIFAR-10 from its official files (Krizhevsky 2009; paper section 3.1.1).

Two official layouts are read, and give identical data: ``cifar-10-batches-py``, which torchvision
downloads (pickled dictionaries, MD5 sums), and ``cifar-10-batches-bin`` (one label byte and 3,072
pixel bytes an image, SHA-1 sums). Where both are complete, the first is read. A file is parsed only
after its checksum has been found right, and the pickles only by an unpickler that can build numpy
arrays and nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rslib.data.datasets import DataError, Dataset, check_split
from rslib.settings import environment
from rslib.store import downloads

CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
PIXELS = 3 * 32 * 32
ENVIRONMENT = "RSLIB_DATA"
#: Images uint8 (n, 3, 32, 32) and labels int64 (n,).
Arrays = tuple[np.ndarray, np.ndarray]


class File(NamedTuple):
    """An official file: its name, the checksum that decides, and its size for the error message."""

    name: str
    checksum: str
    size: int


class Layout(NamedTuple):
    """An official layout: its folder, its files by split, and how to check and read one."""

    folder: str
    algorithm: str
    files: dict[str, tuple[File, ...]]
    parse: Callable[[bytes], Arrays]


def load(split: str, *, root: str | Path | None = None, download: bool = False) -> Dataset:
    """Read a split of CIFAR-10 from either official layout, in the official order, without masks.

    Args:
        split: ``"train"`` (50,000 images) or ``"test"`` (10,000).
        root: the folder that holds a layout's folder; by default :func:`default_root`.
        download: fetch the files (163 MB) if they are missing or damaged; see
            :mod:`rslib.store.downloads`.

    Raises:
        DataError: if a file is missing, truncated, altered, or cannot be downloaded; none changes.
        ValueError: if the split is unknown.
    """
    check_split(split)
    root = default_root() if root is None else Path(root).expanduser()
    try:
        found = _read(root, split)
    except DataError:
        if not download:
            raise
        found = _download(root, split)
    images, labels = map(torch.from_numpy, found)
    return Dataset(images, labels, CLASSES, "cifar10", split, ids=torch.arange(len(labels)))


def default_root() -> Path:
    """The folder of data: ``$RSLIB_DATA``, else ``data/`` in the project's root.

    An installed copy of the package has no project around it, and takes the current folder's.
    """
    if named := environment.folder(ENVIRONMENT):
        return named
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "data"


def parse_bin(blob: bytes) -> Arrays:
    """Read the binary layout: per image one label byte, then 1,024 red, green and blue bytes each.

    Raises:
        DataError: if the bytes are not whole images with labels 0 to 9.
    """
    record = 1 + PIXELS
    if len(blob) == 0 or len(blob) % record:
        raise DataError(f"{len(blob):,} bytes are not a whole number of {record:,}-byte images")
    rows = np.frombuffer(blob, dtype=np.uint8).reshape(-1, record)
    return _checked(rows[:, 1:], rows[:, 0])


def parse_py(blob: bytes) -> Arrays:
    """Read the Python layout: a pickled dictionary with ``data`` (n, 3072) and ``labels``.

    Raises:
        DataError: if it is not such a dictionary, or asks for anything but numpy arrays. Whatever
            it asks for is not run.
    """
    try:
        batch = _ArrayUnpickler(io.BytesIO(blob), encoding="bytes").load()
        data, labels = batch[b"data"], batch[b"labels"]
        numbers = np.asarray(labels)
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(f"not a CIFAR-10 batch: {type(error).__name__}: {error}") from error
    if not isinstance(data, np.ndarray) or not isinstance(labels, list):
        found = f"data is a {type(data).__name__} and labels a {type(labels).__name__}"
        raise DataError(f"not a CIFAR-10 batch: {found}, expected ndarray and list")
    return _checked(data, numbers)


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows the names numpy arrays are made of and refuses every other."""

    # numpy moved the module in 2.0; the official files carry the old name. The function is taken
    # from an array, since its module's name depends on the numpy installed.
    _reconstruct = np.empty(0).__reduce__()[0]
    _allowed = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"refused to load {module}.{name}")
        return self._allowed[module, name]


def _checked(pixels: np.ndarray, labels: np.ndarray) -> Arrays:
    """Images and labels, if these are uint8 (n, 3072) with n labels 0 to 9."""
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS) or labels.ndim != 1:
        got = f"{pixels.dtype} {pixels.shape} and {labels.shape}"
        raise DataError(f"expected uint8 pixels (n, {PIXELS}) and n labels, got {got}")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(CLASSES):
        raise DataError(f"expected labels 0 to {len(CLASSES) - 1}")
    # Planar in the file: all red values row by row, then green, then blue.
    return pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64)


def _files(ending: str, sums: str, sizes: list[int]) -> dict[str, tuple[File, ...]]:
    """Five training files and the test file, each with its checksum and size."""
    names = [*(f"data_batch_{number}{ending}" for number in range(1, 6)), f"test_batch{ending}"]
    files = tuple(map(File, names, sums.split(), sizes))
    return {"train": files[:5], "test": files[5:]}


_MD5 = """c99cafc152244af753f735de768cd75f d4bba439e000b95fd0a9bffe97cbabec
          54ebc095f3ab1f0389bbae665268c751 634d18415352ddfa80567beed471001a
          482c414d41f54cd18b22e5b47cb7c3cb 40351d587109b95175f43aff81a1287e"""
_SHA1 = """aadd24acce27caa71bf4b10992e9e7b2d74c2540 c0ba65cce70568cd57b4e03e9ac8d2a5367c1795
           1dd00a74ab1d17a6e7d73e185b69dbf31242f295 aab85764eb3584312d3c7f65fd2fd016e36a258e
           26e2849e66a845b7f1e4614ae70f4889ae604628 67eb016db431130d61cd03c7ad570b013799c88c"""
_SIZES = [31_035_704, 31_035_320, 31_035_999, 31_035_696, 31_035_623, 31_035_526]

PYTHON = Layout("cifar-10-batches-py", "md5", _files("", _MD5, _SIZES), parse_py)
BINARY = Layout("cifar-10-batches-bin", "sha1", _files(".bin", _SHA1, [30_730_000] * 6), parse_bin)
LAYOUTS = (PYTHON, BINARY)
ARCHIVE = downloads.Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    170_498_071,
    "c58f30108f718f92721af3b95e74349a",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
_PART = ".cifar-10-python.tar.gz.part"  # what has arrived of it
_UNPACKED = 200_000_000  # bytes of all members; the official ones have 186 million


_REMEDY = (
    f"Set {ENVIRONMENT} to the folder that holds it, or download it (163 MB): "
    "python -c \"from rslib.data import load; load('cifar10', 'train', download=True)\""
)


def _read(root: Path, split: str) -> Arrays:
    """The images and labels of the layout found under `root`."""
    started, layout, parts = [], None, []
    for each in LAYOUTS:
        folder = root / each.folder
        missing = [file.name for file in each.files[split] if not (folder / file.name).is_file()]
        if not missing:
            layout = each
            break
        if folder.is_dir():
            started.append(f"{folder} lacks {', '.join(missing)}")
    if started and layout is None:
        raise DataError(f"CIFAR-10 is incomplete: {'; '.join(started)}. {_REMEDY}")
    if layout is None:
        folders = " or ".join(each.folder for each in LAYOUTS)
        raise DataError(f"CIFAR-10 is not there: looked for {folders} in {root}. {_REMEDY}")
    for file in layout.files[split]:
        path = root / layout.folder / file.name
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}.") from error
        checksum = hashlib.new(layout.algorithm, blob, usedforsecurity=False).hexdigest()
        if checksum != file.checksum:
            official = f"the official file's {file.checksum}"
            trouble = f"altered: its {layout.algorithm} is {checksum}, {official}"
            if len(blob) < file.size:
                trouble = f"truncated: {len(blob):,} of {file.size:,} bytes"
            raise DataError(f"{path} is {trouble}. Remove it, then fetch it again. {_REMEDY}")
        try:
            parts.append(layout.parse(blob))
        except DataError as error:
            raise DataError(f"{path}: {error}. Remove it. {_REMEDY}") from error
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _download(root: Path, split: str) -> Arrays:
    """Fetch the Python layout, unless another process has meanwhile, and read it."""
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".cifar10.lock"):
            with contextlib.suppress(DataError):
                return _read(root, split)
            for left in root.glob(".cifar10-*"):  # of a process that was killed as it unpacked
                shutil.rmtree(left, ignore_errors=True)
            downloads.fetch(ARCHIVE, root / _PART)
            with tempfile.TemporaryDirectory(dir=root, prefix=".cifar10-") as scratch:
                try:
                    _unpack(root / _PART, scratch)
                    _read(Path(scratch), split)
                except (DataError, EOFError, tarfile.TarError, zlib.error) as error:
                    (root / _PART).unlink()
                    raise OSError(f"the archive cannot be used ({error})") from error
                target = root / PYTHON.folder
                target.mkdir(exist_ok=True)
                for path in sorted((Path(scratch) / PYTHON.folder).iterdir()):
                    os.replace(path, target / path.name)
            (root / _PART).unlink()
    except OSError as error:
        raise DataError(
            f"CIFAR-10 could not be downloaded from {ARCHIVE.url} to {root}: {error}. Check the "
            "network and the free space (500 MB while it is unpacked), or copy "
            f"{PYTHON.folder} or {BINARY.folder} there from another machine."
        ) from error
    return _read(root, split)


def _unpack(path: Path, folder: str) -> None:
    """Unpack an archive once the sizes of its members were looked at."""
    with tarfile.open(path) as archive:
        total = 0
        for member in archive:
            total += member.size
            if total > _UNPACKED:
                raise tarfile.TarError(f"its members would take more than {_UNPACKED:,} bytes")
        # Refuses members that would lie, or point, outside the folder.
        archive.extractall(folder, filter="data")
