"""Every number and claim of the paper beside ours, with its verdict: the frame, and its counts."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics.estimates import FEWEST_SEEDS, UNDEFINED
from rslib.paper import Asserted, Evidence
from rslib.report import numbers, protocol
from rslib.report.labels import short_label
from rslib.report.protocol import Protocol
from rslib.report.table import Table, flat
from rslib.report.table import load as load_table
from rslib.settings.names import REFERENCE
from rslib.verdicts import evidence, measures, outside
from rslib.verdicts.evidence import Part
from rslib.verdicts.reader import Reader, Unmeasured, Untested
from rslib.verdicts.rules import Judgment, Measured, Verdict, combine, favorable, judge

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


def table(
    run: Run,
    *,
    references: Sequence[str] = (REFERENCE, outside.NAME),
    readings: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The verdicts as a frame, to be stored with :func:`rslib.report.table.save`.

    Only the run's records are read; nothing is computed. Claims about methods are decided over the
    run's seeds where three or more have what is compared.

    Args:
        run: the run.
        references: whose corruption errors others are divided by, the first for mCE: models of the
            run, or :data:`rslib.verdicts.outside.NAME`.
        readings: aligned models that may stand for the paper's, such as
            ``"resnet18-aligned@reading=standardized,beta=1.0"``; by default all that there are.

    Returns:
        One row per part of a claim, with the columns of :func:`rslib.report.table.save`, where
        ``model`` is the claim's name and ``label`` its part; ``group`` (table or section),
        ``statement``, ``relation``, ``claimed`` (the paper's number as text), ``verdict``, ``why``
        and ``differs`` (settings that are not the paper's, value beside value) of the whole claim;
        and ``part_verdict``.

    Raises:
        ValueError: there is no such reference or reading.
        RecordError: a reading that was asked for is not in this run.
    """
    reader = Reader(run, references=references, readings=readings)
    siblings = [Reader(each, home=reader) for each in run.siblings]
    filled = Table(
        run,
        TABLE,
        title="Every number and claim of the paper, and what this run says of it",
        notes=[_NOTE],
        intervals="Wilson's score, Agresti-Min and Newcombe for differences of accuracies, "
        "Fisher's for correlations, bootstrap otherwise; Student's over seeds where three or more "
        "decide",
        unreported="not reported",
    )
    measured: dict[evidence.Source, _Evidence] = {}
    for name, group, statement, claimed, source in (*_cells(), *_claims()):
        if source not in measured:
            measured[source] = _measured(reader, siblings, source)
        found = measured[source]
        differs = _protocol(run, claimed, found)
        parts = found.parts or [(Part("", UNDEFINED), Measured(unmeasured=found.why))]
        judged = [(part, judge(claimed, part.estimate, differs, how)) for part, how in parts]
        whole = _whole(judged)
        about = {"group": group, "statement": statement, "relation": claimed.relation}
        about |= {"claimed": _claimed_text(claimed), "differs": differs.differs}
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


def implied_reference(run: Run) -> pd.DataFrame:
    """The errors that the reference of Table 5 would have had, had the paper's nets erred as ours.

    Returns:
        One row a model of Table 5 and category that this run has: ``model``, ``category``, ``ours``
        (plain error, a share), ``paper`` (relative to its reference) and ``implied``, their
        quotient.
    """
    import pandas as pd

    reader, rows = Reader(run), []
    for value in paper.TABLES["table5"].values.values():
        with contextlib.suppress(Unmeasured):
            shift = reader.shift(value.row, reference=None)
            ours = float(shift.score(shift.columns.mean(0), value.row, value.column))
            rows.append((value.row, value.column, ours, value.value, ours / value.value))
    return pd.DataFrame(rows, columns=["model", "category", "ours", "paper", "implied"])


def counts(frame: pd.DataFrame) -> dict[str, int]:
    """Count the claims of each verdict, in the order of :class:`Verdict`; all are there."""
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
            cell = Evidence(kind="value", cells=(f"{row}/{column}",), as_written=True)
            source = (cell,)
            yield f"{value.table}/{row}/{column}", table.name, statement, claimed, source


def _claims() -> Iterator[Judged]:
    for claim in paper.CLAIMS.values():
        also = f" [also {', '.join(claim.also)}]" if claim.also else ""
        group = paper.section_of(claim.section)
        source = evidence.FUNCTIONS.get(claim.name, claim.evidence)
        yield claim.name, group, f"{claim.statement}{also}", claim, source


@dataclass(frozen=True)
class _Evidence:
    """The parts of a claim as a run measured them, and what they were read from."""

    parts: list[tuple[Part, Measured]]
    models: tuple[str, ...] = ()
    evaluations: tuple[str, ...] = ()
    generated: bool = False
    why: str = ""  # there are none


def _measured(reader: Reader, siblings: Sequence[Reader], source: evidence.Source) -> _Evidence:
    """Our numbers, none where one is missing."""
    parts, used, generated = [], {}, False
    reader.used = {}
    try:
        for part in evidence.parts(reader, source):
            trained = {model for model, _ in reader.used} - {REFERENCE}
            parts.append((part, len(trained) > 1))
            used, generated = used | reader.used, generated or reader.generated
            reader.used = {}
    except Untested as error:
        return _Evidence([], why=str(error))
    except Unmeasured:
        return _Evidence([], why=Measured().unmeasured)
    models, evaluations = (tuple(dict.fromkeys(key[k] for key in used)) for k in (0, 1))
    others = []
    if any(methods for _, methods in parts):
        others = [_by_label(sibling, source) for sibling in siblings]
    counted = [_over_seeds(reader, part, methods, others) for part, methods in parts]
    return _Evidence(counted, models, evaluations, generated)


def _by_label(sibling: Reader, source: evidence.Source) -> dict[str, float]:
    """What another seed measured of a claim, as far as it has the records, by the part's label."""
    found: dict[str, float] = {}
    with contextlib.suppress(Unmeasured):
        for part in evidence.parts(sibling, source):
            found[_unnumbered(part.label)] = part.estimate.value
    return found


def _unnumbered(label: str) -> str:
    """A label without the numbers of one seed in it."""
    return re.sub(r" \(.*?\)", "", label)


def _over_seeds(
    reader: Reader, part: Part, methods: bool, others: Sequence[Mapping[str, float]]
) -> tuple[Part, Measured]:
    """A part, over seeds if it compares methods and three or more seeds know it."""
    how = Measured(methods=methods, levels=part.levels)
    if part.unmeasured:
        how = replace(how, unmeasured=part.unmeasured)
    label = _unnumbered(part.label)
    values = [part.estimate.value, *(each[label] for each in others if label in each)]
    known = [value for value in values if math.isfinite(value)]
    if methods and len(known) >= FEWEST_SEEDS:
        found = measures.over_seeds(known, n=part.estimate.n, **reader.at)
        return replace(part, estimate=found), replace(how, seeds=len(known))
    return part, how


def _protocol(run: Run, claimed: Asserted, found: _Evidence) -> Protocol:
    """What the run did otherwise, as far as it bears on a claim."""
    if found.parts and not found.models:
        return Protocol()  # measured without any run
    # Of a claim that speaks of no model, such as a count of corruptions, none bears on it.
    spoken = not isinstance(claimed, paper.Claim) or bool(claimed.models)
    # Of the reference's training the paper says nothing, so it differs in nothing.
    models = [name for name in found.models if spoken and name != REFERENCE]
    return protocol.of(run, models, found.evaluations, generated=found.generated)


def _whole(judged: Sequence[tuple[Part, Judgment]]) -> Judgment:
    """The judgment of a claim from those of its parts, by the most favorable reading."""
    (varied, *_) = [part.varied for part, _ in judged if part.variant] or [judged[0][0].varied]
    readings = dict.fromkeys(part.reading for part, _ in judged if part.reading)
    found = {
        reading: combine(
            ((part.about, each) for part, each in judged if part.reading in ("", reading)), varied
        )
        for reading in readings or ("",)
    }
    return favorable(found) if readings else found[""]


def _claimed_text(claimed: Asserted) -> str:
    """The number claimed, as text; a dash where there is none."""
    if claimed.value is None:
        return "alike" if claimed.relation == "alike" else numbers.NONE
    text = numbers.quantity(claimed.value, claimed.unit).replace("-", numbers.MINUS)
    if claimed.unit == "points" and claimed.relation in ("below", "above"):
        text = text.removeprefix("+")
    return {"below": "< ", "above": "> "}.get(claimed.relation, "") + text
