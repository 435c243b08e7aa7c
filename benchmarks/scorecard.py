"""Time to the first number of a scorecard, beside a plain script that computes the same number.

The script is faster by design: it prints one share. A scorecard loads the model through the door
that every model takes, times it, plans, and gives the number its interval and calibration.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite
from benchmarks.plain import accuracy as plain
from rslib import settings
from rslib.scorecard import scorecard as make
from rslib.scorecard.budget import LEAVING
from rslib.settings import PROJECT

NET = "resnet18-standard"
PLAIN = "plain script"

_SAME = 1e-9


def scorecard(n: int, dataset: str = "cifar10", *, device: torch.device = CPU) -> Suite:
    """Clean accuracy of n test images, called from Python, and started from a shell."""
    return Suite([_from_python(n, dataset, device), _from_shell(n, dataset, device)])


def _from_python(n: int, dataset: str, device: torch.device) -> Row:
    ours, theirs = (subjects.another(NET, device) for _ in range(2))
    profile = settings.derive(subjects.edition().settings, _settings(n, dataset, device))

    def run_ours() -> float:
        with contextlib.redirect_stdout(None):
            card = make(ours, None, profile, without=LEAVING, progress=False)
        return card.axes[0].result.value / 100

    def run_plain() -> float:
        images = plain.test_images(dataset, n)
        return plain.accuracy(theirs, images, profile.evaluation.batch_size)

    return Row(
        f"first number of a scorecard, {n:,} images",
        [Contender(OURS, run_ours, 1, ours), Contender(PLAIN, run_plain, 1, theirs)],
        same_accuracy,
        moved=n * subjects.pixels(1).nbytes,
        item="number",
        note="from the call to clean accuracy, reading the images included; rslib also gives its "
        "interval and calibration, and times the net to plan the other axes",
    )


def _from_shell(n: int, dataset: str, device: torch.device) -> Row:
    weights = subjects.weights(NET)
    asked = json.dumps(_settings(n, dataset, device))

    def run_ours() -> float:
        with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
            _python(
                "rslib", "scorecard", weights, "--architecture", "resnet18", "--quiet",
                "--profile", plain.PARAMS, "--settings", asked,
                "--without", *LEAVING, "--out", Path(folder, "card"),
            )  # fmt: skip
            card = json.loads(Path(folder, "card", "scorecard.json").read_text())
        return card["axes"][0]["result"]["value"] / 100

    def run_plain() -> float:
        return float(_python("benchmarks.plain.accuracy", weights, n, dataset, device.type))

    return Row(
        f"first number from a shell, {n:,} images",
        [
            Contender(OURS, run_ours, 1, note="python -m rslib scorecard, which writes its pages"),
            Contender(PLAIN, run_plain, 1),
        ],
        same_accuracy,
        no_floor="to start Python and to import packages is no arithmetic that could be counted",
        item="number",
        warm_up=False,
        note="from the start of the process, imports included",
    )


def _settings(n: int, dataset: str, device: torch.device) -> dict[str, Any]:
    return {"device": device.type, "data": {"name": dataset, "test_size": n}}


def _python(module: str, *arguments: object) -> str:
    """What a module prints, run by this Python with as many threads as this process."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=PROJECT,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"python -m {module} failed: {done.stderr.strip()}")
    return done.stdout


def same_accuracy(answers: Mapping[str, float]) -> str:
    """Whether the numbers are the same.

    Raises:
        Disagreement: they are not.
    """
    told = ", ".join(f"{who} {value:.2%}" for who, value in answers.items())
    if max(answers.values()) - min(answers.values()) > _SAME:
        raise Disagreement(f"accuracies differ: {told}")
    return f"accuracy: {told}"
