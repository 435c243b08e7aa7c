"""Blur: defocus, glass, motion, zoom, Gaussian.

All but motion blur are the same weighted sums for every image, so each severity is one matrix.
"""

import functools

import numpy as np
import torch
from torch import Tensor

from rslib.corruptions import _filters as filters
from rslib.corruptions._filters import PIXELS, SIZE
from rslib.corruptions._random import Draws

DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))  # disk radius, alias sigma
GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))  # sigma, rounds of exchange
MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))  # radius, sigma
ZOOM = (1.06, 1.11, 1.16, 1.21, 1.26)  # the factors are np.arange(1, this, 0.01)
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1)  # sigma


def defocus_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur by an anti-aliased disk; the border mirrors the image."""
    return filters.blend(images, _defocus(*DEFOCUS[severity - 1], str(images.device)))


def gaussian_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur by a Gaussian of four standard deviations; the border repeats the edge."""
    return filters.blend(images, _gaussian(GAUSSIAN[severity - 1], str(images.device)))


def zoom_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Average the image and enlargements of its middle."""
    return filters.blend(images, _zoom(ZOOM[severity - 1], str(images.device)))


def glass_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur, take each pixel's color from itself or a neighbor above or on the left, blur again.

    The published loop exchanges pixels from the bottom right to the top left, and takes from
    places that it has not visited yet: each round reads only colors from before the round, so one
    gather does it. Rows and columns 0 and 1 stay.
    """
    sigma, rounds = GLASS[severity - 1]
    blur = _gaussian(sigma, str(images.device))
    pixels = filters.blend(images, blur).flatten(2)
    here = torch.arange(PIXELS, device=images.device)
    moves = ((here // SIZE > 1) & (here % SIZE > 1)).to(torch.int64)
    for k in range(rounds):
        words = draws.words(k, PIXELS).to(torch.int64)
        up, left = words & 1, (words >> 1) & 1
        source = here - (up * SIZE + left) * moves
        pixels = pixels.gather(2, source[:, None].expand_as(pixels))
    return filters.blend(pixels.reshape(images.shape), blur)


def motion_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blur along a line at -45 to 45 degrees, drawn per image."""
    angle = draws.fractions(0, 1)[:, 0] * 90 - 45
    return filters.streak(images, *MOTION[severity - 1], angle)


@functools.lru_cache(maxsize=8)
def _defocus(radius: float, alias: float, device: str) -> Tensor:
    from scipy.ndimage import correlate1d

    half = 8
    grid = np.arange(-half, half + 1)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(float)
    taps = np.exp(-np.array([1, 0, 1]) / (2 * alias**2))
    taps /= taps.sum()
    kernel = correlate1d(correlate1d(disk / disk.sum(), taps, axis=0), taps, axis=1)
    places = np.pad(np.arange(PIXELS).reshape(SIZE, SIZE), half, mode="reflect")
    weights = np.zeros((PIXELS, PIXELS))
    for i, j in np.argwhere(kernel > 0):
        source = places[i : i + SIZE, j : j + SIZE].ravel()
        weights[np.arange(PIXELS), source] += kernel[i, j]
    return filters.operator(weights, device)


@functools.lru_cache(maxsize=16)
def _gaussian(sigma: float, device: str) -> Tensor:
    line = filters.gaussian_weights(sigma)
    return filters.operator(np.kron(line, line), device)


@functools.lru_cache(maxsize=8)
def _zoom(stop: float, device: str) -> Tensor:
    # Rounding in double precision decides how many factors there are (the first two series reach
    # their stop) and, at 1.25, where the enlargement is trimmed.
    factors = np.arange(1, stop, 0.01)
    weights = np.eye(PIXELS)  # the image itself, once more than its enlargement by 1
    for line in map(filters.zoom_weights, factors):
        weights += np.kron(line, line)
    return filters.operator(weights / (len(factors) + 1), device)
