"""Batches that never leave the device, with the paper's augmentation as batched tensor code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rslib.data.datasets import Dataset
from rslib.data.strong import Mix, Transform

#: What an augmentation does to each of n images: whether it is mirrored, bool (n,), and the crop's
#: first row and column in the padded image, 0 to ``2 * padding``, int64 (n,).
Draws = tuple[Tensor, Tensor, Tensor]


class Batch(NamedTuple):
    """A batch of images on the device."""

    x: Tensor  #: float32 (B, 3, H, W) in [0, 1]
    y: Tensor  #: labels, int64 (B,); in an epoch that mixes, class shares, float32 (B, classes)
    ids: Tensor  #: places in the canonical order of the split, int64 (B,)
    masks: Tensor | None  #: bool (B, H, W), moved along; None in an epoch that mixes


@dataclass(frozen=True)
class Augment:
    """Random crop of the zero-padded image, then random horizontal flip (paper section 3.1.3).

    Drawn for each image as torchvision's ``RandomCrop(H, padding)`` and ``RandomHorizontalFlip``.

    Raises:
        ValueError: if `flip` is not a probability or `padding` is negative.
    """

    flip: float = 0.5  #: probability of mirroring an image
    padding: int = 4  #: pixels of zeros added on each side before the crop; 0 for no crop

    def __post_init__(self) -> None:
        if not 0.0 <= self.flip <= 1.0:
            raise ValueError(f"flip: expected a probability in [0, 1], got {self.flip}.")
        if self.padding < 0:
            raise ValueError(f"padding: expected 0 or more pixels, got {self.padding}.")

    def draw(self, n: int, generator: torch.Generator) -> Draws:
        """Draw flips and crop positions for `n` images, on the generator's device."""
        device = generator.device
        flip = torch.rand(n, generator=generator, device=device) < self.flip
        shifts = torch.randint(0, 2 * self.padding + 1, (2, n), generator=generator, device=device)
        return flip, *shifts

    def apply(
        self, images: Tensor, masks: Tensor | None, draws: Draws
    ) -> tuple[Tensor, Tensor | None]:
        """Crop and flip images (B, C, H, W) of any type and their masks (B, H, W) as drawn."""
        images = self._move(images, draws)
        return images, None if masks is None else self._move(masks.unsqueeze(1), draws).squeeze(1)

    def _move(self, images: Tensor, draws: Draws) -> Tensor:
        """Gather the cropped, flipped pixels of (B, C, H, W) from the padded images."""
        (flip, top, left), (batch, channels, height, width) = draws, images.shape
        padded = F.pad(images, [self.padding] * 4)
        columns = torch.arange(width, device=images.device).expand(batch, width)
        columns = torch.where(flip[:, None], width - 1 - columns, columns) + left[:, None]
        rows = torch.arange(height, device=images.device) + top[:, None]
        index = rows[:, :, None] * padded.shape[3] + columns[:, None, :]
        index = index.view(batch, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(batch, channels, height, width)


@dataclass(eq=False, repr=False)
class Batches:
    """A dataset cut into batches, held on the device as uint8 from construction.

    Order and augmentation of an epoch depend on `seed`, the epoch's number and the kind of device
    alone (a GPU draws other numbers than a CPU), so a resumed run needs no generator state. The
    last batch may be smaller; no image is dropped.

    Raises:
        ValueError: if `batch_size` is not positive or `light_from` is negative.
    """

    dataset: Dataset
    batch_size: int
    _: KW_ONLY
    device: InitVar[torch.device | str] = "cpu"  #: where the data lives and the batches are made
    shuffle: bool = False  #: a new random order each epoch, instead of the dataset's own
    augment: Augment | None = None  #: drawn anew for each image and epoch
    strong: Sequence[Transform] = ()  #: done to all images of an epoch before that, in this order
    mix: Mix | None = None  #: done to each batch after that
    light_from: int | None = None  #: the first epoch, from 0, without strong, mix and mixed labels
    seed: int = 0  #: of order and augmentation
    channels_last: bool = False  #: the memory format of x, which convolutions prefer

    def __post_init__(self, device: torch.device | str) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, got {self.batch_size}.")
        if self.light_from is not None and self.light_from < 0:
            told = f"expected an epoch from 0 on, or None, got {self.light_from}."
            raise ValueError(f"light_from: {told}")
        self.dataset = self.dataset.to(device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.epoch(0)

    def epoch(self, k: int) -> Iterator[Batch]:
        """The batches of epoch `k`, counted from 0; the same each time they are asked for."""
        n, device = len(self.dataset), self.dataset.device
        light = self.light_from is not None and k >= self.light_from
        generator = torch.Generator(device).manual_seed(_stream(self.seed, k))
        order = draws = mixing = None
        if self.shuffle:
            order = torch.randperm(n, generator=generator, device=device)
        if self.augment is not None:
            draws = self.augment.draw(n, generator)
        images, masks = self.dataset.images, self.dataset.masks
        if not light:
            for transform in self.strong:
                images, masks = transform(images, masks, generator)
            if self.mix is not None:
                # Python must know these seeds: to read them from a GPU would wait for it.
                if generator.device.type != "cpu":
                    generator = torch.Generator().manual_seed(_stream(self.seed, k))
                mixing = torch.randint(2**62, (len(self),), generator=generator).tolist()
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for number, start in enumerate(range(0, n, self.batch_size)):
            places = slice(start, min(start + self.batch_size, n))
            chosen = places if order is None else order[places]
            x, moved = images[chosen], None if masks is None else masks[chosen]
            if draws is not None:
                x, moved = self.augment.apply(x, moved, tuple(each[places] for each in draws))
            x = x.to(torch.float32, memory_format=layout).div_(255)
            y = self.dataset.labels[chosen]
            if mixing is not None:
                x, y = self.mix(x, y, mixing[number])
                x, moved = x.contiguous(memory_format=layout), None
            yield Batch(x, y, self.dataset.ids[chosen], moved)


def _stream(seed: int, epoch: int) -> int:
    """A generator seed in [0, 2^63) for this epoch, the same in each process and version."""
    digest = hashlib.sha256(f"batches seed={int(seed)} epoch={int(epoch)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
