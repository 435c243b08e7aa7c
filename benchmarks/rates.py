"""What a device can do in a second: one large matrix product, and one large copy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from benchmarks.clock import timed
from rslib.models.device import tf32

# Each is tried until it takes long enough to be timed, so that a fast device gets more to do.
_SIDES = (1024, 2048, 4096, 8192)
_NUMBERS = (2**24, 2**25, 2**26, 2**27, 2**28)
_LONG_ENOUGH = 0.05
_ROUNDS = 5

Work = tuple[Callable[[], object], int]


class Rates(NamedTuple):
    """A device's own rates.

    Attributes:
        operations: floating-point operations a second, of a float32 matrix product; a
            multiplication and an addition are two.
        bytes: read and written in a second, by a copy within the device's memory.
    """

    operations: float
    bytes: float


def measure(
    device: torch.device, *, sides: Sequence[int] = _SIDES, numbers: Sequence[int] = _NUMBERS
) -> Rates:
    """Measure a device, with as many threads as torch has now and without TF32.

    The best of several rounds counts, since a floor should be no higher than what can be reached.

    Args:
        device: what is measured.
        sides: of square matrices, ascending; the first that takes long enough counts.
        numbers: how many float32 numbers are copied, likewise.
    """
    with tf32(False), torch.inference_mode():
        return Rates(_best(_product, sides, device), _best(_copy, numbers, device))


def _best(
    make: Callable[[int, torch.device], Work], sizes: Sequence[int], device: torch.device
) -> float:
    for size in sizes:
        work, amount = make(size, device)
        work()  # what is set up at the first call is no part of a rate
        seconds = min(timed(work, device)[1] for _ in range(_ROUNDS))
        if seconds >= _LONG_ENOUGH:
            break
    return amount / seconds


def _product(side: int, device: torch.device) -> Work:
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out), 2 * side**3


def _copy(numbers: int, device: torch.device) -> Work:
    source = torch.rand(numbers, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2 * source.nbytes
