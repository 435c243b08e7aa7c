"""What was measured, kept as one JSON document, and shown as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import OURS
from rslib.records import atomic, read_json, write_json
from rslib.settings import PROJECT

RESULTS = PROJECT / "benchmarks" / "results"
FILE = "cpu.json"


class OtherConditions(RuntimeError):
    """Stored rows that were measured under other conditions than new ones."""


def open_document(
    folder: Path, machine: Mapping[str, Any], names: Sequence[str], quick: bool
) -> dict[str, Any]:
    """The stored document, to which suites are added; a new one where there is none.

    Args:
        folder: where it is stored.
        machine: from :func:`benchmarks.harness.machine`.
        names: the suites that are about to be measured.
        quick: whether they are measured on few images.

    Raises:
        OtherConditions: suites that would stay were measured on another machine, with other
            versions, or with other numbers of images.
    """
    conditions = {"machine": dict(machine), "quick": quick}
    path = folder / FILE
    if not path.exists():
        return conditions | {"suites": {}}
    stored = read_json(path)
    differ = _differing({key: stored[key] for key in conditions}, conditions)
    if not differ:
        return stored
    if staying := set(stored["suites"]) - set(names):
        raise OtherConditions(
            f"{path} holds {', '.join(sorted(staying))}, measured under other conditions "
            f"({'; '.join(differ)}), and rows of one table must compare: measure everything again "
            "(python -m benchmarks), or keep these apart (--out another/folder)"
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


def store(folder: Path, document: Mapping[str, Any], order: Iterable[str]) -> None:
    """Write the document, its suites in order, and beside it its tables."""
    suites = document["suites"]
    document = {**document, "suites": {name: suites[name] for name in order if name in suites}}
    write_json(folder / FILE, document)
    with atomic((folder / FILE).with_suffix(".md")) as path:
        path.write_text(markdown(document))


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of all suites, in order."""
    return [row for suite in document["suites"].values() for row in suite["rows"]]


def markdown(document: Mapping[str, Any]) -> str:
    """The whole document as Markdown."""
    parts = [conditions(document), table(rows(document)), footnotes(rows(document))]
    for suite in document["suites"].values():
        if suite["details"]:
            parts += [f"## {suite['rows'][0]['row']}, one by one", table(suite["details"])]
            parts.append(footnotes(suite["details"]))
    return "\n\n".join(parts) + "\n"


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


def table(measured: Sequence[Mapping[str, Any]]) -> str:
    """A line for each peer of each row."""
    lines = [
        "| work | beside | rslib | peer | ratio | target | passes, rslib | passes, peer |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in measured:
        contenders, ours = row["contenders"], row["contenders"][OURS]
        for name, ratio in row["ratios"].items():
            theirs = contenders[name]
            cells = [
                row["row"], name, cost(ours), cost(theirs), times(ratio), goal(ratio),
                passes(ours), passes(theirs),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        for name, why in row["missing"].items():
            lines.append(f"| {row['row']} | {name} | {cost(ours)} | | {why} | | {passes(ours)} | |")
        if not row["ratios"] and not row["missing"]:
            lines.append(f"| {row['row']} | | {cost(ours)} | | | | {passes(ours)} | |")
    return "\n".join(lines)


def footnotes(measured: Sequence[Mapping[str, Any]]) -> str:
    """What each row covers and what was found equal, as a list."""
    lines = []
    for row in measured:
        said = [row["note"], f"the same answer: {row['same']}"]
        said += [f"{name}: {each['note']}" for name, each in row["contenders"].items()
                 if each["note"]]  # fmt: skip
        if row["shortfall"]:
            said.append(f"target missed: {row['shortfall']}")
        lines.append(f"- **{row['row']}** (times are of one {row['item']}). {_sentences(said)}")
    return "\n".join(lines)


def cost(contender: Mapping[str, Any]) -> str:
    """What an item costs: the median, and the lowest and highest round."""
    found = contender["milliseconds"]
    scale, unit = (1000, "s") if found["median"] >= 1000 else (1, "ms")
    median, low, high = (_digits(found[key] / scale) for key in ("median", "low", "high"))
    return f"{median} {unit} [{low}, {high}]"


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


def _digits(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _sentences(said: Sequence[str]) -> str:
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in said if text)


def _span(values: Sequence[Any]) -> str:
    return " and ".join(map(str, values)) if len(values) < 3 else f"{values[0]} to {values[-1]}"
