"""Tables as a notebook or a terminal shows them, and the templates of all HTML."""

from __future__ import annotations

import functools
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from rslib.report import numbers

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment


def render(name: str, **values: Any) -> str:
    """HTML from a template of ``rslib/report/templates``, all text escaped, no value missing."""
    return _environment().get_template(name).render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("rslib.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def sentence(text: str) -> str:
    """A text with a capital first letter."""
    return text[:1].upper() + text[1:]


def show(frame: pd.DataFrame, *, caption: str | None = None) -> Shown:
    """A table in the paper's shape: per model the paper's values, ours, their difference, and n.

    Where the paper has nothing for a model, one cell says so and there is no line of differences.
    With several seeds a line below ours has their mean and standard deviation. ``caption`` stands
    instead of the table's own. A notebook displays the result as HTML, a terminal as text.
    """
    about = frame.attrs
    if caption is None:
        caption = " ".join([about["title"], f"{sentence(about['stamp'])}.", *about["notes"]])
    models = [rows.to_dict("records") for _, rows in frame.groupby("model", sort=False)]
    heads = [cell["header"] for cell in models[0]]
    groups = [
        _Group(_names(cells[0], about), _rows(cells, about["unreported"])) for cells in models
    ]
    return Shown(caption, about.get("pairs") or "Model", heads, groups)


@dataclass(frozen=True)
class Shown:
    """A table ready to display; see :func:`show`."""

    caption: str
    first: str
    heads: Sequence[str]
    groups: Sequence[_Group]

    def _repr_html_(self) -> str:
        return render("table.html", table=self)

    def __repr__(self) -> str:
        head = [self.first, " ", *self.heads]
        blocks = [group.lines() for group in self.groups]
        body = itertools.chain.from_iterable(blocks)
        widths = [max(map(len, column)) for column in zip(head, *map(_fixed, body), strict=True)]
        text = [*textwrap.wrap(self.caption, 100), "", _join(head, widths)]
        for block in blocks:
            text += ["", *(_join(line, widths) for line in block)]
        return "\n".join(text)


class _Cell(NamedTuple):
    text: str
    below: str = ""  # a second line
    span: int = 1  # columns
    words: bool = False  # a phrase in place of a number


class _Row(NamedTuple):
    name: str
    cells: Sequence[_Cell]
    tag: str = ""  # of HTML: i or b
    small: bool = False


class _Group(NamedTuple):
    """The rows of one model, and the lines of its name."""

    names: Sequence[str]
    rows: Sequence[_Row]

    def lines(self) -> list[list[str]]:
        """The rows as text cells; an empty cell lets the one before it run on."""
        lines = []
        for row in self.rows:
            cells = [[cell.text or " "] + [""] * (cell.span - 1) for cell in row.cells]
            lines.append([row.name, *itertools.chain.from_iterable(cells)])
            if row.name == "ours":
                lines.append([" ", *(cell.below or " " for cell in row.cells)])
        blank = [" "] * len(lines[0])
        pairs = itertools.zip_longest(self.names, lines)
        return [[name or " ", *(line or blank)] for name, line in pairs]


def _names(cell: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    label, training = cell["label"], cell["training"]
    if about.get("pairs"):
        return [label, training]
    # The size goes below, where it may be long without widening the column.
    name, _, size = label.partition(" (")
    names = [name]
    if training and about["table"] != "table1":
        names.append(training)
    return [*names, f"({size}"] if size else names


def _rows(cells: Sequence[Mapping[str, Any]], unreported: str) -> list[_Row]:
    """The rows of one model, from its numbers."""
    ours = [_Cell(numbers.value(cell), below=numbers.interval(cell)) for cell in cells]
    rows = [_Row("ours", ours, tag="b")]
    seeds = max((cell["seeds"] for cell in cells if numbers.spread(cell)), default=0)
    if seeds:
        spreads = [_Cell(_spread(cell, seeds)) for cell in cells]
        rows.append(_Row(f"{seeds} seeds", spreads, small=True))
    if not all(numbers.missing(cell["paper"]) for cell in cells):
        paper = [_Cell(numbers.value(cell, "paper")) for cell in cells]
        rows = [_Row("paper", paper, tag="i"), *rows, _Row("difference", _differences(cells))]
    elif unreported:
        rows.insert(0, _Row("paper", [_Cell(unreported, span=len(cells), words=True)], tag="i"))
    return [*rows, _Row("n", [_Cell(numbers.images(cell)) for cell in cells], small=True)]


def _differences(cells: Sequence[Mapping[str, Any]]) -> list[_Cell]:
    """Cells of differences; neighbors that cannot be compared for one reason share a cell."""
    found = []
    told = [(numbers.versus(cell), bool(cell["incomparable"])) for cell in cells]
    for (text, words), same in itertools.groupby(told):
        columns = len(list(same))
        found += [_Cell(text, span=columns, words=True)] if words else [_Cell(text)] * columns
    return found


def _spread(cell: Mapping[str, Any], seeds: int) -> str:
    """Mean and deviation of a cell, with the number of seeds where it is another."""
    text = numbers.spread(cell)
    if text and cell["seeds"] != seeds:
        text += f" ({cell['seeds']} seeds)"
    if text and not numbers.missing(cell["seed_p"]):
        text += f" {numbers.quantity(cell['seed_p'], 'p')}"
    return text


def _fixed(line: list[str]) -> list[str]:
    """A line to size columns by: a cell that runs on must not widen its first column."""
    following = [*line[1:], " "]
    return ["" if after == "" else cell for cell, after in zip(line, following, strict=True)]


def _join(line: list[str], widths: list[int]) -> str:
    text, place = "", 0
    for cell, width in zip(line, widths, strict=True):
        if cell:
            text = text.ljust(place) + cell
        place += width + 2
    return text.rstrip()
