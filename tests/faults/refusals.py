"""Checks of a refusal: it names the input, the reason and the way out, and nothing is written."""

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from book import BookError
from rslib.data import DataError
from rslib.store.records import RecordError
from rslib.training import TrainingError

ERRORS = (ValueError, TypeError, DataError, RecordError, BookError, TrainingError)
"""What the project refuses with; settings, masks and scorecards raise kinds of ValueError."""

WAY_OUT = re.compile(
    # A clause that tells what to do,
    r"(?im)(?:^|[:;,.(]\s+|\b(?:or|and|to|either|then|first|should)\s+)"
    r"(?:allow|ask|bring|call|check|choose|delete|divide|fetch|free|give|install|leave|lower|name|"
    r"put|raise|remove|rename|run|save|score|set|start|take|turn|unpack|use|wrap|write)\b"
    # or what would be right,
    r"|\bmust (?!n.t\b)\w+|\b(?:is|are) needed\b|\bshould (?:be|have)\b|\bexpected [^.]+\bgot\b"
    r"|\b(?:greater|less) than\b|\bmultiple of\b|\bas in\b|\binvalid \w+ value\b"
    # or which there are.
    r"|\bdid you mean\b|\bnear it: |\b[Vv]alid(?: \w+)?: |\b(?:there|names|models|keys) are:? \S"
    r"|\btoo long\b|\bknown: |\bis none of \w+, |: \w+(?:, \w+){3}|\busage: .*\["
)
"""A sentence that tells what to do, or what would be right; the reason alone is none."""


class ShellError(ValueError):
    """What a command line said on its way out with a status other than 0."""


def refused(call: Callable[[], object], *, names: Sequence[str], wrote: Path) -> str:
    """Check that a call is refused properly.

    Args:
        call: what must be refused.
        names: words that the message must hold: of the input, and of the reason.
        wrote: a folder in which the call must change nothing.

    Returns:
        The message.
    """
    before = contents(wrote)
    try:
        call()
    except ERRORS as error:
        said = str(error)
    else:
        raise AssertionError("it was accepted")
    after = contents(wrote)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert not changed, f"it wrote or removed {sorted(map(str, changed))}"
    for name in names:
        assert name in said, f"{name!r} is not named: {said}"
    assert WAY_OUT.search(said), f"no way out: {said}"
    assert "Traceback" not in said and "Error: <" not in said, said
    return said


def shell(main: Callable[[Sequence[str]], int], *arguments: object) -> None:
    """Run a command line in this process.

    Raises:
        ShellError: its status is not 0; the message is what it wrote to standard error.
    """
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
        try:
            status = main([str(each) for each in arguments])
        except SystemExit as stopped:
            status = stopped.code
    if status != 0:
        raise ShellError(told.getvalue())


def contents(folder: Path) -> dict[Path, str]:
    """Everything in a folder: a link's target, a file's digest."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[path] = f"to {path.readlink()}"
        elif path.is_dir():
            found[path] = "folder"
        else:
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def flipped(blob: bytes, place: int, bit: int) -> bytes:
    """A file's bytes with one bit changed; places count around."""
    changed = bytearray(blob)
    changed[place % len(blob)] ^= 1 << bit
    return bytes(changed)
