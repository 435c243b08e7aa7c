"""The book's own models beside a scored one: read from records, never trained or evaluated here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rslib import data
from rslib.metrics.estimates import Estimate
from rslib.report import labels
from rslib.run import Run, published, reliability
from rslib.scorecard.card import Compared, Measure, PeerVerdict
from rslib.settings import PROJECT, SettingsError
from rslib.settings.names import INTERPRETABILITY
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

MODELS = tuple(INTERPRETABILITY)
"""The book's models that a scorecard stands beside, in order, where there are records of them."""

Value = Callable[["pd.DataFrame"], Estimate]
Difference = Callable[["pd.DataFrame", "pd.DataFrame"], Estimate]

# What may differ between two records of one attack: how many images, and what else was run.
_FREE = ("n", "individual")


@dataclass(frozen=True)
class Shelf:
    """Where records of the book's models on the same images are.

    Attributes:
        run: whose records they are.
        origin: the same in words.
        images: the data set that the scored model is measured on.
        names: the models.
    """

    run: Run
    origin: str
    images: data.Dataset
    names: tuple[str, ...]
    _fingerprints: dict[int, str] = field(default_factory=dict, repr=False)

    def record(self, name: str, evaluated: str) -> pd.DataFrame | None:
        """A model's record, if there is one and it is of class-balanced images of the data set."""
        try:
            if not self.run.has_record(name, evaluated):
                return None
            found = self.run.record(name, evaluated)
        except (RecordError, ValueError):
            return None
        n = found.attrs["n"]
        same = n <= len(self.images) and self._fingerprint(n) == found.attrs["data"]
        return found if same else None

    def _fingerprint(self, n: int) -> str:
        if n not in self._fingerprints:
            self._fingerprints[n] = data.balanced_subset(self.images, n).fingerprint
        return self._fingerprints[n]

    def knows(self, name: str) -> bool:
        """Whether there is any record of a model that an axis can be compared with."""
        return any(self.record(name, kind) is not None for kind in ("clean", "saliency"))

    def verdict(self, name: str) -> dict[str, Any] | None:
        """The stored reliability report on a model, if there is one."""
        try:
            made = records.key(**reliability.inputs(self.run, name))
            return records.read_json(
                self.run.directory / "records" / name / f"reliability-{made}.json"
            )
        except (RecordError, data.DataError):
            return None


def find(run: Run, images: data.Dataset, *, without: str | None = None) -> Shelf | None:
    """The records of the book's models on these images: the run's own, or a published edition's.

    Args:
        run: the run whose settings are used.
        images: that the scored model is measured on.
        without: a model that is not to stand beside itself.

    Returns:
        The first place that has any; None if there is none.
    """
    for each, origin in ((run, "this run"), *_editions(run)):
        names = tuple(name for name in MODELS if name != without)
        shelf = Shelf(each, origin, images, names)
        there = tuple(name for name in names if shelf.knows(name))
        if there:
            return replace(shelf, names=there)
    return None


def compared(
    shelf: Shelf | None,
    evaluated: str,
    frame: pd.DataFrame,
    value: Value,
    difference: Difference | None,
    *,
    protocol: Mapping[str, Any] | None = None,
    fits: Callable[[pd.DataFrame], bool] | None = None,
) -> list[Compared]:
    """The book's models on one axis, on the images that they share with the scored one.

    Args:
        shelf: where their records are; None for nowhere.
        evaluated: the kind of record.
        frame: the scored model's record.
        value: a record to the axis's number.
        difference: two records of the same images to their paired difference.
        protocol: the attack's settings; a record made with others is passed over.
        fits: what else a record must be.
    """
    found = []
    same: dict[int, Measure | None] = {}  # subsets are nested: as many images are the same ones
    for name in () if shelf is None else shelf.names:
        theirs = shelf.record(name, evaluated)
        if theirs is None or (fits is not None and not fits(theirs)):
            continue
        if protocol is not None and _essential(theirs.attrs["inputs"]["attack"]) != _essential(
            protocol
        ):
            continue
        theirs, ours = on_common(theirs, frame)
        if not len(ours):
            continue
        if len(ours) not in same:
            same[len(ours)] = Measure.of(value(ours))
        measure = Measure.of(value(theirs))
        if measure is None or same[len(ours)] is None:
            continue
        gap = None if difference is None else Measure.of(difference(ours, theirs))
        found.append(
            Compared(
                model=name,
                label=labels.short_label(name),
                origin=shelf.origin,
                measure=measure,
                ours=same[len(ours)],
                difference=gap,
            )
        )
    return found


def on_common(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two records cut to the images that both are about, in one order."""
    kept = [
        one[one["image"].isin(other["image"])].sort_values("image", ignore_index=True)
        for one, other in ((first, second), (second, first))
    ]
    return kept[0], kept[1]


def verdicts(shelf: Shelf | None) -> list[PeerVerdict]:
    """The recorded reliability verdicts on the book's models."""
    found = []
    for name in () if shelf is None else shelf.names:
        report = shelf.verdict(name)
        if report is not None:
            found.append(
                PeerVerdict(
                    model=name,
                    label=labels.short_label(name),
                    passed=report["passed"],
                    failed=report["failed"],
                )
            )
    return found


def phrase(run: Run, shelf: Shelf | None) -> str:
    """Which of the book's models stand beside the scored one, in a sentence."""
    if shelf is None:
        return (
            f"Nothing to compare with: there are no records of the book's models on these images, "
            f"neither in the run ({run.settings.profile}, seed {run.seed}) nor in a published "
            f"edition. make book PROFILE={run.settings.profile} makes them."
        )
    sizes = labels.sizes(shelf.run, shelf.names)
    return (
        f"Compared with {len(shelf.names)} of the book's own models, from {shelf.origin}"
        f"{f' ({sizes})' if sizes else ''}, on the images that both were measured on."
    )


def _editions(run: Run) -> list[tuple[Run, str]]:
    """The published editions of the run's data set, that of its own profile first."""
    found = []
    for folder in sorted((PROJECT / published.PUBLISHED).glob("*/seed0")):
        profile = folder.parent.name
        try:
            edition = published.run_of(folder.parent)
        except SettingsError:
            continue
        if edition.settings.data.name == run.settings.data.name:
            found.append((edition, f"the published {profile} edition"))
    return sorted(found, key=lambda each: each[0].settings.profile != run.settings.profile)


def _essential(section: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key not in _FREE}
