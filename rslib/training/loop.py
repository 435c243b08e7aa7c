"""The training loop: epochs, validation, best and last weights, resumption."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from tqdm import tqdm

from rslib.data import Batches
from rslib.records import key as hash_inputs
from rslib.schema import Recipe
from rslib.training import checkpoint, optimizer
from rslib.training.checkpoint import State
from rslib.training.objectives import Objective

# Enough images for stable statistics at any batch size in use; a whole epoch would cost a third
# of a training epoch.
BATCH_NORM_BATCHES = 100


class TrainingError(RuntimeError):
    """Training cannot go on; the last good epoch is kept."""


def fit(
    model: nn.Module,
    objective: Objective,
    train: Batches,
    validate: Callable[[nn.Module], dict[str, float]],
    recipe: Recipe,
    *,
    select: str = "validation_accuracy",
    seed: int,
    checkpoint_path: Path,
    key: str,
    name: str = "model",
    progress: bool = True,
    after_epoch: Callable[[State], None] | None = None,
) -> State:
    """Train a model, or go on with a training that was interrupted.

    A run killed at any moment and started again ends with the weights of an uninterrupted one: bit
    for bit on a CPU with the same number of threads.

    Args:
        model: on its device; left in eval mode with the last epoch's weights (their average, where
            the recipe keeps one).
        objective: what to minimize.
        train: shuffled, augmented batches.
        validate: called with the model (its average, where the recipe keeps one) in eval mode after
            each epoch; its scores, of validation images, go into the history.
        recipe: optimizer, schedule, averaging and precision.
        select: the score whose highest value marks the best epoch.
        seed: of everything random in this training.
        checkpoint_path: safetensors file written after each epoch.
        key: of the result; a checkpoint with another key is refused.
        name: shown by the progress bar.
        progress: whether to show one.
        after_epoch: called with the state after each epoch's checkpoint.

    Returns:
        The final state, with the history and the best epoch's weights.

    Raises:
        TrainingError: the loss became NaN or infinite.
        rslib.records.RecordError: a damaged or foreign checkpoint, a full disk.
    """
    optim = optimizer.build(model, recipe)
    average = _average(model, recipe)
    state = State()
    if checkpoint_path.exists():
        state = checkpoint.load(checkpoint_path, model, optim, key, average=average)
    forward = torch.compile(model) if recipe.compile else model
    steps = len(train)
    for epoch in range(state.epoch, recipe.epochs):
        started = time.perf_counter()
        total_loss = correct = seen = 0.0
        bar = tqdm(
            train.epoch(epoch),
            total=steps,
            desc=f"{name} epoch {epoch + 1}/{recipe.epochs}",
            disable=not progress,
            mininterval=1.0,
            leave=epoch + 1 == recipe.epochs,
        )
        model.train()
        with _randomness(seed, epoch) as generator:
            for step, batch in enumerate(bar):
                done = epoch + step / steps
                rate = optimizer.learning_rate(recipe, epoch + (step + 1) / steps)
                for group in optim.param_groups:
                    group["lr"] = rate
                with _precision(recipe, batch.x.device):
                    result = objective(forward, batch, generator, done)
                value = result.loss.item()
                if not math.isfinite(value):
                    raise TrainingError(
                        f"{name}: the loss is {value} at epoch {epoch + 1}, step {step + 1} of "
                        f"{steps}. Epoch {epoch} is kept in {checkpoint_path}. Lower the learning "
                        f"rate ({recipe.learning_rate}) or clip the gradient (clip_norm) and run "
                        "again"
                    )
                optim.zero_grad(set_to_none=True)
                result.loss.backward()
                if recipe.clip_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
                optim.step()
                if average is not None:
                    average.update_parameters(model)
                total_loss += value * len(batch.y)
                correct += (result.logits.argmax(1) == batch.y).sum().item()
                seen += len(batch.y)
                bar.set_postfix(
                    loss=f"{total_loss / seen:.3f}", accuracy=f"{correct / seen:.3f}", refresh=False
                )
        judged = model
        if average is not None:
            judged = average.module
            # The average's weights never met the running statistics it copied.
            update_bn(itertools.islice(train.epoch(epoch), BATCH_NORM_BATCHES), judged)
        scores = validate(judged.eval())
        better = scores[select] > max((row[select] for row in state.history), default=-math.inf)
        state.history.append(
            {
                "epoch": epoch + 1,
                "learning_rate": rate,
                "train_loss": total_loss / seen,
                "train_accuracy": correct / seen,
                **scores,
                "seconds": time.perf_counter() - started,
            }
        )
        state.epoch = epoch + 1
        if better:
            state.best, state.best_epoch = checkpoint.weights_of(judged), epoch + 1
        checkpoint.save(checkpoint_path, model, optim, state, key, average=average)
        if after_epoch:
            after_epoch(state)
    if average is not None:
        model.load_state_dict(average.module.state_dict())
    model.eval()
    return state


@torch.inference_mode()
def score(model: nn.Module, batches: Batches) -> dict[str, float]:
    """Accuracy and mean cross-entropy of a model over validation batches, in full precision.

    Args:
        model: in eval mode.
        batches: validation images.
    """
    correct = loss = seen = 0.0
    for batch in batches:
        logits = model(batch.x)
        loss += functional.cross_entropy(logits, batch.y, reduction="sum").item()
        correct += (logits.argmax(1) == batch.y).sum().item()
        seen += len(batch.y)
    return {"validation_accuracy": correct / seen, "validation_loss": loss / seen}


def _average(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """An exponential moving average of the weights, started at the weights as they are."""
    if recipe.ema_decay is None:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema_decay))


@contextlib.contextmanager
def _randomness(seed: int, epoch: int) -> Iterator[torch.Generator]:
    """Seed dropout and the objective's draws from (seed, epoch) alone, leaving the caller's be."""
    number = int(hash_inputs(seed=seed, epoch=epoch), 16)
    with torch.random.fork_rng():
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number)


@contextlib.contextmanager
def _precision(recipe: Recipe, device: torch.device) -> Iterator[None]:
    enabled = recipe.precision == "bf16"
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled):
        yield
