"""Shapes: a seeded synthetic set with exact object masks and a shortcut that can be switched on.

Each image shows one of ten geometric objects on one of ten kinds of textured background. Area,
rotation, position and colors are drawn independently of the class, so only the outline tells it.
With `background_correlation` c, the kind of background is the class's own with probability c and
uniform otherwise: at 1 it tells the class as well as the object does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from rslib.data.datasets import SPLITS, Dataset, check_split

SIZE = 32
SUPERSAMPLING = 4  # points a side in each pixel: coverage comes in steps of 1/16
AREA = (0.10, 0.22)  # of the object in the image: ten pixels across, to as long as it can move
TURN = 30  # most degrees either way
DEFAULT_SIZES = {"train": 4_000, "test": 1_000}
_CHUNK, _SCALARS, _CLOUD = 200, 19, 6


class Scene(NamedTuple):
    """Rendered images with what they are made of; n images."""

    images: np.ndarray  #: uint8 (n, 3, 32, 32)
    coverage: np.ndarray  #: the part of each pixel that the object covers, float32 (n, 32, 32)
    background: np.ndarray  #: the image without its object, float32 (n, 3, 32, 32) in [0, 1]
    color: np.ndarray  #: of the object, float32 (n, 3) in [0, 1]
    labels: np.ndarray  #: the object's class, int64 (n,)
    kinds: np.ndarray  #: the background's kind, int64 (n,)


def load(
    split: str, *, n: int | None = None, seed: int = 0, background_correlation: float = 0.0
) -> Dataset:
    """Make a split of Shapes.

    Image i depends on split, seed and correlation but not on `n`. Changing the correlation alone
    changes backgrounds alone: objects, positions and colors stay.

    Args:
        split: ``"train"`` or ``"test"``; their images are drawn independently.
        n: how many images, class-balanced to within one; by default 4,000 and 1,000.
        seed: of everything that is drawn, 0 or more.
        background_correlation: probability that the background is of the class's own kind.

    Returns:
        The images with `masks`, True where the object covers at least half of the pixel, and
        ``attributes["backgrounds"]``, each image's kind of background (position in BACKGROUNDS).

    Raises:
        ValueError: if an argument is out of range.
    """
    check_split(split)
    n = DEFAULT_SIZES[split] if n is None else n
    scene = render(split, n=n, seed=seed, background_correlation=background_correlation)
    arrays = (scene.images, scene.labels, scene.coverage >= 0.5, scene.kinds)
    images, labels, masks, kinds = map(torch.from_numpy, arrays)
    attributes = {"backgrounds": kinds}
    return Dataset(images, labels, CLASSES, "shapes", split, torch.arange(n), masks, attributes)


def render(split: str, *, n: int, seed: int = 0, background_correlation: float = 0.0) -> Scene:
    """Render images together with their layers; arguments as in :func:`load`."""
    if n < 1:
        raise ValueError(f"n: expected 1 or more images, got {n}.")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}.")
    if not 0.0 <= background_correlation <= 1.0:
        told = f"expected a probability in [0, 1], got {background_correlation}."
        raise ValueError(f"background_correlation: {told}")
    # One stream for each thing drawn. Each image takes a fixed count of numbers from each stream,
    # in order, so that the first images do not depend on how many follow.
    entropy = np.random.SeedSequence([seed, SPLITS.index(split)])
    order, scalars, clouds, grain = map(np.random.default_rng, entropy.spawn(4))
    # Labels come in shuffled rounds of one image of each class.
    rounds = order.random((-(-n // len(CLASSES)), len(CLASSES))).argsort(axis=1)
    labels = rounds.reshape(-1)[:n].astype(np.int64)
    chunks = []
    for start in range(0, n, _CHUNK):
        chunk = labels[start : start + _CHUNK]
        m = len(chunk)
        u = scalars.random((m, _SCALARS))
        cloud = clouds.random((m, _CLOUD, _CLOUD), dtype=np.float32)
        noise = grain.random((m, 2, SIZE, SIZE), dtype=np.float32)
        drawn = (u[:, 1] * len(BACKGROUNDS)).astype(np.int64)
        kinds = np.where(u[:, 0] < background_correlation, chunk, drawn)
        coverage = _coverage(chunk, area=u[:, 2], turn=u[:, 3], x=u[:, 4], y=u[:, 5])
        dark, light, color = _colors(u[:, 6:14])
        pattern = _patterns(kinds, u[:, 14:19].astype(np.float32), cloud, noise[:, 0])[:, None]
        background = dark[:, :, None, None] * (1 - pattern) + light[:, :, None, None] * pattern
        background = np.clip(background + 0.06 * (noise[:, 1:] - 0.5), 0, 1)
        opacity = coverage[:, None]
        image = background * (1 - opacity) + color[:, :, None, None] * opacity
        image = np.rint(image * 255).astype(np.uint8)
        chunks.append(Scene(image, coverage, background, color, chunk, kinds))
    return Scene(*(np.concatenate(parts) for parts in zip(*chunks, strict=True)))


_HALF = np.float32(0.5**0.5)


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    length, half = 0.955, 0.295
    return ((x <= length) & (y <= half)) | ((x <= half) & (y <= length))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A pentagram lies within at least four of the five half-planes that its lines bound.
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.int8)
    for k in range(5):
        angle = 2 * np.pi * k / 5
        edge = np.float32(np.cos(angle)) * y + np.float32(np.sin(angle)) * x
        inside += edge <= np.float32(np.cos(2 * np.pi / 5))
    return inside >= 4


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A square on its corner, with a disc on each of its upper sides as diameter.
    x, y = np.abs(0.89 * x), 0.18 - 0.89 * y
    lobe = (x - _HALF / 2) ** 2 + (y - _HALF / 2) ** 2 <= 0.25
    return lobe | (x + np.abs(y) <= _HALF)


def _arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = np.abs(y)
    head = (x >= 0) & (y <= 0.8 * (1 - x))
    shaft = (x <= 0) & (x >= -0.95) & (y <= 0.28)
    return head | shaft


#: Which points (x, y) each object holds, in a frame where it fits the unit disc.
OBJECTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: (np.abs(x) <= _HALF) & (np.abs(y) <= _HALF),
    "triangle": lambda x, y: (y <= 0.5) & (np.abs(x) * np.float32(3**0.5) <= y + 1),
    "cross": _cross,
    "ring": lambda x, y: (x * x + y * y <= 1) & (x * x + y * y >= 0.55**2),
    "star": _star,
    "heart": _heart,
    "crescent": lambda x, y: (x * x + y * y <= 1) & ((x - 0.5) ** 2 + y * y >= 0.75**2),
    "arrow": _arrow,
    "bar": lambda x, y: (np.abs(x) <= 0.95) & (np.abs(y) <= 0.31),
}
CLASSES = tuple(OBJECTS)


@cache
def _unit_areas() -> np.ndarray:
    """Area of each object in its own frame, counted on a fine grid: float64 (10,)."""
    points = (np.arange(1_000, dtype=np.float32) + 0.5) / 500 - 1
    x, y = points[None, :], points[:, None]
    return np.array([4 * inside(x, y).mean() for inside in OBJECTS.values()])


def _coverage(
    labels: np.ndarray, *, area: np.ndarray, turn: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Draw the objects from uniform draws (m,): the covered part of a pixel, float32 (m, 32, 32).

    All classes have the same areas; positions are uniform among those where the object's disc lies
    within the image.
    """
    low, high = AREA
    fraction = low + (high - low) * area
    radius = np.sqrt(fraction * SIZE**2 / _unit_areas()[labels])
    center_x = radius + (SIZE - 2 * radius) * x
    center_y = radius + (SIZE - 2 * radius) * y
    angle = np.radians(TURN * (2 * turn - 1))
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    fine = SIZE * SUPERSAMPLING
    points = (np.arange(fine) + 0.5) / SUPERSAMPLING
    # The object's frame is a rotation and scaling of the image's: linear in row and column apart.
    column = points[None, :] - center_x[:, None]
    row = points[None, :] - center_y[:, None]
    terms = (cos[:, None] * column, sin[:, None] * row, -sin[:, None] * column, cos[:, None] * row)
    along_x, along_y, across_x, across_y = (term.astype(np.float32) for term in terms)
    held = np.empty((len(labels), fine, fine), dtype=bool)
    for label, inside in enumerate(OBJECTS.values()):
        members = np.flatnonzero(labels == label)
        held[members] = inside(
            along_x[members, None, :] + along_y[members, :, None],
            across_x[members, None, :] + across_y[members, :, None],
        )
    parts = held.reshape(len(labels), SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING)
    return parts.sum(axis=(2, 4), dtype=np.float32) / SUPERSAMPLING**2


def _colors(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two dark background tones and a bright object color: float32 (m, 3) each, from u (m, 8).

    Hues are free, but in each channel an object is brighter than its background is on average:
    small nets then learn to see it within a few epochs.
    """
    level, spread = 0.17 + 0.13 * u[:, 0], 0.05 + 0.05 * u[:, 1]
    saturation = 0.5 * u[:, 2]
    dark = _hsv(u[:, 3], saturation, level - spread)
    light = _hsv(u[:, 4], saturation, level + spread)
    return dark, light, _hsv(u[:, 5], 0.15 + 0.4 * u[:, 6], 0.85 + 0.15 * u[:, 7])


def _hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Colors from hue, saturation and value, each (m,) in [0, 1]: float32 (m, 3), RGB."""
    sector = (np.array([5.0, 3.0, 1.0]) + 6 * hue[:, None]) % 6
    fall = np.clip(np.minimum(sector, 4 - sector), 0, 1)
    return (value[:, None] * (1 - saturation[:, None] * fall)).astype(np.float32)


def _wave(phase: np.ndarray) -> np.ndarray:
    """Stripes with soft edges, one light and one dark in each unit of phase."""
    return np.clip(0.5 + 0.9 * np.sin(2 * np.pi * phase), 0, 1)


def _period(p: np.ndarray) -> np.ndarray:
    return 5 + 3 * p[0]


def _diagonals(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    slope = np.where(p[2] < 0.5, -1, 1)
    return _wave((x + slope * y) * _HALF / _period(p) + p[1])


def _checks(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    period = 1.6 * _period(p)
    product = np.sin(2 * np.pi * (x / period + p[1])) * np.sin(2 * np.pi * (y / period + p[2]))
    return np.clip(0.5 + 3 * product, 0, 1)


def _dots(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    dx = (x / _period(p) + p[1]) % 1 - 0.5
    dy = (y / _period(p) + p[2]) % 1 - 0.5
    return np.clip((0.33 - np.sqrt(dx * dx + dy * dy)) * _period(p) + 0.5, 0, 1)


def _rays(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    angle = np.arctan2(y - SIZE * (0.25 + 0.5 * p[2]), x - SIZE * (0.25 + 0.5 * p[3]))
    count = 7 + np.floor(5 * p[0])
    return _wave(count * angle / np.float32(2 * np.pi) + p[1])


def _bricks(x: np.ndarray, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    height = 5 + 2 * p[0]
    width = 1.8 * height
    course = y / height + p[1]
    along = x / width + p[2] + 0.5 * (np.floor(course) % 2)
    # Mortar, about a pixel and a half wide, between bricks.
    above, beside = (0.5 - np.abs(place % 1 - 0.5) for place in (course, along))
    return np.clip(1.25 - np.minimum(height * above, width * beside), 0, 1)


# The share of the lighter tone, (k, 32, 32) in [0, 1], at pixels (x, y) from draws p (5, k, 1, 1).
_PAINTED: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "rows": lambda x, y, p: _wave(y / _period(p) + p[1] + 0 * x),
    "columns": lambda x, y, p: _wave(x / _period(p) + p[1] + 0 * y),
    "diagonals": _diagonals,
    "checks": _checks,
    "dots": _dots,
    "ripples": lambda x, y, p: _wave(
        np.hypot(x - SIZE * p[2], y - SIZE * p[3]) / _period(p) + p[1]
    ),
    "rays": _rays,
    "bricks": _bricks,
}
BACKGROUNDS = ("grain", *_PAINTED, "clouds")


def _patterns(
    kinds: np.ndarray, p: np.ndarray, clouds: np.ndarray, grain: np.ndarray
) -> np.ndarray:
    """The share of the lighter tone at each pixel, float32 (m, 32, 32) in [0, 1].

    Uniform draws are `p` (m, 5) for painted kinds, `clouds` (m, 6, 6), smoothly enlarged, and
    `grain` (m, 32, 32), used as they are; `kinds` are int64 (m,).
    """
    pattern = np.empty((len(kinds), SIZE, SIZE), dtype=np.float32)
    centers = np.arange(SIZE, dtype=np.float32) + 0.5
    x, y = centers[None, None, :], centers[None, :, None]
    for kind, name in enumerate(BACKGROUNDS):
        members = np.flatnonzero(kinds == kind)
        if name == "grain":
            pattern[members] = grain[members]
        elif name == "clouds":
            # Interpolated noise crowds around its mean: stretch it.
            soft = _enlarge() @ clouds[members] @ _enlarge().T
            pattern[members] = np.clip(0.5 + 1.6 * (soft - 0.5), 0, 1)
        else:
            pattern[members] = _PAINTED[name](x, y, p[members].T[:, :, None, None])
    return pattern


@cache
def _enlarge() -> np.ndarray:
    """Weights that enlarge 6 values to 32 by smooth steps: float32 (32, 6)."""
    place = np.linspace(0, _CLOUD - 1, SIZE)
    left = np.minimum(place.astype(int), _CLOUD - 2)
    step = place - left
    weight = step * step * (3 - 2 * step)
    matrix = np.zeros((SIZE, _CLOUD), dtype=np.float32)
    matrix[np.arange(SIZE), left] = 1 - weight
    matrix[np.arange(SIZE), left + 1] = weight
    return matrix
