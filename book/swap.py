"""A folder made beside another one, which it replaces only once it is whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from book import BookError
from rslib.store import locks, records
from rslib.store.records import way_out

MARK = "made-beside.robustsight"
"""The file that says of a folder ``.new-…`` that it is ours, and can go."""

_NEW, _OLD = "new", "old"


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a folder to fill; without an error it takes the place of ``target`` after that.

    What was at ``target`` stays as it is until then, and is put back by :func:`recover` if all
    ends between the two renames. What a killed call has left beside ``target`` goes first.

    Raises:
        BookError: there is no room for it, or it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            _clear_all(target)
            work = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target)))
            try:
                (work / MARK).touch()
                (work / _NEW).mkdir()
                yield work / _NEW
                if os.path.lexists(target):
                    target.rename(work / _OLD)
                (work / _NEW).rename(target)
            finally:
                _clear(work, target)
    except OSError as error:
        told = f"cannot write {error.filename or target}: {error.strerror}. {way_out(error)}"
        raise BookError(told) from error


def recover(target: Path) -> None:
    """Put back what was at ``target``, if a call was killed between the renames that replace it."""
    if not os.path.lexists(target) and list(target.parent.glob(f"{_prefix(target)}*/{_OLD}")):
        with _alone(target):
            _clear_all(target)


def recover_all(folder: Path) -> None:
    """Do :func:`recover` for whatever was replaced in a folder."""
    for work in folder.glob(f"{_prefix(Path('*'))}*/{_OLD}"):
        recover(folder / work.parent.name[len(".new-") :].rpartition("-")[0])


def _clear_all(target: Path) -> None:
    """Clear what killed calls have left, which carries :data:`MARK`; nothing else is touched."""
    for work in sorted(target.parent.glob(f"{_prefix(target)}*")):
        _clear(work, target)


def _clear(work: Path, target: Path) -> None:
    if work.is_symlink() or not work.is_dir():
        return
    if not (work / MARK).is_file():
        with contextlib.suppress(OSError):  # killed before it had the mark, or not ours
            work.rmdir()
        return
    if (work / _OLD).exists() and not os.path.lexists(target):
        (work / _OLD).rename(target)
    for part in (_NEW, _OLD):  # the mark last, so that a kill leaves no folder without
        shutil.rmtree(work / part, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


def _prefix(target: Path) -> str:
    return f".new-{target.name}-"


def _alone(target: Path) -> contextlib.AbstractContextManager[object]:
    """One process replaces a folder at a time; the lock lies elsewhere, so that nothing is left."""
    key = records.key(folder=str(target.resolve()), user=os.getuid())
    return locks.held(Path(tempfile.gettempdir(), f"rslib-{key}.lock"), str(target))
