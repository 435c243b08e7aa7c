"""The object masks of a run, by where they come from: exact, a teacher's activation maps, or own.

A teacher is trained on one half of the training images. Its activation maps for the labeled class
become masks (paper 3.4.1), kept as a record of each split. Aligning to one teacher's masks and
scoring against the other's keeps them apart; agreement with one's own teacher is distillation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rslib import data
from rslib.metrics import expected_calibration_error
from rslib.metrics.calibration import fit_temperature, scaled
from rslib.run.provenance import provenance
from rslib.run.results import AbstractRun, on_shapes
from rslib.saliency import (
    MaskError,
    gradcam,
    overlap,
    proxy_masks,
    read_masks,
    refine,
    resize,
    standardize,
)
from rslib.saliency.rollout import find_transformer
from rslib.settings.names import TEACHERS, TOPS
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

# Another than that of the teachers' halves: a share must not lie within the images of one teacher,
# whose maps of images that it was taught are better than of others.
_SHARE_SEED = 1


def of(run: AbstractRun, source: str, split: str) -> Tensor:
    """The masks of a split's images; made first where they are a teacher's and not there yet.

    ``source`` is one of :data:`rslib.settings.names.MASK_SOURCES`. Masks are bool (N, H, W), in the
    order of ``run.data(split)``, and empty where an image has none.

    Raises:
        MaskError: there are none of this kind; says why and what to do.
    """
    images = run.data(split)
    if source == "exact":
        if images.masks is None:
            raise MaskError(
                f"{images.name} has no exact masks: use a teacher's (cnn or vit) or your own"
            )
        return images.masks
    if source == "own":
        folder, file = run.own_masks(), "test" if split == "test" else "train"
        found = [path for path in (folder / file, folder / f"{file}.npy") if path.exists()]
        if not found:
            raise MaskError(f"{folder} holds neither a folder {file} nor {file}.npy; one is needed")
        return read_masks(found[0], images.ids.tolist())[0]
    frame = record(run, source, split)
    packed = np.stack([np.frombuffer(each, np.uint8) for each in frame["mask"]])
    height, width = images.images.shape[2:]
    unpacked = np.unpackbits(packed, axis=1, count=height * width).astype(bool)
    return torch.from_numpy(unpacked.reshape(-1, height, width))


def record(run: AbstractRun, source: str, split: str) -> pd.DataFrame:
    """The masks of a teacher, ``"cnn"`` or ``"vit"``, as a record, made where it is not there.

    It has one row an image: image, label, refused, coverage (share of the image) and mask (its
    bits, packed row by row). Its metadata tells the teacher's calibration.

    Raises:
        MaskError: the source is no teacher's.
    """
    inputs = run.mask_inputs(source)
    if source not in TEACHERS:
        raise MaskError(f"{source} masks are not made here; a record is kept of cnn and vit masks")
    images, teacher = run.data(split), TEACHERS[source]
    made = inputs | {"split": split, "n": len(images)}
    path = run.directory / "masks" / f"{source}-{split}-{records.key(**made)}.parquet"
    with run.lock(path):
        if not path.exists():
            frame, about = _make(run, source, split)
            metadata = {
                "model": teacher,
                "weights": run.summary(teacher)["weights"]["best"],
                "evaluation": "masks",
                "inputs": made,
                "split": split,
                "n": len(frame),
                "data": images.fingerprint,
                **about,
                "provenance": provenance(run.device),
            }
            records.write_record(path, frame, metadata)
    frame = records.read_record(path)
    # The teacher itself may be away: it is not published with the masks.
    weights = run.weights_digest(teacher)
    other = None
    if frame.attrs["data"] != images.fingerprint:
        other = f"was made from other images than {run.settings.data.name} gives now"
    elif weights is not None and frame.attrs.get("weights", weights) != weights:
        other = f"was made by other weights than {teacher} has now"
    if other is not None:
        raise records.RecordError(f"{path} {other}: delete it to have it made again")
    return frame


def priors(run: AbstractRun) -> pd.DataFrame:
    """What overlap with the test images' masks means, whatever the model; made where missing.

    One row a test image and, for each source, ``coverage_<source>`` (share of the image),
    ``ceiling_<source>`` (the largest IoU a map can reach), ``center_<source>`` and
    ``average_<source>`` (IoU of the image's center, and of the other masks' mean), and
    ``chance_<source>_<percent>`` (IoU of a random map at the shares of :data:`TOPS`); NaN where
    there is no mask. Made under the seeds that follow, too.
    """
    path = run.priors_path
    with run.lock(path):
        if not path.exists():
            _make_priors(run)
    for each in run.followers:
        priors(each)
    return run.priors()


def quality(run: AbstractRun, source: str) -> dict[str, float]:
    """The overlap of a teacher's masks with exact ones, on the test images of Shapes.

    Where the run has other images, teachers are trained on Shapes by the same recipes first.
    Returns ``exact_iou``, a refused mask counting as 0, and ``exact_chance``: the IoU of masks with
    the exact ones of other images.
    """
    judged = on_shapes(run)
    masks, exact = of(judged, source, "test"), judged.data("test").masks.cpu()
    other = exact.roll(1, 0)
    return {"exact_iou": _iou(masks, exact), "exact_chance": _iou(masks, other)}


def _iou(masks: Tensor, others: Tensor) -> float:
    meet, join = ((masks & others), (masks | others))
    return (meet.flatten(1).sum(1) / join.flatten(1).sum(1).clamp(min=1)).mean().item()


def _make_priors(run: AbstractRun) -> None:
    import pandas as pd

    started, images = time.perf_counter(), run.data("test")
    columns: dict[str, Any] = {"image": images.ids.numpy(), "label": images.labels.numpy()}
    about = {}
    for source in run.mask_sources:
        masks = of(run, source, "test")
        there = masks.flatten(1).any(1)
        known = masks[there]
        if len(known) < 2:
            raise MaskError(f"{source} masks are known for {len(known)} test images; 2 are needed")
        center = overlap.center_prior(tuple(known.shape[1:]), len(known))
        found = {
            f"coverage_{source}": known.flatten(1).float().mean(1),
            f"ceiling_{source}": overlap.ceiling(known),
            f"center_{source}": overlap.iou(center, known),
            f"average_{source}": overlap.iou(overlap.mean_mask_prior(known), known),
        }
        for top in TOPS:
            found[f"chance_{source}_{100 * top:02.0f}"] = overlap.chance(known, top=top)
        for name, values in found.items():
            columns[name] = np.full(len(images), np.nan, dtype=np.float32)
            columns[name][there.numpy()] = records.rounded(values.float().numpy(), 13)
        about[source] = {"known": int(there.sum()), "images": len(images)}
        if source in TEACHERS:
            made = record(run, source, "test").attrs
            kept = ("temperature", "accuracy", "ece_before", "ece_after")
            about[source] |= {key: made[key] for key in kept}
            if not run.further:
                about[source] |= quality(run, source)
    metadata = {
        "model": "masks",
        "evaluation": "priors",
        "inputs": run.priors_inputs,
        "n": len(images),
        "sources": about,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(run.device),
    }
    records.write_record(run.priors_path, pd.DataFrame(columns), metadata)


def attach(run: AbstractRun, split: str, source: str, share: float) -> data.Dataset:
    """A split's images with their masks (:func:`of`), for a share of them; others have none.

    The share, in (0, 1], is chosen class by class; smaller ones are contained in larger ones.
    """
    images = run.data(split)
    masks = of(run, source, split).clone().to(images.device)
    if share < 1:
        wanted = max(1, round(share * len(images)))
        kept = data.balanced_subset(images, wanted, seed=_SHARE_SEED).ids
        masks[~torch.isin(images.ids, kept)] = False
    return replace(images, masks=masks)


def activation_maps(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    layer: str | Sequence[str] | None,
    *,
    blocks: int = 1,
    flips: bool = False,
) -> Tensor:
    """Class-activation maps (B, H, W) of images (B, 3, H, W) in [0, 1] and classes (B,).

    They are of the module that ``layer`` names, or of what enters a transformer's last ``blocks``.
    Those of several layers, and with ``flips`` of mirror images, are standardized and averaged.
    """
    if layer is None:
        layer = [each.norm1 for each in find_transformer(model).blocks[-blocks:]]
    found = []
    for where in [layer] if isinstance(layer, str) else layer:
        found.append(resize(gradcam(model, x, target, layer=where), x.shape[2:]))
        if flips:
            mirrored = gradcam(model, x.flip(3), target, layer=where).flip(2)
            found.append(resize(mirrored, x.shape[2:]))
    return found[0] if len(found) == 1 else torch.stack(list(map(standardize, found))).mean(0)


def _make(run: AbstractRun, source: str, split: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    chosen, size = run.settings.masks, run.settings.evaluation.batch_size
    started = time.perf_counter()
    teacher = run.trained(TEACHERS[source])
    layer = chosen.cnn_layer if source == "cnn" else chosen.vit_layer
    batches = data.Batches(run.data(split), size, device=run.device, channels_last=True)
    told = f"{TEACHERS[source]}: masks of {split} images"
    rows = []
    for batch in tqdm(batches, desc=told, disable=not run.progress, mininterval=1.0):
        options = {"blocks": chosen.vit_blocks, "flips": chosen.flips}
        maps = activation_maps(teacher, batch.x, batch.y, layer, **options)
        if chosen.refine:
            maps = refine(maps, batch.x)
        masks, refused = proxy_masks(maps, smallest=chosen.smallest, largest=chosen.largest)
        packed = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
        columns = {
            "image": batch.ids.cpu().numpy(),
            "label": batch.y.cpu().numpy(),
            "refused": refused.cpu().numpy(),
            "coverage": masks.flatten(1).float().mean(1).cpu().numpy(),
            "mask": [row.tobytes() for row in packed],
        }
        rows.append(pd.DataFrame(columns))
    about = _calibration(run, teacher) | {"seconds": time.perf_counter() - started}
    return pd.concat(rows, ignore_index=True), about


def _calibration(run: AbstractRun, teacher: nn.Module) -> dict[str, float]:
    """The teacher's temperature, fitted on half of the validation images and judged on the rest."""
    images, chosen = run.data("validation"), run.settings.evaluation
    batches = data.Batches(images, chosen.batch_size, device=run.device)
    # Not around all of it: images first read in inference mode would allow no gradient later.
    with torch.inference_mode():
        logits = torch.cat([teacher(batch.x) for batch in batches]).float().cpu().clone()
    labels = images.labels.cpu()
    fitted = torch.isin(images.ids, data.halves(images)[0].ids)
    temperature = fit_temperature(logits[fitted], labels[fitted])
    logits, labels = logits[~fitted], labels[~fitted]
    before, after = (
        float(expected_calibration_error(scaled(logits, t), labels, bins=chosen.ece_bins))
        for t in (1.0, temperature)
    )
    return {
        "temperature": temperature,
        "accuracy": (logits.argmax(1) == labels).float().mean().item(),
        "ece_before": before,
        "ece_after": after,
    }
