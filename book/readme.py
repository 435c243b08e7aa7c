"""Results at a glance for README.md, from the records of the published editions.

A table of each stands between the two markers in README.md, and the best one's picture beside it.
Nothing is run: a test holds the README against the published records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from book import editions, errata
from rslib import paper, verdicts
from rslib.report import figures, labels, numbers, tables
from rslib.run import Run
from rslib.run.published import PUBLISHED, run_of
from rslib.settings import PROJECT
from rslib.store import records

BEGIN, END = "<!-- results: made by book readme -->", "<!-- end of results -->"
PICTURE = Path("book/_static/results.png")
MODELS = tables.INTERPRETABILITY
COLUMNS = {
    "clean_accuracy": ("accuracy, %", ("table2", "table4"), ".1f"),
    "pgd_accuracy": ("under PGD-20, %", ("table2",), ".1f"),
    "autoattack_accuracy": ("AutoAttack, %", (), ".1f"),
    "mce": ("mCE", ("table5",), ".2f"),
    "iou_mean": ("IoU", ("table3",), ".3f"),
    "ece": ("ECE", ("table1",), ".3f"),
}
"""Header of each quantity, the paper's tables that may have it, and its format."""


def best_first(*, root: Path = PROJECT) -> list[Run]:
    """All published runs, in the order in which a site shows them."""
    return [run_of(each.folder.parent) for each in editions.published(root / PUBLISHED)]


def blocks(runs: Iterable[Run]) -> str:
    """What the README says of several runs: :func:`block` of each."""
    return "\n\n".join(map(block, runs))


def block(run: Run) -> str:
    """Which run it is, with its limits, its table in Markdown, and the counts of the verdicts."""
    found = tables.tradeoff_table(run, MODELS)
    counted = verdicts.counts(verdicts.load(run))
    told = ", ".join(f"{count} {verdict}" for verdict, count in counted.items())
    return "\n".join(
        [
            f"**The `{run.settings.profile}` edition.** {' '.join(verdicts.limits(run))}",
            "",
            *_lines(found),
            "",
            f"{found.attrs['stamp']}. Square brackets: 95 % intervals.{seeds(run)} IoU and mCE "
            "do not compare with the paper's, whose masks and reference are unpublished."
            f"{_same_images(tables.load(run, 'autoattack'), found)}",
            "",
            f"Of {sum(counted.values())} numbers and claims of the paper, in this run: {told}.",
            *_errata(run),
        ]
    )


def _lines(frame: pd.DataFrame) -> Iterator[str]:
    yield "| | " + " | ".join(header for header, _, _ in COLUMNS.values()) + " |"
    yield "| --- |" + " --- |" * len(COLUMNS)
    for model, rows in frame.groupby("model", sort=False):
        cells = rows.set_index("quantity").loc[list(COLUMNS)]
        label, training = cells.label.iloc[0], tables.training_label(str(model)).lower()
        found = [ours(cell, COLUMNS[quantity][2]) for quantity, cell in cells.iterrows()]
        yield f"| {label}, {training} | " + " | ".join(found) + " |"
        reported = [_reported(str(model), quantity) for quantity in COLUMNS]
        shown = " | ".join(f"*{value}*" if value else "" for value in reported)
        yield f"| *the paper's {label.partition(' (')[0]}, {training}* | {shown} |"


def seeds(run: Run) -> str:
    """The sentence that tells values of one seed from means over several; empty with one seed."""
    if not run.siblings:
        return ""
    return (
        f" Values and intervals are for seed {run.seed}. A second line, where there is one, is the "
        f"mean ± standard deviation over {labels.seeds_phrase(run.seeds)}."
    )


def _same_images(autoattack: pd.DataFrame, shown: pd.DataFrame) -> str:
    """PGD on AutoAttack's images, where the table above has it on others as well.

    Args:
        autoattack: the stored table of AutoAttack, which has both on the same images.
        shown: the table above.
    """
    beside = autoattack[autoattack.quantity == "pgd_accuracy"].set_index("model")
    above = shown[shown.quantity == "pgd_accuracy"].set_index("model")
    told = [
        f"{beside.ours[model]:.1f} % ({labels.short_label(str(model))})"
        for model in above.index.intersection(beside.index)
        if beside.n[model] != above.n[model]
    ]
    if not told:
        return ""
    (n,) = beside.n.unique()
    return (
        f" AutoAttack and PGD-20 are not on the same images here: on AutoAttack's {n:,} alone, "
        f"accuracy under PGD-20 is {', '.join(told)}."
    )


def _errata(run: Run) -> list[str]:
    found = errata.read(run.directory)
    if not found:
        return []
    file = f"{PUBLISHED}/{run.settings.profile}/seed{run.seed}/{errata.FILE}"
    points = "one point" if len(found) == 1 else f"{len(found)} points"
    return [
        "",
        f"Found wrong since this run: {points}, in [{errata.FILE}]({file}) and on its pages.",
    ]


def ours(cell: pd.Series, form: str) -> str:
    """A number as the README shows it, with its interval and its mean over seeds; else empty."""
    if pd.isna(cell.ours):
        return ""
    text = f"{cell.ours:{form}} [{cell.low:{form}}, {cell.high:{form}}]"
    if numbers.spread(cell):
        text += f"<br>{cell.seed_mean:{form}} ± {cell.seed_std:{form}}"
    return text


def _reported(model: str, quantity: str) -> str:
    """The paper's number as it prints it, from the first of its tables that has it."""
    found = (paper.find(table, model, quantity) for table in COLUMNS[quantity][1])
    return next((value.printed for value in found if value is not None), "")


def insert(text: str, made: str) -> str:
    """Put a block between the README's markers.

    Raises:
        ValueError: the markers are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no place for results: it needs {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{made}\n{END}{after}"


def write() -> None:
    """Write the results into README.md, and their picture."""
    runs = best_first()
    run = runs[0]
    text = insert((PROJECT / "README.md").read_text(), blocks(runs))
    with records.atomic(PROJECT / PICTURE) as temporary:
        models = tables.load(run, "tradeoffs")["model"].unique()
        figures.figure4(run, models).savefig(temporary, format="png", dpi=150, facecolor="white")
    with records.atomic(PROJECT / "README.md") as temporary:
        temporary.write_text(text)
