"""Evaluations killed by the system at work, in a process of their own, and taken up again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rslib import settings
from rslib.settings import PROJECT
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.slow

NAME = "resnet18-standard"
# Shards small enough that some are done and some are not when the kill comes.
OVERRIDES = {
    "evaluation": {"batch_size": 5},
    "autoattack": {"n": 40, "batch_size": 5, "steps": 3, "queries": 20},
    "smoothing": {"n": 40, "samples": 400},
}
SCRIPT = """
import json, pathlib, sys
from rslib import settings
from rslib.run import Run
overrides, root, name, evaluated = sys.argv[1:]
run = Run(settings.load("smoke", json.loads(overrides)), root=pathlib.Path(root), progress=False)
run.evaluate(name, evaluated)
"""


def evaluate_and_die(root: Path, evaluated: str, parts: Path) -> None:
    """Start the evaluation in another process and kill it once it has finished a few shards."""
    overrides = json.dumps(settings.merge(TINY, OVERRIDES))
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, overrides, str(root), NAME, evaluated],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(parts.glob("[0-9]*.parquet"))) < 2:
        assert process.poll() is None, f"it ended before the kill: {process.stderr.read()}"
        assert time.monotonic() < deadline, "no shard in two minutes"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stderr.close()


@pytest.mark.parametrize("evaluated", ["autoattack", "smoothing"])
def test_a_killed_evaluation_loses_at_most_the_shard_it_was_at(
    tiny_run, tmp_path, evaluated, monkeypatch
):
    whole = tiny_run(OVERRIDES, root=tmp_path / "whole")
    expected = whole.evaluate(NAME, evaluated)

    run = tiny_run(OVERRIDES, root=tmp_path / "killed")
    run.trained(NAME)
    parts = run.record_path(NAME, evaluated).with_suffix(".parts")
    evaluate_and_die(tmp_path / "killed", evaluated, parts)
    kept = {path: path.stat().st_mtime_ns for path in parts.glob("[0-9]*.parquet")}
    assert 2 <= len(kept) < 8
    assert not run.record_path(NAME, evaluated).exists()

    later = {}
    monkeypatch.setattr(
        "rslib.run.shards.discard_parts",
        lambda folder: later.update({path: path.stat().st_mtime_ns for path in kept}),
    )
    resumed = run.evaluate(NAME, evaluated)
    assert later == kept  # no finished shard was made again
    pd.testing.assert_frame_equal(resumed, expected)
    assert resumed.attrs["notes"] == expected.attrs["notes"]
