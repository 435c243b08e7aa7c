"""What a model can be put through: one entry each, with its settings and what its keys hold.

:meth:`rslib.run.run.Run.evaluator` has an entry for each, too; an attack of a user's own needs none
(:func:`rslib.attacks.attack`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rslib.settings import extensions
from rslib.settings.names import ROBUSTNESS
from rslib.settings.schema import Settings
from rslib.store import records


@dataclass(frozen=True)
class Evaluation:
    """One kind of evaluation.

    Attributes:
        name: that its records have.
        label: its name in a line of text.
        section: of the settings that decides it, its number of images included; None where there is
            none, and all test images are evaluated.
        masks: the sources of object masks that it uses, all or the main one. If it uses any, images
            of a batch are set against each other: none is divided where memory runs out.
        inputs: what else decides its records, for their keys.
        judges: models that judge the images made on the one evaluated, those that the run has.
    """

    name: str
    label: str
    section: str | None = None
    masks: Literal["all", "one"] | None = None
    inputs: Callable[[Settings], dict[str, Any]] | None = None
    judges: tuple[str, ...] = ()


def find(name: str) -> Evaluation:
    """An evaluation by name: one of :data:`EVALUATIONS` or an added attack.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name in EVALUATIONS:
        return EVALUATIONS[name]
    if name not in extensions.ADDED["attack"]:
        raise ValueError(f"no evaluation {name!r}; known: {', '.join(known())}")
    attack = extensions.ADDED["attack"][name]
    return Evaluation(
        name, name, section="pgd", inputs=lambda _: {"added": records.source_digest(attack)}
    )


def known() -> tuple[str, ...]:
    """The names of all evaluations, added attacks last."""
    return (*EVALUATIONS, *extensions.ADDED["attack"])


def added_methods(settings: Settings) -> dict[str, Any]:
    """What keys hold of added saliency methods; nothing where there is none."""
    return _sources("saliency_method") if extensions.ADDED["saliency_method"] else {}


def _sources(kind: str) -> dict[str, Any]:
    added = extensions.ADDED[kind]
    return {"added": {name: records.source_digest(each) for name, each in added.items()}}


def _pgd(settings: Settings, **options: Any) -> dict[str, Any]:
    return {"pgd": settings.pgd.model_dump(exclude_defaults=True, **options)}


def _pgd_scaled(settings: Settings) -> dict[str, Any]:
    return _pgd(settings, exclude={"n", "eps", "last_iterate"})


def _pgd_before(settings: Settings) -> dict[str, Any]:
    first = settings.autoattack.skip_broken_by_pgd
    return _pgd(settings, exclude={"n", "last_iterate"}) if first else {}


_ALL = (
    Evaluation("clean", "clean"),
    Evaluation("fgsm", "FGSM", "fgsm"),
    Evaluation("pgd", "PGD", "pgd"),
    Evaluation("budgets", "FGSM and PGD against the budget", "budgets", inputs=_pgd_scaled),
    Evaluation("transfer", "transferred PGD", "pgd", judges=ROBUSTNESS),
    Evaluation("autoattack", "AutoAttack", "autoattack", inputs=_pgd_before),
    Evaluation("smoothing", "smoothing", "smoothing"),
    Evaluation("corruptions", "corruptions", "corruptions"),
    Evaluation(
        "added_corruptions",
        "added corruptions",
        "corruptions",
        None,
        lambda _: _sources("corruption"),
    ),
    Evaluation("saliency", "saliency", None, "all"),
    Evaluation("faithfulness", "faithfulness", "faithfulness", "one", added_methods),
    Evaluation("attacked_saliency", "saliency under attack", "attacked_saliency", "one", _pgd),
    Evaluation("swapped", "swapped", "swapped", "one"),
    Evaluation("human", "human"),
)

EVALUATIONS = {each.name: each for each in _ALL}
"""Name to evaluation, in the order of the book."""
