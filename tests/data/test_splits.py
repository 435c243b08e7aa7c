"""Validation split and subsets: balanced, nested, seeded, and never overlapping."""

import pytest
import torch

from rslib.data import DataError, Dataset, balanced_subset, split_validation


def labelled(labels, ids=None) -> Dataset:
    labels = torch.as_tensor(labels)
    n = len(labels)
    return Dataset(
        images=torch.zeros(n, 3, 1, 1, dtype=torch.uint8),
        labels=labels,
        classes=tuple("abcdefghij"),
        name="tiny",
        split="train",
        ids=torch.arange(n) if ids is None else ids,
    )


@pytest.fixture(scope="module")
def balanced():
    return labelled(torch.arange(10_000)[torch.randperm(10_000)] % 10)


def counts(dataset):
    return torch.bincount(dataset.labels, minlength=10).tolist()


def ids(dataset):
    return set(dataset.ids.tolist())


def test_the_projects_subsets_are_balanced_and_nested(balanced):
    sizes = (250, 1_000, 2_000, 10_000)
    subsets = [balanced_subset(balanced, n) for n in sizes]
    for n, subset in zip(sizes, subsets, strict=True):
        assert counts(subset) == [n // 10] * 10
        assert subset.ids.tolist() == sorted(ids(subset))
    for small, large in zip(subsets, subsets[1:], strict=False):
        assert ids(small) < ids(large)
    assert subsets[-1].ids.tolist() == list(range(10_000))


def test_every_size_is_nested_and_balanced_to_within_one(balanced):
    part = balanced.subset(range(0, 10_000, 40))
    largest = min(counts(part)) * 10
    before = set()
    for n in range(1, largest + 1):
        subset = balanced_subset(part, n)
        assert len(subset) == n and before < ids(subset)
        assert max(counts(subset)) - min(counts(subset)) <= 1
        before = ids(subset)


def test_a_remainder_favors_no_class():
    extra = torch.zeros(10)
    dataset = labelled(torch.arange(100) % 10)
    for seed in range(200):
        extra += torch.tensor(counts(balanced_subset(dataset, 15, seed=seed))) - 1
    assert extra.sum() == 1_000
    # Each count is binomial(200, 1/2), standard deviation 7.
    assert (extra - 100).abs().max() < 5 * 7.1


def test_the_seed_decides_the_subset_and_nothing_else_does(balanced):
    first, again = (balanced_subset(balanced, 250, seed=3) for _ in range(2))
    assert torch.equal(first.ids, again.ids)
    assert ids(first) != ids(balanced_subset(balanced, 250, seed=4))
    shuffled = balanced.subset(torch.randperm(10_000))
    assert torch.equal(balanced_subset(shuffled, 250, seed=3).ids, first.ids)
    torch.manual_seed(99)
    assert torch.equal(balanced_subset(balanced, 250, seed=3).ids, first.ids)


def test_an_unbalanced_set_still_gives_all_its_images():
    dataset = labelled([0] * 7 + [1] * 2)
    assert counts(balanced_subset(dataset, 4))[:2] == [2, 2]
    assert counts(balanced_subset(dataset, 9))[:2] == [7, 2]


@pytest.mark.parametrize("n", [0, -1, 10_001])
def test_an_impossible_size_is_refused(balanced, n):
    with pytest.raises(DataError, match="10,000"):
        balanced_subset(balanced, n)


def test_validation_is_balanced_disjoint_and_complete(balanced):
    train, validation = split_validation(balanced)
    assert len(validation) == 2_000 and counts(validation) == [200] * 10
    assert counts(train) == [800] * 10
    assert ids(train) | ids(validation) == set(range(10_000))
    assert not ids(train) & ids(validation)
    assert train.ids.tolist() == sorted(ids(train))


def test_validation_does_not_depend_on_any_generators_state(balanced):
    torch.manual_seed(1)
    first = split_validation(balanced)[1].ids
    torch.manual_seed(2)
    assert torch.equal(first, split_validation(balanced)[1].ids)
    assert ids(split_validation(balanced, size=500)[1]) < set(first.tolist())


def test_a_set_too_small_for_the_validation_split_is_refused():
    dataset = labelled(torch.arange(100) % 10)
    train, validation = split_validation(dataset, size=90)
    assert (len(train), len(validation)) == (10, 90)
    for size in (0, 91, 100, 2_000):
        with pytest.raises(DataError, match="smaller validation size"):
            split_validation(dataset, size=size)
    with pytest.raises(DataError):
        split_validation(labelled([0] * 50 + [1] * 2), size=10)
