"""What a budget buys: how many images each axis gets, settled and told before anything starts.

The model is timed on a few images, which also show how many are right and withstand a short attack:
attacks spend their time on these. Seconds are rather too long for models that break easily.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch

from rslib.attacks import run_pgd
from rslib.corruptions import NAMES, SEVERITIES, corrupt
from rslib.data import Batches, Dataset, balanced_subset
from rslib.scorecard.card import Plan, PlannedAxis, ScorecardError
from rslib.scorecard.guest import Guest, measure
from rslib.settings.schema import Settings
from rslib.store import text

PLANNED = {
    "clean": "clean, ECE",
    "fgsm": "FGSM",
    "pgd": "PGD",
    "autoattack": "AutoAttack",
    "corruptions": "corruptions",
    "saliency": "saliency overlap",
    "reliability": "reliability verdict",
}
"""The axes that images are given to, with their titles; calibration comes with the clean ones."""

LADDER = (50, 100, 250, 500, 1000, 2000, 5000, 10000)
"""Numbers of images that an axis may be shrunk to; below the first it is left out instead."""

# What is given up first where even the fewest images take too long: the dearest by its worth.
LEAVING = ("autoattack", "corruptions", "reliability", "saliency", "pgd", "fgsm")

_PILOT, _PILOT_STEPS = 50, 5
# Of rslib.attacks.reliability: PGD's steps, and the most images that one check attacks again.
_CHECK_STEPS, _EXAMINED = 20, 64


@dataclass(frozen=True)
class Speed:
    """What a few ``images`` tell of a model, in so many ``seconds``.

    Seconds of one image are those ``forward``, ``gradient`` (forward and backward), ``corrupting``
    (all 95 versions) and ``explaining`` (a map and its overlap; 0 where there are no masks).
    ``right`` and ``robust`` are shares of images: right, and still right after a short attack.
    """

    forward: float
    gradient: float
    corrupting: float
    explaining: float
    right: float
    robust: float
    images: int
    seconds: float


def measure_speed(guest: Guest, *, explain: bool, corrupted: bool = True) -> Speed:
    """Time a model on a few images, attacked with its PGD's budget.

    ``explain`` and ``corrupted`` say whether explaining and corrupting them are timed, too.
    """
    started = time.perf_counter()
    model, pgd, device = guest.model, guest.settings.pgd, guest.device
    few = balanced_subset(guest.images, min(_PILOT, len(guest.images)))
    (batch,) = Batches(few, len(few), device=device, channels_last=True)
    # Should even the first pass fail, axes say so; they are then planned as taking no time.
    once = gradient = corrupting = explaining = 0.0
    right = robust = torch.ones(len(few), dtype=torch.bool)

    def now() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter()

    def seconds(work: Callable[[], object]) -> float:
        """Of one image."""
        began = now()
        work()
        return (now() - began) / len(few)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return model(batch.x)

    def backward() -> None:
        point = batch.x.clone().requires_grad_()
        torch.autograd.grad(model(point).sum(), point)

    try:
        right = robust = forward().argmax(1) == batch.y
        once = seconds(forward)
        gradient = 3 * once
    except Exception as error:
        warnings.warn(f"the model could not be timed: {text.reason(error)}", stacklevel=2)
    # A model that has no gradients is told so by the axes that need them.
    with contextlib.suppress(Exception):
        attack = {"step_size": 2 * pgd.eps_unit / _PILOT_STEPS, "num_steps": _PILOT_STEPS}
        attack |= {"eps": pgd.eps_unit, "norm": pgd.norm, "random_start": False}
        robust = ~run_pgd(model, batch.x, batch.y, **attack).fooled
        gradient = seconds(backward)
    if corrupted:
        part = few.images  # corrupted where data sets live, not where models do
        corrupt(part[:1], NAMES[0], SEVERITIES[0], seed=0)
        corrupting = seconds(lambda: [corrupt(part, name, 3, seed=0) for name in NAMES])
    if explain:
        explaining = seconds(lambda: measure(guest, "saliency", len(few)))
    return Speed(
        forward=once,
        gradient=gradient,
        corrupting=corrupting * len(SEVERITIES),
        explaining=explaining,
        right=right.float().mean().item(),
        robust=robust.float().mean().item(),
        images=len(few),
        seconds=time.perf_counter() - started,
    )


def expected_seconds(axis: str, n: int, speed: Speed, settings: Settings) -> float:
    """How long an axis takes on n images.

    Counted in forward (f) and forward-and-backward passes (g) of one image. Attacks go on with the
    images that are still right: of n, the shares ``right`` and ``robust``.
    """
    f, g, right, robust = speed.forward, speed.gradient, speed.right, speed.robust
    pgd, auto, checks = settings.pgd, settings.autoattack, settings.reliability
    steps, queries = auto.steps or 100, auto.queries or 5000
    # APGD-CE on what is right; nine targets of APGD and FAB, and Square, on what it leaves.
    rest = 9 * steps * g + 9 * steps * (g + f) + queries * f
    # Larger budgets break most images within a few steps.
    doublings = max(0, math.ceil(math.log2(0.5 / pgd.eps_unit)))
    again = (checks.strong_steps + 2 * _CHECK_STEPS) * g + checks.queries * f
    each = {
        "clean": f,
        "fgsm": g + 3 * f,
        "pgd": 4 * f + right * pgd.restarts * (pgd.steps * g + f),
        "autoattack": 6 * f + right * steps * g + robust * rest,
        "corruptions": len(NAMES) * len(SEVERITIES) * f + speed.corrupting,
        "saliency": speed.explaining,
        "reliability": right * _CHECK_STEPS * (1 + doublings / 4) * g + 3 * g + 8 * f,
    }
    if axis not in each:
        raise ValueError(f"no axis {axis!r}; there are: {', '.join(PLANNED)}")
    further = min(_EXAMINED, robust * n) * again if axis == "reliability" else 0.0
    return n * each[axis] + further


def make(
    settings: Settings,
    dataset: Dataset,
    speed: Speed,
    *,
    n: int | None = None,
    minutes: float | None = None,
    absent: Mapping[str, str] | None = None,
) -> Plan:
    """Settle how many images each axis gets.

    To fit into minutes, the axis that takes longest goes down one step of :data:`LADDER`, again and
    again; where all are at its foot, axes are left out, in the order of :data:`LEAVING`. The clean
    axis always stays.

    Args:
        settings: the profile's; an axis without a number of images in them asks for all.
        dataset: the images.
        speed: of the model.
        n: images on every axis but the clean one, instead of the profile's; the verdict never asks
            for more than these.
        minutes: how long measuring may take, the timing included.
        absent: axes that cannot be measured, with the reason.
    """
    notes, wanted = dict(absent or {}), {}
    for axis in PLANNED:
        profiles = getattr(getattr(settings, axis, None), "n", None) or len(dataset)
        asked = profiles if n is None or axis == "clean" else n
        if axis == "reliability":
            asked = min(asked, profiles)
        wanted[axis] = min(asked, len(dataset))
    chosen = {axis: 0 if axis in notes else wanted[axis] for axis in PLANNED}

    def cost(axis: str) -> float:
        return expected_seconds(axis, chosen[axis], speed, settings) if chosen[axis] else 0.0

    budget = "the profile's numbers of images"
    if n is not None:
        budget = f"{n:,} images on every axis but the clean one"
    if minutes is not None:
        budget = f"{minutes:g} minutes"
        room = 60 * minutes - speed.seconds
        while sum(map(cost, PLANNED)) > room:
            tall = [axis for axis in PLANNED if chosen[axis] > LADDER[0]]
            if tall:
                longest = max(tall, key=cost)
                chosen[longest] = max(step for step in LADDER if step < chosen[longest])
                notes[longest] = f"shrunk from {wanted[longest]:,} to fit into {minutes:g} min"
                continue
            axis = next((axis for axis in LEAVING if chosen[axis]), None)
            if axis is None:
                break
            notes[axis] = (
                f"left out: {chosen[axis]} images take about {cost(axis):.0f} s, more than "
                f"{minutes:g} min leave; allow more minutes"
            )
            chosen[axis] = 0
    axes = []
    for axis in PLANNED:
        about = {"name": axis, "wanted": wanted[axis], "n": chosen[axis], "seconds": cost(axis)}
        axes.append(PlannedAxis(**about, note=notes.get(axis, "")))
    return Plan(
        budget=budget,
        seconds=sum(each.seconds for each in axes),
        pilot_images=speed.images,
        pilot_seconds=speed.seconds,
        forward_seconds=speed.forward,
        gradient_seconds=speed.gradient,
        axes=axes,
    )


def check(n: int | None, minutes: float | None, without: Collection[str] = ()) -> dict[str, str]:
    """The axes to be left out, each with that as its reason; and a budget that can be meant.

    Raises:
        ScorecardError: n or minutes is out of range, both are given, or an axis cannot be left out.
    """
    if n is not None and minutes is not None:
        raise ScorecardError("a budget is n (images) or minutes, not both: leave one out")
    if n is not None and (isinstance(n, bool) or not isinstance(n, int) or n < 10):
        raise ScorecardError(f"n={n!r} must be a whole number of at least 10 images")
    if minutes is not None and not 0 < minutes < math.inf:
        raise ScorecardError(f"minutes={minutes!r} must be above 0")
    for axis in without:
        if axis not in LEAVING:
            raise ScorecardError(
                f"{axis!r} cannot be left out; choose among {', '.join(LEAVING)} (the clean axis "
                "and its calibration always stay)"
            )
    return dict.fromkeys(without, "left out, as asked for")


def settings_for(settings: Settings, plan: Plan) -> Settings:
    """The settings with the plan's numbers of images in them."""
    sections = {}
    for axis in plan.axes:
        if axis.n and axis.name in type(settings).model_fields:
            changes = {"n": axis.n}
            if axis.name == "autoattack":
                changes["individual"] = False  # which attack breaks what is not on the card
            sections[axis.name] = getattr(settings, axis.name).model_copy(update=changes)
    return settings.model_copy(update=sections)


def table(plan: Plan) -> str:
    """A plan as lines of text."""
    lines = ["axis                 images  expected"]
    for each in plan.axes:
        count, seconds = (f"{each.n:,}", f"{each.seconds:.0f} s") if each.n else ("–", "–")
        lines.append(f"{PLANNED[each.name]:<19}  {count:>6}  {seconds:>8}  {each.note}".rstrip())
    expected = f"{plan.seconds:.0f} s" if plan.seconds < 100 else f"{plan.seconds / 60:.0f} min"
    lines.append(
        f"budget: {plan.budget}; expected {expected} after {plan.pilot_seconds:.0f} s of timing on "
        f"{plan.pilot_images} images"
    )
    return "\n".join(lines)
