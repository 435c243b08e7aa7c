"""Labels of a second edition's notebooks, renamed: a book may hold each label once.

Labels are what pages refer to each other by: those before a heading, the names of figures and
tables, and the numbers of formulas. A notebook's links to other notebooks are by file name, and
stay right in a folder of their own; links to pages of the book are made absolute.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_DEFINED = (
    r"^\(([\w-]+)\)=$",  # before a heading
    r"\$\$ *\(([\w-]+)\)$",  # after a formula
    r"^:(?:name|label): *([\w-]+)$",  # of a directive
)
_REFERS = re.compile(r"(\{(?:ref|numref|eq)\}`(?:[^`<]*<)?)([\w-]+)(>?`)|(\]\(#)([\w-]+)(\))")
_PAGE = re.compile(r"(\{doc\}`(?:[^`<]*<)?)([\w-]+)(>?`)")


def notebooks(folder: Path, *, prefix: str) -> None:
    """Rename all labels of the staged notebooks in a folder, and what refers to them.

    Args:
        folder: of one edition's notebooks; they are rewritten.
        prefix: put before each label, with a dash.
    """
    import nbformat

    paths = sorted(folder.glob("*.ipynb"))
    read = {path: nbformat.read(path, as_version=4) for path in paths}
    known = {label for notebook in read.values() for label in _labels(notebook.cells)}
    for path, notebook in read.items():
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = renamed(cell.source, known, prefix)
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            if "name" in figure:
                figure["name"] = f"{prefix}-{figure['name']}"
            if "caption" in figure:
                figure["caption"] = renamed(figure["caption"], known, prefix)
        nbformat.write(notebook, path)


def renamed(text: str, known: Iterable[str], prefix: str) -> str:
    """Markdown with its labels and references renamed.

    Args:
        text: of a page.
        known: the labels that are renamed; references to others stay.
        prefix: put before each, with a dash.
    """
    known = set(known)

    def refers(match: re.Match[str]) -> str:
        before, label, after = match.groups()[:3] if match[2] else match.groups()[3:]
        return f"{before}{prefix}-{label}{after}" if label in known else match[0]

    def defines(match: re.Match[str]) -> str:
        return match[0].replace(match[1], f"{prefix}-{match[1]}")

    for pattern in _DEFINED:
        text = re.sub(pattern, defines, text, flags=re.MULTILINE)
    return _PAGE.sub(r"\1/\2\3", _REFERS.sub(refers, text))


def _labels(cells: Iterable[dict]) -> Iterable[str]:
    for cell in cells:
        name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if name:
            yield name
        if cell.cell_type == "markdown":
            for pattern in _DEFINED:
                yield from re.findall(pattern, cell.source, re.MULTILINE)
