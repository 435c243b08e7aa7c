"""What a run did otherwise than the paper, as far as some models and evaluations are concerned.

The defaults of :mod:`rslib.settings.schema` are the paper's protocol. What changes no number does
not count, nor does the precision of the training, which the paper does not name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rslib.report import labels
from rslib.settings.names import ROBUSTNESS
from rslib.settings.plan import plan
from rslib.settings.schema import Settings

if TYPE_CHECKING:
    from rslib.run import Run

_IMMATERIAL = {"compile", "precision", "validation_images"}
# What an attack may do to an image; its other settings say how many images there are.
_THREAT = ("eps", "norm", "steps", "step_ratio", "restarts", "random_start")
_SECTIONS = ("fgsm", "pgd", "corruptions", "swapped", "faithfulness")


@dataclass(frozen=True)
class Protocol:
    """What differs from the paper's protocol, in words; each is empty where nothing does."""

    data: str = ""
    sizes: str = ""  # of the networks
    threat: str = ""  # of the attacks
    training: str = ""  # settings, by name
    images: str = ""  # how many, in training and evaluation

    @property
    def differs(self) -> str:
        """All that differs, for a reader; empty under the paper's protocol."""
        return "; ".join(filter(None, (self.sizes, self.threat, self.training, self.images)))

    @property
    def brief(self) -> str:
        """The same in a few words, to stand behind a reason."""
        kinds = {
            "other networks": self.sizes,
            "another attack": self.threat,
            "another recipe": self.training,
            self.images: self.images,
        }
        return ", ".join(kind for kind, found in kinds.items() if found)


def of(
    run: Run, models: Iterable[str], evaluations: Iterable[str], *, generated: bool = False
) -> Protocol:
    """Compare a run with the paper's protocol, for a number about some models.

    What these were trained from counts, too. The number was read from ``evaluations``
    (:data:`rslib.run.evaluations.EVALUATIONS`); ``generated``: not of the official corrupted files.
    """
    models, chosen = list(models), run.settings
    threat, images = [], []
    for section in sorted({*evaluations} & {*_SECTIONS}):
        found = _differences(getattr(chosen, section), getattr(Settings(), section))
        threat += [f"{section} {key} {found[key]}" for key in _THREAT if key in found]
        if found.get("n"):
            images.append(f"{labels.evaluation_label(section)} on {found['n']:,} images")
    if generated:
        images.append("generated corruptions")
    sizes = _differences(chosen.data, Settings().data)
    for key, part in (("test_size", "test"), ("train_size", "training")):
        if sizes.get(key):
            images.append(f"{sizes[key]:,} {part} images")
    return Protocol(
        data="" if labels.comparable(run) else labels.dataset(run),
        sizes=labels.sizes(run, models),
        threat=", ".join(threat),
        training=_training(chosen, models),
        images=", ".join(images),
    )


def departures(run: Run, models: Iterable[str]) -> dict[str, str]:
    """How each model differs from the paper's, by its label; models that do not are left out."""
    found = {}
    for name in models:
        differs = of(run, [name], ())
        if told := "; ".join(filter(None, (differs.sizes, differs.training))):
            found[labels.short_label(name)] = told
    return found


def limits(run: Run) -> list[str]:
    """What keeps a run's numbers from being those of the paper's protocol, in sentences."""
    found, chosen = of(run, ROBUSTNESS, ("fgsm", "pgd")), run.settings
    told = []
    if found.data:
        told.append(f"Its pictures are synthetic ({found.data}), not CIFAR-10.")
    if found.sizes:
        told.append(f"Its networks are not of the paper's size ({found.sizes}).")
    if found.training:
        told.append("They are trained by another recipe than the paper's.")
    if found.threat:
        told.append(f"They are attacked otherwise than in the paper ({found.threat}).")
    cut = [getattr(section, "n", None) for _, section in chosen]
    if chosen.data.test_size is not None or any(n is not None for n in cut):
        told.append("Where n is less than the test set, it is a class-balanced subset.")
    if chosen.evaluation.tf32:
        told.append(
            "On a GPU that has it, attacks and the votes of smoothing are computed in TF32; what "
            "an attack has done is judged in full precision."
        )
    if run.followers:
        beside = labels.seeds_phrase([each.seed for each in run.followers])
        some = "; ".join(map(labels.short_label, chosen.seeded or []))
        told.append(f"Of {beside} there are only some models ({some}) and what they need.")
    return told


def _training(chosen: Settings, models: Iterable[str]) -> str:
    """Names of the settings that differ in the training of models and of what they start from."""
    names: dict[str, None] = {}
    for model in models:
        lineage: str | None = model
        while lineage is not None:
            ours, theirs = plan(chosen, lineage), plan(Settings(), lineage)
            names |= dict.fromkeys(_differences(ours.recipe, theirs.recipe))
            names |= dict.fromkeys(_differences(ours.inputs, theirs.inputs))
            lineage = ours.parent
    told = [name.replace("_", " ") for name in names if name not in _IMMATERIAL]
    return f"recipe ({', '.join(told)})" if told else ""


def _differences(ours: Iterable[tuple[str, Any]], theirs: Iterable[tuple[str, Any]]) -> dict:
    """Our settings where the two differ, those that only one of them has included."""
    mine, paper = dict(ours), dict(theirs)
    return {key: mine.get(key) for key in {**mine, **paper} if mine.get(key) != paper.get(key)}
