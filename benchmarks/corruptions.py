"""Images per second of each corruption: batched tensors against plain code, one image at a time.

    python benchmarks/corruptions.py --out runs/bench

Three columns, in one process on one machine, their repeats interleaved so that a busy moment hits
all of them, medians reported:

* rslib: `rslib.corruptions.corrupt`, which seeds each image;
* plain: the usual way, one image after the other with NumPy, SciPy, scikit-image, OpenCV and
  Pillow, with the CIFAR constants and without a seed. Written for this file from the published
  description; where it draws nothing its pixels are compared with ours;
* imagecorruptions, where it is installed: another package with this job, but made for photographs
  of 224 pixels, with the ImageNet constants. What it cannot do with 32 pixels is left blank.

OpenCV and scikit-image come with the package imagecorruptions.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.resources
import io
import platform
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from rslib.corruptions import NAMES, SEVERITIES, corrupt, weather
from rslib.data import DataError, load
from rslib.device import describe
from rslib.records import atomic, write_json

try:
    import cv2
    from scipy import ndimage
    from skimage import color, filters, util
except ImportError as error:
    sys.exit(f"{error}: install the project with its dependencies")

WHOLE = 10_000 * len(NAMES) * len(SEVERITIES)  # images in all of CIFAR-10-C
# Corruptions that draw nothing: both columns must come to the same pixels, give or take one level.
FIXED = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
    "gaussian_blur", "saturate",
}  # fmt: skip

Array = np.ndarray


# The plain column. Each takes one image, uint8 (32, 32, 3), and gives values from 0 to 255.


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
    photograph = cv2.imread(str(weather.frost_folder() / name))
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
    return np.asarray(Image.open(buffer))


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


def plain(images: Array, name: str, severity: int) -> Array:
    """Corrupt uint8 (n, 32, 32, 3), one image after the other."""
    return np.stack(
        [np.clip(PLAIN[name](image, severity), 0, 255).astype(np.uint8) for image in images]
    )


def peer() -> tuple[Callable | None, str]:
    """The function of imagecorruptions, and its version or why it is missing."""
    # It asks setuptools for one function, which newer versions of setuptools no longer bring.
    stand_in = types.ModuleType("pkg_resources")
    stand_in.resource_filename = lambda package, name: str(
        importlib.resources.files(package.partition(".")[0]) / name
    )
    sys.modules.setdefault("pkg_resources", stand_in)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from imagecorruptions import corrupt as theirs
    except Exception as error:  # an old package: anything may fail on import
        return None, f"not measured ({type(error).__name__}: {error})"
    return theirs, importlib.metadata.version("imagecorruptions")


def measure(name: str, images: torch.Tensor, few: int, repeats: int, theirs) -> dict:
    """Median images per second over repeats, each over the five severities."""
    slow = images[:few].permute(0, 2, 3, 1).contiguous().numpy()
    agreement = []

    def run_ours() -> None:
        for severity in SEVERITIES:
            corrupt(images, name, severity, seed=0)

    def run_plain() -> None:
        for severity in SEVERITIES:
            plain(slow, name, severity)

    def run_theirs() -> None:
        for severity in SEVERITIES:
            for image in slow:
                theirs(image, corruption_name=name, severity=severity)

    columns = {"rslib": (run_ours, len(images)), "plain": (run_plain, few)}
    if theirs is not None:
        columns["imagecorruptions"] = (run_theirs, few)
    seconds: dict[str, list[float]] = {key: [] for key in columns}
    for repeat in range(repeats + 1):  # the first one warms caches up and does not count
        for key, (run, _) in columns.items():
            start = time.perf_counter()
            try:
                run()
            except Exception as error:
                if key != "imagecorruptions":
                    raise
                if not repeat:
                    print(f"  imagecorruptions fails: {type(error).__name__}: {error}", flush=True)
                continue
            if repeat:
                seconds[key].append(time.perf_counter() - start)
    if name in FIXED:
        for severity in SEVERITIES:
            ours = corrupt(images[:few], name, severity, seed=0).permute(0, 2, 3, 1).numpy()
            apart = np.abs(ours.astype(int) - plain(slow, name, severity))
            agreement.append(float((apart <= 1).mean()))
    rates = {
        key: len(SEVERITIES) * columns[key][1] / statistics.median(values)
        for key, values in seconds.items()
        if values
    }
    return {
        "images_per_second": rates,
        "seconds": seconds,
        "within_one_level": min(agreement) if agreement else None,
    }


def markdown(report: dict) -> str:
    """The report as a table."""
    lines = [
        f"{report['device']}; {report['data']}; median of "
        f"{report['repeats']} repeats over severities 1 to 5, {report['images']} images (rslib) "
        f"and {report['few']} (others) a repeat. imagecorruptions: {report['imagecorruptions']}.",
        "",
        "| corruption | rslib, images/s | plain, images/s | ratio | imagecorruptions, images/s "
        "| pixels within one level of plain |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in report["corruptions"].items():
        rates, share = row["images_per_second"], row["within_one_level"]
        other = rates.get("imagecorruptions")
        lines.append(
            f"| {name} | {rates['rslib']:,.0f} | {rates['plain']:,.0f} "
            f"| {rates['rslib'] / rates['plain']:,.1f} "
            f"| {'' if other is None else f'{other:,.0f}'} "
            f"| {'random' if share is None else f'{100 * share:.2f} %'} |"
        )
    totals = report["projected_minutes"]
    lines += [
        "",
        f"Projected from these rates for {WHOLE:,} images (19 corruptions, 5 severities, "
        f"10,000 images), generation only: rslib {totals['rslib']:.1f} min, plain "
        f"{totals['plain']:.0f} min."
        if totals
        else "A part of the corruptions was measured: no projection.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write corruptions.json and corruptions.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=500, help="a call of rslib")
    parser.add_argument("--few", type=int, default=20, help="images a repeat for the other columns")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--names", nargs="+", default=list(NAMES), choices=NAMES, metavar="NAME")
    parser.add_argument("--out", type=Path, help="folder for corruptions.json and corruptions.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    np.random.seed(0)
    try:
        images, data = load("cifar10", "test").images[: options.images], "CIFAR-10 test images"
    except DataError:
        images, data = load("shapes", "test", n=options.images).images, "Shapes (no CIFAR-10 here)"
    theirs, version = peer()
    rows = {}
    for name in options.names:
        print(name, flush=True)
        rows[name] = measure(name, images, options.few, options.repeats, theirs)
    whole = set(rows) == set(NAMES)
    report = {
        "device": describe(torch.device("cpu")),
        "platform": platform.platform(),
        "threads": options.threads,
        "versions": {
            package: importlib.metadata.version(package)
            for package in ("torch", "numpy", "scipy", "scikit-image", "pillow")
        }
        | {"opencv": cv2.__version__},
        "data": data,
        "images": len(images),
        "few": options.few,
        "repeats": options.repeats,
        "imagecorruptions": version,
        "corruptions": rows,
        "projected_minutes": {
            key: sum(WHOLE / len(NAMES) / row["images_per_second"][key] for row in rows.values())
            / 60
            for key in ("rslib", "plain")
        }
        if whole
        else None,
    }
    text = markdown(report)
    print(text)
    if options.out:
        write_json(options.out / "corruptions.json", report)
        with atomic(options.out / "corruptions.md") as path:
            path.write_text(text)


if __name__ == "__main__":
    main()
