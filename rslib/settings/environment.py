"""Variables of the environment and of make: read in one place, refused where they cannot be meant.

The Makefile runs this file by itself, before anything is installed, so it imports nothing but
Python's own library::

    python rslib/settings/environment.py PROFILE=smoke "SEEDS=0 1"     checks, prints where runs lie
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

if __name__ != "__main__":  # pathlib's import is the slowest, and make needs no more than text
    from pathlib import Path

#: The form of a profile's name.
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
#: Seeds are below it: PyTorch's generators take no larger ones.
LARGEST = 2**63
#: The variables that name folders, and what lies in each.
FOLDERS = {"RSLIB_RUNS": "runs", "RSLIB_DATA": "data sets", "RSLIB_PARAMS": "profiles"}

_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHOLE = re.compile("0|[1-9][0-9]{0,19}")


class SettingsError(ValueError):
    """A setting, a variable or an option that cannot be used; the message says which and why."""


def text(variable: str) -> str | None:
    """The text that a variable of the environment holds; None where it is unset or empty.

    Raises:
        SettingsError: it holds line ends, other control characters, or only blanks.
    """
    value = os.environ.get(variable, "")
    if _UNSEEN.search(value) or (value and not value.strip()):
        told = f"{variable} holds {value!r}, which has control characters or nothing but blanks"
        raise SettingsError(f"{told}: set it to text of one line, or unset {variable}")
    return value or None


def place(variable: str) -> Path | None:
    """The path that a variable names, absolute; None where it is unset or empty.

    ``~`` is the user's home, and what is relative counts from the working directory.

    Raises:
        SettingsError: see :func:`text`; or there is no such user.
    """
    value = text(variable)
    return None if value is None else Path(_absolute(value, variable))


def folder(variable: str) -> Path | None:
    """The folder that a variable names, as :func:`place`; it need not be there yet.

    Raises:
        SettingsError: see :func:`place`; or it is the root of the file system, a file, a link that
            leads nowhere, or lies below one of these.
    """
    value = text(variable)
    return None if value is None else Path(_folder(value, variable))


def _folder(value: str, variable: str) -> str:
    path = _absolute(value, variable)
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    why = ""
    if os.path.realpath(path) == os.path.realpath(os.sep):
        why = "is the root of the file system"
    elif not os.path.isdir(there):
        what = "a link that leads nowhere" if os.path.islink(there) else "a file"
        why = f"is {what}" if there == path else f"lies below {there}, which is {what}"
    if why:
        what = FOLDERS.get(variable, "files")
        told = f"{variable}={value} {why}: set it to a folder for {what}, or unset it"
        raise SettingsError(told)
    return path


def expanded(value: str) -> str:
    """A path with ``~`` for a home written out.

    Raises:
        SettingsError: there is no such user.
    """
    found = os.path.expanduser(value)
    if found.startswith("~") and not os.path.lexists(found):
        user = found.split(os.sep)[0]
        raise SettingsError(f"{value!r}: there is no user {user[1:]!r}; write ./{value} for a name")
    return found


def _absolute(value: str, variable: str) -> str:
    try:
        return os.path.abspath(expanded(value))
    except SettingsError as error:
        raise SettingsError(f"{variable}={error}") from None


def whole(given: object, what: str, *, least: int = 0) -> int:
    """A whole number that was given as one, or as its decimal digits.

    Raises:
        SettingsError: it is another thing, is out of range, or opens with a zero; opens with
            ``what``.
    """
    if isinstance(given, str) and _WHOLE.fullmatch(given):
        given = int(given)
    if type(given) is not int or not least <= given < LARGEST:
        told = f"{what} must be a whole number from {least}, below 2^63, in plain digits"
        raise SettingsError(f"{told}, not {given!r}: give one such as {max(least, 1)}")
    return given


def seeds(given: object, what: str = "SEEDS") -> list[int]:
    """The seeds in a text such as ``"0 1 2"``, or of a list, in that order.

    One that stands there repeatedly is told on standard error, and taken once.

    Raises:
        SettingsError: there are none, or one is no whole number from 0.
    """
    listed = given.split() if isinstance(given, str) else given
    listed = list(listed) if isinstance(listed, list | tuple) else [listed]
    if not listed:
        raise SettingsError(f'{what} names no seed: give whole numbers from 0, as in {what}="0 1"')
    found = [whole(each, f"{what}: a seed") for each in listed]
    once = list(dict.fromkeys(found))
    if len(once) < len(found):
        again = ", ".join(str(each) for each in once if found.count(each) > 1)
        print(f"{what} repeats {again}: each is taken once", file=sys.stderr)
    return once


def seed(given: str) -> int:
    """One seed as an option of a command line (``type=`` of argparse)."""
    try:
        return whole(given, "a seed")
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check(name: str, value: str) -> None:
    """Refuse what a variable of make's cannot be; one that is empty counts as unset."""
    if name == "PROFILE" and not re.fullmatch(NAME, value):
        told = "up to 100 letters, digits, '.', '_' or '-', a letter or digit first"
        raise SettingsError(f"PROFILE={value!r} must be {told}: it names the run directory")
    if name == "SEEDS":
        seeds(value)
    elif name == "DEVICE" and not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,3})?", value):
        raise SettingsError(f"DEVICE={value!r} must be cpu, cuda or mps: give one of them")
    elif name == "FAN_OUT":
        if value not in ("0", "1", "true", "false"):
            raise SettingsError(f"FAN_OUT={value!r} must be 1 or 0: give one, or leave it out")
    elif name in ("CORES", "WORKERS", "GPUS") and (name, value) != ("CORES", "all"):
        whole(value, name, least=0 if name == "GPUS" else 1)


def main(arguments: Sequence[str]) -> int:
    """Check ``NAME=value`` arguments and our variables; print the runs' folder, ready for use."""
    try:
        for name, _, value in (each.partition("=") for each in arguments):
            if value:
                _check(name, value)
        named = {name: _folder(value, name) for name in FOLDERS if (value := text(name))}
        text("RSLIB_REVISION")
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    print(named.get("RSLIB_RUNS", "runs"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
