"""Two runs of one profile at once: the second waits, says for whom, and ends with the same."""

import os
import re
import signal
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


TREE = """
import os, signal, subprocess, sys, time
code = "import os, signal, time\\nfor each in (1, 2, 15): signal.signal(each, signal.SIG_IGN)\\n"
code += "open('kernel', 'w').write(str(os.getpid()))\\ntime.sleep(60)"
kernel = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
while not os.path.exists("kernel") or not open("kernel").read():
    time.sleep(0.01)
open("job", "w").write(str(os.getpid()))
{rest}
"""


@pytest.fixture
def tree(tmp_path):
    """Start a guard whose job has a child as notebook kernels are: in a session of its own."""
    started = []

    def start(rest="time.sleep(60)", *options):
        command = [sys.executable, "-c", TREE.replace("{rest}", rest)]
        guard = [sys.executable, "-m", "rslib.store.locks", *options, "my runs", "--", *command]
        paths = os.environ | {"PYTHONPATH": str(PROJECT)}
        # What is started by nohup ignores SIGHUP, and so does all that it starts.
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            started.append(subprocess.Popen(guard, cwd=tmp_path, env=paths))
        finally:
            signal.signal(signal.SIGHUP, before)
        until(lambda: (tmp_path / "job").exists() and (tmp_path / "job").read_text())
        return started[-1], [int((tmp_path / each).read_text()) for each in ("job", "kernel")]

    yield start
    for each in (tmp_path / "job", tmp_path / "kernel"):
        if each.exists() and alive(int(each.read_text())):
            os.kill(int(each.read_text()), signal.SIGKILL)
    for guard in started:
        guard.kill()
        guard.wait()


def until(happened, seconds=60):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_that_was_started_within_seconds(tree, tally, number):
    count = tally("guard: stopped by a signal")
    guard, pids = tree()
    started = time.monotonic()
    guard.send_signal(number)
    assert guard.wait(20) == 128 + number
    lost = [f"took {took:.1f} s"] if (took := time.monotonic() - started) > 5 else []
    count.add(number.name, lost=lost + [f"{pid} goes on" for pid in pids if alive(pid)])
    assert not count.faults


@linux
def test_what_a_command_or_a_killed_job_leaves_running_ends_with_it(tree, tmp_path):
    guard, (_, kernel) = tree("sys.exit(3)")
    assert guard.wait(20) == 3 and not alive(kernel)
    for each in ("job", "kernel"):
        (tmp_path / each).unlink()
    guard, (job, kernel) = tree()
    os.kill(job, signal.SIGKILL)
    assert guard.wait(20) == 137 and not alive(kernel)


@linux
def test_the_lock_of_a_killed_guard_lasts_as_long_as_what_it_started(tree, tmp_path, tally):
    count = tally("guard: killed")
    guard, pids = tree()
    guard.kill()
    guard.wait()
    command = [sys.executable, "-m", "rslib.store.locks", "my runs", "--", "touch", "second"]
    paths = os.environ | {"PYTHONPATH": str(PROJECT)}
    with open(tmp_path / "said", "w") as said:
        second = subprocess.Popen(command, cwd=tmp_path, env=paths, stderr=said)
    for pid in pids:  # the job, then what is left of it
        until(lambda: "waiting" in (tmp_path / "said").read_text())
        time.sleep(1.5)
        early = [f"a second run began beside {pid}"] if (tmp_path / "second").exists() else []
        count.add("killed", lost=early)
        os.kill(pid, signal.SIGKILL)
    assert second.wait(20) == 0 and (tmp_path / "second").exists()
    assert f"left by a run that was killed: process {pids[1]}" in (tmp_path / "said").read_text()
    assert not count.faults
