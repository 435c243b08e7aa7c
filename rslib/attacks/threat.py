"""The threat model: which images an attacker may show instead of x, of any model."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rslib.settings.nearest import nearest

NORMS = ("linf", "l2")


@dataclass(frozen=True)
class Threat:
    """The images within ``eps`` of x that are still images: a norm ball cut with the box [0, 1].

    This is the set S of paper 3.2.1 (eq. 2), where the norm is l_inf. Images x and x_adv have shape
    (B, C, H, W); x lies in [0, 1].

    Attributes:
        norm: ``"linf"`` (largest change of any pixel value) or ``"l2"`` (Euclidean length of the
            change).
        eps: Radius of the ball, in [0, 1] units of pixel value: 8/255 for the paper's l_inf threat.
            An l_2 radius may exceed 1, because it adds up over all pixels.

    Raises:
        ValueError: If the norm is unknown, if eps is not a positive finite number, or if an l_inf
            eps exceeds 1.
        TypeError: If eps is not a number.
    """

    norm: str = "linf"
    eps: float = 8 / 255

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(
                f"norm={self.norm!r} is unknown{nearest(self.norm, NORMS)} Use 'linf' or 'l2'"
            )
        # A threat model is also a record of what was done, so a 0-d tensor or NumPy scalar becomes
        # a float.
        object.__setattr__(self, "eps", in_pixel_units("eps", self.eps, norm=self.norm))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Move each image to an allowed one: into the ball around x and into [0, 1].

        For l_inf this is the exact nearest point. For l_2 the image is first pulled along the
        straight line to x onto the sphere, then clipped; clipping only moves it closer to x.
        """
        change = x_adv - x
        if self.norm == "linf":
            change = change.clamp(-self.eps, self.eps)
        else:
            length = _per_image(_length(change), change)
            # The factor is exactly 1 for images already inside.
            change = change * (self.eps / length.clamp_min(self.eps))
        return (x + change).clamp(0, 1)

    def random_start(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one point of the ball around each image, uniformly, then clip it to [0, 1].

        The draws are made on the generator's device: a CPU generator (None: torch's default one)
        gives the same start whatever device the images are on, one on the images' device spares the
        copy, and a GPU's gives another start than a CPU's from the same seed.
        """
        source = generator.device if generator is not None else torch.device("cpu")
        options = {"generator": generator, "device": source, "dtype": x.dtype}
        if self.norm == "linf":
            change = (2 * torch.rand(x.shape, **options) - 1) * self.eps
        else:
            # A Gaussian vector has a uniform direction; in d dimensions the share of a ball's
            # volume within radius r grows as r^d, hence the d-th root.
            change = _unit(torch.randn(x.shape, **options))
            radius = torch.rand(x.shape[0], **options) ** (1 / x[0].numel()) * self.eps
            change = change * _per_image(radius, change)
        # x comes first so that the result keeps its memory format.
        return self.project(x + change.to(x.device), x)

    def step(self, x: Tensor, gradient: Tensor, size: float) -> Tensor:
        """Move by ``size`` ([0, 1] units) where the loss rises fastest in this norm; no projection.

        That is along sign(gradient) for l_inf and gradient / ||gradient|| for l_2, or nowhere.
        """
        direction = gradient.sign() if self.norm == "linf" else _unit(gradient)
        return x + size * direction

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Distances (B,) of images from their originals in this norm, in [0, 1] units."""
        change = x_adv - x
        return change.abs().flatten(1).amax(1) if self.norm == "linf" else _length(change)


def in_pixel_units(name: str, value: float, *, norm: str) -> float:
    """A budget or step size in [0, 1] units, checked; only an l_2 length may exceed 1.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not finite and positive, or exceeds 1 in l_inf.
    """
    units = "in [0, 1] units, e.g. 8/255"
    try:
        # A string such as "0.03" would convert, but comes from a setting that was meant otherwise.
        number = float(None if isinstance(value, str | bool) else value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}={value!r} is not a number: budgets are {units}") from None
    if not math.isfinite(number) or number <= 0:
        hint = "; without any perturbation, measure clean accuracy" if number == 0 else ""
        raise ValueError(f"{name}={value!r} must be positive and finite, {units}{hint}")
    if norm == "linf" and number > 1:
        raise ValueError(
            f"{name}={value!r} is more than the whole range of pixel values: budgets are in "
            f"[0, 1] units, so {number:g} of 255 is written {number:g}/255"
        )
    return number


def _length(change: Tensor) -> Tensor:
    """Euclidean length of each image's change: (B, C, H, W) to (B,)."""
    return change.flatten(1).norm(dim=1)


def _unit(vector: Tensor) -> Tensor:
    """Scale each image's vector to Euclidean length 1; a zero vector stays zero."""
    # Dividing by the largest entry first keeps the squares of very small gradients (a confident
    # model's) from underflowing to a zero length.
    largest = _per_image(vector.abs().flatten(1).amax(1), vector)
    scaled = vector / torch.where(largest > 0, largest, 1)
    length = _per_image(_length(scaled), vector)
    return scaled / torch.where(length > 0, length, 1)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """Reshape (B,) to (B, 1, 1, 1) so that it multiplies whole images."""
    return values.view(-1, *[1] * (like.ndim - 1))
