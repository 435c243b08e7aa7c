"""Class-balanced splits and subsets: what a model is selected on, and what it is scored on."""

from __future__ import annotations

import numpy as np

from rslib.data.datasets import DataError, Dataset

# One number for the whole project, so that no run's seed can move an image between the splits.
_VALIDATION_SEED = 20_090_408


def split_validation(dataset: Dataset, *, size: int = 2_000) -> tuple[Dataset, Dataset]:
    """Withhold class-balanced validation images from a training set.

    The choice depends on the dataset and on `size` alone, never on a run's seed, so every model of
    the project is selected on the same images and trained on none of them. A smaller validation set
    is contained in a larger one; its classes differ by at most one image. Both sets, the rest and
    the validation set, are in ascending order of ids.

    Raises:
        DataError: if a class has too few images to give its share and keep one for training.
    """
    order = _balanced_order(dataset, seed=_VALIDATION_SEED)
    labels = dataset.labels.cpu().numpy()
    counts = np.bincount(labels, minlength=len(dataset.classes))
    shares = np.bincount(labels[order[: max(size, 0)]], minlength=len(dataset.classes))
    if size < 1 or size >= len(dataset) or (shares >= counts).any():
        raise DataError(
            f"cannot withhold {size:,} class-balanced validation images from the {len(dataset):,} "
            f"of {dataset.name} {dataset.split}: its smallest class has {counts.min():,}. Choose a "
            "smaller validation size or a larger training set."
        )
    return _ascending(dataset, order[size:]), _ascending(dataset, order[:size])


def balanced_subset(dataset: Dataset, n: int, *, seed: int = 0) -> Dataset:
    """A seeded class-balanced subset; with one seed, smaller subsets are contained in larger ones.

    Classes differ by at most one image, as long as each has enough; ids ascend.

    Raises:
        DataError: if the set has fewer than `n` images, or `n` is not positive.
    """
    if not 1 <= n <= len(dataset):
        raise DataError(
            f"cannot take {n:,} images from the {len(dataset):,} of {dataset.name} "
            f"{dataset.split}: choose 1 to {len(dataset):,}."
        )
    return _ascending(dataset, _balanced_order(dataset, seed=seed)[:n])


def halves(dataset: Dataset, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Two class-balanced halves that share no image, each in ascending order of ids.

    In each, classes differ by at most two images.

    Raises:
        DataError: if there are fewer than two images.
    """
    if len(dataset) < 2:
        raise DataError(f"cannot halve {len(dataset)} image of {dataset.name} {dataset.split}.")
    order = _balanced_order(dataset, seed=seed)
    middle = -(-len(order) // 2)
    return _ascending(dataset, order[:middle]), _ascending(dataset, order[middle:])


def _balanced_order(dataset: Dataset, *, seed: int) -> np.ndarray:
    """Positions of all images, each prefix of which is class-balanced: int64 (N,).

    The images of each class are shuffled and dealt out in rounds, one of each class a round; the
    order of the classes is shuffled anew for each round, so that a remainder favours no class.
    """
    generator = np.random.default_rng(seed)
    labels = dataset.labels.cpu().numpy()
    # Sorted by ids first: the choice must not depend on the order the images happen to be in.
    by_id = np.argsort(dataset.ids.cpu().numpy(), kind="stable")
    by_id = by_id[generator.permutation(len(labels))]
    rounds = np.empty(len(labels), dtype=np.int64)
    for label in range(len(dataset.classes)):
        members = by_id[labels[by_id] == label]
        rounds[members] = np.arange(len(members))
    turns = generator.random((int(rounds.max()) + 1, len(dataset.classes)))
    return np.lexsort((turns[rounds, labels], rounds))


def _ascending(dataset: Dataset, positions: np.ndarray) -> Dataset:
    ids = dataset.ids.cpu().numpy()[positions]
    return dataset.subset(positions[np.argsort(ids, kind="stable")])
