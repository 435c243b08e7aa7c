"""The 19 corruptions of CIFAR-10-C as batched tensor code (paper 3.5, 4.5).

::

    corrupted = corrupt(images, "fog", 3, seed=0)      # uint8 (B, 3, 32, 32) in and out

The same image, name, severity and seed give the same pixels, whatever the batch, its order and the
number of threads: the random numbers belong to the image (see ``_random``), and sums are exact or
written out term by term (see ``_filters``). Between devices a value on the edge between two levels
may differ by one level.

The constants are those of the benchmark's CIFAR generator, and as there values are cut to 0..255
and truncated: corruptions that draw nothing agree with it to a level or two, the others in
distribution, for it was never seeded. What this makes is not the published archive: results must
say "generated" (see ``cifar10c``).

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", ICLR 2019, arXiv:1903.12261.
"""

import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from rslib.corruptions import blur, digital, noise, weather
from rslib.corruptions._random import Draws, image_keys
from rslib.settings import extensions
from rslib.settings.nearest import nearest

SEVERITIES = (1, 2, 3, 4, 5)

CATEGORIES: dict[str, tuple[str, ...]] = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "gaussian_blur"),
    "weather": ("snow", "frost", "fog", "brightness", "spatter"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression", "saturate"),
}
# The benchmark's four validation corruptions; its main table leaves them out.
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
TEST15 = tuple(name for names in CATEGORIES.values() for name in names if name not in EXTRA)
ALL19 = TEST15 + EXTRA
NAMES = ALL19  # in the order of the published generator; each is also the name of its file

_FUNCTIONS = {
    name: getattr(module, name)
    for module, names in zip((noise, blur, weather, digital), CATEGORIES.values(), strict=True)
    for name in names
}
# On the CPU a chunk's tensors stay in the cache, and each thread takes a chunk of its own.
_CPU_CHUNK = 125
_CHUNK = 10_000

Corruption = Callable[[Tensor, int, Draws], Tensor]

ADDED: dict[str, Corruption] = extensions.ADDED["corruption"]
"""The user's own, name to function (:func:`corruption`), in the order of the tables."""


def corruption(name: str) -> Callable[[Corruption], Corruption]:
    """Add a corruption: ``@corruption("fade")`` above a function.

    The function takes uint8 images (B, 3, 32, 32), a severity from 1 to 5 and the images' random
    numbers, ``draws.normal(stream, *shape)`` and ``draws.uniform(stream, *shape)``. It returns
    uint8 images of the same shape::

        @corruption("fade")
        def fade(images, severity, draws):
            pale = images + (255.0 - images) * STRENGTH[severity - 1]
            return pale.round().to(torch.uint8)

    It stands beside the nineteen in notebooks 05 and 10, marked as added, and enters no mean.

    Raises:
        rslib.settings.extensions.ExtensionError: the name cannot be used.
    """
    return extensions.adding("corruption", name, NAMES)


def corrupt(
    images: Tensor, name: str, severity: int, *, seed: int, photographs: str | Path | None = None
) -> Tensor:
    """Corrupt images as CIFAR-10-C does.

    Args:
        images: uint8 (B, 3, 32, 32), RGB.
        name: one of :data:`NAMES` or of :data:`ADDED`.
        severity: 1 to 5.
        seed: any integer; another seed draws other noise. Two equal images get equal noise.
        photographs: the folder of frost's; by default the installed package ``imagecorruptions``.

    Returns:
        uint8 (B, 3, 32, 32) on the same device.

    Raises:
        ValueError: if name or severity is unknown, or images or seed are not of the form above.
        DataError: if the photographs of frost are missing or damaged.
        TypeError: if an added corruption does not return images of the form above.
    """
    check_name(name)
    severity = check_severity(severity)
    _check_images(images)
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise ValueError(f"seed={seed!r} must be a whole number.")
    more = {"photographs": photographs} if name == "frost" else {}
    function = _FUNCTIONS.get(name) or ADDED[name]
    result = torch.empty_like(images, memory_format=torch.contiguous_format)

    def make(chunk: slice) -> None:
        part = images[chunk]
        draws = Draws(image_keys(part, name, severity, operator.index(seed)))
        made = function(part, severity, draws, **more)
        form = type(made).__name__
        if isinstance(made, Tensor):
            form = f"{made.dtype} {tuple(made.shape)}"
        if form != f"{torch.uint8} {tuple(part.shape)}":
            raise TypeError(
                f"the corruption {name!r} returned {form}; it must return uint8 "
                f"{tuple(part.shape)}, as it was given: end it with .round().to(torch.uint8)"
            )
        result[chunk] = made

    on_cpu, threads = images.device.type == "cpu", torch.get_num_threads()
    size = _CPU_CHUNK if on_cpu else _CHUNK
    chunks = [slice(start, start + size) for start in range(0, len(images), size)]
    if not on_cpu or threads == 1 or not chunks:
        for chunk in chunks:
            make(chunk)
        return result
    # Each chunk in one thread: torch would divide each small operation over all of them.
    options = {"initializer": torch.set_num_threads, "initargs": (1,)}
    try:
        with ThreadPoolExecutor(min(threads, len(chunks)), **options) as pool:
            list(pool.map(make, chunks))
    finally:
        torch.set_num_threads(threads)  # the workers also set what later threads begin with
    return result


def check_name(name: str) -> None:
    """Raise ValueError, naming the nearest corruption, unless this is one."""
    known = (*NAMES, *ADDED)
    if name not in known:
        raise ValueError(
            f"no corruption {name!r}{nearest(name, known)} There are: {', '.join(known)}."
        )


def check_severity(severity: int) -> int:
    """The severity as an int; ValueError unless it is a whole number from 1 to 5."""
    whole = not isinstance(severity, bool) and hasattr(severity, "__index__")
    if not whole or operator.index(severity) not in SEVERITIES:
        raise ValueError(f"severity={severity!r} must be 1, 2, 3, 4 or 5.")
    return operator.index(severity)


def _check_images(images: Tensor) -> None:
    if not isinstance(images, Tensor):
        raise ValueError(
            f"images must be a uint8 tensor (B, 3, 32, 32), not {type(images).__name__}."
        )
    if images.dtype != torch.uint8:
        hint = ""
        if images.is_floating_point():
            hint = ": turn [0,1] floats into levels with (images * 255).round().to(torch.uint8)"
        raise ValueError(f"images must be uint8, 0 to 255, not {images.dtype}{hint}.")
    if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
        raise ValueError(
            f"images must be (B, 3, 32, 32), not {tuple(images.shape)}: the constants are made for "
            "32x32 pixels."
        )
