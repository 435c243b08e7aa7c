"""Our numbers for each claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed. ``cells`` measures whatever ``claims.yaml`` describes; ``particular`` has a
function for each of the other claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rslib.paper import Evidence
from rslib.verdicts.evidence import cells
from rslib.verdicts.evidence.cells import Part as Part
from rslib.verdicts.evidence.particular import FUNCTIONS as FUNCTIONS
from rslib.verdicts.reader import Reader

Source = tuple[Evidence, ...] | Callable[[Reader], Iterator[Part]]
"""Data or a function that numbers come from. The same source gives the same numbers."""


def parts(reader: Reader, source: Source) -> Iterator[Part]:
    """Measure a source, which is empty for an untestable claim.

    Raises:
        Unmeasured: a record or model was not made.
    """
    if callable(source):
        return source(reader)
    return (part for wanted in source for part in cells.parts(reader, wanted))
