"""Augmentation beyond the paper's flips and crops, for recipes that have fewer epochs.

RandAugment (Cubuk et al., 2019, arXiv:1909.13719), random erasing (Zhong et al., 2017,
arXiv:1708.04896) and Cutout (DeVries and Taylor, 2017, arXiv:1708.04552) draw for each image by
itself, on the generator's device, for all images of an epoch at once. Mixup (Zhang et al., 2017,
arXiv:1710.09412) and CutMix (Yun et al., 2019, arXiv:1905.04899) are torchvision's, a batch at a
time, and draw on the CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from rslib.data.datasets import DataError

#: Done to an epoch's images, uint8 (N, 3, H, W), and masks, bool (N, H, W) or None, to give
#: new ones. A generator on the images' device spares a transfer.
Transform = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]
#: The magnitude at which an operation has its full strength, as in torchvision.
STRONGEST = 30


class Operation(NamedTuple):
    """One operation of RandAugment."""

    apply: Callable[[Tensor, float], Tensor]  #: images uint8 (n, C, H, W) by a strength
    strength: float = 0.0  #: at STRONGEST, from 0 at 0; of translation, a share of the side
    signed: bool = False  #: whether the strength may also be negative, by a coin
    moves: bool = False  #: whether pixels move, so that masks must follow


@dataclass(frozen=True)
class RandAugment:
    """Some operations in a row, drawn for each image from 14, all at one magnitude.

    Operations, strengths and probabilities are those of torchvision's transform of this name, which
    draws once for a whole batch.
    """

    operations: int = 2  #: how many an image, at least 1
    magnitude: int = 9  #: 0 to STRONGEST

    def __call__(
        self, images: Tensor, masks: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Augment, moving masks along; a :data:`Transform`."""
        table = list(operations().values())
        images, masks = images.clone(), None if masks is None else masks.clone()
        size, source = (self.operations, len(images)), generator.device
        drawn = torch.randint(len(table), size, generator=generator, device=source)
        negative = torch.rand(size, generator=generator, device=source) < 0.5
        for row, sign in zip(drawn, negative, strict=True):
            for number, operation in enumerate(table):
                strength = operation.strength * self.magnitude / STRONGEST
                for side in (False, True) if operation.signed else (None,):
                    chosen = row == number if side is None else (row == number) & (sign == side)
                    places = chosen.nonzero().squeeze(1).to(images.device)
                    if not len(places):
                        continue
                    signed = -strength if side else strength
                    images[places] = operation.apply(images[places], signed)
                    if masks is not None and operation.moves:
                        moved = operation.apply(masks[places].unsqueeze(1).byte(), signed)
                        masks[places] = moved.squeeze(1).bool()
        return images, masks


@dataclass(frozen=True)
class Erasing:
    """A rectangle of an image is filled with one random color, with a probability.

    Its area is 2 to 33 % of the image and its sides' ratio 0.3 to 3.3, as in torchvision; a side
    that would be longer than the image's is cut instead of drawn anew. Masks end where pixels do.
    """

    probability: float

    def __call__(
        self, images: Tensor, masks: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Erase; a :data:`Transform`."""
        n, _, height, width = images.shape
        options = {"generator": generator, "device": generator.device}
        hit, area, shape, down, across = torch.rand(5, n, **options)
        color = torch.randint(256, (n, 3), dtype=torch.uint8, **options).to(images.device)
        area = (0.02 + 0.31 * area) * height * width
        ratio = torch.exp(math.log(0.3) + math.log(3.3 / 0.3) * shape)
        tall = (area * ratio).sqrt().round().clamp(1, height)
        wide = (area / ratio).sqrt().round().clamp(1, width)
        top, left = (down * (height - tall + 1)).floor(), (across * (width - wide + 1)).floor()
        inside = _rectangle(images, top, tall, left, wide)
        inside &= (hit < self.probability).to(images.device)[:, None, None]
        images = torch.where(inside.unsqueeze(1), color[:, :, None, None], images)
        return images, None if masks is None else masks & ~inside


@dataclass(frozen=True)
class Cutout:
    """A square of each image is set to zero, as in DeVries and Taylor (2017), section 3.2.

    Its center is drawn from all pixels alike, and what lies beyond the border is cut off; masks end
    where pixels do. The source cuts normalized images, where zero is the mean color, after their
    flips and crops; here zero is black, and the crop comes after.

    Args:
        side: of the square, in pixels; an even one reaches one pixel farther up and left of its
            center than down and right.

    Raises:
        ValueError: if `side` is less than 1.
    """

    side: int

    def __post_init__(self) -> None:
        if self.side < 1:
            told = f"expected 1 or more pixels, got {self.side}; for no cutout, leave it out."
            raise ValueError(f"side: {told}")

    def __call__(
        self, images: Tensor, masks: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        """Cut; a :data:`Transform`.

        Raises:
            DataError: if the square is larger than the images.
        """
        n, _, height, width = images.shape
        if self.side > min(height, width):
            raise DataError(
                f"cutout: a square of {self.side} pixels does not fit into images of {height} x "
                f"{width}; set cutout to {min(height, width)} or less, or to 0 for none."
            )
        options = {"generator": generator, "device": generator.device}
        top = torch.randint(height, (n,), **options) - self.side // 2
        left = torch.randint(width, (n,), **options) - self.side // 2
        inside = _rectangle(images, top, self.side, left, self.side)
        images = images.masked_fill(inside.unsqueeze(1), 0)
        return images, None if masks is None else masks & ~inside


def _rectangle(
    images: Tensor, top: Tensor, tall: Tensor | int, left: Tensor, wide: Tensor | int
) -> Tensor:
    """The pixels of each image in a rectangle, bool (N, H, W), on the images' device."""
    sides = []
    for start, length, size in ((top, tall, images.shape[2]), (left, wide, images.shape[3])):
        places = torch.arange(size, device=start.device)
        within = (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))
        sides.append(within)
    return (sides[0].unsqueeze(2) & sides[1].unsqueeze(1)).to(images.device)


@dataclass(frozen=True)
class Mix:
    """Each image of a batch blended with another, and its label accordingly.

    Raises:
        ValueError: if `share` is outside (0, 1].
    """

    classes: int
    mixup: float | None = None  #: alpha of the Beta distribution of mixup's share; or no mixup
    cutmix: float | None = None  #: the same of CutMix, whose share is the area pasted in
    cutmix_probability: float = 0.5  #: that a batch goes to CutMix, where both are on
    share: float = 1.0  #: of the batches that are mixed, in (0, 1], each drawn from its own seed

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0:
            told = f"expected a share of the batches in (0, 1], got {self.share}"
            raise ValueError(f"share: {told}; for no mixing, leave it out.")

    def __call__(self, x: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Mix images (B, 3, H, W), floating point, with labels, int64 (B,), by a batch's own seed.

        Returns:
            Images, and the share of each class in them, float32 (B, classes): a single 1 for each
            image of a batch that is not mixed.
        """
        # torchvision draws from the CPU's global generator wherever the images are.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            # Where all are mixed nothing is drawn here, so that the mixing's own draws stay.
            if self.share < 1 and torch.rand(()).item() >= self.share:
                return x, functional.one_hot(y, self.classes).to(torch.float32)
            return self._transform(x, y)

    @functools.cached_property
    def _transform(self) -> Any:
        from torchvision.transforms import v2

        mixes = []
        if self.mixup is not None:
            mixes.append(v2.MixUp(alpha=self.mixup, num_classes=self.classes))
        if self.cutmix is not None:
            mixes.append(v2.CutMix(alpha=self.cutmix, num_classes=self.classes))
        chances = [1 - self.cutmix_probability, self.cutmix_probability]
        return v2.RandomChoice(mixes, p=chances if len(mixes) == 2 else [1.0])


@functools.cache
def operations() -> dict[str, Operation]:
    """The operations of RandAugment by torchvision's names, in its order."""
    from torchvision.transforms.v2 import functional as kernels

    def shear(images: Tensor, across: float, down: float) -> Tensor:
        # A corner stays in place, as in torchvision's RandAugment.
        degrees = [math.degrees(math.atan(slope)) for slope in (across, down)]
        return kernels.affine(
            images, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0]
        )

    def shift(images: Tensor, across: float, down: float) -> Tensor:
        pixels = [int(across * images.shape[3]), int(down * images.shape[2])]
        return kernels.affine(images, angle=0.0, translate=pixels, scale=1.0, shear=[0.0, 0.0])

    moved = {"signed": True, "moves": True}
    return {
        "Identity": Operation(lambda x, s: x),
        "ShearX": Operation(lambda x, s: shear(x, s, 0.0), 0.3, **moved),
        "ShearY": Operation(lambda x, s: shear(x, 0.0, s), 0.3, **moved),
        "TranslateX": Operation(lambda x, s: shift(x, s, 0.0), 150 / 331, **moved),
        "TranslateY": Operation(lambda x, s: shift(x, 0.0, s), 150 / 331, **moved),
        "Rotate": Operation(kernels.rotate, 30.0, **moved),
        "Brightness": Operation(lambda x, s: kernels.adjust_brightness(x, 1 + s), 0.9, signed=True),
        "Color": Operation(lambda x, s: kernels.adjust_saturation(x, 1 + s), 0.9, signed=True),
        "Contrast": Operation(lambda x, s: kernels.adjust_contrast(x, 1 + s), 0.9, signed=True),
        "Sharpness": Operation(lambda x, s: kernels.adjust_sharpness(x, 1 + s), 0.9, signed=True),
        "Posterize": Operation(lambda x, s: kernels.posterize(x, round(8 - s)), 4.0),
        "Solarize": Operation(lambda x, s: kernels.solarize(x, 255 * (1 - s)), 1.0),
        "AutoContrast": Operation(lambda x, s: kernels.autocontrast(x)),
        "Equalize": Operation(lambda x, s: kernels.equalize(x)),
    }
