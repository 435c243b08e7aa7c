"""The saliency methods by name, each for the models it is defined on, and two further ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rslib.models import eval_mode
from rslib.saliency.faithfulness import Method
from rslib.saliency.gradcam import check_target, gradcam
from rslib.saliency.gradient_rollout import gradient_rollout
from rslib.saliency.maps import resize
from rslib.saliency.rollout import attention_rollout, find_transformer
from rslib.settings import extensions
from rslib.settings.nearest import nearest

LABELS = {
    "gradcam": "Grad-CAM",
    "rollout": "Attention rollout",
    "integrated_gradients": "Integrated Gradients",
    "input_gradient": "Input gradient",
    "gradient_rollout": "Gradient-weighted rollout",
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

    It is measured beside the methods of :data:`LABELS` in notebooks 03 and 08, and written
    "Gradient times input (added)".

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
    if not is_transformer(model):
        return ("gradcam", *others)
    # Without a class token there is no row of the paper's rollout to take.
    tokens = getattr(find_transformer(model), "cls_token", None) is not None
    own = ("rollout", "gradcam", "gradient_rollout") if tokens else ("gradient_rollout", "gradcam")
    return (*own, *others)


def is_transformer(model: nn.Module) -> bool:
    """True if a model holds a vision transformer whose attention can be looked at."""
    try:
        find_transformer(model)
    except ValueError:
        return False
    return True


def explain(
    model: nn.Module, x: Tensor, target: Tensor | None = None, *, method: str | None = None
) -> Tensor:
    """A saliency map for each image (B, C, H, W) in [0, 1], at its size: float (B, H, W).

    The model, images to logits, runs in eval mode and is given back as it was. The target is the
    class explained, (B,) int64; None takes the predicted one; rollout has none. The method is one
    of :data:`LABELS`; None takes the paper's for this kind of model. Grad-CAM of a transformer
    takes the patch tokens that enter its last block.

    Raises:
        ValueError: the method is unknown, or not defined for this model.
        rslib.saliency.NotSaliency: a map is NaN or infinite.
    """
    name = methods(model)[0] if method is None else method
    size = tuple(x.shape[2:])
    if name == "rollout":
        with torch.no_grad():
            return resize(attention_rollout(model, x), size)
    if name == "gradient_rollout":
        return resize(gradient_rollout(model, x, target), size)
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


def integrated_gradients(
    model: nn.Module, x: Tensor, target: Tensor | None = None, *, steps: int = 32
) -> Tensor:
    """Integrated Gradients from a black image, summed over channels in absolute value.

    Source: Sundararajan, Taly and Yan, ICML 2017 (the paper's reference 4), through captum.

    The model, from images (B, C, H, W) in [0, 1] to logits, runs in eval mode and is given back as
    it was. The target is the class explained, (B,) int64; None takes the predicted one. ``steps``
    are the points of the integral. Maps are (B, H, W), 0 or more.
    """
    from captum.attr import IntegratedGradients

    options = {"n_steps": steps, "internal_batch_size": max(len(x), 64)}
    found = _attribute(IntegratedGradients, model, x, target, **options)
    return found.abs().sum(1).detach().to(x.dtype)


def input_gradient(model: nn.Module, x: Tensor, target: Tensor | None = None) -> Tensor:
    """The gradient of the class's logit, summed over channels in absolute value.

    Takes and returns what :func:`integrated_gradients` does. Source: Simonyan, Vedaldi and
    Zisserman, 2013, arXiv:1312.6034, through captum.
    """
    from captum.attr import Saliency

    point = x.detach().clone().requires_grad_()
    return _attribute(Saliency, model, point, target, abs=True).sum(1).detach()


def _attribute(
    method: Any, model: nn.Module, x: Tensor, target: Tensor | None, **options: Any
) -> Any:
    with eval_mode(model), torch.enable_grad():
        with torch.no_grad():
            target = check_target(target, model(x))
        return method(model).attribute(x, target=target, **options)
