"""A model's per-image corruption record as arrays, and as the table of errors it sums up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.corruptions import ADDED, NAMES, SEVERITIES
from rslib.corruptions.mce import ErrorTable, table_from_outcomes
from rslib.metrics.estimates import on_images
from rslib.settings.names import REFERENCE
from rslib.settings.nearest import nearest
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run.results import Results

REFERENCES = Path(__file__).parents[1] / "corruptions" / "references"


@dataclass(frozen=True)
class Outcomes:
    """One model on N images, clean and under every corruption.

    Attributes:
        model: its name.
        wrong: for each corruption bool (5, N), whether each image is wrong at each severity.
        confidence: for each corruption (5, N), the largest probability.
        clean_wrong: bool (N,).
        images: (N,) positions in the canonical test order.
        data: what the corrupted images are (``cifar10c.Corrupted.identity``).
    """

    model: str
    wrong: Mapping[str, np.ndarray]
    confidence: Mapping[str, np.ndarray]
    clean_wrong: np.ndarray
    images: np.ndarray
    data: dict[str, Any]

    @classmethod
    def from_records(
        cls, corrupted: pd.DataFrame, clean: pd.DataFrame, names: Sequence[str] = NAMES
    ) -> Outcomes:
        """Join a record of the named corruptions with the clean one, which has all its images."""
        wrong, confidence = {}, {}
        for name in names:
            columns = [f"{name}_{severity}" for severity in SEVERITIES]
            wrong[name] = ~corrupted[columns].to_numpy(bool).T
            confidence[name] = corrupted[[f"{c}_confidence" for c in columns]].to_numpy(float).T
        images, about = corrupted["image"], corrupted.attrs
        clean_wrong = ~on_images(clean, images)["correct"].to_numpy(bool)
        data = about["corrupted"]
        return cls(about["model"], wrong, confidence, clean_wrong, images.to_numpy(), data)

    def errors(self) -> ErrorTable:
        """Its error under each corruption and severity, and on the clean images."""
        return table_from_outcomes(self.model, self.wrong, self.clean_wrong, self.data)

    def share_wrong(self) -> np.ndarray:
        """(N,) the share of an image's corrupted versions that the model gets wrong."""
        return np.mean([rows.mean(0) for rows in self.wrong.values()], axis=0)

    def at_severity(self, severity: int) -> tuple[np.ndarray, np.ndarray]:
        """Confidence and correctness of all corrupted versions at one severity, (19 N,) each."""
        row = SEVERITIES.index(severity)
        certainty = np.concatenate([rows[row] for rows in self.confidence.values()])
        return certainty, ~np.concatenate([rows[row] for rows in self.wrong.values()])


def outcomes(run: Results, name: str) -> Outcomes:
    """A model's corruption record as arrays; RecordError where it has not been made."""
    return Outcomes.from_records(run.record(name, "corruptions"), run.record(name, "clean"))


def added(run: Results, names: Sequence[str]) -> tuple[str, ...]:
    """The corruptions added to the nineteen, where all these models were evaluated under them."""
    there = all(run.has_record(name, "added_corruptions") for name in names)
    return tuple(ADDED) if there else ()


def added_outcomes(run: Results, name: str) -> Outcomes:
    """As :func:`outcomes`, of the record of :data:`rslib.corruptions.ADDED`."""
    record = run.record(name, "added_corruptions")
    return Outcomes.from_records(record, run.record(name, "clean"), tuple(ADDED))


def load_reference(profile: str) -> ErrorTable:
    """The packaged errors of a profile's reference model (paper 3.5), to score without its weights.

    Raises:
        RecordError: there are none, or the file was altered; says which there are.
    """
    path = REFERENCES / f"{profile}.json"
    if not path.exists():
        known = sorted(each.stem for each in REFERENCES.glob("*.json"))
        raise records.RecordError(
            f"the package holds no reference errors for profile {profile!r}"
            f"{nearest(profile, known)} There are: {', '.join(known) or 'none'}. Evaluate the "
            "reference model under corruptions, as notebook 05 does"
        )
    try:
        return ErrorTable.from_document(records.read_json(path))
    except (ValueError, KeyError, TypeError) as error:
        raise records.RecordError(f"{path}: {error}") from None


def write_reference(run: Results) -> Path:
    """Write the file of a run's profile from its record of the reference model."""
    path = REFERENCES / f"{run.settings.profile}.json"
    records.write_json(path, outcomes(run, REFERENCE).errors().document())
    return path
