"""Gradient-weighted rollout by hand, against plain loops in float64, and what it must react to."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import nn

from rslib import models
from rslib.saliency import (
    NotSaliency,
    attention_rollout,
    degenerate,
    gradcam,
    gradient_rollout,
    input_gradient,
    integrated_gradients,
)
from rslib.saliency.gradient_rollout import class_rollout
from rslib.saliency.methods import explain, methods
from rslib.saliency.rollout import attended, find_transformer


@pytest.fixture
def vit():
    torch.manual_seed(0)
    model = models.build("vit_small", dim=16, depth=2, heads=2, patch=8).eval()
    # As built, the tokens hardly differ, and neither do the classes' maps.
    for block in model.network.blocks:
        nn.init.normal_(block.attn.qkv.weight, std=0.5)
    nn.init.normal_(model.network.head.weight)
    return model


@pytest.fixture
def x():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def pooled(class_token=False):
    torch.manual_seed(0)
    network = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=4,
        class_token=class_token, global_pool="avg",
    )  # fmt: skip
    return nn.Sequential(network).eval()


def loops(network, images, classes, read):
    """R = E, R += mean over heads of max(0, G * A) R; entry by entry, ``read`` takes the map."""
    found = []
    for image, label in zip(images, classes, strict=True):
        kept = []
        tokens = network._pos_embed(network.patch_embed(image[None]))
        for block in network.blocks:
            normed = block.norm1(tokens)
            n, heads = normed.shape[1], block.attn.num_heads
            width = normed.shape[2] // heads
            q, k, v = block.attn.qkv(normed)[0].chunk(3, dim=1)
            outputs = []
            for head in range(heads):
                part = slice(head * width, (head + 1) * width)
                attention = torch.softmax(q[:, part] @ k[:, part].T / math.sqrt(width), 1)
                attention.retain_grad()
                kept.append(attention)
                outputs.append(attention @ v[:, part])
            tokens = tokens + block.attn.proj(torch.cat(outputs, 1))[None]
            tokens = tokens + block.mlp(block.norm2(tokens))
        network.forward_head(network.norm(tokens))[0, int(label)].backward()
        product = np.eye(n)
        for layer in range(len(network.blocks)):
            mean = np.zeros((n, n))
            for attention in kept[layer * heads : (layer + 1) * heads]:
                a, g = attention.detach().numpy(), attention.grad.numpy()
                for i in range(n):
                    for j in range(n):
                        mean[i, j] += max(0.0, a[i, j] * g[i, j]) / heads
            product = product + mean @ product
        found.append(read(product).reshape(4, 4))
    return np.stack(found)


def test_one_head_and_two_tokens_by_hand():
    # A class token and one patch. The logit is 2 A01 - A00 in layer 1, and 3 A01 in layer 2.
    first = torch.tensor([[[[0.6, 0.4], [0.5, 0.5]]]], requires_grad=True)
    second = torch.tensor([[[[0.2, 0.8], [0.1, 0.9]]]], requires_grad=True)
    logit = 2 * first[:, 0, 0, 1] - first[:, 0, 0, 0] + 3 * second[:, 0, 0, 1]
    logit = logit + 4 * first[:, 0, 1, 1]
    net = SimpleNamespace(
        cls_token=0, num_prefix_tokens=1, patch_embed=SimpleNamespace(grid_size=(1, 1))
    )
    # Layer 1: A' = [[0, 0.8], [0, 2]]; layer 2: [[0, 2.4], [0, 0]].
    # R = (E + A2') (E + A1'), row 0: (1, 2.4) (E + A1') = (1, 0.8 + 2.4 * 3).
    maps = class_rollout(net, logit.view(1, 1), [first, second], torch.zeros(1, dtype=int))
    assert maps.tolist() == [[[pytest.approx(8.0)]]]


def test_plain_loops(vit, x):
    vit, x = vit.double(), x.double()
    classes = torch.tensor([3, 7])
    expected = loops(vit.network, vit.normalize(x), classes, lambda r: r[0, 1:])
    assert gradient_rollout(vit, x, classes).numpy() == pytest.approx(expected, rel=1e-9)
    assert expected.std() > 0


@pytest.mark.parametrize("class_token", [False, True])
def test_plain_loops_where_patches_are_pooled(class_token, x):
    model, x, classes = pooled(class_token).double(), x.double(), torch.tensor([0, 2])
    first = int(class_token)
    expected = loops(model[0], x, classes, lambda r: r[first:, first:].mean(0))
    assert gradient_rollout(model, x, classes).numpy() == pytest.approx(expected, rel=1e-9)
    if not class_token:
        assert methods(model)[:2] == ("gradient_rollout", "gradcam")
        for method in (None, "gradcam"):
            assert explain(model, x, method=method).shape == (2, 32, 32)
        with pytest.raises(ValueError, match="no class token.*gradient_rollout"):
            explain(model, x, method="rollout")


def test_the_class_decides_and_its_own_map_only(vit, x):
    predicted = vit(x).argmax(1)
    other = (predicted + 1) % 10
    own = gradient_rollout(vit, x)
    assert torch.equal(own, gradient_rollout(vit, x, predicted))
    assert not torch.allclose(own, gradient_rollout(vit, x, other))
    # Each image's class is its own.
    mixed = gradient_rollout(vit, x, torch.stack([predicted[0], other[1]]))
    assert torch.allclose(mixed[0], own[0])
    assert torch.allclose(gradient_rollout(vit, x[:1]), own[:1], rtol=1e-4, atol=1e-9)
    # Where the logit is constant there is no gradient, and no map.
    with torch.no_grad():
        vit.network.head.weight[predicted[0]] = 0
    assert degenerate(gradient_rollout(vit, x[:1], predicted[:1])).all()
    assert (gradient_rollout(vit, x[:1], predicted[:1]) == 0).all()


def test_a_model_is_given_back_as_it_was(vit, x):
    vit.train()
    for parameter in vit.parameters():
        parameter.requires_grad_(False)
    fused = [block.attn.fused_attn for block in vit.network.blocks]
    with torch.no_grad():
        frozen = gradient_rollout(vit, x)
    assert not frozen.requires_grad
    assert not x.requires_grad
    assert vit.training
    assert [block.attn.fused_attn for block in vit.network.blocks] == fused
    assert not any(m._forward_pre_hooks for m in vit.modules())
    # Grad-CAM of a layer that needs a backward pass, too.
    layer = "network.blocks.1.norm1"
    cam = gradcam(vit, x, layer=layer)
    for parameter in vit.parameters():
        parameter.requires_grad_()
    assert torch.allclose(gradient_rollout(vit, x), frozen)
    assert torch.allclose(gradcam(vit, x, layer=layer), cam)
    assert all(parameter.grad is None for parameter in vit.parameters())
    with torch.inference_mode():
        assert torch.allclose(gradient_rollout(vit, x.clone()), frozen)


@pytest.mark.slow
def test_a_compiled_model_is_explained_as_it_was_written(vit, x):
    expected = gradient_rollout(vit, x), attention_rollout(vit, x).detach()
    compiled = torch.compile(vit, backend="aot_eager")
    compiled(x)
    assert torch.allclose(gradient_rollout(compiled, x), expected[0])
    assert torch.allclose(attention_rollout(compiled, x).detach(), expected[1])


def test_a_loss_of_the_map_has_the_slope_of_finite_differences(vit, x):
    vit, x, classes = vit.double(), x.double(), torch.tensor([3, 7])

    def loss():
        return gradient_rollout(vit, x, classes, create_graph=True).square().sum()

    weight = vit.network.blocks[0].attn.qkv.weight
    (slope,) = torch.autograd.grad(loss(), weight)
    entry = divmod(int(slope.abs().argmax()), slope.shape[1])
    with torch.no_grad():
        weight[entry] += 1e-6
        above = loss()
        weight[entry] -= 2e-6
        below = loss()
    assert slope[entry].item() == pytest.approx(((above - below) / 2e-6).item(), rel=1e-4)


class Detached(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner, self.head = inner, nn.Linear(10, 10)

    def forward(self, x):
        return self.head(self.inner(x).detach())


class Twice(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + self.inner(x)


def test_bad_input_is_refused(vit, x):
    with pytest.raises(ValueError, match="no timm vision transformer.*gradcam"):
        gradient_rollout(models.build("resnet18", width=8), x)
    for method in (gradient_rollout, gradcam):
        options = {"layer": "inner.network.norm"} if method is gradcam else {}
        with pytest.raises(ValueError, match="no gradient leads"):
            method(Detached(vit), x, **options)
    for method in (gradient_rollout, attention_rollout):
        with pytest.raises(ValueError, match="4 attention matrices .* of 2 layers"):
            method(Twice(vit), x)
    for method in (gradient_rollout, input_gradient, integrated_gradients):
        for target in (torch.tensor([0, 10]), torch.tensor([-1, 0])):
            with pytest.raises(ValueError, match="classes run from 0 to 9"):
                method(vit, x, target)
        with pytest.raises(ValueError, match="a class, or int64"):
            method(vit, x, torch.tensor([0.0, 1.0]))
    with pytest.raises(NotSaliency, match="1 of 2 saliency maps hold NaN"):
        gradient_rollout(vit, torch.stack([x[0], x[1] * torch.nan]))
    assert find_transformer(vit) is vit.network
    assert len(attended(vit, x, heads=True)[2][0].shape) == 4
