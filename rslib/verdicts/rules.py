"""The rule by which claims of the paper are judged, and its tolerances.

It is stated here once, as functions of the claimed number, our estimate and what the run did
otherwise; it knows no result. What decides, in this order:

1. A claim in which nothing measurable is said is *not testable as stated*.
2. A claim about CIFAR-10 is *not comparable* with another data set, nor with what was not measured.
3. A number stands for the networks and the attack it was measured with: with networks of another
   size, or another threat model, it is *not comparable*. So is a number or a bound whose scale the
   paper does not publish: overlap with its masks, attention inside them, errors relative to its
   reference, hours on its hardware.
4. Otherwise a number agrees within the tolerance of its unit. It is *reproduced* if nothing differs
   from the paper's protocol, and *reached with another recipe* if training or the number of images
   does, or if it is then better than the paper's. If it does not agree, it is *not reproduced*.
5. Any other bound, a comparison and a number at the end of its scale (0 %, 100 %) are about any
   networks. They hold if the whole interval is on the claimed side: *reproduced* under the paper's
   protocol, *reached with another recipe* with its architectures, and else *the same direction*.
   If they do not hold, or the interval cannot tell, they are *not reproduced*.
6. A difference of claimed size is first a comparison of its order: it must be at least a quarter of
   what is claimed. Only if its size agrees as well is it more than *the same direction*.
7. "No difference" holds if the whole interval lies within the tolerance of a point either way, and
   fails if the interval lies wholly beyond zero and the estimate beyond the tolerance. Between the
   two, there are too few images to tell: *not comparable*.

A claim with several parts gets the weakest part's verdict. Parts that differ in their masks alone
are one claim that was measured several times: if the sources of masks disagree on whether it holds,
it is *not comparable*. Intervals are over images, for one seed and at the level of the run, each by
itself: of forty true "no differences" about two will seem to be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rslib.metrics.estimates import Estimate
from rslib.paper import Asserted
from rslib.report import numbers
from rslib.report.protocol import Protocol


class Verdict(StrEnum):
    """The outcome for a claim; from the best to the least that can be said."""

    REPRODUCED = "reproduced"
    REACHED = "reached with another recipe"
    DIRECTION = "same direction"
    FAILED = "not reproduced"
    INCOMPARABLE = "not comparable"
    UNTESTABLE = "not testable as stated"


TOLERANCE = {"%": 1.0, "points": 1.0, "": 0.01, "count": 0.0}
"""The distance at which two numbers agree, by unit, beyond the rounding of the printed one.

A point of accuracy: the interval of an accuracy near 50 % on the 10,000 test images reaches one
point either way, and another seed moves clean accuracy by some tenths and accuracy under PGD by
about half a point. A hundredth of a plain number: what another seed, or another count of bins,
which the paper does not state, does to a calibration error. A count is exact.
"""

RELATIVE_TOLERANCE = 0.05
"""The same for quotients (unit ``ratio``), as a share of the claimed one."""

WIDEST = 3.0
"""An interval agrees with a number it contains unless it is wider than so many tolerances."""

SHARE = 0.25
"""A difference is of the claimed order if it is at least this share of it."""

UNPUBLISHED = {
    "masks": "the paper's masks are unpublished",
    "reference": "the paper's reference errors are unpublished",
    "hardware": "the paper's hardware is unstated",
}
"""Reasons why a number has no scale to compare on."""

# From the weakest.
_ORDER = (
    Verdict.FAILED,
    Verdict.INCOMPARABLE,
    Verdict.UNTESTABLE,
    Verdict.DIRECTION,
    Verdict.REACHED,
    Verdict.REPRODUCED,
)


@dataclass(frozen=True)
class Judgment:
    """A verdict and its reason in one line."""

    verdict: Verdict
    why: str


def combine(parts: Iterable[tuple[str, Judgment]]) -> Judgment:
    """The judgment of a claim: the least favorable of its parts, the first of equals.

    A part is what it is about, and its judgment. Parts that are about the same thing were measured
    with different masks.
    """

    def weakness(judgment: Judgment) -> int:
        return _ORDER.index(judgment.verdict)

    things: dict[str, list[Judgment]] = {}
    for about, judgment in parts:
        things.setdefault(about, []).append(judgment)
    whole = {}
    for about, judgments in things.items():
        least = min(judgments, key=weakness)
        if least.verdict is Verdict.FAILED and len({each.verdict for each in judgments}) > 1:
            least = Judgment(Verdict.INCOMPARABLE, "the sources of masks disagree")
        whole[about] = least
    about, least = min(whole.items(), key=lambda each: weakness(each[1]))
    if len({each.verdict for each in whole.values()}) == 1:
        return least
    return Judgment(least.verdict, f"{about}: {least.why}")


def judge(claimed: Asserted, ours: Estimate | None, protocol: Protocol) -> Judgment:
    """Judge one claim by one estimate.

    Ours is in the same unit; for ``compares`` and ``differs`` it is the difference, signed as
    claimed where no number is. It is None if it was not measured.
    """
    if claimed.relation == "untestable":
        return Judgment(Verdict.UNTESTABLE, claimed.why)
    reason = ""
    if protocol.data:
        reason = f"measured on {protocol.data}, not CIFAR-10"
    elif ours is None or math.isnan(ours.value):
        reason = "not measured in this run"
    elif claimed.sized and protocol.sizes:
        reason = "speaks of the networks as described (other networks)"
    elif claimed.scale and claimed.relation in ("about", "below", "above"):
        reason = UNPUBLISHED[claimed.scale]
    elif claimed.relation == "about" and (protocol.sizes or protocol.threat):
        reason = f"measured with {protocol.brief}"
    if reason:
        return Judgment(Verdict.INCOMPARABLE, reason)
    verdict, why = _compared(claimed, ours, protocol)
    return Judgment(verdict, f"{why} ({protocol.brief})" if protocol.differs else why)


def agree(claimed: Asserted, ours: Estimate) -> bool:
    """True if our number is the paper's, within the tolerance of the unit.

    They lie no further apart than the tolerance and the rounding of the printed one, or our
    interval contains the paper's and is not too wide to exclude anything (:data:`WIDEST`).
    """
    value, allowed = _value(claimed), _tolerance(claimed)
    if abs(ours.value - value) <= allowed + claimed.rounding + 1e-9:
        return True
    low, high = _ends(ours)
    return high - low <= 2 * WIDEST * allowed and low <= value <= high


def _compared(claimed: Asserted, ours: Estimate, protocol: Protocol) -> tuple[Verdict, str]:
    """The verdict on a number that can be compared, and its reason."""
    resized = bool(protocol.sizes or protocol.threat)
    best = Verdict.REACHED if protocol.differs else Verdict.REPRODUCED
    if resized:
        best = Verdict.DIRECTION
    low, high = _ends(ours)
    agreed = "agrees within the tolerance"
    if claimed.relation == "about":
        gap = ours.value - _value(claimed)
        if agree(claimed, ours):
            return best, agreed
        size = numbers.written(abs(gap), "%" if claimed.unit == "points" else claimed.unit)
        told = f"off by {numbers.MINUS if gap < 0 else '+'}{size}"
        if gap * claimed.better > 0 and protocol.differs:
            return Verdict.REACHED, f"better: {told}"
        return Verdict.FAILED, told
    if claimed.relation == "alike":
        margin = _tolerance(claimed)
        within = f"within {margin:g} of no difference"
        if -margin <= low and high <= margin:
            return best, within
        if (low > 0 or high < 0) and abs(ours.value) > margin:
            return Verdict.FAILED, "there is a difference"
        return Verdict.INCOMPARABLE, f"too few images to tell: the interval is not {within}"
    if claimed.relation == "nearly":
        far = max(abs(low - _value(claimed)), abs(high - _value(claimed)))
        if far <= _tolerance(claimed) + 1e-9:
            return best, "within 1 point of it"
        return Verdict.FAILED, f"the interval reaches {far:.1f} points away from it"
    bound, above, said = 0.0, True, "the interval is beyond zero"
    if claimed.relation == "differs":
        bound, above = claimed.neutral, _value(claimed) > claimed.neutral
    elif claimed.relation != "compares":
        bound, above, said = _value(claimed), claimed.relation == "above", "the bound holds"
    if low <= bound <= high:
        return Verdict.FAILED, f"the interval holds {bound:g}"
    if above != (low > bound):
        return Verdict.FAILED, "clearly on the other side"
    if claimed.relation != "differs":
        return best, said
    share = (ours.value - bound) / (_value(claimed) - bound)
    if share < SHARE:
        return Verdict.FAILED, f"the claimed sign, but {share:.2g} times the size"
    if claimed.scale:
        return Verdict.DIRECTION, f"{UNPUBLISHED[claimed.scale]}, so sizes do not compare"
    if resized or not agree(claimed, ours):
        return Verdict.DIRECTION, f"{share:.2g} times the size"
    return best, agreed


def _tolerance(claimed: Asserted) -> float:
    if claimed.unit == "ratio":
        return RELATIVE_TOLERANCE * abs(_value(claimed))
    return TOLERANCE[claimed.unit]


def _value(claimed: Asserted) -> float:
    if claimed.value is None:
        raise ValueError(f"a claim with relation {claimed.relation!r} needs a number")
    return claimed.value


def _ends(ours: Estimate) -> tuple[float, float]:
    """The interval; the number itself where it has none."""
    if ours.low is None or ours.high is None:
        return ours.value, ours.value
    return ours.low, ours.high
