"""Per-image outcomes of one model under one evaluation, made in resumable shards.

Each evaluation turns a batch of images into rows; a shard is one batch. Random draws are seeded by
(run seed, shard), so an evaluation that was interrupted ends with the rows of one that was not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rslib import smoothing
from rslib.attacks import PGDResult, Threat, Twins, attack_mode, fgsm, run_autoattack, run_pgd
from rslib.corruptions import NAMES, SEVERITIES
from rslib.corruptions.cifar10c import Corrupted
from rslib.data import Batch, Batches, Dataset
from rslib.models import memory
from rslib.models.device import tf32
from rslib.settings.schema import FGSM, PGD, AutoAttack, Smoothing
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Tensor]
Evaluate = Callable[[nn.Module, Batch, torch.Generator], "Outcome"]


class Outcome(NamedTuple):
    """What one shard gave.

    Attributes:
        columns: name to one value an image.
        notes: what the record says of itself beside its rows. Over shards, numbers add up, lists
            are joined without repetitions, and texts must agree.
    """

    columns: Columns
    notes: dict[str, Any] = {}


class EvaluationError(RuntimeError):
    """An evaluation whose own checks failed; no number is reported for it."""


def clean(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
    """Predictions on unperturbed images (paper 4.1).

    Returns:
        prediction, correct, confidence (largest probability), loss (cross-entropy, nats) and the
        class probabilities p0, p1, ...; the last three in steps of 2^-16.
    """
    scores = logits(model, batch.x)
    prediction = scores.argmax(1)
    probabilities = records.rounded(scores.softmax(1), 16)
    columns = {
        "prediction": prediction,
        "correct": prediction == batch.y,
        "confidence": probabilities.amax(1),
        "loss": records.rounded(functional.cross_entropy(scores, batch.y, reduction="none"), 16),
    }
    return Outcome(columns | {f"p{c}": probabilities[:, c] for c in range(probabilities.shape[1])})


def under_fgsm(settings: FGSM, *, allow_tf32: bool = False) -> Evaluate:
    """One-step attack (paper 3.2.1, equation 1): clean_correct, prediction, correct, distance.

    Args:
        settings: budget.
        allow_tf32: for the gradient, on GPUs that have it.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        with tf32(allow_tf32):
            x_adv = fgsm(model, batch.x, batch.y, eps=settings.eps_unit)
        return Outcome(_judge(model, batch, x_adv, Threat("linf", settings.eps_unit)))

    return evaluate


def under_pgd(settings: PGD, twins: Twins, *, allow_tf32: bool = False) -> Evaluate:
    """Iterated attack (paper 3.2.1, equation 2).

    ``correct`` demands that an image is right when clean and at every iterate; ``correct_last``,
    the figure other libraries report, only that it is right when clean and at the last one; it is
    left out where the settings leave images at their first mistake (``last_iterate``).

    Args:
        settings: budget, steps and starts.
        twins: of the models, to search with; the models themselves judge.
        allow_tf32: for the search, on GPUs that have it (:func:`_searching`).
    """

    def search(
        model: nn.Module, searched: nn.Module, batch: Batch, generator: torch.Generator
    ) -> tuple[Outcome, Tensor]:
        early_stop = not settings.last_iterate
        result = pgd(searched, batch, settings, generator, early_stop=early_stop)
        columns = _judge(model, batch, result.x_adv, Threat(settings.norm, settings.eps_unit))
        if result.x_last is not None:
            last = logits(model, result.x_last).argmax(1) == batch.y
            columns["correct_last"] = columns["clean_correct"] & last
        notes = {
            "evaluations": result.evaluations,
            "gradients": result.gradients,
            "zero_gradients": result.zero_gradients,
        }
        return Outcome(columns, notes), result.fooled

    return _searching(search, twins, allow_tf32)


def under_attack(attack: Callable[..., Tensor], settings: PGD) -> Evaluate:
    """An attack of :data:`rslib.attacks.ADDED` with PGD's budget; columns as of FGSM.

    Args:
        attack: ``attack(model, x, y, eps=..., generator=...)`` to images of the shape of ``x``.
        settings: whose budget and norm it has to keep to.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        with attack_mode(model):
            x_adv = attack(model, batch.x, batch.y, eps=settings.eps_unit, generator=generator)
        threat = Threat(settings.norm, settings.eps_unit)
        return Outcome(_judge(model, batch, x_adv.detach(), threat))

    return evaluate


def under_autoattack(
    settings: AutoAttack, first: PGD, twins: Twins, *, seed: int, allow_tf32: bool = False
) -> Evaluate:
    """AutoAttack (paper 3.2.1): clean_correct, prediction, correct, distance and broken_by.

    ``broken_by`` is the position, in the record's note ``stages``, of the first stage that broke
    the image, or -1. Where the settings ask for it, ``alone_<attack>`` says whether the image is
    still right under that attack by itself.

    Args:
        settings: budget and reductions.
        first: the attack that goes first where the settings ask for it.
        twins: of the models, to search with; the models themselves judge.
        seed: of every attack on every batch.
        allow_tf32: for the search, on GPUs that have it (:func:`_searching`).
    """

    def search(
        model: nn.Module, searched: nn.Module, batch: Batch, generator: torch.Generator
    ) -> tuple[Outcome, Tensor]:
        known = None
        if settings.skip_broken_by_pgd:
            known = pgd(searched, batch, first, generator, early_stop=True).x_adv
        with memory.refusing("autoattack.batch_size", settings.batch_size):
            result = run_autoattack(
                searched,
                batch.x,
                batch.y,
                eps=settings.eps_unit,
                batch_size=settings.batch_size,
                seed=seed,
                known=known,
                individual=settings.individual,
                steps=settings.steps,
                queries=settings.queries,
            )
        columns = _judge(model, batch, result.x_adv, Threat("linf", settings.eps_unit))
        notes = {
            "label": result.label,
            "package": result.package,
            "stages": list(result.stages),
            "flags": list(result.flags),
            "mismatches": result.mismatches,
            "evaluations": result.evaluations,
        }
        columns["broken_by"] = result.broken_by
        if result.alone is not None:
            attacks = result.stages[2:]
            each = zip(attacks, result.alone.T, strict=True)
            columns |= {f"alone_{attack}": ~broken for attack, broken in each}
        return Outcome(columns, notes), ~result.robust

    return _searching(search, twins, allow_tf32)


def certified(settings: Smoothing, *, allow_tf32: bool = False) -> Evaluate:
    """Randomized smoothing (paper 3.2.2): prediction (-1: abstained), correct, radius and votes.

    Args:
        settings: noise, votes and failure probability.
        allow_tf32: for the votes, on GPUs that have it; what is certified is then the classifier
            computed so.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        with tf32(allow_tf32):
            found = smoothing.certificates(
                model,
                batch.x,
                sigma=settings.sigma,
                n0=settings.selection_samples,
                n=settings.samples,
                alpha=settings.alpha,
                batch_size=len(batch.x),
                generator=generator,
            )
        return Outcome(
            {
                "prediction": found.prediction,
                "correct": found.prediction == batch.y,
                "radius": found.radius,
                "votes": found.count,
            }
        )

    return evaluate


class UnderCorruptions:
    """Corruptions at 5 severities (paper 3.5), two columns each.

    ``<corruption>_<severity>`` says whether the image is still classified correctly, and
    ``<corruption>_<severity>_confidence`` is the largest probability, in steps of 2^-10. The
    versions of a shard are made once for all models evaluated side by side, and those of the next
    shard on another thread meanwhile.

    Args:
        corrupted: the data set that is evaluated, in all its corrupted versions.
        names: which corruptions; by default all 19.
    """

    def __init__(self, corrupted: Corrupted, names: Sequence[str] = NAMES) -> None:
        self._corrupted, self._names = corrupted, names
        self._place = {image: i for i, image in enumerate(corrupted.clean.ids.tolist())}
        self._thread = ThreadPoolExecutor(1)
        self._made: dict[tuple[int, ...], Future[dict[str, Tensor]]] = {}

    def prepare(self, batch: Batch) -> None:
        """Start to make the versions of a shard that comes next."""
        ids = tuple(batch.ids.tolist())
        if ids not in self._made:
            self._made[ids] = self._thread.submit(self._versions, ids)

    def __call__(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        """Evaluate one model on one shard; arguments as in :data:`Evaluate`."""
        self.prepare(batch)
        ids = tuple(batch.ids.tolist())
        # Shards come in order: those made before this one are done with.
        self._made = dict(list(self._made.items())[list(self._made).index(ids) :])
        columns: Columns = {}
        for name, images in self._made[ids].result().items():
            x = images.to(batch.x.device).float().div(255)
            confidence, prediction = logits(model, x).softmax(1).max(1)
            columns[name] = prediction == batch.y
            # Below 1, which is a bin of its own where calibration errors are computed.
            columns[f"{name}_confidence"] = records.rounded(confidence, 10).clamp(max=1 - 2**-11)
        return Outcome(columns)

    def _versions(self, ids: Sequence[int]) -> dict[str, Tensor]:
        corrupted = self._corrupted
        part = replace(corrupted, clean=corrupted.clean.subset([self._place[i] for i in ids]))
        return {
            f"{name}_{severity}": part.images(name, severity)
            for name in self._names
            for severity in SEVERITIES
        }


def in_shards(
    models: Mapping[str, nn.Module],
    dataset: Dataset,
    evaluate: Evaluate,
    *,
    batch_size: int,
    device: torch.device,
    seed: int,
    parts: Mapping[str, Path],
    name: str = "evaluation",
    progress: bool = True,
) -> dict[str, tuple[pd.DataFrame, dict[str, Any]]]:
    """Evaluate models on a data set shard by shard, going on after the last shards on disk.

    All models see a shard before any sees the next one, so that an evaluation can make what they
    share once. An evaluation with a method ``prepare`` is given the next shard before models see
    this one, to make meanwhile what needs no model.

    Args:
        models: by name, in any mode; evaluated in eval mode.
        dataset: the images.
        evaluate: one of this module's evaluations.
        batch_size: images a shard.
        device: where to compute.
        seed: of the random draws, together with the shard's number.
        parts: for each model the folder for its finished shards; remove it with
            :func:`discard_parts` once the whole record is on disk.
        name: shown by the progress bar.
        progress: whether to show one.

    Returns:
        For each model one row an image, ``image`` (position in the canonical test order) and
        ``label`` first; and the seconds spent, over all sittings, with the evaluation's notes.
    """
    import pandas as pd

    batches = Batches(dataset, batch_size, device=device, channels_last=True)
    # Put in place shard by shard: frames joined at the end would be held twice.
    columns: dict[str, dict[str, np.ndarray]] = {each: {} for each in models}
    about: dict[str, dict[str, Any]] = {each: {"seconds": 0.0, "notes": {}} for each in models}
    total = len(batches) * len(models)
    paths = [
        {each: parts[each] / f"{number:05d}.parquet" for each in models}
        for number in range(len(batches))
    ]
    prepare = getattr(evaluate, "prepare", None)
    halving = memory.Halving("evaluation.batch_size")
    with tqdm(total=total, desc=name, disable=not progress, mininterval=1.0) as bar:
        for number, (batch, following) in enumerate(_with_next(batches)):
            for place, coming in ((number, batch), (number + 1, following)):
                wanted = coming is not None and not all(p.exists() for p in paths[place].values())
                if prepare is not None and wanted:
                    prepare(coming)
            for each, model in models.items():
                path = paths[number][each]
                if not path.exists():
                    _write_shard(path, model.eval(), batch, evaluate, seed, number, halving)
                frame = records.read_record(path)
                about[each]["seconds"] += frame.attrs["seconds"]
                _add_notes(about[each]["notes"], frame.attrs["notes"])
                start = number * batch_size
                for column, values in frame.items():
                    whole = columns[each].setdefault(column, np.empty(len(dataset), values.dtype))
                    whole[start : start + len(values)] = values.to_numpy()
                bar.update()
    return {each: (pd.DataFrame(columns[each], copy=False), about[each]) for each in models}


def _with_next(batches: Batches) -> Iterator[tuple[Batch, Batch | None]]:
    """Each batch with the one after it."""
    coming = iter(batches)
    batch = next(coming, None)
    while batch is not None:
        following = next(coming, None)
        yield batch, following
        batch = following


def _write_shard(
    path: Path,
    model: nn.Module,
    batch: Batch,
    evaluate: Evaluate,
    seed: int,
    number: int,
    halving: memory.Halving,
) -> None:
    import pandas as pd

    def made(tried: nn.Module) -> Outcome:
        generator = torch.Generator().manual_seed(int(records.key(seed=seed, shard=number), 16))
        return evaluate(tried, batch, generator)

    started = time.perf_counter()
    outcome = halving(made, model, len(batch.y))
    columns = {"image": batch.ids, "label": batch.y} | outcome.columns
    frame = pd.DataFrame({k: v.detach().cpu().numpy() for k, v in columns.items()})
    elapsed = time.perf_counter() - started
    records.write_record(path, frame, {"seconds": elapsed, "notes": outcome.notes})


def _add_notes(total: dict[str, Any], notes: dict[str, Any]) -> None:
    for name, value in notes.items():
        if name not in total:
            total[name] = value
        elif isinstance(value, list):
            total[name] = list(dict.fromkeys([*total[name], *value]))
        elif isinstance(value, str):
            if value != total[name]:
                raise EvaluationError(
                    f"shards disagree on {name}: {total[name]!r} and {value!r}; delete the "
                    "unfinished evaluation's folder and run again"
                )
        else:
            total[name] += value


def discard_parts(parts: Path) -> None:
    """Remove the finished shards of an evaluation whose record is now on disk."""
    shutil.rmtree(parts, ignore_errors=True)


def strict_repeat(
    model: nn.Module, dataset: Dataset, settings: PGD, *, device: torch.device, seed: int
) -> dict[str, Any]:
    """Repeat PGD in strict fp32 and with TF32 gradients on the same images and compare.

    Returns:
        n, accuracy in fp32, accuracy with TF32 gradients, and the share of images judged alike.
    """
    (batch,) = Batches(dataset, len(dataset), device=device, channels_last=True)
    outcome, twins = {}, Twins()
    for allowed in (False, True):
        generator = torch.Generator().manual_seed(seed)
        result = under_pgd(settings, twins, allow_tf32=allowed)(model, batch, generator)
        outcome[allowed] = result.columns["correct"]
    return {
        "n": len(dataset),
        "accuracy_fp32": outcome[False].float().mean().item(),
        "accuracy_tf32": outcome[True].float().mean().item(),
        "agreement": (outcome[False] == outcome[True]).float().mean().item(),
    }


def pgd(
    model: nn.Module, batch: Batch, settings: PGD, generator: torch.Generator, *, early_stop: bool
) -> PGDResult:
    """PGD on a batch as the settings say; ``early_stop`` leaves images at their first mistake."""
    return run_pgd(
        model,
        batch.x,
        batch.y,
        eps=settings.eps_unit,
        step_size=settings.step_size,
        num_steps=settings.steps,
        restarts=settings.restarts,
        random_start=settings.random_start,
        norm=settings.norm,
        generator=generator,
        early_stop=early_stop,
    )


def _searching(
    search: Callable[[nn.Module, nn.Module, Batch, torch.Generator], tuple[Outcome, Tensor]],
    twins: Twins,
    allowed: bool,
) -> Evaluate:
    """An attack that searches with a twin, in TF32 where allowed, and decides nothing by that.

    What it claims to have broken and the model itself in full precision finds unbroken, it tries
    again with that, so that rounding spares no image.

    Args:
        search: an attack on a model, by way of the second, to its outcome and the images (B,) that
            it claims to have broken.
        twins: of the models.
        allowed: whether it may search in TF32.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        with tf32(allowed):
            outcome, claimed = search(model, twins.of(model, batch.x), batch, generator)
        doubtful = (outcome.columns["correct"] & claimed).nonzero().squeeze(1)
        if not len(doubtful):
            return outcome
        part = Batch(*(None if each is None else each[doubtful] for each in batch))
        with tf32(False):
            again, _ = search(model, model, part, generator)
        for name, values in again.columns.items():
            outcome.columns[name][doubtful] = values
        _add_notes(outcome.notes, again.notes)
        return outcome

    return evaluate


@torch.inference_mode()
def logits(model: nn.Module, x: Tensor) -> Tensor:
    """Logits (B, C) of images (B, 3, H, W), in strict fp32."""
    # Outcomes are judged in strict fp32 whatever the gradients were computed in.
    with tf32(False), torch.autocast(x.device.type, enabled=False):
        found = model(x).float()
    if not found.isfinite().all():
        wrong = int((~found.isfinite()).flatten(1).any(1).sum())
        raise EvaluationError(
            f"the model returned NaN or infinite logits for {wrong} of {len(x)} images: check its "
            "weights and its precision"
        )
    return found


def _judge(model: nn.Module, batch: Batch, x_adv: Tensor, threat: Threat) -> Columns:
    """Score returned images from scratch, and refuse images outside the threat model."""
    distance = threat.distance(x_adv, batch.x)
    tolerance = 1e-5
    if distance.max() > threat.eps + tolerance or x_adv.min() < 0 or x_adv.max() > 1:
        raise EvaluationError(
            f"an attack left its threat model: largest {threat.norm} distance "
            f"{distance.max().item():.6f} for a budget of {threat.eps:.6f}, range "
            f"[{x_adv.min().item():.4f}, {x_adv.max().item():.4f}]"
        )
    prediction = logits(model, x_adv).argmax(1)
    clean_correct = logits(model, batch.x).argmax(1) == batch.y
    return {
        "clean_correct": clean_correct,
        "prediction": prediction,
        "correct": clean_correct & (prediction == batch.y),
        "distance": distance,
    }
