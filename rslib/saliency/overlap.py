"""Overlap of saliency maps with objects' masks, beside its reference levels (paper 3.3.3, eq. 9).

An IoU says little by itself: a map drawn at random scores above 0, a map of the image's center
scores well wherever objects are centered, and a perfect map cannot reach 1 unless the object fills
exactly the share that is kept. Those levels are here beside the measure.

Saliency maps tie, above all where a ReLU leaves zeros. Which of the tied pixels enter the top share
is then not the map's to say, so the expectation over all choices is taken, never the pixels' order.

Maps are float (B, H, W), masks bool (B, H, W), ``top`` is the share of the pixels kept, and the
measures are float64 (B,), in [0, 1]. All raise what :func:`iou` raises.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rslib.saliency.maps import check_maps
from rslib.saliency.masks import check_masks

TOP = 0.30
"""Share of the pixels that counts as salient (paper 3.3.3)."""


def iou(saliency: Tensor, mask: Tensor, *, top: float = TOP) -> Tensor:
    """IoU of the most salient pixels with the object's mask (equation 9).

    Ties are taken in expectation, so a constant map scores chance.

    Raises:
        NotSaliency: If the maps are not finite or not of the form above.
        MaskError: If the masks are of another form or size, or one is empty.
        ValueError: If top is not between 0 and 1.
    """
    return iou_curve(saliency, mask, tops=[top])[:, 0]


def iou_curve(saliency: Tensor, mask: Tensor, *, tops: Sequence[float]) -> Tensor:
    """:func:`iou` at several shares ``tops``: float64 (B, shares)."""
    from scipy.stats import hypergeom

    values, inside = _flat(saliency, mask)
    order = values.sort(1, descending=True).values
    area, columns = inside.sum(1).cpu().numpy(), []
    for top in tops:
        kept = _kept(top, values.shape[1])
        threshold = order[:, kept - 1 : kept]
        above, ties = values > threshold, values == threshold
        sets = (above, above & inside, ties, ties & inside)
        over, sure, tied, tied_inside = (each.sum(1).cpu().numpy() for each in sets)
        # The hits are `sure` and those among the `drawn` of the tied pixels.
        drawn = kept - over
        hits = sure + np.minimum(drawn, tied_inside)
        found = hits / (kept + area - hits)
        # Nothing to choose where all tied pixels are drawn, or all or none lie on the object.
        for row in np.flatnonzero((drawn < tied) & (tied_inside > 0) & (tied_inside < tied)):
            least = max(0, drawn[row] - (tied[row] - tied_inside[row]))
            luck = np.arange(least, min(drawn[row], tied_inside[row]) + 1)
            weight = hypergeom.pmf(luck, tied[row], tied_inside[row], drawn[row])
            total = sure[row] + luck
            found[row] = (weight * total / (kept + area[row] - total)).sum() / weight.sum()
        columns.append(found)
    return torch.from_numpy(np.stack(columns, 1)).to(saliency.device)


def same_top(first: Tensor, second: Tensor, *, top: float = TOP) -> Tensor:
    """IoU of the most salient pixels of two maps of the same image.

    Each map's pixels belong to its top by a share: 1 above its threshold, 0 below, and at it the
    chance that one of the tied pixels is among those kept. The IoU of such sets is the sum of the
    smaller shares over that of the larger ones: the usual one where nothing ties, and 1 for equal
    maps, whatever ties in them. A constant map, which has no top, scores ``top / (2 - top)`` with a
    map without ties, and 1 with another constant one. Shapes that differ are a ValueError.
    """
    if first.shape != second.shape:
        raise ValueError(f"maps have shapes {tuple(first.shape)} and {tuple(second.shape)}")
    one, other = (_shares(check_maps(maps).detach().flatten(1), top) for maps in (first, second))
    return torch.minimum(one, other).sum(1) / torch.maximum(one, other).sum(1)


def chance(mask: Tensor, *, top: float = TOP) -> Tensor:
    """Expected :func:`iou` of a map drawn at random: all that a mask's size explains.

    For a mask of share m it is about ``top * m / (top + (1 - top) * m)``: 0.15 at m = 0.24.
    """
    return iou(torch.zeros(mask.shape, device=mask.device), mask, top=top)


def ceiling(mask: Tensor, *, top: float = TOP) -> Tensor:
    """The largest :func:`iou` any map can reach: the kept share and the object differ in size."""
    area = check_masks(mask).flatten(1).sum(1).double()
    kept = torch.full_like(area, _kept(top, mask[0].numel()))
    return torch.minimum(area, kept) / torch.maximum(area, kept)


def center_prior(size: tuple[int, int], n: int = 1) -> Tensor:
    """A map that falls with the distance from the middle of an image (H, W): n copies (n, H, W)."""
    rows, columns = (torch.arange(side) - (side - 1) / 2 for side in size)
    distance = (rows.view(-1, 1) ** 2 + columns.view(1, -1) ** 2).sqrt()
    return (-distance).expand(n, -1, -1).clone()


def mean_mask_prior(mask: Tensor) -> Tensor:
    """For each image the mean of all *other* images' masks: where objects usually are.

    Float (B, H, W), in [0, 1]; a single mask is a MaskError.
    """
    masks = check_masks(mask, least=2).float()
    return (masks.sum(0, keepdim=True) - masks) / (len(masks) - 1)


def shuffled_pairs(saliency: Tensor, mask: Tensor, *, top: float = TOP, seed: int = 0) -> Tensor:
    """:func:`iou` of each map with another image's mask: what the maps share whatever they show.

    The seed is of the pairing, in which no map meets its own mask; a single mask is a MaskError.
    """
    check_masks(mask, least=2)
    order = torch.randperm(len(mask), generator=torch.Generator().manual_seed(seed))
    # A cycle through a random order moves every position.
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return iou(saliency, mask[partner.to(mask.device)], top=top)


def mass_inside(saliency: Tensor, mask: Tensor) -> Tensor:
    """Share of the saliency that lies on the object; 4.3 of the paper reads IoU as this.

    Negative saliency counts as none. Where a map has no positive value, it is the mask's own share,
    which is what a constant map scores.
    """
    values, inside = _flat(saliency, mask)
    positive = values.double().clamp(min=0)
    total = positive.sum(1)
    found = (positive * inside).sum(1) / total.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(total > 0, found, inside.double().mean(1))


def pointing_game(saliency: Tensor, mask: Tensor) -> Tensor:
    """The pointing game of Zhang et al. (2018, arXiv:1608.00507): is the brightest pixel inside?

    1 or 0, or the share of the tied maxima that lie on the object.
    """
    values, inside = _flat(saliency, mask)
    highest = values == values.amax(1, keepdim=True)
    return (highest & inside).sum(1).double() / highest.sum(1)


def _flat(saliency: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    maps, masks = check_maps(saliency).detach(), check_masks(mask, like=saliency)
    return maps.flatten(1), masks.flatten(1)


def _kept(top: float, pixels: int) -> int:
    if not 0 < top < 1:
        raise ValueError(f"top={top!r} must lie between 0 and 1, e.g. 0.3 for the top 30 %")
    return max(1, round(top * pixels))


def _shares(values: Tensor, top: float) -> Tensor:
    """Chance of each pixel of flat maps to be among the most salient: float64 (B, pixels)."""
    kept = _kept(top, values.shape[1])
    threshold = values.topk(kept, dim=1).values[:, -1:]
    above, tied = values > threshold, values == threshold
    drawn = kept - above.sum(1, keepdim=True)
    return above.double() + tied.double() * drawn / tied.sum(1, keepdim=True)
