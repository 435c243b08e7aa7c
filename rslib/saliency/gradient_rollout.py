"""Gradient-weighted attention rollout: the evidence for one class in a transformer.

Chefer, Gur and Wolf, "Generic attention-model explainability for interpreting bi-modal and
encoder-decoder transformers", ICCV 2021, arXiv:2103.15679, equations 5 and 6. The paper's rollout
(3.3.2) is the same map whatever the class; this one asks what speaks for the class.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rslib.models import eval_mode
from rslib.saliency.gradcam import check_target, leaf
from rslib.saliency.maps import check_maps
from rslib.saliency.rollout import attended, class_token_rollout, patch_map


def gradient_rollout(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | None = None,
    *,
    create_graph: bool = False,
) -> Tensor:
    """Gradient-weighted rollout of images (B, C, H, W) in [0, 1]: maps (B, h, w), 0 or more.

    With A a layer's attention (heads, n+1, n+1) and G the gradient of the class's logit by it, the
    layer has A' = mean over heads of max(0, G * A), and R = R + A' R from R = E on, first layer
    first. The map is the class token's row of R at the patches, or the mean of the patches' rows
    where the logits come from pooled patches. Where no gradient is positive, the map is constant.

    The model holds a timm vision transformer, perhaps behind other modules. It runs in eval mode,
    once forward and once backward, with fused attention off and nothing compiled, and is given back
    as it was; frozen weights do no harm. The target is as in :func:`gradcam`. With ``create_graph``
    a loss of the map can be minimized (second-order gradients).

    Raises:
        ValueError: If the model holds no such transformer, no gradient leads from its logits to its
            attention, or a target is out of range.
        NotSaliency: If a map is NaN or infinite.
    """
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        x = x.clone() if x.is_inference() else x
        given = x if create_graph else leaf(x)
        transformer, logits, attentions = attended(model, given, heads=True)
        chosen = check_target(target, logits)
        maps = class_rollout(transformer, logits, attentions, chosen, create_graph=create_graph)
    return check_maps(maps)


def class_rollout(
    transformer: nn.Module,
    logits: Tensor,
    attentions: Sequence[Tensor],
    target: Tensor,
    *,
    create_graph: bool = False,
) -> Tensor:
    """The maps (B, h, w) of :func:`gradient_rollout` from one forward pass, by a backward pass.

    Takes the transformer, its logits (B, classes) and each layer's attention by head, with the
    graph between them, as :func:`rslib.saliency.rollout.attended` gives them; and classes (B,).

    Raises:
        ValueError: If no gradient leads from the logits to the attention.
    """
    score = logits.gather(1, target.unsqueeze(1)).sum()
    gradients = [None] * len(attentions)
    if score.requires_grad and all(each.requires_grad for each in attentions):
        gradients = torch.autograd.grad(
            score, attentions, create_graph=create_graph, allow_unused=True
        )
    weighted = [
        (gradient * attention).relu().mean(1)
        for attention, gradient in zip(attentions, gradients, strict=True)
        if gradient is not None
    ]
    if not weighted:
        raise ValueError(
            "no gradient leads from the logits to the attention: a part of the model runs without "
            "gradients, or detaches what it computes"
        )
    start = torch.zeros_like(weighted[0][:, 0])
    pooled = getattr(transformer, "global_pool", "token") != "token"
    if pooled or getattr(transformer, "cls_token", None) is None:
        patches = start[:, transformer.num_prefix_tokens :]
        patches += 1 / patches.shape[1]
    else:
        start[:, 0] = 1
    maps = patch_map(transformer, class_token_rollout(weighted, start=start))
    return maps if create_graph else maps.detach()
