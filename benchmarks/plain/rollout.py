"""Attention rollout as it is usually written: the whole product, of which one row is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_row(attentions: Sequence[Tensor]) -> Tensor:
    """Multiply (E + A) through all layers, then take the class token's row.

    Args:
        attentions: for each layer (B, m, m), averaged over heads, first layer first.

    Returns:
        (B, m).
    """
    identity = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    product = identity.expand_as(attentions[0])
    for attention in attentions:
        product = (attention + identity) @ product
    return product[:, 0]
