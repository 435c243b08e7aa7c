"""Objects before other images' backgrounds: does a model look at the object it names?

After Xiao, Engstrom, Ilyas and Madry, "Noise or signal: the role of image backgrounds in object
recognition", ICLR 2021, arXiv:2006.09994 (their Mixed-Same and Mixed-Rand sets).
"""

import torch
from torch import Tensor

from rslib.saliency.masks import check_masks


def composites(x: Tensor, masks: Tensor, partner: Tensor) -> Tensor:
    """Each image's object before its partner's background: (B, C, H, W).

    What the partner's object covers is filled with the mean color of that background, so that no
    part of it shows. Images are in [0, 1], masks bool (B, H, W) with an object in each, partners
    int64 (B,), positions in the batch. Other masks are a :class:`rslib.saliency.MaskError`.
    """
    inside = check_masks(masks).unsqueeze(1)
    outside = (~inside).to(x.dtype)
    mean = (x * outside).sum((2, 3), keepdim=True) / outside.sum((2, 3), keepdim=True).clamp(min=1)
    backgrounds = torch.where(inside, mean, x)
    return torch.where(inside, x, backgrounds[partner])


def partners(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each image one of its own class, and one of another, drawn by a generator on the CPU.

    Returns:
        Positions among the labels (B,), int64 (B,) each; -1 where there is none.
    """
    known = labels.cpu()
    own, other = torch.full_like(known, -1), torch.full_like(known, -1)
    for position in range(len(known)):
        alike = known == known[position]
        rest = (~alike).nonzero().flatten()
        alike[position] = False
        for kind, choice in ((own, alike.nonzero().flatten()), (other, rest)):
            if len(choice):
                drawn = torch.randint(len(choice), (1,), generator=generator)
                kind[position] = choice[drawn]
    return own.to(labels.device), other.to(labels.device)
