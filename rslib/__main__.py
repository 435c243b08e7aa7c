"""The package's command line: ``python -m rslib <command>``; ``--help`` after either tells more."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        name: what is typed.
        summary: one line for the list of commands.
        description: the head of its help.
        examples: the foot of its help.
        arguments: adds its arguments to its parser.
        run: does it; returns the exit status.
    """

    name: str
    summary: str
    description: str
    examples: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


# --- scorecard ---------------------------------------------------------------------------------

_SCORECARD = """\
Score an image classifier on the book's axes: clean accuracy, calibration, FGSM, PGD,
AutoAttack, corruptions, saliency overlap, and a verdict on whether the numbers under attack
can be trusted. Each comes with an interval, or with the reason why it is not there, beside the
book's own models where a run or a published edition has records of them. Nothing is trained.

MODEL is one of
  timm:NAME                a model of timm, with random weights unless --weights or --pretrained
                           says otherwise; its input is 32 x 32
  package.module:factory   what your function or class returns, looked for in this folder or --path
  FILE.safetensors         weights, put into --architecture
  FILE.pt                  the same from a pickled file, only with --allow-pickle
  resnet18-adversarial     a model that the run has trained

It must map images (B, 3, 32, 32) in [0, 1] to logits, one a class. If it expects normalized
images, say so with --normalize or --mean and --std.
"""

_EXAMPLES = """\
examples
  python -m rslib scorecard timm:resnet18 --profile smoke
  python -m rslib scorecard mynets.small:make --path ~/project --profile cpu --minutes 10
  python -m rslib scorecard resnet.safetensors --architecture timm:resnet18 \\
      --normalize imagenet --profile cpu -n 250
  python -m rslib scorecard old.pth --architecture mynets.small:make --allow-pickle
  python -m rslib scorecard resnet18-adversarial --profile smoke
  python -m rslib scorecard --schema > scorecard.schema.json

The folder given by --out gets scorecard.json (its fields are described by --schema), index.html,
scorecard.png and the per-image records.
"""


def _scorecard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL", help="what to score; see above")
    model = parser.add_argument_group("the model")
    model.add_argument("--architecture", metavar="NAME",
                       help="what a file of weights is put into: resnet18, vit_small, alexnet "
                       "(sized by the profile), timm:NAME or package.module:factory")  # fmt: skip
    model.add_argument("--weights", metavar="FILE", help="weights to put into MODEL")
    model.add_argument("--allow-pickle", action="store_true",
                       help="read a pickled file of weights (.pt, .pth, .ckpt, .bin), by PyTorch's "
                       "restricted reader")  # fmt: skip
    model.add_argument("--pretrained", action="store_true",
                       help="let timm fetch its own weights; needs a network")  # fmt: skip
    model.add_argument("--path", metavar="FOLDER", help="where an import path is looked for")
    model.add_argument("--normalize", choices=("cifar10", "imagenet"),
                       help="put this normalization before the model")  # fmt: skip
    for name in ("--mean", "--std"):
        model.add_argument(name, nargs=3, type=float, metavar=("R", "G", "B"),
                           help="normalization of your own, for images in [0, 1]")  # fmt: skip
    model.add_argument("--name", help="what to call it; derived from MODEL by default")

    protocol = parser.add_argument_group("protocol and budget")
    protocol.add_argument("--profile", default="smoke",
                          help="smoke (synthetic Shapes), cpu, fast or paper (CIFAR-10), or a YAML "
                          "file; default %(default)s")  # fmt: skip
    protocol.add_argument("--settings", metavar="YAML", default="{}",
                          help="laid over the profile, such as '{pgd: {steps: 50}}'")  # fmt: skip
    protocol.add_argument("--seed", type=int, default=0, help="of everything random; default 0")
    budget = protocol.add_mutually_exclusive_group()
    budget.add_argument("-n", type=int, metavar="IMAGES",
                        help="images on every axis but the clean one")  # fmt: skip
    budget.add_argument("--minutes", type=float, metavar="M",
                        help="how long measuring may take; the model is timed first, axes are "
                        "shrunk to fit, and the plan is printed")  # fmt: skip

    protocol.add_argument("--without", metavar="AXIS", nargs="+", default=(),
                          help="axes to leave out, such as autoattack")  # fmt: skip

    out = parser.add_argument_group("output")
    out.add_argument("--out", type=Path, metavar="FOLDER",
                     help="where to write; default scorecards/<name>")  # fmt: skip
    out.add_argument("--force", action="store_true",
                     help="replace another model's scorecard in that folder")  # fmt: skip
    out.add_argument("--quiet", action="store_true", help="no progress bar")
    out.add_argument("--schema", action="store_true",
                     help="print the JSON schema of scorecard.json, and nothing else")  # fmt: skip


def _scorecard(chosen: argparse.Namespace) -> int:
    import json

    from rslib import settings
    from rslib.run import Run
    from rslib.scorecard import ScorecardError, load, schema, scorecard
    from rslib.scorecard.sources import file_name

    if chosen.schema:
        print(json.dumps(schema(), indent=1))
        return 0
    if chosen.model is None:
        raise ScorecardError("name a MODEL, such as timm:resnet18; --help lists the forms")
    if (chosen.mean is None) != (chosen.std is None) or (chosen.mean and chosen.normalize):
        raise ScorecardError("give --mean and --std together, or --normalize alone")
    overrides = settings.read_yaml(chosen.settings, f"--settings {chosen.settings!r}")
    run = Run(settings.load(chosen.profile, overrides), chosen.seed, progress=not chosen.quiet)
    source = load(
        chosen.model,
        run=run,
        name=chosen.name,
        architecture=chosen.architecture,
        weights=chosen.weights,
        folder=chosen.path,
        pretrained=chosen.pretrained,
        allow_pickle=chosen.allow_pickle,
        normalize=(chosen.mean, chosen.std) if chosen.mean else chosen.normalize,
    )
    folder = chosen.out or Path("scorecards") / file_name(source.name)
    card = scorecard(
        source,
        None,
        run,
        n=chosen.n,
        minutes=chosen.minutes,
        without=chosen.without,
        folder=folder,
        force=chosen.force,
        progress=not chosen.quiet,
    )
    print(f"\n{card}\n\n{card.comparison}\n\n{folder / 'index.html'}")
    return 0


# --- train -------------------------------------------------------------------------------------

_TRAIN = """\
Train one model of a run, with what it starts from and the masks it is aligned to where those are
missing, and keep it where the notebooks look for it. What is trained already is only checked. The
job of a cluster; stopped, it goes on at its last finished epoch. Where standard error is no
terminal, it prints a line after each epoch.

MODEL is a name such as resnet18-adversarial or vit_small-aligned@beta=1.0. --all trains what is
missing of all models, in the order of the setting stages. Given in several shells it trains as many
models side by side; OMP_NUM_THREADS=1 keeps each to a core.
"""

_TRAIN_EXAMPLES = """\
examples
  python -m rslib train resnet18-adversarial --profile smoke
  python -m rslib train resnet18-aligned@beta=0.0 --profile paper --seed 2
  OMP_NUM_THREADS=1 nice -n 15 python -m rslib train --all --profile wide
"""


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument("model", nargs="?", metavar="MODEL", help="what to train; see above")
    chosen.add_argument("--all", action="store_true", help="train what is missing of all models")
    parser.add_argument("--profile", default="smoke",
                        help="a profile's name, or a YAML file; default smoke")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the run; default 0")
    parser.add_argument("--shortcut", action="store_true",
                        help="on the images of the shortcut experiment (notebook 09)")  # fmt: skip


def _train(chosen: argparse.Namespace) -> int:
    from rslib import settings
    from rslib.run import Run, trainings
    from rslib.training import TrainingError

    bars = sys.stderr.isatty()
    tell = None if bars else functools.partial(print, file=sys.stderr, flush=True)
    run = Run(settings.load(chosen.profile), chosen.seed, progress=bars, tell=tell)
    try:
        if chosen.all:
            for name in trainings.train_all(run):
                print(f"{name} ({chosen.profile}, seed {chosen.seed}) is trained", flush=True)
            return 0
        trainings.train(run, chosen.model, shortcut=chosen.shortcut)
    except TrainingError as error:
        print(f"{parser().prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on at the last finished epoch", file=sys.stderr)
        return 130
    print(f"{chosen.model} ({chosen.profile}, seed {chosen.seed}) is trained")
    return 0


# --- all commands ------------------------------------------------------------------------------

COMMANDS = (
    Command(
        "scorecard",
        "score a model of your own on every axis of the book",
        _SCORECARD,
        _EXAMPLES,
        _scorecard_arguments,
        _scorecard,
    ),
    Command(
        "train",
        "train one model of a run, as a cluster's job does",
        _TRAIN,
        _TRAIN_EXAMPLES,
        _train_arguments,
        _train,
    ),
)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    made = argparse.ArgumentParser(prog="python -m rslib", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True, metavar="command")
    for each in COMMANDS:
        one = commands.add_parser(
            each.name,
            help=each.summary,
            description=each.description,
            epilog=each.examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        each.arguments(one)
        one.set_defaults(run=each.run)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    chosen = parser().parse_args(arguments)
    from rslib.data import DataError
    from rslib.models.memory import OutOfMemory
    from rslib.store.records import RecordError

    # Settings and scorecards raise kinds of ValueError; each says what is wrong and the way out.
    # The system's own errors name the file.
    try:
        return chosen.run(chosen)
    except (ValueError, DataError, RecordError, OutOfMemory, OSError) as error:
        print(f"{parser().prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
