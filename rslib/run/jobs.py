"""One model, one job: what the notebooks of a run train, for several processes to train.

A model trained by ``robustsight train`` lies where the notebook looks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from filelock import FileLock, Timeout

from rslib.run.results import AbstractRun, Results, shortcut_runs
from rslib.settings import cast


@dataclass(frozen=True)
class Job:
    """The training of one model.

    Attributes:
        name: of the model.
        notebook: the first that asks for it.
        shortcut: whether it is trained on the images of the shortcut experiment.
        needs: the jobs that must be done before, by their keys in :func:`training_jobs`.
    """

    name: str
    notebook: str
    shortcut: bool
    needs: tuple[str, ...]


def training_jobs(run: Results) -> dict[str, Job]:
    """Every training of a run, in an order in which they could be done one by one.

    Settings and seed decide (:meth:`rslib.run.results.Results.has`); neither images nor weights are
    read. Keys are the :func:`slug` of folders, such as ``resnet18-aligned_beta_0.0-460a7a535d``.

    Raises:
        ValueError: see :func:`rslib.settings.cast.needed`.
    """
    asked = [(run, notebook, names) for notebook, names in cast.asked(run.settings).items()]
    shortcut = shortcut_runs(run)[0]
    asked.append((shortcut, "09_alignment_results", cast.shortcut(run.settings)))
    found: dict[str, Job] = {}
    for each, notebook, names in asked:
        for name, before in cast.needed(each.settings, filter(each.has, names)).items():
            key, *needs = (slug(each.model_folder(one).name) for one in (name, *before))
            found.setdefault(key, Job(name, notebook, each is not run, tuple(needs)))
    return found


def slug(folder: str) -> str:
    """A model's folder name with ``_`` for what command lines trip over: commas, ``@``, ``=``."""
    return re.sub(r"[^\w.-]", "_", folder)


def train_all(run: AbstractRun) -> Iterator[str]:
    """Train what is missing of a run, in the order of its setting ``stages``; yields each name.

    Several processes may do this side by side: each takes the first model that no other has taken
    and whose parents are trained. One with nothing to take ends, even while another still trains.

    Raises:
        ValueError: ``stages`` names a model that these settings have no training for.
    """
    wanted = cast.needed(run.settings, run.settings.stages)
    locks = run.directory / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    while True:
        waiting = [name for name in wanted if run.weights_digest(name) is None]
        for name in waiting:
            if set(wanted[name]) & set(waiting):
                continue
            try:
                with FileLock(locks / f"{slug(name)}.taken", timeout=0):
                    run.trained(name)
            except Timeout:
                continue  # by another process
            yield name
            break
        else:
            return
