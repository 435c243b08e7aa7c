"""From settings to training: what a model's name asks for.

A name is ``<architecture>-<objective>``, such as ``resnet18-adversarial``: two sections of the
settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rslib.attacks import Threat
from rslib.models import BUILDERS
from rslib.settings import (
    AdversarialTraining,
    AlignedTraining,
    NoiseTraining,
    Recipe,
    Settings,
    StandardTraining,
    Trades,
    Training,
    TrainingAttack,
)
from rslib.training import objectives
from rslib.training.alignment import Aligned
from rslib.training.objectives import Attacker, Objective, Standard

OBJECTIVES = tuple(Training.model_fields)


@dataclass(frozen=True)
class Plan:
    """How one model is trained.

    Attributes:
        architecture: section of the settings with its size.
        recipe: optimizer, schedule, epochs.
        objective: what a step minimizes.
        parent: name of the model whose weights it starts from, or None for random ones.
        attack: what its robustness is validated with, or None.
        inputs: the objective's own settings, as they enter the model's key.
    """

    architecture: str
    recipe: Recipe
    objective: Objective
    parent: str | None
    attack: TrainingAttack | None
    inputs: dict[str, Any]


def plan(settings: Settings, name: str) -> Plan:
    """Read a model's name.

    Raises:
        ValueError: unknown architecture or objective, or one without a recipe for the other.
    """
    architecture, _, wanted = name.partition("-")
    if architecture not in BUILDERS or wanted not in OBJECTIVES:
        raise ValueError(
            f"no model {name!r}: names are <architecture>-<objective> with architectures "
            f"{', '.join(BUILDERS)} and objectives {', '.join(OBJECTIVES)}"
        )
    section = getattr(settings.training, wanted)
    recipe = getattr(section, architecture, None)
    if recipe is None:
        raise ValueError(f"no model {name!r}: {wanted} training has no recipe for {architecture}")
    return Plan(
        architecture,
        recipe,
        _objective(section, architecture, Standard(recipe.label_smoothing)),
        parent=None if isinstance(section, StandardTraining) else f"{architecture}-standard",
        attack=section if isinstance(section, TrainingAttack) else None,
        inputs=section.model_dump(exclude_defaults=True, exclude=set(BUILDERS)),
    )


def _objective(section: Any, architecture: str, clean: Standard) -> Objective:
    match section:
        case AdversarialTraining():
            return objectives.Adversarial(_attacker(section), section.probability, clean)
        case Trades():
            return objectives.Trades(_attacker(section), section.beta, clean)
        case NoiseTraining():
            return objectives.Noise(section.sigma, clean)
        case AlignedTraining():
            layer = section.layer if architecture == "resnet18" else None
            return Aligned(section.alpha, section.beta, layer, section.reading, clean)
    return clean


def _attacker(section: TrainingAttack) -> Attacker:
    return Attacker(
        Threat("linf", section.eps_unit),
        section.step_size,
        section.steps,
        section.eval_mode,
        section.budget_warmup_epochs,
    )
