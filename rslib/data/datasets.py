"""A labeled image set held as tensors, and the register of a user's own sets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, wraps
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rslib.settings import extensions
from rslib.settings.names import DATASETS
from rslib.store import records

SPLITS = ("train", "test")

Arrays = Callable[[str], tuple[Tensor | np.ndarray, Tensor | np.ndarray]]


def check_split(split: str) -> None:
    """Raise ValueError unless this is one of :data:`SPLITS`."""
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {SPLITS}, got {split!r}.")


class DataError(RuntimeError):
    """Data that is missing, damaged, or not what it should be; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A split of an image set, or a subset of one.

    Records made from different subsets are joined on their ids.

    Raises:
        ValueError: if a field has the wrong shape, type, device or range.
    """

    images: Tensor  #: uint8 (N, 3, H, W), RGB, 0 to 255
    labels: Tensor  #: int64 (N,), positions in the classes
    classes: tuple[str, ...]  #: their names
    name: str  #: of the set, such as "cifar10" or "shapes"
    split: str  #: "train" or "test"
    ids: Tensor  #: int64 (N,), unique: places in the canonical order of the whole split
    masks: Tensor | None = None  #: bool (N, H, W), True on the object; None where not known
    attributes: Mapping[str, Tensor] = field(default_factory=dict)  #: more facts an image

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            got = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images: expected a uint8 tensor (N, 3, H, W), got {got}.")
        if len(images) == 0:
            raise ValueError("images: a Dataset needs at least one image, got none.")
        check_split(self.split)
        n, _, height, width = images.shape
        self._check("labels", self.labels, torch.int64, (n,))
        self._check("ids", self.ids, torch.int64, (n,))
        if self.masks is not None:
            self._check("masks", self.masks, torch.bool, (n, height, width))
        for key, values in self.attributes.items():
            self._check(f"attributes[{key!r}]", values, values.dtype, (n, *values.shape[1:]))
        low, high, count = int(self.labels.min()), int(self.labels.max()), len(self.classes)
        if low < 0 or high >= count:
            told = f"expected values in 0..{count - 1} for {count} classes, got {low}..{high}."
            raise ValueError(f"labels: {told}")
        if len(torch.unique(self.ids)) != n:
            raise ValueError("ids: each image must have its own, but some occur more than once.")

    def _check(self, name: str, value: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless `value` has this type and shape and lies beside the images."""
        if value.dtype != dtype or tuple(value.shape) != shape:
            got = f"{value.dtype} {tuple(value.shape)}"
            raise ValueError(f"{name}: expected {dtype} {shape}, got {got}.")
        if value.device != self.images.device:
            raise ValueError(f"{name}: on {value.device}, but the images are on {self.device}.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name} {self.split}, n={len(self)}, images={tuple(self.images.shape)}, "
            f"classes={len(self.classes)}, masks={self.masks is not None}, device={self.device})"
        )

    @property
    def device(self) -> torch.device:
        """The device that holds every tensor of the set."""
        return self.images.device

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of name, split, images, labels, masks and ids, the same on each device."""
        digest = hashlib.sha256(f"{self.name}\n{self.split}\n".encode())
        for name in ("images", "labels", "masks", "ids"):
            value = getattr(self, name)
            shape = None if value is None else tuple(value.shape)
            # The headers keep the fields apart: without them bytes could move from one to the next.
            digest.update(f"{name} {shape}\n".encode())
            if value is not None:
                digest.update(value.detach().cpu().contiguous().numpy())
        return digest.hexdigest()

    def subset(self, indices: Tensor | Sequence[int] | np.ndarray) -> Dataset:
        """The images at these positions, or of a bool mask (N,), in this order, with their `ids`.

        Raises:
            IndexError: if a position lies outside the set, or a bool mask has another length.
            ValueError: if nothing is selected, or an image is selected twice.
        """
        indices = torch.as_tensor(indices).cpu()
        if indices.dtype == torch.bool:
            if indices.shape != (len(self),):
                wanted = f"a bool mask must have shape ({len(self)},)"
                raise IndexError(f"indices: {wanted}, got {tuple(indices.shape)}.")
            indices = indices.nonzero().squeeze(1)
        if indices.numel() == 0:
            raise ValueError("indices: selects no image, and a Dataset needs at least one.")
        indices = indices.to(torch.int64)
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= len(self):
            raise IndexError(f"indices: expected 0..{len(self) - 1}, got {low}..{high}.")
        indices = indices.to(self.device)
        return self._with_each(lambda values: values[indices])

    def to(self, device: torch.device | str) -> Dataset:
        """The same set with every tensor on `device`; itself if it is there already."""
        if self.labels.to(device) is self.labels:
            return self
        return self._with_each(lambda values: values.to(device))

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> Dataset:
        changed = {name: change(getattr(self, name)) for name in ("images", "labels", "ids")}
        masks = None if self.masks is None else change(self.masks)
        attributes = {key: change(values) for key, values in self.attributes.items()}
        return replace(self, **changed, masks=masks, attributes=attributes)


class Source(NamedTuple):
    """Where a data set comes from."""

    classes: tuple[str, ...]  #: names; a label is a position in them
    load: Callable[..., Dataset]  #: takes "train" or "test"; options are given by keyword

    @property
    def digest(self) -> str:
        """What keys of results on an added set hold of it."""
        return records.key(classes=self.classes, load=records.source_digest(self.load))


#: The user's own, by name (:func:`dataset`).
ADDED: dict[str, Source] = extensions.ADDED["dataset"]


def dataset(name: str, *, classes: Sequence[str]) -> Callable[[Arrays], Arrays]:
    """Add a data set: a function of ``"train"`` or ``"test"`` that gives images and labels.

    They are uint8 (N, 3, 32, 32) and int64 (N,), positions in ``classes``; tensors or arrays::

        @dataset("mine", classes=["cat", "dog"])
        def load(split):
            arrays = np.load(f"{split}.npz")
            return arrays["images"], arrays["labels"]

    ``{data: {name: mine}}`` is then a setting like any other. Every notebook that needs no exact
    masks runs on the set; the paper's values are shown without a difference.

    Raises:
        rslib.settings.extensions.ExtensionError: the name cannot be used.
    """

    def made(function: Arrays) -> Source:
        @wraps(function)
        def load(split: str) -> Dataset:
            images, labels = (torch.as_tensor(each) for each in function(split))
            ids = torch.arange(len(labels))
            return Dataset(images, labels, tuple(classes), name, split, ids)

        return Source(tuple(classes), load)

    return extensions.adding("dataset", name, DATASETS, made)
