"""The training that a model's name (:mod:`rslib.settings.names`) asks for under the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from rslib.settings import extensions, schema
from rslib.settings.names import ARCHITECTURES, TEACHERS, architecture, parts
from rslib.settings.nearest import nearest

OBJECTIVES = tuple(name for name in schema.Training.model_fields if name != "added")


@dataclass(frozen=True)
class Plan:
    """How one model is trained."""

    architecture: str
    objective: str  #: one of OBJECTIVES, or an added one
    section: Any  #: the objective's settings, with what the name changes
    recipe: schema.Recipe
    size: BaseModel  #: the architecture's section of the settings, which its builder takes
    parent: str | None  #: the model whose weights it starts from; None for random ones

    @property
    def inputs(self) -> dict[str, Any]:
        """The objective's own settings, as they enter the model's key."""
        return self.section.model_dump(exclude_defaults=True, exclude=set(ARCHITECTURES))

    @property
    def attack(self) -> schema.TrainingAttack | None:
        """The attack that its robustness is validated with, or None."""
        return self.section if isinstance(self.section, schema.TrainingAttack) else None

    @property
    def sigma(self) -> float | None:
        """Standard deviation of the noise it is trained and validated with, or None."""
        return self.section.sigma if isinstance(self.section, schema.NoiseTraining) else None

    @property
    def half(self) -> int | None:
        """The half of the training images that it sees, 0 or 1; None for all."""
        if not isinstance(self.section, schema.TeacherTraining):
            return None
        return [*map(architecture, TEACHERS.values())].index(self.architecture)

    @property
    def masks(self) -> schema.AlignedTraining | None:
        """The object masks that it needs, and the share of the images that have one; or None."""
        return self.section if isinstance(self.section, schema.AlignedTraining) else None


def plan(settings: schema.Settings, name: str) -> Plan:
    """Read a model's name.

    Raises:
        ValueError: unknown architecture or objective, one without a recipe for the other, or a
            change that the objective's settings do not allow.
    """
    network, wanted, changes = parts(name)
    added = extensions.ADDED["objective"]
    known = (*OBJECTIVES, *added)
    if network not in ARCHITECTURES or wanted not in known:
        whole = [f"{each}-{objective}" for each in ARCHITECTURES for objective in known]
        raise ValueError(
            f"no model {name!r}: names are <architecture>-<objective> with architectures "
            f"{', '.join(ARCHITECTURES)} and objectives {', '.join(known)}"
            f"{nearest(f'{network}-{wanted}', whole)}"
        )
    section = getattr(settings.training, "added" if wanted in added else wanted)
    if changes:
        section = _changed(name, network, section, changes)
    if network not in trained(section):
        raise ValueError(
            f"no model {name!r}: {wanted} training has no recipe for {network}; choose among "
            f"{', '.join(trained(section))}"
        )
    size = getattr(settings, network)
    if isinstance(section, schema.Pretraining) and section.patch is not None:
        size = size.model_copy(update={"patch": section.patch})
    start, parent = getattr(section, "start", None), None
    if start is not None:
        parent = f"{network}-{start}"
        if isinstance(section, schema.StandardTraining):
            first = getattr(settings.training, parts(parent).objective)
            parent = parent if network in trained(first) else None
    return Plan(network, wanted, section, getattr(section, network), size, parent)


def trained(section: Any) -> list[str]:
    """The architectures that a training is for."""
    some = section.architectures if isinstance(section, schema.Pretraining) else ARCHITECTURES
    return [name for name in section.recipes if name in some]


def _changed(name: str, network: str, section: Any, changes: dict[str, Any]) -> Any:
    """The objective's settings, and the epochs of its recipe, with what the name changes."""
    allowed = [key for key in type(section).model_fields if key not in ARCHITECTURES]
    allowed += ["epochs"] * (network in section.recipes)
    for key in changes:
        if key not in allowed:
            near = nearest(key, allowed)
            raise ValueError(f"no model {name!r}: {key} is none of {', '.join(allowed)}{near}")
    try:
        changed = section.model_dump() | changes
        if "epochs" in changed:
            changed[network] |= {"epochs": changed.pop("epochs")}
        return type(section)(**changed)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ValueError(
            f"no model {name!r}: {problem['loc'][0]}: {problem['msg']} (given {problem['input']!r})"
        ) from None
