"""The training loop: epochs, validation, best and last weights, resumption."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
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
NO_BF16 = (
    "this processor has no instructions for bf16, which makes training several times slower than "
    "in fp32; set precision to fp32"
)


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
    for bit on a CPU with the same number of threads. There it loses an epoch at most; on an
    accelerator, whose epochs are short, it may lose :data:`SECONDS_BETWEEN_CHECKPOINTS` more.

    Args:
        model: on its device; left in eval mode with the last epoch's weights (their average, where
            the recipe keeps one).
        objective: what to minimize.
        train: shuffled, augmented batches.
        validate: called with the model (its average, where the recipe keeps one) in eval mode after
            each epoch; its scores, of validation images, go into the history.
        recipe: optimizer, schedule, averaging and precision.
        validate_raw: called with the model itself where the recipe keeps an average; its scores go
            into the history as ``raw_...`` beside the average's.
        select: the score whose highest value marks the best epoch.
        seed: of everything random in this training.
        checkpoint_path: safetensors file written after each epoch (on an accelerator after those
            that end some seconds after the last one written, and after the last epoch).
        key: of the result; a checkpoint with another key is refused.
        name: shown by the progress bar.
        progress: show one.
        tell: given a line after each epoch, and before the first in bf16 on a CPU; None for no
            lines.
        after_epoch: called with the state after each checkpoint.

    Returns:
        The final state, with the history and the best epoch's weights.

    Raises:
        TrainingError: the average's window is longer than a fifth of all steps; the loss or a
            validation score became NaN or infinite; or a batch does not fit into the device's
            memory.
        rslib.store.records.RecordError: a damaged or foreign checkpoint, a full disk.
    """
    if recipe.ema_decay is not None:
        _refuse_long_average(name, recipe.ema_decay, recipe.epochs * len(train))
    forecast = _Forecast(name, recipe, train, tell) if tell else None
    trainer = _Trainer(
        model, objective, train, recipe, seed, checkpoint_path, key, name, progress, forecast
    )
    while trainer.state.epoch < recipe.epochs:
        started = time.perf_counter()
        row = trainer.epoch() | trainer.judge(validate, validate_raw)
        row["seconds"] = time.perf_counter() - started
        if trainer.keep(row, select) and after_epoch:
            after_epoch(trainer.state)
        if tell:
            tell(_line(name, recipe, trainer.state))
    if trainer.average is not None:
        model.load_state_dict(trainer.average.module.state_dict())
    model.eval()
    return trainer.state


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
    forecast: _Forecast | None

    def __post_init__(self) -> None:
        model, path = self.model, self.path
        self.optimizers = optimizer.build(model, self.recipe)
        self.average = average_of(model, self.recipe)
        self.state = State()
        if path.exists():
            self.state = checkpoint.load(
                path, model, self.optimizers, self.key, average=self.average
            )
        # What is validated, and what is trained.
        self.judged = model if self.average is None else self.average.module
        self.forward = torch.compile(model, dynamic=False) if self.recipe.compile else model
        self.reading, self.pause = pace(self.train.dataset.device)
        self.kept, self.written = self.state.epoch, time.monotonic()

    def epoch(self) -> dict[str, float]:
        """Train for an epoch; the start of its row in the history."""
        epoch, steps, recipe = self.state.epoch, len(self.train), self.recipe
        tally = Tally()
        bar = tqdm(
            self.train.epoch(epoch),
            total=steps,
            desc=f"{self.name} epoch {epoch + 1}/{recipe.epochs}",
            disable=not self.progress,
            mininterval=1.0,
            leave=epoch + 1 == recipe.epochs,
        )
        self.model.train()
        with (
            _randomness(self.seed, epoch) as generator,
            self._roomy(),
            # Products stay as they are: whether Grad-CAM has a closed form is seen by one of them.
            tf32(recipe.precision == "tf32", products=False),
        ):
            for step, batch in enumerate(bar, start=1):
                for group in optimizer.groups(self.optimizers):
                    reached = epoch + step / steps
                    group["lr"] = optimizer.learning_rate(recipe, reached, group["peak"])
                # A smaller last batch would be compiled by itself, for a minute; it is one step.
                whole = len(batch.y) == self.train.batch_size
                forward = self.forward if whole else self.model
                with _autocast(recipe, batch.x.device):
                    done = epoch + (step - 1) / steps
                    result = self.objective(forward, batch, generator, done)
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
        return {
            "epoch": epoch + 1,
            "learning_rate": optimizer.learning_rate(recipe, epoch + 1),
            "train_loss": tally.loss,
            "train_accuracy": tally.accuracy,
        }

    def _step(self, loss: Tensor) -> None:
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        if self.recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        for each in self.optimizers:
            each.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        if self.forecast:
            self.forecast.step(self.recipe.epochs - self.state.epoch)

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

    def _so_far(self) -> str:
        return (
            f"Epoch {self.kept} is kept in {self.path}" if self.kept else "So far no epoch is kept"
        )

    def _refuse(self, what: str, value: float, when: str) -> NoReturn:
        raise TrainingError(
            f"{self.name}: {what} is {value} {when}. {self._so_far()}. Lower the learning rate "
            f"({self.recipe.learning_rate}) or clip the gradient (clip_norm), and run again"
        )

    @contextlib.contextmanager
    def _roomy(self) -> Iterator[None]:
        """Turn running out of memory into an error that names the setting."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise TrainingError(
                f"{self.name}: the device's memory ran out with batches of "
                f"{self.train.batch_size}. {self._so_far()}. Lower batch_size in this training's "
                "recipe (it is part of the result, so training starts anew), or free the device "
                "of other programs and run again"
            ) from error


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


class _Forecast:
    """Says what a training in bf16 on a CPU will take, from its own first steps."""

    STEPS = 5

    def __init__(
        self, name: str, recipe: Recipe, train: Batches, tell: Callable[[str], None]
    ) -> None:
        self.name, self.train, self.tell = name, train, tell
        on_cpu = train.dataset.device.type == "cpu"
        self.wanted = recipe.precision == "bf16" and on_cpu and len(train) > self.STEPS
        self.seen, self.started = 0, 0.0
        if self.wanted:
            tell(f"{name}: {BF16 if cpu_has_bf16() else NO_BF16}")

    def step(self, epochs: int) -> None:
        """Note a step; the first one, which prepares kernels, is not measured."""
        self.seen += 1
        if self.seen == 1:
            self.started = time.perf_counter()
        if self.wanted and self.seen == self.STEPS + 1:
            each = (time.perf_counter() - self.started) / self.STEPS
            epoch = each * len(self.train)
            self.tell(
                f"{self.name}: {1000 * each / self.train.batch_size:.1f} ms an image, "
                f"{duration(epoch)} an epoch and {duration(epochs * epoch)} in all, validation "
                "left out"
            )


def _refuse_long_average(name: str, decay: float, steps: int) -> None:
    """Refuse an average over more than a fifth of a training: it would lag behind the weights."""
    window = 1 / (1 - decay)
    if window > steps / 5:
        longest = 1 - 5 / steps
        way = f"lower it to {longest:.3g}" if longest > 0.5 else "leave it out"
        raise TrainingError(
            f"{name}: ema_decay {decay} averages over about {window:,.0f} steps, more "
            f"than a fifth of this training's {steps:,}: {way}, or train for more epochs"
        )


def pace(device: torch.device) -> tuple[int, float]:
    """Steps between readings of the loss, and seconds between checkpoints."""
    if device.type == "cpu":
        return 1, 0.0
    return STEPS_BETWEEN_READINGS, SECONDS_BETWEEN_CHECKPOINTS


class Tally:
    """Mean loss and accuracy of an epoch so far, kept on the device until they are read.

    Of mixed images, the label with the largest share counts.

    Attributes:
        waiting: what was noted and not read: loss, hits and images of each step.
        steps: steps read.
        last: the loss of the last step read; reading ends at the first that is not finite.
        loss: the mean of what was read.
        accuracy: likewise.
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
    """An exponential moving average of the weights, started at the weights as they are.

    With a warm-up the decay after t steps is min(decay, (1 + t) / (10 + t)), as in TensorFlow's
    ExponentialMovingAverage and timm's ModelEmaV3: otherwise the weights of the first steps keep a
    share of decay^t. Batch norm's running statistics are averaged like the weights: taken anew,
    they would be of other images than the objective's, which may be attacked or noisy.
    """
    if recipe.ema_decay is None:
        return None
    decay = recipe.ema_decay

    def warmed_up(averages: list[Tensor], values: list[Tensor], taken: Tensor | int) -> None:
        steps = int(taken)
        get_ema_multi_avg_fn(min(decay, (1 + steps) / (10 + steps)))(averages, values, taken)

    ema = warmed_up if recipe.ema_warmup else get_ema_multi_avg_fn(decay)
    return AveragedModel(model, multi_avg_fn=ema, use_buffers=True)


@contextlib.contextmanager
def _randomness(seed: int, epoch: int) -> Iterator[torch.Generator]:
    """Seed dropout and the objective's draws from (seed, epoch) alone, leaving the caller's be."""
    number = int(hash_inputs(seed=seed, epoch=epoch), 16)
    with torch.random.fork_rng():
        torch.manual_seed(number)
        yield torch.Generator().manual_seed(number)


def validating(recipe: Recipe | None, device: torch.device) -> contextlib.AbstractContextManager:
    """The precision of validation (:func:`score`)."""
    on_cpu = recipe is not None and device.type == "cpu"
    return _autocast(recipe, device) if on_cpu else contextlib.nullcontext()


def _autocast(recipe: Recipe, device: torch.device) -> torch.autocast:
    enabled = recipe.precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
