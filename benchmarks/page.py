"""The book's page on speed, from what is stored in benchmarks/results.

    python -m benchmarks.page

writes book/pages/speed.md and its figures. Every number is read from a result; a test holds the
page against them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import results
from rslib.report import style
from rslib.settings import PROJECT
from rslib.store.records import RecordError, atomic, read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Document = Mapping[str, Any]

PAGE, FIGURES = Path("book/pages/speed.md"), Path("book/_static")

_TARGET = {"marker": "|", "markersize": 13, "markeredgewidth": 1.6, "color": "black", "ls": ""}

INTRODUCTION = """\
# How fast it is

What is claimed is a ratio: `rslib` beside a public package, or beside the usual way of writing it
where no package does the same, in one process, in turns, with the same weights, images,
batches and number of threads. A row counts only if all give the same answer; what was found equal
is said below the table. Passes are images sent forward through the net for one item: they do not
depend on the machine, nor on what else it is doing.

Not claimed are the times themselves, which belong to this machine and these narrow nets, that
ratios are the same on GPUs, and that the packages are slow: most of them do more than what they are
asked for here, and the reliability of this edition's own numbers rests on comparisons with them.
Targets were set for a CPU before measuring; those missed are left in.
"""

REASONS = """\
## Why

Images that are done are left
: An attack goes on only with the images that still resist, and AutoAttack only with those that
  PGD leaves. Other packages follow every image to the last step. On a net that withstands,
  little is gained.

Closed forms
: Grad-CAM of the last layer needs no backward pass where pooling and one linear map follow it.
  Rollout needs one row of its product, which takes products of a vector and a matrix.

No gradients that nobody asks for
: An attack needs the gradient of the image and not of the weights; the search runs on a copy of
  the net with its batch norm folded into the convolutions, and the net itself judges what was
  found.

Tensors instead of loops
: Corruptions, augmentation and noise are drawn and applied for a batch at once, each image with
  numbers of its own.

Data that stays on the device
: Images are held as bytes where they are used; there are no workers and no copies between
  processes.

Where the passes through the net are the work and everybody needs them all, as in smoothing and in
training on a CPU, there is little to win, and the table says so.
"""

ELSEWHERE = """\
## The same on {device}

The rows above with nets and images on this device, which is done with its work before the clock is
read; what computes on the CPU by its nature still does, as the notes say. No targets were set here.
"""

REPRODUCE = """\
## Measure it yourself

```bash
make bench                                    # the table's rows on a CPU, then this page
make bench DEVICE=cuda                        # the same on a GPU, as a table of its own
.venv/bin/python -m benchmarks pgd gradcam    # some rows again; the others stay
.venv/bin/python -m benchmarks --quick        # a try on few images, stored nowhere
```

The other sections have commands of their own, the last of which makes this page again:

```bash
.venv/bin/python -m benchmarks.growth --out benchmarks/results # how time and memory grow
.venv/bin/python -m benchmarks.recipes        # recipes side by side, four hours of a core
.venv/bin/python -m benchmarks.stages fast    # a published run's stages, from its records
.venv/bin/python -m benchmarks.foreseen paper # what another run would take, from the same
.venv/bin/python -m benchmarks.page
```

CIFAR-10 has to be there ({doc}`reproduce`), and the packages of `pip install '.[dev]'`; a row
says which one it misses. A quiet machine gives narrow ranges. The table is stored as
`benchmarks/results/cpu.json` with every round's seconds, that of a GPU as `cuda.json`.
"""


class Further(NamedTuple):
    """Another result with a section of its own.

    Attributes:
        heading: above it; empty where its text brings one.
        load: gives the text, the figure and the figure in words, each a function of the report; no
            words, no figure.
        command: measures it.
    """

    heading: str
    load: Callable[[], tuple[Callable, Callable, Callable]]
    command: str


def _growth() -> tuple[Callable, Callable, Callable]:
    from benchmarks import growth

    return growth.markdown, growth.figure, growth.describe


def _recipes() -> tuple[Callable, Callable, Callable]:
    from benchmarks import recipes

    return recipes.markdown, recipes.figure, recipes.describe


def _stages() -> tuple[Callable, Callable, Callable]:
    from benchmarks import stages

    return stages.markdown, stages.figure, stages.describe


def _foreseen() -> tuple[Callable, Callable, Callable]:
    from benchmarks import foreseen

    return foreseen.markdown, foreseen.figure, foreseen.describe


FURTHER = {
    "stages": Further("## A whole run on a GPU, stage by stage", _stages, "benchmarks.stages fast"),
    "foreseen": Further(
        "## What the paper's protocol would take", _foreseen, "benchmarks.foreseen paper"
    ),
    "growth": Further("", _growth, "benchmarks.growth"),
    "recipes": Further("## Which recipe trains better", _recipes, "benchmarks.recipes"),
}
"""By the name of its file in benchmarks/results."""


def text(folder: Path) -> str:
    """The page, from the results in a folder.

    Raises:
        RecordError: there are none.
    """
    document = _measured(folder)
    parts = [
        INTRODUCTION,
        verdict(document),
        unmeasured(document),
        _figure("speed.png", describe(document)),
        *results.summary(document),
        REASONS,
        *results.details(document, "## One by one: {}"),
    ]
    for other in _elsewhere(folder):
        parts.append(ELSEWHERE.format(device=other["machine"]["device"]))
        parts += [*results.summary(other), *results.details(other, "### One by one: {}")]
    reports = _reports(folder)
    for name, further in FURTHER.items():
        parts.append(further.heading)
        if name in reports:
            markdown, _, words = further.load()
            parts.append(markdown(reports[name]))
            parts.append(_figure(f"speed-{name}.png", words(reports[name])))
        elif further.heading:
            parts.append(f"Not measured yet: `python -m {further.command}` does.")
    parts.append(REPRODUCE)
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def verdict(document: Document) -> str:
    """How many targets are met, and which are missed."""
    aimed = [
        (row["row"], name, ratio)
        for row in results.rows(document)
        for name, ratio in row["ratios"].items()
        if ratio["target"] is not None
    ]
    missed = [
        f"{row}, beside {name}, at {results.times(ratio)} of {ratio['target']:g}×"
        for row, name, ratio in aimed
        if not ratio["met"]
    ]
    told = f"Of {len(aimed)} targets, {len(aimed) - len(missed)} are met."
    return told + (f" Missed: {'; '.join(missed)}." if missed else "")


def unmeasured(document: Document) -> str:
    """The rows that are offered and have not been measured; empty where all have."""
    from benchmarks.__main__ import OFFERS

    lacking = [name for name in OFFERS if name not in document["suites"]]
    told = [f"{OFFERS[name].summary} (`python -m benchmarks {name}`)" for name in lacking]
    return f"Not measured yet: {'; '.join(told)}." if told else ""


def describe(document: Document) -> str:
    """The figure in words, for its alternative text."""
    told = [f"{row}, beside {name} {ratio['ratio']:.2g}" for row, name, ratio in _points(document)]
    return f"Ratios of medians on a logarithmic axis. {'; '.join(told)}."


@style.styled
def figure(document: Document) -> Figure:
    """All ratios on a logarithmic axis, with the range of the rounds and the targets."""
    points = _points(document)
    machine = document["machine"]
    footer = (
        f"{machine['device']}, {machine['vector_instructions']}, PyTorch "
        f"{machine['versions']['torch']}. Lines: lowest and highest round."
    )
    drawn, axes = style.canvas([["ratios"]], height=0.9 + 0.24 * len(points), footer=footer)
    axis = axes["ratios"]
    for place, (_, _, ratio) in enumerate(points):
        shade = {True: style.BLUE, False: style.VERMILION, None: style.GREY}[ratio["met"]]
        axis.plot([ratio["low"], ratio["high"]], [place, place], color=shade, linewidth=1.2)
        axis.plot(ratio["ratio"], place, marker="o", color=shade, linestyle="")
        if ratio["target"] is not None:
            axis.plot(ratio["target"], place, **_TARGET)
    axis.axvline(1, color=style.GREY, linewidth=0.8)
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
    axis.set_xlabel("Time of the other over time of rslib")
    axis.set_yticks(range(len(points)), [f"{row}: {name}" for row, name, _ in points])
    axis.tick_params(axis="y", labelsize=7)
    axis.set_ylim(len(points) - 0.5, -0.5)
    axis.grid(True, axis="x")
    style.legend(
        drawn,
        [
            style.line("target met", color=style.BLUE, marker="o", ls=""),
            style.line("missed", color=style.VERMILION, marker="o", ls=""),
            style.line("without a target", color=style.GREY, marker="o", ls=""),
            style.line("target", **_TARGET),
        ],
    )
    return drawn


def _points(document: Document) -> list[tuple[str, str, Document]]:
    """Row, peer and ratio of every comparison, in the order of the table."""
    return [
        (row["row"], name, ratio)
        for row in results.rows(document)
        for name, ratio in row["ratios"].items()
    ]


def _measured(folder: Path) -> Document:
    path = results.path(folder)
    if not path.exists():
        raise RecordError(f"{path} is missing: measure first, make bench")
    return read_json(path)


def _elsewhere(folder: Path) -> list[Document]:
    """The same rows on other devices than the CPU, where they were measured."""
    paths = [results.path(folder, device) for device in results.DEVICES if device != "cpu"]
    return [read_json(path) for path in paths if path.exists()]


def _reports(folder: Path) -> dict[str, Document]:
    """The further results that are there."""
    paths = {name: folder / f"{name}.json" for name in FURTHER}
    return {name: read_json(path) for name, path in paths.items() if path.exists()}


def _figure(name: str, words: str) -> str:
    if not words:
        return ""
    return f"![{words.replace('[', '(').replace(']', ')')}](../_static/{name})"


def write(folder: Path, root: Path) -> None:
    """Write the page and its figures below a project's root.

    Raises:
        RecordError: there are no results, or the disk is full.
    """
    drawn = {"speed.png": figure(_measured(folder))}
    for name, report in _reports(folder).items():
        _, draw, words = FURTHER[name].load()
        if words(report):
            drawn[f"speed-{name}.png"] = draw(report)
    for name, one in drawn.items():
        with atomic(root / FIGURES / name) as path:
            one.savefig(path, format="png", dpi=150, metadata={"Software": None})
    with atomic(root / PAGE) as path:
        path.write_text(text(folder))


def main() -> int:
    """Write the page; returns the exit status."""
    try:
        write(results.RESULTS, PROJECT)
    except RecordError as error:
        print(f"python -m benchmarks.page: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
