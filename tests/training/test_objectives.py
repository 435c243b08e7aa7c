import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from rslib import data, models, settings, training
from rslib.attacks import Threat
from rslib.settings.plan import plan
from rslib.training import Adversarial, Attacker, Noise, Trades
from rslib.training import plan as plans
from rslib.training.objectives import beside


class Linear(nn.Module):
    """Two logits, 0 and w.x + b: everything about attacks on it is known in closed form."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        score = x.flatten(1) @ self.weight + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


def batch_of(values, labels):
    x = torch.tensor(values).view(len(labels), -1, 1, 1)
    return data.Batch(x, torch.tensor(labels), torch.arange(len(labels)), None)


def attacker(eps=0.1, steps=4, **options):
    return Attacker(Threat("linf", eps), 2 * eps / steps, steps, **options)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_inner_attack_reaches_the_corner_of_the_budget():
    model = Linear([1.0, -2.0]).train()
    batch = batch_of([[0.5, 0.5], [0.5, 0.5]], [1, 0])

    def loss(logits):
        return functional.cross_entropy(logits, batch.y, reduction="sum")

    found = attacker()(model, batch.x, loss, generator(), 0.0).flatten(1)
    # The loss of class 1 climbs against the weights' signs, that of class 0 along them.
    torch.testing.assert_close(found, torch.tensor([[0.4, 0.6], [0.6, 0.4]]))
    assert model.training


def test_the_inner_attack_goes_on_after_the_first_mistake():
    # Wrong from the start: an evaluation would stop there, training wants the highest loss.
    model = Linear([1.0])
    batch = batch_of([[0.5]], [0])
    found = attacker()(
        model, batch.x, lambda z: functional.cross_entropy(z, batch.y), generator(), 0.0
    )
    assert found.item() == pytest.approx(0.6)


def test_the_budget_grows_over_the_warm_up():
    model = Linear([1.0])
    batch = batch_of([[0.5]], [0])

    def at(epoch):
        grown = attacker(warmup_epochs=4.0)
        loss = lambda z: functional.cross_entropy(z, batch.y)  # noqa: E731
        return grown(model, batch.x, loss, generator(), epoch).item()

    assert [at(e) for e in (0.0, 1.0, 2.0, 4.0, 9.0)] == pytest.approx([0.5, 0.525, 0.55, 0.6, 0.6])


@pytest.mark.parametrize("eval_mode", [True, False])
def test_crafting_leaves_running_statistics_alone_only_in_eval_mode(eval_mode):
    model = models.build("resnet18", width=8).train()
    before = model.network.bn1.running_mean.clone()
    batch = data.Batch(torch.rand(4, 3, 32, 32), torch.arange(4), torch.arange(4), None)
    attacker(8 / 255, 2, eval_mode=eval_mode)(
        model, batch.x, lambda z: functional.cross_entropy(z, batch.y), generator(), 0.0
    )
    assert torch.equal(model.network.bn1.running_mean, before) == eval_mode
    assert all(module.training for module in model.modules())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_train_mode_comes_back_after_an_error():
    model = models.build("resnet18", width=8).train()
    with pytest.raises(ZeroDivisionError):
        attacker()(model, torch.rand(1, 3, 32, 32), lambda z: 1 / 0, generator(), 0.0)
    assert model.training


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_the_coin_decides_which_batches_are_attacked(probability):
    model = Linear([1.0])
    batch = batch_of([[0.5]], [1])
    objective = Adversarial(attacker(), probability)
    clean = training.Standard()(model, batch, generator(), 0.0).loss.item()
    coin = generator()
    losses = [objective(model, batch, coin, 0.0).loss.item() for _ in range(400)]
    attacked = sum(loss > clean + 1e-6 for loss in losses) / len(losses)
    assert attacked == pytest.approx(probability, abs=0.08)


def test_adversarial_loss_by_hand():
    model = Linear([1.0])
    step = Adversarial(attacker(), 1.0)(model, batch_of([[0.5]], [1]), generator(), 0.0)
    assert step.loss.item() == pytest.approx(math.log(1 + math.exp(-0.4)))
    step.loss.backward()
    # d/dw of log(1 + exp(-w x)) at x = 0.4
    assert model.weight.grad.item() == pytest.approx(-0.4 / (1 + math.exp(0.4)))


def test_trades_by_hand():
    model = Linear([1.0])
    step = Trades(attacker(), beta=2.0)(model, batch_of([[0.5]], [1]), generator(), 0.0)
    p, down, up = (1 / (1 + math.exp(-x)) for x in (0.5, 0.4, 0.6))

    def divergence(q):
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    # The divergence has a local maximum at either end of the budget; the start decides which.
    ends = [-math.log(p) + 2 * divergence(q) for q in (down, up)]
    assert any(step.loss.item() == pytest.approx(end, rel=1e-4) for end in ends)


@pytest.mark.parametrize(
    "objective", [training.Standard(0.1), Adversarial(attacker(), 1.0), Trades(attacker()), Noise()]
)
def test_whole_shares_count_as_labels(objective):
    """Light epochs have labels, the others of the same training shares of the classes."""
    labels = batch_of([[0.5, 0.1], [0.2, 0.9]], [1, 0])
    shares = labels._replace(y=torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    model = Linear([1.0, -2.0]).train()
    steps = [objective(model, batch, generator(), 1.0) for batch in (labels, shares)]
    assert steps[0].loss.item() == pytest.approx(steps[1].loss.item(), rel=1e-6)
    torch.testing.assert_close(steps[0].logits, steps[1].logits)


def test_noise_has_the_stated_deviation_and_is_not_clipped():
    class Keep(nn.Module):
        def forward(self, x):
            self.seen = x
            return x.flatten(1)[:, :2]

    model = Keep()
    batch = data.Batch(torch.zeros(50, 3, 32, 32), torch.zeros(50).long(), torch.arange(50), None)
    Noise(0.25)(model, batch, generator(), 0.0)
    assert model.seen.std().item() == pytest.approx(0.25, rel=0.01)
    assert model.seen.min() < 0


def test_the_draws_of_a_cpu_are_pinned():
    """In this order from the epoch's generator: a coin and a start a batch, and then its noise."""

    class Keep(nn.Module):
        def forward(self, x):
            self.seen = x.detach().clone()
            return x.flatten(1)[:, :2]

    x = torch.linspace(0, 1, 2 * 3 * 8 * 8).view(2, 3, 8, 8)
    batch = data.Batch(x, torch.tensor([0, 1]), torch.arange(2), None)
    threat = Threat("linf", 0.1)
    objective = Adversarial(Attacker(threat, 0.05, 0), 0.5, Noise(0.25))
    model, source, reference = Keep(), generator(3), generator(3)
    attacked = []
    for _ in range(8):
        objective(model, batch, source, 0.0)
        attacked.append(torch.rand((), generator=reference).item() < 0.5)
        start = threat.random_start(x, reference) if attacked[-1] else x
        noisy = start + 0.25 * torch.randn(x.shape, generator=reference)
        assert torch.equal(model.seen, noisy)
    assert attacked == [True, False, True, True, True, False, True, False]
    assert model.seen.flatten()[:3].tolist() == pytest.approx(
        [0.114344, 0.057321, 0.142890], abs=1e-5
    )


class Elsewhere(torch.Generator):
    """A CPU generator that says it is on the device that was asked for, and notes it."""

    asked = []

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.there = torch.device(device)
        self.asked.append(str(device))

    @property
    def device(self):
        return self.there


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(torch, "Generator", Elsewhere)
    monkeypatch.setattr(Elsewhere, "asked", [])
    return Elsewhere.asked


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_large_draws_are_made_where_the_images_are(norm, elsewhere):
    batch = data.Batch(*(t.to("meta") for t in batch_of([[0.5]], [1])[:3]), None)
    model = Linear([1.0]).to("meta")
    inner = Attacker(Threat(norm, 0.1), 0.05, 2)
    epoch = torch.Generator()
    # Tensors of two devices do not mix, and a coin without a value could not be read.
    for objective in (Adversarial(inner, 1.0), Trades(inner), Noise()):
        assert objective(model, batch, epoch, 0.0).logits.is_meta
    assert elsewhere == ["cpu", "meta", "meta", "meta"]


def test_a_generator_beside_the_images_is_seeded_by_the_next_number(elsewhere):
    source, reference = generator(5), generator(5)
    seeds = [beside(torch.empty(1, device="meta"), source).initial_seed() for _ in range(3)]
    numbers = [torch.randint(2**62, (), generator=reference).item() for _ in range(3)]
    assert seeds == numbers and len(set(seeds)) == 3
    assert beside(torch.empty(1), source) is source


def test_the_paper_s_plan():
    chosen = settings.load("paper")
    planned = plan(chosen, "resnet18-adversarial")
    assert planned.parent == "resnet18-standard"
    adversarial = plans.objective(planned)
    assert (planned.recipe.epochs, adversarial.probability) == (50, 0.5)
    inner = adversarial.attacker
    assert (inner.num_steps, inner.threat.eps) == (10, 8 / 255)
    assert inner.step_size == pytest.approx(2 * (8 / 255) / 10)
    assert plans.objective(plan(chosen, "resnet18-purely_adversarial")).probability == 1.0
    assert plan(chosen, "vit_small-adversarial").recipe.learning_rate == 0.001
    assert plan(chosen, "resnet18-standard").parent is None


def test_only_baselines_have_a_recipe_for_the_reference_model():
    with pytest.raises(ValueError, match="no recipe for alexnet"):
        plan(settings.load("paper"), "alexnet-adversarial")


def test_both_sides_of_trades_pull():
    # L = -log p(x) + beta KL(p(x) || p(x')), p = sigmoid(w .) at w = 1: its derivative by w, of
    # the clean side and of the attacked one, by finite differences at the attacked image.
    beta, shown = 2.0, []

    class Watched(Linear):
        def forward(self, x):
            shown.append(x.detach().item())
            return super().forward(x)

    model = Watched([1.0])
    step = Trades(attacker(), beta=beta)(model, batch_of([[0.5]], [1]), generator(), 0.0)
    step.loss.backward()
    attacked = shown[-1]

    def loss(w):
        p, q = (1 / (1 + math.exp(-w * x)) for x in (0.5, attacked))
        divergence = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        return -math.log(p) + beta * divergence

    slope = (loss(1 + 1e-4) - loss(1 - 1e-4)) / 2e-4
    assert model.weight.grad.item() == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize(("eval_mode", "updates"), [(True, 2), (False, 5)])
def test_trades_crafts_with_the_statistics_it_is_told_to(eval_mode, updates):
    # Trained on are the clean images and the attacked ones; the target and two steps craft.
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2)).train()
    batch = batch_of([[0.5, 0.1], [0.2, 0.9]], [1, 0])
    Trades(attacker(steps=2, eval_mode=eval_mode))(model, batch, generator(), 0.0)
    assert model[0].num_batches_tracked.item() == updates
