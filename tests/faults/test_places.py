"""Clocks that go back, folders that cannot be written, and folders that move."""

import itertools
import os
import shutil
import time

import pytest

from rslib.run import shards, trainer
from rslib.store import records
from rslib.store.records import RecordError
from tests.faults import jobs
from tests.faults.victims import differing, missing, results

NAME = jobs.NAME
DAY = 24 * 3600


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a finished run: a model and two records."""
    root = tmp_path_factory.mktemp("places") / "whole"
    for evaluated in ("clean", "pgd"):
        jobs.tiny(root).evaluate(NAME, evaluated)
    return root


@pytest.fixture
def idle(monkeypatch):
    """Let nothing be trained or evaluated."""

    def refuse(*arguments, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(trainer, "train", refuse)
    monkeypatch.setattr(shards, "in_shards", refuse)


def read(root):
    """Ask a run for all it has."""
    run = jobs.tiny(root)
    run.trained(NAME)
    return [run.evaluate(NAME, evaluated) for evaluated in ("clean", "pgd")]


@pytest.mark.parametrize("shift", [-3650 * DAY, 365 * DAY])
def test_dates_decide_nothing(whole, tmp_path, idle, shift):
    root = tmp_path / "runs"
    shutil.copytree(whole, root)
    for number, path in enumerate(results(root)):
        moment = time.time() + shift * (number % 3)
        os.utime(path, (moment, moment))
    read(root)
    assert not differing(whole, root)


def test_a_checkpoint_from_the_future_is_taken_up(tmp_path, tally, monkeypatch):
    count, root = tally("clock: future checkpoint"), tmp_path / "runs"
    jobs.train(tmp_path / "whole")
    real, calls = records.write_json, []

    def stop(path, document):
        real(path, document)
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("rslib.training.checkpoint.write_json", stop)
        jobs.train(root)
    kept = records.read_json(calls[-1])["history"]
    for path in root.rglob("checkpoint.*"):
        os.utime(path, (time.time() + 365 * DAY,) * 2)
    jobs.train(root)
    history = jobs.tiny(root).summary(NAME)["history"]
    lost = [] if history[:2] == kept else ["finished epochs were trained again"]
    count.add("epoch 2 of 4", lost=lost, wrong=differing(tmp_path / "whole", root))
    assert not count.faults


def test_a_clock_that_goes_back_makes_no_negative_seconds(whole, tmp_path, tally, monkeypatch):
    count, root = tally("clock: set back"), tmp_path / "runs"
    back = itertools.count(time.time(), -3600)
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: next(back))
        patch.setattr(time, "time_ns", lambda: int(next(back) * 1e9))
        frames = read(root)
    summary = jobs.tiny(root).summary(NAME)
    seconds = [row["seconds"] for row in summary["history"]] + [summary["seconds"]]
    seconds += [frame.attrs["seconds"] for frame in frames]
    lost = [f"{each} seconds" for each in seconds if not 0 <= each < 3600]
    count.add("an hour a look", lost=lost, wrong=differing(whole, root))
    assert not count.faults


def test_what_cannot_be_written_can_be_read(whole, tmp_path, idle, read_only):
    root = tmp_path / "runs"
    shutil.copytree(whole, root)
    with read_only(root):
        read(root)


def test_a_folder_that_cannot_be_written_is_said_at_once(whole, tmp_path, idle, read_only):
    root = tmp_path / "runs"
    shutil.copytree(whole, root, ignore=shutil.ignore_patterns("pgd-*"))
    with read_only(root):
        run = jobs.tiny(root)
        with pytest.raises(RecordError, match="pgd-.*not writable: set RSLIB_RUNS"):
            run.evaluate(NAME, "pgd")  # idle: before anything is computed
        with pytest.raises(RecordError, match="vit_small.*not writable: set RSLIB_RUNS"):
            run.trained("vit_small-standard")


def test_a_run_that_was_moved_is_found_whole(whole, tmp_path, idle, tally):
    count = tally("moved")
    there, here = tmp_path / "there" / "runs", tmp_path / "here"
    shutil.copytree(whole, there)
    there.rename(here)
    read(here)
    wrong = differing(whole, here)
    for path in results(here):
        wrong += [
            f"{path.name} holds the path {place}"
            for place in (whole, there, here)
            if str(place).encode() in path.read_bytes()
        ]
    count.add("to another folder", lost=missing(whole, here), wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


def test_a_run_moved_half_way_goes_on(whole, tmp_path, tally, monkeypatch):
    count = tally("moved")
    there, here = tmp_path / "there", tmp_path / "here"
    real, calls = records.write_record, []

    def stop(path, *rest):
        real(path, *rest)
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt

    shutil.copytree(whole, there, ignore=shutil.ignore_patterns("pgd-*"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(records, "write_record", stop)
        jobs.tiny(there).evaluate(NAME, "pgd")
    there.rename(here)
    stamps = {path.name: path.stat().st_mtime_ns for path in here.rglob("0000*.parquet")}
    assert len(stamps) == 3
    seen = {}
    with monkeypatch.context() as patch:
        patch.setattr(
            shards,
            "discard_parts",
            lambda parts: (
                seen.update({path.name: path.stat().st_mtime_ns for path in parts.iterdir()}),
                shutil.rmtree(parts),
            ),
        )
        jobs.tiny(here).evaluate(NAME, "pgd")
    lost = [f"shard {name} was made again" for name in stamps if seen.get(name) != stamps[name]]
    count.add("between shards", lost=lost + missing(whole, here), wrong=differing(whole, here))
    assert not count.faults, "\n".join(count.faults)
