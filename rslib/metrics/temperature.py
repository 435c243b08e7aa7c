"""Temperature scaling: one number that makes a classifier's confidence honest.

Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017,
arXiv:1706.04599, section 4.2. It changes no prediction, and no ranking of a saliency map either.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_BOUNDS = (1e-2, 1e2)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature whose division of the logits gives the least cross-entropy.

    Args:
        logits: float (N, C), of images the model was not trained on.
        labels: int64 (N,).

    Returns:
        A number within 0.01 and 100; over 1 the model was overconfident.

    Raises:
        ValueError: if there is no image, or a logit is NaN or infinite.
    """
    from scipy.optimize import minimize_scalar

    if len(logits) == 0 or not logits.isfinite().all():
        raise ValueError("a temperature needs finite logits of at least one image")
    logits, labels = logits.detach().double().cpu(), labels.cpu()

    def loss(exponent: float) -> float:
        return functional.cross_entropy(logits / math.exp(exponent), labels).item()

    bounds = tuple(map(math.log, _BOUNDS))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)


@torch.inference_mode()
def scaled(logits: Tensor, temperature: float) -> Tensor:
    """Probabilities (N, C) of logits (N, C) at a temperature over 0."""
    return (logits / temperature).softmax(1)
