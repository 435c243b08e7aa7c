"""Every number and claim of the paper beside ours, with its verdict: the frame, and its counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.paper import Claim, PaperValue
from rslib.report import numbers, protocol
from rslib.report.labels import short_label
from rslib.report.table import Table, flat
from rslib.report.table import load as load_table
from rslib.verdicts import evidence
from rslib.verdicts.evidence import Measure, Part
from rslib.verdicts.reader import Reader, Unmeasured
from rslib.verdicts.rules import Asserted, Judgment, Verdict, combine, judge

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


@dataclass(frozen=True)
class Judged:
    """A number or a claim of the paper with its verdict.

    Attributes:
        name: of the claim, or ``<table>/<model>/<column>``.
        group: the section it stands in, or ``"table1"`` to ``"table5"``.
        statement: what is claimed.
        claimed: the same for the rule.
        parts: our numbers, each with its judgment; none where nothing was measured.
        judgment: of the whole.
    """

    name: str
    group: str
    statement: str
    claimed: Asserted
    parts: tuple[tuple[Part, Judgment], ...]
    judgment: Judgment


def judge_all(run: Run) -> tuple[Judged, ...]:
    """Judge every number of Tables 1 to 5 and every claim, in that order.

    Args:
        run: whose records are read; nothing is computed. What is missing is not comparable.
    """
    return tuple(_judge_all(run, Reader(run)))


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
    for each in _judge_all(run, reader):
        _add(filled, each)
    filled.note(*reader.sources.values())
    return filled.done()


def load(run: Run) -> pd.DataFrame:
    """The stored verdicts of a run.

    Raises:
        rslib.store.records.RecordError: notebook 13 has not been run with these settings.
    """
    return load_table(run, TABLE)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """How many claims have which verdict, in the order of :class:`Verdict`; all six are there.

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
    label = f"{cell['label']}: " * bool(cell["label"])
    return f"{label}{number_text(cell)}"


def number_text(cell: Mapping[str, Any]) -> str:
    """Our number of one row with its unit and interval, negative ones with a proper minus."""
    number, interval = numbers.quantity(cell["ours"], cell["unit"]), numbers.interval(cell)
    # A number that rounds to zero has no sign.
    text = re.sub(r"-(0\.0+)(?!\d)", r"\1", f"{number} {interval}".strip())
    return text.replace("-", numbers.MINUS)


def asserted(claim: Claim) -> Asserted:
    """A claim of the text, for the rule."""
    return Asserted(
        claim.relation,
        claim.value,
        claim.unit,
        scale=claim.scale,
        sized=claim.sized,
        why=claim.why,
        neutral=claim.neutral,
    )


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


def _judge_all(run: Run, reader: Reader) -> Iterator[Judged]:
    for each in paper.TABLES.values():
        for value in each.values.values():
            name = f"{value.table}/{value.row}/{value.column}"
            said = f"{short_label(value.row)}: {each.columns[value.column].header}"
            found = _measured(reader, evidence.cell(value))
            yield _judged(name, each.name, said, asserted_cell(value), found, run)
    known: dict[Measure | None, _Measured] = {None: _Measured()}
    for claim in paper.CLAIMS.values():
        measure = evidence.MEASURES.get(claim.name)
        if measure not in known:
            known[measure] = _measured(reader, measure)
        found = known[measure]
        if not claim.models:
            found = replace(found, models=())
        group = paper.section_of(claim.section)
        yield _judged(claim.name, group, _statement(claim), asserted(claim), found, run)


@dataclass(frozen=True)
class _Measured:
    """What a measure gave, and what it was read from."""

    parts: tuple[Part, ...] = ()
    models: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()
    generated: bool = False


def _measured(reader: Reader, measure: Measure) -> _Measured:
    reader.start()
    try:
        parts = tuple(measure(reader))
    except Unmeasured:
        return _Measured()
    models = tuple(dict.fromkeys(model for model, _ in reader.used))
    evaluations = tuple(dict.fromkeys(evaluated for _, evaluated in reader.used))
    return _Measured(parts, models, evaluations, reader.generated)


def _judged(
    name: str,
    group: str,
    statement: str,
    claimed: Asserted,
    found: _Measured,
    run: Run,
) -> Judged:
    differs = protocol.of(run, found.models, found.evaluations, generated=found.generated)
    judged = tuple((part, judge(claimed, part.estimate, differs)) for part in found.parts)
    if judged:
        whole = combine((part.about, judgment) for part, judgment in judged)
    else:
        whole = judge(claimed, None, differs)
    return Judged(name, group, statement, claimed, judged, whole)


def _statement(claim: Claim) -> str:
    also = f" [also {', '.join(claim.also)}]" if claim.also else ""
    return f"{claim.statement}{also}"


def _add(filled: Table, each: Judged) -> None:
    nothing = [(Part("", evidence.estimates.UNDEFINED), each.judgment)]
    for number, (part, judgment) in enumerate(each.parts or nothing):
        filled.add(
            each.name,
            str(number),
            part.estimate,
            "",
            each.claimed.unit,
            label=part.label,
            paper=each.claimed.value,
            group=each.group,
            statement=each.statement,
            relation=each.claimed.relation,
            claimed=claimed_text(each.claimed),
            part_verdict=judgment.verdict.value,
            verdict=each.judgment.verdict.value,
            why=each.judgment.why,
        )


def claimed_text(claimed: Asserted) -> str:
    """The number claimed, as text; a dash where there is none."""
    if claimed.value is None:
        return "alike" if claimed.relation == "alike" else numbers.NONE
    text = numbers.quantity(claimed.value, claimed.unit)
    text = text.replace("-", numbers.MINUS)
    if claimed.unit == "points" and claimed.relation in ("below", "above"):
        text = text.removeprefix("+")
    return {"below": "< ", "above": "> "}.get(claimed.relation, "") + text
