"""The alignment objective against values by hand; its gradients; what is recorded of it."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from rslib import models
from rslib.data import Batch
from rslib.report.labels import training_label
from rslib.saliency import gradient_rollout
from rslib.training import Aligned, NoMasks, Standard


class Pooled(nn.Module):
    """The features are the image; logit c weighs the pooled channels by row c."""

    def __init__(self):
        super().__init__()
        self.features = nn.Identity()
        self.fc = nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [0.0, -4.0, 0.0]]))

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))


@pytest.fixture
def batch():
    """Class 0's map is channel 0 and class 1's is less channel 1, both divided by one pixel."""
    x = torch.zeros(2, 3, 2, 2)
    x[0, 0, 0, 0], x[1, 1, 1, 1] = 1.0, 1.0
    masks = torch.zeros(2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = masks[1, 0, 0] = True
    return Batch(x, torch.tensor([0, 1]), torch.arange(2), masks)


def shapes_batch(n=6):
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(n, 32, 32, dtype=torch.bool)
    masks[:, 8:20, 10:26] = True
    x = torch.rand(n, 3, 32, 32, generator=generator)
    return Batch(x, torch.arange(n) % 10, torch.arange(n), masks)


def resnet():
    torch.manual_seed(0)
    model = models.build("resnet18", width=8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # timm starts each block's last at 0
    return model


def vit():
    torch.manual_seed(0)
    return models.build("vit_small", dim=16, depth=2, heads=2, patch=8)


def test_as_written_by_hand(batch):
    # Maps: 4 * 1 / 4 = 1 at one place of image 0; the ReLU leaves nothing of image 1's.
    aligned = Aligned(layer="features")
    step = aligned(Pooled(), batch, torch.Generator(), 0.0)
    squashed = torch.sigmoid(torch.tensor(1.0)).item()
    first = ((squashed - 1) ** 2 + 3 * 0.25) / 4
    second = 0.25
    ce = functional.cross_entropy(Pooled()(batch.x), batch.y).item()
    assert step.loss.item() == pytest.approx(ce + 0.1 * (first + second) / 2)
    assert torch.equal(step.logits, Pooled()(batch.x))


def test_standardized_by_hand(batch):
    aligned = Aligned(alpha=0, beta=1, layer="features", reading="standardized")
    step = aligned(Pooled(), batch, torch.Generator(), 0.0)
    # (1, 0, 0, 0) less its mean over its deviation: sqrt(3), then -1/sqrt(3) three times; image 1's
    # map is the negative of its channel, so its low place is elsewhere than the mask.
    high, low = (torch.sigmoid(torch.tensor(v)).item() for v in (3**0.5, -(3**-0.5)))
    first = ((high - 1) ** 2 + 3 * low**2) / 4
    others, least = (torch.sigmoid(torch.tensor(v)).item() for v in (3**-0.5, -(3**0.5)))
    second = ((others - 1) ** 2 + 2 * others**2 + least**2) / 4
    assert step.loss.item() == pytest.approx((first + second) / 2, abs=1e-5)


def test_as_written_the_background_cannot_fall_under_a_quarter():
    masks = torch.zeros(1, 4, 4, dtype=torch.bool)
    masks[0, 0, 0] = True
    best = torch.full((1, 4, 4), -50.0)
    best[0, 0, 0] = 50.0
    assert Aligned().alignment_loss(best, masks).item() == pytest.approx(15 * 0.25 / 16)
    assert Aligned(reading="standardized").alignment_loss(best, masks).item() < 0.2


def test_at_beta_0_nothing_is_aligned():
    control, plain = resnet(), resnet()
    batch = shapes_batch()
    loss = Aligned(beta=0, layer="network.layer4")(control, batch, torch.Generator(), 0.0).loss
    other = Standard()(plain, batch, torch.Generator(), 0.0).loss
    loss.backward(), other.backward()
    assert loss.item() == other.item()
    for ours, theirs in zip(control.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-7)


@pytest.mark.parametrize("reading", ["as_written", "standardized"])
@pytest.mark.parametrize("layer", ["network.layer4", "network.layer3"])
def test_the_alignment_term_trains_every_weight_of_the_resnet(layer, reading):
    model = resnet().train()
    aligned = Aligned(alpha=0, beta=1, layer=layer, reading=reading)
    aligned(model, shapes_batch(), torch.Generator(), 0.0).loss.backward()
    for name, parameter in model.named_parameters():
        # Biases behind the layer shift scores, and no map.
        shift = "bias" in name and (
            name == "network.fc.bias" or (layer[-1] == "3" and "layer4" in name)
        )
        touched = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert touched or shift, name
    assert model.training


def test_the_alignment_term_trains_the_transformer_up_to_its_last_attention():
    model = vit().train()
    aligned = Aligned(alpha=0, beta=1, reading="standardized")
    aligned(model, shapes_batch(), torch.Generator(), 0.0).loss.backward()
    last = model.network.blocks[-1]
    behind = {id(p) for m in (last.mlp, last.norm2, last.attn.proj, model.network.norm,
                              model.network.head) for p in m.parameters()}  # fmt: skip
    for name, parameter in model.named_parameters():
        touched = parameter.grad is not None and parameter.grad.abs().sum() > 0
        assert touched != (id(parameter) in behind), name


def test_images_without_masks_are_refused(batch):
    bare = Batch(batch.x, batch.y, batch.ids, None)
    with pytest.raises(NoMasks, match="needs object masks"):
        Aligned(layer="features")(Pooled(), bare, torch.Generator(), 0.0)


def test_an_aligned_model_records_overlap_and_both_losses(tiny_run):
    run = tiny_run()
    for name in ("resnet18-aligned", "vit_small-aligned"):
        run.trained(name)
        summary = run.summary(name)
        assert summary["parent"] == name.replace("aligned", "standard")
        for row in summary["history"]:
            assert 0 < row["validation_iou"] < 1
            assert 0 < row["validation_alignment_loss"] < 1
            assert row["validation_loss"] > 0


@pytest.mark.slow
def test_alignment_moves_saliency_onto_the_objects(tiny_run):
    recipe = {"epochs": 6, "batch_size": 40, "learning_rate": 0.02}
    found = {}
    for beta in (0.0, 2.0):
        run = tiny_run(
            {
                "data": {"train_size": 200},
                "resnet18": {"width": 8},
                "training": {
                    "aligned": {"beta": beta, "reading": "standardized", "resnet18": recipe}
                },
            }
        )
        run.trained("resnet18-aligned")
        found[beta] = run.summary("resnet18-aligned")["history"][-1]["validation_iou"]
    assert found[2.0] > found[0.0] + 0.1


def test_images_without_a_mask_enter_the_classification_loss_only(batch):
    aligned = Aligned(alpha=0, beta=1, layer="features")
    both = aligned(Pooled(), batch, torch.Generator(), 0.0).loss.item()
    masks = batch.masks.clone()
    masks[1] = False
    half = aligned(Pooled(), batch._replace(masks=masks), torch.Generator(), 0.0).loss.item()
    only = Batch(*(part[:1] for part in batch))
    assert half == pytest.approx(aligned(Pooled(), only, torch.Generator(), 0.0).loss.item())
    assert half != pytest.approx(both)
    none = batch._replace(masks=torch.zeros_like(masks))
    assert aligned(Pooled(), none, torch.Generator(), 0.0).loss.item() == 0


@pytest.mark.parametrize(("make", "layer"), [(resnet, "network.layer4"), (vit, None)])
def test_a_head_draws_its_own_map_and_trains_what_is_below_it(make, layer):
    aligned = Aligned(alpha=0, beta=1, layer=layer, head=True)
    model, batch = make(), shapes_batch()
    aligned.prepare(model)
    step = aligned(model.train(), batch, torch.Generator(), 0.0)
    step.loss.backward()
    touched = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"saliency_head.weight", "saliency_head.bias"} <= touched
    classifier = "network.fc.weight" if layer else "network.head.weight"
    assert classifier not in touched
    if layer is None:  # patch embeddings lie below every block
        assert not any("blocks" in name for name in touched)
    with torch.no_grad():
        logits, maps = aligned.headed(model.eval(), batch.x)
    assert torch.allclose(logits, model(batch.x), atol=1e-5)
    assert maps.shape[0] == len(batch.x)


def test_without_a_head_nothing_is_added():
    model = resnet()
    before = set(model.state_dict())
    Aligned(layer="network.layer4").prepare(model)
    assert set(model.state_dict()) == before


def test_a_headed_model_is_kept_and_read_again(explained_run):
    name = "resnet18-aligned@through=head"
    model = explained_run.trained(name)
    assert "saliency_head.weight" in model.state_dict()
    history = explained_run.summary(name)["history"]
    assert all(0 <= row["validation_head_iou"] <= 1 for row in history)
    assert explained_run.summary(name)["masked_images"] == 120


def test_the_loss_has_the_gradient_of_finite_differences():
    """In double precision, through Grad-CAM's general and closed form and both rollouts."""
    torch.manual_seed(0)
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[:, 8:20, 10:26] = True
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    batch = Batch(x, torch.tensor([0, 1]), torch.arange(2), masks)
    for make, layer, weighted in (
        (resnet, "network.layer4", False),
        (resnet, "network.layer3", False),
        (vit, None, False),
        (vit, None, True),
    ):
        model = make().double().eval()
        aligned = Aligned(
            alpha=1, beta=1, layer=layer, reading="standardized", gradient_rollout=weighted
        )

        def loss(model=model, aligned=aligned):
            return aligned(model, batch, torch.Generator(), 0.0).loss

        model.zero_grad()
        loss().backward()
        for name, parameter in list(model.named_parameters())[::7]:
            if parameter.grad is None:
                continue
            place = parameter.grad.abs().flatten().argmax()
            step, flat = 1e-5, parameter.data.view(-1)
            kept = flat[place].item()
            ends = []
            for value in (kept + step, kept - step):
                flat[place] = value
                ends.append(loss().item())
            flat[place] = kept
            slope = (ends[0] - ends[1]) / (2 * step)
            expected = parameter.grad.flatten()[place].item()
            assert slope == pytest.approx(expected, rel=2e-2, abs=1e-6), name


def test_the_map_of_a_class_can_be_aligned():
    model, batch = vit(), shapes_batch()
    aligned = Aligned(0, 1, None, "standardized", gradient_rollout=True)
    aligned.prepare(model)
    logits, maps = aligned.aligned(model.eval(), batch.x, batch.y)
    expected = gradient_rollout(model, batch.x, batch.y)
    assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-9)
    assert torch.allclose(logits, model(batch.x), atol=1e-5)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        loss = aligned(model.train(), batch, torch.Generator(), 0.0).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.02
    with pytest.raises(ValueError, match="no timm vision transformer"):
        Aligned(layer="network.layer4", gradient_rollout=True).prepare(resnet())


@pytest.mark.slow
def test_a_run_aligns_the_map_that_its_name_tells(explained_run):
    name = "vit_small-aligned@through=gradient_rollout"
    assert training_label(name) == "Aligned (through the gradient rollout)"
    history = explained_run.summary(name)["history"] if explained_run.trained(name) else []
    assert history and all(0 <= row["validation_iou"] <= 1 for row in history)
    with pytest.raises(ValueError, match="no timm vision transformer"):
        explained_run.trained("resnet18-aligned@through=gradient_rollout")


def test_label_smoothing_counts(batch):
    aligned = Aligned(beta=0, layer="features", clean=Standard(0.2))
    batch = batch._replace(y=torch.tensor([0, 0]))
    # Logits (1, 0) and (0, -1) differ by 1: 0.9 of log(1 + 1/e), and 0.1 of 1 more.
    expected = math.log(1 + math.exp(-1)) + 0.1
    assert aligned(Pooled(), batch, torch.Generator(), 0.0).loss.item() == pytest.approx(expected)


def test_validation_is_the_mean_over_images_with_masks(batch):
    aligned = Aligned(layer="features")
    third = batch._replace(x=batch.x[:1] * 2, y=batch.y[:1], masks=batch.masks[:1] & False)
    rest = [batch._replace(x=batch.x[:1], masks=batch.masks[:1]), batch, third]
    model = Pooled().eval()
    found = aligned.validate(model, rest)
    one = aligned.validate(model, [batch])
    single = [aligned.validate(model, [Batch(*(p[k : k + 1] for p in batch))]) for k in range(2)]
    first = aligned.validate(model, rest[:1])
    for name in ("validation_iou", "validation_alignment_loss"):
        assert one[name] == pytest.approx(sum(each[name] for each in single) / 2)
        assert found[name] == pytest.approx((2 * one[name] + first[name]) / 3)
    assert one["validation_iou"] != first["validation_iou"]


def test_the_overlap_of_validation_takes_positive_evidence_alone():
    # Class 1 is predicted, and its map, less channel 1, is negative: what is left is a map of
    # zeros, of which the pixel kept is the mask's by a chance of one in four.
    x = torch.zeros(1, 3, 2, 2)
    x[0, 0], x[0, 1] = -2.0, torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    masks = torch.tensor([[[True, False], [False, False]]])
    batch = Batch(x, torch.tensor([0]), torch.arange(1), masks)
    found = Aligned(layer="features").validate(Pooled().eval(), [batch])
    assert found["validation_iou"] == pytest.approx(0.25)
