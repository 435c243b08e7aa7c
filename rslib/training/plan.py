"""From a plan (:mod:`rslib.settings.plan`) to what a step of training minimizes."""

from __future__ import annotations

from typing import Any

from rslib.attacks import Threat
from rslib.settings.plan import Plan
from rslib.settings.schema import AdversarialTraining, NoiseTraining, Trades, TrainingAttack
from rslib.training import objectives
from rslib.training.alignment import Aligned
from rslib.training.objectives import ADDED, Attacker, Objective, Standard


def objective(planned: Plan) -> Objective:
    """The objective of a training."""
    if planned.objective in ADDED:
        return ADDED[planned.objective]
    return _attacked(planned.section, alignment(planned) or _clean(planned))


def alignment(planned: Plan) -> Aligned | None:
    """The part of the objective that needs object masks; None where there is none."""
    section = planned.masks
    if section is None:
        return None
    layer = section.layer if planned.architecture == "resnet18" else None
    head = section.through == "head"
    return Aligned(section.alpha, section.beta, layer, section.reading, head, _clean(planned))


def _clean(planned: Plan) -> Standard:
    return Standard(planned.recipe.label_smoothing)


def _attacked(section: Any, outer: Standard | Aligned) -> Objective:
    match section:
        case AdversarialTraining():
            return objectives.Adversarial(_attacker(section), section.probability, outer)
        case Trades():
            return objectives.Trades(_attacker(section), section.beta, outer)
        case NoiseTraining():
            return objectives.Noise(section.sigma, outer)
    return outer


def _attacker(section: TrainingAttack) -> Attacker:
    return Attacker(
        Threat("linf", section.eps_unit),
        section.step_size,
        section.steps,
        section.eval_mode,
        section.budget_warmup_epochs,
    )
