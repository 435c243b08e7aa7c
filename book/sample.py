"""A sample of a run made again before it is published, to see that its results still hold.

An edition may hold models and records of earlier revisions of the code, as long as their keys are
today's. Whether today's code would still make them is tried out: of each evaluation the first
images of one model, in the shards that its record was made in, and the training that took the
least time. On the same kind of CPU and with the same versions every outcome has to be the same;
elsewhere sums are rounded otherwise, and a few images may differ.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from book import BookError
from rslib.data import DataError
from rslib.run import Run, evaluations, shards, trainer
from rslib.run.provenance import PACKAGES, provenance
from rslib.run.published import model_folder
from rslib.saliency import MaskError
from rslib.store import records
from rslib.store.records import RecordError
from rslib.training import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from book.editions import Edition

IMAGES = 256
"""Images of each evaluation that are made again; whole shards are, so it may be more."""

SHARE = 0.01
"""Share of the images that may differ where device or versions are others."""

TOLERANCE = 0.01
"""How far numbers of an image may differ, relative to themselves or to 1."""

LOSS, ACCURACY = 0.05, 0.05
"""How far a training's loss may differ, relative to itself, and its validation accuracy."""

EPOCHS = 2
"""The first epochs of a training that are compared; later ones drift apart between processors."""

# What may not be on this machine. The error's own text names folders, which nothing published does.
_MISSING = {
    RecordError: "weights or records that it needs are not there",
    DataError: "images that it needs are not there",
    MaskError: "masks that it needs are not there",
}
_COUNTS = ("votes",)  # whole numbers that are no class and no verdict
_VERSIONS = ("device", "torch", "timm")


class SampleError(BookError):
    """A sample that does not agree, or cannot be made; the message says which results and why."""


@dataclass(frozen=True)
class Agreement:
    """One evaluation of one model, made again on some images.

    Attributes:
        evaluation: such as ``"pgd"``.
        model: the first in the tables that has a record of it.
        n: images that were compared.
        agreeing: images on which all is the same.
        allowed: images that may differ.
        differing: columns of the record in which any image differs.
        device: that the record was made on.
    """

    evaluation: str
    model: str
    n: int
    agreeing: int
    allowed: int
    differing: tuple[str, ...]
    device: str

    @property
    def holds(self) -> bool:
        """Whether no more images differ than may."""
        return self.n - self.agreeing <= self.allowed

    def __str__(self) -> str:
        line = f"{self.evaluation} of {self.model}: {self.agreeing} of {self.n} images agree"
        if self.differing:
            more = ", ..." if len(self.differing) > 3 else ""
            where = ", ".join(self.differing[:3])
            line += f" (others differ in {where}{more}; {self.allowed} may)"
        return line


@dataclass(frozen=True)
class Training:
    """A training made again.

    Attributes:
        model: which.
        seconds: that it took.
        loss: of its first epochs, on training images: as recorded and as made again.
        accuracy: the same on validation images.
        same_weights: whether the weights are the same bit for bit.
    """

    model: str
    seconds: float
    loss: tuple[tuple[float, float], ...]
    accuracy: tuple[tuple[float, float], ...]
    same_weights: bool

    @property
    def holds(self) -> bool:
        """Whether loss and accuracy lie within the tolerances."""
        return all(abs(now - was) <= LOSS * abs(was) for was, now in self.loss) and all(
            abs(now - was) <= ACCURACY for was, now in self.accuracy
        )

    def __str__(self) -> str:
        was, now = self.accuracy[-1]
        weights = "the same weights bit for bit" if self.same_weights else "other weights"
        return (
            f"training of {self.model}: validation accuracy {100 * now:.1f} % after epoch "
            f"{len(self.accuracy)} ({100 * was:.1f} % recorded), {weights}"
        )


@dataclass(frozen=True)
class Sample:
    """What was made again of a run.

    Attributes:
        evaluations: one of each kind.
        training: one, or None where it was left out.
        left_out: what could not be made again, and why.
        provenance: of the making (:func:`rslib.run.provenance.provenance`).
    """

    evaluations: tuple[Agreement, ...]
    training: Training | None
    left_out: dict[str, str]
    provenance: dict[str, Any]

    @property
    def wrong(self) -> list[str]:
        """What does not agree, in lines."""
        made = (*self.evaluations, *filter(None, [self.training]))
        return [str(each) for each in made if not each.holds]

    def document(self) -> dict[str, Any]:
        """As stored beside the edition, each part with its line (``told``)."""
        found = dataclasses.asdict(self)
        for part, each in zip(found["evaluations"], self.evaluations, strict=True):
            part["told"] = str(each)
        if self.training is not None:
            found["training"]["told"] = str(self.training)
        return found


def make(edition: Edition, *, training: bool = True, progress: bool = True) -> Sample:
    """Make a sample of a run again and hold it against its records, telling each as it goes.

    Args:
        edition: the run with its tables, weights and, where it needs any, masks.
        training: whether to repeat a training, too. It is left out in any case where the device is
            another than the one that the model was trained on.
        progress: whether to show progress bars.

    Returns:
        The sample, whether it agrees or not (:attr:`Sample.wrong`).

    Raises:
        SampleError: the run's settings are not known, or nothing of it can be made again.
    """
    if edition.settings is None:
        raise SampleError(f"the settings of {edition.folder} are not known, so nothing is repeated")
    seed = int(edition.folder.name.removeprefix("seed"))
    # Alone: of further seeds nothing is made again, and nothing is trained.
    run = Run(edition.settings, seed, root=edition.folder.parents[1], progress=progress)
    found, left_out = [], {}
    for evaluated in evaluations.known():
        names = list(_with_record(run, edition, evaluated))
        if not names:
            continue
        try:
            agreement = _evaluated(run, evaluated, names)
        except tuple(_MISSING) as error:
            left_out[evaluated] = _reason(error)
            print(f"{evaluated}: left out, {left_out[evaluated]}: {error}", flush=True)
            continue
        except shards.EvaluationError as error:
            raise SampleError(f"{evaluated} of {names[0]} can no longer be made: {error}") from None
        print(agreement, flush=True)
        found.append(agreement)
    if not found:
        told = "\n  ".join(f"{what}: {why}" for what, why in left_out.items()) or "no records"
        raise SampleError(f"nothing of {edition.folder} can be made again:\n  {told}")
    trained = None
    if training:
        trained = _trained(run, edition, left_out)
        print(trained or f"training: left out, {left_out['training']}", flush=True)
    else:
        left_out["training"] = "not asked for"
    return Sample(tuple(found), trained, left_out, provenance(run.device))


def _with_record(run: Run, edition: Edition, evaluated: str) -> Iterator[str]:
    """The models that have a record of an evaluation and their weights, the tables' first ones."""
    for name in dict.fromkeys(source["model"] for source in edition.sources):
        try:
            there = run.has_record(name, evaluated)
        except (RecordError, ValueError):  # of a further seed, or of no model
            continue
        if there:
            yield name


def _evaluated(run: Run, evaluated: str, names: Sequence[str]) -> Agreement:
    """One evaluation made again, of the first model whose weights are there."""
    name, model = _first_trained(run, names)
    stored = run.record(name, evaluated)
    size, dataset = run.settings.evaluation.batch_size, run.evaluated_images(evaluated)
    # Whole shards: what an image gets depends on its batch and on the shard's random numbers.
    few = dataset.subset(range(min(len(dataset), math.ceil(IMAGES / size) * size)))
    with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
        made = shards.in_shards(
            {name: model},
            few,
            run.evaluator(evaluated),
            batch_size=size,
            device=run.device,
            seed=run.seed,
            parts={name: Path(folder)},
            name=f"{name}: {evaluated} again",
            progress=run.progress,
        )
    frame, _ = made[name]
    then, now = stored.attrs["provenance"], provenance(run.device)
    versions = (*_VERSIONS, *(package for package in PACKAGES if package in then))
    same = run.device.type == "cpu" and all(then.get(key) == now[key] for key in versions)
    agreeing, differing = compare(stored, frame)
    allowed = 0 if same else max(1, int(SHARE * len(frame)))
    return Agreement(evaluated, name, len(frame), agreeing, allowed, differing, then["device"])


def _first_trained(run: Run, names: Sequence[str]) -> tuple[str, Any]:
    for name in names[:-1]:
        try:
            return name, run.trained(name)
        except RecordError:
            continue
    return names[-1], run.trained(names[-1])


def compare(stored: pd.DataFrame, made: pd.DataFrame) -> tuple[int, tuple[str, ...]]:
    """Hold rows made again against those of a record.

    Args:
        stored: the record.
        made: rows of some of its images.

    Returns:
        How many images agree in all columns, and the columns in which any does not. Verdicts and
        classes agree where they are the same, other numbers within :data:`TOLERANCE`.
    """
    rows = stored.set_index("image").reindex(made["image"])
    agree, differing = np.ones(len(made), dtype=bool), []
    for column in dict.fromkeys((*rows, *made.columns.drop("image"))):
        if column not in rows or column not in made:
            equal = np.zeros(len(made), dtype=bool)
        else:
            was, now = rows[column].to_numpy(), made[column].to_numpy()
            if column in _COUNTS or now.dtype.kind == "f":
                was = was.astype(float)
                scale = TOLERANCE * np.maximum(1.0, np.abs(was))
                with np.errstate(invalid="ignore"):
                    equal = np.abs(now - was) <= scale
                equal |= (now == was) | (np.isnan(was) & np.isnan(now))
            else:
                equal = was == now
        agree &= equal
        if not equal.all():
            differing.append(column)
    return int(agree.sum()), tuple(differing)


def _trained(run: Run, edition: Edition, left_out: dict[str, str]) -> Training | None:
    """The training that took the least time, made again; why not is noted where none can be."""
    summaries = [
        about
        for path, about in edition.made.items()
        if path.name == "model.json" and path.parent == model_folder(run, about["name"])
    ]
    summaries.sort(key=lambda about: about["seconds"])
    here = provenance(run.device)["device"]
    why = "there are no models"
    for about in summaries:
        then = about["provenance"]["device"]
        if then != here:
            why = f"made on {then}, and this is {here}"
            continue
        try:
            return _trained_again(run, about)
        except tuple(_MISSING) as error:
            why = _reason(error)
        except TrainingError as error:
            raise SampleError(f"{about['name']} can no longer be trained: {error}") from None
    left_out["training"] = why
    return None


def _trained_again(run: Run, about: dict[str, Any]) -> Training:
    name = about["name"]
    print(f"training of {name}: took {about['seconds']:.0f} s", flush=True)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
        target = Path(folder, model_folder(run, name).name)
        trainer.train(run, name, target, about["inputs"])
        made = records.read_json(target / "model.json")
    rows = list(zip(about["history"], made["history"], strict=False))[:EPOCHS]
    return Training(
        name,
        time.perf_counter() - started,
        tuple((was["train_loss"], now["train_loss"]) for was, now in rows),
        tuple((was["validation_accuracy"], now["validation_accuracy"]) for was, now in rows),
        made["weights"]["best"] == about["weights"]["best"],
    )


def _reason(error: Exception) -> str:
    return next(why for kind, why in _MISSING.items() if isinstance(error, kind))
