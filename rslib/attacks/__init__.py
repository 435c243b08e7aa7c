"""Adversarial attacks (paper 3.2.1): the threat model, FGSM and PGD.

Images are float tensors (B, C, H, W) in [0, 1], labels are int64 (B,), and models map images to
logits; normalization belongs inside the model. Budgets are in [0, 1] units, for example ``8 /
255``.
"""

from rslib.attacks.fgsm import fgsm
from rslib.attacks.guard import ProbabilityOutputWarning, attack_mode
from rslib.attacks.pgd import PGDResult, pgd, run_pgd
from rslib.attacks.threat import Threat

__all__ = [
    "PGDResult",
    "ProbabilityOutputWarning",
    "Threat",
    "attack_mode",
    "fgsm",
    "pgd",
    "run_pgd",
]
