"""How models classify images: clean, attacked, with noise and under corruptions.

Each evaluation takes a model, a batch of images and a generator to one row an image; shards of such
rows become a record (:mod:`rslib.run.shards`). An argument ``allow_tf32`` is for GPUs that have it:
gradients and searches may then be computed so, but what counts is judged in strict fp32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rslib import smoothing
from rslib.attacks import PGDResult, Threat, Twins, attack_mode, fgsm, run_autoattack, run_pgd
from rslib.corruptions import NAMES, SEVERITIES
from rslib.corruptions.cifar10c import Corrupted
from rslib.data import Batch, Batches, Dataset, balanced_subset
from rslib.models import memory
from rslib.models.device import tf32
from rslib.run.results import AbstractRun
from rslib.run.shards import Columns, Evaluate, EvaluationError, Outcome, add_notes
from rslib.settings.schema import FGSM, PGD, AutoAttack, Budget, Budgets, Smoothing
from rslib.store import records

Searched = tuple[Outcome, Tensor]
"""An outcome, and the images (B,) that a twin claims to have broken and the model finds right."""


def clean(model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
    """Predictions on unperturbed images (paper 4.1).

    Columns: prediction, correct, confidence (largest probability), loss (cross-entropy, nats) and
    the class probabilities p0, p1, ...; the last three in steps of 2^-16.
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
    """One-step attack (paper 3.2.1, equation 1): clean_correct, prediction, correct, distance."""

    def evaluate(model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
        with tf32(allow_tf32):
            x_adv = fgsm(model, batch.x, batch.y, eps=settings.eps_unit)
        return Outcome(_judge(model, batch, x_adv, settings))

    return evaluate


def under_pgd(settings: PGD, twins: Twins, *, allow_tf32: bool = False) -> Evaluate:
    """Iterated attack (paper 3.2.1, equation 2); twins of the models search, the models judge.

    ``correct`` demands that an image is right when clean and at every iterate; ``correct_last``,
    the figure other libraries report, only that it is right when clean and at the last one; it is
    left out where the settings leave images at their first mistake (``last_iterate``).
    """

    def search(model: nn.Module, twin: nn.Module, batch: Batch, generator: Generator) -> Searched:
        early_stop = not settings.last_iterate
        result = pgd(twin, batch, settings, generator, early_stop=early_stop)
        columns = _judge(model, batch, result.x_adv, settings)
        if result.x_last is not None:
            last = logits(model, result.x_last).argmax(1) == batch.y
            columns["correct_last"] = columns["clean_correct"] & last
        kept = ("evaluations", "gradients", "zero_gradients")
        notes = {name: getattr(result, name) for name in kept}
        return Outcome(columns, notes), columns["correct"] & result.fooled

    return _searching(search, twins, allow_tf32)


def at_budgets(
    chosen: Budgets, settings: PGD, twins: Twins, *, allow_tf32: bool = False
) -> Evaluate:
    """FGSM and PGD at rising budgets: clean_correct, and ``fgsm_<eps>`` and ``pgd_<eps>`` at each.

    What lies within a budget lies within every larger one, so an image that PGD has broken stays so
    and is not attacked again: ``pgd_<eps>`` is the worst case over the budgets up to this one, and
    cannot rise. FGSM, whose one step always has the whole length, stands at each budget for itself.
    All budgets start from the same draws, scaled.
    """

    def search(model: nn.Module, twin: nn.Module, batch: Batch, generator: Generator) -> Searched:
        right = logits(model, batch.x).argmax(1) == batch.y
        columns, denied = {"clean_correct": right}, torch.zeros_like(right)
        notes: dict[str, int] = dict.fromkeys(("evaluations", "gradients", "zero_gradients"), 0)
        draws = generator.get_state()
        for eps in chosen.eps:
            one_step = FGSM().model_copy(update={"eps": eps})
            many = settings.model_copy(update={"eps": eps})
            x_adv = fgsm(model, batch.x, batch.y, eps=one_step.eps_unit)
            columns[f"fgsm_{eps:g}"] = _judge(model, batch, x_adv, one_step)["correct"]
            generator.set_state(draws)
            result = pgd(twin, batch, many, generator, early_stop=True, broken=~right)
            right = right & _judge(model, batch, result.x_adv, many)["correct"]
            columns[f"pgd_{eps:g}"] = right
            denied |= right & result.fooled
            add_notes(notes, {name: getattr(result, name) for name in notes})
        return Outcome(columns, notes), denied

    return _searching(search, twins, allow_tf32)


def transferred(
    judges: Mapping[str, nn.Module], settings: PGD, twins: Twins, *, allow_tf32: bool = False
) -> Evaluate:
    """Images that PGD makes on one model, judged by others: as of FGSM, and two columns a judge.

    The images are last iterates, since one that has only just crossed one model's boundary says
    little of another's. ``clean_correct_<judge>`` and ``correct_<judge>`` are the judge's; an image
    that the model itself gets wrong when clean is not attacked.
    """

    def search(model: nn.Module, twin: nn.Module, batch: Batch, generator: Generator) -> Searched:
        result = pgd(twin, batch, settings, generator, early_stop=False)
        columns = _judge(model, batch, result.x_last, settings)
        denied = columns["correct"] & result.fooled_last
        for name, judge in judges.items():
            found = _judge(judge, batch, result.x_last, settings)
            columns |= {f"{key}_{name}": found[key] for key in ("clean_correct", "correct")}
        return Outcome(columns), denied

    return _searching(search, twins, allow_tf32)


def under_attack(attack: Callable[..., Tensor], settings: PGD) -> Evaluate:
    """An attack of :func:`rslib.attacks.attack` with PGD's budget and norm; columns as of FGSM."""

    def evaluate(model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
        with attack_mode(model):
            x_adv = attack(model, batch.x, batch.y, eps=settings.eps_unit, generator=generator)
        return Outcome(_judge(model, batch, x_adv.detach(), settings))

    return evaluate


def under_autoattack(
    settings: AutoAttack, first: PGD, twins: Twins, *, seed: int, allow_tf32: bool = False
) -> Evaluate:
    """AutoAttack (paper 3.2.1): clean_correct, prediction, correct, distance and broken_by.

    ``broken_by`` is the position, in the record's note ``stages``, of the first stage that broke
    the image, or -1. Where the settings ask for it, PGD goes ``first``, and ``alone_<attack>`` says
    whether the image is still right under that attack by itself. Twins search and models judge;
    every attack on every batch has the same seed.
    """

    def search(model: nn.Module, twin: nn.Module, batch: Batch, generator: Generator) -> Searched:
        known = None
        if settings.skip_broken_by_pgd:
            known = pgd(twin, batch, first, generator, early_stop=True).x_adv
        with memory.refusing("autoattack.batch_size", settings.batch_size):
            options = settings.model_dump(exclude={"eps", "n", "skip_broken_by_pgd"})
            options |= {"eps": settings.eps_unit, "known": known, "seed": seed}
            result = run_autoattack(twin, batch.x, batch.y, **options)
        columns = _judge(model, batch, result.x_adv, settings)
        columns["broken_by"] = result.broken_by
        if result.alone is not None:
            for attack, broken in zip(result.stages[2:], result.alone.T, strict=True):
                columns[f"alone_{attack}"] = ~broken
        kept = ("label", "package", "stages", "flags", "mismatches", "evaluations")
        notes = {name: getattr(result, name) for name in kept}
        notes |= {name: list(notes[name]) for name in ("stages", "flags")}
        return Outcome(columns, notes), columns["correct"] & ~result.robust

    return _searching(search, twins, allow_tf32)


def certified(settings: Smoothing, *, allow_tf32: bool = False) -> Evaluate:
    """Randomized smoothing (paper 3.2.2): prediction (-1: abstained), correct, radius and votes.

    Where ``allow_tf32`` is set, what is certified is the classifier computed in TF32.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
        options = {"n0": settings.selection_samples, "n": settings.samples}
        options |= {"sigma": settings.sigma, "alpha": settings.alpha, "generator": generator}
        with tf32(allow_tf32):
            found = smoothing.certificates(model, batch.x, batch_size=len(batch.x), **options)
        columns = {
            "prediction": found.prediction,
            "correct": found.prediction == batch.y,
            "radius": found.radius,
            "votes": found.count,
        }
        return Outcome(columns)

    return evaluate


class UnderCorruptions:
    """The named corruptions of a data set at 5 severities (paper 3.5), two columns each.

    ``<corruption>_<severity>`` says whether the image is still classified correctly, and
    ``<corruption>_<severity>_confidence`` is the largest probability, in steps of 2^-10. Corrupted
    versions are made once for all models, those of the next shard on another thread meanwhile.
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

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
        """Evaluate one model on one shard; arguments as in :data:`rslib.run.shards.Evaluate`."""
        self.prepare(batch)
        ids = tuple(batch.ids.tolist())
        # Shards come in order: those made before this one are done with.
        self._made = dict(list(self._made.items())[list(self._made).index(ids) :])
        columns: Columns = {}
        # Shards of files that changed meanwhile are not put together: texts must agree.
        archive = self._corrupted.archive
        notes = {} if archive is None else {"corrupted": archive.digest}
        for name, images in self._made[ids].result().items():
            x = images.to(batch.x.device).float().div(255)
            confidence, prediction = logits(model, x).softmax(1).max(1)
            columns[name] = prediction == batch.y
            # Below 1, which is a bin of its own where calibration errors are computed.
            columns[f"{name}_confidence"] = records.rounded(confidence, 10).clamp(max=1 - 2**-11)
        return Outcome(columns, notes)

    def _versions(self, ids: Sequence[int]) -> dict[str, Tensor]:
        corrupted = self._corrupted
        part = replace(corrupted, clean=corrupted.clean.subset([self._place[i] for i in ids]))
        pairs = itertools.product(self._names, SEVERITIES)
        return {f"{name}_{severity}": part.images(name, severity) for name, severity in pairs}


def strict_repeat(run: AbstractRun, model: nn.Module, dataset: Dataset) -> dict[str, float]:
    """A run's PGD in strict fp32 and with TF32 gradients: accuracies and share judged alike."""
    few = balanced_subset(dataset, min(256, len(dataset)))
    (batch,) = Batches(few, len(few), device=run.device, channels_last=True)
    twins, right = Twins(), []
    for allowed in (False, True):
        generator = Generator().manual_seed(run.seed)
        outcome = under_pgd(run.settings.pgd, twins, allow_tf32=allowed)(model, batch, generator)
        right.append(outcome.columns["correct"])
    strict, fast = right
    return {
        "n": len(few),
        "accuracy_fp32": strict.float().mean().item(),
        "accuracy_tf32": fast.float().mean().item(),
        "agreement": (strict == fast).float().mean().item(),
    }


def pgd(
    model: nn.Module,
    batch: Batch,
    settings: PGD,
    generator: Generator,
    *,
    early_stop: bool,
    broken: Tensor | None = None,
) -> PGDResult:
    """PGD on a batch as the settings say; the rest is as of :func:`rslib.attacks.run_pgd`."""
    options = settings.model_dump(include={"restarts", "random_start", "norm"})
    options |= {"eps": settings.eps_unit, "step_size": settings.step_size}
    options |= {"num_steps": settings.steps, "generator": generator, "early_stop": early_stop}
    options["broken"] = broken
    return run_pgd(model, batch.x, batch.y, **options)


def _searching(search: Callable[..., Searched], twins: Twins, allowed: bool) -> Evaluate:
    """An attack that searches with a twin, in TF32 where allowed, and decides nothing by that.

    ``search`` attacks a model by way of its second argument. What that claims to have broken and
    the model itself in full precision finds right is tried again with that, so that rounding spares
    no image.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: Generator) -> Outcome:
        with tf32(allowed):
            outcome, denied = search(model, twins.of(model, batch.x), batch, generator)
        doubtful = denied.nonzero().squeeze(1)
        if not len(doubtful):
            return outcome
        part = Batch(*(None if each is None else each[doubtful] for each in batch))
        with tf32(False):
            again, _ = search(model, model, part, generator)
        for name, values in again.columns.items():
            outcome.columns[name][doubtful] = values
        add_notes(outcome.notes, again.notes)
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


def _judge(model: nn.Module, batch: Batch, x_adv: Tensor, settings: Budget) -> Columns:
    """Score returned images from scratch, and refuse images outside the threat model."""
    threat = Threat(getattr(settings, "norm", "linf"), settings.eps_unit)
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
