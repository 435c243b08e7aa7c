"""The water of the spatter corruption, in whole numbers: edges, distances, relief.

The published generator makes it with OpenCV: the edges of the wet areas, the distance to them,
equalized and embossed. These are the same operations on a batch of layers, all int32 (B, 32, 32).
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

FAR = 20  # distances are cut here
# The 5x5 chamfer steps of Borgefors (1986) as OpenCV has them, in 2^-16 pixels.
STEPS = {(0, 1): 65536, (1, 1): 91750, (1, 2): 143976}
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def relief(layer: Tensor) -> Tensor:
    """The embossed distance map of the edges of a layer; both are 0 to 255."""
    distance = distance_to(edges(layer)).clamp(max=FAR << 16)
    depth = torch.div(_box_sum(distance), 9 << 16, rounding_mode="floor")
    padded = _pad(_equalize(depth), "reflect")
    carved = sum(
        padded[:, i : i + 32, j : j + 32] * EMBOSS[i][j] for i in range(3) for j in range(3)
    ).clamp(0, 255)
    return torch.div(_box_sum(carved) * 2 + 9, 18, rounding_mode="floor")  # rounded mean of nine


def edges(layer: Tensor) -> Tensor:
    """Canny's edges (IEEE PAMI 8, 1986) of a layer, 0 to 255: bool (B, 32, 32).

    Sobel 3x3, strength |dx| + |dy|, thresholds 50 and 150.
    """
    p = _pad(layer, "replicate")
    smooth_y = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    smooth_x = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    dx = smooth_y[:, :, 2:] - smooth_y[:, :, :-2]
    dy = smooth_x[:, 2:] - smooth_x[:, :-2]
    strength = dx.abs() + dy.abs()
    around = F.pad(strength, (1, 1, 1, 1))

    def beside(i: int, j: int) -> Tensor:
        return around[:, 1 + i : 33 + i, 1 + j : 33 + j]

    # An edge is a ridge: stronger than both pixels across it. Ties go to the first.
    ridge_x = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    ridge_y = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    falling = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    rising = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    # tan(22.5 degrees) and tan(67.5 degrees), in 2^-15
    across, low = dy.abs() << 15, dx.abs() * 13573
    high = low + (dx.abs() << 16)
    diagonal = torch.where((dx ^ dy) < 0, rising, falling)
    ridge = torch.where(across < low, ridge_x, torch.where(across > high, ridge_y, diagonal))
    weak, found = ridge & (strength > 50), ridge & (strength > 150)
    while True:  # weak edges count where they touch a strong one
        near = F.pad(found, (1, 1, 1, 1))
        near = near[:, :-2] | near[:, 1:-1] | near[:, 2:]
        grown = weak & (near[:, :, :-2] | near[:, :, 1:-1] | near[:, :, 2:])
        if torch.equal(grown, found):
            return found
        found = grown


def distance_to(found: Tensor) -> Tensor:
    """The 5x5 chamfer distance to the nearest marked pixel, in 2^-16 pixels.

    Distances beyond the cut need not be exact, and where nothing is marked they are all beyond it.
    """
    distance = torch.where(found, 0, (FAR + 5) << 16).to(torch.int32)
    moves = {
        cost: [
            (2 + i * down, 2 + j * right)
            for i, j in {(a, b), (b, a)}
            for down in ({1, -1} if i else {1})
            for right in ({1, -1} if j else {1})
        ]
        for (a, b), cost in STEPS.items()
    }
    while True:
        padded = F.pad(distance, (2, 2, 2, 2), value=(FAR + 5) << 16)
        nearer = distance
        for cost, places in moves.items():
            around = [padded[:, i : i + 32, j : j + 32] for i, j in places]
            nearer = torch.minimum(nearer, functools.reduce(torch.minimum, around) + cost)
        if torch.equal(nearer, distance):
            return distance
        distance = nearer


def _equalize(depth: Tensor) -> Tensor:
    """Spread levels, 0 to 20, so that each takes as much of 0..255 as it has pixels."""
    flat = depth.flatten(1).to(torch.int64)
    counts = torch.zeros(len(flat), FAR + 1, dtype=torch.int64, device=depth.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    # The lowest level there is becomes 0 and does not count.
    first = (counts > 0).to(torch.int64).argmax(1, keepdim=True)
    lowest = counts.gather(1, first)
    rest = flat.shape[1] - lowest
    share = (counts.cumsum(1) - lowest) * 255
    levels = torch.div(2 * share + rest, (2 * rest).clamp(min=1), rounding_mode="floor")
    levels = torch.where(rest == 0, first, levels.clamp(min=0))
    return levels.gather(1, flat).reshape(depth.shape).to(torch.int32)


def _box_sum(x: Tensor) -> Tensor:
    """The sum of 3x3 pixels; the border mirrors the image."""
    padded = _pad(x, "reflect")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]


def _pad(x: Tensor, mode: str) -> Tensor:
    # F.pad takes no whole numbers here; a column that is its own neighbor does the same
    edge = 1 if mode == "reflect" else 0
    places = torch.tensor([edge, *range(32), 31 - edge], device=x.device)
    return x.index_select(1, places).index_select(2, places)
