"""A user's own object masks, in the folder that the setting ``masks.own`` names."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from rslib.settings.schema import Settings
from rslib.store import records


def path(settings: Settings, file: str) -> Path:
    """The folder or the array of the masks of a split.

    Args:
        settings: that name the folder of both splits.
        file: ``"train"`` or ``"test"``.

    Raises:
        MaskError: there is neither, or the settings name no folder.
    """
    folder = _folder(settings)
    for found in (folder / file, folder / f"{file}.npy"):
        if found.exists():
            return found
    _refuse(f"{folder} holds neither a folder {file} nor {file}.npy; one is needed")


def digest(settings: Settings) -> str:
    """A digest of every mask file, by name and content.

    Raises:
        MaskError: there is no mask, or the settings name no folder.
    """
    folder = _folder(settings)
    files = sorted(
        file for file in folder.rglob("*") if file.suffix in {".png", ".npy"} and file.is_file()
    )
    if not files:
        _refuse(
            f"{folder} holds no mask, neither PNG files nor NumPy arrays: set masks.own to a "
            "folder that holds train and test"
        )
    found = {str(file.relative_to(folder)): records.file_digest(file) for file in files}
    return records.key(files=found)


def _folder(settings: Settings) -> Path:
    if not settings.masks.own:
        _refuse(
            "masks of your own are asked for, but settings.masks.own names no folder: give one "
            "that holds train and test, each a folder of PNG files or train.npy and test.npy"
        )
    return Path(settings.masks.own).expanduser()


def _refuse(why: str) -> NoReturn:
    from rslib.saliency import MaskError  # which imports torch

    raise MaskError(why)
