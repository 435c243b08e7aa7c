"""Corruption error against a named reference (paper 3.5, eq. 14 and 15; Table 5).

CIFAR-10-C has no canonical reference model, so a score means something only beside the table of
errors that it was divided by. Here that table is an object with the data it was measured on and a
digest, and a score refuses a reference that was measured on other images.

Source: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261, section 4.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rslib.corruptions import ADDED, CATEGORIES, TEST15, check_name
from rslib.metrics.bootstrap import resampled_means
from rslib.metrics.corruption_error import corruption_errors


class ReferenceMismatch(ValueError):
    """Errors measured on one set of images were to be divided by errors measured on another."""


@dataclass(frozen=True)
class ErrorTable:
    """The errors of one model: per corruption at five severities, and on the clean images.

    Args:
        model: which model; for the reader.
        errors: for each corruption its five errors, fractions in [0, 1].
        clean: the error on the clean images.
        data: what the errors were measured on (``cifar10c.Corrupted.identity``).

    Raises:
        ValueError: if a name is unknown, a row has not five errors, or one is not in [0, 1].
    """

    model: str
    errors: dict[str, tuple[float, ...]]
    clean: float
    data: dict[str, Any]

    def __post_init__(self) -> None:
        if not self.errors:
            raise ValueError("errors: at least one corruption is needed.")
        rows = {name: tuple(float(value) for value in row) for name, row in self.errors.items()}
        for name, row in rows.items():
            check_name(name)
            if len(row) != 5:
                raise ValueError(f"errors[{name!r}] has {len(row)} values; 5 are needed.")
        for value in (self.clean, *(value for row in rows.values() for value in row)):
            if not 0 <= value <= 1:
                raise ValueError(f"an error of {value!r} is not a fraction in [0, 1].")
        object.__setattr__(self, "errors", rows)
        object.__setattr__(self, "clean", float(self.clean))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of the errors and of what they were measured on."""
        content = {"errors": self.errors, "clean": self.clean, "data": self.data}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def document(self) -> dict[str, Any]:
        """The table as JSON, with its digest."""
        errors = {name: list(row) for name, row in self.errors.items()}
        return vars(self) | {"errors": errors, "digest": self.digest}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ErrorTable:
        """Read what :meth:`document` made.

        Raises:
            ValueError: if fields are missing or the digest is not that of the content.
        """
        missing = {"model", "errors", "clean", "data", "digest"} - set(document)
        if missing:
            raise ValueError(f"not a table of errors: {', '.join(sorted(missing))} missing.")
        table = cls(document["model"], document["errors"], document["clean"], document["data"])
        if table.digest != document["digest"]:
            raise ValueError(
                f"the table of errors of {table.model} was altered: its digest is "
                f"{table.digest[:10]}…, not {document['digest'][:10]}… as it says."
            )
        return table


@dataclass(frozen=True)
class Score:
    """A model's corruption errors relative to a reference; None where undefined.

    Each is a number, or (low, high) where the score is an interval.

    Attributes:
        mce: eq. 14, the mean of ``ce``; None if one of them is.
        category_mean: the mean of the categories, which is what Table 5 of the paper shows.
        error: the plain mean error over corruptions and severities, without a reference.
        relative_mce: how much the error grows from clean to corrupted, relative to how much the
            reference's does; None where the reference's does not grow.
        categories: the mean of ``ce`` over each category; of added corruptions, ``"added"``.
        ce: for each corruption that counts, its errors' sum over that of the reference; None where
            the reference makes no error.
    """

    mce: Any
    category_mean: Any
    error: Any
    relative_mce: Any
    categories: dict[str, Any]
    ce: dict[str, Any]


def score(table: ErrorTable, reference: ErrorTable, *, names: Sequence[str] = TEST15) -> Score:
    """Compare a model's errors with the reference's, on the same images.

    ``names`` are the corruptions that count: ``TEST15``, ``ALL19``, or others.

    Raises:
        ReferenceMismatch: if the two were not measured on the same images; says what differs.
        ValueError: if a corruption is missing from either.
    """
    if table.data != reference.data:
        differ = [
            f"{key} {table.data.get(key)!r} against {reference.data.get(key)!r}"
            for key in sorted(set(table.data) | set(reference.data))
            if table.data.get(key) != reference.data.get(key)
        ]
        raise ReferenceMismatch(
            f"{table.model} and the reference {reference.model} were measured on other images "
            f"({'; '.join(differ)}). Measure the reference on the same ones."
        )
    names = _names(names, table.errors, reference.errors)
    ours, theirs = (
        np.array([each.errors[name] for name in names], dtype=float) for each in (table, reference)
    )
    numbers = _numbers(ours, table.clean, theirs, reference.clean, names)
    return _score([None if math.isnan(number) else float(number) for number in numbers], names)


def interval(
    wrong: Mapping[str, np.ndarray],
    reference_wrong: Mapping[str, np.ndarray],
    *,
    clean_wrong: np.ndarray,
    reference_clean_wrong: np.ndarray,
    names: Sequence[str] = TEST15,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """Percentile bootstrap intervals, drawing the same images for the model and the reference.

    An image is drawn with all its corrupted versions, for these are not independent. The intervals
    speak of these two sets of weights.

    Args:
        wrong: for each corruption, whether each image is wrong at each severity: bool (5, N).
        reference_wrong: the same of the reference.
        clean_wrong: whether each clean image is wrong: bool (N,).
        reference_clean_wrong: the same of the reference.
        names: which corruptions count.
        confidence: coverage, between 0 and 1.
        resamples: how many.
        seed: of the draws.

    Raises:
        ValueError: if shapes differ or a corruption is missing.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must be between 0 and 1, e.g. 0.95.")
    names = _names(names, wrong, reference_wrong)
    ours = _outcomes(wrong, clean_wrong, names)
    theirs = _outcomes(reference_wrong, reference_clean_wrong, names)
    if ours.shape != theirs.shape:
        raise ValueError(
            f"the model has {len(ours)} images and the reference {len(theirs)}: both must have "
            "seen the same ones."
        )
    both = np.concatenate([ours, theirs], axis=1)
    values = []
    for means in resampled_means(both, resamples=resamples, seed=seed):
        mine, base = np.split(means, 2)
        errors, base_errors = mine[1:].reshape(-1, 5), base[1:].reshape(-1, 5)
        values.append(_numbers(errors, mine[0], base_errors, base[0], names))
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    ends = np.quantile(values, tails, axis=0).T
    pairs = [None if np.isnan(pair).any() else (float(pair[0]), float(pair[1])) for pair in ends]
    return _score(pairs, names)


def table_from_outcomes(
    model: str, wrong: Mapping[str, np.ndarray], clean_wrong: np.ndarray, data: dict[str, Any]
) -> ErrorTable:
    """The table of errors from outcomes, bool (5, N) for each corruption and (N,) clean."""
    _outcomes(wrong, clean_wrong, tuple(wrong))
    errors = {name: tuple(np.asarray(rows).mean(1)) for name, rows in wrong.items()}
    return ErrorTable(model, errors, float(np.mean(clean_wrong)), data)


def _names(names: Sequence[str], *tables: Mapping[str, Any]) -> tuple[str, ...]:
    if not names:
        raise ValueError("names: at least one corruption is needed.")
    for name in names:
        check_name(name)
        if any(name not in table for table in tables):
            raise ValueError(f"{name} is missing from the errors; give names= those there are.")
    return tuple(names)


def _numbers(
    errors: np.ndarray,
    clean: float,
    base_errors: np.ndarray,
    base_clean: float,
    names: tuple[str, ...],
) -> list[float]:
    """The numbers of a score in the order of :func:`_score`, NaN where undefined."""
    ratios = corruption_errors(errors, base_errors)
    relative = corruption_errors(errors - clean, base_errors - base_clean)
    categories = [float(ratios[which].mean()) for which in _categories(names).values()]
    category_mean = math.fsum(categories) / len(categories)
    return [ratios.mean(), category_mean, errors.mean(), relative.mean(), *categories, *ratios]


def _score(values: Sequence[Any], names: tuple[str, ...]) -> Score:
    """A score of values in the order of :func:`_numbers`."""
    kinds = _categories(names)
    categories = dict(zip(kinds, values[4 : 4 + len(kinds)], strict=True))
    return Score(*values[:4], categories, dict(zip(names, values[4 + len(kinds) :], strict=True)))


def _categories(names: tuple[str, ...]) -> dict[str, list[int]]:
    """The categories that names belong to, with the positions of each one's names."""
    members = CATEGORIES | {"added": tuple(ADDED)}
    places = {key: [k for k, name in enumerate(names) if name in members[key]] for key in members}
    return {key: which for key, which in places.items() if which}


def _outcomes(
    wrong: Mapping[str, np.ndarray], clean: np.ndarray, names: tuple[str, ...]
) -> np.ndarray:
    """Clean and corrupted outcomes side by side: float32 (N, 1 + 5 * names)."""
    clean = np.asarray(clean)
    if clean.ndim != 1 or len(clean) == 0:
        raise ValueError(f"clean outcomes must be (N,), not {clean.shape}.")
    columns = [clean[:, None]]
    for name in names:
        rows = np.asarray(wrong[name])
        if rows.shape != (5, len(clean)):
            raise ValueError(f"{name}: outcomes must be (5, {len(clean)}), not {rows.shape}.")
        columns.append(rows.T)
    return np.concatenate(columns, axis=1).astype(np.float32)
