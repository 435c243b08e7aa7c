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


class Shown(nn.Module):
    """Keeps what it is shown; three classes whose logits are the channels' means."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return x.mean((2, 3))


def test_ties_fall_in_a_random_order_that_is_the_same_for_all():
    x = torch.rand(2, 3, 4, 4)
    model = Shown()
    deletion_curve(model, x, torch.zeros(2, 4, 4), TARGET, steps=4)
    changed = [(seen != x).any(1) for seen in model.seen]
    assert torch.equal(changed[1][0], changed[1][1]) and changed[1][0].sum() == 4
    # Neither the first pixels nor the last, and not those of one row or column.
    flat = changed[1][0].flatten()
    assert not flat[:4].all() and not flat[-4:].all()
    assert not changed[1][0].all(0).any() and not changed[1][0].all(1).any()
    # What tied before is told apart: above all ties, pixel 13 goes first.
    saliency = torch.zeros(2, 4, 4)
    saliency[:, 3, 1] = 1.0
    deletion_curve(model := Shown(), x, saliency, TARGET, steps=16)
    assert (model.seen[1] != x).any(1)[0].nonzero().tolist() == [[3, 1]]


def test_each_step_changes_its_share_of_the_pixels():
    # Of 16 pixels in five steps: 3.2, 6.4, 9.6, 12.8 and 16.
    x, model = torch.rand(2, 3, 4, 4), Shown()
    insertion_curve(model, x, torch.rand(2, 4, 4), TARGET, steps=5)
    assert [int((seen == x).all(1)[0].sum()) for seen in model.seen] == [0, 3, 6, 10, 13, 16]


def test_a_curve_is_of_probabilities_among_all_classes():
    x, model = torch.rand(2, 3, 4, 4), Shown()
    curve = deletion_curve(model, x, torch.rand(2, 4, 4), TARGET, steps=2)
    expected = torch.stack([seen.mean((2, 3)).softmax(1)[:, 1] for seen in model.seen], 1)
    torch.testing.assert_close(curve, expected)


def test_infidelity_follows_its_options(x):
    wrong = TRUE.flip(1)
    usual = infidelity(Corner(), x, wrong, TARGET)
    # Maps in other units are the same map; of a linear model the error grows as sigma squared.
    torch.testing.assert_close(infidelity(Corner(), x, 10 * wrong, TARGET), usual)
    torch.testing.assert_close(
        infidelity(Corner(), x, wrong, TARGET, sigma=0.1), 4 * usual, rtol=1e-3, atol=0
    )
    for other in ({"draws": 4}, {"seed": 1}):
        assert not torch.allclose(infidelity(Corner(), x, wrong, TARGET, **other), usual)


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)
    ).eval()


def test_randomization_explains_the_class_that_the_trained_model_predicts():
    model, x = two_layers(), torch.rand(12, 3, 8, 8)
    predicted, asked, models = model(x).argmax(1), [], []

    def method(model, x, target):
        asked.append(target), models.append(model(x).argmax(1))
        return x.mean(1)

    randomization_check(model, x, method)
    assert len(asked) == 3 and all(torch.equal(each, predicted) for each in asked)
    # The altered model would have predicted others.
    assert torch.equal(models[0], predicted) and not torch.equal(models[1], predicted)


def test_randomization_goes_from_the_last_layer_to_the_first_by_its_seed():
    model, x = two_layers(), torch.rand(2, 3, 8, 8)
    ends = []
    for seed in (0, 0, 1):
        seen = []

        def method(model, x, target, seen=seen):
            seen.append([p.detach().clone() for p in model.parameters()])
            return x.mean(1)

        randomization_check(model, x, method, seed=seed)
        kept = [[torch.equal(a, b) for a, b in zip(seen[0], each, strict=True)] for each in seen]
        assert kept == [[True] * 4, [True, True, False, False], [False] * 4]
        ends.append(seen[-1][0])
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_randomization_averages_over_the_maps_that_vary():
    model, x, calls = two_layers(), torch.rand(3, 3, 8, 8), []

    def method(model, x, target):
        calls.append(0)
        maps = x.mean(1).clone()
        if len(calls) > 1:
            maps[0] = 1.0
        return maps

    for _, correlation, constant in randomization_check(model, x, method):
        assert correlation == pytest.approx(1) and constant == 1
