"""Where long work is, in lines: what a log, a notebook's runner or a cluster's job can show."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

from rslib.settings import environment

VARIABLE = "RSLIB_PROGRESS"
"""Names the file that lines are added to: a notebook's own output is no place for them."""


def from_environment() -> Callable[[str], None] | None:
    """A function that adds a line to the file that :data:`VARIABLE` names; None if none is."""
    named = environment.place(VARIABLE)
    if named is None:
        return None

    def add(line: str) -> None:
        # Where lines cannot be kept, the work goes on all the same.
        with contextlib.suppress(OSError), open(named, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return add


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Print, to standard error, the lines that processes started meanwhile add."""
    before = os.environ.get(VARIABLE)
    ended = threading.Event()

    def follow(path: str) -> None:
        with open(path, encoding="utf-8") as file:
            last = False
            while not last:
                last = ended.wait(0.5)  # seconds between looks
                for line in file:
                    print(line, end="", file=sys.stderr, flush=True)

    with tempfile.NamedTemporaryFile(prefix="rslib-") as file:
        os.environ[VARIABLE] = file.name
        follower = threading.Thread(target=follow, args=(file.name,), daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()
            del os.environ[VARIABLE]
            if before is not None:
                os.environ[VARIABLE] = before
