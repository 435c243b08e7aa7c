"""Shared set-up: few threads, no network, small data and nets made on the spot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from rslib import settings
from rslib.run import Run
from tests.helpers.tiny import TINY

SLOW = ("tests/faults", "tests/benchmarks", "tests/book")
"""Folders whose tests kill, time or build whole runs; elsewhere a slow test is marked by itself."""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)


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
        merged = settings.merge(TINY, overrides or {})
        return Run(settings.load("smoke", merged), seed, root=root, progress=False)

    return make
