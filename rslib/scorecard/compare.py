"""The book's own models beside a scored one: read from records, never trained or evaluated here."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from rslib.data import DataError, Dataset, balanced_subset
from rslib.metrics.estimates import Estimate
from rslib.report import labels
from rslib.run import Run, published
from rslib.scorecard.card import Compared, Measure, PeerVerdict
from rslib.settings import PROJECT, SettingsError
from rslib.settings.names import INTERPRETABILITY
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd


class Peers:
    """The book's models with records on the images that the scored model is measured on.

    ``origin`` names the run whose records they are in words.
    """

    def __init__(
        self, run: Run, origin: str, images: Dataset, names: tuple[str, ...] = (*INTERPRETABILITY,)
    ) -> None:
        self.run, self.origin, self.images, self.names = run, origin, images, names
        self._fingerprint = functools.cache(lambda n: balanced_subset(images, n).fingerprint)

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

    def compared(
        self,
        evaluated: str,
        record: pd.DataFrame,
        value: Callable[[pd.DataFrame], Estimate],
        difference: Callable[[pd.DataFrame, pd.DataFrame], Estimate] | None = None,
        fits: Callable[[pd.DataFrame], bool] | None = None,
    ) -> list[Compared]:
        """The models on one axis, on the images that they share with the scored one.

        ``value`` makes a record the axis's number, ``difference`` two of the same images their
        paired difference. Records that ``fits`` refuses, of another protocol, are passed over.
        """
        found = []
        same: dict[int, Measure | None] = {}  # subsets are nested: as many images are the same ones
        for name in self.names:
            theirs = self.record(name, evaluated)
            if theirs is None or (fits is not None and not fits(theirs)):
                continue
            theirs, ours = on_common(theirs, record)
            n = len(ours)
            if n and n not in same:
                same[n] = Measure.of(value(ours))
            measure = Measure.of(value(theirs)) if n else None
            if measure is None or same[n] is None:
                continue
            gap = None if difference is None else Measure.of(difference(ours, theirs))
            about = {"model": name, "label": labels.short_label(name), "origin": self.origin}
            found.append(Compared(**about, measure=measure, ours=same[n], difference=gap))
        return found

    def verdicts(self) -> list[PeerVerdict]:
        """The recorded reliability verdicts."""
        found = []
        for name in self.names:
            with contextlib.suppress(RecordError, DataError):
                inputs = self.run.reliability_inputs(name)
                report = records.read_json(self.run.document(name, inputs))
                told = {key: report[key] for key in ("passed", "failed")}
                found.append(PeerVerdict(model=name, label=labels.short_label(name), **told))
        return found

    def phrase(self) -> str:
        """Which models stand beside the scored one, in a sentence."""
        if not self.names:
            profile = self.run.settings.profile
            return (
                "Nothing to compare with: there are no records of the book's models on these "
                f"images, neither in the run ({profile}, seed {self.run.seed}) nor in a published "
                f"edition. make book PROFILE={profile} makes them."
            )
        sizes = labels.sizes(self.run, self.names)
        return (
            f"Compared with {len(self.names)} of the book's own models, from {self.origin}"
            f"{f' ({sizes})' if sizes else ''}, on the images that both were measured on."
        )


def find(run: Run, images: Dataset, *, without: str | None = None) -> Peers:
    """The book's models with records on these images: the run's, or else a published edition's.

    The edition of the run's own profile is asked first; of another data set, none is. A model does
    not stand beside itself (``without``). There are none where no place has any.
    """
    places = [(run, "this run")]
    folders = sorted((PROJECT / published.PUBLISHED).glob("*/seed0"))
    for folder in sorted(folders, key=lambda each: each.parent.name != run.settings.profile):
        try:
            edition = published.run_of(folder.parent)
        except SettingsError:
            continue
        if edition.settings.data.name == run.settings.data.name:
            places.append((edition, f"the published {folder.parent.name} edition"))
    for place, origin in places:
        peers = Peers(place, origin, images)
        peers.names = tuple(
            name
            for name in peers.names
            if name != without
            and any(peers.record(name, kind) is not None for kind in ("clean", "saliency"))
        )
        if peers.names:
            return peers
    return Peers(run, "this run", images, ())


def on_common(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two records cut to the images that both are about, in one order."""

    def cut(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
        shared = frame[frame["image"].isin(other["image"])]
        return shared.sort_values("image", ignore_index=True)

    return cut(first, second), cut(second, first)
