import pytest
import torch
from torch import nn

from rslib import models
from rslib.run.published import run_of, weights
from rslib.store import records
from rslib.training import checkpoint

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


# Of a published edition


@pytest.fixture
def published(tmp_path):
    """A published edition of one tiny model with weights; returns its root and its run."""
    root = tmp_path / "book" / "published"
    (root / "mine").mkdir(parents=True)
    (root / "mine" / "params.yaml").write_text(
        "profile: mine\nsettings: {resnet18: {width: 8}, data: {name: shapes}, device: cpu}\n"
    )
    run = run_of(root / "mine", 1)
    publish(run, RESNET)
    return tmp_path, run


def publish(run, name):
    """Write a model's weights in half precision, with what is known of it; returns their folder."""
    folder = run.directory / "models" / f"{name}-{records.key(**run.model_inputs(name))}"
    halves = {
        key: value.half() if value.is_floating_point() else value
        for key, value in checkpoint.weights_of(run.build(name)).items()
    }
    checkpoint.save_weights(folder / "best.safetensors", halves, {})
    digest = records.file_digest(folder / "best.safetensors")
    records.write_json(folder / "model.json", {"weights": {"best": digest}})
    return folder


RESNET = "resnet18-standard"


def test_a_published_model_is_loaded_in_full_precision(published):
    root, run = published
    model = models.load_published("mine", RESNET, seed=1, root=root)
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    built = run.build(RESNET)
    assert torch.equal(model.network.fc.weight, built.network.fc.weight.half().float())


def test_of_models_with_one_name_the_one_on_the_editions_images_is_loaded(published):
    root, run = published
    other = run.under({"data": {"background_correlation": 0.5}})
    publish(other, RESNET)
    assert weights(run, RESNET) != weights(other, RESNET)
    models.load_published("mine", RESNET, seed=1, root=root)
    publish(other, "vit_small-standard")  # of the other images alone
    with pytest.raises(records.RecordError, match=f"Weights there are of: {RESNET}$"):
        models.load_published("mine", "vit_small-standard", seed=1, root=root)


@pytest.mark.parametrize(
    ("asked", "seed", "told"),
    [
        (("other", RESNET), 1, "no edition 'other' with seed 1 is published.*mine seed1"),
        (("mine", RESNET), 0, "no edition 'mine' with seed 0 is published.*mine seed1"),
        (("mine", "resnet18-adversarial"), 1, f"has no such model. Weights .* of: {RESNET}"),
        (("mine", "resnet18-nonsense"), 1, f"has no such model. Weights .* of: {RESNET}"),
    ],
)
def test_what_is_not_published_is_told_with_what_is(published, asked, seed, told):
    with pytest.raises(records.RecordError, match=told):
        models.load_published(*asked, seed=seed, root=published[0])


def test_weights_that_stayed_behind_or_were_replaced_are_told(published):
    root, run = published
    path = weights(run, RESNET)
    path.write_bytes(path.read_bytes()[:-4] + b"\x00\x3c\x00\x3c")
    with pytest.raises(records.RecordError, match="is not the file its model.json describes"):
        models.load_published("mine", RESNET, seed=1, root=root)
    path.unlink()
    with pytest.raises(records.RecordError, match="only its history and records.* of: no model"):
        models.load_published("mine", RESNET, seed=1, root=root)


def test_a_model_of_the_projects_own_edition_takes_one_line():
    model = models.load_published("cpu", "resnet18-adversarial")
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
