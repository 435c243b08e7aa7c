"""What follows from printed numbers: the tools that the paper's arithmetic is recomputed with.

Nothing here is measured. Printed numbers are rounded, so what follows from them is a range: each
input is taken at both ends of its rounding. A check agrees if the printed number, with its own
rounding, meets that range.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from rslib.paper.tables import PaperValue, rounding

TOP = 0.30
"""The share of an image's pixels that IoU is of (3.3.3)."""

# Decimal numbers are not exact in binary: two that meet may miss each other by this much.
_TINY = 1e-9


@dataclass(frozen=True)
class Check:
    """One statement of the paper against what its own numbers give.

    Attributes:
        name: short and unique.
        statement: what is printed, in words.
        section: where.
        printed: the printed number, with its unit.
        follows: what follows from the paper's own numbers, with its unit.
        agrees: whether the two agree up to rounding.
        consequence: what that means, in one line; empty where it is plain.
    """

    name: str
    statement: str
    section: str
    printed: str
    follows: str
    agrees: bool
    consequence: str = ""


@dataclass(frozen=True)
class Range:
    """What follows from rounded numbers: the value from them as printed, and how far it may lie."""

    value: float
    low: float
    high: float

    def meets(self, printed: float, rounding: float = 0.0) -> bool:
        """Whether a printed number may be the rounded one."""
        low, high = printed - rounding - _TINY, printed + rounding + _TINY
        return low <= self.high and high >= self.low


def attack_success(clean: float, attacked: float) -> float:
    """The share of correctly classified images that an attack turns, in percent.

    The paper does not define it; Table 2 agrees with this reading in all four rows.

    Args:
        clean: accuracy on clean images, in percent, above 0.
        attacked: accuracy under the attack, in percent.
    """
    return 100 * (1 - attacked / clean)


def follows(function: Callable[..., float], *inputs: PaperValue) -> Range:
    """What a function of printed numbers may be, each input at either end of its rounding.

    Args:
        function: of as many numbers, monotone in each.
        inputs: the printed numbers.
    """
    ends = [(each.value - each.rounding, each.value + each.rounding) for each in inputs]
    found = [function(*corner) for corner in itertools.product(*ends)]
    return Range(function(*(each.value for each in inputs)), min(found), max(found))


def random_iou(covered: float) -> float:
    """IoU of 30 % of the pixels, drawn at random, with a mask that covers a share of the image."""
    return TOP * covered / (TOP + (1 - TOP) * covered)


def least_coverage(loss: float) -> float:
    """The least share of the image that masks cover where the alignment loss is as small.

    The sigmoid of a map without negative values is at least one half, so every pixel outside the
    mask adds at least a quarter to the mean (equations 12 and 13).
    """
    return 1 - loss / 0.25


def most_coverage(iou: float, share: float) -> float:
    """The share of the image below which an IoU means that ``share`` of the salient pixels is in.

    The two sets share ``IoU (0.3 + m) / (1 + IoU)`` of the image, where m is the mask's.
    """
    return share * TOP * (1 + iou) / iou - TOP


def parameter_count(architecture: str, **size: int) -> int:
    """Parameters of a network as 3.1.2 describes it, for 10 classes; counted, not allocated."""
    return _parameter_count(architecture, tuple(sorted(size.items())))


@functools.cache
def _parameter_count(architecture: str, size: tuple[tuple[str, int], ...]) -> int:
    import torch

    from rslib import models

    with torch.device("meta"):
        built = models.build(architecture, **dict(size))
    return sum(each.numel() for each in built.parameters())


def against(
    name: str,
    statement: str,
    section: str,
    printed: str,
    found: Range,
    unit: str,
    consequence: str = "",
) -> Check:
    """A check of one printed number, rounded to its last digit, against what follows."""
    digits = {"%": 1, "points": 1, "ratio": 3, "times": 2, "": 3}[unit]
    suffix = f" {unit}" if unit in {"%", "points"} else ""
    return Check(
        name,
        statement,
        section,
        f"{printed}{suffix}",
        f"{found.value:.{digits}f}{suffix}",
        found.meets(float(printed), rounding(Decimal(printed))),
        consequence,
    )
