"""The page that sets editions beside the paper and beside each other, row by row.

Every number is read from an edition's stored tables and verdicts; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from book.editions import FOUND_SINCE, NOT_RECORDED, Edition
from rslib import paper
from rslib.report import labels, numbers
from rslib.verdicts import Verdict
from rslib.verdicts.frame import number_text


def page(editions: Sequence[Edition]) -> str:
    """The generated part of the page ``editions``, in Markdown.

    Args:
        editions: in the order they are shown in.

    Returns:
        A table of what the editions are, what was found wrong with them since, and a table for each
        of the paper's Tables 1 to 5.
    """
    blocks = ["## What they are", _abouts(editions), *_errata(editions)]
    for table in paper.TABLES.values():
        number = table.name.removeprefix("table")
        blocks += [f"## Table {number}", _compared(table, editions)]
    return "\n\n".join(blocks) + "\n"


def _abouts(editions: Sequence[Edition]) -> str:
    rows = {
        "data": [each.data for each in editions],
        "limits": [" ".join(each.limits) or "the paper's protocol" for each in editions],
        "device": [", ".join(each.devices) or NOT_RECORDED for each in editions],
        "date": [each.dates for each in editions],
        "time": [_hours(each) for each in editions],
        "code": [_code(each) for each in editions],
        "made again": [_sample(each) for each in editions],
        "n": [each.images for each in editions],
        "seeds": [", ".join(map(str, each.seeds)) or NOT_RECORDED for each in editions],
        **{verdict.value: [_count(each, verdict) for each in editions] for verdict in Verdict},
    }
    lines = [[key, *cells] for key, cells in rows.items()]
    return _table(["", *(each.name for each in editions)], lines)


def _hours(edition: Edition) -> str:
    spent = [f"{work} {hours:.1f} h" for work, hours in edition.hours.items() if hours]
    told = ", ".join(spent) or NOT_RECORDED
    return f"{told}, one after the other" if spent else told


def _code(edition: Edition) -> str:
    """Which revision of the code made how many notebooks, models and records."""
    lines = [
        f"{revision}: {', '.join(f'{count} {kind}' for kind, count in counts.items())}"
        for revision, counts in edition.made_by.items()
    ]
    return "<br>".join(lines) or NOT_RECORDED


def _sample(edition: Edition) -> str:
    """How far a sample that was made again agrees."""
    found = edition.sample
    if found is None:
        return NOT_RECORDED
    made = found["provenance"]
    lines = [f"on {made['device']}, code {made['revision']}, {made['date'][:10]}"]
    lines += [each["told"] for each in found["evaluations"]]
    if found.get("training") is not None:
        lines.append(found["training"]["told"])
    lines += [f"{what} was left out: {why}" for what, why in found["left_out"].items()]
    return "<br>".join(lines)


def _errata(editions: Sequence[Edition]) -> list[str]:
    if not any(each.errata for each in editions):
        return []
    lines = []
    for edition in editions:
        # The first one's notebooks lie flat, the others' in folders (book.build.stage).
        folder = "" if edition is editions[0] else f"{edition.name}/"
        for each in edition.errata:
            links = ", ".join(f"[]({folder}{page}.ipynb)" for page in each.pages)
            lines.append(f"- `{edition.name}`: {' '.join(each.text.split())} (On {links}.)")
    return ["## What is wrong with them", FOUND_SINCE, "\n".join(lines)]


def _compared(table: paper.PaperTable, editions: Sequence[Edition]) -> str:
    judged = [_judged(each) for each in editions]
    spreads = [_spreads(each, table.name) for each in editions]
    rows = []
    for value in table.values.values():
        name = f"{value.table}/{value.row}/{value.column}"
        cells = [
            _cell(found.get(name), spread.get((value.row, value.column)), each)
            for each, found, spread in zip(editions, judged, spreads, strict=True)
        ]
        header = table.columns[value.column].header
        rows.append([labels.short_label(value.row), header, value.printed, *cells])
    return _table(["model", "number", "paper", *(each.name for each in editions)], rows)


def _judged(edition: Edition) -> dict[str, dict[str, Any]]:
    """The stored verdicts by the name of the number."""
    rows = edition.tables.get("verdicts", {"rows": []})["rows"]
    return {row["model"]: row for row in rows}


def _spreads(edition: Edition, table: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The stored rows of a table that have a deviation over seeds."""
    rows = edition.tables.get(table, {"rows": []})["rows"]
    spread = [row for row in rows if row.get("seed_std") is not None]
    return {(row["model"], row["quantity"]): row for row in spread}


def _cell(row: Mapping[str, Any] | None, spread: Mapping[str, Any] | None, edition: Edition) -> str:
    """Ours with its interval, images, seeds and verdict, one below the other."""
    if row is None:
        return numbers.NONE
    lines = []
    if row["ours"] is not None:
        label = f" ({row['label']})" if row["label"] else ""
        lines.append(f"**{number_text(row)}**{label}")
        images = [f"n = {row['n']:,}"] if row["n"] is not None else []
        own = edition.tables["verdicts"]["metadata"]["seed"]
        lines.append(", ".join([*images, labels.seeds_phrase([own])]))
    if spread:
        lines.append(f"{numbers.spread(spread)} over {spread['seeds']} seeds")
    lines.append(f"*{row['verdict']}*")
    return "<br>".join(lines)


def _count(edition: Edition, verdict: Verdict) -> str:
    found = _judged(edition)
    if not found:
        return NOT_RECORDED
    return str(sum(row["verdict"] == verdict.value for row in found.values()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "&#124;")
