"""What each stage of a published run took: seconds, arithmetic, and the rate that makes of it.

    python -m benchmarks.stages fast

Seconds are those that the run recorded for each model and each evaluation; where several ran side
by side on one GPU, each took part of it, and they overlap. Arithmetic is counted from the networks'
forward passes (a product and a sum are two operations): a training step is three of them, an
attacker's step two. A stage's rate is therefore at most what the device can do, and how far below
it lies says what is left to win.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from benchmarks import results
from rslib import models
from rslib.corruptions import NAMES, SEVERITIES
from rslib.report import labels, style
from rslib.run import Run
from rslib.run.published import find, profiles
from rslib.settings.names import parts
from rslib.settings.plan import plan
from rslib.store import records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "stages.json"
TRAINING = "training"


def published(profile: str) -> Run:
    """The published run of a profile.

    Raises:
        LookupError: nothing is published for it; says what is.
    """
    there = profiles()
    if profile not in there:
        raise LookupError(
            f"no edition {profile} is published; there are: {', '.join(there) or 'none'}"
        )
    return find(profile)


def collect(run: Run) -> dict[str, Any]:
    """The stages of a run that has been published.

    Returns:
        profile, device (the run's, of its trainings) and stages: for each model and each of what
        was done with it, architecture, seconds and operations (None where they are not counted).
    """
    once = {name: forward_operations(run, name) for name in run.settings.training.standard.recipes}
    stages, devices = [], set()
    for path in sorted((run.directory / "models").glob("*/model.json")):
        about = records.read_json(path)
        devices.add(about["provenance"]["device"])
        stages.append(_stage(run, about, TRAINING, about["seconds"], _trained(run, about, once)))
    for path in sorted((run.directory / "records").glob("*/*.parquet")):
        about = records.read_record(path).attrs
        if parts(about["model"]).architecture in once:  # masks are no model's
            counted = _evaluated(run, about, once)
            stages.append(_stage(run, about, about["evaluation"], about["seconds"], counted))
    return {
        "profile": run.settings.profile,
        "device": ", ".join(sorted(devices)),
        "stages": stages,
    }


def forward_operations(run: Run, architecture: str) -> int:
    """Floating-point operations of one image's way forward through a network."""
    from torch.utils.flop_counter import FlopCounterMode

    size = getattr(run.settings, architecture).model_dump()
    network = models.build(architecture, num_classes=len(run.classes), **size).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops()


def _stage(
    run: Run, about: Mapping[str, Any], work: str, seconds: float, operations: float | None
) -> dict[str, Any]:
    name = about.get("name") or about["model"]
    where = about["inputs"].get("data", {})
    return {
        "model": name,
        "architecture": parts(name).architecture,
        "shortcut": "background_correlation" in where and run.settings.data.name != "shapes",
        "work": work,
        "seconds": seconds,
        "operations": operations,
    }


def _trained(run: Run, about: Mapping[str, Any], once: Mapping[str, int]) -> float:
    """Three forward passes an image and epoch, and two for each step of the attack on it."""
    attack = plan(run.settings, about["name"]).attack
    share = getattr(attack, "probability", 1.0)
    passes = 3 + (0 if attack is None else share * attack.steps * 2)
    seen = about["train_images"] * len(about["history"])
    return seen * passes * once[about["architecture"]]


def _evaluated(run: Run, about: Mapping[str, Any], once: Mapping[str, int]) -> float | None:
    n, chosen = about["n"], run.settings.smoothing
    notes = about.get("notes", {})
    passes = {
        "clean": n,
        "fgsm": 4 * n,  # one clean and one attacked pass are the verdict's
        "pgd": notes.get("evaluations", 0) + notes.get("gradients", 0),
        "corruptions": n * len(NAMES) * len(SEVERITIES),
        "smoothing": n * (chosen.samples + chosen.selection_samples),
    }.get(about["evaluation"])
    return None if passes is None else passes * once[parts(about["model"]).architecture]


def _totals(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """By work and architecture: how many models, and their seconds and operations together."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for stage in report["stages"]:
        if stage["work"] == TRAINING:
            continue
        key = (stage["work"], stage["architecture"])
        total = found.setdefault(
            key,
            {"work": key[0], "architecture": key[1], "models": 0, "seconds": 0, "operations": 0},
        )
        total["models"] += 1
        total["seconds"] += stage["seconds"]
        known = None not in (stage["operations"], total["operations"])
        total["operations"] = total["operations"] + stage["operations"] if known else None
    return sorted(found.values(), key=lambda total: -total["seconds"])


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of trainings and of evaluations."""
    trained = [stage for stage in report["stages"] if stage["work"] == TRAINING]
    trained.sort(key=lambda stage: -stage["seconds"])
    minutes = sum(stage["seconds"] for stage in report["stages"]) / 60
    lines = [
        f"The published `{report['profile']}` edition, on one {report['device']}. Several",
        "trainings and evaluations ran side by side: each had part of the device, and their",
        "seconds overlap.",
        f"One after the other they would take {minutes:.0f} minutes at most. The rate is",
        "arithmetic over seconds; loading, compiling and writing are in the seconds.",
        "",
        "| training | seconds | 10^15 operations | 10^12 a second |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {_named(stage)} | {_cells(stage)} |" for stage in trained),
        "",
        "| evaluation | models | seconds | 10^15 operations | 10^12 a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for total in _totals(report):
        work, network = labels.evaluation_label(total["work"]), total["architecture"]
        label = f"{work}, {labels.architecture_label(network)}"
        lines.append(f"| {label} | {total['models']} | {_cells(total)} |")
    return "\n".join(lines) + "\n"


def _named(stage: Mapping[str, Any]) -> str:
    return labels.short_label(stage["model"]) + " (shortcut experiment)" * stage["shortcut"]


def _cells(stage: Mapping[str, Any]) -> str:
    operations = stage["operations"]
    if operations is None:
        return f"{stage['seconds']:.0f} |  | "
    rate = operations / 1e12 / stage["seconds"] if stage["seconds"] else 0
    return f"{stage['seconds']:.0f} | {operations / 1e15:.2f} | {rate:.0f}"


def describe(report: Mapping[str, Any]) -> str:
    """The figure in words, for its alternative text."""
    told = [f"{work} {seconds:.0f}" for work, seconds in _bars(report).items()]
    return f"Seconds by work, all models together: {'; '.join(told)}."


def _bars(report: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for stage in report["stages"]:
        work = TRAINING if stage["work"] == TRAINING else labels.evaluation_label(stage["work"])
        found[work] = found.get(work, 0.0) + stage["seconds"]
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@style.styled
def figure(report: Mapping[str, Any]) -> Figure:
    """Seconds by work, all models together."""
    bars = _bars(report)
    drawn, axes = style.canvas(
        [["seconds"]],
        height=0.9 + 0.22 * len(bars),
        footer=f"The {report['profile']} edition on one {report['device']}; work overlapped.",
    )
    axis = axes["seconds"]
    axis.barh(range(len(bars)), list(bars.values()), color=style.BLUE)
    axis.set_yticks(range(len(bars)), list(bars))
    axis.set_ylim(len(bars) - 0.4, -0.6)
    axis.set_xlabel("Seconds, all models together")
    axis.grid(True, axis="x")
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Write stages.json from a published run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("profile", help="a published profile, such as fast")
    profile = parser.parse_args(arguments).profile
    try:
        run = published(profile)
    except LookupError as error:
        print(f"python -m benchmarks.stages: {error}", file=sys.stderr)
        return 2
    records.write_json(results.RESULTS / FILE, collect(run))
    return 0


if __name__ == "__main__":
    sys.exit(main())
