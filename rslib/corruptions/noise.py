"""Noise: Gaussian, shot, impulse, speckle."""

import functools

import numpy as np
import torch
from torch import Tensor

from rslib.corruptions._random import LEVELS, Draws

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, in [0, 1] units
SHOT = (500, 250, 100, 75, 50)  # photons that make full white
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of values replaced
SPECKLE = (0.06, 0.10, 0.12, 0.16, 0.20)  # standard deviation, relative to the value


def gaussian_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add normal noise to every value."""
    noise = draws.normal(0, *images.shape[1:]) * (255 * GAUSSIAN[severity - 1])
    return (noise + images).clamp_(0, 255).to(torch.uint8)


def speckle_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add normal noise in proportion to the value."""
    noise = draws.normal(0, *images.shape[1:]) * SPECKLE[severity - 1]
    return ((noise + 1) * images).clamp_(0, 255).to(torch.uint8)


def shot_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Replace each value by a Poisson count of photons with that mean."""
    words = draws.words(0, *images.shape[1:])
    index = images.to(torch.int32) * LEVELS + words
    table = _shot_table(SHOT[severity - 1], str(images.device))
    return table.index_select(0, index.flatten()).view(images.shape)


def impulse_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Replace a share of the values, half by black and half by white; channels independently."""
    words = draws.words(0, *images.shape[1:])
    share = IMPULSE[severity - 1] * LEVELS
    noisy = torch.where(words < share, 0, images)
    return torch.where(words < share / 2, 255, noisy)


@functools.lru_cache(maxsize=5)
def _shot_table(photons: int, device: str) -> Tensor:
    """The result of each level at each of 65,536 equally likely draws: uint8 (256 * 65536,).

    Draw k of a level is the Poisson quantile of (k + 1/2) / 65,536, so that a row holds each count
    in proportion to its probability. There are only 256 levels, hence 256 rates: 16 MB a severity.
    """
    from scipy.special import pdtr  # the distribution function of the Poisson distribution

    rate = np.arange(256)[:, None] / 255 * photons
    counts = np.arange(int(photons + 6 * np.sqrt(photons)) + 1)  # six deviations: p < 1e-8
    levels = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    upto = np.rint(pdtr(counts, rate) * LEVELS).astype(np.int64)
    upto[:, -1] = LEVELS
    table = np.stack([np.repeat(levels, times) for times in np.diff(upto, prepend=0)])
    return torch.from_numpy(table).flatten().to(device)
