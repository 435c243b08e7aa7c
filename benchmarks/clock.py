"""Seconds of work on a device, which may still be busy when a call returns."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def wait(device: torch.device) -> None:
    """Wait for what a GPU still has to do; a CPU has done it when a call returns."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """What work returns, and the seconds until the device was done with it.

    Args:
        work: done once.
        device: where it computes; what this still does for others is waited for first.
    """
    wait(device)
    started = time.perf_counter()
    answer = work()
    wait(device)
    return answer, time.perf_counter() - started
