"""Work killed at any moment and taken up again ends with what undisturbed work gives."""

import shutil
import time

import pytest

from rslib.store import records
from tests.faults import jobs
from tests.faults.victims import Victim, count_changes, differing, missing, torn, unfinished

EVALUATIONS = {
    "AutoAttack": "autoattack",
    "smoothing": "smoothing",
    "corruptions": "corruptions",
    "saliency": "saliency",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of an undisturbed run with one trained model, and the seconds that took."""
    root = tmp_path_factory.mktemp("kills") / "trained"
    Victim(jobs.train, root.with_name("warm-up")).finish()  # starts the process that forks
    started = time.monotonic()
    Victim(jobs.train, root).finish()
    return root, time.monotonic() - started


def kill_and_resume(job, start, whole, root, *arguments, after=None, die_at=None):
    """Kill a job once, take it up again, and say what is lost and what is wrong."""
    if start is not None:
        shutil.copytree(start, root)
    victim = Victim(job, root, *arguments, die_at=die_at)
    if die_at is None:
        time.sleep(after)
        victim.kill()
    else:
        assert victim.wait() == -9, victim.told()
    lost = torn(root)
    kept = finished_epochs(root)
    again = Victim(job, root, *arguments)
    if again.wait():
        lost.append(f"it does not go on: {again.told()}")
        return lost, []
    lost += missing(whole, root) + unfinished(root) + forgotten(root, kept)
    wrong = differing(whole, root)
    shutil.rmtree(root)
    return lost, wrong


def finished_epochs(root):
    """By folder, the epochs that were on disk when the kill came, seconds included."""
    headers = [*root.rglob("checkpoint.json"), *root.rglob("model.json")]
    return {path.parent: records.read_json(path)["history"] for path in headers}


def forgotten(root, kept):
    """Epochs that had been finished and were made again: their seconds tell."""
    found = []
    for folder, history in kept.items():
        now = records.read_json(folder / "model.json")["history"]
        if now[: len(history)] != history:
            found.append(f"{folder.relative_to(root)}: finished epochs were trained again")
    return found


def strike(tally, chance, job, start, whole, scratch, *arguments, changes, seconds, counts):
    """Kills at random times, and before random changes to files, each of another copy."""
    at_times, at_changes = counts
    for number in range(at_times):
        after = chance.uniform(0, seconds)
        root = scratch / f"time{number}"
        lost, wrong = kill_and_resume(job, start, whole, root, *arguments, after=after)
        tally.add(f"killed after {after:.3f} s", lost=lost, wrong=wrong)
    steps = chance.sample(range(changes), min(at_changes, changes))
    for step in sorted(steps):
        root = scratch / f"change{step}"
        lost, wrong = kill_and_resume(job, start, whole, root, *arguments, die_at=step)
        tally.add(f"killed before change {step} of {changes}", lost=lost, wrong=wrong)
    assert not tally.faults, "\n".join(tally.faults)


def test_training(trained, tmp_path, chance, tally, every):
    whole, seconds = trained
    changes = count_changes(jobs.train, tmp_path / "counted")
    assert changes > 40  # four epochs' checkpoints, two files of weights, model.json
    assert not differing(whole, tmp_path / "counted")
    strike(
        tally("killed: training"), chance, jobs.train, None, whole, tmp_path,
        changes=changes, seconds=seconds, counts=(20, 10) if every else (1, 2),
    )  # fmt: skip


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_evaluations(trained, tmp_path, chance, tally, every, kind):
    start, whole = trained[0], tmp_path / "whole"
    shutil.copytree(start, whole)
    started = time.monotonic()
    changes = count_changes(jobs.evaluate, whole, EVALUATIONS[kind])
    strike(
        tally(f"killed: {kind}"), chance, jobs.evaluate, start, whole, tmp_path,
        EVALUATIONS[kind],
        changes=changes, seconds=time.monotonic() - started, counts=(20, 10) if every else (1, 1),
    )  # fmt: skip


def test_writing(trained, tmp_path, chance, tally, every):
    whole = tmp_path / "whole"
    started = time.monotonic()
    Victim(jobs.write, whole).finish()
    seconds = time.monotonic() - started
    count = tally("killed: writing")
    for number in range(20 if every else 2):
        root = tmp_path / f"try{number}"
        after = chance.uniform(0, seconds)
        victim = Victim(jobs.write, root)
        time.sleep(after)
        victim.kill()
        lost, wrong = torn(root), mixed(root)
        Victim(jobs.write, root).finish()
        lost += missing(whole, root)
        wrong += differing(whole, root)
        count.add(f"killed after {after:.3f} s", lost=lost, wrong=wrong)
        shutil.rmtree(root)
    assert not count.faults, "\n".join(count.faults)


def mixed(root):
    """Files that hold rows of one version and the metadata of another."""
    found = []
    if (root / "record.parquet").exists():
        frame = records.read_record(root / "record.parquet")
        if {*frame["version"]} != {frame.attrs["version"]} or len(frame) != jobs.ROWS:
            found.append("record.parquet holds two versions")
    if (root / "document.json").exists():
        document = records.read_json(root / "document.json")
        if {*document["rows"]} != {document["version"]}:
            found.append("document.json holds two versions")
    return found
