"""Numbers that claims ask for and no table has: differences and quotients of what was resampled.

Anything that is a function of means over images gets its interval from one bootstrap: the same
images are drawn for every model, so that whatever is compared is compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES
from rslib.metrics.bootstrap import resampled_means
from rslib.metrics.estimates import UNDEFINED, Estimate
from rslib.run.outcomes import Outcomes


def resampled(
    columns: np.ndarray,
    function: Callable[[np.ndarray], np.ndarray],
    *,
    confidence: float = 0.95,
    centered: bool = False,
) -> Estimate:
    """A function of means over images, with a percentile bootstrap interval.

    Args:
        columns: (n, k) values of the images; rows with a NaN are left out.
        function: from means (..., k) to numbers (...).
        confidence: coverage of the interval; there is none where the resamples all agree.
        centered: whether to move the interval by what the resamples lie off the estimate on
            average, for functions that resampling biases, such as a calibration error.

    Returns:
        The estimate; :data:`rslib.metrics.estimates.UNDEFINED` with fewer than two images, or where
        the function is.
    """
    columns = np.asarray(columns, float)
    columns = columns[~np.isnan(columns).any(1)]
    if len(columns) < 2:
        return UNDEFINED
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(function(columns.mean(0)))
        found = function(resampled_means(columns))
    found = found[np.isfinite(found)]
    if not np.isfinite(value) or not len(found):
        return UNDEFINED
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    if centered:
        low, high = np.array([low, high]) - (found.mean() - value)
    if low == high:
        return Estimate(value, n=len(columns))
    return Estimate(value, float(low), float(high), len(columns), "bootstrap")


def difference(columns: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """Mean of the first of two columns (n, 2) less that of the second, paired."""
    return resampled(columns, lambda m: m[..., 0] - m[..., 1], confidence=confidence)


def percent_more(columns: np.ndarray, *, confidence: float = 0.95) -> Estimate:
    """By how many percent the mean of the first of two columns (n, 2) exceeds the second's."""
    return resampled(columns, lambda m: 100 * (m[..., 0] / m[..., 1] - 1), confidence=confidence)


def shares_apart(
    first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95
) -> Estimate:
    """Difference of two shares of different images, in points, with Newcombe's interval.

    For shares of the same images that are known only as counts the interval is too wide, not too
    narrow. Source: Newcombe, Statistics in Medicine 17 (1998) 873-890.

    Args:
        first: count and number of images.
        second: of the other share.
        confidence: coverage of the interval.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    (a, n), (b, m) = first, second
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", alpha=1 - confidence)
    gap = 100 * (a / n - b / m)
    return Estimate(gap, 100 * float(low), 100 * float(high), min(n, m), "Newcombe")


class Shift:
    """Several models' corruption errors relative to a reference, as functions of means (paper 3.5).

    Args:
        outcomes: of each model, by name, on the same images.
        reference: of the reference.
    """

    def __init__(self, outcomes: Mapping[str, Outcomes], reference: Outcomes) -> None:
        every = [*outcomes.values(), reference]
        for other in every[1:]:
            if not np.array_equal(other.images, every[0].images):
                raise ValueError(
                    f"{other.model} and {every[0].model} were evaluated on different images"
                )
        # Column by column: each model's errors under the 19 corruptions, summed over severities.
        self.columns = np.hstack(
            [np.stack([each.wrong[name].sum(0) for name in ALL19], axis=1) for each in every]
        )
        self._place = {name: k for k, name in enumerate(outcomes)}

    def errors(self, means: np.ndarray, model: str) -> np.ndarray:
        """A model's corruption errors over the reference's, (..., 19), in the order of ALL19."""
        parts = np.split(means, len(self._place) + 1, axis=-1)
        return parts[self._place[model]] / parts[-1]

    def score(self, means: np.ndarray, model: str, column: str) -> np.ndarray:
        """A column of Table 5, (...): the mean over a category, or ``"mce"`` over all 19."""
        errors = self.errors(means, model)
        if column == "mce":
            return errors.mean(-1)
        chosen = [k for k, name in enumerate(ALL19) if name in CATEGORIES[column]]
        return errors[..., chosen].mean(-1)

    def single(self, means: np.ndarray, model: str, corruption: str) -> np.ndarray:
        """The corruption error of one corruption, (...)."""
        return self.errors(means, model)[..., ALL19.index(corruption)]


def degradation(outcomes: Outcomes, *, confidence: float = 0.95) -> Estimate:
    """Error under corruptions less error on the same clean images, in points."""
    wrong = np.mean([outcomes.wrong[name].sum(0) for name in ALL19], axis=0) / len(SEVERITIES)
    return difference(100 * np.stack([wrong, outcomes.clean_wrong], axis=1), confidence=confidence)
