"""The paper's internal arithmetic: what it prints against what its own numbers give.

Printed numbers are rounded, so each is taken at both ends of its rounding; a check of
``arithmetic.yaml`` agrees if the printed number, with its own rounding, meets the range.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean

from rslib.paper.tables import FOLDER, Data, PaperValue, read, rounding, value

#: The corruptions that the paper names (3.1.1).
CATEGORIES = {
    "noise": ("Gaussian noise", "shot noise", "impulse noise"),
    "blur": ("defocus blur", "motion blur", "zoom blur", "glass blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic transform", "pixelate", "JPEG compression", "saturate"),
}
#: The share of an image's pixels that IoU is of (3.3.3).
TOP = 0.30

# Decimal numbers are not exact in binary: two that meet may miss each other by this much.
_TINY = 1e-9


class Check(Data):
    """One statement of the paper's section against what its own numbers give."""

    name: str  #: short and unique
    statement: str  #: in words
    section: str
    printed: str  #: the printed number, with its unit
    follows: str = ""  #: from the paper's own numbers, with its unit
    agrees: bool = False  #: whether the two do, up to rounding
    consequence: str = ""  #: of a disagreement, in one line; empty where it is plain


@dataclass(frozen=True)
class Range:
    """A result of rounded numbers: its value from the printed ones, and how far it may lie."""

    value: float
    low: float
    high: float

    def satisfies(self, printed: str) -> bool:
        """True if it may be the printed number, or lie on the side that ``<`` or ``>`` names."""
        sign, _, limit = printed.rpartition(" ")
        if sign == "<":
            return self.low < float(limit)
        if sign == ">":
            return self.high > float(limit)
        reach = rounding(Decimal(limit)) + _TINY
        return float(limit) - reach <= self.high and float(limit) + reach >= self.low


def follows(function: Callable[..., float], *inputs: PaperValue) -> Range:
    """The range of a function, monotone in printed numbers, at both ends of each rounding."""
    ends = [(each.value - each.rounding, each.value + each.rounding) for each in inputs]
    found = [function(*corner) for corner in itertools.product(*ends)]
    return Range(function(*(each.value for each in inputs)), min(found), max(found))


def attack_success(clean: float, attacked: float) -> float:
    """The share of correctly classified images that an attack turns; accuracies too in percent.

    The paper does not define it; Table 2 agrees with this reading in all four rows.
    """
    return 100 * (1 - attacked / clean)


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


@functools.cache
def parameter_count(architecture: str, **size: int) -> int:
    """Parameters of a network as 3.1.2 describes it, for 10 classes; counted, not allocated."""
    import torch

    from rslib import models

    with torch.device("meta"):
        built = models.build(architecture, **size)
    return sum(each.numel() for each in built.parameters())


class _Printed(Check):
    """A check as its file has it, with the formula to recompute it.

    It is a key of ``_FORMULAS``, a function of the numbers of each group of ``cells`` that gives
    ``digits`` to show, or a case of ``_judged``.
    """

    unit: str = ""
    formula: str
    digits: int = 0
    cells: tuple[tuple[str, ...], ...] = ()


def arithmetic() -> tuple[Check, ...]:
    """Recompute what the paper prints; all checks, in its order."""
    checks = []
    for each in read(FOLDER / "arithmetic.yaml", list[_Printed]):
        groups = [[value(*cell.split("/")) for cell in group] for group in each.cells]
        suffix = f" {each.unit}" if each.unit else ""
        if each.formula in _FORMULAS:
            ranges = [follows(_FORMULAS[each.formula], *group) for group in groups]
            told = " and ".join(f"{found.value:.{each.digits}f}{suffix}" for found in ranges)
            agrees = all(found.satisfies(each.printed) for found in ranges)
        else:
            told, agrees = _judged(each.formula, groups)
        found = {"printed": f"{each.printed}{suffix}", "follows": told, "agrees": agrees}
        checks.append(each.model_copy(update=found))
    return tuple(checks)


_FORMULAS: dict[str, Callable[..., float]] = {
    "value": lambda number: number,
    "hundredfold": lambda number: 100 * number,
    "difference": lambda first, second: first - second,
    "quotient": lambda first, second: first / second,
    "percent": lambda first, second: 100 * (first / second - 1),
    "success": attack_success,
    "mean": lambda *numbers: fmean(numbers),
    # Of four categories, each as often as the paper names corruptions in it.
    "mean_over_corruptions": lambda *four: fmean(four, map(len, CATEGORIES.values())),
    "trade_off": lambda better, worse, before, after: (better - worse) / (before - after),
    "hundredfold_trade_off": lambda *four: 100 * _FORMULAS["trade_off"](*four),
}


def _judged(formula: str, groups: Sequence[Sequence[PaperValue]]) -> tuple[str, bool]:
    """What follows by a formula of all groups of numbers, and whether that agrees."""
    match formula:
        case "corruption_count":
            named = sum(map(len, CATEGORIES.values()))
            return f"{named}", named == 19
        case "patch_count":
            patches = (32 // 2) ** 2
            return f"{patches}", patches == 16
        case "budget":
            budget = 100 * 8 / 255
            return f"{budget:.2f} %", Range(budget, budget, budget).satisfies("3.1")
        case "parameters":
            ((printed,),) = groups
            count = parameter_count(printed.row.partition("-")[0])
            return f"{count:,}", abs(count - printed.value) <= printed.rounding
        case "iou_is_no_share":
            ((iou,),) = groups
            most = 100 * most_coverage(iou.value, 0.15)
            return f"masks of under {most:.1f} % of the image", False
        case "first_higher":
            higher = [first.value > second.value for first, second in groups]
            return f"{sum(higher)} of {len(higher)}", all(higher)
        case "category_order":
            ordered = []
            for group in groups:
                noise, blur, weather, digital = (each.value for each in group)
                ordered.append(noise > max(blur, weather) and digital < min(blur, weather))
            return f"{sum(ordered)} of {len(ordered)}", all(ordered)
        case "masks":
            ((loss, iou),) = groups
            covered = follows(least_coverage, loss)
            # A mean of random_iou over masks of any sizes lies between: it is concave, 0 at 0.
            least, most = TOP * covered.low, random_iou(covered.value)
            return f"{least:.3f} to {most:.3f} for a random map", iou.value >= least
        case "same":
            told = " and ".join(second.printed for _, second in groups)
            return told, all(first.printed == second.printed for first, second in groups)
    raise ValueError(f"arithmetic.yaml: no formula {formula!r}; see rslib.paper.consistency")
