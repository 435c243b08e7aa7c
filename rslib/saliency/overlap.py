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


def separated(saliency: Tensor) -> Tensor:
    """The salient part of each map, bool (B, H, W), by the threshold that separates it best.

    A reading of "thresholds optimized for maximum separation between foreground and background"
    (paper 3.3.3): of all thresholds between a map's own values, that with the largest variance
    between the pixels above and those below, k (P - k) (mean above - mean below)^2 for k of P
    pixels (Otsu, IEEE Trans. SMC 9 (1979) 62-66). It looks at no mask, so it flatters no map. A
    constant map has no such threshold, and all of it is kept.

    Raises:
        NotSaliency: If the maps are not finite or not of the form above.
    """
    flat = check_maps(saliency).detach().flatten(1).double()
    order = flat.sort(1, descending=True).values
    pixels = order.shape[1]
    kept = torch.arange(1, pixels, device=flat.device)
    above = order.cumsum(1)
    gap = above[:, :-1] / kept - (above[:, -1:] - above[:, :-1]) / (pixels - kept)
    between = kept * (pixels - kept) * gap.square()
    # Within equal values it is convex, so that the largest is never between two of them.
    place = between.argmax(1, keepdim=True)
    return (flat >= order.gather(1, place)).view_as(saliency)


def iou_separated(saliency: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of :func:`separated` pixels with the object's mask, and a random map's of their number.

    The second is s m / (s + m - s m) for the share s that is kept and masks of share m.
    """
    inside = check_masks(mask, like=saliency).flatten(1)
    found = separated(saliency).flatten(1)
    hits = (found & inside).sum(1).double()
    kept, area = (each.double().mean(1) for each in (found, inside))
    return hits / (found | inside).sum(1), kept * area / (kept + area - kept * area)


def iou_area(saliency: Tensor, mask: Tensor) -> Tensor:
    """The area under the curve of IoU against the share of the pixels kept, over all shares.

    It is the mean over k = 1 ... P of the IoU of the k most salient of P pixels. Within tied pixels
    hits grow evenly, as in :func:`same_top`. No threshold is chosen, and only the order of pixels
    counts. :func:`iou_area_levels` tells what a random map scores, and so does a constant one.
    """
    values, inside = _flat(saliency, mask)
    order, places = values.sort(1, descending=True)
    run = torch.zeros_like(places)
    run[:, 1:] = (order[:, 1:] != order[:, :-1]).cumsum(1)
    objects = inside.gather(1, places).double()
    sums, sizes = (
        torch.zeros_like(objects).scatter_add_(1, run, each)
        for each in (objects, torch.ones_like(objects))
    )
    hits = (sums / sizes.clamp(min=1)).gather(1, run).cumsum(1)
    return _area_under(hits, inside)


def iou_area_levels(mask: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`iou_area` of a map drawn at random, and the largest that any map can reach."""
    inside = check_masks(mask).flatten(1)
    objects = inside.sum(1, keepdim=True)
    kept = torch.arange(1, inside.shape[1] + 1, device=mask.device)
    chance, best = kept * objects.double() / len(kept), torch.minimum(kept, objects)
    return _area_under(chance, inside), _area_under(best.double(), inside)


def iou_elsewhere(curve: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """IoU at the share of the pixels that is best on other images, and the two shares' columns.

    Takes :func:`iou_curve` of n images in an order that means nothing, (n, shares), with NaN where
    an image has no mask. Every other image is scored at the share with the largest mean over the
    rest, and the rest at that of these, so that no image has a say in its own threshold: (n,).

    Raises:
        ValueError: If one of the halves holds no mask.
    """
    curve = np.asarray(curve, float)
    half = np.arange(len(curve)) % 2 == 0
    found, best = np.empty(len(curve)), []
    for own in (half, ~half):
        others = curve[~own & ~np.isnan(curve).any(1)]
        if not len(others):
            raise ValueError("a threshold is chosen on other images: two or more need a mask each")
        best.append(int(others.mean(0).argmax()))
        found[own] = curve[own, best[-1]]
    return found, (best[0], best[1])


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


def _area_under(hits: Tensor, inside: Tensor) -> Tensor:
    """Mean IoU from the hits among the k most salient pixels and the objects, (B, P) each."""
    kept = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    return (hits / (kept + inside.sum(1, keepdim=True) - hits)).mean(1)


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
