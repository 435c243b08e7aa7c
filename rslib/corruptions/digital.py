"""Digital: contrast, elastic transform, pixelate, JPEG compression, saturate.

Where a corruption is simple enough it is done in whole numbers, so that truncation is exact.
"""

import functools
import io

import numpy as np
import torch
from torch import Tensor

from rslib.corruptions import _filters as filters
from rslib.corruptions._filters import SIZE
from rslib.corruptions._random import Draws

CONTRAST = (15, 10, 8, 6, 3)  # twentieths of the distance from the mean that stay
# Strength and sigma of the displacement, and how far an anchor point moves: shares of 32 pixels.
WARP = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
PIXELATE = (30, 28, 27, 24, 20)  # pixels a side in between
JPEG = (80, 65, 58, 50, 40)  # quality
SATURATE = ((3, 0), (1, 0), (15, 0), (20, 1), (25, 2))  # tenths: saturation * a + b


def contrast(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Draw each value towards the mean of its channel."""
    keep = CONTRAST[severity - 1]
    pixels = images.to(torch.float32)
    total = images.sum((2, 3), keepdim=True).to(torch.float32)
    mixed = pixels * (keep * filters.PIXELS) + total * (20 - keep)
    return filters.levels(mixed, 20 * filters.PIXELS)


def saturate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Scale and shift the saturation of HSV.

    Hue and value stay, so a channel keeps its place between the value v (0) and the least channel
    (1); only the least one moves, to v * (1 - saturation). Grey has hue 0: a shift turns it red.
    """
    a, b = SATURATE[severity - 1]
    pixels = images.to(torch.float32)
    value = pixels.amax(1, keepdim=True)
    spread = value - pixels.amin(1, keepdim=True)
    wanted = torch.minimum(spread * a + value * b, value * 10)  # tenths of value * saturation
    moved = value * spread * 10 - wanted * (value - pixels)
    color = filters.levels(moved, (spread * 10).clamp(min=1))
    faded = value * (10 - b)
    grey = filters.levels(torch.cat([value * 10, faded, faded], 1), 10)
    return torch.where(spread == 0, grey, color)


def pixelate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Shrink by Pillow's box filter and enlarge again.

    Each small pixel is one pixel or the rounded mean of two, along the rows and then the columns.
    """
    first, second = (torch.from_numpy(i).to(images.device) for i in _boxes(PIXELATE[severity - 1]))
    pixels = images.to(torch.int16)
    for dim in (3, 2):
        pair = pixels.index_select(dim, first) + pixels.index_select(dim, second)
        pixels = (pair + 1) >> 1
    return pixels.to(torch.uint8)


def jpeg_compression(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Write and read as JPEG with Pillow's defaults (4:2:0); on the CPU."""
    from PIL import Image

    before = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    after = np.empty_like(before)
    for i, image in enumerate(before):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=JPEG[severity - 1])
        after[i] = Image.open(buffer, formats=("JPEG",))
    return torch.from_numpy(after).permute(0, 3, 1, 2).contiguous().to(images.device)


def elastic_transform(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Move three anchor points, then every pixel by smoothed noise."""
    strength, sigma, affine = (SIZE * value for value in WARP[severity - 1])
    pixels = _warp(images, (draws.fractions(0, 6) * 2 - 1) * affine)
    if strength == 0:
        return pixels.to(torch.uint8)
    line = torch.arange(SIZE, device=images.device)
    dx, dy = (
        filters.smooth(draws.uniform(stream, SIZE, SIZE), sigma, mode="reflect", truncate=3.0)
        for stream in (1, 2)
    )
    dx, dy = dx * strength + line, dy * strength + line[:, None]
    x, y = dx.floor(), dy.floor()
    pixels = filters.sample(
        pixels, y.to(torch.int64), x.to(torch.int64), dy - y, dx - x, border="reflect"
    )
    return pixels.to(torch.uint8)


def _warp(images: Tensor, moves: Tensor) -> Tensor:
    """The affine map that moves three anchor points; bilinear at 1/32 of a pixel, as in OpenCV.

    ``moves``, float64 (B, 6) on the CPU, are x and y of each anchor's move, in pixels. The border
    mirrors the image. The result is float32, 0 to 255.
    """
    anchors = torch.tensor([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]], dtype=torch.float64)
    moved = anchors + moves.reshape(-1, 3, 2)
    ones = torch.ones(len(moves), 3, 1, dtype=torch.float64)
    # Where each output pixel comes from: the map from the moved anchors back to the old ones.
    back = torch.linalg.solve(torch.cat([moved, ones], 2), anchors.expand_as(moved))
    line = torch.arange(SIZE, dtype=torch.float64)

    def places(column: int) -> tuple[Tensor, Tensor]:
        along_x = (back[:, None, 0, column] * line * 1024).round()
        along_y = ((back[:, None, 1, column] * line + back[:, None, 2, column]) * 1024).round()
        fine = (along_y[:, :, None] + along_x[:, None] + 16).to(torch.int64).to(images.device) >> 5
        return fine >> 5, (fine & 31).to(torch.float32) / 32

    (x, fx), (y, fy) = places(0), places(1)
    return filters.sample(images.to(torch.float32), y, x, fy, fx, border="mirror")


@functools.lru_cache(maxsize=8)
def _boxes(small: int) -> tuple[np.ndarray, np.ndarray]:
    """The two pixels that each of 32 outputs averages after going through `small` pixels."""
    scale = SIZE / small
    centre = (np.arange(small) + 0.5) * scale
    first = np.floor(centre - scale / 2 + 0.5).astype(np.int64)
    last = np.floor(centre + scale / 2 + 0.5).astype(np.int64) - 1
    back = np.floor((np.arange(SIZE) + 0.5) / scale).astype(np.int64)
    return first[back], np.minimum(last, SIZE - 1)[back]
