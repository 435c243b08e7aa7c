"""Small files in CIFAR-10's two official layouts, with the checksums that they have."""

import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np

from rslib.data import cifar10
from rslib.store import downloads

COUNTS = {"train": (3, 2, 4, 1, 2), "test": (5,)}


class Python2Pickler(pickle._Pickler):
    """Writes byte strings with Python 2's opcode, as the official files have them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def pickled(value) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def batch(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random flat images (n, 3072) and labels (n,)."""
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, 256, (n, 3072), dtype=np.uint8),
        generator.integers(0, 10, n, dtype=np.uint8),
    )


def contents(split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    return [batch(n, seed=10 * n + i) for i, n in enumerate(COUNTS[split])]


def encode(layout, data: np.ndarray, labels: np.ndarray) -> bytes:
    if layout is cifar10.BINARY:
        return np.concatenate([labels[:, None], data], axis=1).tobytes()
    names = [b"image_%d.png" % i for i in range(len(data))]
    return pickled(
        {
            b"batch_label": b"testing batch 1 of 1",
            b"labels": labels.tolist(),
            b"data": data,
            b"filenames": names,
        }
    )


def write(root, layout, monkeypatch):
    """Write both splits in a layout and make their checksums the expected ones."""
    folder = root / layout.folder
    folder.mkdir()
    files = {}
    for split, official in layout.files.items():
        files[split] = []
        for file, (data, labels) in zip(official, contents(split), strict=True):
            blob = encode(layout, data, labels)
            (folder / file.name).write_bytes(blob)
            checksum = hashlib.new(layout.algorithm, blob).hexdigest()
            files[split].append(cifar10.File(file.name, checksum, len(blob)))
        files[split] = tuple(files[split])
    written = cifar10.Layout(layout.folder, layout.algorithm, files, layout.parse)
    layouts = tuple(written if known is layout else known for known in cifar10.LAYOUTS)
    monkeypatch.setattr(cifar10, "LAYOUTS", layouts)
    return folder


def archive(path, members: dict[str, bytes]) -> None:
    """Write a tar.gz."""
    with tarfile.open(path, "w:gz") as tar:
        for name, blob in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            tar.addfile(info, io.BytesIO(blob))


def remote(url: str, blob: bytes) -> downloads.Remote:
    """A file at an address, with its size and checksums."""
    return downloads.Remote(
        url, len(blob), hashlib.md5(blob).hexdigest(), hashlib.sha256(blob).hexdigest()
    )
