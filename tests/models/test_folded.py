import itertools

import pytest
import torch
from torch import nn

from rslib import models
from rslib.attacks import attack_mode, run_pgd
from rslib.models.device import place
from rslib.models.folded import Bucketed, Twins, folded, sizes


def with_statistics(model):
    """Batch norm as after training: no statistic, scale or shift at its neutral value."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data):
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
            for tensor in (module.running_var, module.weight.data):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return model.eval()


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return place(with_statistics(models.build("resnet18", width=8)), torch.device("cpu"))


@pytest.fixture
def x():
    images = torch.rand(20, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


def test_folding_keeps_the_logits_and_leaves_no_batch_norm(resnet, x):
    before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    twin = folded(resnet, x)
    assert twin is not resnet
    assert not any(isinstance(module, nn.BatchNorm2d) for module in twin.modules())
    with torch.no_grad():
        torch.testing.assert_close(twin(x), resnet(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[name], tensor) for name, tensor in resnet.state_dict().items())


def test_folding_by_hand():
    layer = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0), nn.Flatten())
    layer[0].weight.data.fill_(2.0)
    layer[1].running_mean.fill_(1.0)
    layer[1].running_var.fill_(4.0)
    layer[1].weight.data.fill_(3.0)
    layer[1].bias.data.fill_(0.5)
    twin = folded(layer.eval(), torch.rand(2, 1, 2, 2))
    # (2x - 1) / 2 * 3 + 0.5 = 3x - 1
    torch.testing.assert_close(twin(torch.ones(1, 1, 1, 1)), torch.tensor([[2.0]]))


def test_a_model_in_training_mode_is_folded_for_eval_mode_and_left_in_training(resnet, x):
    with torch.no_grad():
        expected = resnet(x)
    twin = folded(resnet.train(), x)
    assert resnet.training and resnet.network.bn1.training and not twin.training
    torch.testing.assert_close(twin(x).detach(), expected, rtol=1e-5, atol=1e-5)


class Branching(nn.Module):
    """Code that a tracer cannot follow."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) if x.sum() > 0 else -self.model(x)


class Counting(nn.Module):
    """A net that answers each call differently, which a copy traced once cannot do."""

    calls = itertools.count(1)

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x) * next(self.calls)


@pytest.mark.parametrize("wrapper", [Branching, Counting])
def test_what_cannot_be_folded_equally_is_attacked_as_it_is(resnet, x, wrapper):
    model = wrapper(resnet)
    assert folded(model, x) is model


def test_nothing_to_fold(x):
    vit = models.build("vit_small", dim=24, depth=1, heads=3, patch=8).eval()
    assert folded(vit, x) is vit


def test_the_same_images_are_broken_as_by_the_model_itself(resnet, x):
    with torch.no_grad():
        y = resnet(x).argmax(1)
    options = {"eps": 2 / 255, "step_size": 0.5 / 255, "num_steps": 5}
    plain, fast = (
        run_pgd(model, x, y, **options, generator=torch.Generator().manual_seed(3))
        for model in (resnet, folded(resnet, x))
    )
    assert 0 < int(plain.fooled.sum()) < len(x)
    assert torch.equal(plain.fooled, fast.fooled)
    # Steps go along signs: where a gradient is zero but for rounding, they may part.
    assert (plain.x_adv != fast.x_adv).double().mean() < 1e-3


def test_a_twin_is_made_once_for_each_model(resnet, x):
    twins = Twins(20)
    assert twins.of(resnet, x) is twins.of(resnet, x)
    assert twins.of(place(models.build("resnet18", width=8), x.device).eval(), x) is not twins.of(
        resnet, x
    )


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(250, (16, 32, 63, 125, 250)), (1000, (32, 63, 125, 250, 500, 1000)), (16, (16,)), (7, (7,))],
)
def test_sizes_halve(largest, expected):
    assert sizes(largest) == expected


@pytest.mark.slow
def test_padded_batches_have_the_logits_and_gradients_of_their_own_images(resnet, x):
    twin = Bucketed(resnet, (4, 8), backend="eager")
    for n in (1, 4, 5, 8, 20):
        part = x[:n].clone().requires_grad_()
        with attack_mode(resnet), attack_mode(twin):
            expected, found = resnet(part), twin(part)
            gradients = [
                torch.autograd.grad(logits.square().sum(), part)[0] for logits in (expected, found)
            ]
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.slow
def test_a_shrinking_batch_compiles_once_for_each_size(resnet, x):
    torch._dynamo.reset()
    seen = []

    def backend(module, inputs):
        seen.append(next(len(value) for value in inputs if value.shape[-2:] == (32, 32)))
        return module.forward

    twin = Bucketed(resnet, (5, 10, 20), backend=backend)
    with attack_mode(twin), torch.no_grad():
        for n in range(20, 0, -1):
            twin(x[:n])
    assert sorted(seen) == [5, 10, 20]
