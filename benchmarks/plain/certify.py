"""CERTIFY of Cohen, Rosenfeld and Kolter, ICML 2019, arXiv:1902.02918, image by image.

Written from the pseudocode of their section 3.2.2: n0 noisy copies choose a class, n others bound
its probability from below, and the radius follows from the bound.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

ABSTAIN = -1


class Certificate(NamedTuple):
    """What was found for an image: class or ``ABSTAIN``, l2 radius, chosen class, its votes."""

    prediction: int
    radius: float
    candidate: int
    count: int


def certify(
    model: nn.Module,
    image: Tensor,
    *,
    sigma: float,
    n0: int,
    n: int,
    alpha: float,
    batch_size: int,
    classes: int = 10,
) -> Certificate:
    """Certify the smoothed classifier's answer on one image (C, H, W)."""
    from scipy.stats import norm
    from statsmodels.stats.proportion import proportion_confint

    candidate = int(votes(model, image, sigma, n0, batch_size, classes).argmax())
    count = int(votes(model, image, sigma, n, batch_size, classes)[candidate])
    bound, _ = proportion_confint(count, n, alpha=2 * alpha, method="beta")
    if bound < 0.5:
        return Certificate(ABSTAIN, 0.0, candidate, count)
    return Certificate(candidate, sigma * float(norm.ppf(bound)), candidate, count)


@torch.no_grad()
def votes(
    model: nn.Module, image: Tensor, sigma: float, n: int, batch_size: int, classes: int
) -> Tensor:
    """How often each class is the answer to the image under noise (classes,)."""
    counts = torch.zeros(classes, dtype=torch.int64)
    while n > 0:
        size = min(batch_size, n)
        n -= size
        copies = image.repeat(size, 1, 1, 1)
        answers = model(copies + sigma * torch.randn_like(copies)).argmax(1)
        counts += torch.bincount(answers.cpu(), minlength=classes)
    return counts
