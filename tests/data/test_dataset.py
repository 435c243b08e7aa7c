"""The Dataset type: what it refuses, its subsets, and its fingerprint."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from rslib.data import Dataset


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(0)
    return Dataset(
        images=torch.randint(0, 256, (6, 3, 4, 5), dtype=torch.uint8, generator=generator),
        labels=torch.tensor([0, 1, 2, 0, 1, 2]),
        classes=("a", "b", "c"),
        name="tiny",
        split="train",
        ids=torch.tensor([10, 11, 12, 13, 14, 15]),
        masks=torch.rand(6, 4, 5, generator=generator) < 0.5,
        attributes={"place": torch.arange(12.0).view(6, 2)},
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("images", torch.zeros(6, 3, 4, 5)),
        ("images", torch.zeros(6, 4, 5, 3, dtype=torch.uint8)),
        ("images", torch.zeros(0, 3, 4, 5, dtype=torch.uint8)),
        ("labels", torch.zeros(5, dtype=torch.int64)),
        ("labels", torch.zeros(6, dtype=torch.int32)),
        ("labels", torch.tensor([0, 1, 2, 0, 1, 3])),
        ("labels", torch.tensor([0, 1, 2, 0, 1, -1])),
        ("ids", torch.tensor([0, 1, 2, 3, 4, 4])),
        ("masks", torch.zeros(6, 4, 5, dtype=torch.uint8)),
        ("masks", torch.zeros(6, 5, 4, dtype=torch.bool)),
        ("attributes", {"place": torch.zeros(5)}),
        ("split", "validation"),
    ],
)
def test_a_wrong_field_is_named(dataset, field, value):
    with pytest.raises(ValueError, match=field):
        replace(dataset, **{field: value})


def test_subset_takes_every_field_along_in_the_order_asked(dataset):
    part = dataset.subset([4, 1])
    assert part.ids.tolist() == [14, 11] and part.labels.tolist() == [1, 1]
    assert torch.equal(part.images[0], dataset.images[4])
    assert torch.equal(part.masks[1], dataset.masks[1])
    assert part.attributes["place"].tolist() == [[8.0, 9.0], [2.0, 3.0]]
    assert (part.name, part.split, part.classes) == ("tiny", "train", ("a", "b", "c"))
    assert part.subset(torch.tensor([1])).ids.tolist() == [11]


def test_subset_accepts_arrays_and_masks(dataset):
    assert dataset.subset(np.array([0, 5])).ids.tolist() == [10, 15]
    assert dataset.subset(dataset.labels == 2).ids.tolist() == [12, 15]


def test_subset_refuses_what_is_not_there(dataset):
    for indices in ([6], [-1], torch.tensor([True, False])):
        with pytest.raises(IndexError):
            dataset.subset(indices)
    for indices in ([], [1, 1]):
        with pytest.raises(ValueError):
            dataset.subset(indices)


def test_fingerprint_is_of_the_documented_bytes(dataset):
    digest = hashlib.sha256(b"tiny\ntrain\n")
    for name, value in (
        ("images", dataset.images),
        ("labels", dataset.labels),
        ("masks", dataset.masks),
        ("ids", dataset.ids),
    ):
        digest.update(f"{name} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    assert dataset.fingerprint == digest.hexdigest()


def test_fingerprint_changes_with_each_field_and_only_then(dataset):
    images = dataset.images.clone()
    images[3, 1, 2, 2] ^= 1
    masks = dataset.masks.clone()
    masks[0, 0, 0] ^= True
    changed = [
        replace(dataset, images=images),
        replace(dataset, labels=dataset.labels.flip(0)),
        replace(dataset, masks=masks),
        replace(dataset, masks=None),
        replace(dataset, ids=dataset.ids + 1),
        replace(dataset, split="test"),
        replace(dataset, name="other"),
    ]
    prints = {dataset.fingerprint} | {other.fingerprint for other in changed}
    assert len(prints) == 1 + len(changed)
    same = replace(dataset, images=dataset.images.transpose(2, 3).contiguous().transpose(2, 3))
    assert same.fingerprint == dataset.fingerprint
    assert dataset.subset(range(6)).fingerprint == dataset.fingerprint


def test_to_the_same_device_is_the_set_itself(dataset):
    assert dataset.to("cpu") is dataset
