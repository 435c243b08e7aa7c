"""Evaluations in resumable shards: per-image rows of models, one batch of images at a time.

Random draws are seeded by (run seed, shard), so that an interruption changes no row.
"""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rslib.data import Batch, Batches, Dataset
from rslib.models import memory
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

    All models see a shard, in eval mode, before any sees the next one. An evaluation with a method
    ``prepare`` is given the next shard before, to make meanwhile what needs no model.

    A shard is a batch of ``batch_size`` images. Its random draws are seeded by ``seed`` and its
    number; when finished, it lies in the model's folder of ``parts`` (:func:`discard_parts`).

    Returns:
        For each model one row an image, ``image`` (position in the canonical test order) and
        ``label`` first; and the seconds spent, over all sittings, with the evaluation's notes.
    """
    import pandas as pd

    batches = Batches(dataset, batch_size, device=device, channels_last=True)
    # Put in place shard by shard: frames joined at the end would be held twice.
    columns: dict[str, dict[str, np.ndarray]] = {each: {} for each in models}
    about: dict[str, dict[str, Any]] = {each: {"seconds": 0.0, "notes": {}} for each in models}
    prepare = getattr(evaluate, "prepare", None)
    halving = memory.Halving("evaluation.batch_size")

    def write_shard(path: Path, model: nn.Module, batch: Batch, number: int) -> None:
        def made(tried: nn.Module) -> Outcome:
            generator = torch.Generator().manual_seed(int(records.key(seed=seed, shard=number), 16))
            return evaluate(tried, batch, generator)

        started = time.perf_counter()
        outcome = halving(made, model.eval(), len(batch.y))
        values = {"image": batch.ids, "label": batch.y} | outcome.columns
        frame = pd.DataFrame({k: v.detach().cpu().numpy() for k, v in values.items()})
        elapsed = time.perf_counter() - started
        records.write_record(path, frame, {"seconds": elapsed, "notes": outcome.notes})

    total = len(batches) * len(models)
    with tqdm(total=total, desc=name, disable=not progress, mininterval=1.0) as bar:
        with_next = itertools.pairwise(itertools.chain(batches, [None]))
        for number, (batch, following) in enumerate(with_next):
            file = f"{number:05d}.parquet"
            for coming, its in ((batch, file), (following, f"{number + 1:05d}.parquet")):
                if prepare is None or coming is None:
                    continue
                if not all((parts[each] / its).exists() for each in models):
                    prepare(coming)
            for each, model in models.items():
                path = parts[each] / file
                if not path.exists():
                    write_shard(path, model, batch, number)
                frame = records.read_record(path)
                about[each]["seconds"] += frame.attrs["seconds"]
                add_notes(about[each]["notes"], frame.attrs["notes"])
                start = number * batch_size
                for column, values in frame.items():
                    # Shards of before a column was added leave it unknown.
                    blank = np.nan if values.dtype.kind == "f" else 0
                    empty = np.full(len(dataset), blank, values.dtype)
                    whole = columns[each].setdefault(column, empty)
                    whole[start : start + len(values)] = values.to_numpy()
                bar.update()
    return {each: (pd.DataFrame(columns[each], copy=False), about[each]) for each in models}


def add_notes(total: dict[str, Any], notes: dict[str, Any]) -> None:
    """Add a shard's notes to those before (:class:`Outcome`); EvaluationError if texts differ."""
    for name, value in notes.items():
        if name not in total:
            total[name] = value
        elif isinstance(value, list):
            total[name] = list(dict.fromkeys([*total[name], *value]))
        elif not isinstance(value, str):
            total[name] += value
        elif value != total[name]:
            raise EvaluationError(
                f"shards disagree on {name}: {total[name]!r} and {value!r}; delete the unfinished "
                "evaluation's folder and run again"
            )


def discard_parts(parts: Path) -> None:
    """Remove the finished shards of an evaluation whose record is now on disk."""
    shutil.rmtree(parts, ignore_errors=True)
