"""Weights of a vision transformer for patches of another size.

With 4 x 4 patches an image has 64 of them, with 2 x 2 it has 256 and costs four times as much. What
depends on the patch is the embedding's kernel (Beyer et al., 2022, arXiv:2212.08013) and the
vectors of the places; timm resamples both.
"""

from __future__ import annotations

from torch import Tensor, nn

_KERNEL = "patch_embed.proj.weight"
_PLACES = "pos_embed"


def resampled(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Fit weights to a model of the same architecture whose patches may have another size.

    Args:
        weights: by name, of the model that they come from.
        model: that will be filled with them; its own weights give the shapes.

    Returns:
        The same weights, those that depend on the patch resampled where their shapes differ.
    """
    from timm.layers import resample_abs_pos_embed, resample_patch_embed

    wanted = model.state_dict()
    found = {}
    for name, value in weights.items():
        if name not in wanted or value.shape == wanted[name].shape:
            found[name] = value
        elif name.endswith(_KERNEL):
            # At half or twice the side, this filter embeds a patch of one color as it was before.
            size = list(wanted[name].shape[2:])
            found[name] = resample_patch_embed(
                value, size, interpolation="bilinear", antialias=False
            )
        elif name.endswith(_PLACES):
            transformer = model.get_submodule(name.removesuffix(_PLACES).rstrip("."))
            grid = list(transformer.patch_embed.grid_size)
            found[name] = resample_abs_pos_embed(
                value, grid, num_prefix_tokens=transformer.num_prefix_tokens
            )
        else:
            found[name] = value
    return found
