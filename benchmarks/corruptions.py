"""The 19 corruptions: batched tensors against plain code, one image at a time.

Three contenders:

* rslib: `rslib.corruptions.corrupt`, which seeds each image;
* plain: the usual way (:mod:`benchmarks.plain.corruptions`); where it draws nothing its pixels are
  compared with ours, elsewhere how far it moves them;
* imagecorruptions: a package with this job, but made for photographs of 224 pixels, with the
  ImageNet constants. What it cannot do with 32 pixels is left blank.

The last two compute on the CPU, whatever the device.
"""

from __future__ import annotations

import importlib.resources
import sys
import types
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, REMEDY, Contender, Disagreement, Row, Suite
from rslib.corruptions import NAMES, SEVERITIES, corrupt

FIXED = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
    "gaussian_blur", "saturate",
}  # fmt: skip
"""Corruptions that draw nothing: ours and plain come to the same pixels, give or take a level."""

_SHARE = 0.99  # of the pixels that have to
# Of the mean change of a pixel value, from a few images with random draws: relative, and levels.
_RELATIVE, _LEVELS = 0.3, 1.0
_SEED = 0

Array = np.ndarray


def corruptions(
    n: int, few: int, names: Sequence[str] = NAMES, *, device: torch.device = CPU
) -> Suite:
    """Each corruption at severities 1 to 5.

    Args:
        n: images for rslib, which takes them together.
        few: the first of them, for the others.
        names: which corruptions.
        device: where rslib computes; the others can only on the CPU.
    """
    images = subjects.pixels(n)
    theirs, why = imagecorruptions()
    return Suite(
        [_row(name, images, few, theirs, why, device) for name in names],
        total=f"{len(names)} corruptions at {len(SEVERITIES)} severities",
        targets={"plain": 20.0},
        note=f"an item is an image in each of {len(names)} corruptions, the mean over severities; "
        "plain is one image after the other in NumPy, SciPy, scikit-image, OpenCV and Pillow; it "
        "and imagecorruptions compute on the CPU; for floors, only bytes are counted",
    )


def _row(
    name: str,
    images: Tensor,
    few: int,
    theirs: Callable | None,
    why: str,
    device: torch.device,
) -> Row:
    from benchmarks.plain import corruptions as plain

    slow = images[:few].permute(0, 2, 3, 1).contiguous().numpy()
    images = images.to(device)
    missing = {} if theirs is not None else {"imagecorruptions": why}

    def run_ours() -> list[Tensor]:
        return [corrupt(images, name, severity, seed=_SEED) for severity in SEVERITIES]

    def run_plain() -> list[Array]:
        np.random.seed(_SEED)
        return [plain.corrupt(slow, name, severity) for severity in SEVERITIES]

    def run_theirs() -> list[list[Array]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [
                [theirs(image, corruption_name=name, severity=severity) for image in slow]
                for severity in SEVERITIES
            ]

    contenders = [
        Contender(OURS, run_ours, len(images) * len(SEVERITIES)),
        Contender("plain", run_plain, few * len(SEVERITIES), note="on the CPU"),
    ]
    if theirs is not None:
        try:
            run_theirs()
            contenders.append(
                Contender(
                    "imagecorruptions",
                    run_theirs,
                    few * len(SEVERITIES),
                    note="on the CPU, with ImageNet's constants",
                )  # fmt: skip
            )
        except Exception as error:  # the package was not made for 32 pixels: anything may fail
            missing["imagecorruptions"] = f"fails on 32 pixels ({type(error).__name__})"

    def check(answers: Mapping[str, list]) -> str:
        ours = np.stack([made[:few].permute(0, 2, 3, 1).cpu().numpy() for made in answers[OURS]])
        return same_pixels(name, ours, np.stack(answers["plain"]), slow)

    return Row(
        name,
        contenders,
        check,
        missing=missing,
        moved=2 * images.nbytes / len(images),  # the image as bytes, and the corrupted one
        products=False,  # there are next to none, and on a CPU they are done in other threads
        item="corrupted image",
    )


def same_pixels(name: str, ours: Array, theirs: Array, images: Array) -> str:
    """Whether two corrupted versions are the same, or have the same distribution.

    Args:
        name: the corruption.
        ours: uint8 (severities, n, 32, 32, 3).
        theirs: of the same shape.
        images: the clean images (n, 32, 32, 3).

    Raises:
        Disagreement: pixels of a corruption that draws nothing differ, or another moves pixels by
            another amount.
    """
    if name in FIXED:
        apart = np.abs(ours.astype(int) - theirs)
        share = float((apart <= 1).mean((1, 2, 3, 4)).min())
        if share < _SHARE:
            raise Disagreement(f"{name}: only {share:.1%} of the pixels are plain's")
        return f"{share:.2%} of pixels within one level, at the worst severity"
    mine, yours = (float(np.abs(made.astype(int) - images).mean()) for made in (ours, theirs))
    if abs(mine - yours) > _RELATIVE * yours + _LEVELS:
        raise Disagreement(f"{name}: pixels move by {mine:.1f} levels, plain's by {yours:.1f}")
    return f"random; a pixel moves by {mine:.1f} levels, plain's by {yours:.1f}"


def imagecorruptions() -> tuple[Callable | None, str]:
    """The function of imagecorruptions, or why it is missing."""
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
        return None, f"not measured: {type(error).__name__}: {error} ({REMEDY})"
    return theirs, ""
