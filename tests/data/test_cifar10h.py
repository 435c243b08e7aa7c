"""CIFAR-10H is read where it lies, or refused with a reason."""

import numpy as np
import pytest
import torch

from rslib.data import DataError, cifar10h
from rslib.data.datasets import DataError as Same


def counts():
    made = np.zeros((10_000, 10), dtype=np.uint8)
    made[np.arange(10_000), np.arange(10_000) % 10] = 50
    made[:, 0] += 1
    return made


def test_both_layouts_are_read(tmp_path):
    assert cifar10h.find(tmp_path) is None
    np.savez(tmp_path / "cifar10h-counts.npz", counts=counts())
    from_npz = cifar10h.load(tmp_path)
    np.save(tmp_path / "cifar10h-counts.npy", counts().astype(np.float64))
    assert cifar10h.find(tmp_path).suffix == ".npy"
    assert torch.equal(cifar10h.load(tmp_path), from_npz)
    assert from_npz.dtype == torch.int64
    assert from_npz.sum() == 51 * 10_000


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (counts()[:5], "needed"),
        (counts() - 60.5, "needed"),
        (np.zeros((10_000, 10)), "nobody chose"),
        (np.array([{"a": 1}], dtype=object), "cannot be read"),
    ],
)
def test_other_files_are_refused(tmp_path, made, said):
    np.save(tmp_path / "cifar10h-counts.npy", made, allow_pickle=True)
    with pytest.raises(DataError, match=said):
        cifar10h.load(tmp_path)


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(Same, match="put cifar10h-counts.npy there"):
        cifar10h.load(tmp_path)
    (tmp_path / "cifar10h-counts.npz").write_bytes(b"no zip")
    with pytest.raises(DataError, match="cannot be read"):
        cifar10h.load(tmp_path)
