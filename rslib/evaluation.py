"""Per-image outcomes of one model under one evaluation, made in resumable shards.

Each evaluation turns a batch of images into rows; a shard is one batch. Random draws are seeded by
(run seed, shard), so an evaluation that was interrupted ends with the rows of one that was not.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from rslib import records
from rslib.attacks import Threat, fgsm, run_pgd
from rslib.data import Batch, Batches, Dataset
from rslib.device import tf32
from rslib.settings import FGSM, PGD

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Tensor]
Evaluate = Callable[[nn.Module, Batch, torch.Generator], Columns]


class EvaluationError(RuntimeError):
    """An evaluation whose own checks failed; no number is reported for it."""


def clean(model: nn.Module, batch: Batch, generator: torch.Generator) -> Columns:
    """Predictions on unperturbed images (paper 4.1).

    Returns:
        prediction, correct, confidence (largest probability), loss (cross-entropy, nats) and the
        class probabilities p0, p1, ...
    """
    logits = _logits(model, batch.x)
    probabilities = logits.softmax(1)
    confidence, prediction = probabilities.max(1)
    columns = {
        "prediction": prediction,
        "correct": prediction == batch.y,
        "confidence": confidence,
        "loss": functional.cross_entropy(logits, batch.y, reduction="none"),
    }
    return columns | {f"p{c}": probabilities[:, c] for c in range(probabilities.shape[1])}


def under_fgsm(settings: FGSM) -> Evaluate:
    """One-step attack (paper 3.2.1, equation 1): clean_correct, prediction, correct, distance."""

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Columns:
        x_adv = fgsm(model, batch.x, batch.y, eps=settings.eps_unit)
        return _judge(model, batch, x_adv, Threat("linf", settings.eps_unit))

    return evaluate


def under_pgd(settings: PGD, *, allow_tf32: bool = False) -> Evaluate:
    """Iterated attack (paper 3.2.1, equation 2).

    ``correct`` demands that an image is right when clean and at every iterate; ``correct_last``,
    the figure other libraries report, only that it is right when clean and at the last one.
    """

    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Columns:
        with tf32(allow_tf32):
            result = run_pgd(
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
                early_stop=False,
            )
        columns = _judge(model, batch, result.x_adv, Threat(settings.norm, settings.eps_unit))
        last = _logits(model, result.x_last).argmax(1) == batch.y
        return columns | {"correct_last": columns["clean_correct"] & last}

    return evaluate


def in_shards(
    model: nn.Module,
    dataset: Dataset,
    evaluate: Evaluate,
    *,
    batch_size: int,
    device: torch.device,
    seed: int,
    parts: Path,
    name: str = "evaluation",
    progress: bool = True,
) -> tuple[pd.DataFrame, float]:
    """Evaluate a data set shard by shard, going on after the last shard already on disk.

    Args:
        model: in any mode; evaluated in eval mode.
        dataset: the images.
        evaluate: one of this module's evaluations.
        batch_size: images a shard.
        device: where to compute.
        seed: of the random draws, together with the shard's number.
        parts: folder for finished shards; remove it with :func:`discard_parts` once the whole
            record is on disk.
        name: shown by the progress bar.
        progress: whether to show one.

    Returns:
        One row an image, ``image`` (position in the canonical test order) and ``label`` first,
        and the seconds spent, over all sittings.
    """
    import pandas as pd

    model.eval()
    batches = Batches(dataset, batch_size, device=device, channels_last=True)
    frames, seconds = [], 0.0
    bar = tqdm(batches, desc=name, disable=not progress, mininterval=1.0)
    for number, batch in enumerate(bar):
        path = parts / f"{number:05d}.parquet"
        if not path.exists():
            started = time.perf_counter()
            generator = torch.Generator().manual_seed(int(records.key(seed=seed, shard=number), 16))
            columns = {"image": batch.ids, "label": batch.y} | evaluate(model, batch, generator)
            frame = pd.DataFrame({k: v.detach().cpu().numpy() for k, v in columns.items()})
            records.write_record(path, frame, {"seconds": time.perf_counter() - started})
        frame = records.read_record(path)
        seconds += frame.attrs["seconds"]
        frame.attrs = {}
        frames.append(frame)
    return pd.concat(frames, ignore_index=True), seconds


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
    outcome = {}
    for allowed in (False, True):
        generator = torch.Generator().manual_seed(seed)
        columns = under_pgd(settings, allow_tf32=allowed)(model, batch, generator)
        outcome[allowed] = columns["correct"]
    return {
        "n": len(dataset),
        "accuracy_fp32": outcome[False].float().mean().item(),
        "accuracy_tf32": outcome[True].float().mean().item(),
        "agreement": (outcome[False] == outcome[True]).float().mean().item(),
    }


@torch.inference_mode()
def _logits(model: nn.Module, x: Tensor) -> Tensor:
    # Outcomes are judged in strict fp32 whatever the gradients were computed in.
    with tf32(False), torch.autocast(x.device.type, enabled=False):
        return model(x).float()


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
    prediction = _logits(model, x_adv).argmax(1)
    clean_correct = _logits(model, batch.x).argmax(1) == batch.y
    return {
        "clean_correct": clean_correct,
        "prediction": prediction,
        "correct": clean_correct & (prediction == batch.y),
        "distance": distance,
    }
