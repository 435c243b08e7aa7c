"""Grad-CAM against captum and pytorch-grad-cam; attention rollout against the whole product."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite, gather
from benchmarks.plain import rollout as plain
from rslib import settings
from rslib.saliency import attention_rollout, resize
from rslib.saliency import gradcam as our_gradcam
from rslib.saliency.rollout import attention_matrices, class_token_rollout, find_transformer

NET, TRANSFORMER = "resnet18-standard", "vit_small-standard"
LAYER = "network.layer4"
FULL = "full product"
SEED = 0

_MAPS, _ROWS = 1e-3, 1e-5


# --- Grad-CAM ----------------------------------------------------------------------------------


def gradcam(n: int, *, device: torch.device = CPU) -> Suite:
    """Grad-CAM of the last layer for the labels, at the resolution of the image, n in one batch."""
    x, y = subjects.images(n, device=device)
    peers, missing = gather(
        {"captum": lambda: _captum(x, y), "pytorch-grad-cam": lambda: _pytorch_grad_cam(x, y)}
    )
    row = Row(
        "Grad-CAM of the last layer",
        [_closed_form(x, y), *peers],
        same_maps,
        targets={"pytorch-grad-cam": 3.0},
        missing=missing,
        moved=x[0].nbytes + x[0, 0].nbytes,  # the image and its map
        note="forward pass, map and its resizing to the image; rslib needs no backward pass here",
    )
    return Suite([row])


def _closed_form(x: Tensor, y: Tensor) -> Contender:
    net = subjects.another(NET, x.device)

    def run() -> Tensor:
        return resize(our_gradcam(net, x, y, layer=LAYER), x.shape[2:])

    return Contender(OURS, run, len(x), net)


def _captum(x: Tensor, y: Tensor) -> Contender:
    from captum.attr import LayerAttribution, LayerGradCam

    net = subjects.another(NET, x.device)
    method = LayerGradCam(net, net.get_submodule(LAYER))

    def run() -> Tensor:
        maps = method.attribute(x, target=y, relu_attributions=True).detach()
        return LayerAttribution.interpolate(maps, x.shape[2:], "bilinear").squeeze(1)

    return Contender("captum", run, len(x), net)


def _pytorch_grad_cam(x: Tensor, y: Tensor) -> Contender:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net = subjects.another(NET, x.device)
    wanted = [ClassifierOutputTarget(label) for label in y.tolist()]

    def run() -> Tensor:
        with GradCAM(model=net, target_layers=[net.get_submodule(LAYER)]) as cam:
            return torch.from_numpy(cam(input_tensor=x, targets=wanted))

    note = "also rescales each map to span 0 to 1, and gives them as NumPy arrays"
    return Contender("pytorch-grad-cam", run, len(x), net, note=note)


def same_maps(answers: Mapping[str, Tensor]) -> str:
    """Whether the maps agree, once each spans 0 to 1 as pytorch-grad-cam's do.

    Raises:
        Disagreement: they do not.
    """
    return _close({who: _spanning(maps) for who, maps in answers.items()}, _MAPS, "maps")


def _spanning(maps: Tensor) -> Tensor:
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / (maps.amax((1, 2), keepdim=True) + 1e-7)


# --- rollout -----------------------------------------------------------------------------------


def rollout(n: int, large: int, *, device: torch.device = CPU) -> Suite:
    """The class token's rollout: the product by itself, and with the forward pass.

    Args:
        n: images of the published narrow transformer, in one batch.
        large: images of one of the paper's size, whose attention is drawn at random, since the
            product takes as long whatever it says.
        device: where they are.
    """
    x, _ = subjects.images(n, device=device)
    net = subjects.another(TRANSFORMER, device)
    with torch.inference_mode(), attention_matrices(find_transformer(net)) as attentions:
        net(x)
    paper = settings.load("paper").vit_small
    tokens = (x.shape[-1] // paper.patch) ** 2 + 1
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.randn(paper.depth, large, tokens, tokens, generator=generator).softmax(-1)
    return Suite(
        [
            _product("published ViT", list(attentions)),
            _product("a ViT of the paper's size", list(drawn.to(device))),
            _with_forward_pass(x),
        ]
    )


def _product(whose: str, attentions: list[Tensor]) -> Row:
    n = len(attentions[0])
    return Row(
        f"attention rollout, the product alone, {whose}",
        [
            Contender(OURS, lambda: class_token_rollout(attentions), n),
            Contender(FULL, lambda: plain.class_row(attentions), n),
        ],
        same_rows,
        targets={FULL: 10.0},
        # Every layer's attention and the row that is made.
        moved=sum(each[0].nbytes for each in attentions) + attentions[0][0, 0].nbytes,
        note=f"{len(attentions)} layers of {attentions[0].shape[-1]} tokens, attention at hand",
        shortfall="the product's work grows with the cube of the number of tokens, the row's with "
        "the square, and here tokens are few",
    )


def _with_forward_pass(x: Tensor) -> Row:
    ours, theirs = (subjects.another(TRANSFORMER, x.device) for _ in range(2))
    tokens = find_transformer(ours).num_prefix_tokens

    @torch.inference_mode()
    def run_ours() -> Tensor:
        return attention_rollout(ours, x).flatten(1)

    @torch.inference_mode()
    def run_plain() -> Tensor:
        with attention_matrices(find_transformer(theirs)) as attentions:
            theirs(x)
        return plain.class_row(attentions)[:, tokens:]

    return Row(
        "attention rollout with its forward pass",
        [
            Contender(OURS, run_ours, len(x), ours),
            Contender(FULL, run_plain, len(x), theirs),
        ],
        same_rows,
        moved=x[0].nbytes,
        note="most of the time is the forward pass, which both have",
    )


def same_rows(answers: Mapping[str, Tensor]) -> str:
    """Whether the class token's rows agree.

    Raises:
        Disagreement: they do not.
    """
    return _close(answers, _ROWS, "rows")


def _close(answers: Mapping[str, Tensor], tolerance: float, what: str) -> str:
    """The largest difference between ours and any other, beside ours' largest value."""
    ours, apart = answers[OURS].cpu(), 0.0
    for who, theirs in answers.items():
        if who == OURS:
            continue
        theirs = theirs.cpu()
        if theirs.shape != ours.shape:
            raise Disagreement(f"{what} of {who} have shape {tuple(theirs.shape)}")
        difference = float((theirs - ours).abs().max() / ours.abs().max())
        if not difference <= tolerance:
            raise Disagreement(f"{what} of {who} differ by {difference:.2g} of the largest value")
        apart = max(apart, difference)
    return f"{what} differ by at most {apart:.0e} of the largest value"
