"""What is measured of explanations, from a batch of images to one row an image.

An image whose mask (:mod:`rslib.run.object_masks`) a source refuses has NaN there, and is counted.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rslib import data, saliency
from rslib.run import predictions
from rslib.run.results import AbstractRun
from rslib.run.shards import Evaluate, Outcome
from rslib.saliency.methods import explain, methods
from rslib.saliency.overlap import TOP
from rslib.saliency.swap import composites, partners
from rslib.settings.names import TOPS
from rslib.settings.schema import PGD
from rslib.store import records


class Known:
    """Masks of test images, found by the images' ids."""

    def __init__(self, images: data.Dataset, masks: Tensor) -> None:
        self.masks = masks
        self.place = {image: position for position, image in enumerate(images.ids.tolist())}

    def of(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The masks (B, H, W) of some images on their device, and whether each has one (B,)."""
        found = self.masks[[self.place[i] for i in ids.tolist()]].to(ids.device)
        return found, found.flatten(1).any(1)

    def iou(self, maps: Tensor, ids: Tensor) -> Tensor:
        """IoU (B,) of saliency maps (B, H, W) with some images' masks; NaN where there is none."""
        masks, there = self.of(ids)
        found = torch.full((len(maps),), torch.nan)
        if there.any():
            found[there.cpu()] = saliency.iou(maps[there], masks[there]).float().cpu()
        return found


def overlap(known: Mapping[str, Known]) -> Evaluate:
    """Where the paper's method looks, against each source of masks (paper 3.3.3, equation 9).

    Columns: prediction, correct, degenerate (the map is constant) and, for each source,
    ``iou_<source>``, ``mass_<source>`` (share of the saliency inside), ``pointing_<source>``,
    ``shuffled_<source>`` (IoU with another image's mask) and ``iou_<source>_<percent>`` at
    :data:`rslib.settings.names.TOPS`; ``otsu_<source>`` and ``otsu_chance_<source>``
    (:func:`rslib.saliency.iou_separated`); ``area_<source>`` (:func:`rslib.saliency.iou_area`),
    ``area_chance_<source>`` and ``area_ceiling_<source>`` (levels of the same masks). In
    steps of 2^-11, the curve of 2^-9.
    """

    def evaluate(model: nn.Module, batch: data.Batch, generator: torch.Generator) -> Outcome:
        prediction = predictions.logits(model, batch.x).argmax(1)
        maps = explain(model, batch.x, prediction)
        columns = {
            "prediction": prediction,
            "correct": prediction == batch.y,
            "degenerate": saliency.degenerate(maps),
        }
        for source, masks in known.items():
            columns |= _overlap(maps, *masks.of(batch.ids), source)
        return Outcome(columns)

    return evaluate


_KINDS = ("iou", "mass", "pointing", "otsu", "otsu_chance")
_KINDS += ("area", "area_chance", "area_ceiling", "shuffled")


def _overlap(maps: Tensor, masks: Tensor, there: Tensor, source: str) -> dict[str, Tensor]:
    names = [f"{kind}_{source}" for kind in _KINDS]
    curved = [f"iou_{source}_{100 * top:02.0f}" for top in TOPS]
    found = {name: torch.full((len(maps),), torch.nan) for name in (*names, *curved)}
    if there.any():
        maps, masks = maps[there], masks[there]
        curve = saliency.iou_curve(maps, masks, tops=TOPS)
        values = [curve[:, TOPS.index(TOP)], saliency.mass_inside(maps, masks)]
        values.append(saliency.pointing_game(maps, masks))
        values += saliency.iou_separated(maps, masks)
        values += [saliency.iou_area(maps, masks), *saliency.iou_area_levels(masks)]
        if len(maps) > 1:
            values.append(saliency.shuffled_pairs(maps, masks))
        for name, value in zip(names, values, strict=False):  # no other image: shuffled stays NaN
            found[name][there.cpu()] = records.rounded(value.float().cpu(), 11)
        for name, value in zip(curved, curve.T, strict=True):
            found[name][there.cpu()] = records.rounded(value.float().cpu(), 9)
    return found


def faithfulness(known: Known, *, steps: int) -> Evaluate:
    """Insertion, deletion, infidelity and IoU of every method that can explain the model.

    Columns, for each method: ``<method>_insertion_<k>`` and ``<method>_deletion_<k>`` for k from 0
    to ``steps`` (the class's probability), ``<method>_infidelity``, ``<method>_degenerate`` and
    ``<method>_iou``. ``random`` is a map of noise, for comparison, without infidelity.
    """

    def evaluate(model: nn.Module, batch: data.Batch, generator: torch.Generator) -> Outcome:
        x, target = batch.x, predictions.logits(model, batch.x).argmax(1)
        columns: dict[str, Tensor] = {}
        for method in (*methods(model), "random"):
            if method == "random":
                maps = torch.rand(x[:, 0].shape, generator=generator).to(x)
            else:
                maps = explain(model, x, target, method=method)
                infidelity = saliency.infidelity(model, x, maps, target, seed=0)
                columns[f"{method}_infidelity"] = infidelity
            for name in ("insertion", "deletion"):
                curve = getattr(saliency, f"{name}_curve")
                points = curve(model, x, maps, target, steps=steps)
                columns |= {f"{method}_{name}_{k}": points[:, k] for k in range(steps + 1)}
            columns[f"{method}_degenerate"] = saliency.degenerate(maps)
            columns[f"{method}_iou"] = known.iou(maps, batch.ids)
        return Outcome(columns)

    return evaluate


def under_attack(settings: PGD, known: Known) -> Evaluate:
    """The paper's method on images before and after PGD, each explaining what is predicted there.

    Columns: clean_correct, fooled, iou_clean, iou_attacked, rank_correlation (of the two maps; NaN
    where one is constant), same_top (:func:`rslib.saliency.same_top` of the two maps).
    """

    def evaluate(model: nn.Module, batch: data.Batch, generator: torch.Generator) -> Outcome:
        x_adv = predictions.pgd(model, batch, settings, generator, early_stop=True).x_adv
        clean, attacked = (explain(model, x) for x in (batch.x, x_adv))
        right = predictions.logits(model, batch.x).argmax(1) == batch.y
        columns = {
            "clean_correct": right,
            "fooled": right & (predictions.logits(model, x_adv).argmax(1) != batch.y),
            "rank_correlation": saliency.rank_correlation(clean, attacked),
            "same_top": saliency.same_top(clean, attacked),
            "iou_clean": known.iou(clean, batch.ids),
            "iou_attacked": known.iou(attacked, batch.ids),
        }
        return Outcome(columns)

    return evaluate


def swapped(known: Known) -> Evaluate:
    """Objects before the backgrounds of other images of their own class, and of other classes.

    Columns, only of images with a mask and a partner (elsewhere NaN): clean_correct, same_correct
    (before a background of the same class), other_correct (before one of another class), and
    background (what is predicted then is the class of the background).
    """

    def evaluate(model: nn.Module, batch: data.Batch, generator: torch.Generator) -> Outcome:
        masks, there = known.of(batch.ids)
        names = ("clean_correct", "same_correct", "other_correct", "background")
        found = {name: torch.full((len(batch.y),), torch.nan) for name in names}
        if not there.any():
            return Outcome(found)
        x, y, masks = batch.x[there], batch.y[there], masks[there]
        own, other = partners(y, generator)
        paired = (own >= 0) & (other >= 0)
        own, other = own.clamp(min=0), other.clamp(min=0)
        same, mixed, clean = (
            predictions.logits(model, images).argmax(1)
            for images in (composites(x, masks, own), composites(x, masks, other), x)
        )
        values = (clean == y, same == y, mixed == y, mixed == y[other])
        rows = there.nonzero().flatten()[paired].cpu()
        for name, value in zip(names, values, strict=True):
            found[name][rows] = value[paired].float().cpu()
        return Outcome(found)

    return evaluate


def agreement(counts: Tensor) -> Evaluate:
    """The model's probabilities against the people of CIFAR-10H: int64 counts (10000, 10).

    Columns: cross_entropy (nats, people's distribution against the model's), people_entropy (nats;
    no model can go below it), distance (total variation, in [0, 1]) and chosen (share of the people
    who chose the class that the model predicts), in steps of 2^-13.
    """
    shares = counts.double() / counts.sum(1, keepdim=True)

    def evaluate(model: nn.Module, batch: data.Batch, generator: torch.Generator) -> Outcome:
        people = shares[batch.ids.cpu()]
        log = predictions.logits(model, batch.x).double().log_softmax(1).cpu()
        columns = {
            "cross_entropy": -(people * log).sum(1),
            "people_entropy": torch.special.entr(people).sum(1),
            "distance": (people - log.exp()).abs().sum(1).div(2),
            "chosen": people.gather(1, log.argmax(1, keepdim=True)).squeeze(1),
        }
        return Outcome({key: records.rounded(each.float(), 13) for key, each in columns.items()})

    return evaluate


def randomize(run: AbstractRun, name: str) -> dict[str, Any]:
    """The randomization check of Adebayo et al. for each method that can explain a model.

    Gives ``n`` and, by method, a list of ``{layers, correlation, degenerate}``: how many layers
    were random, counted from the last, the mean rank correlation with the trained model's maps
    (None where no map varied) and how many maps were constant.
    """
    model, test = run.trained(name), run.data("test")
    few = data.balanced_subset(test, min(run.settings.faithfulness.randomized_n, len(test)))
    (batch,) = data.Batches(few, len(few), device=run.device)
    seed = int(records.key(seed=run.seed, randomize=name), 16) % 2**31
    found = {}
    for method in methods(model):
        steps = saliency.randomization_check(
            model, batch.x, functools.partial(explain, method=method), seed=seed, points=8
        )
        found[method] = [
            {"layers": k, "correlation": None if c != c else c, "degenerate": d}
            for k, c, d in steps
        ]
    return {"n": len(few), "methods": found}
