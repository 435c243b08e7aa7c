"""Reading a run's records for the verdicts: nothing is computed, a missing one is no error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics.estimates import on_images
from rslib.run.outcomes import Outcomes
from rslib.settings.names import REFERENCE
from rslib.settings.plan import plan
from rslib.store.records import RecordError
from rslib.verdicts.measures import Shift

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


class Unmeasured(Exception):
    """A record or a model that a claim needs has not been made in this run."""


class Reader:
    """A run's records, each read once, with a note of what was used.

    What reads raises :class:`Unmeasured` where a record or model was not made.

    Args:
        run: whose records and models' summaries are read.

    Attributes:
        at: the coverage of intervals, as ``confidence``.
        used: (model, evaluation) pairs read since it was last emptied, in order; a model's summary
            counts as its ``"training"``.
        sources: metadata of everything read so far, by the same pairs.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.at = {"confidence": run.settings.evaluation.confidence}
        self.used: dict[tuple[str, str], None] = {}
        self.sources: dict[tuple[str, str], dict[str, Any]] = {}
        self._records: dict[tuple[str, str], pd.DataFrame] = {}
        self._outcomes: dict[str, Outcomes] = {}

    def trained(self, name: str) -> bool:
        """True if there is such a model in this run: one may be asked for that no run has."""
        try:
            plan(self.run.settings, name)
            self.run.summary(name)
        except (RecordError, ValueError):
            return False
        return True

    def summary(self, name: str) -> dict[str, Any]:
        """The summary of a trained model."""
        if not self.trained(name):
            raise Unmeasured(name)
        return self._noted(name, "training", self.run.summary(name))

    def has(self, name: str, evaluated: str) -> bool:
        """True if a record is there."""
        try:
            return self.trained(name) and self.run.has_record(name, evaluated)
        except RecordError:  # something it depends on, such as the teacher of its masks
            return False

    def record(self, name: str, evaluated: str) -> pd.DataFrame:
        """A per-image record."""
        if not self.has(name, evaluated):
            raise Unmeasured(f"{name}: {evaluated}")
        key = (name, evaluated)
        if key not in self._records:
            self._records[key] = self.run.record(name, evaluated)
        self._noted(name, evaluated, self._records[key].attrs)
        return self._records[key]

    def answers(self, name: str, evaluated: str) -> pd.DataFrame:
        """Right or wrong by image; on clean images the saliency record says it as well."""
        if evaluated == "clean" and not self.has(name, "clean"):
            evaluated = "saliency"
        return self.record(name, evaluated)

    def together(
        self, wanted: Sequence[tuple[str, str]], column: str = "correct"
    ) -> list[np.ndarray]:
        """A column of the records of several (model, evaluation), on the images of the shortest."""
        found = [self.answers(name, evaluated) for name, evaluated in wanted]
        images = min(found, key=len)["image"]
        return [on_images(each, images)[column].to_numpy() for each in found]

    @property
    def generated(self) -> bool:
        """True if corrupted images that were used are not the official ones."""
        used = (self.sources[key].get("corrupted", {}) for key in self.used)
        return any(about.get("origin", "official") != "official" for about in used)

    def priors(self) -> pd.DataFrame:
        """The masks' coverage of the test images."""
        try:
            found = self.run.priors()
        except RecordError:
            raise Unmeasured("masks") from None
        self.sources["masks", "priors"] = found.attrs
        return found

    def outcomes(self, name: str) -> Outcomes:
        """A model's outcomes under corruptions."""
        found = self.record(name, "corruptions"), self.answers(name, "clean")
        if name not in self._outcomes:
            self._outcomes[name] = Outcomes.from_records(*found)
        return self._outcomes[name]

    def shift(self, *names: str) -> Shift:
        """Several models' corruption errors relative to the reference."""
        return Shift({name: self.outcomes(name) for name in names}, self.outcomes(REFERENCE))

    def _noted(self, name: str, evaluated: str, about: dict[str, Any]) -> dict[str, Any]:
        self.used[name, evaluated] = None
        self.sources[name, evaluated] = about
        return about
