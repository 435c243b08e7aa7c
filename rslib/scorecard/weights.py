"""Weights from a file into a model: safetensors, or a pickle that may hold nothing but tensors."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rslib.models.checks import unlike
from rslib.scorecard.card import ScorecardError

SAFE = (".safetensors",)
PICKLED = (".pt", ".pth", ".ckpt", ".bin")

# What training libraries put before every name: DataParallel, torch.compile, Lightning and others.
PREFIXES = ("module.", "_orig_mod.", "model.")
# Under which of its names a training checkpoint keeps the weights.
NESTED = ("state_dict", "model_state_dict", "model", "net")
_SHOWN = 5


class SourceError(ScorecardError):
    """A model that cannot be loaded or scored; the message says why and what to do."""


def expanded(path: str | Path) -> Path:
    """A path with the home folder for ``~``; SourceError where it names no user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0].removeprefix("~")
        told = f"{path}: there is no user {user!r}"
        raise SourceError(f"{told}; give the whole path") from None


def read(path: Path, *, allow_pickle: bool = False) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a file by name, and what a reader must know of how they were found.

    A pickle can run any program while it is read, so a pickled file (:data:`PICKLED`) is refused
    unless allowed; PyTorch's restricted reader (``weights_only=True``) then builds tensors and
    plain containers and nothing else.

    Raises:
        SourceError: the file is missing, damaged, pickled and not asked for, or holds something
            else than tensors by name.
    """
    try:
        if not path.is_file():
            told = f"there is no file of weights {path}: give the path of one that is there"
            raise SourceError(told)
        path.open("rb").close()
    except OSError as error:
        told = f"the weights {path} cannot be read ({error.strerror})"
        raise SourceError(f"{told}: give a file that you may read") from None
    if path.suffix.lower() in SAFE:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path), []
        except (SafetensorError, OSError, ValueError) as error:
            raise SourceError(
                f"{path} is damaged or not a safetensors file ({error}): save the weights again "
                "with safetensors.torch.save_file"
            ) from None
    if not allow_pickle:
        raise SourceError(
            f"{path.name} is a pickled file, which can run any program while it is read, so it is "
            "refused. Save the weights with safetensors.torch.save_file(model.state_dict(), "
            '"weights.safetensors"), or, if you trust where it comes from, ask for it with '
            "--allow-pickle (allow_pickle=True): it is then read with weights_only=True"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these, too, tell how to unpickle it
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    # The restricted reader reports what it refuses and what is damaged by many kinds of error.
    except Exception as error:
        # PyTorch's own message goes on to say how to unpickle such a file after all.
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = f"it asks for {asked[1]}" if asked else type(error).__name__
        raise SourceError(
            f"{path.name} was not read: PyTorch's restricted reader (weights_only=True) refuses "
            f"what is not tensors and plain containers, or the file is damaged ({why}). Ask "
            "whoever made it for the weights alone, saved with safetensors.torch.save_file"
        ) from None
    notes = [f"{path.name} was read with weights_only=True"]
    if isinstance(loaded, Mapping) and not _all_tensors(loaded):
        nested = [name for name in NESTED if _all_tensors(loaded.get(name))]
        if len(nested) == 1:
            notes.append(f"the weights are what {path.name} keeps as {nested[0]!r}")
            loaded = loaded[nested[0]]
    if not _all_tensors(loaded):
        held = ", ".join(map(str, list(loaded)[:_SHOWN])) if isinstance(loaded, Mapping) else ""
        raise SourceError(
            f"{path.name} holds no tensors by name, at its top or under {', '.join(NESTED)}, but "
            f"{type(loaded).__name__}{f' with {held}' if held else ''}: save model.state_dict()"
        )
    return dict(loaded), notes


def fit(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> list[str]:
    """Put tensors into a model; every name and shape must match.

    A prefix that all names share is taken off only if the names then match; a note tells it.

    Raises:
        SourceError: names, shapes or kinds of numbers differ; says which.
    """
    wanted, found, taken = model.state_dict(), dict(tensors), ""
    while set(found) != set(wanted):
        prefix = next((p for p in PREFIXES if found and all(k.startswith(p) for k in found)), None)
        if prefix is None:
            found, taken = dict(tensors), ""
            break
        found = {name.removeprefix(prefix): value for name, value in found.items()}
        taken += prefix
    problems = {
        "missing from the file": [name for name in wanted if name not in found],
        "not in the architecture": [name for name in found if name not in wanted],
        "of another shape": [
            f"{name} {tuple(found[name].shape)} for {tuple(wanted[name].shape)}"
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
        ],
    }
    told = []
    for what, names in problems.items():
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        if names:
            told.append(f"{', '.join(names[:_SHOWN])}{more} {what}")
    if told:
        raise SourceError(
            f"{path.name} does not fit this architecture: {'; '.join(told)}. Name the "
            "architecture, and the profile or settings that give its size, that the weights were "
            "trained with"
        )
    if other := unlike(found, model):
        raise SourceError(
            f"{path.name} holds no dense floats: {other}. Save the weights in float32"
        )
    model.load_state_dict(found)
    return [f"the prefix {taken!r} was taken off all names in {path.name}"] if taken else []


def _all_tensors(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
