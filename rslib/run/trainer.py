"""One model of a run: trained by its plan, validated as its objective asks, and written."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rslib import data, models, training
from rslib.attacks import run_pgd
from rslib.data import strong
from rslib.metrics.estimates import CLEAN_ACCURACY, NOISY_ACCURACY, ROBUST_ACCURACY
from rslib.models import determinism, memory
from rslib.models.resampling import resampled
from rslib.run import object_masks
from rslib.run.provenance import provenance
from rslib.run.results import AbstractRun
from rslib.settings.cast import mask_source
from rslib.settings.plan import Plan
from rslib.settings.schema import Recipe, TrainingAttack
from rslib.store import records
from rslib.training import checkpoint
from rslib.training.plan import alignment, objective


def train(
    run: AbstractRun,
    name: str,
    folder: Path,
    inputs: Mapping[str, Any],
) -> None:
    """Train a model, or go on with its training, and write its weights and ``model.json``.

    Its parent is trained where missing. The folder, whose name ends in the key, is for the
    checkpoint, too; ``inputs``, which decide the result, are kept in ``model.json``.

    Raises:
        rslib.training.TrainingError: the loss became NaN or infinite.
        rslib.store.records.RecordError: a damaged or foreign checkpoint, a full disk.
    """
    planned = run.plan(name)
    recipe = planned.recipe
    model = run.build(name)
    parent_weights = None
    if planned.parent is not None:
        inherited = resampled(run.trained(planned.parent).state_dict(), model)
        # What the parent does not have, such as a saliency head, starts at random.
        model.load_state_dict(model.state_dict() | inherited)
        parent_weights = run.summary(planned.parent)["weights"]["best"]
    if recipe.drop_path:
        models.set_drop_path(model, recipe.drop_path)
    images, checked = (images_of(run, planned, split) for split in ("train", "validation"))
    size = run.settings.evaluation.batch_size
    clean = data.Batches(checked, size, device=run.device, channels_last=True)
    raw = functools.partial(training.score, batches=clean, recipe=recipe)
    # The best epoch is that of the best score of images as it is trained on.
    select = CLEAN_ACCURACY if planned.sigma is None else NOISY_ACCURACY
    if planned.attack is not None:
        select = ROBUST_ACCURACY
    with determinism.reported() as reported:
        state = training.fit(
            model,
            objective(planned),
            batches(images, recipe, device=run.device, seed=run.seed),
            _validation(run, planned, clean),
            recipe,
            validate_raw=None if recipe.ema_decay is None else raw,
            select=select,
            seed=run.seed,
            checkpoint_path=folder / "checkpoint.safetensors",
            key=folder.name.rpartition("-")[2],
            name=name,
            progress=run.progress,
            tell=run.tell,
        )
    masked = None if planned.masks is None else int(images.masks.flatten(1).any(1).sum())
    digests = {}
    for kind, tensors in (("best", state.best), ("last", checkpoint.weights_of(model))):
        if run.settings.weights == "fp16":
            tensors = checkpoint.halved(tensors)
        path = folder / f"{kind}.safetensors"
        checkpoint.save_weights(path, tensors, {"model": name, "kind": kind})
        digests[kind] = records.file_digest(path)
    # Written last: its presence is what says that the training is complete.
    records.write_json(
        folder / "model.json",
        {
            "name": name,
            "architecture": planned.architecture,
            "objective": planned.objective,
            "parent": planned.parent,
            "parent_weights": parent_weights,
            "inputs": dict(inputs),
            "recipe": recipe.model_dump(),
            "seed": run.seed,
            "data": {split: run.data(split).fingerprint for split in ("train", "validation")},
            "train_images": len(images),
            "masked_images": masked,
            "weights": digests,
            "parameters": models.count_parameters(model),
            "best_epoch": state.best_epoch,
            "seconds": sum(row["seconds"] for row in state.history),
            "history": state.history,
            "provenance": provenance(run.device, reported),
        },
    )
    (folder / "checkpoint.safetensors").unlink()
    (folder / "checkpoint.json").unlink(missing_ok=True)


def batches(
    images: data.Dataset, recipe: Recipe, *, device: torch.device, seed: int
) -> data.Batches:
    """The images as a recipe has them for training: shuffled, augmented, mixed."""
    transforms: list[strong.Transform] = []
    if recipe.randaugment:
        transforms.append(strong.RandAugment(recipe.randaugment, recipe.randaugment_magnitude))
    if recipe.erasing:
        transforms.append(strong.Erasing(recipe.erasing))
    if recipe.cutout:
        transforms.append(strong.Cutout(recipe.cutout))
    mix = None
    if recipe.mixes:
        share, probability = recipe.mixed_share, recipe.cutmix_probability
        mix = strong.Mix(len(images.classes), recipe.mixup, recipe.cutmix, probability, share)
    return data.Batches(
        images,
        recipe.batch_size,
        device=device,
        shuffle=True,
        augment=data.Augment(flip=recipe.flip, padding=recipe.padding),
        strong=transforms,
        mix=mix,
        light_from=recipe.epochs - recipe.light_epochs if recipe.light_epochs else None,
        seed=seed,
        channels_last=True,
    )


def images_of(run: AbstractRun, planned: Plan, split: str) -> data.Dataset:
    """The images a model is trained or validated on, with masks where it is aligned to them."""
    images = run.data(split)
    if planned.half is not None and split == "train":
        return data.halves(images)[planned.half]
    if planned.masks is None:
        return images
    share = planned.masks.share if split == "train" else 1.0
    return object_masks.attach(run, split, mask_source(run.settings, planned.masks), share)


def _validation(run: AbstractRun, planned: Plan, clean: data.Batches) -> Callable[..., Any]:
    """What is measured on validation images after each epoch, as the training asks."""
    attack, aligned, recipe = planned.attack, alignment(planned), planned.recipe
    if attack is not None:
        images, size = clean.dataset, clean.batch_size
        few = data.balanced_subset(images, min(attack.validation_images, len(images)))
        attacked = data.Batches(few, size, device=run.device, channels_last=True)

    def validate(model: nn.Module) -> dict[str, float]:
        scores = training.score(model, clean, recipe)
        if aligned is not None:
            scores |= aligned.validate(model, clean)
        if (sigma := planned.sigma) is not None:
            scores[NOISY_ACCURACY] = noisy_accuracy(model, clean, sigma=sigma, seed=run.seed)
        if attack is not None:
            with training.validating(recipe, run.device):
                scores[ROBUST_ACCURACY] = _robust(model, attacked, attack, run.seed)
        return scores

    return memory.refusing("evaluation.batch_size", clean.batch_size)(validate)


def _robust(model: nn.Module, batches: data.Batches, attack: TrainingAttack, seed: int) -> float:
    """Accuracy on images at every iterate of PGD, with the same random starts at every call."""
    budget = {"eps": attack.eps_unit, "step_size": attack.step_size, "num_steps": attack.steps}
    generator, right = torch.Generator().manual_seed(seed), 0
    for batch in batches:
        found = run_pgd(model, batch.x, batch.y, generator=generator, **budget)
        right += (~found.fooled).sum().item()
    return right / len(batches.dataset)


@torch.inference_mode()
def noisy_accuracy(model: nn.Module, batches: data.Batches, *, sigma: float, seed: int) -> float:
    """Accuracy under Gaussian noise of std ``sigma``, not clipped, the same at every call."""
    generator, right = torch.Generator().manual_seed(seed), 0
    for batch in batches:
        noise = torch.randn(batch.x.shape, generator=generator).to(batch.x)
        right += (model(batch.x + sigma * noise).argmax(1) == batch.y).sum().item()
    return right / len(batches.dataset)
