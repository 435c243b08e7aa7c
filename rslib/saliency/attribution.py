"""Two attributions at the resolution of the image, through captum: further methods beside 3.3.

Integrated Gradients: Sundararajan, Taly and Yan, ICML 2017 (the paper's reference 4). The gradient
alone: Simonyan, Vedaldi and Zisserman, 2013, arXiv:1312.6034.
"""

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

    with eval_mode(model), torch.enable_grad():
        chosen = _predicted(model, x) if target is None else target
        found = IntegratedGradients(model).attribute(
            x, target=chosen, n_steps=steps, internal_batch_size=max(len(x), 64)
        )
    return found.abs().sum(1).detach().to(x.dtype)


def input_gradient(model: nn.Module, x: Tensor, target: Tensor | None = None) -> Tensor:
    """The gradient of the class's logit, summed over channels in absolute value.

    Takes and returns what :func:`integrated_gradients` does.
    """
    from captum.attr import Saliency

    with eval_mode(model), torch.enable_grad():
        chosen = _predicted(model, x) if target is None else target
        point = x.detach().clone().requires_grad_()
        found = Saliency(model).attribute(point, target=chosen, abs=True)
    return found.sum(1).detach()


def _predicted(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1)
