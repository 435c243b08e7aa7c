"""Weights of a vision transformer for patches of another size.

With 4 x 4 patches an image has 64 of them, with 2 x 2 it has 256 and costs four times as much.
"""

from __future__ import annotations

from torch import Tensor, nn

_KERNEL = "patch_embed.proj.weight"
_PLACES = "pos_embed"


def resampled(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit weights, by name, to a model of their architecture whose patches may have another size.

    The embedding's kernel (Beyer et al., 2022, arXiv:2212.08013) and the vectors of the places are
    resampled where their shapes differ from the model's; all other weights stay as they are.
    """
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    wanted, found = model.state_dict(), dict(weights)
    for name, value in weights.items():
        if name not in wanted or value.shape == wanted[name].shape:
            continue
        if name.endswith(_KERNEL):
            # At half or twice the side, this filter embeds a patch of one color as it was before.
            options = {"interpolation": "bilinear", "antialias": False}
            found[name] = resample_patch_embed(value, list(wanted[name].shape[2:]), **options)
        elif name.endswith(_PLACES):
            transformer = model.get_submodule(name.removesuffix(_PLACES).rstrip("."))
            grid, tokens = list(transformer.patch_embed.grid_size), transformer.num_prefix_tokens
            found[name] = resample_abs_pos_embed(value, grid, num_prefix_tokens=tokens)
    return found
