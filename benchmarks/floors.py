"""The least time that work can take by its arithmetic: a floor beside which a time is read."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from benchmarks.rates import Rates

Floor = Mapping[str, float]
"""Of one item: ``operations`` and ``bytes`` that it takes, and the ``milliseconds`` of these."""


def operations(work: Callable[[], Any]) -> int:
    """Floating-point operations of all convolutions and matrix products of a piece of work.

    They are counted by torch's formulas while the work is done once, on whatever device: what an
    attack does with the images that are left, backward passes for images or for weights, and
    products in closed forms are all in it. Sums of single numbers are not, nor what threads other
    than this one or processes do.
    """
    counter = FlopCounterMode(display=False)
    # It also asks which module each operation belongs to, and for that refuses gradients of leaves
    # by autograd.grad, which is how attacks take them. Only the sum is of interest here.
    counter.mod_tracker = contextlib.nullcontext()
    counter.mod_tracker.parents = {"Global"}
    with counter:
        work()
    return counter.get_total_flops()


def floor(operations: float, moved: float, rates: Rates) -> Floor:
    """An item's floor: its arithmetic or its traffic, whichever takes longer.

    Args:
        operations: floating-point operations of the item.
        moved: bytes of the item that are read and written once.
        rates: of the device.
    """
    seconds = max(operations / rates.operations, moved / rates.bytes)
    return {"operations": operations, "bytes": moved, "milliseconds": 1000 * seconds}


def total(floors: Sequence[Floor | None]) -> Floor | None:
    """The floor of an item in each of several rows; None where a row has none."""
    if None in floors:
        return None
    return {key: sum(each[key] for each in floors) for key in floors[0]}
