"""What a training step minimizes. The loop knows nothing else about how models differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from rslib.data import Batch


@dataclass(frozen=True)
class Step:
    """What one step computed.

    Attributes:
        loss: scalar to minimize, with its graph.
        logits: (B, C), of the images the loss was taken on.
    """

    loss: Tensor
    logits: Tensor


class Objective(Protocol):
    """A training objective: called once per batch, in train mode."""

    def __call__(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Step:
        """Compute the loss of one batch.

        Args:
            model: images in [0, 1] to logits.
            batch: images (B, 3, H, W) in [0, 1], labels (B,), and masks where the data has them.
            generator: CPU generator of this epoch, for whatever the objective draws.
        """
        ...


@dataclass(frozen=True)
class Standard:
    """Cross-entropy on clean images (paper 3.1.3).

    Attributes:
        label_smoothing: share of the target spread evenly over the classes.
    """

    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Step:
        """Mean cross-entropy of the batch; arguments as in :class:`Objective`."""
        logits = model(batch.x)
        loss = functional.cross_entropy(logits, batch.y, label_smoothing=self.label_smoothing)
        return Step(loss, logits)
