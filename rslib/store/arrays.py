"""NumPy files of any origin: mapped or read, never unpickled, and refused by name where damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np


class ArrayError(ValueError):
    """A file that is not the NumPy array it should be; the message names it and says why."""


def open_array(path: Path, member: str | None = None, *, most: int = 0) -> np.ndarray:
    """An array from a ``.npy`` file, mapped and read-only, or a ``.npz`` file's member by name.

    A member that would unpack to more than ``most`` bytes, its header included, is not unpacked.

    Raises:
        ArrayError: the file is missing, damaged, holds Python objects, or is of the other kind.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"PK"
            file.seek(0)
            if zipped and member is not None:
                # From the open file: of a path, a damaged zip file would stay open.
                with np.load(file, allow_pickle=False) as several:
                    size = several.zip.getinfo(f"{member}.npy").file_size
                    if size > most:
                        raise ValueError(f"{member} would unpack to {size:,} bytes, of {most:,}")
                    return several[member]
        if not zipped and member is None:
            return np.lib.format.open_memmap(path, mode="r")
    # A damaged header, or zip file, makes NumPy's reader raise nearly anything.
    except Exception as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ArrayError(f"{path} is damaged or not a NumPy array ({why})") from error
    is_what = "not one NumPy array, but several" if zipped else "one NumPy array, not several"
    raise ArrayError(f"{path} is {is_what} by name")
