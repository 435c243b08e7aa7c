"""How something grows: exponents on a log-log scale, slopes in bytes, each with its interval.

The points are those of all rounds, so the interval holds the scatter between rounds as well as what
a power law misses of the sizes. It is Student's, for the slope of a least-squares line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

CONFIDENCE = 0.95


def exponent(sizes: Sequence[int], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """The power of the size that values grow with.

    Args:
        sizes: at least two, positive.
        values: for each size one value a round, positive; three or more in all.

    Returns:
        ``value`` with ``low`` and ``high``, and ``last``, the exponent between the medians at the
        two largest sizes: where fixed costs are left behind, it is nearer to what larger sizes do.

    Raises:
        ValueError: there are too few points, or a value is not positive.
    """
    if any(value <= 0 for each in values for value in each):
        raise ValueError("an exponent needs positive values: this work took no time that shows")
    logs = [np.log(each) for each in values]
    found = _line(np.log(sizes), logs)
    top, below = (float(np.median(each)) for each in (logs[-1], logs[-2]))
    return found | {"last": (top - below) / float(np.log(sizes[-1] / sizes[-2]))}


def slope(sizes: Sequence[int], values: Sequence[Sequence[float]]) -> dict[str, float]:
    """What each unit of size adds to values; arguments and errors as of :func:`exponent`.

    Returns:
        ``value``, ``low`` and ``high``.
    """
    return _line(np.asarray(sizes, float), values)


def _line(x: np.ndarray, values: Sequence[Sequence[float]]) -> dict[str, float]:
    from scipy.stats import linregress, t

    counts = [len(each) for each in values]
    points = sum(counts)
    if points < 3:
        raise ValueError(f"{points} points: a line with an interval needs three or more")
    y = np.concatenate(values)
    line = linregress(np.repeat(x, counts), y)
    # SciPy has no error for a line through values that are all the same.
    error = line.stderr if np.ptp(y) > 0 else 0.0
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, points - 2) * error)
    value = float(line.slope)
    return {"value": value, "low": value - reach, "high": value + reach}


def growth(beyond: Mapping[str, float], data: float) -> str:
    """What an additional image does to the highest memory, beside being held itself.

    Args:
        beyond: slope of the highest memory over the number of images, less the image itself, with
            its interval; bytes.
        data: bytes of an image.

    Returns:
        ``"less"`` where all of the interval lies below an image's own size, ``"more"`` where all of
        it lies above, otherwise ``"open"``.
    """
    if beyond["high"] <= data:
        return "less"
    return "more" if beyond["low"] > data else "open"


def memory(
    images: Mapping[str, Any], batch: Mapping[str, Any] | None, data: float, rows: float
) -> dict[str, Any]:
    """Whether a workload's memory is bounded by the batch or grows with the data set.

    Args:
        images: slope of the highest memory over the number of images.
        batch: slope over the images of a batch, at a fixed number of images; None if not measured.
        data: bytes of an image with its mask.
        rows: bytes of an image's row in the record.

    Returns:
        ``beyond`` (bytes an image adds beside its own, with the interval), ``data``, ``rows``,
        ``in_flight`` (bytes that an image of the batch takes, or None), ``share`` (the first of the
        last) and ``growth`` of :func:`growth`.
    """
    beyond = {end: images[end] - data for end in ("value", "low", "high")}
    flying = None if batch is None else batch["value"]
    return {
        "beyond": beyond,
        "data": data,
        "rows": rows,
        "in_flight": flying,
        "share": beyond["value"] / flying if flying and flying > 0 else None,
        "growth": growth(beyond, data),
    }
