"""Attention rollout: attention multiplied through a transformer's layers (paper 3.3.2, eq. 7-8).

Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020, arXiv:2005.00928. They
renormalize each layer's rows; equation 7 of the paper does not. Rows of E + A sum to 2, so the two
differ by the factor 2^L alone: the same ranking of patches, and the same overlap with a mask.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rslib.models import eval_mode


def attention_rollout(model: nn.Module, x: Tensor, *, normalise: bool = False) -> Tensor:
    """Rollout from the class token to the patches of images (B, C, H, W): maps (B, h, w).

    The model holds a timm vision transformer with a class token, perhaps behind other modules. It
    runs in eval mode, with fused attention off, and is given back as it was. No class is asked for.
    A loss of the map can be minimized, with gradients of first order. ``normalise`` averages E and
    A instead of adding them, so that rows sum to 1.

    Raises:
        ValueError: If the model holds no such transformer; says what is missing.
    """
    with eval_mode(model):
        transformer, _, attentions = attended(model, x, class_token=True)
    return patch_map(transformer, class_token_rollout(attentions, normalise=normalise))


def rollout(attentions: Tensor, *, normalise: bool = False) -> Tensor:
    """The full product of equation 7, (B, n+1, n+1), ``normalise`` as in :func:`attention_rollout`.

    Attentions are (L, B, n+1, n+1), averaged over heads (equation 8), first layer first. Row i says
    how token i at the end draws on the tokens at the start.

    Raises:
        ValueError: If the shape is not (L, B, m, m).
    """
    if attentions.ndim != 4 or attentions.shape[2] != attentions.shape[3] or not len(attentions):
        raise ValueError(
            f"attentions has shape {tuple(attentions.shape)}; (L, B, n+1, n+1) is needed"
        )
    identity = torch.eye(attentions.shape[2], dtype=attentions.dtype, device=attentions.device)
    product = identity.expand(attentions.shape[1:])
    for attention in attentions:
        product = (identity + attention) @ product
    return product / 2 ** len(attentions) if normalise else product


def class_token_rollout(
    attentions: Sequence[Tensor], *, normalise: bool = False, start: Tensor | None = None
) -> Tensor:
    """The class token's row (B, n+1) of :func:`rollout`, by vector-matrix products alone.

    With a ``start`` (B, n+1) it is the sum of all rows, each times its value there.
    """
    if start is None:
        start = torch.zeros_like(attentions[0][:, 0])
        start[:, 0] = 1
    row = start
    for attention in reversed(attentions):
        row = row + (row.unsqueeze(1) @ attention).squeeze(1)
    return row / 2 ** len(attentions) if normalise else row


def find_transformer(model: nn.Module, *, class_token: bool = False) -> nn.Module:
    """The timm vision transformer in a model.

    Raises:
        ValueError: If there is none with plain attention blocks and, if asked for, a class token.
    """
    for module in model.modules():
        if not (hasattr(module, "blocks") and hasattr(module, "patch_embed")):
            continue
        if class_token and getattr(module, "cls_token", None) is None:
            raise ValueError(
                "the transformer has no class token (it pools its patches), so there is no row "
                "of the rollout to take; gradient_rollout takes the mean of the patches' rows"
            )
        if not all(hasattr(getattr(b, "attn", None), "attn_drop") for b in module.blocks):
            raise ValueError(
                "the transformer's blocks do not expose their attention as timm's "
                "VisionTransformer does (block.attn.attn_drop)"
            )
        return module
    raise ValueError(
        "the model holds no timm vision transformer: attention rollout needs attention; for a "
        "convolutional network use gradcam"
    )


def attended(
    model: nn.Module, x: Tensor, *, heads: bool = False, class_token: bool = False
) -> tuple[nn.Module, Tensor, list[Tensor]]:
    """The transformer in a model, its logits of images (B, C, H, W) and its attention, in one pass.

    ``heads`` is as in :func:`attention_matrices`, ``class_token`` as in :func:`find_transformer`.

    Raises:
        ValueError: If there is no such transformer, or a layer's attention did not run once.
    """
    transformer = find_transformer(model, class_token=class_token)
    with attention_matrices(transformer, heads=heads) as attentions:
        logits = model(x)
    if len(attentions) != len(transformer.blocks) or not attentions:
        raise ValueError(
            f"{len(attentions)} attention matrices were formed in one forward pass of "
            f"{len(transformer.blocks)} layers: each layer has to run once, in Python (a traced or "
            "scripted model hides them)"
        )
    return transformer, logits, attentions


@contextmanager
def attention_matrices(transformer: nn.Module, *, heads: bool = False) -> Iterator[list[Tensor]]:
    """Collect each layer's attention, averaged over heads (equation 8), while the context lasts.

    Each forward pass extends the list by one (B, n+1, n+1) per layer, first layer first; with
    ``heads`` by one (B, heads, n+1, n+1). Fused attention never forms the matrix, so it is switched
    off meanwhile; that changes the logits by rounding only. Compiled code hides the matrix from
    gradients, so what is compiled runs as it was written. The switch and the hooks are put back
    after, errors included.
    """
    collected: list[Tensor] = []
    layers = [block.attn for block in transformer.blocks]
    fused = [getattr(layer, "fused_attn", False) for layer in layers]

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        collected.append(inputs[0] if heads else inputs[0].mean(1))

    # Before dropout, which is not part of equation 8.
    hooks = [layer.attn_drop.register_forward_pre_hook(note) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False
        with torch.compiler.set_stance("force_eager"):
            yield collected
    finally:
        for layer, flag, hook in zip(layers, fused, hooks, strict=True):
            layer.fused_attn = flag
            hook.remove()


def patch_map(transformer: nn.Module, row: Tensor) -> Tensor:
    """The patches of a rollout's row (B, n+1) as a map (B, h, w) on the transformer's grid."""
    height, width = transformer.patch_embed.grid_size
    return row[:, transformer.num_prefix_tokens :].unflatten(1, (height, width))
