"""What was measured, kept as a JSON document for each device, and shown as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS
from rslib.settings import PROJECT
from rslib.store.records import atomic, read_json, write_json

RESULTS = PROJECT / "benchmarks" / "results"
DEVICES = ("cpu", "cuda")


_COLUMNS = {
    "work": "---", "beside": "---", "rslib": "---:", "peer": "---:", "ratio": "---:",
    "target": "---:", "floor": "---:", "rslib / floor": "---:", "passes, rslib": "---:",
    "passes, peer": "---:",
}  # fmt: skip


def path(folder: Path, device: str = "cpu") -> Path:
    """Where a folder keeps what was measured on a device, one of :data:`DEVICES`."""
    return folder / f"{device}.json"


class OtherConditions(RuntimeError):
    """Stored rows that were measured under other conditions than new ones."""


def open_document(
    file: Path, machine: Mapping[str, Any], names: Sequence[str], quick: bool
) -> dict[str, Any]:
    """The stored document, to which suites are added; a new one where there is none.

    Args:
        file: where it is stored (:func:`path`).
        machine: from :func:`benchmarks.harness.machine`.
        names: the suites that are about to be measured.
        quick: whether they are measured on few images.

    Raises:
        OtherConditions: suites that would stay were measured on another machine, with other
            versions, or with other numbers of images.
    """
    conditions = {"machine": dict(machine), "quick": quick}
    if not file.exists():
        return conditions | {"suites": {}}
    stored = read_json(file)
    differ = _differing({key: stored[key] for key in conditions}, conditions)
    if not differ:
        return stored
    if staying := set(stored["suites"]) - set(names):
        raise OtherConditions(
            f"{file} holds {', '.join(sorted(staying))}, measured under other conditions "
            f"({'; '.join(differ)}), and rows of one table must compare: measure everything again "
            "(name none of them), or keep these apart (--out another/folder)"
        )
    return conditions | {"suites": {}}


def _differing(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    told = []
    for key in sorted({*stored, *now}):
        before, after = stored.get(key), now.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            told += _differing(before, after)
        elif before != after:
            told.append(f"{key}: {before}, now {after}")
    return told


def store(file: Path, document: Mapping[str, Any], order: Iterable[str]) -> None:
    """Write the document, its suites in order, and beside it its tables."""
    suites = document["suites"]
    document = {**document, "suites": {name: suites[name] for name in order if name in suites}}
    write_json(file, document)
    with atomic(file.with_suffix(".md")) as made:
        made.write_text(markdown(document))


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of all suites, in order."""
    return [row for suite in document["suites"].values() for row in suite["rows"]]


def markdown(document: Mapping[str, Any]) -> str:
    """The whole document as Markdown."""
    return "\n\n".join([*summary(document), *details(document, "## {}, one by one")]) + "\n"


def summary(document: Mapping[str, Any]) -> list[str]:
    """The paragraphs of a document: its conditions, what a floor is, the table and its notes."""
    parts = [conditions(document), floors(document), *_told(rows(document)), skipped(document)]
    return [part for part in parts if part]


def details(document: Mapping[str, Any], heading: str) -> list[str]:
    """The parts of rows that are sums: for each a heading, a table and its notes.

    Args:
        document: what was measured.
        heading: Markdown with ``{}`` for the row's name.
    """
    parts = []
    for suite in document["suites"].values():
        if suite["details"]:
            parts += [heading.format(suite["rows"][0]["row"]), *_told(suite["details"])]
    return parts


def _told(measured: Sequence[Mapping[str, Any]]) -> list[str]:
    return [table(measured), footnotes(measured)]


def conditions(document: Mapping[str, Any]) -> str:
    """Machine, versions, and when and from what the suites were measured, in a paragraph."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    suites = document["suites"].values()
    revisions = sorted({suite["provenance"]["revision"] for suite in suites})
    dates = sorted({suite["provenance"]["date"][:10] for suite in suites})
    repeats = sorted({suite["repeats"] for suite in suites})
    few = " A quick look at few images: no result." if document["quick"] else ""
    return (
        f"{machine['device']} ({machine['processor']}, {machine['cores']} cores, "
        f"{machine['vector_instructions']}), Python {machine['python']}, {versions}. "
        f"Medians of {_span(repeats)} interleaved rounds, lowest and highest round in square "
        f"brackets; revision {_span(revisions)}, {_span(dates)}.{few}"
    )


def floors(document: Mapping[str, Any]) -> str:
    """What a floor is and the rates it comes from, in a paragraph; empty where there is none."""
    measured = [suite["rates"] for suite in document["suites"].values() if suite.get("rates")]
    if not measured:
        return ""
    product, copy = (
        _between([rates[key] for rates in measured]) for key in ("operations", "bytes")
    )
    return (
        "A floor is how long the arithmetic of an item would take at the rate of one large float32 "
        f"matrix product on the same device and threads, {product}FLOP a second, or, where that is "
        "longer, how long its data would take to be read and written once at the rate of one large "
        f"copy, {copy}B a second. Arithmetic is that of the convolutions and matrix products that "
        "rslib does, counted by torch while it does them; sums of single numbers are left out. A "
        "time may lie below its floor: a cache gives data faster than the memory does, and some "
        "ways to convolve take fewer products than are counted."
    )


def skipped(document: Mapping[str, Any]) -> str:
    """The rows that could not be measured, with the reasons, as a list; empty where there is none.

    Suites stored before there were such rows have none.
    """
    told = {
        name: why
        for suite in document["suites"].values()
        for name, why in suite.get("skipped", {}).items()
    }
    return "\n".join(f"- **{name}**: not measured here, {why}." for name, why in told.items())


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """A line for each peer of each row; a column that says nothing in any line is left out."""
    lines = [line for row in measured for line in _lines(row)]
    shown = [name for name in _COLUMNS if any(line.get(name) for line in lines)]
    rule = [_COLUMNS[name] for name in shown]
    cells = [[line.get(name, "") for name in shown] for line in lines]
    return "\n".join(f"| {' | '.join(each)} |" for each in (shown, rule, *cells))


def _lines(row: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """The cells of a row's lines, by column."""
    contenders, ours = row["contenders"], row["contenders"][OURS]
    own = {"work": row["row"], "rslib": cost(ours), "passes, rslib": passes(ours)}
    # Rows stored before there were floors have none.
    if floor := row.get("floor"):
        own |= {"floor": _duration(floor["milliseconds"])}
        own |= {"rslib / floor": f"{_digits(floor['times'])}×"}
    for name, ratio in row["ratios"].items():
        theirs = contenders[name]
        yield own | {
            "beside": name,
            "peer": cost(theirs),
            "ratio": times(ratio),
            "target": goal(ratio),
            "passes, peer": passes(theirs),
        }
    for name, why in row["missing"].items():
        yield own | {"beside": name, "ratio": why}
    if not row["ratios"] and not row["missing"]:
        yield own


def footnotes(measured: Sequence[Mapping[str, Any]]) -> str:
    """What each row covers and what was found equal, as a list."""
    lines = []
    for row in measured:
        said = [row["note"], f"the same answer: {row['same']}"]
        said += [f"{name}: {each['note']}" for name, each in row["contenders"].items()
                 if each["note"]]  # fmt: skip
        if row["shortfall"]:
            said.append(f"target missed: {row['shortfall']}")
        if row.get("no_floor"):
            said.append(f"without a floor: {row['no_floor']}")
        lines.append(f"- **{row['row']}** (times are of one {row['item']}). {_sentences(said)}")
    return "\n".join(lines)


def cost(contender: Mapping[str, Any]) -> str:
    """What an item costs: the median, and the lowest and highest round."""
    found = contender["milliseconds"]
    scale, _ = _unit(found["median"])
    low, high = (_digits(found[key] / scale) for key in ("low", "high"))
    return f"{_duration(found['median'])} [{low}, {high}]"


def times(ratio: Mapping[str, Any]) -> str:
    """A ratio, and that of the least and the most favorable round."""
    low, high = _digits(ratio["low"]), _digits(ratio["high"])
    return f"**{_digits(ratio['ratio'])}×** [{low}, {high}]"


def goal(ratio: Mapping[str, Any]) -> str:
    """The target and whether it is met; empty where there is none."""
    if ratio["target"] is None:
        return ""
    return f"{ratio['target']:g}×, {'met' if ratio['met'] else 'missed'}"


def passes(contender: Mapping[str, Any]) -> str:
    """Images passed forward for one item; empty where there is no model."""
    found = contender["passes"]
    return "" if found is None else f"{found:,.1f}" if found < 1000 else f"{found:,.0f}"


def _unit(milliseconds: float) -> tuple[float, str]:
    """The unit that a time is told in, in milliseconds, and its name."""
    if milliseconds >= 1000:
        return 1000, "s"
    return (1, "ms") if milliseconds >= 0.1 else (0.001, "µs")


def _duration(milliseconds: float) -> str:
    scale, unit = _unit(milliseconds)
    return f"{_digits(milliseconds / scale)} {unit}"


def _between(values: Sequence[float]) -> str:
    """The lowest and the highest of some rates, in thousands of millions or more."""
    scale, prefix = (1e12, "T") if min(values) >= 1e12 else (1e9, "G")
    low, high = (_digits(find(values) / scale) for find in (min, max))
    return f"{low} {prefix}" if low == high else f"{low} to {high} {prefix}"


def _digits(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _sentences(said: Sequence[str]) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said if text)


def _span(values: Sequence[Any]) -> str:
    return " and ".join(map(str, values)) if len(values) < 3 else f"{values[0]} to {values[-1]}"
