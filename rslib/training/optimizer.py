"""The optimizers and their learning rate, from a recipe (paper 3.1.3)."""

from __future__ import annotations

import math

from torch import nn, optim

from rslib.settings.schema import Recipe


def build(model: nn.Module, recipe: Recipe) -> list[optim.Optimizer]:
    """SGD as in 3.1.3, or AdamW or Muon where a profile asks for it.

    SGD decays everything, as the paper's protocol does. AdamW leaves undecayed what transformer
    recipes do: biases, norms and other vectors, position embeddings and the class token. Muon
    (torch's own; Jordan et al., 2024, kellerjordan.github.io/posts/muon) steps the matrices of a
    transformer's blocks; AdamW steps the rest at a learning rate of its own. Each group has its
    peak learning rate as ``"peak"``.

    Raises:
        ValueError: Muon was asked for, and the model has no blocks with matrices.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    options = {"lr": recipe.learning_rate, "weight_decay": recipe.weight_decay}
    if recipe.optimizer == "sgd":
        options |= {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        made = [optim.SGD(named.values(), fused=all(p.is_cuda for p in named.values()), **options)]
    elif recipe.optimizer == "adamw":
        made = [_adamw(named, recipe, recipe.learning_rate)]
    else:
        matrices = {name: p for name, p in named.items() if ".blocks." in name and p.ndim == 2}
        if not matrices:
            way = "this model has none: set optimizer to sgd or adamw"
            raise ValueError(f"muon steps the matrices of a transformer's blocks, and {way}")
        rest = {name: p for name, p in named.items() if name not in matrices}
        muon = optim.Muon(matrices.values(), adjust_lr_fn="match_rms_adamw", **options)
        made = [muon, _adamw(rest, recipe, recipe.adamw_learning_rate)]
    for group in groups(made):
        group["peak"] = group["lr"]
    return made


def groups(optimizers: list[optim.Optimizer]) -> list[dict]:
    """The parameter groups of all optimizers, in order."""
    return [group for each in optimizers for group in each.param_groups]


def _adamw(named: dict[str, nn.Parameter], recipe: Recipe, learning_rate: float) -> optim.AdamW:
    spared = () if recipe.decay_positions else ("pos_embed", "cls_token")
    decayed = [p for name, p in named.items() if p.ndim > 1 and not name.endswith(spared)]
    kept = [p for name, p in named.items() if p.ndim <= 1 or name.endswith(spared)]
    pairs = (decayed, recipe.weight_decay), (kept, 0.0)
    parts = [{"params": params, "weight_decay": decay} for params, decay in pairs if params]
    return optim.AdamW(parts, lr=learning_rate, fused=all(p.is_cuda for p in named.values()))


def learning_rate(recipe: Recipe, progress: float, peak: float | None = None) -> float:
    """Linear warm-up, then cosine annealing to zero (paper 3.1.3), or what the schedule says.

    A function of progress alone (epochs done, fractional), so a resumed run needs no scheduler
    state. The peak is the recipe's learning rate unless a group of parameters has its own.
    """
    peak = recipe.learning_rate if peak is None else peak
    warmup = recipe.warmup_epochs
    if progress < warmup:
        return peak * progress / warmup
    if recipe.schedule == "constant":
        return peak
    share = min((progress - warmup) / (recipe.epochs - warmup), 1.0)
    if recipe.schedule == "one_cycle":
        return peak * (1 - share)
    return peak * 0.5 * (1 + math.cos(math.pi * share))
