"""The alignment objective: classification and a saliency map that matches a mask (paper 3.4.1).

Equations 10 to 13: L = alpha CE + beta MSE(sigmoid(saliency), mask), through Grad-CAM for a
convolutional network and attention rollout for a transformer.

Read as written, the sigmoid of a map that a ReLU has passed lies in [1/2, 1], so that the
background's error cannot fall under 1/4; and a rollout's values, near 2^L, saturate it. The other
reading takes the signed map, standardized image by image, whose sigmoid can reach both ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from rslib.data import Batch, Batches
from rslib.saliency import iou, resize, standardize
from rslib.saliency.gradcam import activation_map, captured, named_layer
from rslib.saliency.rollout import (
    attention_matrices,
    class_token_rollout,
    find_transformer,
    patch_map,
)
from rslib.training.objectives import Standard, Step

Reading = Literal["as_written", "standardized"]


class NoMasks(ValueError):
    """Alignment was asked for on images without object masks."""


@dataclass(frozen=True)
class Aligned:
    """Cross-entropy and the distance of the model's saliency from the object's mask.

    Attributes:
        alpha: weight of the cross-entropy (equation 10).
        beta: weight of the alignment loss; at 0 the map is still computed and nothing is aligned.
        layer: the layer of Grad-CAM; None for a transformer, which takes rollout.
        reading: of equation 12, see above.
        clean: the classification loss.
    """

    alpha: float = 1.0
    beta: float = 0.1
    layer: str | None = None
    reading: Reading = "as_written"
    clean: Standard = Standard()

    def __call__(
        self, model: nn.Module, batch: Batch, generator: torch.Generator, epoch: float
    ) -> Step:
        """Both terms on the batch; arguments as in :class:`rslib.training.Objective`.

        Raises:
            NoMasks: the batch has no masks.
        """
        logits, maps = self.explained(model, batch.x, batch.y)
        loss = functional.cross_entropy(logits, batch.y, label_smoothing=self.clean.label_smoothing)
        return Step(self.alpha * loss + self.beta * self.distance(maps, masks_of(batch)), logits)

    def explained(self, model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and signed saliency (B, h, w) from one pass, with their graph.

        The model stays in the mode it is in; Grad-CAM explains ``target``.
        """
        if self.layer is None:
            transformer = find_transformer(model)
            with attention_matrices(transformer) as attentions:
                logits = model(x)
            return logits, patch_map(transformer, class_token_rollout(attentions))
        with captured(named_layer(model, self.layer)) as outputs:
            logits = model(x)
        (features,) = outputs
        return logits, activation_map(model, features, logits, target, create_graph=True)

    def distance(self, maps: Tensor, masks: Tensor) -> Tensor:
        """Equations 12 and 13: mean squared error between squashed maps and masks.

        Args:
            maps: signed saliency (B, h, w).
            masks: bool (B, H, W).

        Returns:
            Scalar, with its graph.
        """
        maps = resize(maps, masks.shape[1:])
        squashed = maps.relu() if self.reading == "as_written" else standardize(maps)
        return functional.mse_loss(squashed.sigmoid(), masks.to(maps.dtype))

    def validate(self, model: nn.Module, batches: Batches) -> dict[str, float]:
        """IoU and alignment loss on validation images; Grad-CAM explains the predicted class.

        Args:
            model: in eval mode.
            batches: validation images with masks.

        Returns:
            ``validation_iou`` (mean over images) and ``validation_alignment_loss``.

        Raises:
            NoMasks: the images have no masks.
        """
        overlap = loss = seen = 0.0
        for batch in batches:
            with torch.no_grad():
                target = model(batch.x).argmax(1)
            _, maps = self.explained(model, batch.x, target)
            maps, masks = maps.detach(), masks_of(batch)
            loss += self.distance(maps, masks).item() * len(masks)
            overlap += iou(resize(maps, masks.shape[1:]).relu(), masks).sum().item()
            seen += len(masks)
        return {"validation_iou": overlap / seen, "validation_alignment_loss": loss / seen}


def masks_of(batch: Batch) -> Tensor:
    """The object masks of a batch.

    Raises:
        NoMasks: it has none.
    """
    if batch.masks is None:
        raise NoMasks(
            "aligned training needs an object mask for each image, and these images have none: "
            "Shapes has exact masks; CIFAR-10 has none of its own"
        )
    return batch.masks
