"""One training epoch, and its batches alone, against DataLoader and torchvision's transforms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import subjects
from benchmarks.harness import OURS, Contender, Disagreement, Row, Suite
from benchmarks.plain import epoch as plain
from rslib.data import Augment, Batches, Dataset
from rslib.schema import Recipe
from rslib.training.loop import fit
from rslib.training.objectives import Standard

NET = "resnet18-standard"
WORKERS = (0, 2)
SEED = 0

# Orders and crops differ, and with them the loss of so few steps.
_LOSS, _PIXEL = 0.1, 0.01


class Seen(NamedTuple):
    """What an epoch's batches held: images, their mean pixel value, and the count of each class."""

    images: int
    mean: float
    classes: list[int]


def training(n: int, batches_of: int) -> Suite:
    """One epoch of n training images; the batches alone of an epoch of so many."""
    return Suite([_epoch(subjects.first(n, of="train")), _batches_alone(batches_of)])


def _epoch(images: Dataset) -> Row:
    recipe = subjects.edition().recipe(NET).model_copy(update={"epochs": 1, "warmup_epochs": 0.0})
    pixels, labels = _arrays(images)

    def net() -> nn.Module:
        return subjects.edition().build(NET).cpu()

    def run_ours() -> float:
        with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
            state = fit(
                net(),
                Standard(recipe.label_smoothing),
                _batches(images, recipe),
                lambda model: {"validation_accuracy": 0.0},
                recipe,
                seed=SEED,
                checkpoint_path=Path(folder, "checkpoint.safetensors"),
                key="benchmark",
                progress=False,
            )
        return state.history[0]["train_loss"]

    def run_plain(workers: int) -> Callable[[], float]:
        def run() -> float:
            torch.manual_seed(SEED)
            return plain.train(
                net(),
                plain.loader(pixels, labels, batch_size=recipe.batch_size, workers=workers),
                learning_rate=recipe.learning_rate,
                momentum=recipe.momentum,
                nesterov=recipe.nesterov,
                weight_decay=recipe.weight_decay,
            )

        return run

    peers = {_loader(workers): run_plain(workers) for workers in WORKERS}
    return Row(
        f"one training epoch, {len(images):,} images",
        [
            Contender(OURS, run_ours, len(images), note="also writes its checkpoint"),
            *(Contender(name, run, len(images)) for name, run in peers.items()),
        ],
        same_loss,
        targets=dict.fromkeys(peers, 1.3),
        warm_up=False,
        note="the same net, initial weights and recipe, channels-last; validation left out",
        shortfall="on a CPU nearly all of an epoch is the net's own passes, which both share; what "
        "differs is in the row on the batches alone",
    )


def _batches_alone(n: int) -> Row:
    images = subjects.first(n, of="train")
    recipe = subjects.edition().recipe(NET)
    pixels, labels = _arrays(images)
    classes = len(images.classes)

    def seen(batches: Iterable[Sequence[Tensor]]) -> Seen:
        count, total, labels = 0, 0.0, torch.zeros(classes, dtype=torch.int64)
        for x, y, *_ in batches:
            count += len(x)
            total += float(x.sum())
            labels += torch.bincount(y, minlength=classes)
        return Seen(count, total / (count * x[0].numel()), labels.tolist())

    def run_plain(workers: int) -> Callable[[], Seen]:
        def run() -> Seen:
            torch.manual_seed(SEED)
            return seen(plain.loader(pixels, labels, batch_size=recipe.batch_size, workers=workers))

        return run

    return Row(
        f"the batches of an epoch alone, {n:,} images",
        [
            Contender(OURS, lambda: seen(_batches(images, recipe)), n),
            *(Contender(_loader(workers), run_plain(workers), n) for workers in WORKERS),
        ],
        same_images,
        note="shuffled, cropped, flipped, as floats, without a net; workers are started anew, as "
        "for every epoch",
    )


def same_loss(answers: Mapping[str, float]) -> str:
    """Whether the mean training losses agree up to the order of the images.

    Raises:
        Disagreement: they do not.
    """
    ours = answers[OURS]
    for who, loss in answers.items():
        if not abs(loss - ours) <= _LOSS * ours:
            raise Disagreement(f"training loss: {OURS} {ours:.3f}, {who} {loss:.3f}")
    return "mean training loss: " + ", ".join(f"{who} {v:.3f}" for who, v in answers.items())


def same_images(answers: Mapping[str, Seen]) -> str:
    """Whether the batches hold the same images, as bright on the mean after crops and flips.

    Raises:
        Disagreement: they do not.
    """
    ours = answers[OURS]
    for who, seen in answers.items():
        if (seen.images, seen.classes) != (ours.images, ours.classes):
            raise Disagreement(f"{who} gives other images than {OURS}")
        if not abs(seen.mean - ours.mean) <= _PIXEL:
            raise Disagreement(f"mean pixel: {OURS} {ours.mean:.4f}, {who} {seen.mean:.4f}")
    return "the same images; mean pixel " + ", ".join(
        f"{who} {seen.mean:.4f}" for who, seen in answers.items()
    )


def _batches(images: Dataset, recipe: Recipe) -> Batches:
    augment = Augment(flip=recipe.flip, padding=recipe.padding)
    return Batches(
        images, recipe.batch_size, shuffle=True, augment=augment, seed=SEED, channels_last=True
    )


def _loader(workers: int) -> str:
    return f"DataLoader, {workers} workers"


def _arrays(images: Dataset) -> tuple[np.ndarray, list[int]]:
    """Pixels (n, 32, 32, 3) and labels as torchvision keeps them."""
    return images.images.permute(0, 2, 3, 1).contiguous().numpy(), images.labels.tolist()
