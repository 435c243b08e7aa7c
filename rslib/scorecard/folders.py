"""A scorecard's folder: the document, its page and picture, and the per-image records.

Beside these lies a folder of ours, :data:`OWN`. It holds the list of what a scorecard wrote, with
digests; the finished axes; and a new scorecard until it is whole. Files are replaced or removed
only if they are on that list and unchanged since: whatever else a folder holds stays as it is.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rslib.scorecard.card import AXES, Images, Model, Scorecard, ScorecardError
from rslib.scorecard.weights import expanded
from rslib.store import locks, records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

DOCUMENT, PAGE, PICTURE, RECORDS = "scorecard.json", "index.html", "scorecard.png", "records"
OWN = ".robustsight"

_FILES = (DOCUMENT, PAGE, PICTURE, *(f"{RECORDS}/{axis}.parquet" for axis in AXES))
_LIST, _LOCK, _AXES, _NEXT = "written.json", "card.lock", "axes", "next"
_MARK = "robustsight scorecard"
_ROOM = 1 << 20  # bytes; a scorecard takes fewer
_AWAY = "move it away, or choose another folder with --out"


def identity(model: Model, data: Images, profile: str, seed: int) -> dict[str, str]:
    """What must agree for a scorecard to be replaced by another without being asked."""
    return {
        "model": f"{model.reference}, {model.digest[:16]}",
        "profile": profile,
        "seed": str(seed),
        "data": f"{data.name} {data.split}, {data.fingerprint}",
    }


@contextlib.contextmanager
def claimed(
    folder: Path, of: Mapping[str, str], work: str, *, force: bool = False
) -> Iterator[Path]:
    """Hold a folder for a scorecard, and give the place where its finished axes are kept.

    Whoever is making one there is waited for, and told. What a killed call left is put in order.
    Errors get a note of what has been written and what is kept.

    Args:
        folder: where the scorecard is to be.
        of: its :func:`identity`.
        work: key of all that decides the axes; those of other keys go in the end.
        force: whether a scorecard of another identity may be replaced, and other files be there.

    Raises:
        ScorecardError: the folder cannot be used; says why.
    """
    _refuse_places(folder)
    own = folder / OWN
    if not (own / _LIST).exists():  # else somebody may be at work, whose files change meanwhile
        _refuse_changed(folder)
    _refuse_others(folder, of, force)
    try:
        own.mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / RECORDS):
            if place.exists() and not os.access(place, os.W_OK):
                raise PermissionError(errno.EACCES, "no permission to write", str(place))
        with tempfile.TemporaryFile(dir=own) as probe:
            probe.write(bytes(_ROOM))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        told = f"cannot write in {folder}: {error.strerror}. Nothing was measured: "
        told += "free some space, or choose" if full else "choose"
        raise ScorecardError(f"{told} another folder with --out") from error
    with locks.held(own / _LOCK, f"the scorecard in {folder}"):
        _refuse_changed(folder)
        _settle(folder)
        _refuse_others(folder, of, force)
        held = _held(folder) or {"files": {}}
        if not held["files"]:
            held["of"] = dict(of)
        _write_list(own, **held)
        place = own / _AXES / work
        try:
            yield place
        except BaseException as error:
            error.add_note(_left(folder, place))
            raise
        for other in (own / _AXES).glob("*"):  # none where the code of a model cannot be told
            if other != place:
                shutil.rmtree(other)


def write(folder: Path, card: Scorecard, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write a scorecard beside the one that is there, and then put it in its place.

    Killed at any moment, it leaves the old one, or the new one with which the next call of
    :func:`claimed` goes on. ``frames`` are the records by axis.

    Raises:
        ScorecardError: a file in its place is not, or no longer, what a scorecard wrote.
        rslib.store.records.RecordError: the disk is full or the folder cannot be written.
    """
    from rslib.scorecard import page, picture

    own = folder / OWN
    new = own / _NEXT
    about = {"model": card.name, "digest": card.model.digest, "profile": card.profile}
    try:
        _discard(new)
        for axis, frame in frames.items():
            metadata = about | {"evaluation": axis, "n": len(frame), "provenance": card.provenance}
            records.write_record(new / RECORDS / f"{axis}.parquet", frame, metadata)
        with records.atomic(new / PICTURE) as temporary:
            picture.draw(card).savefig(temporary, format="png", dpi=150)
        drawn = (new / PICTURE).read_bytes()
        with records.atomic(new / PAGE) as temporary:
            temporary.write_text(page.page(card, drawn), encoding="utf-8")
        records.write_json(new / DOCUMENT, card.model_dump(mode="json"))
        _refuse_changed(folder)
        files = {name: records.file_digest(new / name) for name in _FILES if (new / name).exists()}
        # From here on it counts as written.
        of = identity(card.model, card.data, card.profile, card.seed)
        _write_list(new, of=of, files=files)
    except BaseException:
        _discard(new)
        raise
    _settle(folder)


def read(folder: str | Path) -> Scorecard:
    """Read a scorecard from its folder, or from its JSON file.

    Raises:
        rslib.store.records.RecordError: it is missing or damaged.
        ScorecardError: it is not a scorecard of this version of the schema.
    """
    path = expanded(folder)
    path = path / DOCUMENT if path.is_dir() else path
    document = records.read_json(path)
    try:
        return Scorecard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ScorecardError(
            f"{path} is no scorecard of this version: {place}: {first['msg']}. Score the model "
            "again, or give another folder"
        ) from None


def _refuse_places(folder: Path) -> None:
    """Refuse what no scorecard may be put into, whatever it holds."""
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not there.is_dir():
        raise ScorecardError(f"{there} is a file: choose another folder with --out")
    for path in (folder, folder / RECORDS, folder / OWN):
        link = path.is_symlink() and (path != folder or not path.exists())
        if link or (path != folder and path.exists() and not path.is_dir()):
            told = f"a link to {path.readlink()}" if link else "a file"
            raise ScorecardError(f"{path} is {told}, where a folder is needed: {_AWAY}")
    package = Path(__file__).resolve().parents[1]
    kept = {"the folder of rslib": package, "the current folder": Path.cwd().resolve()}
    with contextlib.suppress(RuntimeError):  # of who has no home
        kept["your home"] = Path.home().resolve()
    try:
        whole = folder.resolve()
    except RuntimeError:
        raise ScorecardError(f"{folder} leads through a link to itself: {_AWAY}") from None
    told = [
        name if whole == path else f"a folder around {name}"
        for name, path in kept.items()
        if path.is_relative_to(whole)
    ]
    told += ["within the folder of rslib"] * whole.is_relative_to(package)
    told += [f"within a scorecard's {OWN}"] * (OWN in whole.parts)
    if told:
        raise ScorecardError(f"{folder} is {told[0]}: choose a folder of its own with --out")
    if (folder / OWN).is_dir() and not (folder / OWN / _LIST).exists():
        # A call that was killed at its very start has left no more than these.
        names = {path.name for path in (folder / OWN).iterdir()}
        if strange := sorted(n for n in names if not n.startswith(("card.", f".{_LIST}."))):
            told = f"{folder / OWN} is not of a scorecard (it holds {strange[0]})"
            raise ScorecardError(f"{told}: {_AWAY}")


def _refuse_changed(folder: Path) -> None:
    """Refuse a folder where a file in a scorecard's place is not one that a scorecard wrote."""
    listed = [_held(folder), _list(folder / OWN / _NEXT)]
    known = [each["files"] for each in listed if each is not None]
    for name in _FILES:
        path = folder / name
        if not os.path.lexists(path):
            continue
        plain = path.is_file() and not path.is_symlink()
        digest = records.file_digest(path) if plain else None
        if digest is None or digest not in [files.get(name) for files in known]:
            told = "is not of a scorecard that was written here"
            if any(name in files for files in known):
                told = "was changed since a scorecard wrote it"
            raise ScorecardError(f"{path} {told}, so it is not replaced: {_AWAY}")


def _refuse_others(folder: Path, of: Mapping[str, str], force: bool) -> None:
    """Refuse a folder that holds another scorecard, or is none's, unless forced."""
    held = _held(folder)
    if force or not folder.exists():
        return
    if held is None:
        others = sorted(path.name for path in folder.iterdir() if path.name != OWN)
        if others:
            raise ScorecardError(
                f"{folder} is no scorecard's folder (it holds {', '.join(others[:3])}): choose "
                "another with --out, or write beside these files with --force"
            )
        return
    differ = [name for name in of if held["of"].get(name) != of[name]]
    if differ:
        told = "the scorecard" if held["files"] else "the finished axes"
        before = "; ".join(str(held["of"].get(name)) for name in differ)
        now = "; ".join(of[name] for name in differ)
        raise ScorecardError(
            f"{folder} holds {told} of another {' and '.join(differ)} ({before}; this is {now}): "
            "choose another folder with --out, or replace it with --force"
        )


def _list(own: Path) -> dict[str, Any] | None:
    """Of what, and which files, a list in a folder of ours names; None where there is no list."""
    if not (own / _LIST).exists():
        return None
    try:
        listed = records.read_json(own / _LIST)
    except RecordError as error:
        raise ScorecardError(f"{own / _LIST} is not of a scorecard ({error}): {_AWAY}") from None
    of, files = listed.get("of"), listed.get("files")
    if listed.get("mark") != _MARK or not isinstance(of, dict) or not isinstance(files, dict):
        raise ScorecardError(f"{own / _LIST} is not of a scorecard: {_AWAY}")
    return {"of": of, "files": {name: files[name] for name in _FILES if name in files}}


def _write_list(own: Path, of: Mapping[str, str], files: Mapping[str, str]) -> None:
    records.write_json(own / _LIST, {"mark": _MARK, "of": of, "files": files})


def _held(folder: Path) -> dict[str, Any] | None:
    """The list of a folder; of a scorecard before there were lists, what carries its digest."""
    if (folder / OWN / _LIST).exists() or not (folder / DOCUMENT).is_file():
        return _list(folder / OWN)
    try:
        card = read(folder)
    except (ScorecardError, RecordError):
        return None
    found = [folder / DOCUMENT]
    with contextlib.suppress(OSError):
        page = (folder / PAGE).read_bytes()
        if card.model.digest.encode() in page:
            found.append(folder / PAGE)
            if base64.b64encode((folder / PICTURE).read_bytes()) in page:
                found.append(folder / PICTURE)
    for path in (folder / RECORDS).glob("*.parquet"):
        with contextlib.suppress(RecordError):
            if records.read_metadata(path).get("digest") == card.model.digest:
                found.append(path)
    files = {path.relative_to(folder).as_posix(): records.file_digest(path) for path in found}
    of = identity(card.model, card.data, card.profile, card.seed)
    return {"of": of, "files": {name: files[name] for name in _FILES if name in files}}


def _settle(folder: Path) -> None:
    """Put a whole new scorecard in its place, as far as it is not there yet; others go."""
    own, new = folder / OWN, _list(folder / OWN / _NEXT)
    try:
        if new is not None:
            for name in new["files"]:
                if (own / _NEXT / name).exists():
                    (folder / name).parent.mkdir(exist_ok=True)
                    os.replace(own / _NEXT / name, folder / name)
            old = _list(own) or {"files": {}}
            for name in old["files"].keys() - new["files"].keys():
                (folder / name).unlink(missing_ok=True)
            os.replace(own / _NEXT / _LIST, own / _LIST)
        _discard(own / _NEXT)
        for path in own.rglob("*.tmp"):  # half written
            path.unlink()
    except OSError as error:
        told = f"cannot put the new scorecard in its place: {error.filename}: {error.strerror}"
        raise RecordError(f"{told}. {records.way_out(error)}") from error


def _discard(new: Path) -> None:
    (new / _LIST).unlink(missing_ok=True)  # first: without it the rest is of no use
    if new.exists():
        shutil.rmtree(new)


def _left(folder: Path, place: Path) -> str:
    """What a stopped call has left, for whoever stopped it."""
    if (folder / OWN / _NEXT / _LIST).exists():
        return "the new scorecard is whole, but not in its place: the same command puts it there"
    held = _held(folder)
    told = "no scorecard was written"
    if held is not None and held["files"]:
        told = f"the scorecard in {folder} is the one from before"
    files = (path for path in place.rglob("*-*.*") if path.suffix in {".parquet", ".json"})
    found = {path.name.partition("-")[0] for path in files if path.parents[1].name == RECORDS}
    axes = ", ".join(axis for axis in AXES if axis in found)
    if not axes:
        return f"{told}; no axis was finished"
    return f"{told}; finished axes are kept ({axes}): the same command goes on from there"
