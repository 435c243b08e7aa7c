"""The models of a run: those that its notebooks ask for, and those that must be there before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from rslib.settings import names
from rslib.settings.names import ALIGNED, TEACHERS, baseline, control
from rslib.settings.nearest import nearest
from rslib.settings.plan import OBJECTIVES, plan, trained
from rslib.settings.schema import AlignedTraining, AlignmentStudy, Settings, Training


def mask_sources(settings: Settings) -> tuple[str, ...]:
    """The kinds of masks that images have or can be given, the most trustworthy first."""
    if settings.masks.sources is not None:
        return tuple(settings.masks.sources)
    there = {"exact": settings.data.name == "shapes", "own": settings.masks.own is not None}
    return (*(source for source, given in there.items() if given), *TEACHERS)


def mask_source(settings: Settings, section: AlignedTraining | None = None) -> str:
    """The masks of an aligned training, or those used where one kind must be chosen.

    ``training.aligned.masks: null`` stands for the latter: your own, exact, or the CNN teacher's.
    """
    if section is not None and section.masks:
        return section.masks
    if settings.masks.own is not None:
        return "own"
    return "exact" if settings.data.name == "shapes" else "cnn"


def asked(settings: Settings) -> dict[str, list[str]]:
    """The models that notebooks train on the run's own images: notebook to names, in its order.

    Notebooks that are not named train none: they read what these have made.
    """
    study, alignment = settings.combination, settings.alignment
    attacked = ["resnet18-purely_adversarial", *settings.extra_models]
    noisy = ["resnet18-noise", "vit_small-noise"]
    controls = [*map(baseline, ALIGNED), *map(control, ALIGNED)]
    corners = [study.neither, study.aligned, study.robust, study.both]
    return {
        "01_experimental_setup": [*names.BASELINES, names.REFERENCE],
        "02_attacks_and_defences": [*names.ROBUSTNESS, *attacked, *noisy],
        "03_interpretability": [*TEACHERS.values()],
        "04_human_guided_alignment": [*controls, *ALIGNED, *alignment.variants],
        "09_alignment_results": _shared(alignment),
        "12_robust_and_aligned": [*corners, *study.models],
    }


def _shared(study: AlignmentStudy) -> list[str]:
    """The model that is trained again with few masks, and these trainings."""
    joint = "," if "@" in study.shared else "@"
    return [study.shared, *(f"{study.shared}{joint}share={share}" for share in study.shares)]


def shortcut(settings: Settings) -> list[str]:
    """The models of the shortcut experiment (notebook 09), trained on images of its own."""
    name, shared = ALIGNED[0], settings.alignment.shared
    return list(dict.fromkeys([baseline(name), control(name), name, shared]))


def needed(settings: Settings, models: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Each model with those that must be trained before it; the latter are keys, too, and earlier.

    The models are those named, by default all that the notebooks train on the run's own images.

    Raises:
        ValueError: a name that these settings have no training for (:mod:`rslib.settings.plan`).
    """
    found: dict[str, tuple[str, ...]] = {}

    def visit(name: str) -> None:
        if name in found:
            return
        planned = plan(settings, name)
        before = [] if planned.parent is None else [planned.parent]
        source = planned.masks and mask_source(settings, planned.masks)
        if source in TEACHERS:
            before.append(TEACHERS[source])
        for each in before:
            visit(each)
        found[name] = tuple(before)

    for name in chain.from_iterable(asked(settings).values()) if models is None else models:
        visit(name)
    return found


def seeded(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The models of a further seed where the setting ``seeded`` names some, as :func:`needed`.

    These are those named, what they are trained from, and the teachers whose masks overlap is
    measured with.

    Raises:
        ValueError: a name that no notebook trains; says which they train.
    """
    chosen, known = settings.seeded or [], needed(settings)
    if unknown := [name for name in chosen if name not in known]:
        raise ValueError(
            f"the setting seeded names {', '.join(unknown)}, which no notebook trains under these "
            f"settings{nearest(unknown[0], known)} They train: {', '.join(known)}"
        )
    teachers = [TEACHERS[source] for source in mask_sources(settings) if source in TEACHERS]
    return needed(settings, [*chosen, *teachers])


def unplanned(settings: Settings) -> Iterator[str]:
    """What is wrong with the names of models that settings hold, one line each, the key first.

    A model that cannot be trained would otherwise be found by the notebook that asks for it, hours
    into a run.
    """
    study, corners = settings.alignment, ("neither", "aligned", "robust", "both")
    named = {
        "extra_models": settings.extra_models,
        "alignment.variants": study.variants,
        "alignment.shared": _shared(study),
        "combination.models": settings.combination.models,
        **{f"combination.{each}": [getattr(settings.combination, each)] for each in corners},
        "stages": settings.stages or [],
    }
    for objective in Training.model_fields:
        if objective in OBJECTIVES:
            networks = trained(getattr(settings.training, objective))
            named[f"training.{objective}"] = [f"{each}-{objective}" for each in networks]
    found: dict[str, str] = {}
    for key, models in named.items():
        for name in models:
            try:
                needed(settings, [name])
            except ValueError as error:
                found.setdefault(str(error), key)
    yield from (f"{key}: {told}" for told, key in found.items())
    if not found:
        try:
            seeded(settings)
        except ValueError as error:
            yield f"seeded: {error}"
