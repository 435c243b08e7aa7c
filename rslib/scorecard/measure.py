"""The evaluations behind a scorecard: per-image records of one model, each by the book's own code.

An evaluation that fails on the model, such as a gradient attack on a model without gradients, gives
its reason instead of a record; none is dropped silently.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rslib import data
from rslib.attacks import Report, Twins, reliability
from rslib.corruptions import cifar10c
from rslib.run import explanations, predictions, shards
from rslib.run.shards import Evaluate
from rslib.saliency.gradcam import captured, last_feature_layer
from rslib.saliency.methods import LABELS, is_transformer, methods
from rslib.scorecard.masks import Masks
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from rslib.settings.schema import Settings


@dataclass(frozen=True)
class Bench:
    """What every evaluation of a scorecard needs.

    Attributes:
        model: on the device, in eval mode.
        name: what it is called.
        images: the data set.
        settings: with the plan's numbers of images.
        device: where to compute.
        seed: of everything random.
        masks: of the images, or why there are none.
    """

    model: nn.Module
    name: str
    images: data.Dataset
    settings: Settings
    device: torch.device
    seed: int
    masks: Masks | str

    def subset(self, n: int) -> data.Dataset:
        """The first n of the book's nested, class-balanced images."""
        return data.balanced_subset(self.images, n)


@dataclass
class Outcome:
    """What became of one evaluation.

    Attributes:
        frame: one row an image; None for the verdict, and where it failed.
        report: the reliability report, only for the verdict.
        reason: why there is nothing.
        seconds: how long it took.
        facts: what else is to be told.
    """

    frame: pd.DataFrame | None = None
    report: Report | None = None
    reason: str | None = None
    seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def evaluate(bench: Bench, axis: str, n: int, done: Mapping[str, Outcome]) -> Outcome:
    """Make one axis of :data:`rslib.scorecard.plan.PLANNED` on n images.

    Args:
        bench: model, images and settings.
        axis: which.
        n: images.
        done: the axes before it; the verdict looks at AutoAttack's.
    """
    import time

    started = time.perf_counter()
    try:
        if axis == "reliability":
            found = Outcome(report=_examine(bench, n, done.get("autoattack")))
        else:
            found = _record(bench, axis, bench.subset(n))
    except RecordError:
        raise  # a full disk is no property of the model
    # A model of any origin can fail in any of these ways, and says how.
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        found = Outcome(reason=_sentence(error))
    found.seconds = time.perf_counter() - started
    return found


def saliency_evaluation(bench: Bench) -> Evaluate:
    """The saliency axis's evaluation.

    Raises:
        ValueError: there are no masks; says why.
    """
    if isinstance(bench.masks, str):
        raise ValueError(bench.masks)
    known = explanations.Known(bench.images, bench.masks.masks)
    return explanations.overlap({bench.masks.source: known})


def explained_by(model: nn.Module, x: torch.Tensor) -> str:
    """The saliency method that a model is explained by, with the layer it looks at.

    Args:
        model: images to logits, in eval mode.
        x: images; the first is looked at.

    Raises:
        ValueError: the model has neither a class token nor a last feature map.
    """
    label = LABELS[methods(model)[0]]
    if is_transformer(model):
        return label
    layer = last_feature_layer(model, x)
    name = next(name for name, module in model.named_modules() if module is layer)
    with torch.no_grad(), captured(layer) as outputs:
        model(x[:1])
    height, width = outputs[0].shape[2:]
    return f"{label} of {name or 'the whole model'} ({height} × {width})"


def _record(bench: Bench, axis: str, images: data.Dataset) -> Outcome:
    facts: dict[str, Any] = {}
    if axis == "saliency":
        (batch,) = data.Batches(images.subset([0]), 1, device=bench.device)
        facts["method"] = explained_by(bench.model, batch.x)
    if axis == "corruptions":
        chosen = bench.settings.corruptions
        corrupted = cifar10c.load(images, official=chosen.official, seed=chosen.seed)
        facts["corrupted"] = corrupted.identity
        evaluated = predictions.UnderCorruptions(corrupted)
    else:
        evaluated = _evaluation(bench, axis)
    # Shards are of no use after a failure: another model may have the same name.
    with tempfile.TemporaryDirectory(prefix="rslib-") as parts:
        made = shards.in_shards(
            {bench.name: bench.model},
            images,
            evaluated,
            batch_size=bench.settings.evaluation.batch_size,
            device=bench.device,
            seed=bench.seed,
            parts={bench.name: Path(parts)},
            progress=False,
        )
    frame, about = made[bench.name]
    return Outcome(frame, facts=facts | about["notes"])


def _evaluation(bench: Bench, axis: str) -> Evaluate:
    chosen = bench.settings
    makers: dict[str, Callable[[], Evaluate]] = {
        "clean": lambda: predictions.clean,
        "fgsm": lambda: predictions.under_fgsm(chosen.fgsm),
        "pgd": lambda: predictions.under_pgd(
            chosen.pgd, Twins(), allow_tf32=chosen.evaluation.tf32
        ),
        "autoattack": lambda: predictions.under_autoattack(
            chosen.autoattack, chosen.pgd, Twins(), seed=bench.seed
        ),
        "saliency": lambda: saliency_evaluation(bench),
    }
    return makers[axis]()


def _examine(bench: Bench, n: int, strongest: Outcome | None) -> Report:
    """The reliability checks, with what AutoAttack left of the same images where that is known."""
    chosen, images = bench.settings, bench.subset(n)
    (batch,) = data.Batches(images, len(images), device=bench.device)
    correct = None
    same = chosen.autoattack.eps == chosen.pgd.eps and chosen.pgd.norm == "linf"
    if same and strongest is not None and strongest.frame is not None:
        left = strongest.frame.set_index("image")["correct"]
        ids = images.ids.tolist()
        if set(ids) <= set(left.index):
            correct = torch.from_numpy(left.loc[ids].to_numpy(copy=True))
    return reliability(
        bench.model,
        batch.x,
        batch.y,
        eps=chosen.pgd.eps_unit,
        norm=chosen.pgd.norm,
        strong_steps=chosen.reliability.strong_steps,
        queries=chosen.reliability.queries,
        seed=bench.seed,
        autoattack_correct=correct,
    )


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or "no message"
    known = isinstance(error, ValueError | TypeError)
    return text if known else f"{type(error).__name__}: {text}"
