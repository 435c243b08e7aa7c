"""From settings to training: what a model's name (:mod:`rslib.settings.names`) asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from rslib.attacks import Threat
from rslib.models import BUILDERS
from rslib.settings.names import TEACHERS, architecture, parts
from rslib.settings.schema import (
    AdversarialTraining,
    AlexNet,
    AlignedTraining,
    NoiseTraining,
    Pretraining,
    Recipe,
    ResNet18,
    Settings,
    StandardTraining,
    TeacherTraining,
    Trades,
    Training,
    TrainingAttack,
    ViTSmall,
)
from rslib.store import records
from rslib.training import objectives
from rslib.training.alignment import Aligned
from rslib.training.objectives import ADDED, Attacker, Objective, Standard

OBJECTIVES = tuple(name for name in Training.model_fields if name != "added")

HALVES = tuple(architecture(teacher) for teacher in TEACHERS.values())
"""The architectures of the teachers, in the order of the halves of the images they are taught."""


@dataclass(frozen=True)
class Plan:
    """How one model is trained.

    Attributes:
        architecture: section of the settings with its size.
        recipe: optimizer, schedule, epochs.
        objective: what a step minimizes.
        parent: name of the model whose weights it starts from, or None for random ones.
        attack: what its robustness is validated with, or None.
        sigma: standard deviation of the noise it is trained and validated with, or None.
        inputs: the objective's own settings, as they enter the model's key.
        size: the architecture's section of the settings, which its builder takes.
        half: which half of the training images it sees, 0 or 1; None for all.
        aligned: the part of the objective that needs object masks, or None.
        masks: which masks those are, and the share of the images that have one.
    """

    architecture: str
    recipe: Recipe
    objective: Objective
    parent: str | None
    attack: TrainingAttack | None
    inputs: dict[str, Any]
    size: ResNet18 | ViTSmall | AlexNet
    half: int | None = None
    sigma: float | None = None
    aligned: Aligned | None = None
    masks: AlignedTraining | None = None


def plan(settings: Settings, name: str) -> Plan:
    """Read a model's name.

    Raises:
        ValueError: unknown architecture or objective, one without a recipe for the other, or a
            change that the objective's settings do not allow.
    """
    taken = parts(name)
    architecture, wanted = taken.architecture, taken.objective
    known = (*OBJECTIVES, *ADDED)
    if architecture not in BUILDERS or wanted not in known:
        raise ValueError(
            f"no model {name!r}: names are <architecture>-<objective> with architectures "
            f"{', '.join(BUILDERS)} and objectives {', '.join(known)}"
        )
    chosen = getattr(settings.training, "added" if wanted in ADDED else wanted)
    section = _changed(name, chosen, taken.changes)
    recipe = getattr(section, architecture, None)
    if recipe is None or not _has_stage(section, architecture):
        raise ValueError(
            f"no model {name!r}: {wanted} training has no recipe for {architecture}; choose among "
            f"{', '.join(name for name in section.recipes if _has_stage(section, name))}"
        )
    clean = Standard(recipe.label_smoothing)
    masks = section if isinstance(section, AlignedTraining) else None
    aligned = None if masks is None else _aligned(masks, architecture, clean)
    inputs = section.model_dump(exclude_defaults=True, exclude=set(BUILDERS))
    if wanted in ADDED:
        inputs["added"] = records.source_digest(ADDED[wanted])
    return Plan(
        architecture,
        recipe,
        ADDED.get(wanted) or _objective(section, aligned or clean),
        parent=_parent(settings, section, architecture),
        attack=section if isinstance(section, TrainingAttack) else None,
        inputs=inputs,
        size=_size(settings, section, architecture),
        sigma=section.sigma if isinstance(section, NoiseTraining) else None,
        half=HALVES.index(architecture) if isinstance(section, TeacherTraining) else None,
        aligned=aligned,
        masks=masks,
    )


def _parent(settings: Settings, section: Any, architecture: str) -> str | None:
    """The model whose weights a training starts from."""
    start = getattr(section, "start", None)
    if start is None:
        return None
    if isinstance(section, StandardTraining):
        training = getattr(settings.training, parts(f"{architecture}-{start}").objective)
        if architecture not in training.recipes or not _has_stage(training, architecture):
            return None
    return f"{architecture}-{start}"


def _has_stage(section: Any, architecture: str) -> bool:
    """Whether a training that only some architectures have is one of this one's."""
    return not isinstance(section, Pretraining) or architecture in section.architectures


def _size(settings: Settings, section: Any, architecture: str) -> ResNet18 | ViTSmall | AlexNet:
    size = getattr(settings, architecture)
    if isinstance(section, Pretraining) and section.patch is not None:
        return size.model_copy(update={"patch": section.patch})
    return size


def _changed(name: str, section: Any, changes: dict[str, Any]) -> Any:
    """The objective's settings with what the name changes."""
    if not changes:
        return section
    allowed = [key for key in type(section).model_fields if key not in BUILDERS]
    for key in changes:
        if key not in allowed:
            raise ValueError(f"no model {name!r}: {key} is none of {', '.join(allowed)}")
    try:
        return type(section)(**(section.model_dump() | changes))
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(
            f"no model {name!r}: {problem['loc'][0]}: {problem['msg']} (given {problem['input']!r})"
        ) from None


def _aligned(section: AlignedTraining, architecture: str, clean: Standard) -> Aligned:
    layer = section.layer if architecture == "resnet18" else None
    head = section.through == "head"
    return Aligned(section.alpha, section.beta, layer, section.reading, head, clean)


def _objective(section: Any, outer: Standard | Aligned) -> Objective:
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
