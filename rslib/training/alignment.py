"""The alignment objective: classification and a saliency map that matches a mask (paper 3.4.1).

Equations 10 to 13: L = alpha CE + beta MSE(sigmoid(saliency), mask), through Grad-CAM for a
convolutional network and attention rollout for a transformer, or its gradient-weighted form.

Read as written, the sigmoid of a map that a ReLU has passed lies in [1/2, 1], so that the
background's error cannot fall under 1/4; and a rollout's values, near 2^L, saturate it. The other
reading takes the signed map, standardized image by image, whose sigmoid can reach both ends.
Section 3.4.2 aligns the map of a saliency head, which the classifier does not use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rslib.data import Batch, Batches
from rslib.models import eval_mode
from rslib.saliency import iou, resize, standardize
from rslib.saliency.gradcam import activation_map, captured, named_layer
from rslib.saliency.gradient_rollout import class_rollout
from rslib.saliency.rollout import attended, class_token_rollout, find_transformer, patch_map
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
        head: align the map of a head of its own (3.4.2) and not the model's explanation.
        clean: the classification loss.
        gradient_rollout: align gradient-weighted rollout, a transformer's map of the class.
    """

    alpha: float = 1.0
    beta: float = 0.1
    layer: str | None = None
    reading: Reading = "as_written"
    head: bool = False
    clean: Standard = Standard()
    gradient_rollout: bool = False

    def prepare(self, model: nn.Module) -> None:
        """Give the model its saliency head, where one is trained: a linear map to one value.

        Raises:
            ValueError: gradient-weighted rollout is to be aligned and the model has no attention.
        """
        if self.gradient_rollout:
            find_transformer(model)
        if not self.head:
            return
        device = next(model.parameters()).device
        if self.layer is None:
            head = nn.Linear(find_transformer(model).embed_dim, 1)
        else:
            with eval_mode(model), torch.no_grad():
                _, features = self._features(model, torch.zeros(1, 3, 32, 32, device=device))
            head = nn.Conv2d(features.shape[1], 1, 1)
        model.saliency_head = head.to(device)

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Both terms on the batch; arguments as in :class:`rslib.training.Objective`.

        Images whose mask is empty have none: they enter the classification loss only.

        Raises:
            NoMasks: the batch has no masks.
        """
        logits, maps = self.aligned(model, batch.x, batch.y)
        loss = functional.cross_entropy(logits, batch.y, label_smoothing=self.clean.label_smoothing)
        alignment_loss = self.alignment_loss(maps, _masks_of(batch))
        return Step(self.alpha * loss + self.beta * alignment_loss, logits)

    def aligned(self, model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the map that is aligned (B, h, w), from one pass."""
        return self.headed(model, x) if self.head else self.explained(model, x, target)

    def headed(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and the map of the saliency head (B, h, w), with their graph."""
        logits, features = self._features(model, x)
        if self.layer is not None:
            return logits, model.saliency_head(features).squeeze(1)
        height, width = find_transformer(model).patch_embed.grid_size
        return logits, model.saliency_head(features).squeeze(2).unflatten(1, (height, width))

    def explained(self, model: nn.Module, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, classes) and Grad-CAM of a target or rollout (B, h, w), signed, with graph."""
        if self.gradient_rollout:
            with torch.enable_grad():
                found = attended(model, x, heads=True)
                return found[1], class_rollout(*found, target, create_graph=True)
        if self.layer is not None:
            logits, features = self._features(model, x)
            return logits, activation_map(model, features, logits, target, create_graph=True)
        transformer, logits, attentions = attended(model, x, class_token=True)
        return logits, patch_map(transformer, class_token_rollout(attentions))

    def _features(self, model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the output of the layer, or of a transformer's embedding of patches."""
        if self.layer is None:
            layer = find_transformer(model).patch_embed
        else:
            layer = named_layer(model, self.layer)
        with captured(layer) as outputs:
            logits = model(x)
        (features,) = outputs
        return logits, features

    def alignment_loss(self, maps: Tensor, masks: Tensor) -> Tensor:
        """Equations 12 and 13: mean squared error between squashed maps and masks.

        Maps are signed saliency (B, h, w), masks bool (B, H, W). The result is a scalar with its
        graph: the mean over the masks that are not empty, 0 where all are.
        """
        known = masks.flatten(1).any(1)
        maps = resize(maps, masks.shape[1:])
        if not self.head and self.reading == "as_written":
            maps = maps.relu()
        elif not self.head:
            maps = standardize(maps)
        errors = (maps.sigmoid() - masks.to(maps.dtype)).square().mean((1, 2))
        return torch.where(known, errors, 0).sum() / known.sum().clamp(min=1)

    def validate(self, model: nn.Module, batches: Batches) -> dict[str, float]:
        """Measure IoU and alignment loss on validation images that have a mask, in eval mode.

        Grad-CAM explains the predicted class.

        Returns ``validation_iou`` of the explanation (mean over images), of the map that is aligned
        ``validation_alignment_loss`` and, where that is a head's, ``validation_head_iou``.

        Raises:
            NoMasks: the images have no masks.
        """
        totals: dict[str, float] = {}
        seen = 0
        for batch in batches:
            masks = _masks_of(batch)
            known = masks.flatten(1).any(1)
            if not known.any():
                continue
            x, masks = batch.x[known], masks[known]
            with torch.no_grad():
                target = model(x).argmax(1)
            maps = {"iou": self.explained(model, x, target)[1].detach().relu()}
            if self.head:
                with torch.no_grad():
                    maps["head_iou"] = self.headed(model, x)[1]
            scores = {n: iou(resize(m, masks.shape[1:]), masks).sum() for n, m in maps.items()}
            signed = self.aligned(model, x, target)[1].detach()
            scores["alignment_loss"] = self.alignment_loss(signed, masks) * len(masks)
            for name, value in scores.items():
                totals[f"validation_{name}"] = totals.get(f"validation_{name}", 0.0) + value.item()
            seen += len(masks)
        if not seen:
            raise NoMasks("none of the validation images has an object mask")
        return {name: total / seen for name, total in totals.items()}


def _masks_of(batch: Batch) -> Tensor:
    if batch.masks is None:
        raise NoMasks(
            "aligned training needs object masks, and these images have none: Shapes has exact "
            "masks; for others, set training.aligned.masks to a teacher's (cnn or vit) or your own"
        )
    return batch.masks
