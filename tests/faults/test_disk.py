"""A disk that fills up while something is written: said clearly, nothing lost, and it goes on."""

import contextlib
import errno
import os
import shutil

import pytest

from book import BookError, execute
from rslib.store import records
from rslib.store.records import RecordError
from tests.faults import jobs
from tests.faults.victims import Victim, differing, missing, torn, unfinished
from tests.helpers.books import write_notebook

NAME = jobs.NAME
FREE = "free some space and run again"
BALLAST = "ballast"  # fills a disk


def fill(disk, but=0):
    """Leave no room on a disk, or so many bytes."""
    with open(disk / BALLAST, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        file.truncate(file.tell() - but)


def refuse(handle):
    """What ``os.fsync`` does on a full disk that gives space late."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FullAfter:
    """Fills a disk before a chosen call of a function, and leaves that one to fail by itself."""

    def __init__(self, disk, real, calls):
        self.disk, self.real, self.calls = disk, real, calls

    def __call__(self, *arguments, **options):
        if self.calls == 0:
            fill(self.disk)
        self.calls -= 1
        return self.real(*arguments, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folder of a run with a trained model and a record that nothing happened to."""
    root = tmp_path_factory.mktemp("disk") / "whole"
    jobs.tiny(root).evaluate(NAME, "pgd")
    return root


def without_records(whole, root):
    """A copy of a run's trained model."""
    shutil.copytree(whole, root, ignore=shutil.ignore_patterns("records", "locks"))


def goes_on(count, what, whole, root, error):
    """Judge a run that was refused with a message and has gone on since."""
    said = str(error.value)
    lost = missing(whole, root) + torn(root) + unfinished(root)
    lost += ["the message names no file"] * (f"cannot write {root}" not in said)
    lost += ["the message knows no way out"] * (FREE not in said)
    count.add(what, lost=lost, wrong=differing(whole, root))
    assert not count.faults, said + "\n" + "\n".join(count.faults)


@pytest.mark.parametrize("written", ["checkpoint", "weights", "shard", "record"])
def test_a_full_disk(undisturbed, small_disk, tally, monkeypatch, written):
    disk = small_disk(24)
    root = disk / "runs"
    module, name, calls = {
        "checkpoint": ("rslib.training.checkpoint", "save", 2),
        "weights": ("rslib.training.checkpoint", "save_weights", 1),
        "shard": ("rslib.store.records", "write_record", 2),
        "record": ("rslib.store.records", "write_record", 4),
    }[written]
    if module == "rslib.store.records":
        without_records(undisturbed, root)
    with monkeypatch.context() as patch, pytest.raises(RecordError) as error:
        real = getattr(__import__(module, fromlist=[name]), name)
        patch.setattr(f"{module}.{name}", FullAfter(disk, real, calls))
        jobs.tiny(root).evaluate(NAME, "pgd")
    assert not torn(root)
    (disk / BALLAST).unlink()
    jobs.tiny(root).evaluate(NAME, "pgd")
    goes_on(tally("disk full: " + written), written, undisturbed, root, error)


def test_a_disk_that_fills_as_it_is_flushed(undisturbed, tmp_path, tally, monkeypatch, every):
    # Where space is given only when data reaches the disk; no mount is needed for this one.
    count, root = tally("disk full: flushed"), tmp_path / "runs"
    if not every:
        without_records(undisturbed, root)
    real = os.fsync
    for at in range(24 if every else 4):
        flushed = []

        def full(handle, flushed=flushed, at=at):
            # Of a folder, whose flush is of no use to all systems, an error is passed over.
            if not os.path.isdir(f"/proc/self/fd/{handle}"):
                flushed.append(handle)
            refuse(handle) if len(flushed) > at else real(handle)

        before = {path: records.file_digest(path) for path in root.rglob("*.safetensors")}
        said = "nothing"
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            try:
                jobs.tiny(root).evaluate(NAME, "pgd")
            except RecordError as error:
                said = str(error)
        # What was written so far was flushed, one file after another, and then no more.
        refused = len(flushed) > at
        lost = torn(root) + unfinished(root) * (not refused)
        lost += [f"{len(flushed)} flushes"] * (refused and len(flushed) != at + 1)
        lost += [f"it said {said}"] * (refused != ("cannot write" in said and FREE in said))
        lost += ["nothing was flushed"] * (at == 0 and not refused)
        lost += [
            f"{path.name} went"
            for path, digest in before.items()
            if "check" not in path.name
            and not (path.exists() and records.file_digest(path) == digest)
        ]
        count.add(f"at flush {at}", lost=lost)
    jobs.tiny(root).evaluate(NAME, "pgd")
    count.add("afterwards", lost=missing(undisturbed, root), wrong=differing(undisturbed, root))
    assert not count.faults, "\n".join(count.faults)


def test_a_lock_on_a_full_disk_is_no_obstacle_to_reading(small_disk):
    disk = small_disk(8)
    run = jobs.tiny(disk / "runs")
    path = run.directory / "records" / "a" / "clean-0.json"
    records.write_json(path, {"a": 1})
    fill(disk)
    with run.lock(path):
        assert records.read_json(path) == {"a": 1}
    with pytest.raises(RecordError, match=FREE), run.lock(path.with_name("b.json")):
        records.write_json(path.with_name("b.json"), {"b": [1] * 10_000})


@pytest.mark.parametrize("when", ["as it runs", "as it is flushed"])
def test_a_notebook(small_disk, tmp_path, tally, monkeypatch, when):
    disk = small_disk(2)
    source = write_notebook(tmp_path / "01_one.ipynb", "print('x' * 300_000)", "answer = 42")
    earlier = write_notebook(disk / "executed" / "00_none.ipynb", "1", executed=True)
    output = disk / "executed" / "01_one.ipynb"
    count = tally("disk full: notebook")
    if when == "as it runs":
        fill(disk, but=40_000)
    else:
        monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BookError) as error:
        execute.run(source, output, profile="smoke", seed=0)
    monkeypatch.undo()
    lost = [f"{path.name} is left over" for path in disk.rglob("01_one*")]
    lost += ["the message does not help"] * (f"cannot write {output}" not in str(error.value))
    lost += ["the message knows no way out"] * (FREE not in str(error.value))
    lost += execute.failures(disk) + execute.problems(earlier)
    (disk / BALLAST).unlink(missing_ok=True)
    execute.run(source, output, profile="smoke", seed=0)
    count.add(when, lost=lost + execute.problems(output))
    assert not count.faults, "\n".join(count.faults)


def test_exported_corruptions(small_disk, tmp_path, tally):
    # These are large and written through memory, where a full disk would kill the process.
    count = tally("disk full: export")
    whole, disk = tmp_path / "whole", small_disk(6)
    Victim(jobs.export, whole).finish()
    fill(disk, but=2_000_000)  # room for one of three files of 1.5 MB
    victim = Victim(jobs.export, disk / "runs")
    assert victim.wait() == 1, f"ended by signal: {victim.process.exitcode}"
    assert "cannot write" in victim.told() and FREE in victim.told()
    kept = list((disk / "runs" / "export").iterdir())
    assert len(kept) == 3  # the marker, the labels and the file that there was room for
    (disk / BALLAST).unlink()
    Victim(jobs.export, disk / "runs").finish()
    count.add("export", lost=missing(whole, disk / "runs"), wrong=differing(whole, disk / "runs"))
    assert not count.faults, "\n".join(count.faults)
