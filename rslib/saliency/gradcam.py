"""Grad-CAM: feature maps weighted by what they do to a class's score (paper 3.3.1, eq. 5-6).

Selvaraju et al., "Grad-CAM: Visual explanations from deep networks via gradient-based
localization", ICCV 2017, arXiv:1610.02391.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rslib.models import eval_mode
from rslib.saliency.rollout import find_transformer
from rslib.settings.nearest import nearest


def gradcam(
    model: nn.Module,
    x: Tensor,
    target: int | Tensor | None = None,
    *,
    layer: str | nn.Module | None = None,
    relu: bool = True,
    create_graph: bool = False,
) -> Tensor:
    """Grad-CAM of a batch.

    Args:
        model: Images to logits (B, classes). It runs in eval mode and is given back as it was.
        x: Images (B, C, H, W) in [0, 1].
        target: The class explained: one for all, or (B,) int64; None takes the predicted one.
        layer: The layer whose feature maps are weighted, a module or its name in
            ``model.named_modules()``; None takes the last feature map before the classifier. Of a
            timm vision transformer's, such as ``blocks.11.norm1``, the patches' tokens are taken.
        relu: Keep positive evidence only, as equation 5 does; otherwise the signed map.
        create_graph: Keep the graph, so that a loss of the map can be minimized.

    Returns:
        Maps (B, h, w) at the layer's resolution, in units of the logits; on the device of x.

    Raises:
        ValueError: If the model has no feature map to take, the layer's output is neither
            (B, K, h, w) nor a transformer's tokens, the logits do not depend on it, or a target is
            out of range.
        KeyError: If no module has the layer's name.
    """
    with eval_mode(model), torch.inference_mode(False), torch.enable_grad():
        x = x.clone() if x.is_inference() else x
        found = named_layer(model, layer) if layer is not None else last_feature_layer(model, x)
        with captured(found) as outputs:
            logits = model(x)
            if not create_graph and all(not getattr(each, "requires_grad", 1) for each in outputs):
                outputs.clear()  # weights up to there are frozen: gradients begin at the images
                logits = model(leaf(x))
        if len(outputs) != 1:
            raise ValueError(
                f"the layer ran {len(outputs)} times in one forward pass; Grad-CAM needs one that "
                "runs once"
            )
        features, chosen = outputs[0], check_target(target, logits)
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            form = type(features).__name__
            if isinstance(features, Tensor):
                form = tuple(features.shape)
            raise ValueError(f"the layer returned {form}; a feature map (B, K, h, w) is needed")
        cam = activation_map(model, features, logits, chosen, create_graph=create_graph)
        cam = cam.relu() if relu else cam
    return cam if create_graph else cam.detach()


def activation_map(
    model: nn.Module, features: Tensor, logits: Tensor, target: Tensor, *, create_graph: bool
) -> Tensor:
    """The signed map (B, h, w) from one forward pass, in closed form where that is exact.

    Where the layer is followed by average pooling and one linear map, y_c = sum_k W_ck mean(A_k) +
    b_c, so equation 6 gives alpha_k = W_ck / (h w): no backward pass is needed, and a loss of the
    map has first-order gradients. Features, (B, K, h, w), or a transformer's tokens (B, n, K) with
    the patches last, hold the graph to the logits (B, classes); targets are int64 (B,).

    Raises:
        ValueError: If the logits do not depend on the features, or the model of tokens is no timm
            vision transformer.
    """
    if features.ndim == 3:
        grid = find_transformer(model).patch_embed.grid_size
        return general_form(features, logits, target, grid=grid, create_graph=create_graph)
    head = linear_head(model, features, logits)
    if head is None:
        return general_form(features, logits, target, create_graph=create_graph)
    places = features.shape[2] * features.shape[3]
    return torch.einsum("bk,bkhw->bhw", head.weight[target], features) / places


def general_form(
    features: Tensor,
    logits: Tensor,
    target: Tensor,
    *,
    grid: tuple[int, int] | None = None,
    create_graph: bool = False,
) -> Tensor:
    """Equation 5 without its ReLU, for any layer: the weights of equation 6 by a backward pass.

    Takes, returns and raises what :func:`activation_map` does. Of tokens, ``grid`` says how the
    patches lie; ``create_graph`` lets the weights keep their own graph (second-order gradients).
    """
    score = logits.gather(1, target.unsqueeze(1)).sum()
    gradient = None
    if score.requires_grad and features.requires_grad:
        (gradient,) = torch.autograd.grad(
            score, features, create_graph=create_graph, retain_graph=True, allow_unused=True
        )
    if gradient is None:
        raise ValueError(
            "no gradient leads from the logits to this layer's output: name another layer, or look "
            "for a part of the model that runs without gradients"
        )
    if grid is None:
        return (gradient.mean((2, 3), keepdim=True) * features).sum(1)
    patches = slice(features.shape[1] - grid[0] * grid[1], None)
    weights = gradient[:, patches].mean(1, keepdim=True)
    return (weights * features[:, patches]).sum(2).unflatten(1, grid)


def linear_head(model: nn.Module, features: Tensor, logits: Tensor) -> nn.Linear | None:
    """The model's last linear layer, if the logits are that layer's of the pooled features."""
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1].in_features != features.shape[1]:
        return None
    with torch.no_grad():
        pooled = linear[-1](features.mean((2, 3)))
    if pooled.shape != logits.shape:
        return None
    # Float32 sums in another order stay well within this.
    same = torch.allclose(pooled, logits.detach(), rtol=1e-4, atol=1e-4)
    return linear[-1] if same else None


def named_layer(model: nn.Module, layer: str | nn.Module) -> nn.Module:
    """A layer by its name, or itself; a KeyError names near ones."""
    if isinstance(layer, nn.Module):
        return layer
    modules = dict(model.named_modules())
    if layer not in modules:
        raise KeyError(f"the model has no layer {layer!r}{nearest(layer, modules)}")
    return modules[layer]


def last_feature_layer(model: nn.Module, x: Tensor) -> nn.Module:
    """The module that gives the last feature map (B, K, h, w), of more than one place, for images.

    Raises:
        ValueError: If there is none, or if tokens (B, n, K) come after it, as in a transformer.
    """
    seen: list[tuple[nn.Module, int]] = []

    def note(module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor):
            return
        if output.ndim == 3 or (output.ndim == 4 and output[0, 0].numel() > 1):
            seen.append((module, output.ndim))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            model(x[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not seen or seen[-1][1] == 3:
        reason = "ends in tokens, as a transformer does" if seen else "has no convolution"
        raise ValueError(
            f"the model {reason}, so there is no last feature map: name a layer that returns "
            "(B, K, h, w), or use attention_rollout"
        )
    return seen[-1][0]


@contextmanager
def captured(layer: nn.Module) -> Iterator[list[Tensor]]:
    """Collect a layer's outputs while the context lasts; the hook goes with it, errors included."""
    outputs: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        hook.remove()


def leaf(x: Tensor) -> Tensor:
    """Images that gradients can be traced back to, also where all of a model's weights are frozen.

    They are the images themselves, or share their values. Not for inference tensors.
    """
    return x if x.requires_grad else x.detach().requires_grad_()


def check_target(target: int | Tensor | None, logits: Tensor) -> Tensor:
    """The class explained for each image, int64 (B,): the target, or that of the largest logit.

    Raises:
        ValueError: If the target is no class of the logits (B, classes), or not one for each.
    """
    if target is None:
        return logits.detach().argmax(1)
    chosen = torch.as_tensor(target, device=logits.device)
    chosen = chosen.expand(len(logits)) if chosen.ndim == 0 else chosen
    if chosen.dtype != torch.int64 or chosen.shape != logits.shape[:1]:
        raise ValueError(
            f"target is {chosen.dtype} {tuple(chosen.shape)}; a class, or int64 ({len(logits)},), "
            "is needed"
        )
    for value in (int(chosen.min()), int(chosen.max())):
        if not 0 <= value < logits.shape[1]:
            raise ValueError(f"target holds {value}; classes run from 0 to {logits.shape[1] - 1}")
    return chosen
