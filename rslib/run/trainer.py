"""One model of a run: trained by its plan, validated as its objective asks, and written."""

from __future__ import annotations

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
from rslib.run.maker import Maker
from rslib.run.provenance import provenance
from rslib.settings.cast import mask_source
from rslib.settings.plan import Plan
from rslib.settings.schema import Recipe, TrainingAttack
from rslib.store import records
from rslib.training import checkpoint
from rslib.training.checkpoint import State
from rslib.training.plan import alignment, objective


def train(
    run: Maker,
    name: str,
    folder: Path,
    inputs: Mapping[str, Any],
    *,
    after_epoch: Callable[[State], None] | None = None,
) -> None:
    """Train a model, or go on with its training, and write its weights and ``model.json``.

    Args:
        run: whose data, settings and seed it is trained with; its parent is trained where missing.
        name: ``<architecture>-<objective>``.
        folder: where the checkpoint is kept meanwhile and the results go; its name ends in the key.
        inputs: what decides the result, kept in ``model.json``.
        after_epoch: see :func:`rslib.training.fit`.

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
    images = training_images(run, planned)
    with determinism.reported() as reported:
        state = training.fit(
            model,
            objective(planned),
            batches(images, recipe, device=run.device, seed=run.seed),
            validation(run, planned),
            recipe,
            validate_raw=raw_validation(run, planned),
            select=selected_by(planned),
            seed=run.seed,
            checkpoint_path=folder / "checkpoint.safetensors",
            key=folder.name.rpartition("-")[2],
            name=name,
            progress=run.progress,
            tell=run.tell,
            after_epoch=after_epoch,
        )
    weights = {"best": state.best, "last": checkpoint.weights_of(model)}
    if run.settings.weights == "fp16":
        weights = {kind: checkpoint.halved(tensors) for kind, tensors in weights.items()}
    digests = {}
    for kind, tensors in weights.items():
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
            "masked_images": None if planned.masks is None else masked(images),
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
        mix = strong.Mix(
            len(images.classes),
            recipe.mixup,
            recipe.cutmix,
            recipe.cutmix_probability,
            recipe.mixed_share,
        )
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


def training_images(run: Maker, planned: Plan) -> data.Dataset:
    """The images that a model is trained on, with their masks where it is aligned to them."""
    images = run.data("train")
    if planned.half is not None:
        return data.halves(images)[planned.half]
    if planned.masks is not None:
        source = mask_source(run.settings, planned.masks)
        return object_masks.attach(run, images, "train", source, planned.masks.share)
    return images


def masked(images: data.Dataset) -> int:
    """How many of the images have a mask that is not empty."""
    return 0 if images.masks is None else int(images.masks.flatten(1).any(1).sum())


def selected_by(planned: Plan) -> str:
    """The score of validation images whose best epoch is kept: of images as it is trained on."""
    if planned.attack is not None:
        return ROBUST_ACCURACY
    return CLEAN_ACCURACY if planned.sigma is None else NOISY_ACCURACY


def validation(run: Maker, planned: Plan) -> Callable[[nn.Module], dict[str, float]]:
    """What is measured on validation images after each epoch.

    Accuracy always; accuracy under attack where the training attacks, and with noise where it adds
    some; IoU and alignment loss where it aligns.
    """
    size = run.settings.evaluation.batch_size
    images = run.data("validation")
    if planned.masks is not None:
        source = mask_source(run.settings, planned.masks)
        images = object_masks.attach(run, images, "validation", source, 1.0)
    clean = data.Batches(images, size, device=run.device, channels_last=True)
    attack, aligned, recipe = planned.attack, alignment(planned), planned.recipe
    if attack is not None:
        few = data.balanced_subset(images, min(attack.validation_images, len(images)))
        attacked = data.Batches(few, size, device=run.device, channels_last=True)

    def validate(model: nn.Module) -> dict[str, float]:
        scores = training.score(model, clean, recipe)
        if aligned is not None:
            scores |= aligned.validate(model, clean)
        if planned.sigma is not None:
            scores[NOISY_ACCURACY] = noisy_accuracy(
                model, clean, sigma=planned.sigma, seed=run.seed
            )
        if attack is not None:
            with training.validating(recipe, run.device):
                scores[ROBUST_ACCURACY] = robust_accuracy(model, attacked, attack, seed=run.seed)
        return scores

    return memory.refusing("evaluation.batch_size", size)(validate)


def raw_validation(run: Maker, planned: Plan) -> Callable[[nn.Module], dict[str, float]] | None:
    """What is measured of the weights themselves where their average is kept; None elsewhere."""
    if planned.recipe.ema_decay is None:
        return None
    size = run.settings.evaluation.batch_size
    clean = data.Batches(run.data("validation"), size, device=run.device, channels_last=True)
    return lambda model: training.score(model, clean, planned.recipe)


def robust_accuracy(
    model: nn.Module, batches: data.Batches, attack: TrainingAttack, *, seed: int
) -> float:
    """Accuracy on images at every iterate of PGD, with the same random starts at every call.

    Args:
        model: in eval mode.
        batches: images (B, 3, H, W) in [0, 1], always in the same order.
        attack: its budget and steps.
        seed: of the starts.
    """
    generator, right = torch.Generator().manual_seed(seed), 0
    for batch in batches:
        found = run_pgd(
            model,
            batch.x,
            batch.y,
            eps=attack.eps_unit,
            step_size=attack.step_size,
            num_steps=attack.steps,
            generator=generator,
        )
        right += (~found.fooled).sum().item()
    return right / len(batches.dataset)


@torch.inference_mode()
def noisy_accuracy(model: nn.Module, batches: data.Batches, *, sigma: float, seed: int) -> float:
    """Accuracy on images with Gaussian noise, each with the same at every call.

    Args:
        model: in eval mode.
        batches: images (B, 3, H, W) in [0, 1], always in the same order.
        sigma: standard deviation, in [0, 1] units; noisy images are not clipped.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    correct = seen = 0
    for batch in batches:
        noise = torch.randn(batch.x.shape, generator=generator).to(batch.x)
        correct += (model(batch.x + sigma * noise).argmax(1) == batch.y).sum().item()
        seen += len(batch.y)
    return correct / seen
