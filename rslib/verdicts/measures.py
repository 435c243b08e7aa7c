"""Numbers that claims ask for and no table has: differences and quotients of what was resampled.

Anything that is a function of means over images gets its interval from one bootstrap: the same
images are drawn for every model, so that whatever is compared is compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
        The estimate; undefined with fewer than two images, or where the function is.
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


def shares_apart(
    first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95
) -> Estimate:
    """Difference of two shares of different images, in points, with Newcombe's interval.

    A share is a count and the number of images. For shares of the same images the interval is too
    wide, not too narrow. Source: Newcombe, Statistics in Medicine 17 (1998) 873-890.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    (a, n), (b, m) = first, second
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", alpha=1 - confidence)
    gap = 100 * (a / n - b / m)
    return Estimate(gap, 100 * float(low), 100 * float(high), min(n, m), "Newcombe")


def over_seeds(values: Sequence[float], *, n: int | None, confidence: float = 0.95) -> Estimate:
    """The mean of one number over seeds, (seeds,), at least two, with Student's interval.

    For a difference between methods it is the paired interval: each seed gives one difference. It
    rests on ``n`` images under each seed.
    """
    from scipy.stats import t

    known = np.asarray(values, float)
    reach = t.ppf((1 + confidence) / 2, len(known) - 1) * known.std(ddof=1) / len(known) ** 0.5
    value = float(known.mean())
    return Estimate(value, value - reach, value + reach, n, f"t over {len(known)} seeds")


class Shift:
    """Several models' corruption errors as functions of means (paper 3.5), on common images.

    ``outcomes`` are those of each model, by name. Errors are relative to the ``reference``'s, or
    plain shares where there is none.

    Raises:
        ValueError: two were evaluated on different images, or on images corrupted otherwise.
    """

    def __init__(self, outcomes: Mapping[str, Outcomes], reference: Outcomes | None) -> None:
        every = [*outcomes.values(), *([] if reference is None else [reference])]
        images = min((each.images for each in every), key=len)
        columns = []
        for each in every:
            place = {image: k for k, image in enumerate(each.images.tolist())}
            if not place.keys() >= set(images.tolist()) or _corrupted(each) != _corrupted(every[0]):
                raise ValueError(
                    f"{each.model} and {every[0].model} were evaluated on different images"
                )
            chosen = [place[image] for image in images.tolist()]
            columns.append(np.stack([each.wrong[name][:, chosen].sum(0) for name in ALL19], axis=1))
        # Column by column: each model's errors under the 19 corruptions, summed over severities.
        self.columns = np.hstack(columns)
        self._names = [*outcomes]
        self._relative = reference is not None

    def score(self, means: np.ndarray, model: str, column: str) -> np.ndarray:
        """A model's mean error, from means (..., k) of the ``columns``.

        ``column`` is one of Table 5 (a category, or ``"mce"`` over all 19) or a corruption.
        """
        parts = np.split(means, len(self._names) + self._relative, axis=-1)
        base = parts[-1] if self._relative else len(SEVERITIES)
        errors = parts[self._names.index(model)] / base
        if column == "mce":
            return errors.mean(-1)
        names = CATEGORIES.get(column, (column,))
        return errors[..., [k for k, name in enumerate(ALL19) if name in names]].mean(-1)


def _corrupted(outcomes: Outcomes) -> dict[str, Any]:
    """What decides the corrupted versions of an image, however many images there are."""
    return {k: v for k, v in outcomes.data.items() if k not in ("images", "fingerprint")}
