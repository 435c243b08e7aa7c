"""Object masks that are there: overlap is measured against them, and none is made for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rslib.run import object_masks
from rslib.saliency import MaskError
from rslib.settings.names import TEACHERS
from rslib.store import records

if TYPE_CHECKING:
    from torch import Tensor

    from rslib.data import Dataset
    from rslib.run import Run


@dataclass(frozen=True)
class Masks:
    """Masks of the images of a data set.

    Attributes:
        source: one of :data:`rslib.settings.names.MASK_SOURCES`.
        masks: bool (N, H, W), in the order of the images; empty where there is none.
        identity: what decides them, as records of the book's models keep it.
    """

    source: str
    masks: Tensor
    identity: dict[str, Any]


def find(run: Run, images: Dataset) -> Masks | str:
    """The masks of these images, or why there are none.

    Exact ones come with the data; a user's own and a teacher's are the run's, for its test images.
    A teacher's are read where the run has made them: they would take training the teacher.

    Args:
        run: whose settings and records are used.
        images: that the scored model is measured on.
    """
    if images.masks is not None:
        return Masks("exact", images.masks, {"source": "exact"})
    source = run.mask_source
    if run.data("test").fingerprint != images.fingerprint:
        return f"{images.name} comes without masks, and the run's are of other images"
    if source in TEACHERS and not _made(run, source, images):
        return (
            f"{images.name} comes without masks, and the run ({run.settings.profile}, seed "
            f"{run.seed}) has made no proxy masks: run notebook 03, or name a folder of your own "
            "in settings masks.own"
        )
    try:
        return Masks(source, object_masks.of(run, source, "test"), run.mask_inputs(source))
    except MaskError as error:
        return str(error)


def _made(run: Run, source: str, images: Dataset) -> bool:
    """Whether the run keeps a record of a teacher's masks of its test images."""
    made = run.mask_inputs(source) | {"split": "test", "n": len(images)}
    return (run.directory / "masks" / f"{source}-test-{records.key(**made)}.parquet").exists()
