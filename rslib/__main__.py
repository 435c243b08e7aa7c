"""The command line ``robustsight``, which is also ``python -m rslib``.

What a command needs is imported by it, so that --help is quick.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from rslib.data import Dataset
    from rslib.run import Run
    from rslib.settings import Settings

PROGRAM = "robustsight"

_SCORECARD = """\
score a model of your own on every axis of the book

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

examples
  robustsight scorecard timm:resnet18 --profile smoke
  robustsight scorecard mynets.small:make --path ~/project --profile cpu --minutes 10
  robustsight scorecard resnet.safetensors --architecture timm:resnet18 \\
      --normalize imagenet --profile cpu -n 250
  robustsight scorecard old.pth --architecture mynets.small:make --allow-pickle
  robustsight scorecard resnet18-adversarial --profile smoke
  robustsight scorecard --schema > scorecard.schema.json

The folder given by --out gets scorecard.json (its fields are described by --schema), index.html,
scorecard.png and the per-image records. Stopped at any moment, the same command goes on with the
axes that are not finished. Files that no scorecard wrote are never replaced.
"""


def _scorecard(chosen: argparse.Namespace) -> int:
    from rslib.scorecard import ScorecardError, load, schema, scorecard
    from rslib.scorecard.sources import file_name
    from rslib.scorecard.weights import expanded
    from rslib.store.text import printable

    if chosen.schema:
        print(json.dumps(schema(), indent=1))
        return 0
    if chosen.model is None:
        raise ScorecardError("name a MODEL, such as timm:resnet18; --help lists the forms")
    if (chosen.mean is None) != (chosen.std is None) or (chosen.mean and chosen.normalize):
        raise ScorecardError("give --mean and --std together, or --normalize alone")
    run = _run(chosen)
    same = ("name", "architecture", "weights", "pretrained", "allow_pickle")
    options = {option: getattr(chosen, option) for option in same}
    normalize = (chosen.mean, chosen.std) if chosen.mean else chosen.normalize
    source = load(chosen.model, run=run, folder=chosen.path, normalize=normalize, **options)
    folder = expanded(chosen.out or Path("scorecards") / file_name(source.name))
    options = {option: getattr(chosen, option) for option in ("n", "minutes", "without", "force")}
    card = scorecard(source, None, run, folder=folder, progress=not chosen.quiet, **options)
    print(f"\n{card}\n\n{printable(card.comparison)}\n\n{printable(folder / 'index.html')}")
    return 0


_TRAIN = """\
train one model of a run, as a cluster's job does

Train one model of a run, with what it starts from and the masks it is aligned to where those are
missing, and keep it where the notebooks look for it. What is trained already is only checked. The
job of a cluster; stopped, it goes on at its last finished epoch. Where standard error is no
terminal, it prints a line after each epoch.

MODEL is a name such as resnet18-adversarial or vit_small-aligned@beta=1.0. --all trains what is
missing of all models, in the order of the setting stages. Given in several shells it trains as many
models side by side; OMP_NUM_THREADS=1 keeps each to a core.

examples
  robustsight train resnet18-adversarial --profile smoke
  robustsight train resnet18-aligned@beta=0.0 --profile paper --seed 2
  OMP_NUM_THREADS=1 nice -n 15 robustsight train --all --profile wide
"""


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


_RESEAL = """\
give results of an older revision the checksum that is asked for now

Give your own results of an older revision the checksum of all values without which none is read.
Each is checked first, by what it had then; its values are believed as they lie there. Published
editions are left alone.

examples
  robustsight reseal runs/wide
"""


def _reseal(chosen: argparse.Namespace) -> int:
    from rslib.run.published import PUBLISHED
    from rslib.store import records

    if not chosen.folder.is_dir() or PUBLISHED.as_posix() in chosen.folder.resolve().as_posix():
        what = "published" if chosen.folder.is_dir() else "not there"
        raise ValueError(f"{chosen.folder} is {what}: give a folder of results of your own")
    print(f"{len(records.reseal(chosen.folder))} results in {chosen.folder} have a checksum now")
    return 0


_DATA = """\
say which data sets are there, check them, fetch CIFAR-10

Say which data sets are there, and check them: CIFAR-10 by the checksums of its official files,
CIFAR-10-C by its labels, CIFAR-10H by its counts. They lie in the folder that RSLIB_DATA names, or
in data/. The exit status is 1 if CIFAR-10 is missing or anything is damaged.

examples
  robustsight data
  robustsight data --download
  robustsight data --folder ~/datasets
"""


def _data(chosen: argparse.Namespace) -> int:
    from rslib.data import DataError, cifar10, cifar10h

    folder = chosen.folder or cifar10.default_root()
    found: dict[str, Dataset] = {}

    def images() -> str:
        for split in ("train", "test"):
            found[split] = cifar10.load(split, root=folder, download=chosen.download)
        train, test = map(len, found.values())
        return f"{train:,} training and {test:,} test images, as published"

    def people() -> str:
        if not cifar10h.find(folder):
            return "not there: comparisons with people are left out"
        return f"choices of people for {len(cifar10h.load(folder)):,} test images"

    print(f"data sets in {folder}")
    status = 0
    corrupted = functools.partial(_archive, folder, found)
    for name, tell in (("CIFAR-10", images), ("CIFAR-10-C", corrupted), ("CIFAR-10H", people)):
        try:
            told = tell()
        except DataError as error:
            told, status = str(error), 1
        print(f"  {name:<10}  {told}")
    return status


def _archive(root: Path, found: dict[str, Dataset]) -> str:
    """CIFAR-10-C in a folder, in words."""
    from rslib.corruptions import cifar10c

    if not (root / cifar10c.FOLDER).is_dir():
        return (
            "not there: corruptions are generated. The official files are CIFAR-10-C.tar of "
            "https://zenodo.org/records/2535967"
        )
    archive = cifar10c.Archive(root / cifar10c.FOLDER)
    images = f"{len(archive):,} images a severity"
    if archive.generated:
        return f"{images}, generated and not the official files"
    if "test" not in found:
        return f"{images}; without CIFAR-10 their order is not checked"
    cifar10c.load(found["test"], root=root, official=True)
    return f"{images}, in the order of the test images"


_CORRUPT = """\
write corrupted versions of test images to a folder

Write corrupted versions of test images to a folder. With --format npy: a file
<corruption>-<severity>.npy, uint8 (N, 32, 32, 3), for each, and labels.npy and ids.npy of the
images. With --format png: a folder <corruption>-<severity> of <id>-<class>.png for each. The same
seed gives the same pixels.

examples
  robustsight corrupt fog --data shapes -n 20 --format png --out foggy
  robustsight corrupt fog snow --severity 1 3 5 -n 1000 --out weather
  robustsight corrupt all --seed 7 --out corrupted
"""


def _corrupt(chosen: argparse.Namespace) -> int:
    from PIL import Image
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
        place = chosen.out / f"{name}-{severity}"
        if chosen.format == "npy":
            _save(place.with_name(f"{place.name}.npy"), versions)
            continue
        place.mkdir()
        for picture, label, number in zip(versions, images.labels, images.ids, strict=True):
            file = place / f"{int(number):05}-{images.classes[label]}.png"
            Image.fromarray(picture.cpu().numpy()).save(file)
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


_FETCH = """\
bring the weights of a published run, checked by their digests

Bring the weights of a published run to book/published, where load_published finds them and
"python -m book restore" copies them into runs/. SOURCE is the https address of a published run's
folder, hf-hub:OWNER/NAME, or a profile that the project's own repository publishes. Broken off, the
same command goes on where it stopped; a file that is there already is checked and kept.

examples
  robustsight fetch wide
  robustsight fetch https://book.example/wide --out ~/robustsight
  robustsight fetch hf-hub:someone/robustsight-wide
"""


def _fetch(chosen: argparse.Namespace) -> int:
    from rslib.run import remote

    options = {"root": chosen.out} if chosen.out else {}
    print(f"in {remote.fetch(chosen.source, **options)}")
    return 0


_MASKS = """\
make, write and check the object masks of a run's images

Say what the object masks of a run's images cover. A teacher's masks (cnn, vit) are made where they
are not there, and so is the teacher. With --out they are also written as train.npy and test.npy,
bool (N, H, W) with a row an image of the whole split, which the setting masks.own reads. With
--check, masks of your own are read and counted.

examples
  robustsight masks --profile smoke
  robustsight masks --source cnn --split train validation test --profile cpu --out cnn-masks
  robustsight masks --check my-masks --split train test --profile cpu
"""


def _masks(chosen: argparse.Namespace) -> int:
    import torch

    from rslib.run import object_masks
    from rslib.saliency.masks import coverage

    run, source = _run(chosen), chosen.source
    if chosen.check:
        run, source = run.under({"masks": {"own": str(chosen.check)}}), "own"
    source = source or run.mask_source
    if chosen.out:
        _new_folder(chosen.out)
    files: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for split in dict.fromkeys(chosen.split):
        masks = object_masks.of(run, source, split)
        found = coverage(masks)
        there = len(masks) - int(found["empty"])
        told = f"none of {len(masks):,} images has a mask"
        if there:
            told = (
                f"{there:,} of {len(masks):,} images have a mask; masks cover "
                f"{100 * found['mean']:.1f} % of the image on average, half of them "
                f"{100 * found['q25']:.1f} to {100 * found['q75']:.1f} %"
            )
        print(f"{source}, {split}: {told}", flush=True)
        # Validation images are withheld from the training images and numbered as they are.
        file = "test" if split == "test" else "train"
        files.setdefault(file, []).append((run.data(split).ids, masks))
    if chosen.out:
        for file, parts in files.items():
            ids, masks = (torch.cat(each).cpu() for each in zip(*parts, strict=True))
            rows = torch.zeros(int(ids.max()) + 1, *masks.shape[1:], dtype=torch.bool)
            rows[ids] = masks
            _save(chosen.out / f"{file}.npy", rows)
        print(f"written to {chosen.out}")
    return 0


def _run(chosen: argparse.Namespace, **options: Any) -> Run:
    from rslib.run import Run

    found = _load_settings(chosen.profile, chosen.settings, chosen.extensions)
    return Run(found, chosen.seed, **{"progress": not chosen.quiet, **options})


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
    from rslib.settings import environment

    form = argparse.RawDescriptionHelpFormatter
    told = "Score, train and examine image classifiers as the book does. --help after a command "
    epilog = f"example\n  {PROGRAM} scorecard timm:resnet18 --profile smoke"
    made = argparse.ArgumentParser(
        prog=PROGRAM, description=f"{told}tells more.", epilog=epilog, formatter_class=form
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="command")

    def command(do: Callable[..., int], text: str, stopped: str) -> argparse.ArgumentParser:
        """Add a command; its text is a line for the list, a description, and examples."""
        summary, _, text = text.partition("\n\n")
        text, heading, examples = text.partition("\nexamples\n")
        about = {"description": text, "epilog": f"{heading.lstrip()}{examples}"}
        name = do.__name__.removeprefix("_")
        one = commands.add_parser(name, help=summary, formatter_class=form, **about)
        one.set_defaults(do=do, stopped=stopped)
        return one

    def extensible(add: Callable[..., Any]) -> None:
        told = "a module of yours that adds corruptions, attacks, objectives or data sets; may be "
        add("--extensions", action="append", metavar="MODULE", help=f"{told}given again")

    def of_a_run(one: argparse.ArgumentParser, title: str = "the run") -> argparse._ArgumentGroup:
        """Add the options that :func:`_run` reads, in a group of their own."""
        group = one.add_argument_group(title)
        add = group.add_argument
        told = "smoke (synthetic Shapes), cpu, fast or paper (CIFAR-10), or a YAML file; default "
        add("--profile", default="smoke", help=f"{told}smoke")
        told = "laid over the profile, such as '{pgd: {steps: 50}}'"
        add("--settings", metavar="YAML", default="{}", help=told)
        add("--seed", type=environment.seed, default=0, help="of everything random; default 0")
        add("--quiet", action="store_true", help="no progress")
        extensible(add)
        return group

    one = command(_scorecard, _SCORECARD, "nothing was written")
    one.add_argument("model", nargs="?", metavar="MODEL", help="what to score; see above")
    add = one.add_argument_group("the model").add_argument
    told = "what weights are put into: resnet18, vit_small, alexnet (sized by the profile), "
    add("--architecture", metavar="NAME", help=f"{told}timm:NAME or package.module:factory")
    add("--weights", metavar="FILE", help="weights to put into MODEL")
    told = "read a pickled file of weights (.pt, .pth, .ckpt, .bin), by PyTorch's restricted reader"
    add("--allow-pickle", action="store_true", help=told)
    add("--pretrained", action="store_true", help="let timm fetch its own weights; needs a network")
    add("--path", metavar="FOLDER", help="where an import path is looked for")
    add("--normalize", choices=("cifar10", "imagenet"), help="normalization before the model")
    for name in ("--mean", "--std"):
        told = "normalization of your own, for images in [0, 1]"
        add(name, nargs=3, type=float, metavar=("R", "G", "B"), help=told)
    add("--name", help="what to call it; derived from MODEL by default")
    protocol = of_a_run(one, "protocol and budget")
    add = protocol.add_mutually_exclusive_group().add_argument
    add("-n", type=int, metavar="IMAGES", help="images on every axis but the clean one")
    told = "how long measuring may take: the model is timed first, and axes are shrunk to fit"
    add("--minutes", type=float, metavar="M", help=told)
    told = "axes to leave out, such as autoattack"
    protocol.add_argument("--without", metavar="AXIS", nargs="+", default=(), help=told)
    add = one.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FOLDER", help="where to write; default scorecards/<name>")
    add(
        "--force",
        action="store_true",
        help="replace a scorecard of another model, profile, seed or data",
    )
    add("--schema", action="store_true", help="print the JSON schema of scorecard.json, and stop")

    one = command(_train, _TRAIN, "the same command goes on at the last finished epoch")
    add = one.add_mutually_exclusive_group(required=True).add_argument
    add("model", nargs="?", metavar="MODEL", help="what to train; see above")
    add("--all", action="store_true", help="train what is missing of all models")
    told = "on the images of the shortcut experiment (notebook 09)"
    one.add_argument("--shortcut", action="store_true", help=told)
    of_a_run(one)

    one = command(_reseal, _RESEAL, "the same command goes on")
    one.add_argument("folder", type=Path, metavar="FOLDER", help="of results of your own")

    add = command(_data, _DATA, "what was there is as it was").add_argument
    add("--folder", type=Path, help="where the data sets lie; default: see above")
    add("--download", action="store_true", help="fetch CIFAR-10 (163 MB) if missing or damaged")

    add = command(_fetch, _FETCH, "the same command goes on where it stopped").add_argument
    add("source", metavar="SOURCE", help="where from; see above")
    told = "folder that gets book/published; default: that of the project"
    add("--out", type=Path, metavar="FOLDER", help=told)

    add = command(_corrupt, _CORRUPT, "the folder is not complete").add_argument
    add("names", nargs="+", metavar="NAME", help="corruptions such as fog; all: CIFAR-10-C's 19")
    told = "1 (mild) to 5 (strong), or several; default 3"
    add("--severity", type=int, nargs="+", default=[3], metavar="S", help=told)
    told = "cifar10, shapes or one of your own; default cifar10"
    add("--data", default="cifar10", metavar="NAME", help=told)
    add("-n", type=int, metavar="IMAGES", help="that many, equally of each class; default all")
    add("--seed", type=environment.seed, default=0, help="of what is random; default 0")
    add("--format", choices=("npy", "png"), default="npy", help="of the files; default npy")
    told = "where to write; it must be new or empty"
    add("--out", type=Path, required=True, metavar="FOLDER", help=told)
    add("--quiet", action="store_true", help="no progress bar")
    extensible(add)

    one = command(_masks, _MASKS, "the same command makes what is missing")
    add = one.add_mutually_exclusive_group().add_argument
    told = "whose masks; default: what models are aligned to"
    add("--source", choices=("exact", "own", "cnn", "vit"), help=told)
    told = "of your own masks: train and test, each a folder of PNG files or a .npy file"
    add("--check", type=Path, metavar="FOLDER", help=told)
    add, splits = one.add_argument, ("train", "validation", "test")
    add("--split", nargs="+", choices=splits, default=["test"], help="of images; default test")
    told = "where to write the masks; it must be new or empty"
    add("--out", type=Path, metavar="FOLDER", help=told)
    of_a_run(one)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line.

    Returns:
        The exit status: 2 for input that cannot be used, 1 for work that failed.
    """
    chosen = parser().parse_args(arguments)
    from rslib.data import DataError
    from rslib.models.memory import OutOfMemory
    from rslib.store import text
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
    except (KeyboardInterrupt, SystemExit) as stop:
        left = "; ".join(getattr(stop, "__notes__", ())) or chosen.stopped
        if isinstance(stop, SystemExit):
            left = f"by the code that was run ({text.reason(stop)}); {left}"
        print(f"stopped; {text.printable(left)}", file=sys.stderr)
        return 130
    first, *rest = str(told).splitlines() or [type(told).__name__]
    rest += getattr(told, "__notes__", ())
    line = " ".join([first, "; ".join(each.strip() for each in rest)]).strip()
    print(f"{PROGRAM} {chosen.command}: {text.printable(line)}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
