"""From a plan (:mod:`rslib.settings.plan`) to what a step of training minimizes."""

from __future__ import annotations

from rslib.attacks import Threat
from rslib.settings import schema
from rslib.settings.plan import Plan
from rslib.training import objectives
from rslib.training.alignment import Aligned
from rslib.training.objectives import Objective, Standard


def objective(planned: Plan) -> Objective:
    """The objective of a training."""
    if planned.objective in objectives.ADDED:
        return objectives.ADDED[planned.objective]
    outer = alignment(planned) or Standard(planned.recipe.label_smoothing)
    section = planned.section
    if isinstance(section, schema.NoiseTraining):
        return objectives.Noise(section.sigma, outer)
    if not isinstance(section, schema.AdversarialTraining | schema.Trades):
        return outer
    options = section.step_size, section.steps, section.eval_mode, section.budget_warmup_epochs
    attacker = objectives.Attacker(Threat("linf", section.eps_unit), *options)
    if isinstance(section, schema.Trades):
        return objectives.Trades(attacker, section.beta, outer)
    return objectives.Adversarial(attacker, section.probability, outer)


def alignment(planned: Plan) -> Aligned | None:
    """The part of the objective that needs object masks; None where there is none."""
    section = planned.masks
    if section is None:
        return None
    layer = section.layer if planned.architecture == "resnet18" else None
    head, clean = section.through == "head", Standard(planned.recipe.label_smoothing)
    weighted = section.through == "gradient_rollout"
    return Aligned(section.alpha, section.beta, layer, section.reading, head, clean, weighted)
