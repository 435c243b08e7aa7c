"""Every number and claim of the paper beside ours, with its verdict: the frame, and its counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics.estimates import UNDEFINED
from rslib.paper import Asserted, Evidence
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

_NOTE = (
    "A claim with several parts has the verdict of the weakest. The rule and its tolerances are in "
    "rslib.verdicts.rules."
)
_SCALES = {"training_hours": "hardware"} | dict.fromkeys(
    ("iou_mean", "iou_std", "final_iou", "alignment_loss"), "masks"
)
# Of an undefended model, an accuracy under attack is neither better nor worse: it is expected gone.
_BETTER = {"clean_accuracy": 1, "ece": -1}
_BETTER_IF_DEFENDED = {"fgsm_accuracy": 1, "pgd_accuracy": 1, "attack_success": -1}


def table(run: Run) -> pd.DataFrame:
    """The verdicts as a frame, to be stored with :func:`rslib.report.table.save`.

    Only the run's records are read; nothing is computed.

    Returns:
        One row per part of a claim, with the columns of :func:`rslib.report.table.save`, where
        ``model`` is the claim's name and ``label`` its part; ``group`` (table or section),
        ``statement``, ``relation``, ``claimed`` (the paper's number as text), ``verdict`` and
        ``why`` of the whole claim; and ``part_verdict``.
    """
    reader = Reader(run)
    filled = Table(
        run,
        TABLE,
        title="Every number and claim of the paper, and what this run says of it",
        notes=[_NOTE],
        intervals="Wilson's score, Agresti-Min and Newcombe for differences of accuracies, "
        "Fisher's for correlations, bootstrap otherwise; for one seed",
        unreported="not reported",
    )
    measured: dict[evidence.Source, tuple[list[Part], dict[str, Any]]] = {}
    for name, group, statement, claimed, source in (*_cells(), *_claims()):
        if source not in measured:
            measured[source] = _measured(reader, source)
        parts, used = measured[source]
        if isinstance(claimed, paper.Claim) and not claimed.models:
            used = used | {"models": ()}
        differs = protocol.of(run, **used)
        judged = [(part, judge(claimed, part.estimate, differs)) for part in parts]
        if not parts:
            judged = [(Part("", UNDEFINED), judge(claimed, None, differs))]
        whole = combine((part.about, judgment) for part, judgment in judged)
        about = {"group": group, "statement": statement, "relation": claimed.relation}
        about["claimed"] = _claimed_text(claimed)
        for number, (part, judgment) in enumerate(judged):
            told = {"part_verdict": judgment.verdict.value, "verdict": whole.verdict.value}
            told |= {"why": whole.why, "label": part.label, "paper": claimed.value}
            filled.add(name, str(number), part.estimate, "", claimed.unit, **about, **told)
    filled.note(*reader.sources.values())
    return filled.done()


def load(run: Run) -> pd.DataFrame:
    """The stored verdicts of a run.

    Raises:
        rslib.store.records.RecordError: notebook 13 has not been run with these settings.
    """
    return load_table(run, TABLE)


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Count the claims of each verdict, in the order of :class:`Verdict`; all six are there."""
    found = frame.drop_duplicates("model")["verdict"].value_counts()
    return {each.value: int(found.get(each.value, 0)) for each in Verdict}


def counts_by_group(frame: pd.DataFrame) -> pd.DataFrame:
    """The same for each table and section: one row a group, in order, one column a verdict."""
    import pandas as pd

    claims = frame.drop_duplicates("model")
    found = pd.crosstab(claims["group"], claims["verdict"])
    columns = [each.value for each in Verdict]
    return found.reindex(index=claims["group"].unique(), columns=columns, fill_value=0)


def values(frame: pd.DataFrame, claims: Iterable[str] = ()) -> dict[str, float | int | str]:
    """Counts and single verdicts under flat names, for the prose that cites these claims.

    Returns:
        ``verdicts_total``; ``verdicts_<verdict>`` (counts; blanks become ``_``); and for each claim
        ``verdict_<name>``, ``verdict_<name>_why`` and ``verdict_<name>_ours`` (our numbers).

    Raises:
        rslib.paper.UnknownValue: there is no such claim.
    """
    counted = counts(frame)
    found = {f"verdicts_{flat(verdict)}": count for verdict, count in counted.items()}
    found["verdicts_total"] = sum(counted.values())
    for claim in claims:
        name = paper.claim(claim).name
        cells = frame[frame["model"] == name].to_dict("records")
        told = []
        for cell in cells:
            label = f"{cell['label']}: " if cell["label"] else ""
            known = not numbers.missing(cell["ours"])
            told.append(f"{label}{number_text(cell)}" if known else "not measured")
        found[f"verdict_{name}"] = cells[0]["verdict"]
        found[f"verdict_{name}_why"] = cells[0]["why"]
        found[f"verdict_{name}_ours"] = "; ".join(told)
    return found


def number_text(cell: Mapping[str, Any]) -> str:
    """Our number of one row with its unit and interval, negative ones with a proper minus."""
    number, interval = numbers.quantity(cell["ours"], cell["unit"]), numbers.interval(cell)
    # A number that rounds to zero has no sign.
    text = re.sub(r"-(0\.0+)(?!\d)", r"\1", f"{number} {interval}".strip())
    return text.replace("-", numbers.MINUS)


# Name, group, statement, what is claimed, and where our numbers come from.
Judged = tuple[str, str, str, Asserted, evidence.Source]


def _cells() -> Iterator[Judged]:
    for table in paper.TABLES.values():
        for value in table.values.values():
            row, column = value.row, value.column
            better = _BETTER if row.endswith("-standard") else _BETTER | _BETTER_IF_DEFENDED
            claimed = Asserted(
                "about",
                value.value,
                value.unit,
                rounding=value.rounding,
                scale="reference" if value.table == "table5" else _SCALES.get(column, ""),
                sized=column == "parameters",
                better=better.get(column, 0),
            )
            statement = f"{short_label(row)}: {table.columns[column].header}"
            source = (Evidence(kind="value", cells=(f"{row}/{column}",)),)
            yield f"{value.table}/{row}/{column}", table.name, statement, claimed, source


def _claims() -> Iterator[Judged]:
    for claim in paper.CLAIMS.values():
        also = f" [also {', '.join(claim.also)}]" if claim.also else ""
        group = paper.section_of(claim.section)
        source = evidence.FUNCTIONS.get(claim.name, claim.evidence)
        yield claim.name, group, f"{claim.statement}{also}", claim, source


def _measured(reader: Reader, source: evidence.Source) -> tuple[list[Part], dict[str, Any]]:
    """Our numbers, none where one is missing, and what they were read from."""
    reader.used = {}
    try:
        parts = list(evidence.parts(reader, source))
    except Unmeasured:
        return [], {"models": (), "evaluations": ()}
    models, evaluations = ([*dict.fromkeys(key[k] for key in reader.used)] for k in (0, 1))
    used = {"models": models, "evaluations": evaluations, "generated": reader.generated}
    return parts, used


def _claimed_text(claimed: Asserted) -> str:
    """The number claimed, as text; a dash where there is none."""
    if claimed.value is None:
        return "alike" if claimed.relation == "alike" else numbers.NONE
    text = numbers.quantity(claimed.value, claimed.unit).replace("-", numbers.MINUS)
    if claimed.unit == "points" and claimed.relation in ("below", "above"):
        text = text.removeprefix("+")
    return {"below": "< ", "above": "> "}.get(claimed.relation, "") + text
