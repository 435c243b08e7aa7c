"""One process makes a thing at a time; others wait, and say who is making it.

    python -m rslib.store.locks runs/smoke -- snakemake …     waits for others that make runs/smoke

The lock is the operating system's: it ends with the processes that hold it, however they end, so
a killed run never blocks the next one. The note beside it is only there to be read.

A command's lock lasts as long as anything that the command has started. The command inherits the
locked file, and a variable of the environment marks all that descends from it, in whatever session
(notebook kernels have their own) and with whatever files closed. Whoever gets the lock after a
guard was killed waits for what still carries the mark.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SECONDS = 1.0  # between two looks at who holds a lock
GRACE = 2.0  # seconds that processes have to end by themselves once they are told to
LOOK = 0.2  # seconds between two looks at a command


@contextlib.contextmanager
def held(lock: Path, making: str, *, tell: bool = True) -> Iterator[int]:
    """Hold a lock, after whoever has it now.

    Args:
        lock: the file that is locked; it stays, empty. While it is held, a note beside it names
            process, host and date.
        making: the thing made under it, for those who wait.
        tell: whether to say on standard error who is waited for; the line goes once that is over,
            so that a notebook keeps no trace of it.

    Yields:
        The descriptor of the locked file: a process that inherits it holds the lock, too.

    Raises:
        rslib.store.records.RecordError: the lock cannot be made; names the path and the way out.
    """
    with contextlib.ExitStack() as opened:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            opened.callback(os.close, file)
            _wait(lambda: _taken(file), lambda: f"{making} ({holder(lock)})", tell)
        except OSError as error:
            from rslib.store.records import RecordError, way_out

            told = f"cannot lock {lock} to make {making}: {error.strerror}. {way_out(error)}"
            raise RecordError(told) from error
        note = lock.with_suffix(".holder")

        @opened.callback
        def forget() -> None:
            with contextlib.suppress(OSError):
                note.unlink()

        since = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        with contextlib.suppress(OSError):  # a full disk is told by who writes the result
            note.write_text(json.dumps(me))
        yield file


def _taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(done: Callable[[], bool], what: Callable[[], str], tell: bool) -> None:
    """Look again and again until something is done, and say what is being made meanwhile."""
    said = ""
    while not done():
        now = f"waiting: another run is making {what()}"
        if tell and now != said:
            print(f"\r{now:{len(said)}}", end="", file=sys.stderr, flush=True)
        said = now
        time.sleep(SECONDS)
    if tell and said:
        print(f"\r{'':{len(said)}}\r", end="", file=sys.stderr, flush=True)


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
    told = "stop once the process that started this one is gone, as make's shell is when make is"
    parser.add_argument("--with-parent", action="store_true", help=told)
    chosen, command = parser.parse_args(given[:cut]), given[cut + 1 :]
    if not command:
        parser.error("no command after --")
    made = Path(os.path.abspath(chosen.folder))
    if not made.name:
        parser.error(f"{chosen.folder} is the root of the file system: name a folder in it")
    lock = made.with_name(f".{made.name}.lock")
    mark = f"RSLIB_LOCK_{hashlib.sha256(os.path.realpath(lock).encode()).hexdigest()[:16]}"
    parent = os.getppid() if chosen.with_parent else None
    try:
        with _Signals() as signals, held(lock, str(chosen.folder)) as file:
            _wait(
                lambda: not _marked(mark),
                lambda: (
                    f"{chosen.folder} (left by a run that was killed: process "
                    f"{', process '.join(map(str, _marked(mark)))})"
                ),
                True,
            )
            signals.gone = lambda: parent is not None and os.getppid() != parent
            return _run(command, file, mark, signals)
    except _Stopped as stopped:
        return 128 + stopped.args[0]
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{command[0]} cannot be started: {error.strerror}: check its name", file=sys.stderr)
        return 127


class _Stopped(Exception):
    """A signal came; its number."""


class _Signals:
    """Signals that stop a command: the first raises while nothing runs, and is kept after that."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.running = False
        self.gone: Callable[[], bool] = lambda: False

    def __enter__(self) -> _Signals:
        asked = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # Under nohup the end of the terminal is no reason to stop.
        ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        taken = asked[:2] if ignored else asked
        self.before = {each: signal.signal(each, self._come) for each in taken}
        return self

    def __exit__(self, *raised: object) -> None:
        for each, handler in self.before.items():
            signal.signal(each, handler)

    def _come(self, number: int, frame: object) -> None:
        self.number = number
        if not self.running:
            raise _Stopped(number)

    def stop(self) -> bool:
        """Whether to stop: a signal came, or who started this is gone."""
        if self.number is None and self.gone():
            self.number = signal.SIGTERM
        return self.number is not None


def _run(command: Sequence[str], file: int, mark: str, signals: _Signals) -> int:
    """Run a command, and leave nothing of it running; stopped by a signal, that is at once."""
    signals.running = True
    if signals.stop():  # make was killed while this waited
        return 128 + int(signals.number or 0)
    with subprocess.Popen(command, pass_fds=[file], env=os.environ | {mark: "1"}) as process:
        status = None
        while status is None and not signals.stop():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(LOOK)
        _end(process, mark)
        if status is None:
            print("stopped; the same command goes on where it was", file=sys.stderr)
            return 128 + int(signals.number or 0)
        return 128 - status if status < 0 else status


def _end(process: subprocess.Popen, mark: str) -> None:
    """End a process and all that carries the mark: they are asked, and after a while killed.

    Files are whole or absent at any moment, so that nothing is lost by that.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE
        told: set[int] = set()
        while left := {*_marked(mark), *([process.pid] if process.poll() is None else [])}:
            for each in left - told if number == signal.SIGTERM else left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(each, number)
            told |= left
            if time.monotonic() > until:
                break
            time.sleep(0.05)


def _marked(mark: str) -> list[int]:
    """The processes whose environment has a variable, this one left out."""
    found, wanted = [], f"\0{mark}=".encode()
    if os.path.isdir("/proc/self"):
        for each in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):  # another user's, or gone
                if wanted in b"\0" + Path("/proc", each, "environ").read_bytes():
                    found.append(int(each))
    else:  # macOS
        listed = subprocess.run(
            ["ps", "-Eww", "-x", "-o", "pid=,command="], capture_output=True, check=False
        ).stdout
        rows = (row.split(None, 1) for row in listed.splitlines() if f"{mark}=".encode() in row)
        found = [int(row[0]) for row in rows]
    return sorted({*found} - {os.getpid()})


if __name__ == "__main__":
    sys.exit(main())
