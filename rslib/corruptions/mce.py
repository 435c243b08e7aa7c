"""Corruption error against a named reference (paper 3.5, eq. 14 and 15; Table 5).

CIFAR-10-C has no canonical reference model, so a score means something only beside the table of
errors that it was divided by. Here that table is an object with the data it was measured on and a
digest, and a score refuses a reference that was measured on other images. Source: Hendrycks and
Dietterich, ICLR 2019, arXiv:1903.12261, section 4.
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
    """The errors of one model, fractions in [0, 1].

    They are for each corruption five, one a severity, and one on the clean images. ``data`` is what
    they were measured on (``cifar10c.Corrupted.identity``), ``model`` a name for the reader.

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
        """Read what :meth:`document` made; a ValueError says what is missing or was altered."""
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
    """A model's corruption errors relative to a reference.

    Each is a number, or (low, high) of an interval; None where the reference's does not allow one.

    Attributes:
        mce: eq. 14, the mean of ``ce``.
        category_mean: the mean of the categories, as in Table 5 of the paper.
        error: the plain mean error over corruptions and severities, without a reference.
        relative_mce: the error's growth from clean to corrupted, relative to the reference's.
        categories: the mean of ``ce`` over each category; of added corruptions, ``"added"``.
        ce: for each corruption that counts, its errors' sum over that of the reference.
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
        np.array([each.clean, *(error for name in names for error in each.errors[name])])
        for each in (table, reference)
    )
    numbers = _numbers(ours, theirs, names)
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

    Outcomes are True where an image is wrong: for each corruption bool (5, N), by severity, and
    bool (N,) of the clean images. An image is drawn with all its corrupted versions, for these are
    not independent. The intervals speak of these two sets of weights.

    Raises:
        ValueError: if shapes differ, a corruption is missing, or confidence is no fraction.
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
    means = resampled_means(np.concatenate([ours, theirs], 1), resamples=resamples, seed=seed)
    values = [_numbers(*np.split(each, 2), names) for each in means]
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


def _numbers(ours: np.ndarray, theirs: np.ndarray, names: tuple[str, ...]) -> list[float]:
    """The numbers in the order of :func:`_score`, NaN where undefined, of errors as _outcomes."""
    errors, base_errors = (each[1:].reshape(-1, 5) for each in (ours, theirs))
    ratios = corruption_errors(errors, base_errors)
    relative = corruption_errors(errors - ours[0], base_errors - theirs[0])
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
