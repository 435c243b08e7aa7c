"""Networks, and what computing with any network takes: device, memory, determinism, checks."""

import importlib
from typing import Any

from rslib.models.networks import (
    BUILDERS,
    CIFAR10_MEAN,
    CIFAR10_STD,
    AlexNet,
    Classifier,
    Normalize,
    alexnet,
    build,
    count_parameters,
    eval_mode,
    resnet18,
    set_drop_path,
    vit_small,
)

__all__ = [
    "BUILDERS",
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "AlexNet",
    "Classifier",
    "Normalize",
    "alexnet",
    "build",
    "count_parameters",
    "eval_mode",
    "load_published",
    "resnet18",
    "set_drop_path",
    "vit_small",
]


def __getattr__(name: str) -> Any:
    # Published models are found by the settings and keys of their run, of which no network knows.
    if name == "load_published":
        return importlib.import_module("rslib.run.published").load_published
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
