"""The reliability verdict on a model of a run: which images are examined, and what decides it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rslib import attacks, data
from rslib.run.maker import Maker


def inputs(run: Maker, name: str) -> dict[str, Any]:
    """What decides the report on a model, for its key."""
    chosen = run.settings
    left = _left_by_autoattack(run, name, images(run))
    return {
        "evaluation": "reliability",
        "weights": run.summary(name)["weights"]["best"],
        "data": run.test_inputs,
        "settings": chosen.reliability.model_dump(exclude_defaults=True),
        "eps": chosen.pgd.eps,
        "norm": chosen.pgd.norm,
        "autoattack": None if left is None else run.record(name, "autoattack").attrs["inputs"],
        "seed": run.seed,
    }


def images(run: Maker) -> data.Dataset:
    """The test images that are examined: class-balanced, and nested in those of the attacks."""
    test = run.data("test")
    return data.balanced_subset(test, min(run.settings.reliability.n, len(test)))


def examine(run: Maker, model: nn.Module, *, known: str | None = None) -> attacks.Report:
    """Put a model through the checks of :func:`rslib.attacks.reliability`.

    Args:
        run: whose images and settings are used.
        model: of any origin.
        known: its name, where it is a model of the run, whose AutoAttack record is then compared.
    """
    chosen, examined = run.settings.reliability, images(run)
    (batch,) = data.Batches(examined, len(examined), device=run.device)
    return attacks.reliability(
        model,
        batch.x,
        batch.y,
        eps=run.settings.pgd.eps_unit,
        norm=run.settings.pgd.norm,
        strong_steps=chosen.strong_steps,
        queries=chosen.queries,
        seed=run.seed,
        autoattack_correct=None if known is None else _left_by_autoattack(run, known, examined),
    )


def _left_by_autoattack(run: Maker, name: str, examined: data.Dataset) -> torch.Tensor | None:
    """Which of these images the model gets right under AutoAttack, where that is known."""
    same = run.settings.autoattack.eps == run.settings.pgd.eps and run.settings.pgd.norm == "linf"
    if not same or not run.has_record(name, "autoattack"):
        return None
    correct = run.record(name, "autoattack").set_index("image")["correct"]
    wanted = examined.ids.tolist()
    if not set(wanted) <= set(correct.index):
        return None
    return torch.from_numpy(correct.loc[wanted].to_numpy(copy=True))
