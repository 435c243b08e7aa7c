"""The saliency methods by name, each for the models it is defined on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rslib.saliency.attribution import input_gradient, integrated_gradients
from rslib.saliency.gradcam import gradcam
from rslib.saliency.maps import resize
from rslib.saliency.rollout import attention_rollout, find_transformer

LABELS = {
    "gradcam": "Grad-CAM",
    "rollout": "Attention rollout",
    "integrated_gradients": "Integrated Gradients",
    "input_gradient": "Input gradient",
}
"""The methods' names as the book writes them."""


def methods(model: nn.Module) -> tuple[str, ...]:
    """The methods that can explain a model, the paper's first (3.3.1, 3.3.2).

    Args:
        model: images to logits.
    """
    others = ("integrated_gradients", "input_gradient")
    return ("rollout", "gradcam", *others) if is_transformer(model) else ("gradcam", *others)


def is_transformer(model: nn.Module) -> bool:
    """True if a model holds a vision transformer whose attention can be rolled out."""
    try:
        find_transformer(model)
    except ValueError:
        return False
    return True


def explain(
    model: nn.Module, x: Tensor, target: Tensor | None = None, *, method: str | None = None
) -> Tensor:
    """A saliency map for each image, at the image's size.

    Args:
        model: images to logits; it runs in eval mode and is given back as it was.
        x: images (B, C, H, W) in [0, 1].
        target: class explained, (B,) int64; None takes the predicted class. Rollout has none.
        method: one of :data:`LABELS`; None takes the paper's for this kind of model. Grad-CAM of a
            transformer takes the patch tokens that enter its last block.

    Returns:
        float (B, H, W).

    Raises:
        ValueError: the method is unknown, or not defined for this model.
        rslib.saliency.NotSaliency: a map is NaN or infinite.
    """
    name = methods(model)[0] if method is None else method
    size = tuple(x.shape[2:])
    if name == "rollout":
        with torch.no_grad():
            return resize(attention_rollout(model, x), size)
    if name == "gradcam":
        layer = find_transformer(model).blocks[-1].norm1 if is_transformer(model) else None
        return resize(gradcam(model, x, target, layer=layer), size)
    if name == "integrated_gradients":
        return integrated_gradients(model, x, target)
    if name == "input_gradient":
        return input_gradient(model, x, target)
    raise ValueError(f"no saliency method {method!r}; there are: {', '.join(LABELS)}")
