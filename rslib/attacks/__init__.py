"""Adversarial attacks (paper 3.2.1): the threat model, FGSM, PGD, AutoAttack; can they be trusted?

Images are float tensors (B, C, H, W) in [0, 1], labels are int64 (B,), and models map images to
logits; normalization belongs inside the model. Budgets are in [0, 1] units, such as ``8 / 255``.
"""

from rslib.attacks.added import ADDED as ADDED
from rslib.attacks.added import attack as attack
from rslib.attacks.autoattack import AutoAttackResult as AutoAttackResult
from rslib.attacks.autoattack import ReducedAutoAttackWarning as ReducedAutoAttackWarning
from rslib.attacks.autoattack import autoattack as autoattack
from rslib.attacks.autoattack import run_autoattack as run_autoattack
from rslib.attacks.pgd import PGDResult as PGDResult
from rslib.attacks.pgd import fgsm as fgsm
from rslib.attacks.pgd import pgd as pgd
from rslib.attacks.pgd import run_pgd as run_pgd
from rslib.attacks.reliability import RoundedInput as RoundedInput
from rslib.attacks.reliability import reliability as reliability
from rslib.attacks.report import Check as Check
from rslib.attacks.report import Report as Report
from rslib.attacks.threat import Threat as Threat
from rslib.models.checks import ProbabilityOutputWarning as ProbabilityOutputWarning
from rslib.models.checks import attack_mode as attack_mode
from rslib.models.folded import Twins as Twins
