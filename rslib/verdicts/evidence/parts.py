"""What a claim's evidence consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rslib.metrics.estimates import Estimate
from rslib.report.labels import mask_label
from rslib.verdicts.reader import Reader


@dataclass(frozen=True)
class Part:
    """One of the numbers that a claim is about.

    Attributes:
        about: what it is about; empty where the claim says it.
        estimate: the number.
        masks: the source of the masks, where the same is measured with several.
    """

    about: str
    estimate: Estimate
    masks: str = ""

    @property
    def label(self) -> str:
        """What it is about, with its masks."""
        masks = f"{mask_label(self.masks)} masks" if self.masks else ""
        return ", ".join(filter(None, (self.about, masks)))


Measure = Callable[[Reader], Iterator[Part]]
"""Reads a claim's evidence from the records; raises ``Unmeasured`` where they are missing."""
