"""Work goes on with fewer images at a time when a GPU's memory runs out, and rows stay the same.

A shard is seeded as a whole, so it is made again as it was, and only passes through the model are
cut, first into halves. In eval mode an image's logits depend on no other, up to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

T = TypeVar("T")


class OutOfMemory(RuntimeError):
    """Work that does not fit into the device's memory; the message names the setting to lower."""


class PiecesWarning(UserWarning):
    """Memory ran out, and the work goes on with fewer images at a time; its result is the same."""


class Pieces(nn.Module):
    """A model in eval mode that sees at most ``size`` images at a time; gradients are the whole's.

    Where one is wanted, a piece's activations are not kept but made again in the backward pass, so
    that memory holds those of one piece. No hook may look at the model's layers.
    """

    def __init__(self, model: nn.Module, size: int) -> None:
        super().__init__()
        self.model = model
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, classes)."""
        parts = x.split(self.size)
        if torch.is_grad_enabled():
            return torch.cat([checkpoint(self.model, p, use_reentrant=False) for p in parts])
        return torch.cat([self.model(part) for part in parts])


class Halving:
    """Tries work with a model as it is, then with ever smaller pieces of its batches.

    The next work on the model starts with what fits. Errors name the setting of the batch size.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self._sizes: dict[nn.Module, int] = {}

    def __call__(self, work: Callable[[nn.Module], T], model: nn.Module, images: int) -> T:
        """Do work on a batch of so many images, again from its start after each failure.

        The work is called with the model, in eval mode, or :class:`Pieces` of it; it must draw the
        same random numbers each time.

        Raises:
            OutOfMemory: not even a single image fits.

        Warns:
            PiecesWarning: memory ran out.
        """
        size = min(images, self._sizes.get(model, images))
        while True:
            try:
                return work(model if size == images else Pieces(model, size))
            except torch.OutOfMemoryError:
                pass
            # What the failed try held is free only here, after its error is gone.
            torch.cuda.empty_cache()
            if size == 1:
                raise OutOfMemory(
                    f"the device's memory does not hold one image's pass through "
                    f"{type(model).__name__}, so lowering {self.setting} is of no use: free the "
                    "device of other programs, or choose a smaller model or another device"
                )
            size = -(-size // 2)
            self._sizes[model] = size
            warnings.warn(
                f"the device's memory ran out: {type(model).__name__} goes on with {size} of "
                f"{images} images at a time, with the same result. A lower {self.setting} would "
                "spare the tries",
                PiecesWarning,
                stacklevel=2,
            )


@contextmanager
def refusing(setting: str, value: int) -> Iterator[None]:
    """Turn running out of memory into an error that names the setting to lower; also a decorator.

    For work whose batches cannot be cut: their size is part of the result, or layers are looked at.
    The setting has a dotted name, such as ``"autoattack.batch_size"``, and a value now.

    Raises:
        OutOfMemory: memory ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(
            f"the device's memory ran out with {setting} at {value}, and this work's batches are "
            f"not cut by themselves, since their size is part of the result: set {setting} to "
            f"{max(1, value // 2)} or less (what is made with another value is kept beside it)"
        ) from error
