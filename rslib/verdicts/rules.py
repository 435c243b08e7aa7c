"""The rule by which claims of the paper are judged, and its tolerances.

It is stated here once, as functions of the claimed number, our estimate and what the run did
otherwise; it knows no result. What decides, in this order:

1. A claim in which nothing measurable is said is *not testable as stated*.
2. A claim about CIFAR-10 is *not comparable* with another data set, nor with what was not measured.
3. A number stands for the networks and the attack it was measured with: under another threat model,
   or agreeing with networks of another size, it is *not comparable*. So is a number or a bound
   whose scale the paper does not publish: overlap with its masks, attention inside them, errors
   relative to its reference, hours on its hardware.
4. Otherwise a number agrees within the tolerance of its unit. It is *reproduced* if nothing differs
   from the paper's protocol, and *reached with another recipe* if training or the number of images
   does, or if it is then better than the paper's.
5. Any other bound, a comparison and a number at the end of its scale (0 %, 100 %) are about any
   networks. They hold if the whole interval is on the claimed side: *reproduced* under the paper's
   protocol, *reached with another recipe* with its architectures, and else *the same direction*.
6. A difference of claimed size is first a comparison of its order: it must be at least a quarter of
   what is claimed. Only if its size agrees as well is it more than *the same direction*; if it is
   more than three times the claimed one, the verdict says so.
7. "No difference" holds if the whole interval lies within the tolerance of a point either way, and
   fails if the interval lies wholly beyond zero and the estimate beyond the tolerance. Between the
   two, there are too few images to tell: *not comparable*. The verdict names the smallest effect
   that could have been seen.
8. What does not hold is *not reproduced* only where our own side was done well: with the paper's
   networks and training, in comparisons whose trainings have all converged, and of structure (a
   count, a size), which no training changes. Otherwise it is *short of it, by another recipe* if
   the training was weaker (fewer epochs, steps or images, less β, narrower networks) and the number
   lies on the side of a weaker training; else it is *not comparable*.
9. A comparison of two models that are both at the same end of the scale (0.0 % against 0.0 %)
   supports nothing.
10. A claim about methods, which compares models that were trained, is decided by the paired
    interval over seeds where there are three or more. With fewer, the interval is over images, and
    nothing better than *the same direction (one seed)* can come of it.

A claim with several parts gets the weakest part's verdict. Parts that differ in their masks, in the
reference of corruption errors or in the method of explanation alone are one claim that was measured
several times: if these disagree on whether it holds, it is *not comparable*. Of several readings
of the paper's words the most favorable one counts, which is named. Intervals are at the level of
the run, each by itself: of forty true "no differences" about two will seem to be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from rslib.metrics.estimates import FEWEST_SEEDS, Estimate
from rslib.paper import Asserted
from rslib.report import numbers
from rslib.report.protocol import Protocol


class Verdict(StrEnum):
    """The outcome for a claim; from the best to the least that can be said."""

    REPRODUCED = "reproduced"
    REACHED = "reached with another recipe"
    DIRECTION = "same direction"
    SHORT = "short of it, by another recipe"
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

LARGEST = 3.0
"""A difference is called larger than claimed from this many times its size on."""

POWER = 1.43
"""The smallest effect that 95 % intervals show four times of five, in halves of an interval.

It is (1.96 + 0.84) standard errors, of which half an interval is 1.96.
"""

UNPUBLISHED = {
    "masks": "the paper's masks are unpublished",
    "reference": "the paper's reference errors are unpublished",
    "hardware": "the paper's hardware is unstated",
}
"""Reasons why a number has no scale to compare on."""

# From the weakest.
_ORDER = (
    Verdict.FAILED,
    Verdict.SHORT,
    Verdict.INCOMPARABLE,
    Verdict.UNTESTABLE,
    Verdict.DIRECTION,
    Verdict.REACHED,
    Verdict.REPRODUCED,
)


_HOLDS = (Verdict.DIRECTION, Verdict.REACHED, Verdict.REPRODUCED)


@dataclass(frozen=True)
class Judgment:
    """A verdict and its reason in one line.

    ``empty`` if the part could not have spoken against the claim, and so says nothing.
    """

    verdict: Verdict
    why: str
    empty: bool = False


@dataclass(frozen=True)
class Measured:
    """How an estimate came about, as far as the rule asks.

    Attributes:
        seeds: over how many trainings of all models the interval is; 1 if it is over images.
        methods: whether models that were trained are compared.
        levels: the two numbers that are compared, in percent; empty if they are none.
        unmeasured: why there is no estimate.
    """

    seeds: int = 1
    methods: bool = False
    levels: tuple[float, ...] = ()
    unmeasured: str = "not measured in this run"

    @property
    def at_one_end(self) -> bool:
        """True if the numbers compared are both at 0 %, or both at 100 %."""
        margin = TOLERANCE["%"]
        return len(self.levels) > 1 and (
            max(self.levels) <= margin or min(self.levels) >= 100 - margin
        )


def combine(parts: Iterable[tuple[str, Judgment]], varied: str = "sources of masks") -> Judgment:
    """The judgment of a claim: the least favorable of its parts, the first of equals.

    A part is what it is about, and its judgment. Parts that are about the same thing were measured
    with another choice of what ``varied`` says, and must agree. Empty ones count if all are.
    """
    things: dict[str, list[Judgment]] = {}
    for about, judgment in parts:
        things.setdefault(about, []).append(judgment)
    whole = {}
    for about, judgments in things.items():
        least = min(judgments, key=_strength)
        failed = least.verdict in (Verdict.FAILED, Verdict.SHORT)
        untold = [each for each in judgments if each.verdict is Verdict.INCOMPARABLE]
        if failed and any(each.verdict in _HOLDS for each in judgments):
            least = Judgment(Verdict.INCOMPARABLE, f"the {varied} disagree")
        elif untold:
            least = untold[0]
        whole[about] = least
    telling = {about: each for about, each in whole.items() if not each.empty} or whole
    about, least = min(telling.items(), key=lambda each: _strength(each[1]))
    if len({each.verdict for each in telling.values()}) > 1:
        least = Judgment(least.verdict, f"{about}: {least.why}")
    silent = [about for about in whole if about not in telling]
    if silent:
        least = Judgment(least.verdict, f"{least.why}; {', '.join(silent)} says nothing")
    return least


def favorable(readings: Mapping[str, Judgment]) -> Judgment:
    """The judgment of a claim with several readings: the most favorable, which it names.

    Raises:
        ValueError: there is no reading.
    """
    if not readings:
        raise ValueError("a claim needs at least one reading to be judged on")
    reading, best = max(readings.items(), key=lambda each: _strength(each[1]))
    return Judgment(best.verdict, f"read as {reading}: {best.why}", best.empty)


def judge(
    claimed: Asserted, ours: Estimate | None, protocol: Protocol, how: Measured | None = None
) -> Judgment:
    """Judge one claim by one estimate.

    Ours is in the same unit; for ``compares`` and ``differs`` it is the difference, signed as
    claimed where no number is. It is None if it was not measured.

    Raises:
        ValueError: the claim has a relation that needs a number, and none.
    """
    how = how or Measured()
    if claimed.relation == "untestable":
        return Judgment(Verdict.UNTESTABLE, claimed.why)
    reason = ""
    if protocol.data:
        reason = f"measured on {protocol.data}, not CIFAR-10"
    elif ours is None or math.isnan(ours.value):
        reason = how.unmeasured
    elif claimed.sized and protocol.sizes:
        reason = f"speaks of the networks as described ({protocol.sizes})"
    elif claimed.scale and claimed.relation in ("about", "below", "above"):
        reason = UNPUBLISHED[claimed.scale]
    elif claimed.relation == "about" and protocol.threat:
        reason = f"measured with another attack ({protocol.differs})"
    if reason:
        return Judgment(Verdict.INCOMPARABLE, reason)
    found = _compared(claimed, ours, protocol)
    verdict, why, empty = found.verdict, found.told, False
    if verdict is None:
        verdict, note = _failed(claimed, found, protocol)
        why += note
    elif verdict in _HOLDS:
        empty = how.at_one_end
        if empty:
            levels = " against ".join(f"{each:.1f} %" for each in how.levels)
            verdict, why = Verdict.INCOMPARABLE, f"nothing is left to compare: {levels}"
        elif claimed.refutable or (how.methods and how.seeds < FEWEST_SEEDS):
            verdict = Verdict.DIRECTION
    if claimed.relation == "alike" and not empty:
        why += _smallest(ours)
    told = [f"{how.seeds} seeds" if how.seeds > 1 else "one seed"] if how.methods else []
    told += [protocol.brief] * bool(protocol.differs)
    return Judgment(verdict, f"{why} ({'; '.join(told)})" if told else why, empty)


def _strength(judgment: Judgment) -> int:
    return _ORDER.index(judgment.verdict)


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


@dataclass(frozen=True)
class _Found:
    """What a comparison gave: its verdict, None if it does not hold, and in words.

    ``weak`` if the number then lies where a weaker training would put it; ``unclear`` if the
    interval cannot tell.
    """

    verdict: Verdict | None
    told: str
    weak: bool = False
    unclear: bool = False


def _failed(claimed: Asserted, found: _Found, protocol: Protocol) -> tuple[Verdict, str]:
    """The verdict on what does not hold, and what it rests on."""
    own = not (protocol.sizes or protocol.training or protocol.threat or protocol.weaker)
    fewer = bool(protocol.images) and not claimed.structural
    if found.unclear and own and fewer:
        return Verdict.INCOMPARABLE, ": too few images to tell"
    if own or claimed.structural:
        return Verdict.FAILED, ""
    if protocol.converged and not protocol.threat and claimed.relation in _COMPARISONS:
        return Verdict.FAILED, ", and all trainings had converged"
    if protocol.weaker and found.weak:
        return Verdict.SHORT, ""
    return Verdict.INCOMPARABLE, ", by another recipe and not on the side of a weaker training"


_COMPARISONS = ("differs", "compares", "alike")


def _smallest(ours: Estimate) -> str:
    """The smallest effect that "no difference" would have been told from, four times of five."""
    low, high = _ends(ours)
    if low == high:
        return ""
    return f"; the smallest effect that would have been seen: {POWER * (high - low) / 2:.2g}"


def _compared(claimed: Asserted, ours: Estimate, protocol: Protocol) -> _Found:
    """Compare a number that can be compared."""
    resized = bool(protocol.sizes or protocol.threat)
    best = Verdict.REACHED if protocol.differs else Verdict.REPRODUCED
    if resized:
        best = Verdict.DIRECTION
    low, high = _ends(ours)
    agreed = _Found(best, "agrees within the tolerance")
    if claimed.relation == "about":
        gap = ours.value - _value(claimed)
        size = numbers.written(abs(gap), "%" if claimed.unit == "points" else claimed.unit)
        told = f"off by {numbers.MINUS if gap < 0 else '+'}{size}"
        if protocol.sizes and (agree(claimed, ours) or gap * claimed.better >= 0):
            return _Found(Verdict.INCOMPARABLE, f"{told}, measured with other networks")
        if agree(claimed, ours):
            return agreed
        if gap * claimed.better > 0 and protocol.differs:
            return _Found(Verdict.REACHED, f"better: {told}")
        return _Found(None, told, gap * claimed.better < 0, low <= _value(claimed) <= high)
    if claimed.relation == "alike":
        margin = _tolerance(claimed)
        within = f"within {margin:g} of no difference"
        if -margin <= low and high <= margin:
            return _Found(best, within)
        if (low > 0 or high < 0) and abs(ours.value) > margin:
            return _Found(None, "there is a difference")
        told = f"too few images to tell: the interval is not {within}"
        return _Found(Verdict.INCOMPARABLE, told)
    if claimed.relation == "nearly":
        far = max(abs(low - _value(claimed)), abs(high - _value(claimed)))
        if far <= _tolerance(claimed) + 1e-9:
            return _Found(best, "within 1 point of it")
        return _Found(None, f"the interval reaches {far:.1f} points away from it")
    bound, above, said = 0.0, True, "the interval is beyond zero"
    if claimed.relation == "differs":
        bound, above = claimed.neutral, _value(claimed) > claimed.neutral
    elif claimed.relation != "compares":
        bound, above, said = _value(claimed), claimed.relation == "above", "the bound holds"
    # Beyond a bound on what is better when lower, such as a success of attacks, no weakness lies.
    weak = claimed.relation in _COMPARISONS or claimed.better == 0 or above == (claimed.better > 0)
    if low <= bound <= high:
        return _Found(None, f"the interval holds {bound:g}", weak, unclear=True)
    if above != (low > bound):
        return _Found(None, "clearly on the other side", weak)
    if claimed.relation != "differs":
        return _Found(best, said)
    share = (ours.value - bound) / (_value(claimed) - bound)
    if share < SHARE:
        return _Found(None, f"the claimed sign, but {share:.2g} times the size", weak)
    size = f"{share:.2g} times the size"
    if share > LARGEST:
        size = f"the claimed sign, but {size}: no support for the number"
    if claimed.scale:
        larger = f"; {size}" if share > LARGEST else ""
        why = f"{UNPUBLISHED[claimed.scale]}, so sizes do not compare{larger}"
        return _Found(Verdict.DIRECTION, why)
    if resized or not agree(claimed, ours):
        return _Found(Verdict.DIRECTION, size)
    return agreed


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
