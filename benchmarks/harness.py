"""One row of the table: contenders that do the same work, timed in turns.

Repeats are interleaved, so that a busy moment of the machine meets every contender, and the claim
is a ratio of medians. Passes through the model are counted too: counts stay the same on a machine
that is not quiet. So is the arithmetic of ours, from which follows the floor of its time
(:mod:`benchmarks.floors`).
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from benchmarks import floors
from benchmarks.clock import timed
from benchmarks.floors import Floor
from benchmarks.rates import Rates
from rslib.models.device import describe

OURS = "rslib"
CPU = torch.device("cpu")
REMEDY = "pip install '.[dev]'"


class Disagreement(RuntimeError):
    """Contenders whose answers differ: their times would not compare."""


@dataclass(frozen=True)
class Contender:
    """One implementation of a row's work.

    Attributes:
        name: ``"rslib"``, or the package it stands for.
        run: does the work once and returns its answer, for the row's check.
        items: how many items (images, mostly) one call does; slow peers may do fewer.
        model: whose forward passes are counted; None where there is no model.
        told: images passed forward through copies of the model, which cannot be watched, as the
            answer says.
        seconds: of the part that is compared, as the answer says; None for the whole call.
        note: what a reader must know of it, such as an option that makes it do the same work.
    """

    name: str
    run: Callable[[], Any]
    items: int
    model: nn.Module | None = None
    told: Callable[[Any], int] | None = None
    seconds: Callable[[Any], float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Row:
    """Work that several implementations do.

    Attributes:
        name: such as ``"PGD-20, undefended net"``.
        contenders: ours first.
        check: given each contender's answer by name, says in words what was found equal.
            Raises :class:`Disagreement` where it is not.
        targets: for a peer, how many times faster ours is meant to be on a CPU.
        missing: for a peer that is not there, why, and the way out.
        moved: bytes that an item must at least bring from and to memory, once each; None where that
            cannot be said, and then there is no floor.
        products: whether the convolutions and matrix products of ours are counted for the floor, in
            a run more that is not timed.
        no_floor: why there is none.
        item: what is counted, in the singular.
        warm_up: whether the first round, which fills caches and gives the answers, is left out of
            the times; rows of minutes count it on a CPU.
        note: what the comparison covers, such as "worst case of PGD-20 and AutoAttack".
        shortfall: the known reason why a target may be missed; told only where one is.
    """

    name: str
    contenders: Sequence[Contender]
    check: Callable[[Mapping[str, Any]], str]
    targets: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    moved: float | None = None
    products: bool = True
    no_floor: str = ""
    item: str = "image"
    warm_up: bool = True
    note: str = ""
    shortfall: str = ""


@dataclass(frozen=True)
class Suite:
    """Rows that belong together.

    Attributes:
        rows: in order.
        total: what all rows together are called; they are then stored as details of that one row.
        targets: of the total.
        note: of the total.
        skipped: rows that cannot be measured here, with the reason.
    """

    rows: Sequence[Row]
    total: str | None = None
    targets: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)

    def without_targets(self) -> Suite:
        """The same rows on a device that the targets were not set for."""
        rows = [replace(row, targets={}) for row in self.rows]
        return replace(self, rows=rows, targets={})


def gather(
    makers: Mapping[str, Callable[[], Contender]],
) -> tuple[list[Contender], dict[str, str]]:
    """The peers that are installed, and why the others are missing.

    Args:
        makers: for each peer what imports it and sets it up.
    """
    found, missing = [], {}
    for name, make in makers.items():
        try:
            found.append(make())
        except ImportError as error:
            missing[name] = f"not measured: {error.name or name} is not installed ({REMEDY})"
    return found, missing


def measure(
    row: Row,
    repeats: int,
    *,
    device: torch.device = CPU,
    rates: Rates | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Time a row's contenders in turns, each second round in reverse order.

    Args:
        row: what is compared.
        repeats: timed rounds, at least 1.
        device: where it computes; a GPU has to be done before the clock is read.
        rates: the device's, from which floors follow; None leaves these out.
        progress: whether to show a bar of the calls.

    Returns:
        The row as a JSON document: for each contender the seconds of each round, median, lowest and
        highest milliseconds an item, and forward passes an item; for each peer the ratio of its
        median to ours with the lowest and highest ratio of one round, the target and whether it is
        met; what the check found; and the floor of an item in milliseconds with the operations and
        bytes that make it and how many times as long ours takes, or None.

    Raises:
        Disagreement: the contenders' answers differ.
    """
    answers: dict[str, Any] = {}
    seconds: dict[str, list[float]] = {each.name: [] for each in row.contenders}
    passes: dict[str, float | None] = {}
    warm_up = row.warm_up or device.type != "cpu"  # a GPU loads its programs at their first use
    rounds = repeats + warm_up
    floored = rates is not None and row.moved is not None
    calls = rounds * len(row.contenders) + floored
    found, floor = "", None
    with tqdm(total=calls, desc=row.name, leave=False, disable=not progress) as bar:
        for number in range(rounds):
            for each in row.contenders[:: -1 if number % 2 else 1]:
                with counted(each.model) as images:
                    answer, elapsed = timed(each.run, device)
                if each.seconds is not None:
                    elapsed = each.seconds(answer)
                if number == 0:
                    answers[each.name] = answer
                    passes[each.name] = _passes(each, images[0], answer)
                if number >= warm_up:
                    seconds[each.name].append(elapsed)
                bar.update()
            if number == 0:
                found = row.check(answers)
                answers.clear()
        if floored:  # last, so that no round finds caches that this has filled
            floor = _floor(row, rates)
            bar.update()
    return _document(
        row, {each.name: each.items for each in row.contenders}, seconds, passes, found, floor
    )


def _floor(row: Row, rates: Rates) -> Floor:
    (ours,) = (each for each in row.contenders if each.name == OURS)
    counted = floors.operations(ours.run) / ours.items if row.products else 0
    return floors.floor(counted, row.moved, rates)


def _passes(contender: Contender, seen: int, answer: Any) -> float | None:
    """Images passed forward, for each item; None where there is no model."""
    if contender.model is None:
        return None
    elsewhere = 0 if contender.told is None else contender.told(answer)
    return (seen + elsewhere) / contender.items


def total(
    name: str, rows: Sequence[Mapping[str, Any]], targets: Mapping[str, float], note: str = ""
) -> dict[str, Any]:
    """All rows of a suite as one: round by round, the sum of what an item costs in each.

    Args:
        name: of the row that is made.
        rows: as :func:`measure` returns them, of equally many rounds.
        targets: for a peer, how many times faster ours is meant to be in total.
        note: what is summed.

    Returns:
        A row of the same form, of the contenders that are in every row, with a floor where every
        row has one.
    """
    names = [each for each in rows[0]["contenders"] if all(each in r["contenders"] for r in rows)]
    seconds, passes = {}, {}
    for each in names:
        of = [row["contenders"][each] for row in rows]
        costs = [[value / one["items"] for value in one["seconds"]] for one in of]
        seconds[each] = [sum(parts) for parts in zip(*costs, strict=True)]
        counts = [one["passes"] for one in of]
        passes[each] = None if None in counts else sum(counts)
    left = {each for row in rows for each in (*row["contenders"], *row["missing"])} - set(names)
    row = Row(
        name,
        [],
        lambda answers: "",
        targets=targets,
        missing={each: "not in every row: no total" for each in sorted(left)},
        item="item of every row",
        note=note,
    )
    floor = floors.total([each["floor"] for each in rows])
    return _document(row, dict.fromkeys(names, 1), seconds, passes, "row by row", floor)


def _document(
    row: Row,
    items: Mapping[str, int],
    seconds: Mapping[str, list[float]],
    passes: Mapping[str, float | None],
    found: str,
    floor: Floor | None,
) -> dict[str, Any]:
    notes = {each.name: each.note for each in row.contenders}
    costs = {name: [1000 * value / items[name] for value in seconds[name]] for name in items}
    ratios = {
        name: _ratio(costs[name], costs[OURS], row.targets.get(name))
        for name in items
        if name != OURS
    }
    missed = any(ratio["met"] is False for ratio in ratios.values())
    if floor is not None:
        floor = {**floor, "times": statistics.median(costs[OURS]) / floor["milliseconds"]}
    return {
        "row": row.name,
        "item": row.item,
        "note": row.note,
        "shortfall": row.shortfall if missed else "",
        "same": found,
        "missing": dict(row.missing),
        "contenders": {
            name: {
                "items": items[name],
                "note": notes.get(name, ""),
                "seconds": seconds[name],
                "milliseconds": {
                    "median": statistics.median(costs[name]),
                    "low": min(costs[name]),
                    "high": max(costs[name]),
                },
                "passes": passes[name],
            }
            for name in items
        },
        "ratios": ratios,
        "floor": floor,
        "no_floor": row.no_floor if floor is None else "",
    }


def _ratio(theirs: list[float], ours: list[float], target: float | None) -> dict[str, Any]:
    rounds = [a / b for a, b in zip(theirs, ours, strict=True)]
    ratio = statistics.median(theirs) / statistics.median(ours)
    met = None if target is None else ratio >= target
    return {
        "ratio": ratio, "low": min(rounds), "high": max(rounds), "target": target, "met": met,
    }  # fmt: skip


@contextmanager
def counted(model: nn.Module | None) -> Iterator[list[int]]:
    """Count the images that pass forward through a model while the context lasts."""
    images = [0]
    if model is None:
        yield images
        return

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        images[0] += len(inputs[0])

    hook = model.register_forward_hook(count)
    try:
        yield images
    finally:
        hook.remove()


def machine(packages: Sequence[str], device: torch.device | None = None) -> dict[str, Any]:
    """What a time depends on: processor, threads, versions; nothing that names the machine.

    Args:
        packages: whose versions are told.
        device: what is computed on; None takes a GPU where there is one.
    """
    there = {}
    for package in packages:
        try:
            there[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            there[package] = "not installed"
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "device": describe(device),
        "processor": platform.machine(),
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": there,
    }
