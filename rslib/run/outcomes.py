"""A model's per-image corruption record as arrays, and as the table of errors it sums up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib.corruptions import ADDED, NAMES, SEVERITIES
from rslib.corruptions.mce import ErrorTable, table_from_outcomes
from rslib.metrics.estimates import on_images

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run.results import Results


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
        """Join a corruption record with the clean record of the same model.

        Args:
            corrupted: the corruption record.
            clean: the clean record.
            names: the corruptions that the first one holds.

        Raises:
            ValueError: the clean record lacks some of the images.
        """
        wrong, confidence = {}, {}
        for name in names:
            columns = [f"{name}_{severity}" for severity in SEVERITIES]
            wrong[name] = ~corrupted[columns].to_numpy(bool).T
            confidence[name] = corrupted[[f"{c}_confidence" for c in columns]].to_numpy(float).T
        clean_wrong = ~on_images(clean, corrupted["image"])["correct"].to_numpy(bool)
        images = corrupted["image"].to_numpy()
        about = corrupted.attrs
        return cls(about["model"], wrong, confidence, clean_wrong, images, about["corrupted"])

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
    """A model's corruption record as arrays.

    Raises:
        RecordError: it has not been made; says how to make it.
    """
    return Outcomes.from_records(run.record(name, "corruptions"), run.record(name, "clean"))


def added(run: Results, names: Sequence[str]) -> tuple[str, ...]:
    """The corruptions added to the nineteen, where all these models were evaluated under them."""
    there = all(run.has_record(name, "added_corruptions") for name in names)
    return tuple(ADDED) if ADDED and there else ()


def added_outcomes(run: Results, name: str) -> Outcomes:
    """A model's record of :data:`rslib.corruptions.ADDED` as arrays.

    Raises:
        RecordError: it has not been made; says how to make it.
    """
    record = run.record(name, "added_corruptions")
    return Outcomes.from_records(record, run.record(name, "clean"), tuple(ADDED))
