"""Pareto fronts of models, and how often a model is on one when images are resampled (paper 4.6).

A front drawn through estimates looks sharper than it is.
"""

from collections.abc import Sequence

import numpy as np


def front(values: np.ndarray, higher: Sequence[bool]) -> np.ndarray:
    """The models that no other one dominates: bool (..., models) from values (..., models, axes).

    One model dominates another if it is at least as good on every axis and better on one; models
    that are equal on all axes do not dominate each other. ``higher`` says for each axis whether
    more is better.

    Raises:
        ValueError: the last dimension is not one value per axis, or a value is NaN.
    """
    values = np.asarray(values, float)
    if values.ndim < 2 or values.shape[-1] != len(higher):
        raise ValueError(
            f"values has shape {values.shape}; (..., models, {len(higher)} axes) is needed"
        )
    if np.isnan(values).any():
        raise ValueError("values holds NaN: a model that lacks an axis has no place on a front")
    good = np.where(higher, values, -values)
    one, other = good[..., :, None, :], good[..., None, :, :]
    return ~((other >= one).all(-1) & (other > one).any(-1)).any(-1)


def membership(resampled: np.ndarray, higher: Sequence[bool]) -> np.ndarray:
    """The share of resamples (resamples, models, axes) in which each model is on the front."""
    return np.mean([front(each, higher) for each in resampled], axis=0)
