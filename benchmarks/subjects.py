"""What is measured on: the published narrow nets and the first images of CIFAR-10."""

from __future__ import annotations

import copy
import functools
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.harness import CPU
from rslib import data, models
from rslib.models.device import place
from rslib.run import Run, published

PROFILE = "cpu"


def edition() -> Run:
    """The published run, for reading."""
    return published.find(PROFILE)


def weights(name: str) -> Path:
    """The file of a published net's weights, such as that of ``"resnet18-adversarial"``.

    Raises:
        rslib.store.records.RecordError: it is not there, or is not the file its summary describes.
    """
    return published.weights(edition(), name)


@functools.cache
def trained(name: str) -> nn.Module:
    """A published net, on the CPU in eval mode. Unlike ``Run.trained``, asks for no images."""
    return place(models.load_published(PROFILE, name), CPU)


def another(name: str, device: torch.device = CPU) -> nn.Module:
    """A copy of a net for one contender alone, so that nobody's hooks or flags meet another's."""
    return place(copy.deepcopy(trained(name)), device)


@functools.cache
def split(name: str) -> data.Dataset:
    """CIFAR-10's ``"train"`` or ``"test"``.

    Raises:
        rslib.data.DataError: it is not there; says how to get it.
    """
    return data.load("cifar10", name)


def first(n: int, *, of: str = "test") -> data.Dataset:
    """The first images of a split."""
    return split(of).subset(range(n))


def images(n: int, *, start: int = 0, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """Test images in [0, 1], (n, 3, 32, 32) float32 channels-last, and their labels (n,)."""
    part, test = slice(start, start + n), split("test")
    x = test.images[part].float().div(255).contiguous(memory_format=torch.channels_last)
    return x.to(device), test.labels[part].to(device)


def pixels(n: int) -> Tensor:
    """The same test images as uint8 (n, 3, 32, 32)."""
    return split("test").images[:n]
