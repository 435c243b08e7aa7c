"""Results at a glance for README.md, from a published run's records.

    python -m rslib.readme cpu

writes the table between the two markers in README.md and the picture beside it. Nothing is run: a
test holds the README against the published records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from rslib import figures, records, settings, tables
from rslib.book import PUBLISHED
from rslib.run import Run
from rslib.settings import PROJECT

BEGIN, END = "<!-- results: made by rslib.readme -->", "<!-- end of results -->"
PICTURE = Path("book/_static/results.png")
COLUMNS = {
    "clean_accuracy": "clean",
    "fgsm_accuracy": "FGSM",
    "pgd_accuracy": "PGD-20",
    "autoattack_accuracy": "AutoAttack",
}


def published(profile: str, *, root: Path = PROJECT, seed: int = 0) -> Run:
    """A published run, for reading."""
    return Run(settings.load(profile), seed, root=root / PUBLISHED)


def block(run: Run) -> str:
    """The README's table in Markdown, and the line that says where it comes from."""
    attacked, strongest = tables.table2(run), tables.autoattack_table(run)
    found = pd.concat(
        [attacked, strongest[strongest.quantity == "autoattack_accuracy"]], ignore_index=True
    )
    counted = f"AutoAttack on {strongest.attrs['stamp'].partition('n = ')[2].partition(';')[0]}"
    return "\n".join(
        [
            *_lines(found),
            "",
            f"{attacked.attrs['stamp']}; {counted}. Square brackets: 95 % intervals.",
        ]
    )


def _lines(frame: pd.DataFrame) -> Iterator[str]:
    yield "| accuracy, % | " + " | ".join(COLUMNS.values()) + " |"
    yield "| --- |" + " --- |" * len(COLUMNS)
    for model, rows in frame.groupby("model", sort=False):
        cells = rows.set_index("quantity").loc[list(COLUMNS)]
        ours = [f"{r.ours:.1f} [{r.low:.1f}, {r.high:.1f}]" for r in cells.itertuples()]
        reported = ["" if pd.isna(r.paper) else f"*{r.paper:.1f}*" for r in cells.itertuples()]
        training = tables.training_label(str(model)).lower()
        yield f"| {cells.label.iloc[0]}, {training} | " + " | ".join(ours) + " |"
        yield (
            f"| *the paper's {cells.label.iloc[0].partition(' (')[0]}, {training}* | "
            + " | ".join(reported)
            + " |"
        )


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rslib.readme", description=__doc__)
    parser.add_argument("profile", help="a published profile, such as cpu")
    run = published(parser.parse_args(arguments).profile)
    text = insert((PROJECT / "README.md").read_text(), block(run))
    with records.atomic(PROJECT / PICTURE) as temporary:
        figures.figure2(run).savefig(temporary, format="png", dpi=150, facecolor="white")
    with records.atomic(PROJECT / "README.md") as temporary:
        temporary.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
