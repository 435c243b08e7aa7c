"""Our numbers for each claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed.

``cells`` measures whatever ``claims.yaml`` describes; ``particular`` has a function for each of the
other claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rslib.paper import Claim, Evidence, PaperValue
from rslib.verdicts.evidence import cells
from rslib.verdicts.evidence.cells import Part as Part
from rslib.verdicts.evidence.particular import FUNCTIONS as FUNCTIONS
from rslib.verdicts.reader import Reader

Source = tuple[Evidence, ...] | Callable[[Reader], Iterator[Part]]
"""Data or a function that numbers come from. The same source gives the same numbers."""


def of_claim(claim: Claim) -> Source:
    """The source of a claim's numbers; empty if it is untestable."""
    return FUNCTIONS.get(claim.name, claim.evidence)


def of_cell(value: PaperValue) -> Source:
    """The source of the number that a cell of the paper's tables compares with."""
    return (Evidence(kind="value", cells=(f"{value.row}/{value.column}",)),)


def parts(reader: Reader, source: Source) -> Iterator[Part]:
    """Measure.

    Args:
        reader: of the run.
        source: from :func:`of_claim` or :func:`of_cell`.

    Raises:
        Unmeasured: a record or model was not made.
    """
    if callable(source):
        yield from source(reader)
        return
    for wanted in source:
        yield from cells.parts(reader, wanted)
