"""Attention rollout against a three-token example by hand and an independent loop."""

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import mse_loss

from rslib import models
from rslib.saliency import attention_rollout, gradcam, rollout
from rslib.saliency.rollout import attention_matrices, class_token_rollout, find_transformer


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return models.build("vit_small", dim=24, depth=3, heads=3, patch=8).eval()


@pytest.fixture
def batch():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_three_tokens_by_hand():
    first = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
    second = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]])
    # (E + A2)(E + A1): row 0 of E + A2 is (1, 0, 1), so row 0 is (1.5, 0.5, 0) + (0, 0, 2).
    product = rollout(torch.stack([first, second]))
    expected = torch.tensor([[[1.5, 0.5, 2.0], [0.0, 4.0, 0.0], [1.5, 0.5, 2.0]]])
    assert torch.allclose(product, expected)
    assert torch.allclose(class_token_rollout([first, second]), expected[:, 0])
    assert torch.allclose(rollout(torch.stack([first, second]), normalise=True), expected / 4)


def test_rows_of_an_average_sum_to_one():
    attentions = torch.rand(4, 2, 6, 6, dtype=torch.float64).softmax(-1)
    assert torch.allclose(rollout(attentions, normalise=True).sum(-1), torch.ones(2, 6).double())
    assert torch.allclose(rollout(attentions).sum(-1), torch.full((2, 6), 16.0).double())


def test_the_class_tokens_row_is_that_of_the_full_product(vit, batch):
    with torch.no_grad(), attention_matrices(find_transformer(vit)) as attentions:
        vit(batch)
    whole = rollout(torch.stack(attentions))
    assert torch.allclose(class_token_rollout(attentions), whole[:, 0], rtol=1e-5)
    assert torch.allclose(attention_rollout(vit, batch).flatten(1), whole[:, 0, 1:], rtol=1e-5)
    ratio = attention_rollout(vit, batch, normalise=True) / attention_rollout(vit, batch)
    assert torch.allclose(ratio, torch.full_like(ratio, 2.0**-3))


def test_an_independent_loop_over_images_and_heads(vit, batch):
    network = vit.network
    maps = []
    with torch.no_grad():
        for image in batch:
            tokens = network.patch_embed(vit.normalize(image[None]))
            tokens = network._pos_embed(tokens)
            product = np.eye(17)
            for block in network.blocks:
                normed = block.norm1(tokens)[0]
                q, k, _ = block.attn.qkv(normed).chunk(3, dim=1)
                heads = [
                    torch.softmax(q[:, s : s + 8] @ k[:, s : s + 8].T / 8**0.5, 1)
                    for s in (0, 8, 16)
                ]
                product = (np.eye(17) + torch.stack(heads).mean(0).numpy()) @ product
                tokens = block(tokens)
            maps.append(product[0, 1:].reshape(4, 4))
    assert np.allclose(attention_rollout(vit, batch).detach().numpy(), maps, rtol=1e-4)


def test_fused_attention_is_switched_off_and_on_again(vit, batch):
    layers = [block.attn for block in vit.network.blocks]
    before = [layer.fused_attn for layer in layers]
    with torch.no_grad():
        fused = vit(batch)
        with attention_matrices(find_transformer(vit)) as attentions:
            assert not any(layer.fused_attn for layer in layers)
            plain = vit(batch)
    assert torch.allclose(fused, plain, atol=1e-5)
    for attention in attentions:
        assert torch.allclose(attention.sum(-1), torch.ones(2, 17), atol=1e-5)
    assert [layer.fused_attn for layer in layers] == before
    with pytest.raises(RuntimeError, match="stop"), attention_matrices(find_transformer(vit)):
        raise RuntimeError("stop")
    assert [layer.fused_attn for layer in layers] == before
    assert not any(module._forward_pre_hooks for module in vit.modules())


def test_a_loss_of_the_map_trains_all_that_attention_depends_on(vit, batch):
    vit.train()
    maps = attention_rollout(vit, batch)
    mse_loss(torch.sigmoid(maps), torch.ones_like(maps)).backward()
    assert vit.training
    last = vit.network.blocks[-1]
    for name, parameter in vit.named_parameters():
        after = name.startswith(("network.norm.", "network.head", "network.fc_norm"))
        # What follows the last attention has no part in the map.
        late = any(parameter is p for m in (last.mlp, last.norm2, last.attn.proj)
                   for p in m.parameters())  # fmt: skip
        assert (parameter.grad is not None and parameter.grad.abs().sum() > 0) != (after or late), (
            name
        )


def test_any_transformer_of_timm_with_a_class_token():
    torch.manual_seed(0)
    deit = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=5).eval()
    with torch.no_grad():
        maps = attention_rollout(deit, torch.rand(1, 3, 224, 224))
    assert maps.shape == (1, 14, 14)  # two tokens before the patches


def test_models_without_it_are_refused(batch):
    resnet = models.build("resnet18", width=8)
    with pytest.raises(ValueError, match="no timm vision transformer.*gradcam"):
        attention_rollout(resnet, batch)
    pooled = timm.models.vision_transformer.VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, class_token=False,
        global_pool="avg",
    )  # fmt: skip
    with pytest.raises(ValueError, match="no class token"):
        attention_rollout(nn.Sequential(pooled), batch)
    with pytest.raises(ValueError, match=r"\(L, B, n\+1, n\+1\) is needed"):
        rollout(torch.zeros(2, 3, 4, 5))


def test_gradcam_on_a_named_layer_of_a_transformer_takes_its_patches(batch):
    vit = models.build("vit_small", dim=16, depth=1, heads=2, patch=8)
    for layer in ("network.patch_embed.proj", "network.blocks.0.norm1"):
        assert gradcam(vit, batch, layer=layer).shape == (2, 4, 4)
    with pytest.raises(ValueError, match="feature map"):
        gradcam(vit, batch, layer="network.head")
