"""The command line ``robustsight``, which is also ``python -m rslib``."""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from rslib.data import Dataset
    from rslib.run import Run
    from rslib.settings import Settings

# What a command needs is imported by it, so that --help is quick.

PROGRAM = "robustsight"

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

_SCORECARD_EXAMPLES = """\
examples
  robustsight scorecard timm:resnet18 --profile smoke
  robustsight scorecard mynets.small:make --path ~/project --profile cpu --minutes 10
  robustsight scorecard resnet.safetensors --architecture timm:resnet18 \\
      --normalize imagenet --profile cpu -n 250
  robustsight scorecard old.pth --architecture mynets.small:make --allow-pickle
  robustsight scorecard resnet18-adversarial --profile smoke
  robustsight scorecard --schema > scorecard.schema.json

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

    protocol = _run_arguments(parser, "protocol and budget")
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
    out.add_argument("--schema", action="store_true",
                     help="print the JSON schema of scorecard.json, and nothing else")  # fmt: skip


def _scorecard(chosen: argparse.Namespace) -> int:
    from rslib.scorecard import ScorecardError, load, schema, scorecard
    from rslib.scorecard.sources import file_name

    if chosen.schema:
        print(json.dumps(schema(), indent=1))
        return 0
    if chosen.model is None:
        raise ScorecardError("name a MODEL, such as timm:resnet18; --help lists the forms")
    if (chosen.mean is None) != (chosen.std is None) or (chosen.mean and chosen.normalize):
        raise ScorecardError("give --mean and --std together, or --normalize alone")
    run = _run(chosen)
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
  robustsight train resnet18-adversarial --profile smoke
  robustsight train resnet18-aligned@beta=0.0 --profile paper --seed 2
  OMP_NUM_THREADS=1 nice -n 15 robustsight train --all --profile wide
"""


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("model", nargs="?", metavar="MODEL", help="what to train; see above")
    which.add_argument("--all", action="store_true", help="train what is missing of all models")
    parser.add_argument("--shortcut", action="store_true",
                        help="on the images of the shortcut experiment (notebook 09)")  # fmt: skip
    _run_arguments(parser)


def _train(chosen: argparse.Namespace) -> int:
    from rslib.run import jobs
    from rslib.run.results import shortcut_runs

    bars = sys.stderr.isatty() and not chosen.quiet
    tell = None
    if not bars and not chosen.quiet:
        tell = functools.partial(print, file=sys.stderr, flush=True)
    run = _run(chosen, progress=bars, tell=tell)
    if chosen.all:
        for name in jobs.train_all(run):
            print(f"{name} ({chosen.profile}, seed {chosen.seed}) is trained", flush=True)
        return 0
    (shortcut_runs(run)[0] if chosen.shortcut else run).trained(chosen.model)
    print(f"{chosen.model} ({chosen.profile}, seed {chosen.seed}) is trained")
    return 0


# --- data --------------------------------------------------------------------------------------

_DATA = """\
Say which data sets are there, and check them: CIFAR-10 by the checksums of its official files,
CIFAR-10-C by its labels, CIFAR-10H by its counts. They lie in the folder that RSLIB_DATA names, or
in data/. The exit status is 1 if CIFAR-10 is missing or anything is damaged.
"""

_DATA_EXAMPLES = """\
examples
  robustsight data
  robustsight data --download
  robustsight data --folder ~/datasets
"""


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="where the data sets lie; default: see above")
    parser.add_argument("--download", action="store_true",
                        help="fetch CIFAR-10 (163 MB) where it is missing or damaged")  # fmt: skip


def _data(chosen: argparse.Namespace) -> int:
    from rslib.corruptions import cifar10c
    from rslib.data import DataError, cifar10, cifar10h

    folder = chosen.folder or cifar10.default_root()
    print(f"data sets in {folder}")
    status, test = 0, None
    try:
        train = cifar10.load("train", root=folder, download=chosen.download)
        test = cifar10.load("test", root=folder, download=chosen.download)
        print(f"  CIFAR-10    {len(train):,} training and {len(test):,} test images, as published")
    except DataError as error:
        status = 1
        print(f"  CIFAR-10    {error}")
    try:
        print(f"  CIFAR-10-C  {_archive(folder / cifar10c.FOLDER, test)}")
    except DataError as error:
        status = 1
        print(f"  CIFAR-10-C  {error}")
    try:
        there = "not there: comparisons with people are left out"
        if cifar10h.find(folder):
            there = f"choices of people for {len(cifar10h.load(folder)):,} test images"
        print(f"  CIFAR-10H   {there}")
    except DataError as error:
        status = 1
        print(f"  CIFAR-10H   {error}")
    return status


def _archive(folder: Path, test: Dataset | None) -> str:
    """CIFAR-10-C in a folder, in words."""
    from rslib.corruptions import cifar10c

    if not folder.is_dir():
        return (
            "not there: corruptions are generated. The official files are CIFAR-10-C.tar of "
            "https://zenodo.org/records/2535967"
        )
    archive = cifar10c.Archive(folder)
    if archive.generated:
        return f"{len(archive):,} images a severity, generated and not the official files"
    if test is None:
        return f"{len(archive):,} images a severity; without CIFAR-10 their order is not checked"
    cifar10c.load(test, root=folder.parent, official=True)
    return f"{len(archive):,} images a severity, in the order of the test images"


# --- corrupt -----------------------------------------------------------------------------------

_CORRUPT = """\
Write corrupted versions of test images to a folder. With --format npy: a file
<corruption>-<severity>.npy, uint8 (N, 32, 32, 3), for each, and labels.npy and ids.npy of the
images. With --format png: a folder <corruption>-<severity> of <id>-<class>.png for each. The same
seed gives the same pixels.
"""

_CORRUPT_EXAMPLES = """\
examples
  robustsight corrupt fog --data shapes -n 20 --format png --out foggy
  robustsight corrupt fog snow --severity 1 3 5 -n 1000 --out weather
  robustsight corrupt all --seed 7 --out corrupted
"""


def _corrupt_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="+", metavar="NAME",
                        help="corruptions, such as fog, or all 19 of CIFAR-10-C: all")  # fmt: skip
    parser.add_argument("--severity", type=int, nargs="+", default=[3], metavar="S",
                        help="1 (mild) to 5 (strong), or several; default 3")  # fmt: skip
    parser.add_argument("--data", default="cifar10", metavar="NAME",
                        help="cifar10, shapes or one of your own; default %(default)s")  # fmt: skip
    parser.add_argument("-n", type=int, metavar="IMAGES",
                        help="that many images, equally of each class; default all")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of what is random; default 0")
    parser.add_argument("--format", choices=("npy", "png"), default="npy",
                        help="of the files; default %(default)s")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER",
                        help="where to write; it must be new or empty")  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    _extensions_argument(parser)


def _corrupt(chosen: argparse.Namespace) -> int:
    import itertools

    from tqdm import tqdm

    from rslib import corruptions, data
    from rslib.corruptions import cifar10c

    if chosen.extensions:
        _load_settings("paper", "{}", chosen.extensions)
    names = [*corruptions.NAMES] if chosen.names == ["all"] else chosen.names
    for name in names:
        corruptions.check_name(name)
    for severity in chosen.severity:
        corruptions.check_severity(severity)
    images = data.load(chosen.data, "test")
    if chosen.n is not None:
        images = data.balanced_subset(images, chosen.n)
    _new_folder(chosen.out)
    corrupted = cifar10c.Corrupted(images, None, chosen.seed)
    if chosen.format == "npy":
        _save(chosen.out / "labels.npy", images.labels)
        _save(chosen.out / "ids.npy", images.ids)
    made = list(itertools.product(names, chosen.severity))
    for name, severity in tqdm(made, desc="corrupting", disable=chosen.quiet):
        versions = corrupted.images(name, severity).permute(0, 2, 3, 1)
        if chosen.format == "npy":
            _save(chosen.out / f"{name}-{severity}.npy", versions)
        else:
            _save_pictures(chosen.out / f"{name}-{severity}", versions, images)
    print(f"{len(made)} times {len(images):,} images in {chosen.out}")
    return 0


def _new_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--out {folder} is not an empty folder: name a new one")
    folder.mkdir(parents=True, exist_ok=True)


def _save(path: Path, values: Tensor) -> None:
    import numpy as np

    from rslib.store.records import atomic

    with atomic(path) as scratch, open(scratch, "wb") as file:
        np.save(file, values.cpu().numpy())


def _save_pictures(folder: Path, versions: Tensor, images: Dataset) -> None:
    from PIL import Image

    folder.mkdir()
    for picture, label, number in zip(versions, images.labels, images.ids, strict=True):
        name = f"{int(number):05}-{images.classes[label]}.png"
        Image.fromarray(picture.cpu().numpy()).save(folder / name)


# --- masks -------------------------------------------------------------------------------------

_MASKS = """\
Say what the object masks of a run's images cover. A teacher's masks (cnn, vit) are made where they
are not there, and so is the teacher. With --out they are also written as train.npy and test.npy,
bool (N, H, W) with a row an image of the whole split, which the setting masks.own reads. With
--check, masks of your own are read and counted.
"""

_MASKS_EXAMPLES = """\
examples
  robustsight masks --profile smoke
  robustsight masks --source cnn --split train validation test --profile cpu --out cnn-masks
  robustsight masks --check my-masks --split train test --profile cpu
"""


def _masks_arguments(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--source", choices=("exact", "own", "cnn", "vit"),
                       help="whose masks; default: what models are aligned to")  # fmt: skip
    which.add_argument("--check", type=Path, metavar="FOLDER",
                       help="of your own masks: train and test, each a folder of PNG files or a "
                       ".npy file")  # fmt: skip
    parser.add_argument("--split", nargs="+", choices=("train", "validation", "test"),
                        default=["test"], help="of which images; default test")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="FOLDER",
                        help="where to write the masks; it must be new or empty")  # fmt: skip
    _run_arguments(parser)


def _masks(chosen: argparse.Namespace) -> int:
    from rslib.run import object_masks

    run, source = _run(chosen), chosen.source
    if chosen.check:
        run, source = run.under({"masks": {"own": str(chosen.check)}}), "own"
    source = source or run.mask_source
    if chosen.out:
        _new_folder(chosen.out)
    files: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for split in dict.fromkeys(chosen.split):
        masks = object_masks.of(run, source, split)
        print(f"{source}, {split}: {_covered(masks)}", flush=True)
        # Validation images are withheld from the training images and numbered as they are.
        file = "test" if split == "test" else "train"
        files.setdefault(file, []).append((run.data(split).ids, masks))
    if chosen.out:
        for file, parts in files.items():
            _save(chosen.out / f"{file}.npy", _by_number(parts))
        print(f"written to {chosen.out}")
    return 0


def _covered(masks: Tensor) -> str:
    """The number of images with a mask, and their coverage, in words."""
    from rslib.saliency.masks import coverage

    found = coverage(masks)
    n, there = len(masks), len(masks) - int(found["empty"])
    if not there:
        return f"none of {n:,} images has a mask"
    return (
        f"{there:,} of {n:,} images have a mask; masks cover {100 * found['mean']:.1f} % of the "
        f"image on average, half of them {100 * found['q25']:.1f} to {100 * found['q75']:.1f} %"
    )


def _by_number(parts: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Masks of numbered images as one array, whose row i belongs to image i."""
    import torch

    ids, masks = (torch.cat([part[place] for part in parts]).cpu() for place in (0, 1))
    rows = torch.zeros(int(ids.max()) + 1, *masks.shape[1:], dtype=torch.bool)
    rows[ids] = masks
    return rows


# --- all commands ------------------------------------------------------------------------------


def _run_arguments(
    parser: argparse.ArgumentParser, title: str = "the run"
) -> argparse._ArgumentGroup:
    """Add the arguments that :func:`_run` reads, in a group of their own."""
    group = parser.add_argument_group(title)
    group.add_argument("--profile", default="smoke",
                       help="smoke (synthetic Shapes), cpu, fast or paper (CIFAR-10), or a YAML "
                       "file; default %(default)s")  # fmt: skip
    group.add_argument("--settings", metavar="YAML", default="{}",
                       help="laid over the profile, such as '{pgd: {steps: 50}}'")  # fmt: skip
    group.add_argument("--seed", type=int, default=0, help="of everything random; default 0")
    group.add_argument("--quiet", action="store_true", help="no progress")
    _extensions_argument(group)
    return group


def _extensions_argument(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--extensions", action="append", metavar="MODULE",
                        help="a module of yours that adds corruptions, attacks, objectives or data "
                        "sets; may be given again")  # fmt: skip


def _run(
    chosen: argparse.Namespace,
    *,
    progress: bool | None = None,
    tell: Callable[[str], None] | None = None,
) -> Run:
    from rslib.run import Run

    found = _load_settings(chosen.profile, chosen.settings, chosen.extensions)
    shown = not chosen.quiet if progress is None else progress
    return Run(found, chosen.seed, progress=shown, tell=tell)


def _load_settings(profile: str, text: str, extensions: Sequence[str] | None) -> Settings:
    from rslib import settings

    overrides = settings.read_yaml(text, f"--settings {text!r}")
    if extensions and isinstance(overrides, dict):
        # A module in this folder is found whichever way the command line was started.
        sys.path.insert(0, "")
        overrides = {**overrides, "extensions": list(extensions)}
    return settings.load(profile, overrides)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Score, train and examine image classifiers as the book does. --help after a "
        "command tells more.",
        epilog=f"example\n  {PROGRAM} scorecard timm:resnet18 --profile smoke",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="command")

    def command(
        name: str,
        do: Callable[[argparse.Namespace], int],
        arguments: Callable[[argparse.ArgumentParser], None],
        *,
        summary: str,
        description: str,
        examples: str,
        stopped: str,
    ) -> None:
        one = commands.add_parser(
            name,
            help=summary,
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        arguments(one)
        one.set_defaults(do=do, stopped=stopped)

    command(
        "scorecard",
        _scorecard,
        _scorecard_arguments,
        summary="score a model of your own on every axis of the book",
        description=_SCORECARD,
        examples=_SCORECARD_EXAMPLES,
        stopped="nothing was written",
    )
    command(
        "train",
        _train,
        _train_arguments,
        summary="train one model of a run, as a cluster's job does",
        description=_TRAIN,
        examples=_TRAIN_EXAMPLES,
        stopped="the same command goes on at the last finished epoch",
    )
    command(
        "data",
        _data,
        _data_arguments,
        summary="say which data sets are there, check them, fetch CIFAR-10",
        description=_DATA,
        examples=_DATA_EXAMPLES,
        stopped="what was there is as it was",
    )
    command(
        "corrupt",
        _corrupt,
        _corrupt_arguments,
        summary="write corrupted versions of test images to a folder",
        description=_CORRUPT,
        examples=_CORRUPT_EXAMPLES,
        stopped="the folder is not complete",
    )
    command(
        "masks",
        _masks,
        _masks_arguments,
        summary="make, write and check the object masks of a run's images",
        description=_MASKS,
        examples=_MASKS_EXAMPLES,
        stopped="the same command makes what is missing",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        The exit status: 2 for input that cannot be used, 1 for work that failed.
    """
    chosen = parser().parse_args(arguments)
    from rslib.data import DataError
    from rslib.models.memory import OutOfMemory
    from rslib.store.records import RecordError
    from rslib.training import TrainingError

    # Each error says what is wrong and the way out; the system's own name the file. Those of
    # settings, masks and scorecards are ValueErrors.
    try:
        return chosen.do(chosen)
    except (TrainingError, OutOfMemory, RecordError) as error:
        status, told = 1, error
    except (ValueError, DataError, OSError) as error:
        status, told = 2, error
    except KeyboardInterrupt:
        print(f"stopped; {chosen.stopped}", file=sys.stderr)
        return 130
    print(f"{PROGRAM} {chosen.command}: {_one_line(told)}", file=sys.stderr)
    return status


def _one_line(error: BaseException) -> str:
    first, *rest = str(error).splitlines() or [type(error).__name__]
    return " ".join([first, "; ".join(line.strip() for line in rest)]).strip()


if __name__ == "__main__":
    sys.exit(main())
