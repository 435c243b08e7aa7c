"""Two runs of one profile at once: the second waits, says for whom, and ends with the same."""

import os
import re
import socket
import subprocess
import sys
import time

import pytest

from rslib.settings import PROJECT
from rslib.store import locks, records
from rslib.store.records import RecordError
from tests.faults import jobs
from tests.faults.victims import Victim, differing, missing, torn, unfinished

RESULT = "records/a/clean-0.parquet"


def by_another_name(root):
    """The same folder for a second victim, whose output is kept by its folder's name."""
    link = root.with_name(f"{root.name}-again")
    link.symlink_to(root)
    return link


def waiting(victim):
    """Whether it has said that it waits."""
    return "waiting: another run is making" in victim.told()


def test_two_runs_at_once_end_with_equal_results(tmp_path, tally):
    count = tally("company: two runs at once")
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    Victim(jobs.company, whole).finish()
    pair = [Victim(jobs.company, shared), Victim(jobs.company, by_another_name(shared))]
    for victim in pair:
        victim.finish()
    count.add(
        "two at once",
        lost=missing(whole, shared) + torn(shared) + unfinished(shared),
        wrong=differing(whole, shared),
    )
    assert not count.faults, "\n".join(count.faults)
    said = [victim.told() for victim in pair]
    assert any("waiting: another run is making" in each for each in said)
    # Each model and record was made by one of them alone: the other shows no progress of its own.
    assert sum(each.count("epoch 4/4") > 0 for each in said) == 1


def test_who_waits_says_for_whom_and_leaves_no_trace(tmp_path):
    holder = Victim(jobs.hold, tmp_path / "runs", RESULT)
    holder.until((tmp_path / "runs" / "held").exists, "lock")
    second = Victim(jobs.wait, by_another_name(tmp_path / "runs"), RESULT)
    second.until(lambda: waiting(second), "message")
    said = re.search(
        r"a-clean-0.parquet \(process (\d+) on (\S+), since (.+?) UTC\)", second.told()
    )
    assert said[1] == str(holder.process.pid) and said[2] == socket.gethostname()
    assert time.strptime(said[3], "%Y-%m-%d %H:%M:%S")
    holder.kill()
    second.finish()
    # In a notebook the line is overwritten, and goes.
    from book.execute import without_progress

    (kept,) = without_progress([{"name": "stderr", "text": second.told()}])
    assert kept["text"] == "mine\n"


def test_a_lock_left_by_a_killed_process_blocks_nobody(tmp_path, tally):
    count = tally("company: holder killed")
    root = tmp_path / "runs"
    for _ in range(3):
        holder = Victim(jobs.hold, root, RESULT)
        holder.until((root / "held").exists, "lock")
        holder.kill()
        (root / "held").unlink()
        lost = []
        left = jobs.tiny(root).directory / "locks" / "a-clean-0.parquet.lock"
        assert left.exists() and str(holder.process.pid) in locks.holder(left)
        started = time.monotonic()
        next_one = Victim(jobs.wait, root, RESULT)
        next_one.finish()
        if time.monotonic() - started > 30 or waiting(next_one):
            lost.append("the next one waited for a dead process")
        count.add("holder killed", lost=lost)
    assert not count.faults


def test_a_result_that_is_there_needs_no_lock(tiny_run):
    run = tiny_run()
    path = run.directory / RESULT
    with run.lock(path):
        records.write_json(path, {})
    (lock,) = (run.directory / "locks").glob("*.lock")
    lock.unlink()
    with run.lock(path):
        assert not lock.exists()


def test_what_a_killed_process_left_goes_once_it_is_of_no_use(tiny_run):
    run = tiny_run()
    path = run.directory / RESULT
    parts = path.with_suffix(".parts")
    parts.mkdir(parents=True)
    (parts / "00000.parquet").touch()
    torn, foreign = (path.with_name(f".{name}.x1.tmp") for name in (path.name, "b.parquet"))
    for file in (torn, foreign):
        file.touch()
    with run.lock(path):
        assert not torn.exists()
        assert (parts / "00000.parquet").exists()  # finished shards are taken up again
        records.write_json(path, {})
    with run.lock(path):
        assert not parts.exists()
    assert foreign.exists()  # somebody may be writing it


@pytest.fixture
def blocked(tmp_path):
    """A file where the folder of locks should be."""
    (tmp_path / "smoke").write_text("")
    return tmp_path


def test_a_lock_that_cannot_be_made_is_explained(blocked):
    run = jobs.tiny(blocked)
    with pytest.raises(RecordError, match=r"cannot lock .*a-clean-0.*run again"):
        with run.lock(run.directory / RESULT):
            pass


def test_a_note_that_cannot_be_read_is_no_obstacle(tmp_path):
    lock = tmp_path / "a.lock"
    for text in ("", "{", "[]", '{"pid": 1}'):
        (tmp_path / "a.holder").write_text(text)
        assert "no note" in locks.holder(lock)
    with locks.held(lock, "a"):
        assert f"process {os.getpid()} on " in locks.holder(lock)
    assert not (tmp_path / "a.holder").exists()


def test_commands_of_a_kind_run_one_after_the_other(tmp_path):
    made, log = tmp_path / "book", tmp_path / "log"
    script = f"open({str(log)!r}, 'a').write('in '); import time; time.sleep(0.5); "
    script += f"open({str(log)!r}, 'a').write('out ')"
    command = [
        sys.executable,
        "-m",
        "rslib.store.locks",
        str(made),
        "--",
        sys.executable,
        "-c",
        script,
    ]
    pair = [subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE) for _ in "ab"]
    said = "".join(process.communicate()[1].decode() for process in pair)
    assert [process.returncode for process in pair] == [0, 0]
    assert log.read_text() == "in out in out "
    assert f"waiting: another run is making {made} (process" in said
    assert [path.name for path in tmp_path.iterdir() if path != log] == [".book.lock"]


def test_a_command_keeps_its_exit_status(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(3)"]
    assert locks.main([str(tmp_path / "book"), "--", *command]) == 3
