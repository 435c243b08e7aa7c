"""Values that a notebook stores in itself, unseen, under names: prose cites them by these.

The format is that of papermill's records, as Sphinx expects them; the package that writes it takes
seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "application/papermill.record/"  # keeps what is stored from being shown
MARK = "rslib_run"
"""The name that a notebook's own account of its run is glued under."""
_TEXT = f"{_PREFIX}text/plain"


def put(name: str, text: str) -> None:
    """Store a text in the notebook that is running, under a name that is unique within a book."""
    from IPython.display import display

    about = {"scrapbook": {"name": name, "mime_prefix": _PREFIX}}
    display({_TEXT: text}, raw=True, metadata=about)


def read(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names and texts that an executed notebook, as JSON, has stored."""
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            if name:
                yield name, "".join(output["data"].get(_TEXT, ""))
