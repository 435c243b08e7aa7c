"""Remove a run's folder and the built book: what this project makes of them, and nothing else.

    python book/clean.py runs/smoke _build

A file goes where its place and name are those of a file that a run or a build leaves there; then
folders that are empty. Links are not followed. It imports nothing but Python's own library: make
clean works without an environment.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

_KEY = "-[0-9a-f]{10}"
_BEING_WRITTEN = r"(\.[^/]+\.tmp)"
#: Paths below a run's folder, such as ``seed0/models/resnet18-standard-0123456789/model.json``.
RUN = re.compile(
    r"params\.yaml|freeze\.txt|sample\.json|seed\d+/("
    r"errata\.yaml|revisions\.json"
    r"|executed/[^/]+\.ipynb"
    r"|trained/[^/]+"
    r"|tables/[^/]+\.json"
    rf"|models/[^/]+{_KEY}/((best|last|checkpoint)\.(safetensors|json)|model\.json)"
    rf"|(records/[^/]+|masks)/[^/]+{_KEY}(\.parts/[^/]+)?\.(parquet|json|npy|npz)"
    r"|scorecards/[^/]+/([^/]+/)?[^/]+\.(parquet|json|html|png|lock|holder)"
    r"|locks/[^/]+\.(lock|holder|taken)"
    rf"|([^/]+/){{1,3}}{_BEING_WRITTEN})"
)
#: What a build of the book makes in ``_build``.
BOOK = re.compile(
    r"(html|singlehtml|source|jupyter_execute|\.doctrees|\.jupyter_cache)/.*|robustsight\.pdf"
)


def clean(folder: str, ours: re.Pattern[str]) -> list[str]:
    """Remove what is ours below a folder, and the folders that are empty then; the files kept."""
    kept = []
    if os.path.islink(folder) or not os.path.isdir(folder):
        return [folder] if os.path.lexists(folder) else []
    for place, folders, files in os.walk(folder, topdown=False):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in (*files, *links):
            path = os.path.join(place, name)
            if ours.fullmatch(os.path.relpath(path, folder)):
                os.unlink(path)
            else:
                kept.append(path)
        if not os.listdir(place):
            os.rmdir(place)
    return kept


def main(arguments: Sequence[str]) -> int:
    """The command line: the folder of a run, and that of the book."""
    run, book = arguments
    try:
        for folder, ours in ((run, RUN), (book, BOOK)):
            kept = clean(folder, ours)
            if kept:
                more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
                told = f"{', '.join(map(repr, kept[:3]))}{more}"
                print(f"kept in {folder!r}, since this project did not make it: {told}")
    except OSError as error:
        print(f"cannot remove {error.filename!r}: {error.strerror}: see whose it is")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
