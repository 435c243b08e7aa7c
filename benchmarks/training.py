"""One training epoch, and its batches alone, against DataLoader and torchvision's transforms."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite
from benchmarks.plain import epoch as plain
from rslib.data import Augment, Batches, Dataset
from rslib.device import place
from rslib.schema import Recipe
from rslib.training.loop import fit
from rslib.training.objectives import Standard

NET = "resnet18-standard"
WORKERS = (0, 2)
SEED = 0
ON_CPU = "transforms on the CPU, image by image, then each batch to the device"

# Orders and crops differ, and with them the loss of so few steps.
_LOSS, _PIXEL = 0.1, 0.01


class Seen(NamedTuple):
    """What an epoch's batches held: images, their mean pixel value, and the count of each class."""

    images: int
    mean: float
    classes: list[int]


def training(n: int, batches_of: int, *, device: torch.device = CPU) -> Suite:
    """One epoch of n training images; the batches alone of an epoch of so many.

    rslib has its images on the device from before, as from the second epoch of a training on. The
    others make each batch on the CPU, where torchvision's transforms of images work, and move it.
    """
    return Suite(
        [
            _epoch(subjects.first(n, of="train"), device),
            _batches_alone(subjects.first(batches_of, of="train"), device),
        ]
    )


def _epoch(images: Dataset, device: torch.device) -> Row:
    recipe = subjects.edition().recipe(NET).model_copy(update={"epochs": 1, "warmup_epochs": 0.0})
    pixels, labels = _arrays(images)
    held = images.to(device)

    def net() -> nn.Module:
        return place(subjects.edition().build(NET), device)

    def run_ours() -> float:
        with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
            state = fit(
                net(),
                Standard(recipe.label_smoothing),
                _batches(held, recipe),
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
                _loaded(pixels, labels, recipe, workers, device),
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
            *(Contender(name, run, len(images), note=ON_CPU) for name, run in peers.items()),
        ],
        same_loss,
        targets=dict.fromkeys(peers, 1.3),
        moved=images.images[0].nbytes,
        warm_up=False,
        note="the same net, initial weights and recipe, channels-last; validation left out",
        shortfall="on a CPU nearly all of an epoch is the net's own passes, which both share; what "
        "differs is in the row on the batches alone",
    )


def _batches_alone(images: Dataset, device: torch.device) -> Row:
    recipe = subjects.edition().recipe(NET)
    pixels, labels = _arrays(images)
    held, n, classes = images.to(device), len(images), len(images.classes)

    def seen(batches: Iterable[Sequence[Tensor]]) -> Seen:
        # Read once at the end: to read a number from a GPU is to wait for it.
        count, total = 0, torch.zeros((), dtype=torch.float64, device=device)
        labels = torch.zeros(classes, dtype=torch.int64, device=device)
        for x, y, *_ in batches:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            count += len(x)
            total += x.sum()
            labels += torch.bincount(y, minlength=classes)
        return Seen(count, float(total) / (count * x[0].numel()), labels.tolist())

    def run_plain(workers: int) -> Callable[[], Seen]:
        def run() -> Seen:
            torch.manual_seed(SEED)
            return seen(_loaded(pixels, labels, recipe, workers, device))

        return run

    return Row(
        f"the batches of an epoch alone, {n:,} images",
        [
            Contender(OURS, lambda: seen(_batches(held, recipe)), n),
            *(
                Contender(_loader(workers), run_plain(workers), n, note=ON_CPU)
                for workers in WORKERS
            ),
        ],
        same_images,
        moved=5 * images.images[0].nbytes,  # as bytes, and as floats of four bytes
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
        images,
        recipe.batch_size,
        device=images.device,
        shuffle=True,
        augment=augment,
        seed=SEED,
        channels_last=True,
    )


def _loaded(
    pixels: np.ndarray, labels: list[int], recipe: Recipe, workers: int, device: torch.device
) -> DataLoader:
    return plain.loader(
        pixels,
        labels,
        batch_size=recipe.batch_size,
        workers=workers,
        pinned=device.type == "cuda",
    )


def _loader(workers: int) -> str:
    return f"DataLoader, {workers} workers"


def _arrays(images: Dataset) -> tuple[np.ndarray, list[int]]:
    """Pixels (n, 32, 32, 3) and labels as torchvision keeps them."""
    return images.images.permute(0, 2, 3, 1).contiguous().numpy(), images.labels.tolist()
