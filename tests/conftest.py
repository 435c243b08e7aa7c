"""Shared set-up: few threads, no network, small data and nets made on the spot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from rslib import settings
from rslib.run import Run

TINY = {
    "data": {"name": "shapes", "train_size": 120, "test_size": 60, "validation_size": 40},
    "resnet18": {"width": 8},
    "vit_small": {"dim": 16, "depth": 1, "heads": 2, "patch": 8},
    "training": {
        "standard": {
            "resnet18": {"epochs": 3, "batch_size": 40},
            "vit_small": {"epochs": 2, "optimizer": "adamw", "batch_size": 40},
            "alexnet": {"epochs": 2, "batch_size": 40},
        },
        "adversarial": {
            "steps": 2,
            "validation_images": 10,
            "resnet18": {"epochs": 2, "batch_size": 40},
        },
        "noise": {"resnet18": {"epochs": 1, "batch_size": 40}},
        "teacher": {
            "resnet18": {"epochs": 2, "batch_size": 20},
            "vit_small": {"epochs": 2, "optimizer": "adamw", "batch_size": 20},
        },
        "aligned": {
            "beta": 0.1,
            "reading": "as_written",
            "resnet18": {"epochs": 2, "batch_size": 40},
            "vit_small": {"epochs": 1, "batch_size": 40},
        },
    },
    "alexnet": {"width": 0.1},
    "pgd": {"n": 20, "steps": 3},
    "autoattack": {"n": 20, "steps": 2, "queries": 5, "batch_size": 10},
    "smoothing": {"n": 20, "samples": 30, "selection_samples": 5},
    "corruptions": {"n": 20},
    "reliability": {"n": 60, "strong_steps": 4, "queries": 5},
    "faithfulness": {"n": 10, "steps": 4, "randomized_n": 4},
    "attacked_saliency": {"n": 20},
    "swapped": {"n": 60},
    "alignment": {"shortcut_images": 120},
    "evaluation": {"batch_size": 16},
}


@pytest.fixture(scope="session")
def explained_run(tmp_path_factory):
    """One tiny run for all that asks for masks and explanations; what it makes is kept."""
    root = tmp_path_factory.mktemp("explained")
    return Run(settings.load("smoke", TINY), 0, root=root, progress=False)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def tiny_run(tmp_path):
    """Make a run of seconds in a temporary folder, with overrides laid over the tiny settings."""

    def make(overrides=None, seed=0, root=tmp_path):
        merged = settings._merge(TINY, overrides or {})
        return Run(settings.load("smoke", merged), seed, root=root, progress=False)

    return make
