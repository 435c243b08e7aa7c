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

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rslib.settings import extensions
from rslib.settings.nearest import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from rslib.corruptions._random import Draws
    from rslib.corruptions.generate import corrupt as corrupt

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
NAMES: tuple[str, ...] = (
    ALL19  # in the order of the published generator; each is also the name of its file
)

Corruption = Callable[["Tensor", int, "Draws"], "Tensor"]

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


def __getattr__(name: str) -> Any:
    # Whoever only asks what the corruptions are called must not load PyTorch.
    if name == "corrupt":
        from rslib.corruptions.generate import corrupt

        return corrupt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
