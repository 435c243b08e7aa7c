"""The 19 corruptions one image after the other, with NumPy, SciPy, scikit-image, OpenCV and Pillow.

Written from the published description (Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261), with
the CIFAR constants and without a seed. Each takes one image, uint8 (32, 32, 3), and gives values
from 0 to 255. OpenCV is installed for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage import color, filters, util

from rslib.corruptions import NAMES, weather

Array = np.ndarray


def _gaussian_noise(x: Array, severity: int) -> Array:
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return (x / 255 + np.random.normal(0, sigma, x.shape)) * 255


def _shot_noise(x: Array, severity: int) -> Array:
    photons = (500, 250, 100, 75, 50)[severity - 1]
    return np.random.poisson(x / 255 * photons) / photons * 255


def _impulse_noise(x: Array, severity: int) -> Array:
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    return util.random_noise(x / 255, mode="s&p", amount=share) * 255


def _speckle_noise(x: Array, severity: int) -> Array:
    sigma = (0.06, 0.10, 0.12, 0.16, 0.20)[severity - 1]
    return x * (1 + np.random.normal(0, sigma, x.shape))


def _gaussian_blur(x: Array, severity: int) -> Array:
    return _blurred(x, (0.4, 0.6, 0.7, 0.8, 1)[severity - 1]) * 255


def _defocus_blur(x: Array, severity: int) -> Array:
    radius, alias = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[severity - 1]
    grid = np.arange(-8, 9)
    disk = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), (3, 3), alias)
    return cv2.filter2D(x / 255, -1, kernel) * 255


def _glass_blur(x: Array, severity: int) -> Array:
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[severity - 1]
    x = (_blurred(x, sigma) * 255).astype(np.uint8)
    for _ in range(rounds):
        for row in range(31, 1, -1):
            for column in range(31, 1, -1):
                up, left = np.random.randint(0, 2, 2)
                x[row, column] = x[row - up, column - left]
    return _blurred(x, sigma) * 255


def _motion_blur(x: Array, severity: int) -> Array:
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[severity - 1]
    return _streak(x, radius, sigma, np.random.uniform(-45, 45))


def _zoom_blur(x: Array, severity: int) -> Array:
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1], 0.01)
    x = (x / 255).astype(np.float32)
    total = x.copy()
    for factor in factors:
        total += _zoomed(x, factor)
    return total / (len(factors) + 1) * 255


def _snow(x: Array, severity: int) -> Array:
    mean, deviation, factor, threshold, radius, sigma, mix = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[severity - 1]
    flakes = _zoomed(np.random.normal(mean, deviation, (32, 32, 1)), factor)[..., 0]
    flakes[flakes < threshold] = 0
    flakes = (flakes.clip(0, 1) * 255).astype(np.uint8)
    flakes = _streak(flakes, radius, sigma, np.random.uniform(-135, -45))[..., None]
    x = x.astype(np.float32)
    white = np.maximum(x, cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None] * 1.5 + 127.5)
    return mix * x + (1 - mix) * white + flakes + np.rot90(flakes, 2)


def _frost(x: Array, severity: int) -> Array:
    keep, lay = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    name = weather.FROST_PHOTOGRAPHS[np.random.randint(5)]
    photograph = cv2.imread(str(weather.FROST_FOLDER / name))
    photograph = cv2.resize(photograph, (0, 0), fx=0.2, fy=0.2)[..., ::-1]
    top = np.random.randint(photograph.shape[0] - 32)
    left = np.random.randint(photograph.shape[1] - 32)
    return keep * x + lay * photograph[top : top + 32, left : left + 32]


def _fog(x: Array, severity: int) -> Array:
    strength, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    x = x / 255
    top = x.max()
    return (x + strength * _plasma(decay)[..., None]) * top / (top + strength) * 255


def _brightness(x: Array, severity: int) -> Array:
    hsv = color.rgb2hsv(x / 255)
    hsv[..., 2] = (hsv[..., 2] + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]).clip(0, 1)
    return color.hsv2rgb(hsv) * 255


def _spatter(x: Array, severity: int) -> Array:
    mean, deviation, blur, threshold, last = (
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )[severity - 1]
    drops = filters.gaussian(np.random.normal(mean, deviation, (32, 32)), sigma=blur)
    drops[drops < threshold] = 0
    if severity > 3:
        cover = filters.gaussian((drops > 0).astype(np.float32), sigma=last)
        cover[cover < 0.8] = 0
        return x * (1 - cover[..., None]) + cover[..., None] * np.array([63, 42, 20])
    depth = (drops.clip(0, 1) * 255).astype(np.uint8)
    far = cv2.distanceTransform(255 - cv2.Canny(depth, 50, 150), cv2.DIST_L2, 5).clip(max=20)
    even = cv2.equalizeHist(cv2.blur(far, (3, 3)).astype(np.uint8))
    carved = cv2.filter2D(even, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    glint = depth * cv2.blur(carved, (3, 3)).astype(np.float32)
    cover = glint / max(glint.max(), 1) * last
    return x + cover[..., None] * np.array([175, 238, 238])


def _contrast(x: Array, severity: int) -> Array:
    x = x / 255
    mean = x.mean((0, 1), keepdims=True)
    return ((x - mean) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] + mean) * 255


def _elastic_transform(x: Array, severity: int) -> Array:
    alpha, sigma, affine = (
        32 * value
        for value in (
            (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        )[severity - 1]
    )  # fmt: skip
    anchors = np.float32([[26, 26], [26, 6], [6, 6]])
    moved = anchors + np.random.uniform(-affine, affine, anchors.shape).astype(np.float32)
    matrix = cv2.getAffineTransform(anchors, moved)
    x = cv2.warpAffine(x / np.float32(255), matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        filters.gaussian(np.random.uniform(-1, 1, (32, 32)), sigma, mode="reflect", truncate=3)
        * alpha
        for _ in range(2)
    )
    rows, columns, channels = np.meshgrid(*map(np.arange, x.shape), indexing="ij")
    places = rows + dy[..., None], columns + dx[..., None], channels
    return ndimage.map_coordinates(x, places, order=1, mode="reflect") * 255


def _pixelate(x: Array, severity: int) -> Array:
    side = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    small = Image.fromarray(x).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small.resize((32, 32), Image.Resampling.BOX))


def _jpeg_compression(x: Array, severity: int) -> Array:
    buffer = io.BytesIO()
    Image.fromarray(x).save(buffer, "JPEG", quality=(80, 65, 58, 50, 40)[severity - 1])
    return np.asarray(Image.open(buffer, formats=("JPEG",)))


def _saturate(x: Array, severity: int) -> Array:
    a, b = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[severity - 1]
    hsv = color.rgb2hsv(x / 255)
    hsv[..., 1] = (hsv[..., 1] * a + b).clip(0, 1)
    return color.hsv2rgb(hsv) * 255


def _blurred(x: Array, sigma: float) -> Array:
    return filters.gaussian(x / 255, sigma=sigma, channel_axis=-1)


def _zoomed(x: Array, factor: float) -> Array:
    crop = int(np.ceil(32 / factor))
    top = (32 - crop) // 2
    x = ndimage.zoom(x[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (len(x) - 32) // 2
    return x[trim : trim + 32, trim : trim + 32]


def _streak(x: Array, radius: int, sigma: float, angle: float) -> Array:
    """A one-sided line blur; the published generator calls ImageMagick for it."""
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    rows = np.ceil(steps * np.sin(np.radians(angle)) - 0.5).astype(int)
    columns = np.ceil(steps * np.cos(np.radians(angle)) - 0.5).astype(int)
    kernel = np.zeros((4 * radius + 1,) * 2)
    np.add.at(kernel, (rows + 2 * radius, columns + 2 * radius), weights / weights.sum())
    return cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def _plasma(decay: float) -> Array:
    height, step, wobble = np.zeros((32, 32)), 32, 100.0
    while step >= 2:
        half = step // 2

        def middle(total: Array, reach: float = wobble) -> Array:
            return total / 4 + reach * np.random.uniform(-reach, reach, total.shape)

        corners = height[::step, ::step]
        across = corners + np.roll(corners, -1, 0)
        height[half::step, half::step] = centers = middle(across + np.roll(across, -1, 1))
        upper = centers + np.roll(centers, 1, 0) + corners + np.roll(corners, -1, 1)
        left = centers + np.roll(centers, 1, 1) + corners + np.roll(corners, -1, 0)
        height[::step, half::step] = middle(upper)
        height[half::step, ::step] = middle(left)
        step, wobble = half, wobble / decay
    height -= height.min()
    return height / height.max()


PLAIN: dict[str, Callable[[Array, int], Array]] = {name: globals()[f"_{name}"] for name in NAMES}


def corrupt(images: Array, name: str, severity: int) -> Array:
    """Corrupt uint8 (n, 32, 32, 3), one image after the other."""
    return np.stack(
        [np.clip(PLAIN[name](image, severity), 0, 255).astype(np.uint8) for image in images]
    )
