"""The form and size of saliency maps, and the maps that say nothing.

All take maps (B, h, w) and raise what :func:`check_maps` raises.
"""

from torch import Tensor
from torch.nn.functional import interpolate


class NotSaliency(ValueError):
    """A tensor that cannot be a batch of saliency maps; the message says why."""


def check_maps(saliency: Tensor) -> Tensor:
    """The maps, float (B, h, w), if they are a batch of finite ones.

    Raises:
        NotSaliency: If the shape or dtype is wrong, or a value is NaN or infinite.
    """
    if saliency.ndim != 3 or len(saliency) == 0 or not saliency.is_floating_point():
        raise NotSaliency(
            f"saliency is {saliency.dtype} {tuple(saliency.shape)}; a float tensor (B, h, w) with "
            "B >= 1 is needed"
        )
    bad = int((~saliency.isfinite()).flatten(1).any(1).sum())
    if bad:
        raise NotSaliency(
            f"{bad} of {len(saliency)} saliency maps hold NaN or infinite values: look for a model "
            "in half precision, or a division by a map's own range"
        )
    return saliency


def degenerate(saliency: Tensor) -> Tensor:
    """Find the maps that are constant, so that they point nowhere: bool (B,).

    They are to be counted, never dropped: their overlap with any mask is that of chance.
    """
    flat = check_maps(saliency).flatten(1)
    return flat.amax(1) == flat.amin(1)


def resize(saliency: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring maps to an image's size (H, W), bilinearly as Grad-CAM's authors do, differentiably."""
    maps = check_maps(saliency).unsqueeze(1)
    return interpolate(maps, size=size, mode="bilinear", align_corners=False).squeeze(1)


def standardize(saliency: Tensor) -> Tensor:
    """Each map less its mean, over its standard deviation; differentiable.

    The sigmoid of equation 12 is flat on a map near 0 and saturated on one near 16; on a
    standardized map it can reach both ends. A constant map becomes 0.
    """
    flat = check_maps(saliency).flatten(1)
    centered = flat - flat.mean(1, keepdim=True)
    # The root of a sum of squares has no finite derivative at 0: 1e-6 keeps it from there.
    spread = (centered.pow(2).mean(1, keepdim=True) + 1e-6**2).sqrt()
    return (centered / spread).view_as(saliency)
