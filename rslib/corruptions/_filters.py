"""Linear filters whose sums are exact, and sampling between pixels.

Floating-point sums depend on their order, and the order on batch size, thread count and device.
Here weights are whole multiples of 2^-16 and what they weigh has few bits, so no sum is ever
rounded and no order matters.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

SIZE = 32
PIXELS = SIZE * SIZE
UNIT = 1 << 16  # the weights of one output pixel add up to it


def fixed_point(weights: np.ndarray) -> np.ndarray:
    """Round weights to whole numbers of 2^-16 whose rows still add up to 1.

    Args:
        weights: (..., n), rows adding up to 1.

    Returns:
        float64, the same shape: whole numbers, each row adding up to 65,536.
    """
    rounded = np.rint(weights * UNIT)
    largest = np.abs(rounded).argmax(-1)[..., None]
    rest = UNIT - rounded.sum(-1, keepdims=True)
    np.put_along_axis(rounded, largest, np.take_along_axis(rounded, largest, -1) + rest, -1)
    return rounded


def blend(images: Tensor, operator: Tensor) -> Tensor:
    """Replace each pixel by a weighted mean of pixels, truncated to whole levels.

    One matrix product for the whole batch. A sum is at most 255 * 65,536 < 2^24, so float32 holds
    each partial sum exactly.

    Args:
        images: uint8 (B, C, 32, 32).
        operator: (1024, 1024) from :func:`operator`, on the same device.

    Returns:
        uint8 (B, C, 32, 32).
    """
    pixels = images.reshape(-1, PIXELS).to(operator.dtype)
    return (pixels @ operator / UNIT).to(torch.uint8).reshape(images.shape)


def operator(weights: np.ndarray, device: torch.device) -> Tensor:
    """The matrix that :func:`blend` takes, from row weights (1024 outputs, 1024 inputs)."""
    # Float32 products on CUDA may be cut to TF32, which would lose bits of the weights.
    dtype = torch.float64 if device.type == "cuda" else torch.float32
    return torch.from_numpy(fixed_point(weights).T.copy()).to(device, dtype)


def gaussian_weights(
    sigma: float, *, mode: str = "nearest", truncate: float = 4.0, size: int = SIZE
) -> np.ndarray:
    """The 1-D Gaussian filter of SciPy as a matrix, border included: (outputs, inputs)."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate)


def smooth(layer: Tensor, weights: Tensor) -> Tensor:
    """Filter the rows and columns of random layers with a symmetric pair of 1-D filters.

    Draws are multiples of 2^-16 below 2^3 and the weights multiples of 2^-16, so that float64
    holds both passes exactly.

    Args:
        layer: float32 (B, 32, 32), whole multiples of 2^-16 smaller than 2^3.
        weights: float64 (32, 32) from :func:`layer_weights`.

    Returns:
        float32 (B, 32, 32).
    """
    if layer.device.type == "mps":  # it has no float64
        return smooth(layer.cpu(), weights.cpu()).to(layer.device)
    wide = weights @ layer.to(torch.float64) @ weights.T
    return (wide / UNIT**2).to(torch.float32)


@functools.lru_cache(maxsize=32)
def layer_weights(sigma: float, mode: str, truncate: float, device: str) -> Tensor:
    """The matrix that :func:`smooth` takes; it stays on the CPU where MPS is the device."""
    weights = fixed_point(gaussian_weights(sigma, mode=mode, truncate=truncate))
    return torch.from_numpy(weights).to("cpu" if device.startswith("mps") else device)


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
    """Blur along a line that starts at each pixel, as ImageMagick's MotionBlur does.

    The line has 2 * radius + 1 steps, each at the nearest pixel, with the weights of half a
    Gaussian. Pixels outside the image repeat its edge. Levels are truncated, after a rounding to 16
    bits that lets a level just under a whole one reach it.

    Args:
        layers: uint8 (B, C, 32, 32).
        radius: half the length of the line, in pixels.
        sigma: of the Gaussian, in pixels.
        angle: float64 (B,) on the CPU, in degrees.

    Returns:
        uint8 (B, C, 32, 32).
    """
    step = np.arange(2 * radius + 1)
    weights = np.exp(-(step**2) / (2 * sigma**2))
    weights = fixed_point(weights / weights.sum())
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
    """Bilinear interpolation at y + fy, x + fx.

    Args:
        images: float32 (B, C, 32, 32).
        y: int64 (B, 32, 32), the row above; at most 31 rows outside the image.
        x: int64 (B, 32, 32), the column on the left; at most 31 columns outside the image.
        fy: float32 (B, 32, 32) in [0, 1), how far down.
        fx: float32 (B, 32, 32) in [0, 1), how far to the right.
        border: "mirror" (reflected about the middle of the edge pixel, so the edge pixel occurs
            once) or "reflect" (about its outer side, so it occurs twice).

    Returns:
        float32 (B, C, 32, 32).
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
    """The quotient of whole numbers, truncated: uint8.

    Float32 division is several times faster than that of integers. The half keeps a quotient so
    far from the next whole number that rounding cannot reach it.

    Args:
        numerator: float32, whole numbers from 0 to 2^23; the quotient is below 256.
        denominator: whole numbers from 1 to 32,768.
    """
    return ((numerator + 0.5) / denominator).to(torch.uint8)
