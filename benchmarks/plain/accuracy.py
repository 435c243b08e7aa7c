"""Clean accuracy by a short script: what a first number costs at the least.

python -m benchmarks.plain.accuracy WEIGHTS 2000 cifar10 cpu
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from rslib import data, models, settings
from rslib.models.device import pick, place
from rslib.run import Run
from rslib.training import checkpoint

PARAMS = str(settings.PROJECT / "book/published/cpu/params.yaml")
"""The profile that the published nets were made with."""


@torch.inference_mode()
def accuracy(model: nn.Module, dataset: data.Dataset, batch_size: int) -> float:
    """Share of the images that the model gets right, on the device of its weights."""
    device, right = next(model.parameters()).device, 0
    for images, labels in zip(
        dataset.images.split(batch_size), dataset.labels.split(batch_size), strict=True
    ):
        x = images.to(device).float().div(255).to(memory_format=torch.channels_last)
        right += int((model(x).argmax(1) == labels.to(device)).sum())
    return right / len(dataset)


def test_images(dataset: str, n: int) -> data.Dataset:
    """The balanced test images that the profile gives when asked for so many."""
    return Run(settings.load(PARAMS, {"data": {"name": dataset, "test_size": n}})).data("test")


def main() -> None:
    """Print the accuracy of a published ResNet-18."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=int)
    parser.add_argument("dataset")
    parser.add_argument("device")
    chosen = parser.parse_args()
    profile = settings.load(PARAMS)
    net = models.build("resnet18", **profile.resnet18.model_dump())
    checkpoint.load_weights(chosen.weights, net)
    net = place(net, pick(chosen.device)).eval()
    images = test_images(chosen.dataset, chosen.images)
    print(accuracy(net, images, profile.evaluation.batch_size))


if __name__ == "__main__":
    main()
