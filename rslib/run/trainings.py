"""One model, one job: what the notebooks of a run train, for a cluster to train side by side.

A notebook trains its models one after the other. Here each is a :class:`Job`, which needs others
done first: the model it starts from, and the teacher whose masks it is aligned to. Trained by
``python -m rslib train``, it lies where the notebook looks for it, so the notebook finds it done::

    for job in trainings.jobs(run).values():
        print(job.notebook, job.name, job.needs)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from filelock import FileLock, Timeout

from rslib.run.results import Results
from rslib.run.run import Run
from rslib.run.shortcut import shortcut_runs
from rslib.settings import cast

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


def jobs(run: Results) -> dict[str, Job]:
    """Every training of a run, in an order in which they could be done one by one.

    Args:
        run: whose settings and seed decide; neither images nor weights are read. A further seed
            has the models that it is to have (:meth:`rslib.run.results.Results.has`).

    Returns:
        A key to its job: the name of the model's folder as :func:`slug` writes it, such as
        ``resnet18-aligned_beta_0.0-460a7a535d``.

    Raises:
        ValueError: see :func:`rslib.settings.cast.needed`.
    """
    found: dict[str, Job] = {}
    for notebook, names in cast.asked(run.settings).items():
        _add(found, run, notebook, names, shortcut=False)
    _add(found, shortcut_runs(run)[0], SHORTCUT, cast.shortcut(run.settings), shortcut=True)
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
    wanted = cast.needed(run.settings, run.settings.stages)
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


def _add(
    found: dict[str, Job], run: Results, notebook: str, names: Iterable[str], *, shortcut: bool
) -> None:
    for name, before in cast.needed(run.settings, filter(run.has, names)).items():
        needs = tuple(_key(run, each) for each in before)
        found.setdefault(_key(run, name), Job(name, notebook, shortcut, needs))


def _key(run: Results, name: str) -> str:
    return slug(run.model_folder(name).name)
