"""One process makes a thing at a time; others wait, and say who is making it.

    python -m rslib.store.locks runs/smoke -- snakemake …     waits for others that make runs/smoke

The lock is the operating system's: it ends with the process that holds it, however that ends, so
a killed run never blocks the next one. The note beside it is only there to be read.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

SECONDS = 1.0  # between two looks at who holds a lock


@contextlib.contextmanager
def held(lock: Path, making: str, *, tell: bool = True) -> Iterator[None]:
    """Hold a lock, after whoever has it now.

    Args:
        lock: the file that is locked; it stays, empty. While it is held, a note beside it names
            process, host and date.
        making: the thing made under it, for those who wait.
        tell: whether to say on standard error who is waited for; the line goes once that is over,
            so that a notebook keeps no trace of it.

    Raises:
        rslib.store.records.RecordError: the lock cannot be made; names the path and the way out.
    """
    waiting, note, said = FileLock(lock), lock.with_suffix(".holder"), ""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        while not waiting.is_locked:
            try:
                waiting.acquire(timeout=SECONDS if said else 0)
            except Timeout:
                now = f"waiting: another run is making {making} ({holder(lock)})"
                if tell and now != said:
                    print(f"\r{now:{len(said)}}", end="", file=sys.stderr, flush=True)
                said = now
        if tell and said:
            print(f"\r{'':{len(said)}}\r", end="", file=sys.stderr, flush=True)
    except OSError as error:
        from rslib.store.records import RecordError, way_out

        told = f"cannot lock {lock} to make {making}: {error.strerror}. {way_out(error)}"
        raise RecordError(told) from error
    try:
        since = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # a full disk is told by who writes the result
            note.write_text(json.dumps(me))
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()
        waiting.release()


def holder(lock: Path) -> str:
    """The process that holds a lock, as the note beside it says."""
    try:
        noted = json.loads(lock.with_suffix(".holder").read_text())
        return f"process {noted['pid']} on {noted['host']}, since {noted['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it has left no note of itself"  # in the moment before it is written


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the command's exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # By hand, since the command may have a -- of its own.
    cut = given.index("--") if "--" in given else len(given)
    about = "Run a command that makes a folder after all others that are making it."
    usage = "%(prog)s FOLDER -- COMMAND …"
    parser = argparse.ArgumentParser("python -m rslib.store.locks", usage, about)
    parser.add_argument("folder", type=Path, help="made by it; the lock is a hidden file beside it")
    made, command = parser.parse_args(given[:cut]).folder, given[cut + 1 :]
    if not command:
        parser.error("no command after --")
    try:
        with held(made.with_name(f".{made.name}.lock"), str(made)):
            return _run(command)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1


def _run(command: Sequence[str]) -> int:
    """Run a command, leaving it to it how to end on a signal."""
    with subprocess.Popen(command) as process:
        handlers = {signal.SIGINT: signal.SIG_IGN}  # the terminal sends it to both
        for each in (signal.SIGTERM, signal.SIGHUP):
            handlers[each] = lambda number, frame: process.send_signal(number)
        before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
        try:
            return process.wait()
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


if __name__ == "__main__":
    sys.exit(main())
