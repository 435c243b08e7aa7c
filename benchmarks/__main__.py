"""The benchmarks' command line; ``python -m benchmarks --help`` tells more."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import (
    attacks,
    corruptions,
    harness,
    rates,
    results,
    saliency,
    scorecard,
    smoothing,
    subjects,
    training,
)
from benchmarks.harness import CPU, Disagreement, Suite
from benchmarks.rates import Rates
from rslib.data import DataError
from rslib.models.device import DeviceError, pick
from rslib.run.provenance import provenance
from rslib.store.records import RecordError

PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "opencv-python-headless",
    "pillow", "statsmodels", "torchattacks", "foolbox", "pyautoattack", "captum", "grad-cam",
    "imagecorruptions",
)  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """What can be asked for by name.

    Attributes:
        summary: one line for the help.
        make: builds the rows; besides its sizes it takes the device.
        sizes: its arguments.
        few: its arguments for a quick try.
    """

    summary: str
    make: Callable[..., Suite]
    sizes: Mapping[str, int]
    few: Mapping[str, int]


OFFERS = {
    "pgd": Offer("PGD-20: torchattacks, foolbox", attacks.pgd, {"n": 80}, {"n": 20}),
    "autoattack": Offer(
        "AutoAttack: its authors' package called directly",
        attacks.autoattack, {"undefended": 32, "adversarial": 4},
        {"undefended": 8, "adversarial": 1},
    ),
    "corruptions": Offer(
        "the 19 corruptions: one image after the other, imagecorruptions",
        corruptions.corruptions, {"n": 500, "few": 20}, {"n": 50, "few": 8},
    ),
    "gradcam": Offer(
        "Grad-CAM: captum, pytorch-grad-cam", saliency.gradcam, {"n": 250}, {"n": 20}
    ),
    "rollout": Offer(
        "attention rollout: the full matrix product", saliency.rollout,
        {"n": 250, "large": 16}, {"n": 20, "large": 2},
    ),
    "smoothing": Offer(
        "certificates: the published loop", smoothing.smoothing, {"n": 5}, {"n": 2, "votes": 100}
    ),
    "training": Offer(
        "an epoch, and its batches: DataLoader with torchvision's transforms",
        training.training, {"n": 1024, "batches_of": 10_000}, {"n": 512, "batches_of": 1000},
    ),
    "bf16": Offer(
        "a full-width ResNet-18's training in bf16: plain loops in fp32 and bf16",
        training.bf16, {"n": 768, "checked": 8192, "withheld": 2000},
        {"n": 128, "checked": 2048, "withheld": 500},
    ),
    "scorecard": Offer(
        "time to the first number: a plain script", scorecard.scorecard, {"n": 2000}, {"n": 200}
    ),
}  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    offered = "\n".join(f"  {name:<12} {offer.summary}" for name, offer in OFFERS.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="How fast rslib is beside public peers: same weights, same images, one "
        "process, interleaved.\n\n" + offered,
        epilog="The tables are printed and stored as cpu.json and cpu.md, those of a GPU as "
        "cuda.json and cuda.md. Naming some\nmeasures these again and keeps the others, which must "
        "be of the same machine and versions.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("names", nargs="*", metavar="NAME", help="what to measure; default: all")
    made.add_argument("--device", choices=results.DEVICES, default="cpu",
                      help="where nets and images are; default cpu")  # fmt: skip
    made.add_argument("--repeats", type=_positive, default=3, help="timed rounds; default 3")
    made.add_argument("--threads", type=_positive, default=2, help="a contender; default 2")
    made.add_argument(
        "--quick", action="store_true", help="few images, one round; stored only with --out"
    )
    made.add_argument("--out", type=Path, metavar="FOLDER",
                      help="where the results go; default benchmarks/results")  # fmt: skip
    return made


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def chosen(names: Sequence[str]) -> list[str]:
    """The offers meant, in the order of the table.

    Raises:
        ValueError: there is none of a name; says which there are.
    """
    for name in names:
        if name not in OFFERS:
            close = difflib.get_close_matches(name, OFFERS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"there is no benchmark {name!r}: {', '.join(OFFERS)}{hint}")
    return [name for name in OFFERS if name in names or not names]


def there(name: str) -> torch.device:
    """The device of a name, which from here on computes in full precision, as rslib does.

    Raises:
        ValueError: this machine has none; says what to do.
    """
    try:
        return pick(name)
    except DeviceError as error:
        raise ValueError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device here. Measure "
            "where it does (a GPU, its driver, a PyTorch built for it), or on the CPU by leaving "
            "--device away"
        ) from error


def measure(
    name: str,
    *,
    repeats: int,
    quick: bool = False,
    device: torch.device = CPU,
    limits: Rates | None = None,
) -> dict[str, Any]:
    """Measure what is offered under a name, and say so line by line.

    Args:
        name: one of :data:`OFFERS`.
        repeats: timed rounds.
        quick: whether on few images.
        device: where nets and images are; targets are the CPU's alone.
        limits: the device's own rates, from which floors follow; None leaves these out.

    Raises:
        Disagreement: contenders give different answers.
        rslib.data.DataError: there is no CIFAR-10 here.
    """
    offer = OFFERS[name]
    sizes = offer.few if quick else offer.sizes
    suite = offer.make(**sizes, device=device)
    if device.type != "cpu":
        suite = suite.without_targets()
    measured = []
    for row in suite.rows:
        try:
            measured.append(
                harness.measure(row, repeats, device=device, rates=limits, progress=True)
            )
        except Disagreement as error:
            raise Disagreement(f"{row.name}: {error}") from error
        _tell(measured[-1])
    for skipped, why in suite.skipped.items():
        print(f"{skipped}: not measured here, {why}", flush=True)
    details = []
    if suite.total:
        details = measured
        measured = [harness.total(suite.total, details, suite.targets, suite.note)]
        _tell(measured[0])
    return {
        "provenance": provenance(device),
        "repeats": repeats,
        "sizes": dict(sizes),
        "rates": None if limits is None else limits._asdict(),
        "rows": measured,
        "details": details,
        "skipped": dict(suite.skipped),
    }


def _tell(row: Mapping[str, Any]) -> None:
    told = [f"{name} {results.times(ratio).replace('*', '')}"
            for name, ratio in row["ratios"].items()]  # fmt: skip
    told += [f"{name} {why}" for name, why in row["missing"].items()]
    print(f"{row['row']}: {results.cost(row['contenders'][harness.OURS])}; {', '.join(told)}",
          flush=True)  # fmt: skip


def use_threads(n: int) -> None:
    """Give every contender as many threads, those in processes of their own included."""
    import cv2

    torch.set_num_threads(n)
    cv2.setNumThreads(n)
    os.environ["OMP_NUM_THREADS"] = str(n)


def run(options: argparse.Namespace) -> None:
    """Measure, print and store."""
    names = chosen(options.names)
    device = there(options.device)
    use_threads(options.threads)
    subjects.split("test")  # said at once if it is not there
    machine = harness.machine(PACKAGES, device)
    folder = options.out or (None if options.quick else results.RESULTS)
    file = None if folder is None else results.path(folder, device.type)
    document = {"machine": machine, "quick": options.quick, "suites": {}}
    if file is not None:
        document = results.open_document(file, machine, names, options.quick)
    started = time.perf_counter()
    limits = rates.measure(device)
    for name in names:
        document["suites"][name] = measure(
            name,
            repeats=1 if options.quick else options.repeats,
            quick=options.quick,
            device=device,
            limits=limits,
        )
        if file is not None:  # after each, so that what is stopped keeps what is done
            results.store(file, document, OFFERS)
    print(f"\n{results.markdown(document)}\n{time.perf_counter() - started:.0f} s")
    if file is None:
        print("not stored: --quick is for a try; --out FOLDER stores it")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    try:
        run(parser().parse_args(arguments))
    # Each says what is wrong and the way out.
    except (ValueError, DataError, RecordError, Disagreement, results.OtherConditions) as error:
        print(f"{parser().prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is stored", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
