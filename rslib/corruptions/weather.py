"""Weather: snow, frost, fog, brightness, spatter."""

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rslib.corruptions import _filters as filters
from rslib.corruptions import _liquid as liquid
from rslib.corruptions._filters import SIZE
from rslib.corruptions._random import Draws
from rslib.data.datasets import DataError
from rslib.store import records

# Mean and deviation of the flakes, zoom, threshold, radius and sigma of their motion, mix.
SNOW = (
    (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
FROST = ((100, 20), (100, 30), (90, 40), (85, 40), (75, 45))  # percent of image and of frost
FOG = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))  # strength, decay
BRIGHTNESS = (1, 2, 3, 4, 6)  # twentieths added to the value of HSV
# Mean, deviation, blur and threshold of the drops, strength.
WATER = ((0.62, 0.1, 0.7, 0.7, 0.5), (0.65, 0.1, 0.8, 0.7, 0.5), (0.65, 0.3, 1, 0.69, 0.5))
MUD = ((0.65, 0.1, 0.7, 0.69, 0.6), (0.65, 0.1, 0.5, 0.68, 0.6))  # the last: sigma of the rim
WATER_COLOR, MUD_COLOR = (175, 238, 238), (63, 42, 20)

FROST_FOLDER = Path(__file__).with_name("frost")
FROST_PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
# Of the package's own, which results do not name.
FROST_DIGEST = "3b53682770"
FROST_LARGEST = 50_000_000  # pixels of a photograph


def snow(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Whiten the image and lay falling flakes over it."""
    mean, deviation, factor, threshold, radius, sigma, mix = SNOW[severity - 1]
    flakes = _enlarge(draws.normal(0, SIZE, SIZE) * deviation + mean, factor)
    flakes = torch.where(flakes < threshold, 0.0, flakes).clamp_(0, 1) * 255
    angle = draws.fractions(1, 1)[:, 0] * 90 - 135
    flakes = filters.streak(flakes.to(torch.uint8)[:, None], radius, sigma, angle)
    flakes = flakes.to(torch.int16) + flakes.flip(2, 3)
    pixels = images.to(torch.float32)
    grey = pixels[:, :1] * 0.299 + pixels[:, 1:2] * 0.587 + pixels[:, 2:] * 0.114
    white = torch.maximum(pixels, grey * 1.5 + 127.5)
    return (pixels * mix + white * (1 - mix) + flakes).clamp_(0, 255).to(torch.uint8)


def frost(
    images: Tensor, severity: int, draws: Draws, *, photographs: str | Path | None = None
) -> Tensor:
    """Lay a random part of a random photograph, from a folder of five, over the image.

    Raises:
        DataError: if a photograph is missing or cannot be used.
    """
    keep, lay = FROST[severity - 1]
    pictures = _photographs(str(photographs or FROST_FOLDER))
    which, top, left = draws.fractions(0, 3).T
    which = (which * len(pictures)).to(torch.int64)
    line = torch.arange(SIZE)
    crops = torch.empty(images.shape, dtype=torch.uint8)
    for k, picture in enumerate(pictures):
        chosen = (which == k).nonzero()[:, 0]
        _, height, width = picture.shape
        rows = (top[chosen] * (height - SIZE)).to(torch.int64)[:, None] + line
        columns = (left[chosen] * (width - SIZE)).to(torch.int64)[:, None] + line
        crops[chosen] = picture[:, rows[:, :, None], columns[:, None]].transpose(0, 1)
    mixed = images.to(torch.float32) * keep + crops.to(images.device, torch.float32) * lay
    return filters.levels(mixed.clamp_(max=255 * 100), 100)


def fog(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add a plasma fractal, 0 to 1, and scale back to the image's own maximum.

    The fractal is made by the diamond-square method of Fournier, Fussell and Carpenter, CACM 25
    (1982). It wraps around; the noise starts at 100^2 and its two factors shrink by the decay.
    """
    strength, decay = FOG[severity - 1]
    height = torch.zeros(len(images), SIZE, SIZE, device=images.device)
    step, wobble, stream = SIZE, 100.0, 0

    def middle(total: Tensor) -> Tensor:
        nonlocal stream
        stream += 1
        return total / 4 + draws.uniform(stream, *total.shape[1:]) * wobble**2

    while step >= 2:
        half = step // 2
        corners = height[:, ::step, ::step]
        across = corners + corners.roll(-1, 1)
        centers = middle(across + across.roll(-1, 2))
        height[:, half::step, half::step] = centers
        # the middles of the sides, each between two corners and two centers
        upper = centers + centers.roll(1, 1) + corners + corners.roll(-1, 2)
        left = centers + centers.roll(1, 2) + corners + corners.roll(-1, 1)
        height[:, ::step, half::step] = middle(upper)
        height[:, half::step, ::step] = middle(left)
        step, wobble = half, wobble / decay
    height = height - height.amin((1, 2), keepdim=True)
    mist = (height / height.amax((1, 2), keepdim=True))[:, None] * (255 * strength)
    pixels = images.to(torch.float32)
    brightest = pixels.amax((1, 2, 3), keepdim=True)
    scale = brightest / (brightest + 255 * strength)
    return ((pixels + mist) * scale).clamp_(0, 255).to(torch.uint8)


def brightness(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Raise the value of HSV, the largest channel, to which all channels keep their ratio."""
    pixels = images.to(torch.float32)
    value = pixels.amax(1, keepdim=True)
    raised = (value * 20 + BRIGHTNESS[severity - 1] * 255).clamp_(max=20 * 255)  # twentieths
    # Black has no ratios: it turns grey.
    pixels = torch.where(value == 0, 1, pixels)
    return filters.levels(pixels * raised, value.clamp_(min=1) * 20)


def spatter(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Lay drops of water (severities 1 to 3) or mud (4 and 5) over the image."""
    mean, deviation, blur, threshold, last = (WATER + MUD)[severity - 1]
    drops = filters.smooth(draws.normal(0, SIZE, SIZE), blur) * deviation + mean
    drops = torch.where(drops < threshold, 0.0, drops)
    pixels = images.to(torch.float32)
    wet = severity <= len(WATER)
    color = torch.tensor(WATER_COLOR if wet else MUD_COLOR, dtype=torch.float32)
    color = color.to(images.device)[:, None, None]
    if wet:
        mixed = pixels + (water(drops) * last)[:, None] * color
    else:
        cover = filters.smooth((drops > 0).to(torch.float32), last)[:, None]
        cover = torch.where(cover < 0.8, 0.0, cover)
        mixed = pixels * (1 - cover) + cover * color
    return mixed.clamp_(0, 255).to(torch.uint8)


def water(drops: Tensor) -> Tensor:
    """Strength of the water at each pixel, its maximum in each image 1, from drops (B, 32, 32)."""
    depth = (drops * 255).clamp(0, 255).to(torch.int32)
    glint = depth * liquid.relief(depth)
    # Without a single glint the published code divides by zero; here nothing is added.
    largest = glint.amax((1, 2), keepdim=True).clamp(min=1)
    return glint.to(torch.float32) / largest


def photographs_digest(folder: str | Path) -> str:
    """SHA-256 (hex) of the photographs in a folder, as :func:`frost` uses them and raises."""
    digest = hashlib.sha256()
    for picture in _photographs(str(folder)):
        digest.update(f"{tuple(picture.shape)}".encode())
        digest.update(picture.numpy())
    return digest.hexdigest()


@functools.lru_cache(maxsize=4)
def _photographs(folder: str) -> tuple[Tensor, ...]:
    """The photographs at a fifth of their size, as OpenCV interpolates: uint8 (3, H, W) each."""
    from PIL import Image

    files = [Path(folder) / name for name in FROST_PHOTOGRAPHS]
    if Path(folder) == FROST_FOLDER and all(file.is_file() for file in files):
        if records.key(files=[records.file_digest(file) for file in files]) != FROST_DIGEST:
            told = "the photographs of the package were altered: install it again."
            raise DataError(f"frost: {folder}: {told}")
    pictures = []
    for path in files:
        try:
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.width * image.height > FROST_LARGEST:
                    raise OSError(f"{image.width} x {image.height} pixels are too many")
                picture = np.asarray(image.convert("RGB"))[2::5, 2::5]
        except FileNotFoundError:
            raise DataError(
                f"frost: {path} is missing; the folder must hold {', '.join(FROST_PHOTOGRAPHS)}."
            ) from None
        # Pillow reports damage by many kinds of error.
        except Exception as error:
            told = f"cannot be read as an image ({error}): put the photograph there again."
            raise DataError(f"frost: {path} {told}") from error
        if min(picture.shape[:2]) <= SIZE:
            raise DataError(
                f"frost: {path} is too small: both sides must have more than {5 * SIZE} pixels."
            )
        pictures.append(torch.from_numpy(picture.copy()).permute(2, 0, 1).contiguous())
    return tuple(pictures)


def _enlarge(layer: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of each layer, float32 (B, 32, 32), by linear interpolation."""
    weights = filters.zoom_weights(factor)
    first = np.minimum((weights > 0).argmax(1), SIZE - 2)
    share = torch.from_numpy(1 - weights[np.arange(SIZE), first]).to(layer.device, torch.float32)
    first = torch.from_numpy(first).to(layer.device)
    for dim, part in ((1, share[:, None]), (2, share)):
        low, high = layer.index_select(dim, first), layer.index_select(dim, first + 1)
        layer = low * (1 - part) + high * part
    return layer
