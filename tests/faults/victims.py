"""Work in a process of its own that can be killed, and what its run's folder then looks like.

Processes are forked from one that has the libraries loaded, so that a try takes no longer than the
work in it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path

import pandas as pd
import pytest
from safetensors import safe_open

from rslib.store import records

CONTEXT = multiprocessing.get_context("forkserver")
# What Python tells of changes to files, before they are made.
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}
MEASURED = {"provenance", "seconds"}  # what no two runs have in common
PATIENCE = 240  # seconds for any one process


class Victim:
    """A job in a process group of its own.

    Args:
        job: a function of :mod:`faults.jobs`, called with ``root`` and the arguments.
        root: the folder of its runs.
        *arguments: of the job.
        die_at: kill it before this change to a file under ``root``, counted from 0.
    """

    def __init__(
        self, job: Callable[..., None], root: Path, *arguments, die_at: int | None = None
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.output = root.with_name(f"{root.name}.output")
        self.changes = root.with_name(f"{root.name}.changes")
        self.changes.unlink(missing_ok=True)
        target = (job, root, arguments, die_at, self.output, self.changes)
        _load()
        self.process = CONTEXT.Process(target=_work, args=target)
        self.process.start()

    def kill(self) -> None:
        """Kill the process and all that it has started, as the system does when memory is out."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()  # where it has no group of its own yet
        self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"not done in {PATIENCE} s: {self.told()}")
        return self.process.exitcode

    def told(self) -> str:
        """What it has written to standard output and standard error."""
        return self.output.read_bytes().decode() if self.output.exists() else ""

    def finish(self) -> None:
        """Wait until it has done its job."""
        assert self.wait() == 0, self.told()

    def until(self, happened: Callable[[], object], what: str) -> None:
        """Wait until something has happened, while it works."""
        deadline = time.monotonic() + PATIENCE
        while not happened():
            assert self.process.is_alive(), f"ended before {what}: {self.told()}"
            assert time.monotonic() < deadline, f"no {what}: {self.told()}"
            time.sleep(0.002)


@functools.cache
def _load() -> None:
    """Start the process that victims are forked from, with all that is slow to import."""
    CONTEXT.set_forkserver_preload(["faults.jobs"])
    with pytest.MonkeyPatch.context() as patch:
        # Before Python 3.12.4 its path is not ours, and what it cannot import it silently leaves.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        forkserver.ensure_running()


def count_changes(job: Callable[..., None], root: Path, *arguments) -> int:
    """Do a job to its end; the number of changes to files that it made."""
    victim = Victim(job, root, *arguments)
    victim.finish()
    return int(victim.changes.read_text())


def _work(job, root: Path, arguments, die_at, output: Path, changes: Path) -> None:
    os.setsid()
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for standard in (1, 2):
        os.dup2(handle, standard)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    count = _count_and_die(root, die_at)
    job(root, *arguments)
    changes.write_text(str(count[0]))


def _count_and_die(root: Path, die_at: int | None) -> list[int]:
    count, inside = [0], f"{root}{os.sep}"

    def hook(event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[2], int)
        if event not in CHANGES and not (opened and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if isinstance(arguments[0], (str, os.PathLike)) and str(arguments[0]).startswith(inside):
            if count[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(hook)
    return count


# What is left, and what came of it


def results(root: Path) -> Iterator[Path]:
    """All that may be read as a result: every file but locks, and files that are being written."""
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.suffix not in {".tmp", ".lock", ".holder"}:
            yield path


def torn(root: Path) -> list[str]:
    """The results under a folder that cannot be read: there should be none at any moment."""
    return [
        f"{path.relative_to(root)} is half written ({error})"
        for path in results(root)
        if (error := _unreadable(path))
    ]


def _unreadable(path: Path) -> str | None:
    try:
        content(path)
    except (records.RecordError, OSError, ValueError, RuntimeError) as error:
        return str(error)
    return None


def content(path: Path) -> object:
    """What a result says, without dates, seconds and devices."""
    if path.suffix == ".json":
        return _timeless(records.read_json(path))
    if path.suffix == ".parquet":
        frame = records.read_record(path)
        hashed = pd.util.hash_pandas_object(frame, index=False).tolist()
        return _timeless(frame.attrs), [*frame.dtypes.items()], hashed
    if path.suffix == ".safetensors":
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads(file.metadata()["rslib"])
        return _timeless(header), {
            name: (tensor.dtype, tensor.shape, tensor.tobytes()) for name, tensor in tensors.items()
        }
    if path.suffix == ".ipynb":
        return json.loads(path.read_text())["nbformat"]
    return path.read_bytes()


def _timeless(document: object) -> object:
    if isinstance(document, dict):
        known = {key: value for key, value in document.items() if key not in MEASURED}
        return {key: _timeless(value) for key, value in known.items()}
    if isinstance(document, list):
        return [_timeless(each) for each in document]
    return document


def missing(whole: Path, other: Path) -> list[str]:
    """The results of an undisturbed run that another run does not have."""
    names = {str(path.relative_to(whole)) for path in results(whole)}
    return [f"{name} is missing" for name in sorted(names) if not (other / name).exists()]


def differing(whole: Path, other: Path) -> list[str]:
    """The results of another run that are not those of an undisturbed one."""
    found = []
    for path in results(other):
        name = path.relative_to(other)
        if not (whole / name).exists():
            found.append(f"{name} is left over")
        elif content(path) != content(whole / name):
            found.append(f"{name} differs")
    return found


def unfinished(root: Path) -> list[str]:
    """Files in the middle of being written that nobody is writing any more."""
    return [f"{path.relative_to(root)} is left over" for path in sorted(root.rglob("*.tmp"))]
