"""The training loop: epochs, validation, best and last weights, resumption."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from rslib.data import Batches
from rslib.models.device import cpu_has_bf16, tf32
from rslib.settings.schema import Recipe
from rslib.store.records import key as hash_inputs
from rslib.training import checkpoint, optimizer
from rslib.training.checkpoint import State
from rslib.training.objectives import Objective, Step

# To read a number from an accelerator is to wait for it, and an epoch may take it a second or two.
# On a CPU neither costs anything beside the epoch.
STEPS_BETWEEN_READINGS = 50
SECONDS_BETWEEN_CHECKPOINTS = 15.0

BF16 = "this processor has instructions for bf16"
NO_BF16 = "this processor has no instructions for bf16: far slower than fp32, set precision to fp32"
# A forecast is made from so many steps, after a first one, which prepares kernels.
STEPS_MEASURED = 5

Validate = Callable[[nn.Module], dict[str, float]]


class TrainingError(RuntimeError):
    """Training cannot go on; the last good epoch is kept."""


def fit(
    model: nn.Module,
    objective: Objective,
    train: Batches,
    validate: Validate,
    recipe: Recipe,
    *,
    validate_raw: Validate | None = None,
    select: str = "validation_accuracy",
    seed: int,
    checkpoint_path: Path,
    key: str,
    name: str = "model",
    progress: bool = True,
    tell: Callable[[str], None] | None = None,
    after_epoch: Callable[[State], None] | None = None,
) -> State:
    """Train a model, or go on with a training that was interrupted.

    A run killed at any moment and started again ends with the weights of an uninterrupted one: bit
    for bit on a CPU with the same number of threads. The state that is returned has the history and
    the best epoch's weights.

    Args:
        model: on its device; left in eval mode with the last epoch's weights (their average, where
            the recipe keeps one).
        objective: what to minimize.
        train: shuffled, augmented batches.
        validate: called with the model (or average) in eval mode after each epoch; its scores, of
            validation images, go into the history.
        recipe: optimizer, schedule, averaging and precision.
        validate_raw: called with the model itself where there is an average; its scores go into the
            history as ``raw_...``.
        select: the score whose highest value marks the best epoch.
        seed: of everything random in this training.
        checkpoint_path: safetensors file written after each epoch (on an accelerator some seconds
            apart, and after the last one).
        key: of the result; a checkpoint with another key is refused.
        name: shown by the progress bar.
        progress: show one.
        tell: given a line after each epoch, and before the first in bf16 on a CPU.
        after_epoch: called with the state after each checkpoint.

    Raises:
        TrainingError: the average's window is longer than a fifth of all steps, the loss or a
            validation score became NaN or infinite, or the device's memory ran out.
        rslib.store.records.RecordError: a damaged or foreign checkpoint, a full disk.
    """
    _refuse_long_average(name, recipe, recipe.epochs * len(train))
    trainer = _Trainer(
        model, objective, train, recipe, seed, checkpoint_path, key, name, progress, tell
    )
    state = trainer.state
    while state.epoch < recipe.epochs:
        started = time.perf_counter()
        try:
            row = trainer.epoch()
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{name}: the device's memory ran out with batches of {train.batch_size}. "
                f"{trainer.so_far()}. Lower batch_size in this training's recipe (it is part of "
                "the result, so training starts anew), or free the device of other programs and "
                "run again"
            ) from error
        row |= trainer.judge(validate, validate_raw)
        row["seconds"] = time.perf_counter() - started
        if trainer.keep(row, select) and after_epoch:
            after_epoch(state)
        if tell:
            tell(_line(name, recipe, state))
    if trainer.average is not None:
        model.load_state_dict(trainer.average.module.state_dict())
    model.eval()
    return state


@dataclass
class _Trainer:
    """A training under way; the arguments are those of :func:`fit`."""

    model: nn.Module
    objective: Objective
    train: Batches
    recipe: Recipe
    seed: int
    path: Path
    key: str
    name: str
    progress: bool
    tell: Callable[[str], None] | None

    def __post_init__(self) -> None:
        model, recipe = self.model, self.recipe
        on_cpu = self.train.dataset.device.type == "cpu"
        slow = recipe.precision == "bf16" and on_cpu and len(self.train) > STEPS_MEASURED
        self.foretells = slow and self.tell is not None
        if self.foretells:
            self.tell(f"{self.name}: {BF16 if cpu_has_bf16() else NO_BF16}")
        self.optimizers = optimizer.build(model, recipe)
        self.average = average_of(model, recipe)
        self.state = State()
        if self.path.exists():
            self.state = checkpoint.load(
                self.path, model, self.optimizers, self.key, average=self.average
            )
        # What is validated, and what is trained.
        self.judged = model if self.average is None else self.average.module
        self.forward = torch.compile(model, dynamic=False) if recipe.compile else model
        self.reading, self.pause = pace(self.train.dataset.device)
        self.kept, self.written = self.state.epoch, time.monotonic()
        self.taken = 0

    def epoch(self) -> dict[str, float]:
        """Train for an epoch; the start of its row in the history."""
        epoch, steps, recipe = self.state.epoch, len(self.train), self.recipe
        tally = Tally()
        title = f"{self.name} epoch {epoch + 1}/{recipe.epochs}"
        options = {"mininterval": 1.0, "leave": epoch + 1 == recipe.epochs}
        options["disable"] = not self.progress
        bar = tqdm(self.train.epoch(epoch), desc=title, total=steps, **options)
        self.model.train()
        # Matrix products stay as they are: one of them shows if Grad-CAM has a closed form.
        with torch.random.fork_rng(), tf32(recipe.precision == "tf32", products=False):
            # Of dropout and of the objective's draws.
            number = int(hash_inputs(seed=self.seed, epoch=epoch), 16)
            torch.manual_seed(number)
            generator = torch.Generator().manual_seed(number)
            for step, batch in enumerate(bar, start=1):
                for group in optimizer.groups(self.optimizers):
                    reached = epoch + step / steps
                    group["lr"] = optimizer.learning_rate(recipe, reached, group["peak"])
                # A smaller last batch would be compiled by itself, for a minute; it is one step.
                whole = len(batch.y) == self.train.batch_size
                forward = self.forward if whole else self.model
                with _autocast(recipe, batch.x.device):
                    result = self.objective(forward, batch, generator, epoch + (step - 1) / steps)
                tally.add(result, batch.y)
                # All are read before the epoch is judged, so none that went wrong is kept.
                if len(tally.waiting) >= self.reading or step == steps:
                    tally.read()
                    if not math.isfinite(tally.last):
                        when = f"at epoch {epoch + 1}, step {tally.steps} of {steps}"
                        self._refuse("the loss", tally.last, when)
                    shown = {"accuracy": f"{tally.accuracy:.3f}", "loss": f"{tally.loss:.3f}"}
                    bar.set_postfix(shown, refresh=False)
                self._step(result.loss)
        row = {"epoch": epoch + 1, "learning_rate": optimizer.learning_rate(recipe, epoch + 1)}
        return row | {"train_loss": tally.loss, "train_accuracy": tally.accuracy}

    def _step(self, loss: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        for each in self.optimizers:
            each.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.taken += 1
        if self.taken == 1:
            self.started = time.perf_counter()
        if self.foretells and self.taken == 1 + STEPS_MEASURED:
            each = (time.perf_counter() - self.started) / STEPS_MEASURED
            epoch = each * len(self.train)
            left = (self.recipe.epochs - self.state.epoch) * epoch
            self.tell(
                f"{self.name}: {1000 * each / self.train.batch_size:.1f} ms an image, "
                f"{duration(epoch)} an epoch and {duration(left)} in all, validation left out"
            )

    def judge(self, validate: Validate, validate_raw: Validate | None) -> dict[str, float]:
        """The scores of validation images after an epoch."""
        scores = validate(self.judged.eval())
        if self.average is not None and validate_raw is not None:
            raw = validate_raw(self.model.eval())
            scores |= {f"raw_{name}": value for name, value in raw.items()}
        for name, value in scores.items():
            if not math.isfinite(value):
                self._refuse(name, value, f"after epoch {self.state.epoch + 1}")
        return scores

    def keep(self, row: dict[str, float], select: str) -> bool:
        """Add an epoch to the state; True if that was written."""
        state = self.state
        better = row[select] > max((each[select] for each in state.history), default=-math.inf)
        state.history.append(row)
        state.epoch += 1
        if better:
            state.best, state.best_epoch = checkpoint.weights_of(self.judged), state.epoch
        if time.monotonic() - self.written < self.pause and state.epoch < self.recipe.epochs:
            return False
        checkpoint.save(
            self.path, self.model, self.optimizers, state, self.key, average=self.average
        )
        self.kept, self.written = state.epoch, time.monotonic()
        return True

    def so_far(self) -> str:
        if not self.kept:
            return "So far no epoch is kept"
        return f"Epoch {self.kept} is kept in {self.path}"

    def _refuse(self, what: str, value: float, when: str) -> NoReturn:
        raise TrainingError(
            f"{self.name}: {what} is {value} {when}. {self.so_far()}. Lower the learning rate "
            f"({self.recipe.learning_rate}) or clip the gradient (clip_norm), and run again"
        )


@torch.inference_mode()
def score(model: nn.Module, batches: Batches, recipe: Recipe | None = None) -> dict[str, float]:
    """Accuracy and mean cross-entropy of a model, in eval mode, over validation batches.

    On a CPU the precision of the recipe is that of the scores, too, since full precision costs
    twice the time of bf16; elsewhere, and without a recipe, scores are in full precision.
    """
    correct = loss = seen = 0.0
    for batch in batches:
        with validating(recipe, batch.x.device):
            logits = model(batch.x).float()
        loss += functional.cross_entropy(logits, batch.y, reduction="sum").item()
        correct += (logits.argmax(1) == batch.y).sum().item()
        seen += len(batch.y)
    return {"validation_accuracy": correct / seen, "validation_loss": loss / seen}


def _line(name: str, recipe: Recipe, state: State) -> str:
    """Where a training stands after an epoch, in a line."""
    row = state.history[-1]
    shares = [
        f"{score_name.replace('_', ' ')} {100 * value:.1f} %"
        for score_name, value in row.items()
        if score_name.endswith("accuracy") and score_name != "train_accuracy"
    ]
    seconds = [each["seconds"] for each in state.history]
    left = (recipe.epochs - state.epoch) * sum(seconds) / len(seconds)
    return (
        f"{name}: epoch {state.epoch}/{recipe.epochs}, loss {row['train_loss']:.3f}, accuracy "
        f"{100 * row['train_accuracy']:.1f} %, {', '.join(shares)}, {row['seconds']:.0f} s, "
        f"{duration(left)} left"
    )


def duration(seconds: float) -> str:
    """A time in a line, such as ``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _refuse_long_average(name: str, recipe: Recipe, steps: int) -> None:
    """Refuse an average over more than a fifth of a training: it would lag behind the weights."""
    if recipe.ema_decay is None:
        return
    window = 1 / (1 - recipe.ema_decay)
    if window > steps / 5:
        longest = 1 - 5 / steps
        way = f"lower it to {longest:.3g}" if longest > 0.5 else "leave it out"
        raise TrainingError(
            f"{name}: ema_decay {recipe.ema_decay} averages over about {window:,.0f} steps, more "
            f"than a fifth of this training's {steps:,}: {way}, or train for more epochs"
        )


def pace(device: torch.device) -> tuple[int, float]:
    """Steps between readings of the loss, and seconds between checkpoints."""
    if device.type == "cpu":
        return 1, 0.0
    return STEPS_BETWEEN_READINGS, SECONDS_BETWEEN_CHECKPOINTS


class Tally:
    """Mean loss and accuracy of the steps of an epoch, on the device (``waiting``) until read.

    Of mixed images, the label with the largest share counts. ``last`` is the loss of the last of
    ``steps`` read: reading ends at the first that is not finite.
    """

    def __init__(self) -> None:
        self.waiting: list[tuple[Tensor, Tensor, int]] = []
        self.steps, self.last, self.loss, self.accuracy = 0, 0.0, 0.0, 0.0
        self._loss, self._correct, self._seen = 0.0, 0, 0

    def add(self, result: Step, y: Tensor) -> None:
        """Note one step."""
        labels = y if y.ndim == 1 else y.argmax(1)
        hits = (result.logits.argmax(1) == labels).sum()
        self.waiting.append((result.loss.detach(), hits, len(y)))

    def read(self) -> None:
        """Take in what was noted."""
        losses, hits, sizes = zip(*self.waiting, strict=True)
        self.waiting.clear()
        values, right = torch.stack(losses).tolist(), torch.stack(hits).tolist()
        for value, correct, size in zip(values, right, sizes, strict=True):
            self.steps, self.last = self.steps + 1, value
            if not math.isfinite(value):
                return
            self._loss += value * size
            self._correct += correct
            self._seen += size
        self.loss, self.accuracy = self._loss / self._seen, self._correct / self._seen


def average_of(model: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """An exponential moving average of weights and buffers, started at what they are.

    With a warm-up the decay after t steps is min(decay, (1 + t) / (10 + t)), as in TensorFlow's
    ExponentialMovingAverage and timm's ModelEmaV3: otherwise the weights of the first steps keep a
    share of decay^t.
    """
    if recipe.ema_decay is None:
        return None
    decay = recipe.ema_decay

    def warmed_up(averages: list[Tensor], values: list[Tensor], taken: Tensor | int) -> None:
        steps = int(taken)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(averages, values, taken)

    ema = warmed_up if recipe.ema_warmup else get_ema_multi_avg_fn(decay)
    return AveragedModel(model, multi_avg_fn=ema, use_buffers=True)


def validating(recipe: Recipe | None, device: torch.device) -> contextlib.AbstractContextManager:
    """The precision of validation (:func:`score`)."""
    on_cpu = recipe is not None and device.type == "cpu"
    return _autocast(recipe, device) if on_cpu else contextlib.nullcontext()


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    enabled = recipe.precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
