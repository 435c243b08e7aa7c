"""From measured cells to the report: medians, exponents, memory, checks, and the projection."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.growth import fits, imagenet, plan
from benchmarks.growth.plan import Series
from benchmarks.growth.work import NARROW, Work

# What an image of a batch takes was measured under this name where it differs.
_BATCHED = {"smoothing": "votes"}

Measured = Mapping[str, Sequence[Mapping[str, Any]]]


def assemble(
    series: Sequence[Series], measured: Measured, machine: Mapping[str, Any], *, quick: bool
) -> dict[str, Any]:
    """The report as a JSON document.

    Args:
        series: what was measured, beside the bare passes.
        measured: the rounds of each cell, as of :func:`benchmarks.growth.plan.measured`.
        machine: as the harness describes it.
        quick: whether it was a try with few images.

    Returns:
        ``machine``, ``quick``, ``rounds``, ``confidence``; ``series`` (sizes, cells, the exponent
        of the time and of the operations, the slope of the memory); ``memory`` of each series over
        images (see :func:`benchmarks.growth.fits.memory`); ``bare`` passes; ``checks`` (passes
        counted and expected, and the share of the time that bare passes explain); ``projection``.
    """
    found = [summarize(each, measured) for each in series]
    bare = [_bare(summarize(each, measured)) for each in plan.BARE]
    return {
        "machine": dict(machine),
        "quick": quick,
        "rounds": min(len(rounds) for rounds in measured.values()),
        "confidence": fits.CONFIDENCE,
        "series": found,
        "memory": _memory(found),
        "bare": bare,
        "checks": _checks(found, bare),
        "projection": imagenet.project(bare),
    }


def summarize(series: Series, measured: Measured) -> dict[str, Any]:
    """One series: its cells with medians, and how they grow."""
    cells = [_cell(size, work, measured[plan.name(work)])
             for size, work in zip(series.sizes, series.works(), strict=True)]  # fmt: skip
    sizes = list(series.sizes)
    operations = fits.exponent(sizes, [[cell["flop"]] for cell in cells])
    return {
        "axis": series.axis,
        "kind": series.work.kind,
        "net": series.work.net,
        "fixed": {k: v for k, v in asdict(series.work).items() if k not in ("kind", series.axis)},
        "sizes": sizes,
        "cells": cells,
        "time": fits.exponent(sizes, [cell["seconds"] for cell in cells]),
        "operations": operations["value"],
        "memory": _peaks(sizes, [cell["peak"] for cell in cells]),
    }


def find(report: Mapping[str, Any], axis: str, kind: str, net: str = NARROW[0]) -> dict[str, Any]:
    """One of a report's series.

    Raises:
        KeyError: it was not measured.
    """
    for each in report["series"]:
        if (each["axis"], each["kind"], each["net"]) == (axis, kind, net):
            return each
    raise KeyError(f"the report holds no series of {kind} over {axis} with {net}")


def _cell(size: int, work: Work, rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = rounds[0]
    forward, gradient = imagenet.flop(work.net, side=work.side, classes=work.classes)
    seconds, peaks = ([each[key] for each in rounds] for key in ("seconds", "peak"))
    return {
        "size": size,
        "images": work.images,
        "seconds": seconds,
        "median": statistics.median(seconds),
        "peak": peaks,
        "peak_median": statistics.median(peaks),
        "flop": first["forward"] * forward + first["gradient"] * gradient,
        **{key: first[key] for key in ("data", "rows", "forward", "gradient")},
    }


def _peaks(sizes: Sequence[int], peaks: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The slope of the highest memory, and its exponent where all of it shows."""
    seen = all(value > 0 for each in peaks for value in each)
    exponent = fits.exponent(sizes, peaks)["value"] if seen else None
    return fits.slope(sizes, peaks) | {"exponent": exponent}


def _bare(series: Mapping[str, Any]) -> dict[str, Any]:
    """What one image's pass takes, at the largest size."""
    largest = series["cells"][-1]
    an_image = {key: largest[key] / largest["images"] for key in ("flop", "data")}
    seconds = [each / largest["images"] for each in largest["seconds"]]
    return {
        "net": series["net"],
        "kind": series["kind"],
        "flop": an_image["flop"],
        "seconds": statistics.median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "rate": an_image["flop"] / statistics.median(seconds),
        "in_flight": series["memory"]["value"] - an_image["data"],
    }


def _memory(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    batches = {each["kind"]: each["memory"] for each in found if each["axis"] == "batch"}
    known = []
    for each in found:
        if each["axis"] != "images":
            continue
        kind, largest = each["kind"], each["cells"][-1]
        batch = batches.get(_BATCHED.get(kind, kind))
        data, rows = (largest[key] / largest["images"] for key in ("data", "rows"))
        about = {"kind": kind, "classes": each["fixed"]["classes"]}
        known.append(about | fits.memory(each["memory"], batch, data, rows))
    return known


def _checks(
    found: Sequence[Mapping[str, Any]], bare: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """For each workload: passes an image as counted and as the projection has them; time explained.

    The bare passes of the narrow ResNet-18, times the passes counted, should come to the measured
    time: what is missing is spent outside the net, and the projection leaves it out.
    """
    seconds = {each["kind"]: each["seconds"] for each in bare if each["net"] == NARROW[0]}
    checks = {}
    for kind in imagenet.KINDS:
        axis = "classes" if kind == "autoattack" else "images"
        cells = next(e["cells"] for e in found if (e["axis"], e["kind"]) == (axis, kind))
        cell = cells[0 if axis == "classes" else -1]
        counted = {each: cell[each] / cell["images"] for each in seconds}
        explained = cell["images"] * sum(counted[each] * seconds[each] for each in seconds)
        wanted = imagenet.passes(kind, imagenet.HERE)
        checks[kind] = {
            "counted": counted,
            "expected": dict(zip(("forward", "gradient"), wanted, strict=True)),
            "explained": explained / cell["median"],
        }
    return checks
