"""The optimizer and its learning rate, from a recipe (paper 3.1.3)."""

from __future__ import annotations

import math

from torch import nn, optim

from rslib.schema import Recipe


def build(model: nn.Module, recipe: Recipe) -> optim.Optimizer:
    """SGD as in 3.1.3, or AdamW where a profile asks for it.

    AdamW leaves biases, norms and other vectors undecayed, as transformer recipes do; SGD decays
    everything, as the paper's protocol does. On a GPU a step is one fused kernel.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    fused = all(p.device.type == "cuda" for p in parameters)
    if recipe.optimizer == "sgd":
        return optim.SGD(
            parameters,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
            fused=fused,
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return optim.AdamW(groups, lr=recipe.learning_rate, fused=fused)


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Linear warm-up, then cosine annealing to zero (paper 3.1.3), or a straight line to zero.

    A function of progress alone, so a resumed run needs no scheduler state.

    Args:
        recipe: peak rate, epochs, warm-up and schedule.
        progress: epochs done so far, fractional, in [0, epochs].
    """
    warmup = recipe.warmup_epochs
    if progress < warmup:
        return recipe.learning_rate * progress / warmup
    share = min((progress - warmup) / (recipe.epochs - warmup), 1.0)
    if recipe.schedule == "one_cycle":
        return recipe.learning_rate * (1 - share)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
