"""Linear filters whose sums are exact, and sampling between pixels.

Floating-point sums depend on their order, and the order on batch size, thread count and device.
Here weights are whole multiples of 2^-16 and what they weigh has few bits, so no sum is ever
rounded and no order matters.
"""

import functools

import numpy as np
import torch
from torch import Tensor

SIZE = 32
PIXELS = SIZE * SIZE
UNIT = 1 << 16  # the weights of one output pixel add up to it


def _fixed_point(weights: np.ndarray) -> np.ndarray:
    """Weights (..., n) as whole numbers of 2^-16 whose rows still add up to 1: float64."""
    rounded = np.rint(weights * UNIT)
    largest = np.abs(rounded).argmax(-1)[..., None]
    rest = UNIT - rounded.sum(-1, keepdims=True)
    np.put_along_axis(rounded, largest, np.take_along_axis(rounded, largest, -1) + rest, -1)
    return rounded


def operator(weights: np.ndarray, device: str) -> Tensor:
    """The matrix that :func:`blend` takes, from row weights (1024 outputs, 1024 inputs)."""
    # Float32 products on CUDA may be cut to TF32, which would lose bits of the weights.
    dtype = torch.float64 if device.startswith("cuda") else torch.float32
    return torch.from_numpy(_fixed_point(weights).T.copy()).to(device, dtype)


def blend(images: Tensor, operator: Tensor) -> Tensor:
    """Replace each pixel of uint8 (B, C, 32, 32) by a weighted mean of pixels, truncated.

    One matrix product for the whole batch. A sum is at most 255 * 65,536 < 2^24, so float32 holds
    each partial sum exactly.
    """
    pixels = images.reshape(-1, PIXELS).to(operator.dtype)
    return (pixels @ operator / UNIT).to(torch.uint8).reshape(images.shape)


def gaussian_weights(sigma: float, mode: str = "nearest", truncate: float = 4.0) -> np.ndarray:
    """The 1-D Gaussian filter of SciPy as a matrix, border included: (32 outputs, 32 inputs)."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(SIZE), sigma, axis=0, mode=mode, truncate=truncate)


def smooth(layer: Tensor, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Filter the rows and columns of random layers, float32 (B, 32, 32), by a Gaussian.

    Draws are multiples of 2^-16 below 2^3 and the weights multiples of 2^-16, so that float64
    holds both passes exactly.
    """
    if layer.device.type == "mps":  # it has no float64
        return smooth(layer.cpu(), sigma, mode=mode, truncate=truncate).to(layer.device)
    weights = _layer_weights(sigma, mode, truncate, str(layer.device))
    return (weights @ layer.to(torch.float64) @ weights.T / UNIT**2).to(torch.float32)


@functools.lru_cache(maxsize=32)
def _layer_weights(sigma: float, mode: str, truncate: float, device: str) -> Tensor:
    return torch.from_numpy(_fixed_point(gaussian_weights(sigma, mode, truncate))).to(device)


def zoom_weights(factor: float) -> np.ndarray:
    """Enlarge the middle of a line of 32 pixels by linear interpolation: matrix (32, 32).

    The middle ceil(32 / factor) pixels are enlarged, and what exceeds 32 is trimmed on both sides.
    """
    from scipy.ndimage import zoom

    crop = int(np.ceil(SIZE / factor))
    top = (SIZE - crop) // 2
    enlarged = zoom(np.eye(crop), (factor, 1), order=1)
    trim = (len(enlarged) - SIZE) // 2
    weights = np.zeros((SIZE, SIZE))
    weights[:, top : top + crop] = enlarged[trim : trim + SIZE]
    return weights


def streak(layers: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Blur uint8 (B, C, 32, 32) along a line from each pixel, as ImageMagick's MotionBlur does.

    The line has 2 * radius + 1 steps at an angle in degrees, float64 (B,) on the CPU, each at the
    nearest pixel, with the weights of half a Gaussian. Pixels outside the image repeat its edge.
    Levels are rounded to 16 bits and then truncated, so that one just under a whole one reaches it.
    """
    step = np.arange(2 * radius + 1)
    weights = np.exp(-(step**2) / (2 * sigma**2))
    weights = _fixed_point(weights / weights.sum())
    step, weights = step[weights > 0], weights[weights > 0]
    radians = torch.deg2rad(angle)[:, None]
    along = torch.from_numpy(step).to(torch.float64)
    line = torch.arange(SIZE)

    def places(direction: Tensor) -> Tensor:
        # ceil(v - 1/2): halves go down, as there
        offset = torch.ceil(along * direction - 0.5).to(torch.int64)
        return (offset[:, :, None] + line).clamp_(0, SIZE - 1).to(layers.device)

    rows, columns = places(torch.sin(radians)) * SIZE, places(torch.cos(radians))
    pixels = layers.flatten(2).to(torch.float32)
    total = torch.full_like(pixels, UNIT // (2 * 257))  # half a 16-bit level, of which 257 make one
    for k, weight in enumerate(weights):
        index = (rows[:, k, :, None] + columns[:, k, None, :]).flatten(1)
        total += pixels.gather(2, index[:, None].expand_as(pixels)) * float(weight)
    return (total / UNIT).to(torch.uint8).reshape(layers.shape)


def sample(images: Tensor, y: Tensor, x: Tensor, fy: Tensor, fx: Tensor, *, border: str) -> Tensor:
    """Bilinear interpolation of float32 (B, C, 32, 32) at y + fy, x + fx, each (B, 32, 32).

    y and x are int64, at most 31 outside the image; fy and fx are float32 in [0, 1). The border is
    "mirror" (reflected about the middle of the edge pixel, so the edge pixel occurs once) or
    "reflect" (about its outer side, so it occurs twice).
    """
    first, last = (0, 2 * SIZE - 2) if border == "mirror" else (-1, 2 * SIZE - 1)

    def inside(place: Tensor) -> Tensor:
        place = torch.maximum(place, first - place)
        return torch.minimum(place, last - place)

    rows, columns = (inside(y) * SIZE, inside(y + 1) * SIZE), (inside(x), inside(x + 1))
    pixels = images.flatten(2)

    def at(row: Tensor, column: Tensor) -> Tensor:
        index = (row + column).flatten(1)[:, None].expand_as(pixels)
        return pixels.gather(2, index).reshape(images.shape)

    fy, fx = fy[:, None], fx[:, None]
    above = at(rows[0], columns[0]) * (1 - fx) + at(rows[0], columns[1]) * fx
    below = at(rows[1], columns[0]) * (1 - fx) + at(rows[1], columns[1]) * fx
    return above * (1 - fy) + below * fy


def levels(numerator: Tensor, denominator: Tensor | int) -> Tensor:
    """The quotient of whole numbers, below 256, truncated: uint8.

    The half keeps a quotient so far from the next whole number that rounding cannot reach it, for
    numerators (float32) up to 2^23 and denominators from 1 to 32,768.
    """
    return ((numerator + 0.5) / denominator).to(torch.uint8)
