"""One model, one job: what the notebooks of a run train, for a cluster to train side by side.

A notebook trains its models one after the other. Here each is a :class:`Job`, which needs others
done first: the model it starts from, and the teacher whose masks it is aligned to. Trained by
``python -m rslib train``, it lies where the notebook looks for it, so the notebook finds it done::

    for job in fanout.jobs(run).values():
        print(job.notebook, job.name, job.needs)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from rslib.run import object_masks
from rslib.run.shortcut import shortcut_runs
from rslib.settings.names import (
    ALIGNED,
    BASELINES,
    REFERENCE,
    ROBUSTNESS,
    TEACHERS,
    baseline,
    control,
)
from rslib.store import records
from rslib.training.plan import plan

if TYPE_CHECKING:
    from rslib.run import Run

SHORTCUT = "09_alignment_results"
"""The notebook of the shortcut experiment, whose models are trained on images of their own."""


@dataclass(frozen=True)
class Job:
    """The training of one model.

    Attributes:
        name: of the model.
        notebook: the first that asks for it.
        shortcut: whether it is trained on the images of the shortcut experiment.
        needs: the jobs that must be done before, by their keys in :func:`jobs`.
    """

    name: str
    notebook: str
    shortcut: bool
    needs: tuple[str, ...]


def asked(run: Run) -> dict[str, list[str]]:
    """The models that notebooks train on the run's own images: notebook to names, in its order.

    Notebooks that are not named train none: they read what these have made.
    """
    chosen = run.settings
    study, shared = chosen.combination, chosen.alignment.shared
    joint = "," if "@" in shared else "@"
    return {
        "01_experimental_setup": [*BASELINES, REFERENCE],
        "02_attacks_and_defences": [
            *ROBUSTNESS,
            "resnet18-purely_adversarial",
            *chosen.extra_models,
            "resnet18-noise",
            "vit_small-noise",
        ],
        "03_interpretability": [*TEACHERS.values()],
        "04_human_guided_alignment": [
            *map(baseline, ALIGNED),
            *map(control, ALIGNED),
            *ALIGNED,
            *chosen.alignment.variants,
        ],
        "09_alignment_results": [
            shared,
            *(f"{shared}{joint}share={share}" for share in chosen.alignment.shares),
        ],
        "12_robust_and_aligned": [
            *(study.neither, study.aligned, study.robust, study.both),
            *study.models,
        ],
    }


def shortcut(run: Run) -> list[str]:
    """The models of the shortcut experiment (notebook 09), trained on images of its own."""
    return list(
        dict.fromkeys(
            [baseline(ALIGNED[0]), control(ALIGNED[0]), ALIGNED[0], run.settings.alignment.shared]
        )
    )


def needed(run: Run, names: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Models with those that must be trained before them, the earlier ones first.

    Args:
        run: whose settings decide.
        names: of models; by default all that the notebooks train on the run's own images.

    Returns:
        Name to names, closed: whatever is named as needed is a key as well, and comes before.

    Raises:
        ValueError: a name that these settings have no training for (``rslib.training.plan``).
    """
    found: dict[str, tuple[str, ...]] = {}

    def visit(name: str) -> None:
        if name not in found:
            before = _before(run, name)
            for each in before:
                visit(each)
            found[name] = before

    if names is None:
        names = [name for models in asked(run).values() for name in models]
    for name in names:
        visit(name)
    return found


def seeded(run: Run) -> dict[str, tuple[str, ...]]:
    """The models of a further seed where the setting ``seeded`` names some.

    Beside those named: what they are trained from, and the teachers whose masks overlap is
    measured with.

    Args:
        run: whose settings decide.

    Returns:
        See :func:`needed`.

    Raises:
        ValueError: a name that no notebook trains; says which they train.
    """
    chosen, known = run.settings.seeded or [], needed(run)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise ValueError(
            f"the setting seeded names {', '.join(unknown)}, which no notebook trains under these "
            f"settings; they train: {', '.join(known)}"
        )
    teachers = [TEACHERS.get(source) for source in object_masks.available(run)]
    return needed(run, [*chosen, *filter(None, teachers)])


def jobs(run: Run) -> dict[str, Job]:
    """Every training of a run, in an order in which they could be done one by one.

    Args:
        run: whose settings and seed decide; neither images nor weights are read. A further seed
            has the models that it is to have (:meth:`rslib.run.Run.has`).

    Returns:
        A key to its job: the name of the model's folder as :func:`slug` writes it, such as
        ``resnet18-aligned_beta_0.0-460a7a535d``.

    Raises:
        ValueError: see :func:`needed`.
    """
    found: dict[str, Job] = {}
    for notebook, names in asked(run).items():
        _add(found, run, notebook, names, shortcut=False)
    _add(found, shortcut_runs(run)[0], SHORTCUT, shortcut(run), shortcut=True)
    return found


def slug(folder: str) -> str:
    """A model's folder name with ``_`` for what command lines trip over: commas, ``@``, ``=``."""
    return re.sub(r"[^\w.-]", "_", folder)


def train(run: Run, name: str, *, shortcut: bool = False) -> None:
    """Train a model, or see that it has been trained and that its files are whole.

    Args:
        run: whose settings and seed it is trained with.
        name: of the model.
        shortcut: train it on the images of the shortcut experiment.

    Raises:
        ValueError: no such model.
        rslib.training.TrainingError: the loss became NaN or infinite.
        rslib.store.records.RecordError: what is there is damaged or was made from something else.
    """
    (shortcut_runs(run)[0] if shortcut else run).trained(name)


def train_all(run: Run) -> Iterator[str]:
    """Train what is missing of a run, in the order of its setting ``stages``; yields each name.

    Several processes may do this side by side: each takes the first model that no other has taken
    and whose parents are trained. One with nothing to take ends, even while another still trains.

    Args:
        run: whose models are trained; by default those that the notebooks ask for on its images.

    Raises:
        ValueError: ``stages`` names a model that these settings have no training for.
        rslib.training.TrainingError: the loss became NaN or infinite.
        rslib.store.records.RecordError: what is there is damaged or was made from something else.
    """
    wanted = needed(run, run.settings.stages)
    while name := _train_one(run, wanted):
        yield name


def _train_one(run: Run, wanted: Mapping[str, tuple[str, ...]]) -> str | None:
    """Train the first model that can be taken; returns its name, or None if there is none."""
    waiting = [name for name in wanted if run.weights_digest(name) is None]
    for name in waiting:
        if set(wanted[name]) & set(waiting):
            continue
        taken = run.directory / "locks" / f"{slug(name)}.taken"
        taken.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(taken, timeout=0):
                run.trained(name)
                return name
        except Timeout:
            continue  # by another process
    return None


def _before(run: Run, name: str) -> tuple[str, ...]:
    planned = plan(run.settings, name)
    source = None if planned.masks is None else run.masks_of(planned.masks)
    return tuple(filter(None, (planned.parent, TEACHERS.get(source))))


def _add(
    found: dict[str, Job], run: Run, notebook: str, names: Iterable[str], *, shortcut: bool
) -> None:
    for name, before in needed(run, filter(run.has, names)).items():
        needs = tuple(_key(run, each) for each in before)
        found.setdefault(_key(run, name), Job(name, notebook, shortcut, needs))


def _key(run: Run, name: str) -> str:
    return slug(f"{name}-{records.key(**run.model_inputs(name))}")
