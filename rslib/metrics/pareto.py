"""Pareto fronts of models, and their uncertainty (paper 4.6).

A front drawn through estimates looks sharper than it is. The images are resampled, the same ones
for all models and all axes, and a model's place on the front is counted over the resamples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def front(values: np.ndarray, higher: Sequence[bool]) -> np.ndarray:
    """The models that no other one dominates.

    One model dominates another if it is at least as good on every axis and better on one; models
    that are equal on all axes do not dominate each other.

    Args:
        values: (..., models, axes).
        higher: per axis, whether more is better.

    Returns:
        bool (..., models).

    Raises:
        ValueError: the last dimension is not one value per axis, or a value is NaN.
    """
    values = np.asarray(values, float)
    if values.ndim < 2 or values.shape[-1] != len(higher):
        raise ValueError(f"values has shape {values.shape}; its last two are models and axes, "
                         f"and {len(higher)} axes were described")  # fmt: skip
    if np.isnan(values).any():
        raise ValueError("values holds NaN: a model that lacks an axis has no place on a front")
    good = np.where(higher, values, -values)
    one, other = good[..., :, None, :], good[..., None, :, :]
    dominated = ((other >= one).all(-1) & (other > one).any(-1)).any(-1)
    return ~dominated


def membership(resampled: np.ndarray, higher: Sequence[bool]) -> np.ndarray:
    """The share of resamples in which each model is on the front.

    Args:
        resampled: (resamples, models, axes).
        higher: per axis, whether more is better.

    Returns:
        (models,) in [0, 1].
    """
    return np.mean([front(each, higher) for each in resampled], axis=0)
