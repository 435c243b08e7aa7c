import pytest
import torch
from torch import nn

from rslib import models

SIZES = {
    "resnet18": {"width": 8},
    "vit_small": {"dim": 24, "depth": 2, "heads": 3, "patch": 4},
    "alexnet": {"width": 0.1},
}


@pytest.mark.parametrize(("name", "size"), SIZES.items())
def test_images_to_logits(name, size):
    model = models.build(name, num_classes=7, **size).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)


def test_parameter_counts_at_the_papers_sizes():
    # ResNet-18: Table 1 says 11.2 M. ViT-Small at patch 2 and 10 classes, by hand: per layer
    # 12 d^2 + 13 d, 12 layers; patches 12 d + d; 257 positions; CLS token; final norm; head.
    assert models.count_parameters(models.build("resnet18")) == 11_173_962
    d = 384
    by_hand = 12 * (12 * d * d + 13 * d) + 13 * d + 257 * d + d + 2 * d + 10 * d + 10
    assert models.count_parameters(models.build("vit_small")) == by_hand == 21_402_250


def test_the_cifar_stem_keeps_resolution():
    network = models.build("resnet18", width=8).eval().network
    assert (network.conv1.kernel_size, network.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(network.maxpool, nn.Identity)
    assert network.forward_features(torch.rand(1, 3, 32, 32)).shape == (1, 64, 4, 4)


def test_patch_two_gives_256_tokens_and_a_class_token():
    network = models.build("vit_small", dim=24, depth=1, heads=3, patch=2).network
    assert network.patch_embed.num_patches == 16 * 16
    assert network.pos_embed.shape[1] == 257


def test_alexnet_has_five_convolutions_three_pools_two_hidden_layers():
    kinds = [type(module) for module in models.build("alexnet", width=0.1).modules()]
    assert kinds.count(nn.Conv2d) == 5
    assert kinds.count(nn.MaxPool2d) == 3
    assert kinds.count(nn.Linear) == 3  # two hidden, one output
    assert kinds.count(nn.Dropout) == 2


def test_normalization_is_the_first_layer_and_travels_with_the_weights():
    model = models.build("resnet18", width=8)
    mean = torch.tensor(models.CIFAR10_MEAN).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(model.normalize(mean), torch.zeros(1, 3, 2, 2))
    one_std_up = mean + torch.tensor(models.CIFAR10_STD).view(1, 3, 1, 1)
    torch.testing.assert_close(model.normalize(one_std_up), torch.ones(1, 3, 2, 2))
    assert {"normalize.mean", "normalize.std"} <= set(model.state_dict())


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [("resnet", {}, "did you mean 'resnet18'"), ("resnet18", {"wdth": 8}, "wdth")],
)
def test_bad_names_and_sizes_are_explained(name, size, said):
    with pytest.raises(ValueError, match=said):
        models.build(name, **size)
