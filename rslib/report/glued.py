"""Values that a notebook stores in itself, unseen, under names: prose cites them by these.

In the format of papermill's records, as Sphinx expects them. It is written here because importing
the package that writes it takes each notebook seconds, most of them for Sphinx.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PREFIX = "application/papermill.record/"  # keeps what is stored from being shown
_TEXT = f"{_PREFIX}text/plain"


def put(name: str, text: str) -> None:
    """Store a text in the notebook that is running.

    Args:
        name: unique within a book.
        text: what prose shows where it cites the name; quotes around it are left out there.
    """
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
