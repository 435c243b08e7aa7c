"""Adversarial attacks (paper 3.2.1): the threat model, FGSM, PGD, AutoAttack; can they be trusted?

Images are float tensors (B, C, H, W) in [0, 1], labels are int64 (B,), and models map images to
logits; normalization belongs inside the model. Budgets are in [0, 1] units, for example ``8 /
255``.
"""

from rslib.attacks.autoattack import (
    AutoAttackResult,
    ReducedAutoAttackWarning,
    autoattack,
    run_autoattack,
)
from rslib.attacks.fgsm import fgsm
from rslib.attacks.pgd import PGDResult, pgd, run_pgd
from rslib.attacks.registry import ADDED, attack
from rslib.attacks.reliability import reliability
from rslib.attacks.report import Check, Report
from rslib.attacks.rounded import RoundedInput
from rslib.attacks.threat import Threat
from rslib.models.checks import ProbabilityOutputWarning, attack_mode
from rslib.models.folded import Twins

__all__ = [
    "ADDED",
    "AutoAttackResult",
    "Check",
    "PGDResult",
    "ProbabilityOutputWarning",
    "ReducedAutoAttackWarning",
    "Report",
    "RoundedInput",
    "Threat",
    "Twins",
    "attack",
    "attack_mode",
    "autoattack",
    "fgsm",
    "pgd",
    "reliability",
    "run_autoattack",
    "run_pgd",
]
