"""What a model's name (:mod:`rslib.settings.names`) asks for under the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from rslib.settings import extensions
from rslib.settings.names import ARCHITECTURES, TEACHERS, architecture, parts
from rslib.settings.schema import (
    AlexNet,
    AlignedTraining,
    NoiseTraining,
    Pretraining,
    Recipe,
    ResNet18,
    Settings,
    StandardTraining,
    TeacherTraining,
    Training,
    TrainingAttack,
    ViTSmall,
)

OBJECTIVES = tuple(name for name in Training.model_fields if name != "added")

HALVES = tuple(architecture(teacher) for teacher in TEACHERS.values())
"""The architectures of the teachers, in the order of the halves of the images they are taught."""


@dataclass(frozen=True)
class Plan:
    """How one model is trained.

    Attributes:
        architecture: section of the settings with its size.
        objective: one of :data:`OBJECTIVES`, or an added one.
        section: the objective's settings, with what the name changes.
        recipe: optimizer, schedule, epochs.
        size: the architecture's section of the settings, which its builder takes.
        parent: name of the model whose weights it starts from, or None for random ones.
    """

    architecture: str
    objective: str
    section: Any
    recipe: Recipe
    size: ResNet18 | ViTSmall | AlexNet
    parent: str | None

    @property
    def inputs(self) -> dict[str, Any]:
        """The objective's own settings, as they enter the model's key."""
        return self.section.model_dump(exclude_defaults=True, exclude=set(ARCHITECTURES))

    @property
    def attack(self) -> TrainingAttack | None:
        """What its robustness is validated with, or None."""
        return self.section if isinstance(self.section, TrainingAttack) else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation of the noise it is trained and validated with, or None."""
        return self.section.sigma if isinstance(self.section, NoiseTraining) else None

    @property
    def half(self) -> int | None:
        """The half of the training images that it sees, 0 or 1; None for all."""
        if isinstance(self.section, TeacherTraining):
            return HALVES.index(self.architecture)
        return None

    @property
    def masks(self) -> AlignedTraining | None:
        """The object masks that it needs, and the share of the images that have one; or None."""
        return self.section if isinstance(self.section, AlignedTraining) else None


def plan(settings: Settings, name: str) -> Plan:
    """Read a model's name.

    Raises:
        ValueError: unknown architecture or objective, one without a recipe for the other, or a
            change that the objective's settings do not allow.
    """
    taken = parts(name)
    architecture, wanted = taken.architecture, taken.objective
    added = extensions.ADDED["objective"]
    known = (*OBJECTIVES, *added)
    if architecture not in ARCHITECTURES or wanted not in known:
        raise ValueError(
            f"no model {name!r}: names are <architecture>-<objective> with architectures "
            f"{', '.join(ARCHITECTURES)} and objectives {', '.join(known)}"
        )
    chosen = getattr(settings.training, "added" if wanted in added else wanted)
    section = _changed(name, chosen, taken.changes)
    recipe = getattr(section, architecture, None)
    if recipe is None or not _has_stage(section, architecture):
        raise ValueError(
            f"no model {name!r}: {wanted} training has no recipe for {architecture}; choose among "
            f"{', '.join(name for name in section.recipes if _has_stage(section, name))}"
        )
    size = _size(settings, section, architecture)
    parent = _parent(settings, section, architecture)
    return Plan(architecture, wanted, section, recipe, size, parent)


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
    allowed = [key for key in type(section).model_fields if key not in ARCHITECTURES]
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
