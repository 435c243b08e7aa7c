"""A training run's state in one safetensors file: weights, best weights, optimizer, history.

One file, because one rename is atomic and two are not; a readable copy of its header lies beside it
as JSON. Random numbers need no state: each epoch's are drawn from (seed, epoch).
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn, optim

from rslib.models.checks import unlike
from rslib.store.records import RecordError, atomic, write_json

Weights = dict[str, Tensor]

_START_AGAIN = "delete it to start that training again"


@dataclass
class State:
    """Where a training run stands: epochs finished, with a row for each, and the best of them.

    The best epoch is the one with the highest selecting score so far; ``best`` holds its weights.
    """

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best: Weights = field(default_factory=dict)
    best_epoch: int = 0


def weights_of(model: nn.Module) -> Weights:
    """A detached CPU copy of a model's parameters and buffers."""
    return {name: _on_cpu(value) for name, value in model.state_dict().items()}


def _on_cpu(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True).contiguous()


def halved(weights: Weights) -> Weights:
    """Weights in half precision, each rounded to the nearest; counts stay as they are.

    Raises:
        RecordError: a value is too large for half precision (65,504).
    """
    halves = {n: v.half() if v.is_floating_point() else v for n, v in weights.items()}
    for name, value in halves.items():
        if not torch.isfinite(value).all():
            largest = "whose largest number is 65,504: set weights to fp32"
            raise RecordError(f"{name} does not fit half precision, {largest}")
    return halves


def save_weights(path: Path, weights: Weights, metadata: Mapping[str, Any]) -> None:
    """Write weights and JSON-compatible metadata as safetensors, atomically."""
    with atomic(path) as temporary:
        try:
            save_file(weights, temporary, {"rslib": json.dumps(dict(metadata), allow_nan=False)})
        except SafetensorError as error:
            # It wraps the system's error, which the handling of full disks needs back.
            found = re.search(r"os error (\d+)", str(error))
            raise OSError(int(found[1]) if found else errno.EIO, str(error)) from error


def load_weights(path: Path, model: nn.Module) -> None:
    """Fill a model from a safetensors file.

    Raises:
        RecordError: missing or damaged file, or weights of another architecture or kind.
    """
    weights, _ = _load(path)
    if other := unlike(weights, model):
        raise RecordError(
            f"{path} does not fit this architecture: {other}; delete it to train again"
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RecordError(f"{path} does not fit this architecture: {error}") from None


def save(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[optim.Optimizer],
    state: State,
    key: str,
    *,
    average: nn.Module | None = None,
) -> None:
    """Write everything a run needs to go on after this epoch, atomically.

    Of the optimizers the slots are stored; their settings come from the recipe. The key is that of
    the result, the average that of the model where the recipe keeps one.
    """
    parts = {"model": weights_of(model), "best": state.best}
    if average is not None:
        parts["average"] = weights_of(average)
    tensors = {f"{part}.{n}": value for part, named in parts.items() for n, value in named.items()}
    first = 0
    for optimizer in optimizers:
        for number, slots in optimizer.state_dict()["state"].items():
            for name, value in slots.items():
                tensors[f"optimizer.{first + number}.{name}"] = _on_cpu(torch.as_tensor(value))
        first += len(_parameters(optimizer))
    header = {"key": key, "epoch": state.epoch, "best_epoch": state.best_epoch}
    header["history"] = state.history
    header["seal"] = _seal(header, tensors)
    save_weights(path, tensors, header)
    write_json(path.with_suffix(".json"), header)


def load(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[optim.Optimizer],
    key: str,
    *,
    average: nn.Module | None = None,
) -> State:
    """Bring model, optimizers and average back to where :func:`save` left them.

    Raises:
        RecordError: the file is damaged, or belongs to a run with another key.
    """
    tensors, header = _load(path)
    if header.get("key") != key:
        found = f"key {header.get('key')}, wanted {key}"
        raise RecordError(f"{path} belongs to another run ({found}); {_START_AGAIN}")
    if header.pop("seal", None) != _seal(header, tensors):
        raise RecordError(f"{path} is damaged (it was altered); {_START_AGAIN}")
    parts: dict[str, Weights] = {"model": {}, "average": {}, "best": {}, "optimizer": {}}
    try:
        for name, value in tensors.items():
            part, _, within = name.partition(".")
            parts[part][within] = value
        model.load_state_dict(parts["model"])
        if average is not None:
            average.load_state_dict(parts["average"])
        _fill(optimizers, parts["optimizer"])
        return State(header["epoch"], header["history"], parts["best"], header["best_epoch"])
    except (RuntimeError, LookupError, ValueError) as error:
        raise RecordError(f"{path} does not fit this training ({error}); {_START_AGAIN}") from None


def _fill(optimizers: Sequence[optim.Optimizer], tensors: Weights) -> None:
    """Fill optimizers with the slots of their parameters, which are numbered through."""
    slots: dict[int, Weights] = {}
    for name, value in tensors.items():
        number, slot = name.split(".", 1)
        slots.setdefault(int(number), {})[slot] = value
    first = 0
    for optimizer in optimizers:
        theirs = {}
        for number, like in enumerate(_parameters(optimizer)):
            # A buffer laid out like its parameter is updated by the same instructions as before
            # the interruption, which bit-for-bit resumption depends on.
            theirs[number] = {
                slot: torch.empty_like(like).copy_(value) if value.shape == like.shape else value
                for slot, value in slots.pop(first + number, {}).items()
            }
        first += len(theirs)
        optimizer.load_state_dict(optimizer.state_dict() | {"state": theirs})
    if slots:
        raise ValueError(f"it has slots of {len(slots)} parameters that the optimizer has not")


def _parameters(optimizer: optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _seal(header: Mapping[str, Any], tensors: Weights) -> str:
    """SHA-256 of all a checkpoint holds: safetensors has no checksum, and a run goes on from it."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _load(path: Path) -> tuple[Weights, dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = json.loads((file.metadata() or {})["rslib"])
            if not isinstance(header, dict):
                raise ValueError(f"its header is a {type(header).__name__}")
    except FileNotFoundError:
        raise RecordError(f"{path} is missing") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        found = f"is damaged or not a checkpoint of this project ({error})"
        raise RecordError(f"{path} {found}; {_START_AGAIN}") from None
    return tensors, header
