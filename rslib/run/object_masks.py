"""The object masks of a run, by where they come from: exact, a teacher's activation maps, or own.

A teacher is trained on one half of the training images (``rslib.training.plan``). Its activation
maps for the labeled class become masks (paper 3.4.1) of the training, validation and test images,
kept as one record each, refusals included. Aligning to one teacher's masks and scoring against the
other's keeps the two apart; agreement with one's own teacher is distillation, not insight.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from rslib import data
from rslib.metrics.calibration import fit_temperature, scaled
from rslib.run.provenance import provenance
from rslib.saliency import MaskError, gradcam, proxy_masks, read_masks, resize
from rslib.saliency.rollout import find_transformer
from rslib.settings.names import MASK_SOURCES, TEACHERS
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

# Another than that of the teachers' halves: a share must not lie within the images of one teacher,
# whose maps of images that it was taught are better than of others.
_SHARE_SEED = 1

TOPS = (0.05, 0.10, 0.20, 0.30, 0.40, 0.50)
"""Shares of the pixels at which overlap is measured; the paper's is 0.30."""


def available(run: Run) -> tuple[str, ...]:
    """The kinds of masks that a run's images have or can be given, the most trustworthy first."""
    exact = run.settings.data.name == "shapes"
    own = run.settings.masks.own is not None
    if run.settings.masks.sources is not None:
        return tuple(run.settings.masks.sources)
    return ("exact",) * exact + ("own",) * own + tuple(TEACHERS)


def default(run: Run) -> str:
    """What ``training.aligned.masks: null`` stands for: your own, exact, or the CNN teacher's."""
    if run.settings.masks.own is not None:
        return "own"
    return "exact" if run.settings.data.name == "shapes" else "cnn"


def inputs(run: Run, source: str) -> dict[str, Any]:
    """What decides the masks of a source, for the keys of what is made with them."""
    chosen = run.settings.masks
    if source not in MASK_SOURCES:
        raise MaskError(f"no masks {source!r}; there are: {', '.join(MASK_SOURCES)}")
    if source in TEACHERS:
        return {
            "source": source,
            "teacher": run.model_inputs(TEACHERS[source]),
            "masks": chosen.model_dump(exclude_defaults=True, exclude={"own", "sources"}),
        }
    if source == "own":
        return {"source": source, "digest": _own_digest(_own_folder(run))}
    return {"source": source}


def of(run: Run, source: str, split: str) -> Tensor:
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
        return read_masks(_own_path(run, file), images.ids.tolist())[0]
    if source not in TEACHERS:
        raise MaskError(f"no masks {source!r}; there are: {', '.join(MASK_SOURCES)}")
    frame = record(run, source, split)
    packed = np.stack([np.frombuffer(each, np.uint8) for each in frame["mask"]])
    size = images.images.shape[2] * images.images.shape[3]
    unpacked = np.unpackbits(packed, axis=1, count=size).astype(bool)
    return torch.from_numpy(unpacked.reshape(-1, *images.images.shape[2:]))


def record(run: Run, source: str, split: str) -> pd.DataFrame:
    """A teacher's masks as a record, one row an image, made first where it is not there.

    Returns:
        image, label, refused, coverage (share of the image), mask (its bits, packed row by row).
        The metadata holds the teacher's temperature and its calibration before and after.

    Raises:
        MaskError: the source is no teacher's.
    """
    made = inputs(run, source) | {"split": split}
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


def priors(run: Run) -> pd.DataFrame:
    """What overlap with the test images' masks means, whatever the model; made where missing.

    Made as well for the further seeds that follow (:attr:`rslib.run.Run.followers`), whose
    teachers' masks are others.

    Returns:
        One row a test image and, for each source, ``coverage_<source>`` (share of the image),
        ``ceiling_<source>`` (the largest IoU a map can reach), ``center_<source>`` and
        ``average_<source>`` (IoU of the image's center, and of the other masks' mean), and
        ``chance_<source>_<percent>`` (IoU of a random map at the shares of
        :data:`TOPS`); NaN where there is no mask.
    """
    path = _priors_path(run)
    with run.lock(path):
        if not path.exists():
            _make_priors(run, path)
    for each in run.followers:
        priors(each)
    return read_priors(run)


def read_priors(run: Run) -> pd.DataFrame:
    """The record of :func:`priors`, where it is there; needs neither masks nor images.

    Raises:
        RecordError: it has not been made with these settings.
    """
    path = _priors_path(run)
    if not path.exists():
        raise records.RecordError(
            f"no record of the masks' priors under these settings ({path}): run notebook 03 first"
        )
    return records.read_record(path)


def _priors_path(run: Run) -> Path:
    return (
        run.directory / "records" / "masks" / f"priors-{records.key(**_priors_inputs(run))}.parquet"
    )


def _priors_inputs(run: Run) -> dict[str, Any]:
    return {
        "evaluation": "priors",
        "data": run.settings.data.model_dump(exclude_defaults=True, exclude={"train_size"}),
        "masks": {source: inputs(run, source) for source in available(run)},
    }


def _make_priors(run: Run, path: Path) -> None:
    import time

    import pandas as pd

    from rslib.saliency import overlap

    started, images = time.perf_counter(), run.data("test")
    columns: dict[str, Any] = {"image": images.ids.numpy(), "label": images.labels.numpy()}
    about = {}
    for source in available(run):
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
        "inputs": _priors_inputs(run),
        "n": len(images),
        "sources": about,
        "seconds": time.perf_counter() - started,
        "provenance": provenance(run.device),
    }
    records.write_record(path, pd.DataFrame(columns), metadata)


def attach(run: Run, images: data.Dataset, split: str, source: str, share: float) -> data.Dataset:
    """The images with their masks, for a share of them chosen class by class; others have none.

    Args:
        run: whose masks are used.
        images: of the split, all of ``run.data(split)``.
        split: see :func:`of`.
        source: see :func:`of`.
        share: of the images, in (0, 1]; smaller shares are contained in larger ones.
    """
    from dataclasses import replace

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


def _make(run: Run, source: str, split: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    import time

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
def _calibration(run: Run, teacher: nn.Module) -> dict[str, float]:
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


def _own_folder(run: Run) -> Path:
    if not run.settings.masks.own:
        raise MaskError(
            "masks of your own are asked for, but settings.masks.own names no folder: give one "
            "that holds train and test, each a folder of PNG files or train.npy and test.npy"
        )
    return Path(run.settings.masks.own).expanduser()


def _own_path(run: Run, file: str) -> Path:
    folder = _own_folder(run)
    for path in (folder / file, folder / f"{file}.npy"):
        if path.exists():
            return path
    raise MaskError(f"{folder} holds neither a folder {file} nor {file}.npy; one is needed")


def _own_digest(folder: Path) -> str:
    """A digest of every mask file, by name and content."""
    files = sorted(
        path for path in folder.rglob("*") if path.suffix in {".png", ".npy"} and path.is_file()
    )
    if not files:
        raise MaskError(
            f"{folder} holds no mask, neither PNG files nor NumPy arrays: set masks.own to a "
            "folder that holds train and test"
        )
    found = {str(path.relative_to(folder)): records.file_digest(path) for path in files}
    return records.key(files=found)
