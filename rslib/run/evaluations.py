"""What a model can be put through: one entry each, with its settings and what its keys hold.

Each evaluation turns batches of images into rows (:mod:`rslib.run.shards`); how is told in
:mod:`rslib.run.predictions` and :mod:`rslib.run.explanations`, which are imported when one is made.
A new evaluation is a function that makes it and an entry in :data:`EVALUATIONS`; for attacks of a
user's own there is an entry already (:func:`rslib.attacks.attack`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rslib.run.maker import Maker
from rslib.settings import extensions
from rslib.settings.cast import mask_source, mask_sources
from rslib.settings.schema import Settings
from rslib.store import records

if TYPE_CHECKING:
    from torch import nn

    from rslib.attacks import Twins
    from rslib.data import Dataset
    from rslib.run.explanations import Known
    from rslib.run.shards import Evaluate

STRICT_REPEAT = 256
"""Images on which PGD with TF32 is repeated in full precision."""


def _one_mask_source(settings: Settings) -> tuple[str, ...]:
    return (mask_source(settings),)


@dataclass(frozen=True)
class Evaluation:
    """One kind of evaluation.

    Attributes:
        name: that its records have.
        label: its name in a line of text.
        make: from a run to the function that fills shards.
        section: of the settings that decides it, its number of images included; None where there is
            none, and all test images are evaluated.
        masks: the sources of object masks that it uses. Where it uses any, layers are looked at and
            images of a batch set against each other, so no batch is divided where memory runs out.
        inputs: what else decides its records, for their keys.
        about: what its records say of themselves beside the rest, of a model and the images.
    """

    name: str
    label: str
    make: Callable[[Maker], Evaluate]
    section: str | None = None
    masks: Callable[[Settings], tuple[str, ...]] | None = None
    inputs: Callable[[Settings], dict[str, Any]] | None = None
    about: Callable[[Maker, nn.Module, Dataset], dict[str, Any]] | None = None

    def settings(self, chosen: Settings) -> Any:
        """Its section of the settings, or None."""
        return None if self.section is None else getattr(chosen, self.section)

    def images(self, test: Dataset, chosen: Settings) -> Dataset:
        """The test images that are evaluated: class-balanced, smaller numbers within larger."""
        from rslib.data import balanced_subset

        n = getattr(self.settings(chosen), "n", None)
        return test if n is None else balanced_subset(test, n)

    def evaluator(self, run: Maker) -> Evaluate:
        """The function that fills shards, with the settings, masks and device of a run."""
        made = self.make(run)
        if self.masks is None:
            return made
        from rslib.models import memory

        size = run.settings.evaluation.batch_size
        return memory.refusing("evaluation.batch_size", size)(made)


def find(name: str) -> Evaluation:
    """An evaluation by name: one of :data:`EVALUATIONS` or an added attack.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name in EVALUATIONS:
        return EVALUATIONS[name]
    if name in extensions.ADDED["attack"]:
        return _added_attack(name)
    raise ValueError(f"no evaluation {name!r}; known: {', '.join(known())}")


def known() -> tuple[str, ...]:
    """The names of all evaluations, added attacks last."""
    return (*EVALUATIONS, *extensions.ADDED["attack"])


def _clean(run: Maker) -> Evaluate:
    from rslib.run import predictions

    return predictions.clean


def _fgsm(run: Maker) -> Evaluate:
    from rslib.run import predictions

    return predictions.under_fgsm(run.settings.fgsm, allow_tf32=run.settings.evaluation.tf32)


def _pgd(run: Maker) -> Evaluate:
    from rslib.run import predictions

    allowed = run.settings.evaluation.tf32
    return predictions.under_pgd(run.settings.pgd, _twins(run), allow_tf32=allowed)


def _pgd_repeated(run: Maker, model: nn.Module, images: Dataset) -> dict[str, Any]:
    if not run.settings.evaluation.tf32:
        return {}
    from rslib.data import balanced_subset
    from rslib.run import predictions

    few = balanced_subset(images, min(STRICT_REPEAT, len(images)))
    chosen = run.settings.pgd
    repeated = predictions.strict_repeat(model, few, chosen, device=run.device, seed=run.seed)
    return {"strict_fp32": repeated}


def _autoattack(run: Maker) -> Evaluate:
    from rslib.run import predictions

    chosen, allowed = run.settings, run.settings.evaluation.tf32
    return predictions.under_autoattack(
        chosen.autoattack, chosen.pgd, _twins(run), seed=run.seed, allow_tf32=allowed
    )


def _twins(run: Maker) -> Twins:
    from rslib.attacks import Twins

    chosen = run.settings.evaluation
    return Twins(chosen.batch_size if chosen.compile else None)


def _pgd_before(settings: Settings) -> dict[str, Any]:
    if not settings.autoattack.skip_broken_by_pgd:
        return {}
    return {"pgd": settings.pgd.model_dump(exclude_defaults=True, exclude={"n", "last_iterate"})}


def _smoothing(run: Maker) -> Evaluate:
    from rslib.run import predictions

    return predictions.certified(run.settings.smoothing, allow_tf32=run.settings.evaluation.tf32)


def _corruptions(run: Maker) -> Evaluate:
    from rslib.run import predictions

    return predictions.UnderCorruptions(run.corrupted())


def _added_corruptions(run: Maker) -> Evaluate:
    from rslib.run import predictions

    return predictions.UnderCorruptions(run.corrupted(), tuple(extensions.ADDED["corruption"]))


def _sources_of_added(settings: Settings) -> dict[str, Any]:
    added = extensions.ADDED["corruption"]
    return {"added": {name: records.source_digest(each) for name, each in added.items()}}


def added_methods(settings: Settings) -> dict[str, Any]:
    """What keys hold of added saliency methods; nothing where there is none."""
    added = extensions.ADDED["saliency_method"]
    if not added:
        return {}
    return {"added": {name: records.source_digest(method) for name, method in added.items()}}


def _origin(run: Maker, model: nn.Module, images: Dataset) -> dict[str, Any]:
    return {"corrupted": run.corrupted().identity}


def _saliency(run: Maker) -> Evaluate:
    from rslib.run import explanations

    return explanations.overlap(
        {source: explanations.known(run, source) for source in mask_sources(run.settings)}
    )


def _faithfulness(run: Maker) -> Evaluate:
    from rslib.run import explanations

    return explanations.faithfulness(_masks(run), steps=run.settings.faithfulness.steps)


def _attacked_saliency(run: Maker) -> Evaluate:
    from rslib.run import explanations

    return explanations.under_attack(run.settings.pgd, _masks(run))


def _swapped(run: Maker) -> Evaluate:
    from rslib.run import explanations

    return explanations.swapped(_masks(run))


def _masks(run: Maker) -> Known:
    from rslib.run import explanations

    return explanations.known(run, mask_source(run.settings))


def _human(run: Maker) -> Evaluate:
    from rslib.data import cifar10h
    from rslib.run import explanations

    return explanations.agreement(cifar10h.load())


def _whole_pgd(settings: Settings) -> dict[str, Any]:
    return {"pgd": settings.pgd.model_dump(exclude_defaults=True)}


def _added_attack(name: str) -> Evaluation:
    attack = extensions.ADDED["attack"][name]

    def make(run: Maker) -> Evaluate:
        from rslib.run import predictions

        return predictions.under_attack(attack, run.settings.pgd)

    def inputs(settings: Settings) -> dict[str, Any]:
        return {"added": records.source_digest(attack)}

    return Evaluation(name, name, make, section="pgd", inputs=inputs)


_ALL = (
    Evaluation("clean", "clean", _clean),
    Evaluation("fgsm", "FGSM", _fgsm, section="fgsm"),
    Evaluation("pgd", "PGD", _pgd, section="pgd", about=_pgd_repeated),
    Evaluation("autoattack", "AutoAttack", _autoattack, section="autoattack", inputs=_pgd_before),
    Evaluation("smoothing", "smoothing", _smoothing, section="smoothing"),
    Evaluation("corruptions", "corruptions", _corruptions, section="corruptions", about=_origin),
    Evaluation(
        "added_corruptions",
        "added corruptions",
        _added_corruptions,
        section="corruptions",
        inputs=_sources_of_added,
        about=_origin,
    ),
    Evaluation("saliency", "saliency", _saliency, masks=mask_sources),
    Evaluation(
        "faithfulness",
        "faithfulness",
        _faithfulness,
        section="faithfulness",
        masks=_one_mask_source,
        inputs=added_methods,
    ),
    Evaluation(
        "attacked_saliency",
        "saliency under attack",
        _attacked_saliency,
        section="attacked_saliency",
        masks=_one_mask_source,
        inputs=_whole_pgd,
    ),
    Evaluation(
        "swapped",
        "swapped",
        _swapped,
        section="swapped",
        masks=_one_mask_source,
    ),
    Evaluation("human", "human", _human),
)

EVALUATIONS = {each.name: each for each in _ALL}
"""Name to evaluation, in the order of the book."""
