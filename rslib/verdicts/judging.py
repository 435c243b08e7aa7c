"""Every number and claim of the paper beside ours, with its verdict: the frame, and its counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics.estimates import UNDEFINED
from rslib.paper import Asserted, PaperValue
from rslib.report import numbers, protocol
from rslib.report.labels import short_label
from rslib.report.table import Table, flat
from rslib.report.table import load as load_table
from rslib.verdicts import evidence
from rslib.verdicts.evidence import Part
from rslib.verdicts.reader import Reader, Unmeasured
from rslib.verdicts.rules import Verdict, combine, judge

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

TABLE = "verdicts"
"""The name that the table is stored under."""

_SCALES = {
    "training_hours": "hardware",
    "iou_mean": "masks",
    "iou_std": "masks",
    "final_iou": "masks",
    "alignment_loss": "masks",
}
# Of an undefended model, an accuracy under attack is neither better nor worse: it is expected gone.
_BETTER = {"clean_accuracy": 1, "ece": -1}
_BETTER_IF_DEFENDED = {"fgsm_accuracy": 1, "pgd_accuracy": 1, "attack_success": -1}


def table(run: Run) -> pd.DataFrame:
    """The verdicts as a frame, to be stored with :func:`rslib.report.table.save`.

    Args:
        run: whose records are read; nothing is computed.

    Returns:
        One row per part of a claim, with the columns of :func:`rslib.report.table.save`, where
        ``model`` is the claim's name, ``label`` its part, and also: ``group`` (table or section),
        ``statement``, ``relation``, ``claimed`` (the paper's number as text), ``verdict`` and
        ``why`` of the whole claim, and ``part_verdict``.
    """
    reader = Reader(run)
    filled = Table(
        run,
        TABLE,
        title="Every number and claim of the paper, and what this run says of it",
        notes=[
            "A claim with several parts has the verdict of the weakest. The rule and its "
            "tolerances are in rslib.verdicts.rules.",
        ],
        intervals="Wilson's score, Agresti-Min and Newcombe for differences of accuracies, "
        "Fisher's for correlations, bootstrap otherwise; for one seed",
        unreported="not reported",
    )
    for cells in (*_cells(reader), *_claims(reader)):
        filled.add(*cells.pop("cell"), **cells)
    filled.note(*reader.sources.values())
    return filled.done()


def load(run: Run) -> pd.DataFrame:
    """The stored verdicts of a run.

    Raises:
        rslib.store.records.RecordError: notebook 13 has not been run with these settings.
    """
    return load_table(run, TABLE)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Count the claims of each verdict, in the order of :class:`Verdict`; all six are there.

    Args:
        frame: from :func:`table` or :func:`load`.
    """
    found = frame.drop_duplicates("model")["verdict"].value_counts()
    return {each.value: int(found.get(each.value, 0)) for each in Verdict}


def counts_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for each table and section: one row a group, in order, one column a verdict."""
    import pandas as pd

    claims = frame.drop_duplicates("model")
    found = pd.crosstab(claims["group"], claims["verdict"])
    groups = list(dict.fromkeys(claims["group"]))
    return found.reindex(index=groups, columns=[each.value for each in Verdict], fill_value=0)


def values(frame: pd.DataFrame, claims: Iterable[str] = ()) -> dict[str, float | int | str]:
    """Counts and single verdicts under flat names, for the prose.

    Args:
        frame: from :func:`table` or :func:`load`.
        claims: names of the claims that the prose cites.

    Returns:
        ``verdicts_total``; ``verdicts_<verdict>`` (counts; blanks become ``_``); and for each claim
        ``verdict_<name>`` (its verdict), ``verdict_<name>_ours`` (our numbers as text)
        and ``verdict_<name>_why``.

    Raises:
        rslib.paper.UnknownValue: there is no such claim.
    """
    found: dict[str, float | int | str] = {
        f"verdicts_{flat(verdict)}": count for verdict, count in counts(frame).items()
    }
    found["verdicts_total"] = sum(counts(frame).values())
    for claim in claims:
        name = paper.claim(claim).name
        cells = frame[frame["model"] == name].to_dict("records")
        found[f"verdict_{name}"] = cells[0]["verdict"]
        found[f"verdict_{name}_why"] = cells[0]["why"]
        found[f"verdict_{name}_ours"] = "; ".join(map(ours_text, cells))
    return found


def ours_text(cell: Mapping[str, Any]) -> str:
    """Our number of one row, with what it is about, its unit and its interval."""
    if numbers.missing(cell["ours"]):
        return "not measured"
    label = f"{cell['label']}: " if cell["label"] else ""
    return f"{label}{number_text(cell)}"


def number_text(cell: Mapping[str, Any]) -> str:
    """Our number of one row with its unit and interval, negative ones with a proper minus."""
    number, interval = numbers.quantity(cell["ours"], cell["unit"]), numbers.interval(cell)
    # A number that rounds to zero has no sign.
    text = re.sub(r"-(0\.0+)(?!\d)", r"\1", f"{number} {interval}".strip())
    return text.replace("-", numbers.MINUS)


def asserted_cell(value: PaperValue) -> Asserted:
    """A number of a table, for the rule."""
    defended = not value.row.endswith("-standard")
    better = _BETTER | (_BETTER_IF_DEFENDED if defended else {})
    return Asserted(
        "about",
        value.value,
        value.unit,
        rounding=value.rounding,
        scale="reference" if value.table == "table5" else _SCALES.get(value.column, ""),
        sized=value.column == "parameters",
        better=better.get(value.column, 0),
    )


@dataclass(frozen=True)
class _Measured:
    """Our numbers for a claim, none where one is missing, and what they were read from."""

    parts: tuple[Part, ...] = ()
    models: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()
    generated: bool = False


def _measured(reader: Reader, source: evidence.Source) -> _Measured:
    reader.start()
    try:
        parts = tuple(evidence.parts(reader, source))
    except Unmeasured:
        return _Measured()
    models = tuple(dict.fromkeys(model for model, _ in reader.used))
    evaluations = tuple(dict.fromkeys(evaluated for _, evaluated in reader.used))
    return _Measured(parts, models, evaluations, reader.generated)


def _cells(reader: Reader) -> Iterator[dict[str, Any]]:
    for table in paper.TABLES.values():
        for value in table.values.values():
            name = f"{value.table}/{value.row}/{value.column}"
            statement = f"{short_label(value.row)}: {table.columns[value.column].header}"
            found = _measured(reader, evidence.of_cell(value))
            yield from _rows(reader, name, table.name, statement, asserted_cell(value), found)


def _claims(reader: Reader) -> Iterator[dict[str, Any]]:
    known: dict[evidence.Source, _Measured] = {}
    for claim in paper.CLAIMS.values():
        source = evidence.of_claim(claim)
        if source not in known:
            known[source] = _measured(reader, source)
        found = known[source]
        if not claim.models:
            found = replace(found, models=())
        also = f" [also {', '.join(claim.also)}]" if claim.also else ""
        group = paper.section_of(claim.section)
        yield from _rows(reader, claim.name, group, f"{claim.statement}{also}", claim, found)


def _rows(
    reader: Reader, name: str, group: str, statement: str, claimed: Asserted, found: _Measured
) -> Iterator[dict[str, Any]]:
    """The rows of one number or claim: one a part, or one without a number."""
    differs = protocol.of(reader.run, found.models, found.evaluations, generated=found.generated)
    if found.parts:
        judged = [(part, judge(claimed, part.estimate, differs)) for part in found.parts]
        whole = combine((part.about, judgment) for part, judgment in judged)
    else:
        whole = judge(claimed, None, differs)
        judged = [(Part("", UNDEFINED), whole)]
    for number, (part, judgment) in enumerate(judged):
        yield {
            "cell": (name, str(number), part.estimate, "", claimed.unit),
            "label": part.label,
            "paper": claimed.value,
            "group": group,
            "statement": statement,
            "relation": claimed.relation,
            "claimed": claimed_text(claimed),
            "part_verdict": judgment.verdict.value,
            "verdict": whole.verdict.value,
            "why": whole.why,
        }


def claimed_text(claimed: Asserted) -> str:
    """The number claimed, as text; a dash where there is none."""
    if claimed.value is None:
        return "alike" if claimed.relation == "alike" else numbers.NONE
    text = numbers.quantity(claimed.value, claimed.unit)
    text = text.replace("-", numbers.MINUS)
    if claimed.unit == "points" and claimed.relation in ("below", "above"):
        text = text.removeprefix("+")
    return {"below": "< ", "above": "> "}.get(claimed.relation, "") + text
