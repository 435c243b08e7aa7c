"""Training beside plain loops: an epoch, its batches alone, and the paper's ResNet-18 in bf16."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import subjects
from benchmarks.clock import timed
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite
from benchmarks.plain import epoch as plain
from rslib import settings
from rslib.data import Augment, Batch, Batches, Dataset
from rslib.metrics import estimates
from rslib.models.device import cpu_has_bf16, place
from rslib.run import Run
from rslib.settings.schema import Recipe
from rslib.training.loop import fit
from rslib.training.objectives import Standard

NET = "resnet18-standard"
WORKERS = (0, 2)
SEED = 0
WIDTH, NARROW = 64, 8
ON_CPU = "transforms on the CPU, image by image, then each batch to the device"

# Orders and crops differ, and with them the loss of so few steps.
_LOSS, _PIXEL = 0.1, 0.01

FP32, BF16 = "plain loop in fp32", "plain loop in bf16"

# Rounding leads short trainings apart: intervals over images must come within so many points of 0.
_ACCURACY, _EPOCHS = 3.0, 5


class Trained(NamedTuple):
    """The mean loss of some steps, and the seconds of the steps alone."""

    loss: float
    seconds: float


class InTurn:
    """The batches of one epoch after the other, as a plain loop goes through them."""

    def __init__(self, batches: Batches) -> None:
        self.batches, self.epoch = batches, 0

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch."""
        self.epoch += 1
        return self.batches.epoch(self.epoch - 1)


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


def bf16(n: int, checked: int, withheld: int, *, device: torch.device = CPU) -> Suite:
    """Some steps of a full-width ResNet-18 in bf16, beside plain loops in fp32 and in bf16.

    Args:
        n: training images, each once.
        checked: training images of the narrow net whose accuracy is compared.
        withheld: images of this comparison.
        device: where all compute; a CPU without bf16 instructions gives no row.
    """
    name = f"full-width ResNet-18 in bf16, {n:,} training images"
    if device.type == "cpu" and not cpu_has_bf16():
        why = "since this processor lacks AVX512_BF16, without which bf16 is slower than fp32"
        return Suite([], skipped={name: why})
    images = subjects.first(n, of="train").to(device)
    # Of so few steps the schedules differ: a low rate keeps the losses comparable.
    steps = _recipe(1, 0.01)

    def check(answers: Mapping[str, Trained]) -> str:
        told = same_loss({who: answer.loss for who, answer in answers.items()})
        return f"{told}; {same_accuracies(_short_trainings(checked, withheld, device))}"

    def run_plain(bf16: bool) -> Callable[[], Trained]:
        def run() -> Trained:
            net = _net(WIDTH, device)
            loss, seconds = timed(lambda: _plain(net, images, steps, bf16), device)
            return Trained(loss, seconds)

        return run

    def run_ours() -> Trained:
        done = _ours(_net(WIDTH, device), images, steps)
        return Trained(done["train_loss"], done["seconds"])

    def contender(who: str, run: Callable[[], Trained], note: str) -> Contender:
        return Contender(who, run, n, seconds=lambda answer: answer.seconds, note=note)

    return Suite([
        Row(
            name,
            [
                contender(OURS, run_ours, "its checkpoint, once an epoch, is not timed"),
                contender(FP32, run_plain(False), "writes nothing"),
                contender(BF16, run_plain(True), "torch.autocast; writes nothing"),
            ],
            check,
            targets={FP32: 1.9, BF16: 0.97},
            no_floor="bf16 is quicker than the float32 product that floors are taken from",
            note=f"the paper's net, steps of {steps.batch_size} images; all loops go through "
            "rslib's batches in memory, channels-last; a target of 0.97× means no slower, up to "
            "what two rounds of one loop differ by",
            shortfall="steps are the net's own passes, whose times depend on what else the "
            "machine does",
        )
    ])  # fmt: skip


def _short_trainings(
    checked: int, withheld: int, device: torch.device
) -> dict[str, Sequence[bool]]:
    """Which test images a narrow net has right that each of the loops has trained."""
    images, recipe = subjects.first(checked, of="train").to(device), _recipe(_EPOCHS, 0.1)
    nets = {who: _net(NARROW, device) for who in (OURS, FP32, BF16)}
    _ours(nets[OURS], images, recipe)
    for who in (FP32, BF16):
        _plain(nets[who], images, recipe, who == BF16)
    x, y = subjects.images(withheld, device=device)
    with torch.inference_mode():
        return {who: (net.eval()(x).argmax(1) == y).tolist() for who, net in nets.items()}


def same_accuracies(right: Mapping[str, Sequence[bool]]) -> str:
    """Whether nets that were trained alike are as often right, up to what rounding changes.

    Raises:
        Disagreement: they are not.
    """
    told = [f"{OURS} {estimates.accuracy(right[OURS]).value:.1f}%"]
    for who, theirs in right.items():
        if who == OURS:
            continue
        gap = estimates.paired_difference(right[OURS], theirs)
        said = f"{OURS} less {who} {gap.value:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}] points"
        if gap.low > _ACCURACY or gap.high < -_ACCURACY:
            raise Disagreement(f"accuracy after a short training: {said}")
        told.append(said)
    return (
        f"accuracy on {len(theirs):,} test images of a net of width {NARROW} after "
        f"{_EPOCHS} epochs: {', '.join(told)}"
    )


def _recipe(epochs: int, learning_rate: float) -> Recipe:
    """The paper's recipe in bf16, but for epochs and rate."""
    paper = settings.load("paper").training.standard.resnet18
    return paper.model_copy(
        update={"epochs": epochs, "learning_rate": learning_rate, "precision": "bf16"}
    )


def _net(width: int, device: torch.device) -> nn.Module:
    """The paper's net, of a width, with the same initial weights at each call."""
    sized = settings.load("paper", {"device": "cpu", "resnet18": {"width": width}})
    return place(Run(sized, SEED, root=Path("."), progress=False).build(NET), device)


def _ours(net: nn.Module, images: Dataset, recipe: Recipe) -> Mapping[str, float]:
    """Train a net with rslib; what its last epoch measured."""
    with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
        state = fit(
            net, Standard(recipe.label_smoothing), _batches(images, recipe),
            lambda _: {"validation_accuracy": 0.0}, recipe, seed=SEED,
            checkpoint_path=Path(folder, "checkpoint.safetensors"), key="benchmark",
            progress=False,
        )  # fmt: skip
    return state.history[-1]


def _plain(net: nn.Module, images: Dataset, recipe: Recipe, bf16: bool) -> float:
    """Train a net with the plain loop, on the same batches; its mean loss."""
    return plain.train(
        net, InTurn(_batches(images, recipe)), learning_rate=recipe.learning_rate,
        momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=recipe.weight_decay,
        epochs=recipe.epochs, bf16=bf16,
    )  # fmt: skip


def _epoch(images: Dataset, device: torch.device) -> Row:
    recipe = subjects.edition().recipe(NET).model_copy(update={"epochs": 1, "warmup_epochs": 0.0})
    pixels, labels = _arrays(images)
    held = images.to(device)

    def net() -> nn.Module:
        return place(subjects.edition().build(NET), device)

    def run_ours() -> float:
        return _ours(net(), held, recipe)["train_loss"]

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
