"""Whether maps are true to the model, on a model whose true map is known."""

import pytest
import torch
from torch import nn

from rslib.saliency import (
    deletion_curve,
    gradcam,
    infidelity,
    input_gradient,
    insertion_curve,
    integrated_gradients,
    randomization_check,
    rank_correlation,
)


class Corner(nn.Module):
    """The logit of class 1 is ten times the brightness of the top left quarter; class 0 is 0."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x):
        score = self.scale * x[:, :, :2, :2].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.fixture
def x():
    x = torch.full((2, 3, 4, 4), 0.1)
    x[:, :, :2, :2] = 0.9
    return x


TRUE = torch.zeros(2, 4, 4)
TRUE[:, :2, :2] = 1
TARGET = torch.tensor([1, 1])


def test_attributions_find_the_corner(x):
    for method in (input_gradient, integrated_gradients):
        maps = method(Corner(), x, TARGET)
        assert maps.shape == (2, 4, 4)
        assert (maps[:, :2, :2] > 0).all() and maps[:, 2:].abs().sum() == 0
    # Complete: what Integrated Gradients gives adds up to the logit.
    total = integrated_gradients(Corner(), x, TARGET).sum((1, 2))
    assert torch.allclose(total, torch.full((2,), 9.0), atol=1e-4)
    assert torch.allclose(
        integrated_gradients(Corner(), x), integrated_gradients(Corner(), x, TARGET)
    )


def test_deletion_falls_and_insertion_rises_at_once_for_the_true_map(x):
    deleted = deletion_curve(Corner(), x, TRUE, TARGET, steps=4)
    inserted = insertion_curve(Corner(), x, TRUE, TARGET, steps=4)
    full, mean = torch.sigmoid(torch.tensor(9.0)), torch.sigmoid(torch.tensor(10 * 0.3))
    assert torch.allclose(deleted[:, 0], full.expand(2))
    assert torch.allclose(deleted[:, 1:], mean.expand(2, 4))  # the first quarter was all of it
    assert torch.allclose(inserted[:, 0], mean.expand(2))
    assert torch.allclose(inserted[:, 1:], full.expand(2, 4))
    wrong = deletion_curve(Corner(), x, -TRUE, TARGET, steps=4)
    assert torch.allclose(wrong[:, :4], full.expand(2, 4))


def test_curves_end_where_they_must_whatever_the_ties(x):
    constant = torch.zeros(2, 4, 4)
    down = deletion_curve(Corner(), x, constant, TARGET, steps=8)
    assert torch.equal(down, deletion_curve(Corner(), x, constant, TARGET, steps=8))
    up = insertion_curve(Corner(), x, constant, TARGET, steps=8)
    assert torch.allclose(down[:, 0], up[:, -1]) and torch.allclose(down[:, -1], up[:, 0])
    with pytest.raises(ValueError, match="resize"):
        deletion_curve(Corner(), x, torch.zeros(2, 2, 2), TARGET)


def test_infidelity_prefers_the_true_map(x):
    true = infidelity(Corner(), x, TRUE, TARGET, draws=64)
    wrong = infidelity(Corner(), x, TRUE.flip(1), TARGET, draws=64)
    assert (true < 1e-6).all() and (wrong > 100 * true.clamp(min=1e-9)).all()
    before = torch.random.get_rng_state()
    again = infidelity(Corner(), x, TRUE, TARGET, draws=64)
    assert torch.equal(true, again) and torch.equal(before, torch.random.get_rng_state())


def test_rank_correlation():
    maps = torch.arange(9.0).view(1, 3, 3)
    assert rank_correlation(maps, maps**3).item() == pytest.approx(1)
    assert rank_correlation(maps, -maps).item() == pytest.approx(-1)
    assert rank_correlation(maps, torch.ones(1, 3, 3)).isnan().all()
    tied = torch.tensor([[[1.0, 1.0, 2.0]]])
    other = torch.tensor([[[1.0, 2.0, 3.0]]])
    assert rank_correlation(tied, other).item() == pytest.approx(0.8660254)  # Spearman with ties
    with pytest.raises(ValueError, match="shapes"):
        rank_correlation(maps, torch.zeros(1, 2, 2))


def test_randomization_tells_an_edge_detector_from_an_explanation():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, 4),
    ).eval()  # fmt: skip
    x = torch.rand(6, 3, 8, 8)
    weights = [p.clone() for p in model.parameters()]

    def image_only(model, x, target):
        return x.mean(1)

    def explains(model, x, target):
        return gradcam(model, x, target, layer="0", relu=False)

    fooled = randomization_check(model, x, image_only)
    assert [layers for layers, _, _ in fooled] == [1, 2]
    once = randomization_check(model, x, image_only, points=1)
    assert [layers for layers, _, _ in once] == [2]
    assert all(correlation == pytest.approx(1) for _, correlation, _ in fooled)
    honest = randomization_check(model, x, explains)
    assert abs(honest[-1][1]) < 0.7
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    constant = randomization_check(model, x, lambda m, x, t: torch.zeros(len(x), 2, 2))
    assert constant[0][2] == 6 and constant[0][1] != constant[0][1]  # all degenerate, no number


class Positions(nn.Module):
    """A layer behind one parameter that belongs to no layer, as a transformer's positions do."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.full((3, 32, 32), 5.0))
        self.head = nn.Linear(3, 4)

    def forward(self, x):
        return self.head((x + self.positions).mean((2, 3)))


def test_randomization_leaves_nothing_that_was_learned():
    from rslib import models

    torch.manual_seed(0)
    networks = (Positions(), models.build("vit_small", dim=32, depth=2, heads=2, patch=8))
    for network in networks:
        with torch.no_grad():  # as trained: all has moved, zeros and ones too
            for parameter in network.parameters():
                parameter.add_(1 + torch.rand_like(parameter))
        seen = []

        def method(model, x, target, seen=seen):
            seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
            return x.mean(1)

        found = randomization_check(network.eval(), torch.rand(2, 3, 32, 32), method)
        trained, *_, last = seen
        assert len(seen) == len(found) + 1
        assert not [name for name in trained if (trained[name] == last[name]).any()]
    # Before the last look the positions are the trained ones.
    assert torch.equal(trained["network.pos_embed"], seen[-2]["network.pos_embed"])
    assert last["network.pos_embed"].std().item() == pytest.approx(0.02, rel=0.2)
    assert last["network.cls_token"].abs().max() < 0.1
