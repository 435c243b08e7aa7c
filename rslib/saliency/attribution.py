"""Two attributions at the resolution of the image, through captum: further methods beside 3.3.

Integrated Gradients: Sundararajan, Taly and Yan, ICML 2017 (the paper's reference 4). The gradient
alone: Simonyan, Vedaldi and Zisserman, 2013, arXiv:1312.6034.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rslib.models import eval_mode


def integrated_gradients(
    model: nn.Module, x: Tensor, target: Tensor | None = None, *, steps: int = 32
) -> Tensor:
    """Integrated Gradients from a black image, summed over channels in absolute value.

    Args:
        model: Images to logits; it runs in eval mode and is given back as it was.
        x: Images (B, C, H, W) in [0, 1].
        target: Class explained for each image, (B,) int64; None takes the predicted class.
        steps: Points of the integral.

    Returns:
        Maps (B, H, W), 0 or more.
    """
    from captum.attr import IntegratedGradients

    options = {"n_steps": steps, "internal_batch_size": max(len(x), 64)}
    found = _attribute(IntegratedGradients, model, x, target, **options)
    return found.abs().sum(1).detach().to(x.dtype)


def input_gradient(model: nn.Module, x: Tensor, target: Tensor | None = None) -> Tensor:
    """The gradient of the class's logit, summed over channels in absolute value.

    Takes and returns what :func:`integrated_gradients` does.
    """
    from captum.attr import Saliency

    point = x.detach().clone().requires_grad_()
    return _attribute(Saliency, model, point, target, abs=True).sum(1).detach()


def _attribute(
    method: Any, model: nn.Module, x: Tensor, target: Tensor | None, **options: Any
) -> Any:
    with eval_mode(model), torch.enable_grad():
        if target is None:
            with torch.no_grad():
                target = model(x).argmax(1)
        return method(model).attribute(x, target=target, **options)
