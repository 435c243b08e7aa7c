"""Mean corruption error: how often a model errs under corruptions, relative to a reference."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rslib.metrics._checks import array


def mean_corruption_error(
    errors: Mapping[str, Sequence[float]], reference: Mapping[str, Sequence[float]]
) -> float:
    """Mean corruption error (mCE) relative to a reference model (paper 3.5, eq. 14 and 15).

    CE of a corruption is the sum of the errors over its five severities; mCE is the mean over
    corruptions of CE / CE of the reference. (Equation 15 averages over severities; the factor 1/5
    cancels.) Source: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.

    Both give for each corruption the error (1 - accuracy) at severities 1 to 5, in the same unit,
    fractions or percent. The mCE is a ratio: 1 is the reference's level, lower is better.

    Raises:
        ValueError: if the corruptions differ or there are none, a row has not five finite
            non-negative errors, or the reference makes no error at all on a corruption.
    """
    if set(errors) != set(reference) or not errors:
        raise ValueError(
            "errors and reference must name the same corruptions, at least one: missing from "
            f"errors {sorted(set(reference) - set(errors))}, missing from reference "
            f"{sorted(set(errors) - set(reference))}"
        )
    ours = np.stack([_row("errors", name, errors[name]) for name in errors])
    theirs = np.stack([_row("reference", name, reference[name]) for name in errors])
    ratios = corruption_errors(ours, theirs)
    for name, ratio in zip(errors, ratios, strict=True):
        if math.isnan(ratio):
            raise ValueError(
                f"reference[{name!r}] is zero at every severity, so the ratio is undefined: report "
                "the unnormalized error or use another reference"
            )
    return float(ratios.mean())


def corruption_errors(errors: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Errors (..., corruptions, severities) summed over severities, relative to the reference's.

    This is equation 14 without its mean: (..., corruptions); NaN where the reference's sum is not
    above 0.
    """
    errors, reference = errors.sum(-1, dtype=float), reference.sum(-1, dtype=float)
    # A difference of errors that should be zero may be a rounding error away from it.
    defined = reference > 1e-6
    return np.where(defined, errors / np.where(defined, reference, 1), math.nan)


def _row(which: str, name: str, row: Sequence[float]) -> np.ndarray:
    errors = array(f"{which}[{name!r}]", row).astype(float)
    if errors.shape != (5,) or not np.isfinite(errors).all() or (errors < 0).any():
        raise ValueError(
            f"{which}[{name!r}] must be 5 finite non-negative errors, one per severity, not {row!r}"
        )
    return errors
