"""What a run of a profile would take, foreseen from the stages of a published one.

    python -m benchmarks.foreseen paper --of fast

No run of the profile is needed: its settings say which models it trains and on how much, the
published run's records say how fast such work went. A training takes its arithmetic (counted as in
:mod:`benchmarks.stages`) at the rate of the published training of the same objective and
architecture; an evaluation takes the published evaluation's seconds, in proportion to its images,
their cost, and the steps of the attack.

The trainings of the paper's ResNet column are told one by one, also for a CPU: their passes at the
rate that ``python -m benchmarks bf16`` measured there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.harness import OURS
from benchmarks.stages import TRAINING, forward_operations, published
from rslib import settings
from rslib.report import labels, style
from rslib.run import Run
from rslib.run.jobs import Job, training_jobs
from rslib.settings import Settings
from rslib.settings.names import parts
from rslib.settings.plan import plan
from rslib.store import records

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "foreseen.json"
SHOWN = 180
"""Seconds below which a row goes into the last one."""

COLUMN = (
    "resnet18-standard", "resnet18-adversarial", "resnet18-aligned", "resnet18-aligned@beta=0.0",
)  # fmt: skip
"""The trainings behind the paper's ResNet column, the last one being alignment's control."""


@dataclass(frozen=True)
class Stage:
    """Something that a published run did, with what its cost goes by.

    Attributes:
        model: its name.
        work: ``"training"`` or an evaluation.
        seconds: that it took.
        images: that it was of; of a training, those of an epoch.
        passes: forward passes of one image that were counted, or None.
    """

    model: str
    work: str
    seconds: float
    images: int
    passes: float | None


class Shelf:
    """A published run's stages, to be asked for the one most like another."""

    def __init__(self, run: Run) -> None:
        """Read them."""
        self.run = run
        self.trainings: dict[tuple[str, bool], Stage] = {}
        self.evaluations: dict[str, dict[str, Stage]] = {}
        for path in sorted((run.directory / "models").glob("*/model.json")):
            about = records.read_json(path)
            passes = len(about["history"]) * training_passes(run.settings, about["name"])
            found = Stage(about["name"], TRAINING, about["seconds"], about["train_images"], passes)
            self.trainings[about["name"], "background_correlation" in _data(about)] = found
        for path in sorted((run.directory / "records").glob("*/*.parquet")):
            about = records.read_metadata(path)
            # The shortcut experiment's evaluations are of seconds; masks are no model's.
            known = (about["model"], False) in self.trainings
            if known and "background_correlation" not in _data(about):
                notes = about.get("notes", {})
                counted = notes.get("evaluations", 0) + notes.get("gradients", 0)
                found = Stage(
                    about["model"], about["evaluation"], about["seconds"], about["n"],
                    counted / about["n"] if counted else None,
                )  # fmt: skip
                self.evaluations.setdefault(about["model"], {})[found.work] = found
        self.asked_by = {
            job.name: job.notebook for job in training_jobs(run).values() if not job.shortcut
        }

    def training(self, name: str, shortcut: bool) -> Stage:
        """The training of that model, of one of its objective, or of one of its architecture."""
        return self.trainings[
            _like(name, [model for model, short in self.trainings if short == shortcut]), shortcut
        ]

    def kinds(self, job: Job) -> set[str]:
        """How a model is evaluated: as itself, or as the least asked of those of its notebook."""
        if job.name in self.evaluations:
            return set(self.evaluations[job.name])
        beside = [
            set(self.evaluations[name])
            for name, notebook in self.asked_by.items()
            if notebook == job.notebook and name in self.evaluations
        ]
        return min(beside, key=len, default=set())

    def evaluation(self, name: str, kind: str) -> Stage:
        """That evaluation of the model most like one."""
        having = [model for model, found in self.evaluations.items() if kind in found]
        return self.evaluations[_like(name, having)][kind]


def _like(name: str, others: Sequence[str]) -> str:
    """The model most like one: itself, one of its objective and architecture, or of the latter.

    Raises:
        LookupError: none has its architecture.
    """
    asked = parts(name)
    alike = [model for model in others if parts(model).architecture == asked.architecture]
    same = [model for model in alike if parts(model).objective == asked.objective]
    attacked = [model for model in alike if "adversarial" in parts(model).objective]
    for found in ([name] if name in alike else [], same, attacked, alike):
        if found:
            return found[0]
    raise LookupError(f"nothing published is like {name}: foresee from a run that has its network")


def _data(about: Mapping[str, Any]) -> Mapping[str, Any]:
    return about["inputs"].get("data", {})


def training_passes(chosen: Settings, name: str) -> float:
    """Forward passes that an image costs in an epoch: three, and two for each step of an attack."""
    attack = plan(chosen, name).attack
    return 3 + (0 if attack is None else getattr(attack, "probability", 1.0) * attack.steps * 2)


def collect(run: Run, target: Run, measured: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a run would take.

    Args:
        run: a published one, whose stages were timed.
        target: of the profile asked for; only its settings are used, nothing of it need exist.
        measured: the benchmarks' rows of a CPU, or None.

    Returns:
        profile, of (the published one), device, and rows: for trainings by objective and
        architecture and for evaluations by kind and architecture, how many there are (``count``),
        ``operations`` (None where they are not counted) and ``seconds``; ``column``, the trainings
        of :data:`COLUMN` with their ``epochs``, ``operations``, ``seconds`` there and
        ``cpu_seconds`` (None where the CPU's rate is not known); and ``cpu``, that CPU in words.
    """
    shelf = Shelf(run)
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    device = {
        records.read_json(path)["provenance"]["device"]
        for path in (run.directory / "models").glob("*/model.json")
    }
    for work, objective, name, seconds, operations in _foreseen(shelf, target):
        architecture = parts(name).architecture
        row = rows.setdefault(
            (work, objective, architecture),
            {"work": work, "objective": objective, "architecture": architecture, "count": 0,
             "seconds": 0.0, "operations": 0.0},
        )  # fmt: skip
        row["count"] += 1
        row["seconds"] += seconds
        known = None not in (operations, row["operations"])
        row["operations"] = row["operations"] + operations if known else None
    return {
        "profile": target.settings.profile,
        "of": run.settings.profile,
        "device": ", ".join(sorted(device)),
        "rows": sorted(rows.values(), key=lambda row: -row["seconds"]),
        **_column(shelf, target, measured),
    }


def _column(shelf: Shelf, target: Run, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """The paper's ResNet trainings on the published run's device and on a CPU."""
    cpu_rate = None
    once = tuple(forward_operations(run, "resnet18") for run in (shelf.run, target))
    if measured is not None:
        for row in measured["suites"].get("bf16", {"rows": []})["rows"]:
            milliseconds = row["contenders"][OURS]["milliseconds"]["median"]
            cpu_rate = 3 * once[1] / (milliseconds / 1000)  # a step is three passes
    told = []
    for name in COLUMN:
        operations, rate = _training(shelf, target, name, once)
        told.append({
            "model": name,
            "epochs": plan(target.settings, name).recipe.epochs,
            "operations": operations,
            "seconds": operations / rate,
            "cpu_seconds": None if cpu_rate is None else operations / cpu_rate,
        })  # fmt: skip
    return {"column": told, "cpu": None if cpu_rate is None else measured["machine"]["device"]}


def _training(
    shelf: Shelf, target: Run, name: str, once: tuple[int, int], shortcut: bool = False
) -> tuple[float, float]:
    """The operations of a training, and how many the published one like it did in a second.

    ``once`` are those of a forward pass, of the published run's net and of the target's.
    """
    stage, (was, now) = shelf.training(name, shortcut), once
    passes = plan(target.settings, name).recipe.epochs * training_passes(target.settings, name)
    return stage.images * passes * now, stage.images * stage.passes * was / stage.seconds


def _foreseen(shelf: Shelf, target: Run) -> Iterator[tuple[str, str, str, float, float | None]]:
    """Work, objective (of trainings), model, seconds and operations of all that a run would do."""
    once = {
        name: (forward_operations(shelf.run, name), forward_operations(target, name))
        for name in target.settings.training.standard.recipes
    }
    for job in training_jobs(target).values():
        was, now = once[parts(job.name).architecture]
        operations, rate = _training(shelf, target, job.name, (was, now), job.shortcut)
        yield TRAINING, parts(job.name).objective, job.name, operations / rate, operations
        for kind in sorted(() if job.shortcut else shelf.kinds(job)):
            stage = shelf.evaluation(job.name, kind)
            n, passes = images(target.settings, stage), attack_passes(target.settings, stage)
            share = n / stage.images * now / was * passes / (stage.passes or 1)
            operations = None if stage.passes is None else n * passes * now
            yield kind, "", job.name, stage.seconds * share, operations


def images(chosen: Settings, stage: Stage) -> int:
    """The images of an evaluation under other settings; None there means the 10,000 of the test."""
    section = getattr(chosen, stage.work, None)
    if not hasattr(section, "n"):
        return stage.images
    return 10_000 if section.n is None else section.n


def attack_passes(chosen: Settings, stage: Stage) -> float:
    """Forward passes an image of an evaluation under other settings: as they were, but for PGD.

    An attack followed to its last iterate takes two passes a step and one to judge; one that stops
    at the first success takes what the published one took.
    """
    if stage.work == "pgd" and chosen.pgd.last_iterate:
        return chosen.pgd.restarts * (2 * chosen.pgd.steps + 1)
    return stage.passes or 1


def markdown(report: Mapping[str, Any]) -> str:
    """The table, and what it is worth."""
    wanted, of = report["profile"], report["of"]
    lines = [
        f"Foreseen, not run: the work of profile `{wanted}` at the pace of the published `{of}`",
        f"edition, on one {report['device']}: about **{_long(report['rows'])}** for one",
        "seed, one stage after the other. Each training goes at the rate of the one most like it,",
        "each evaluation by its images, their cost and the attack's steps. The published run",
        "computes in bf16 and TF32 where it may, in batches of up to 512, and its stages shared",
        f"the device; `{wanted}` does what its settings say: an order of magnitude, no promise.",
        "It stops and goes on at any epoch or shard. With `FAN_OUT=1` its models train",
        "side by side: on one machine all share its first GPU, `GPUS` of them at a time; under",
        "SLURM (`make cluster`) each has one of those that it grants ({doc}`cluster`).",
        "",
        "| work | how many | 10^15 operations | minutes |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in _shown(report):
        counted = "" if row["operations"] is None else f"{row['operations'] / 1e15:,.0f}"
        lines.append(f"| {_named(row)} | {row['count']} | {counted} | {_minutes([row]):.0f} |")
    rest = [row for row in report["rows"] if row["seconds"] < SHOWN]
    lines.append(f"| the rest | {sum(row['count'] for row in rest)} |  | {_minutes(rest):.0f} |")
    return "\n".join([*lines, "", *_told(report)]) + "\n"


def _told(report: Mapping[str, Any]) -> list[str]:
    """The trainings of the paper's ResNet column, one by one."""
    rows, cpu = report["column"], report["cpu"]
    gpu_hours = sum(row["seconds"] for row in rows) / 3600
    if cpu is None:
        slow = "On a CPU this is not known yet: `python -m benchmarks bf16` measures its pace."
    else:
        cpu_hours = sum(row["cpu_seconds"] for row in rows) / 3600
        slow = (
            f"On a {cpu}, in bf16, they would take **{cpu_hours:.0f} hours**: all passes, those of "
            "an attack, too, at the measured pace of a training step; what alignment does beside "
            "the passes is not counted."
        )
    lines = [
        f"The trainings of the paper's ResNet column, as profile `{report['profile']}` has them, "
        f"would take **{gpu_hours:.1f} hours** on one {report['device']}. {slow} Teachers and "
        "evaluations come on top.",
        "",
        "| training | epochs | 10^15 operations | GPU, hours | CPU, hours |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        last = "not measured yet" if cpu is None else f"{row['cpu_seconds'] / 3600:.1f}"
        lines.append(
            f"| {labels.short_label(row['model'])} | {row['epochs']} "
            f"| {row['operations'] / 1e15:,.1f} | {row['seconds'] / 3600:.2f} | {last} |"
        )
    return lines


def _shown(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [row for row in report["rows"] if row["seconds"] >= SHOWN]


def _minutes(rows: Sequence[Mapping[str, Any]]) -> float:
    return sum(row["seconds"] for row in rows) / 60


def _long(rows: Sequence[Mapping[str, Any]]) -> str:
    minutes = _minutes(rows)
    return f"{minutes / 60:.0f} hours" if minutes > 180 else f"{minutes:.0f} minutes"


def _named(row: Mapping[str, Any]) -> str:
    if row["work"] == TRAINING:
        return f"training: {labels.short_label(row['architecture'] + '-' + row['objective'])}"
    return (
        f"{labels.evaluation_label(row['work'])}, {labels.architecture_label(row['architecture'])}"
    )


def describe(report: Mapping[str, Any]) -> str:
    """The figure in words, for its alternative text."""
    told = [f"{_named(row)} {_minutes([row]):.0f}" for row in _shown(report)]
    return f"Minutes foreseen by work: {'; '.join(told)}."


@style.styled
def figure(report: Mapping[str, Any]) -> Figure:
    """Minutes by work, all models together."""
    rows = _shown(report)
    drawn, axes = style.canvas(
        [["minutes"]],
        height=0.9 + 0.22 * len(rows),
        footer=f"Profile {report['profile']} at the pace of {report['of']} on {report['device']}.",
    )
    axis = axes["minutes"]
    axis.barh(range(len(rows)), [_minutes([row]) for row in rows], color=style.BLUE)
    axis.set_yticks(range(len(rows)), [_named(row) for row in rows])
    axis.tick_params(axis="y", labelsize=7)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlabel("Minutes, all models together")
    axis.grid(True, axis="x")
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Write foreseen.json and print its table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("profile", help="what is foreseen, such as paper")
    parser.add_argument("--of", default="fast", help="the published profile that was timed; fast")
    parser.add_argument(
        "--set", default="{}", metavar="YAML",
        help="other settings, such as '{vit_small: {patch: 2}}'; then nothing is stored",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    try:
        changed = settings.read_yaml(asked.set, "--set")
        target = Run(settings.load(asked.profile, changed), root=Path("runs"), progress=False)
        run = published(asked.of)
    except (settings.SettingsError, LookupError) as error:
        print(f"python -m benchmarks.foreseen: {error}", file=sys.stderr)
        return 2
    stored = results.path(results.RESULTS)
    report = collect(run, target, records.read_json(stored) if stored.exists() else None)
    if not changed:
        records.write_json(results.RESULTS / FILE, report)
    print(markdown(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
