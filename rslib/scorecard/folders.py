"""A scorecard's folder: the document, its page and picture, and the per-image records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from rslib.scorecard.card import Model, Scorecard, ScorecardError
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

DOCUMENT, PAGE, PICTURE, RECORDS = "scorecard.json", "index.html", "scorecard.png", "records"


def claim(folder: Path, model: Model, *, force: bool = False) -> None:
    """Refuse a folder that holds something else than this model's scorecard.

    With ``force`` it is used all the same; files that are not a scorecard's are left alone.

    Raises:
        ScorecardError: it is not free; says what it holds.
    """
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not there.is_dir():
        raise ScorecardError(f"{there} is a file: choose another folder with --out")
    if not folder.exists() or force:
        return
    if (folder / DOCUMENT).exists():
        held = read(folder)
        if (held.model.digest, held.model.reference) != (model.digest, model.reference):
            raise ScorecardError(
                f"{folder} holds the scorecard of another model ({held.name}: "
                f"{held.model.reference}, {held.model.digest[:10]}; this is {model.digest[:10]}): "
                "choose another folder with --out, or replace it with --force"
            )
        return
    others = {path.name for path in folder.iterdir()} - {PAGE, PICTURE, RECORDS}
    if others:
        raise ScorecardError(
            f"{folder} is no scorecard's folder (it holds {', '.join(sorted(others)[:3])}): choose "
            "another with --out, or use it all the same with --force"
        )


def write(folder: Path, card: Scorecard, frames: Mapping[str, pd.DataFrame]) -> None:
    """Write everything, each file whole or not at all, and the document last.

    An older document and its page go first, so that no scorecard ever stands over another's
    records. ``frames`` are these records by axis.

    Raises:
        rslib.store.records.RecordError: the disk is full or the folder cannot be written.
    """
    from rslib.scorecard import page, picture

    stale = [old for old in (folder / RECORDS).glob("*.parquet") if old.stem not in frames]
    for old in (folder / DOCUMENT, folder / PAGE, *stale):
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            raise records.RecordError(
                f"cannot replace {old}: {error.strerror}. {records.way_out(error)}"
            ) from error
    about = {"model": card.name, "digest": card.model.digest, "profile": card.profile}
    for axis, frame in frames.items():
        metadata = about | {"evaluation": axis, "n": len(frame), "provenance": card.provenance}
        records.write_record(folder / RECORDS / f"{axis}.parquet", frame, metadata)
    with records.atomic(folder / PICTURE) as temporary:
        picture.draw(card).savefig(temporary, format="png", dpi=150)
    drawn = (folder / PICTURE).read_bytes()
    with records.atomic(folder / PAGE) as temporary:
        temporary.write_text(page.page(card, drawn), encoding="utf-8")
    records.write_json(folder / DOCUMENT, card.model_dump(mode="json"))


def read(folder: str | Path) -> Scorecard:
    """Read a scorecard from its folder, or from its JSON file.

    Raises:
        rslib.store.records.RecordError: it is missing or damaged.
        ScorecardError: it is not a scorecard of this version of the schema.
    """
    path = Path(folder)
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
