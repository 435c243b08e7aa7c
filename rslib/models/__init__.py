"""Networks, and what computing with any network takes: device, memory, determinism, checks."""

import importlib

from rslib.models.networks import BUILDERS as BUILDERS
from rslib.models.networks import CIFAR10_MEAN as CIFAR10_MEAN
from rslib.models.networks import CIFAR10_STD as CIFAR10_STD
from rslib.models.networks import Classifier as Classifier
from rslib.models.networks import Normalize as Normalize
from rslib.models.networks import alexnet as alexnet
from rslib.models.networks import build as build
from rslib.models.networks import count_parameters as count_parameters
from rslib.models.networks import eval_mode as eval_mode
from rslib.models.networks import resnet18 as resnet18
from rslib.models.networks import set_drop_path as set_drop_path
from rslib.models.networks import vit_small as vit_small


def __getattr__(name: str) -> object:
    # Published models are found by the settings and keys of their run, of which no network knows.
    if name == "load_published":
        return importlib.import_module("rslib.run.published").load_published
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
