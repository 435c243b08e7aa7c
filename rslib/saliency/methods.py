"""The saliency methods by name, each for the models it is defined on."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rslib.models import eval_mode
from rslib.saliency.attribution import input_gradient, integrated_gradients
from rslib.saliency.faithfulness import Method
from rslib.saliency.gradcam import gradcam
from rslib.saliency.maps import resize
from rslib.saliency.rollout import attention_rollout, find_transformer
from rslib.settings import extensions
from rslib.settings.nearest import nearest

LABELS = {
    "gradcam": "Grad-CAM",
    "rollout": "Attention rollout",
    "integrated_gradients": "Integrated Gradients",
    "input_gradient": "Input gradient",
}
"""The methods' names as the book writes them; added ones follow."""

ADDED: dict[str, Method] = extensions.ADDED["saliency_method"]
"""The user's own, name to function (:func:`saliency_method`)."""

_TAKEN = (*LABELS, "random")


def saliency_method(name: str) -> Callable[[Method], Method]:
    """Add a saliency method: ``@saliency_method("occlusion")`` above a function.

    The function takes the model in eval mode, images (B, C, H, W) in [0, 1] and the class to
    explain, (B,) int64. It returns a map of any size for each image, float (B, h, w), whose larger
    values mean more attention::

        @saliency_method("gradient_times_input")
        def gradient_times_input(model, x, target):
            return (x * input_gradient(model, x, target).unsqueeze(1)).mean(1)

    It is measured on every model beside the methods of :data:`LABELS`, in the figures and tables of
    notebooks 03 and 08 that compare methods, and written "Gradient times input (added)".

    Raises:
        rslib.settings.extensions.ExtensionError: the name cannot be used.
    """

    def made(function: Method) -> Method:
        LABELS[name] = f"{name.replace('_', ' ').capitalize()} (added)"
        return function

    return extensions.adding("saliency_method", name, _TAKEN, made)


def methods(model: nn.Module) -> tuple[str, ...]:
    """The methods that can explain a model, the paper's first (3.3.1, 3.3.2)."""
    others = ("integrated_gradients", "input_gradient", *ADDED)
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
    if name in ADDED:
        with eval_mode(model):
            return resize(ADDED[name](model, x, target).detach(), size)
    raise ValueError(
        f"no saliency method {method!r}{nearest(method, LABELS)} There are: {', '.join(LABELS)}"
    )
