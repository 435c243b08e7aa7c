"""A model of any origin as the one model of a temporary run, so that its records are the book's.

An evaluation that fails on the model, such as a gradient attack without gradients, says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rslib.data import Batches, Dataset, balanced_subset
from rslib.run import Run, object_masks, published
from rslib.saliency import MaskError
from rslib.saliency.gradcam import captured, last_feature_layer
from rslib.saliency.methods import LABELS, is_transformer, methods
from rslib.settings.names import TEACHERS
from rslib.settings.schema import Settings
from rslib.store import records, text
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

NAME = "guest"
"""The model's name in its run."""


@dataclass(frozen=True)
class Attempt:
    """One axis that was tried, how long it took, and why there is nothing.

    A record has one row an image, that of saliency the ``method`` among its attributes; the verdict
    has the reliability report as a document instead. What an earlier call had measured is
    ``reused``.
    """

    record: pd.DataFrame | None = None
    report: dict[str, Any] | None = None
    reason: str | None = None
    seconds: float | None = None
    reused: bool = False


class Guest(Run):
    """A run in a folder of its own whose one model, :data:`NAME`, was trained elsewhere.

    The model is on the device of the settings, in eval mode; the images are the run's test images.
    ``masks`` is the source of theirs, one of :data:`rslib.settings.names.MASK_SOURCES`, and what
    decides them, as records of the book's models keep it; or why there are none.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int,
        folder: Path,
        model: nn.Module,
        images: Dataset,
        masks: tuple[str, dict[str, Any]] | str,
    ) -> None:
        changes = {
            "data": {"test_size": len(images)},  # part of every record's key
            "evaluation": {"compile": False},
            "masks": {"sources": ["exact"]},  # the masks that the images bring, whatever made them
        }
        sections = {k: getattr(settings, k).model_copy(update=v) for k, v in changes.items()}
        super().__init__(settings.model_copy(update=sections), seed, root=folder, progress=False)
        self.folder, self.model, self.images, self.masks = folder, model, images, masks
        summary = {"weights": {"best": NAME}}
        records.write_json(published.model_folder(self, NAME) / "model.json", summary)

    def model_inputs(self, name: str) -> dict[str, Any]:
        """Its name alone: this run never has another model."""
        return {"model": name}

    def mask_inputs(self, source: str) -> dict[str, Any]:
        """What decides the masks that the images bring, whatever made them."""
        return super().mask_inputs(source) if isinstance(self.masks, str) else self.masks[1]

    def trained(self, name: str) -> nn.Module:
        """The model."""
        return self.model

    def data(self, split: str) -> Dataset:
        """The images that it is measured on, whatever the split."""
        return self.images

    def place(self, axis: str) -> Path:
        """Where what is measured of an axis lies, or will."""
        if axis == "reliability":
            return self.document(NAME, self.reliability_inputs(NAME))
        return self.record_path(NAME, axis)

    def made(self, axis: str) -> Any:
        """What is measured of an axis, a record or a report, made where it is missing."""
        return self.reliability(NAME) if axis == "reliability" else self.evaluate(NAME, axis)

    def _made(self, name: str, inputs: Any, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        def timed() -> dict[str, Any]:
            started = time.perf_counter()
            return make() | {"seconds": time.perf_counter() - started}

        return super()._made(name, inputs, timed)

    def changed(self, *, settings: Settings | None = None, n: int | None = None) -> Guest:
        """The same guest under other settings, or on the first n nested, class-balanced images."""
        few = self.images if n is None else balanced_subset(self.images, n)
        chosen = settings or self.settings
        return Guest(chosen, self.seed, self.folder, self.model, few, self.masks)


def with_masks(run: Run, images: Dataset) -> tuple[Dataset, tuple[str, dict[str, Any]] | str]:
    """Images with their masks, and what :class:`Guest` is to know of these.

    Exact ones come with the data; others are the run's, for its test images. No teacher is trained.
    """
    if images.masks is not None:
        return images, ("exact", {"source": "exact"})
    source = run.mask_source
    if run.data("test").fingerprint != images.fingerprint:
        return images, f"{images.name} comes without masks, and the run's are of other images"
    try:
        identity = run.mask_inputs(source)
        made = records.key(**identity, split="test", n=len(images))
        file = run.directory / "masks" / f"{source}-test-{made}.parquet"
        if source in TEACHERS and not file.exists():
            return images, (
                f"{images.name} comes without masks, and the run ({run.settings.profile}, seed "
                f"{run.seed}) has made no proxy masks: run notebook 03, or name a folder of your "
                "own in settings masks.own"
            )
        masks = object_masks.of(run, source, "test").to(images.device)
    except MaskError as error:
        return images, str(error)
    return replace(images, masks=masks), (source, identity)


def measure(guest: Guest, axis: str, n: int) -> Attempt:
    """Try one axis of :data:`rslib.scorecard.budget.PLANNED` on n images.

    Evaluations with a section in the settings take n from there.

    Raises:
        RecordError: the record cannot be written, which is no property of the model.
    """
    started = time.perf_counter()
    try:
        if axis == "saliency" and isinstance(guest.masks, str):
            return Attempt(reason=guest.masks, seconds=0.0)
        few = guest.changed(n=n) if axis in ("clean", "saliency") else guest
        place = few.place(axis)
        reused = place.exists()
        try:
            found = few.made(axis)
        except RecordError:
            if not reused:
                raise
            place.unlink(missing_ok=True)  # damaged since, or of other images
            reused, found = False, few.made(axis)
        if axis == "reliability":
            return Attempt(report=found, seconds=found["seconds"], reused=reused)
        if axis == "saliency":
            source, _ = guest.masks
            found = found.rename(columns=lambda column: column.replace("_exact", f"_{source}"))
            found.attrs["method"] = _explained_by(guest)
        return Attempt(found, seconds=found.attrs["seconds"], reused=reused)
    except RecordError:
        raise
    # A model of any origin can fail in any way.
    except Exception as error:
        return Attempt(
            reason=text.reason(error, ValueError, TypeError), seconds=time.perf_counter() - started
        )


def _explained_by(guest: Guest) -> str:
    """The saliency method that the model is explained by, with the layer it looks at."""
    model = guest.model
    label = LABELS[methods(model)[0]]
    if is_transformer(model):
        return label
    (batch,) = Batches(guest.images.subset([0]), 1, device=guest.device)
    layer = last_feature_layer(model, batch.x)
    name = next(name for name, module in model.named_modules() if module is layer)
    with torch.no_grad(), captured(layer) as outputs:
        model(batch.x)
    height, width = outputs[0].shape[2:]
    return f"{label} of {name or 'the whole model'} ({height} × {width})"
