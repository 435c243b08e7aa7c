"""Tables as a notebook or a terminal shows them."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rslib.report import numbers

if TYPE_CHECKING:
    import pandas as pd

_DIFFERENCE = "difference"


def show(frame: pd.DataFrame, *, caption: str | None = None) -> Shown:
    """A table in the paper's shape: per model the paper's values, ours, their difference, and n.

    Where the paper has nothing for a model, one cell says so and there is no line of differences.
    With several seeds a line below ours has their mean and standard deviation.

    Args:
        frame: a table of :mod:`rslib.report.tables`.
        caption: instead of the table's own.

    Returns:
        What a notebook displays as HTML, and a terminal as text.
    """
    about = frame.attrs
    own = " ".join([about["title"], f"{_sentence(about['stamp'])}.", *about["notes"]])
    groups = []
    for _, rows in frame.groupby("model", sort=False):
        cells = rows.to_dict("records")
        label, training = cells[0]["label"], cells[0]["training"]
        if about.get("pairs"):
            lines = (label, training)
        else:
            # The size goes below, where it may be long without widening the column.
            name, _, size = label.partition(" (")
            training = "" if about["table"] == "table1" else training
            lines = tuple(filter(None, (name, training, size and f"({size}")))
        groups.append(_Group(lines, cells, about["unreported"]))
    return Shown(own if caption is None else caption, tuple(groups), about.get("pairs") or "Model")


@dataclass(frozen=True)
class _Group:
    """The rows of one model."""

    lines: tuple[str, ...]
    cells: list[dict[str, Any]]
    unreported: str

    @property
    def has_paper(self) -> bool:
        """Whether the paper has a number for this model."""
        return not all(numbers.missing(cell["paper"]) for cell in self.cells)

    @property
    def seeds(self) -> int:
        """How many seeds its means are over; 0 if it has none."""
        return max((cell["seeds"] for cell in self.cells if numbers.spread(cell)), default=0)

    def spreads(self) -> list[str]:
        """Mean and deviation of each cell, with the number of seeds where it is another."""
        return [_spread(cell, self.seeds) for cell in self.cells]


@dataclass(frozen=True)
class Shown:
    """A table ready to display; see :func:`show`."""

    caption: str
    groups: tuple[_Group, ...]
    first: str = "Model"

    def _repr_html_(self) -> str:
        heads = "".join(
            f'<th scope="col" style="{_HEAD}">{html.escape(cell["header"])}</th>'
            for cell in self.groups[0].cells
        )
        bodies = "".join(map(_body, self.groups))
        return (
            f'<div style="{_FRAME}"><table class="dataframe rslib-table" style="{_TABLE}">'
            f'<caption style="{_CAPTION}"><div style="{_STICKY}">{html.escape(self.caption)}</div>'
            f'</caption><thead><tr style="{_CLEAR}">'
            f'<th scope="col" style="{_HEAD};text-align:left">{html.escape(self.first)}</th>'
            f'<th scope="col" style="{_HEAD}"><span style="{_UNSEEN}">Value</span></th>'
            f"{heads}</tr></thead>{bodies}</table></div>"
        )

    def __repr__(self) -> str:
        import textwrap

        heads = [self.first, " ", *(cell["header"] for cell in self.groups[0].cells)]
        blocks = [_lines(group) for group in self.groups]
        widths = [max(map(len, column)) for column in zip(heads, *_fixed(blocks), strict=True)]
        text = [_join(heads, widths)]
        for block in blocks:
            text += ["", *(_join(line, widths) for line in block)]
        return "\n".join([*textwrap.wrap(self.caption, 100), "", *text])


# Colors are left to the page, so that the table follows its light and dark themes.
_RULE = "1px solid rgba(128,128,128,.6)"
_CLEAR = "background:none"
_FRAME = "overflow-x:auto;width:100%;container-type:inline-size"
_TABLE = (
    "border-collapse:collapse;width:auto;margin:0;font-size:.85em;line-height:1.35;"
    "font-variant-numeric:tabular-nums"
)
_CAPTION = "caption-side:top;text-align:left;padding:0 0 8px"
# On a narrow screen the table scrolls sideways and its caption stays, wrapped to the screen.
_STICKY = "position:sticky;left:0;width:100cqw"
_HEAD = f"{_CLEAR};text-align:right;vertical-align:bottom;padding:3px 6px;border-bottom:{_RULE}"
_SIDE = f"{_CLEAR};text-align:left;vertical-align:top;font-weight:normal;padding:2px 6px"
_CELL = f"{_CLEAR};text-align:right;vertical-align:top;padding:2px 6px;white-space:nowrap"
_SMALL = "font-size:.85em"
_LEFT = f"{_SMALL};text-align:left"
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


def _body(group: _Group) -> str:
    name, *below = group.lines
    title = f'<span style="white-space:nowrap">{html.escape(name)}</span>'
    for line in below:
        style = _SMALL if line.startswith("(") else ""
        title += f'<br><span style="{style}">{html.escape(line)}</span>'
    ours = []
    for cell in group.cells:
        interval = f'<br><span style="{_SMALL}">{html.escape(numbers.interval(cell))}</span>'
        value = f"<b>{html.escape(numbers.ours(cell))}</b>"
        ours.append(_cell(value + interval * bool(numbers.interval(cell))))
    counts = [_cell(html.escape(numbers.images(cell)), _SMALL) for cell in group.cells]
    rows = [f"{_side('<b>ours</b>')}{''.join(ours)}"]
    if group.seeds:
        means = [_cell(html.escape(text), _SMALL) for text in group.spreads()]
        rows.append(f"{_side(f'{group.seeds} seeds', _SMALL)}{''.join(means)}")
    if group.has_paper:
        reported = [_cell(f"<i>{html.escape(numbers.reported(c))}</i>") for c in group.cells]
        rows.insert(0, f"{_side('<i>paper</i>')}{''.join(reported)}")
        rows.append(f"{_side(_DIFFERENCE)}{_differences(group.cells)}")
    elif group.unreported:
        spoken = _cell(f"<i>{html.escape(group.unreported)}</i>", _LEFT, len(group.cells))
        rows.insert(0, f"{_side('<i>paper</i>')}{spoken}")
    rows.append(f"{_side('n', _SMALL)}{''.join(counts)}")
    head = f'<th scope="rowgroup" rowspan="{len(rows)}" style="{_SIDE};min-width:6.5em">{title}'
    rows[0] = f"{head}</th>{rows[0]}"
    body = "".join(f'<tr style="{_CLEAR}">{row}</tr>' for row in rows)
    return f'<tbody style="border-bottom:{_RULE}">{body}</tbody>'


def _lines(group: _Group) -> list[list[str]]:
    """A model's rows as text cells; an empty cell lets the one before it run on."""
    cells = group.cells
    lines = [
        ["ours", *map(numbers.ours, cells)],
        [" ", *(numbers.interval(cell) or " " for cell in cells)],
    ]
    if group.seeds:
        lines.append([f"{group.seeds} seeds", *(text or " " for text in group.spreads())])
    if group.has_paper:
        differences = []
        for (reason, text), same in _alike(cells):
            differences += [text, *["" if reason else text] * (len(same) - 1)]
        lines.insert(0, ["paper", *map(numbers.reported, cells)])
        lines.append([_DIFFERENCE, *differences])
    elif group.unreported:
        lines.insert(0, ["paper", group.unreported, *[""] * (len(cells) - 1)])
    lines.append(["n", *map(numbers.images, cells)])
    lines += [[" "] * (len(cells) + 1)] * (len(group.lines) - len(lines))
    names = [*group.lines, *[" "] * (len(lines) - len(group.lines))]
    return [[name, *line] for name, line in zip(names, lines, strict=True)]


def _fixed(blocks: list[list[list[str]]]) -> Iterator[list[str]]:
    """Lines to size columns by: a cell that runs on must not widen its first column."""
    for line in itertools.chain.from_iterable(blocks):
        after = [*line[1:], " "]
        yield ["" if following == "" else cell for cell, following in zip(line, after, strict=True)]


def _join(line: list[str], widths: list[int]) -> str:
    text, place = "", 0
    for cell, width in zip(line, widths, strict=True):
        text = text if cell == "" else text.ljust(place) + cell
        place += width + 2
    return text.rstrip()


def _side(content: str, style: str = "") -> str:
    return f'<th scope="row" style="{_SIDE};{style}">{content}</th>'


def _cell(content: str, style: str = "", span: int = 1) -> str:
    wide = f' colspan="{span}"' if span > 1 else ""
    return f'<td{wide} style="{_CELL};{style}">{content}</td>'


def _differences(cells: list[dict[str, Any]]) -> str:
    """Cells of differences; neighbors that cannot be compared for one reason share a cell."""
    found = []
    for (reason, text), same in _alike(cells):
        if reason:
            alone = len(same) == 1
            lines = html.escape(text).replace(" (", "<br>(") if alone else html.escape(text)
            found.append(_cell(lines, _SMALL if alone else _LEFT, len(same)))
        else:
            found += [_cell(html.escape(text))] * len(same)
    return "".join(found)


def _alike(cells: list[dict[str, Any]]) -> list[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Runs of neighboring cells with the same (reason not to compare, text of the difference)."""
    runs = itertools.groupby(cells, lambda cell: (cell["incomparable"], numbers.versus(cell)))
    return [(alike, list(run)) for alike, run in runs]


def _spread(cell: dict[str, Any], seeds: int) -> str:
    text = numbers.spread(cell)
    if not text:
        return ""
    told = [] if cell["seeds"] == seeds else [f"({cell['seeds']} seeds)"]
    if not numbers.missing(cell["seed_p"]):
        told.append(numbers.quantity(cell["seed_p"], "p"))
    return " ".join([text, *told])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
