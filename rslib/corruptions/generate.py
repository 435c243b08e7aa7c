"""The images of the 19 corruptions and of those added (paper 3.5), see :mod:`rslib.corruptions`."""

import operator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from rslib.corruptions import (
    ADDED,
    CATEGORIES,
    blur,
    check_name,
    check_severity,
    digital,
    noise,
    weather,
)
from rslib.corruptions._random import Draws, image_keys

_FUNCTIONS = {
    name: getattr(module, name)
    for module, names in zip((noise, blur, weather, digital), CATEGORIES.values(), strict=True)
    for name in names
}
# On the CPU a chunk's tensors stay in the cache, and each thread takes a chunk of its own.
_CPU_CHUNK = 125
_CHUNK = 10_000


def corrupt(
    images: Tensor, name: str, severity: int, *, seed: int, photographs: str | Path | None = None
) -> Tensor:
    """Corrupt images as CIFAR-10-C does.

    Args:
        images: uint8 (B, 3, 32, 32), RGB.
        name: one of :data:`NAMES` or of :data:`ADDED`.
        severity: 1 to 5.
        seed: any integer; another seed draws other noise. Two equal images get equal noise.
        photographs: the folder of frost's, full size; by default those of the published generator.

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
