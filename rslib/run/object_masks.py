"""The object masks of a run, by where they come from: exact, a teacher's activation maps, or own.

A teacher is trained on one half of the training images (``rslib.settings.plan``). Its activation
maps for the labeled class become masks (paper 3.4.1) of the training, validation and test images,
kept as one record each, refusals included. Aligning to one teacher's masks and scoring against the
other's keeps the two apart; agreement with one's own teacher is distillation, not insight.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rslib import data
from rslib.metrics.calibration import fit_temperature, scaled
from rslib.run import own_masks
from rslib.run.maker import Maker
from rslib.run.provenance import provenance
from rslib.saliency import MaskError, gradcam, overlap, proxy_masks, read_masks, resize
from rslib.saliency.rollout import find_transformer
from rslib.settings.names import MASK_SOURCES, TEACHERS, TOPS
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

# Another than that of the teachers' halves: a share must not lie within the images of one teacher,
# whose maps of images that it was taught are better than of others.
_SHARE_SEED = 1


def of(run: Maker, source: str, split: str) -> Tensor:
    """The masks of a split's images; made first where they are a teacher's and not there yet.

    Args:
        run: whose images, settings and teachers are used.
        source: one of :data:`MASK_SOURCES`.
        split: ``"train"``, ``"validation"`` or ``"test"``.

    Returns:
        bool (N, H, W), in the order of ``run.data(split)``; empty where there is none.

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
        file = "test" if split == "test" else "train"
        return read_masks(own_masks.path(run.settings, file), images.ids.tolist())[0]
    if source not in TEACHERS:
        raise MaskError(f"no masks {source!r}; there are: {', '.join(MASK_SOURCES)}")
    frame = record(run, source, split)
    packed = np.stack([np.frombuffer(each, np.uint8) for each in frame["mask"]])
    size = images.images.shape[2] * images.images.shape[3]
    unpacked = np.unpackbits(packed, axis=1, count=size).astype(bool)
    return torch.from_numpy(unpacked.reshape(-1, *images.images.shape[2:]))


def record(run: Maker, source: str, split: str) -> pd.DataFrame:
    """A teacher's masks as a record, one row an image, made first where it is not there.

    Returns:
        image, label, refused, coverage (share of the image), mask (its bits, packed row by row).
        The metadata holds the teacher's temperature and its calibration before and after.

    Raises:
        MaskError: the source is no teacher's.
    """
    made = run.mask_inputs(source) | {"split": split}
    if source not in TEACHERS:
        raise MaskError(f"{source} masks are not made here; a record is kept of cnn and vit masks")
    images = run.data(split)
    made |= {"n": len(images)}
    path = run.directory / "masks" / f"{source}-{split}-{records.key(**made)}.parquet"
    with run.lock(path):
        if not path.exists():
            frame, about = _make(run, source, split)
            metadata = {
                "model": TEACHERS[source],
                "weights": run.summary(TEACHERS[source])["weights"]["best"],
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
    if frame.attrs["data"] != images.fingerprint:
        raise records.RecordError(
            f"{path} was made from other images than {run.settings.data.name} gives now: delete it "
            "to have it made again"
        )
    # The teacher itself may be away: it is not published with the masks.
    teacher = run.weights_digest(TEACHERS[source])
    if teacher is not None and frame.attrs.get("weights", teacher) != teacher:
        raise records.RecordError(
            f"{path} was made by other weights than {TEACHERS[source]} has now: delete it to have "
            "it made again"
        )
    return frame


def priors(run: Maker) -> pd.DataFrame:
    """What overlap with the test images' masks means, whatever the model; made where missing.

    Made as well for the further seeds that follow (:attr:`rslib.run.results.Results.followers`),
    whose teachers' masks are others.

    Returns:
        One row a test image and, for each source, ``coverage_<source>`` (share of the image),
        ``ceiling_<source>`` (the largest IoU a map can reach), ``center_<source>`` and
        ``average_<source>`` (IoU of the image's center, and of the other masks' mean), and
        ``chance_<source>_<percent>`` (IoU of a random map at the shares of
        :data:`TOPS`); NaN where there is no mask.
    """
    path = run.priors_path
    with run.lock(path):
        if not path.exists():
            _make_priors(run, path)
    for each in run.followers:
        priors(each)
    return run.priors()


def _make_priors(run: Maker, path: Path) -> None:
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
        found = {"coverage": known.flatten(1).float().mean(1), "ceiling": overlap.ceiling(known)}
        center = overlap.center_prior(tuple(known.shape[1:]), len(known))
        found["center"] = overlap.iou(center, known)
        found["average"] = overlap.iou(overlap.mean_mask_prior(known), known)
        for top in TOPS:
            found[f"chance_{100 * top:02.0f}"] = overlap.chance(known, top=top)
        for name, values in found.items():
            kind, _, percent = name.partition("_")
            column = np.full(len(images), np.nan, dtype=np.float32)
            column[there.numpy()] = records.rounded(values.float().numpy(), 13)
            columns["_".join(filter(None, (kind, source, percent)))] = column
        about[source] = {"known": int(there.sum()), "images": len(images)}
        if source in TEACHERS:
            made = record(run, source, "test").attrs
            about[source] |= {
                key: made[key] for key in ("temperature", "accuracy", "ece_before", "ece_after")
            }
    metadata = {
        "model": "masks",
        "evaluation": "priors",
        "inputs": run.priors_inputs,
        "n": len(images),
        "sources": about,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(run.device),
    }
    records.write_record(path, pd.DataFrame(columns), metadata)


def attach(run: Maker, images: data.Dataset, split: str, source: str, share: float) -> data.Dataset:
    """The images with their masks, for a share of them chosen class by class; others have none.

    Args:
        run: whose masks are used.
        images: of the split, all of ``run.data(split)``.
        split: see :func:`of`.
        source: see :func:`of`.
        share: of the images, in (0, 1]; smaller shares are contained in larger ones.
    """
    masks = of(run, source, split).clone().to(images.device)
    if share < 1:
        wanted = max(1, round(share * len(images)))
        kept = data.balanced_subset(images, wanted, seed=_SHARE_SEED).ids
        masks[~torch.isin(images.ids, kept)] = False
    return replace(images, masks=masks)


def activation_maps(model: nn.Module, x: Tensor, target: Tensor, layer: str | None) -> Tensor:
    """Signed class-activation maps at the image's size, from a named layer or a ViT's last block.

    Args:
        model: a teacher.
        x: images (B, 3, H, W) in [0, 1].
        target: class explained, (B,) int64.
        layer: name of a module; None takes what enters the last block of a transformer.

    Returns:
        float (B, H, W).
    """
    where = layer if layer is not None else find_transformer(model).blocks[-1].norm1
    return resize(gradcam(model, x, target, layer=where), x.shape[2:])


def _make(run: Maker, source: str, split: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    import pandas as pd

    chosen = run.settings.masks
    started = time.perf_counter()
    teacher = run.trained(TEACHERS[source])
    layer = chosen.cnn_layer if source == "cnn" else chosen.vit_layer
    images = run.data(split)
    batches = data.Batches(
        images, run.settings.evaluation.batch_size, device=run.device, channels_last=True
    )
    rows = []
    bar = tqdm(
        batches,
        desc=f"{TEACHERS[source]}: masks of {split} images",
        disable=not run.progress,
        mininterval=1.0,
    )
    for batch in bar:
        maps = activation_maps(teacher, batch.x, batch.y, layer)
        masks, refused = proxy_masks(maps, smallest=chosen.smallest, largest=chosen.largest)
        packed = np.packbits(masks.flatten(1).cpu().numpy(), axis=1)
        rows.append(
            pd.DataFrame(
                {
                    "image": batch.ids.cpu().numpy(),
                    "label": batch.y.cpu().numpy(),
                    "refused": refused.cpu().numpy(),
                    "coverage": masks.flatten(1).float().mean(1).cpu().numpy(),
                    "mask": [row.tobytes() for row in packed],
                }
            )
        )
    about = _calibration(run, teacher) | {"seconds": time.perf_counter() - started}
    return pd.concat(rows, ignore_index=True), about


@torch.inference_mode()
def _calibration(run: Maker, teacher: nn.Module) -> dict[str, float]:
    """The teacher's temperature, fitted on half of the validation images and judged on the rest."""
    from rslib.metrics import expected_calibration_error

    images = run.data("validation")
    batches = data.Batches(images, run.settings.evaluation.batch_size, device=run.device)
    logits = torch.cat([teacher(batch.x) for batch in batches]).float().cpu()
    labels, bins = images.labels.cpu(), run.settings.evaluation.ece_bins
    fitted = torch.isin(images.ids, data.halves(images)[0].ids)
    temperature = fit_temperature(logits[fitted], labels[fitted])
    rest = ~fitted
    return {
        "temperature": temperature,
        "accuracy": (logits.argmax(1) == labels)[rest].float().mean().item(),
        **{
            name: float(
                expected_calibration_error(scaled(logits[rest], t), labels[rest], bins=bins)
            )
            for name, t in (("ece_before", 1.0), ("ece_after", temperature))
        },
    }
