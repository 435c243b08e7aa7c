"""Reading a run's records for the verdicts: nothing is computed, a missing one is no error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.metrics.estimates import on_images
from rslib.run.outcomes import Outcomes
from rslib.settings.names import REFERENCE, baseline, parts
from rslib.settings.plan import plan
from rslib.store.records import RecordError
from rslib.verdicts import outside, steps
from rslib.verdicts.measures import Shift

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


READABLE = 2.7
"""Points of accuracy that a reading of the alignment loss may cost, the paper's own cost (4.4)."""


class Unmeasured(Exception):
    """A record or a model that a claim needs has not been made in this run."""


class Untested(Unmeasured):
    """The records are no test of the claim; the message says why."""


class Reader:
    """A run's records, each read once, with a note of what was used.

    What reads raises :class:`Unmeasured` where a record or model was not made.

    Args:
        run: whose records and models' summaries are read.
        references: whose corruption errors others are divided by, the first for mCE: models of the
            run, or :data:`rslib.verdicts.outside.NAME`.
        readings: the aligned models that may stand for the paper's (:meth:`aligned`), by default
            all that the run trained with another reading or weight.
        home: the reader of the first seed, of whose references and readings this one takes.

    Raises:
        ValueError: no such reference, or a reading that is none.
        RecordError: a reading that was asked for is not in this run.

    Attributes:
        at: the coverage of intervals, as ``confidence``.
        used: (model, evaluation) pairs read since it was last emptied, in order; a model's summary
            counts as its ``"training"``.
        sources: metadata of everything read so far, by the same pairs.
    """

    def __init__(
        self,
        run: Run,
        *,
        references: Sequence[str] = (REFERENCE, outside.NAME),
        readings: Sequence[str] | None = None,
        home: Reader | None = None,
    ) -> None:
        self.run = run
        self.home = home or self
        self.references = self.home.references if home else tuple(references)
        self.at = {"confidence": run.settings.evaluation.confidence}
        self.used: dict[tuple[str, str], None] = {}
        self.sources: dict[tuple[str, str], dict[str, Any]] = {}
        self._records: dict[tuple[str, str], pd.DataFrame] = {}
        self._outcomes: dict[str, Outcomes] = {}
        self._aligned: dict[str, str] = {}
        for name in self.references:
            if name != outside.NAME:
                plan(run.settings, name)
        self._readings = self._checked(readings)

    def _checked(self, readings: Sequence[str] | None) -> list[str]:
        """The names that :meth:`aligned` chooses from."""
        study = self.run.settings
        asked = [*study.alignment.variants, study.combination.aligned]
        for name in readings or ():
            plan(study, name)
            if not _is_reading(name):
                raise ValueError(
                    f"{name} is no reading of the alignment loss: name an aligned model of which "
                    "only reading and beta differ, such as resnet18-aligned@reading=standardized"
                )
            if not self.has(name, "saliency"):
                raise RecordError(
                    f"the reading {name} is not in this run: it has no saliency record of it. "
                    "Train it (alignment.variants) and run notebook 09, or leave it out"
                )
        return [*filter(_is_reading, asked if readings is None else readings)]

    def aligned(self, name: str, *evaluations: str) -> str:
        """The model that stands for an aligned one of the paper: its most favorable reading.

        Of those that cost no more accuracy than the paper's own does, over the baseline, it is the
        one with the largest gain of IoU over the control. The model itself, trained as written,
        where none gains more, or where the other was not put through all ``evaluations``.
        """
        if name not in self.home._aligned:
            self.home._aligned[name] = self.home._most_favorable(name)
        found = self.home._aligned[name]
        return found if all(self.has(found, each) for each in evaluations) else name

    def _most_favorable(self, name: str) -> str:
        column, gains, before = f"iou_{self.run.mask_source}", {}, dict(self.used)
        try:
            start = self.record(baseline(name), "saliency")["correct"].mean()
            for each in [name, *(r for r in self._readings if r.startswith(f"{name}@"))]:
                if each == name or self.has(each, "saliency"):
                    record = self.record(each, "saliency")
                    if 100 * (start - record["correct"].mean()) <= READABLE or each == name:
                        gains[each] = record[column].mean()
        except Unmeasured:
            return name
        finally:
            self.used = before
        return max(gains, key=lambda each: gains[each])

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

    def step_times(self) -> dict[str, float]:
        """Seconds of a training step of untrained networks (:mod:`rslib.verdicts.steps`)."""
        try:
            return steps.read(self.home.run)
        except RecordError:
            raise Unmeasured("step times") from None

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

    def shift(self, *names: str, reference: str | None = "") -> Shift:
        """Several models' corruption errors relative to a reference; plain ones if it is None.

        By default it is the first of the :attr:`references`.

        Raises:
            Untested: the reference was evaluated on other images.
        """
        reference = self.references[0] if reference == "" else reference
        base = None if reference is None else self._reference(reference)
        try:
            return Shift({name: self.outcomes(name) for name in names}, base)
        except ValueError as error:
            raise Untested(f"not comparable by this reference: {error}") from None

    def _reference(self, name: str) -> Outcomes:
        if name != outside.NAME:
            return self.outcomes(name)
        # It is of no seed of ours: what the first seed measured is that of all.
        if name not in self.home._outcomes:
            try:
                found = outside.record(self.home.run)
            except RecordError:
                raise Untested(
                    "an order of corruption errors needs a second reference, trained by nobody "
                    "here, which this run has not measured"
                ) from None
            clean = found[["image", "correct"]]
            self.home._outcomes[name] = Outcomes.from_records(found, clean)
            self.home.sources[name, "corruptions"] = found.attrs
        return self.home._outcomes[name]

    def _noted(self, name: str, evaluated: str, about: dict[str, Any]) -> dict[str, Any]:
        self.used[name, evaluated] = None
        self.sources[name, evaluated] = about
        return about


def _is_reading(name: str) -> bool:
    """True if a model is aligned by the paper's loss with another reading or weight alone."""
    found = parts(name)
    own = {*found.changes} <= {"reading", "beta"} and found.changes.get("beta") != 0
    return own and found.objective == "aligned"
