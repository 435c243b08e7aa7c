"""An epoch of CIFAR-10 training as it is usually written, with DataLoader and torchvision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms


class Batches(Protocol):
    """What a DataLoader is to a loop."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def __iter__(self) -> Iterator[Sequence[Tensor]]:
        """The batches of the next epoch."""


AUGMENTED = transforms.Compose(
    [
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
)


class Images(Dataset):
    """Images as torchvision's CIFAR10 keeps and gives them: an array, of which one at a time.

    Args:
        pixels: uint8 (n, 32, 32, 3).
        labels: n whole numbers.
    """

    def __init__(self, pixels: np.ndarray, labels: list[int]) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, k: int) -> tuple[Tensor, int]:
        return AUGMENTED(Image.fromarray(self.pixels[k])), self.labels[k]


def loader(
    pixels: np.ndarray, labels: list[int], *, batch_size: int, workers: int, pinned: bool = False
) -> DataLoader:
    """Shuffled, augmented batches on the CPU, float (B, 3, 32, 32) in [0, 1] with their labels.

    Args:
        pixels: see :class:`Images`.
        labels: see :class:`Images`.
        batch_size: images a batch.
        workers: processes that make them; 0 for none beside this one.
        pinned: whether they are left where a GPU fetches them from fastest.
    """
    return DataLoader(
        Images(pixels, labels),
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        pin_memory=pinned,
    )


def train(
    model: nn.Module,
    batches: Batches,
    *,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    epochs: int = 1,
    bf16: bool = False,
) -> float:
    """Train with SGD and a cosine to zero, on the device of the weights.

    Args:
        model: in any mode.
        batches: gone through once an epoch; images and labels, and what else there may be.
        learning_rate: the first.
        momentum: of SGD.
        nesterov: whether in Nesterov's form.
        weight_decay: of all weights.
        epochs: how many.
        bf16: whether the net computes in bf16 where autocast has it so.

    Returns:
        The mean loss over the last epoch.
    """
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    model.train()
    device = next(model.parameters()).device
    for _ in range(epochs):
        summed = seen = 0.0
        for x, y, *_ in batches:
            x = x.to(device, memory_format=torch.channels_last, non_blocking=True)
            y = y.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            summed += loss.item() * len(y)
            seen += len(y)
    return summed / seen
