"""Checks of arguments that several metrics share."""

import operator

import numpy as np
from numpy.typing import ArrayLike


def array(name: str, values: ArrayLike) -> np.ndarray:
    """Numbers as a NumPy array, those of a tensor included."""
    if hasattr(values, "detach"):  # a tensor, without importing torch
        values = values.detach().cpu().numpy()
    found = np.asarray(values)
    if found.dtype == object:
        raise ValueError(f"{name} must be a regular array of numbers, not {values!r}")
    return found


def whole(name: str, value: int) -> int:
    """A whole number as an int."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a whole number") from None


def check_confidence(confidence: float) -> None:
    """Refuse a coverage that is not a fraction."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must be between 0 and 1, e.g. 0.95")
