import math
import random
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from rslib import data, models, training
from rslib.settings import PROJECT
from rslib.settings.schema import Recipe
from rslib.store import records
from rslib.store.records import RecordError
from rslib.training import checkpoint, optimizer
from tests.helpers.small_training import fit, net, small

RECIPES = {
    "sgd": Recipe(epochs=3, batch_size=32, nesterov=True, warmup_epochs=1.0, label_smoothing=0.1),
    "adamw": Recipe(epochs=3, batch_size=32, optimizer="adamw", learning_rate=1e-3, clip_norm=1.0),
    "averaged": Recipe(epochs=3, batch_size=8, ema_decay=0.75),
    "muon": Recipe(epochs=3, batch_size=32, optimizer="muon", learning_rate=3e-3),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("stop_after", [1, 2])
def test_an_interrupted_training_ends_like_an_uninterrupted_one(tmp_path, recipe, stop_after):
    made = vit if recipe.optimizer == "muon" else net
    whole = made()
    expected = fit(tmp_path / "a", whole, recipe)
    fit(tmp_path / "b", made(), recipe, stop_after=stop_after)
    resumed = made(seed=9)  # its own initial weights must not matter
    state = fit(tmp_path / "b", resumed, recipe)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    for name, value in expected.best.items():
        assert torch.equal(value, state.best[name]), name
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in expected.history]
    assert timeless == [{k: v for k, v in row.items() if k != "seconds"} for row in state.history]


def test_dropout_is_resumed_too(tmp_path):
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=0.01)

    def alexnet():
        torch.manual_seed(0)
        return models.build("alexnet", width=0.1)

    whole, resumed = alexnet(), alexnet()
    fit(tmp_path / "a", whole, recipe)
    fit(tmp_path / "b", alexnet(), recipe, stop_after=1)
    fit(tmp_path / "b", resumed, recipe)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_seed_decides_and_the_callers_generator_is_left_alone(tmp_path):
    recipe = Recipe(epochs=1, batch_size=32)
    a, b, c = net(), net(), net()
    before = torch.get_rng_state()
    fit(tmp_path / "a", a, recipe, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    fit(tmp_path / "b", b, recipe, seed=0)
    fit(tmp_path / "c", c, recipe, seed=1)
    assert torch.equal(a.network.fc.weight, b.network.fc.weight)
    assert not torch.equal(a.network.fc.weight, c.network.fc.weight)


def test_best_is_the_epoch_with_the_highest_validation_accuracy(tmp_path):
    seen = {}
    model = net()
    recipe = Recipe(epochs=4, batch_size=32)
    train = data.Batches(small(), 32, shuffle=True)
    state = training.fit(
        model, training.Standard(), train,
        lambda m: training.score(m, data.Batches(small(40, seed=1), 40)), recipe,
        seed=0, checkpoint_path=tmp_path / "c.safetensors", key="k", progress=False,
        after_epoch=lambda s: seen.update({s.epoch: checkpoint.weights_of(model)}),
    )  # fmt: skip
    accuracies = [row["validation_accuracy"] for row in state.history]
    best = accuracies.index(max(accuracies)) + 1
    assert state.best_epoch == best
    assert all(torch.equal(state.best[name], seen[best][name]) for name in state.best)


def test_the_loop_learns_what_can_be_learned(tmp_path):
    labels = torch.arange(64) % 2  # dark and bright images
    images = (labels * 150).to(torch.uint8).view(-1, 1, 1, 1).expand(64, 3, 32, 32).contiguous()
    easy = data.Dataset(images, labels, tuple("0123456789"), "easy", "train", torch.arange(64))
    model = net()
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.05)
    state = training.fit(
        model, training.Standard(), data.Batches(easy, 16, shuffle=True),
        lambda m: training.score(m, data.Batches(easy, 64)), recipe,
        seed=0, checkpoint_path=tmp_path / "c.safetensors", key="k", progress=False,
    )  # fmt: skip
    assert state.history[-1]["train_loss"] < 0.2 * state.history[0]["train_loss"]
    assert state.history[-1]["train_accuracy"] == 1.0
    assert not model.training


def test_learning_rate_by_hand():
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup_epochs=2.0)
    assert optimizer.learning_rate(recipe, 1.0) == pytest.approx(0.2)  # half-way up
    assert optimizer.learning_rate(recipe, 2.0) == pytest.approx(0.4)
    assert optimizer.learning_rate(recipe, 6.0) == pytest.approx(0.2)  # half-way down
    assert optimizer.learning_rate(recipe, 10.0) == pytest.approx(0.0)
    paper = Recipe()
    assert optimizer.learning_rate(paper, 0.0) == 0.1
    assert optimizer.learning_rate(paper, 25.0) == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))


def test_standard_loss_by_hand():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])

    batch = data.Batch(torch.zeros(2, 3, 1, 1), torch.tensor([1, 0]), torch.arange(2), None)
    plain = training.Standard()(Fixed(), batch, torch.Generator(), 0.0)
    assert plain.loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    smooth = training.Standard(label_smoothing=0.2)(Fixed(), batch, torch.Generator(), 0.0)
    first = 0.9 * math.log(4 / 3) + 0.1 * math.log(4)
    assert smooth.loss.item() == pytest.approx((first + math.log(2)) / 2)


def named(model, group):
    held = {id(p) for p in group["params"]}
    return {name for name, p in model.named_parameters() if id(p) in held}


def vit(seed=0):
    torch.manual_seed(seed)
    return models.build("vit_small", dim=24, depth=1, heads=3, patch=8)


VECTORS = ("bias", "norm.weight", "norm1.weight", "norm2.weight", "pos_embed", "cls_token")
BLOCK = {
    f"network.blocks.0.{name}.weight" for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
}
REST = {"network.patch_embed.proj.weight", "network.head.weight"}


def test_adamw_decays_neither_vectors_nor_positions():
    model = vit()
    (made,) = optimizer.build(model, RECIPES["adamw"])
    decayed, kept = made.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (5e-4, 0.0)
    assert named(model, decayed) == BLOCK | REST
    assert all(name.endswith(VECTORS) for name in named(model, kept))
    before = RECIPES["adamw"].model_copy(update={"decay_positions": True})
    decayed, kept = optimizer.build(model, before)[0].param_groups
    positions = {"network.pos_embed", "network.cls_token"}
    assert named(model, decayed) == BLOCK | REST | positions


def test_muon_steps_the_matrices_of_the_blocks_and_adamw_the_rest():
    model, recipe = vit(), RECIPES["muon"]
    muon, adamw = optimizer.build(model, recipe)
    assert isinstance(muon, torch.optim.Muon) and isinstance(adamw, torch.optim.AdamW)
    assert named(model, muon.param_groups[0]) == BLOCK
    assert named(model, adamw.param_groups[0]) == REST
    everything = [p for group in optimizer.groups([muon, adamw]) for p in group["params"]]
    assert len(everything) == len(list(model.parameters()))
    assert [group["peak"] for group in optimizer.groups([muon, adamw])] == [3e-3, 1e-3, 1e-3]


def test_muon_without_blocks_is_refused():
    with pytest.raises(ValueError, match="this model has none: set optimizer to sgd or adamw"):
        optimizer.build(net(), RECIPES["muon"])


def test_each_group_follows_the_schedule_at_its_own_peak():
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup_epochs=2.0, schedule="one_cycle")
    assert optimizer.learning_rate(recipe, 1.0, 0.1) == pytest.approx(0.05)
    assert optimizer.learning_rate(recipe, 6.0, 0.1) == pytest.approx(0.05)
    constant = recipe.model_copy(update={"schedule": "constant"})
    assert optimizer.learning_rate(constant, 1.0) == pytest.approx(0.2)
    assert optimizer.learning_rate(constant, 10.0) == 0.4


def test_an_average_by_hand(tmp_path):
    """decay_t = min(decay, (1 + t) / (10 + t)): the weights of the first steps are soon gone."""
    seen, model = [], net()

    class Watching(training.Standard):
        def __call__(self, model, batch, generator, epoch):
            seen.append(model.network.fc.bias.detach().clone())
            return super().__call__(model, batch, generator, epoch)

    recipe = Recipe(epochs=2, batch_size=8, ema_decay=0.5)  # 16 steps
    ends = []
    train = data.Batches(small(), 8, shuffle=True)
    state = training.fit(
        model, Watching(), train, lambda m: training.score(m, data.Batches(small(20), 20)), recipe,
        validate_raw=lambda m: ends.append(m.network.fc.bias.detach().clone()) or {"score": 0.0},
        seed=0, checkpoint_path=tmp_path / "c.safetensors", key="k", progress=False,
    )  # fmt: skip
    after = [*seen[1:8], ends[0], *seen[9:], ends[1]]
    expected = after[0]
    for t, each in enumerate(after[1:], start=1):
        decay = min(0.5, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * each
    assert torch.allclose(model.network.fc.bias, expected, atol=1e-6)
    assert [row["raw_score"] for row in state.history] == [0.0, 0.0]


def test_an_average_without_a_warm_up_keeps_its_beginning(tmp_path):
    """As earlier editions averaged, whose keys stay: 0.99^15 of the first step is left."""
    kept = {}
    for warm in (False, True):
        recipe = Recipe(epochs=10, batch_size=8, ema_decay=0.9, ema_warmup=warm)
        average = training.loop.average_of(holder := nn.Linear(1, 1, bias=False), recipe)
        for step in range(10):
            nn.init.constant_(holder.weight, float(step == 0))
            average.update_parameters(holder)
        kept[warm] = average.module.weight.item()
    assert kept[False] == pytest.approx(0.9**9)
    by_hand = math.prod(min(0.9, (1 + t) / (10 + t)) for t in range(1, 10))
    assert kept[True] == pytest.approx(by_hand)


@pytest.mark.parametrize(("decay", "way"), [(0.99, "lower it to 0.688"), (0.7, "train for more")])
def test_an_average_over_more_than_a_fifth_of_the_steps_is_refused(tmp_path, decay, way):
    recipe = Recipe(epochs=1, batch_size=4, ema_decay=decay)  # 16 steps, of which 3.2 are a fifth
    if decay < 0.75:
        recipe = recipe.model_copy(update={"batch_size": 8})  # 8 steps
    with pytest.raises(training.TrainingError, match=f"more than a fifth.*{way}"):
        fit(tmp_path, net(), recipe)
    assert not list(tmp_path.iterdir())


def test_weights_in_half_precision_are_the_model(tmp_path):
    model = net()
    path = tmp_path / "w.safetensors"
    halves = checkpoint.halved(checkpoint.weights_of(model))
    checkpoint.save_weights(path, halves, {})
    assert path.stat().st_size < 0.55 * 4 * models.count_parameters(model) + 20_000
    other = net(seed=1)
    checkpoint.load_weights(path, other)
    for name, value in other.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, model.state_dict()[name].half().float()), name
            assert value.dtype == torch.float32
        else:
            assert torch.equal(value, model.state_dict()[name])


def test_weights_too_large_for_half_precision_are_refused():
    with pytest.raises(RecordError, match="bn1.weight does not fit half precision"):
        checkpoint.halved({"bn1.weight": torch.tensor([70_000.0])})


def test_a_line_an_epoch_says_where_a_training_is(tmp_path):
    told = []
    recipe = Recipe(epochs=2, batch_size=8, ema_decay=0.5, precision="bf16", learning_rate=0.01)
    training.fit(
        net(), training.Standard(), data.Batches(small(), 8, shuffle=True),
        lambda m: training.score(m, data.Batches(small(20), 20), recipe), recipe,
        validate_raw=lambda m: {"validation_accuracy": 0.25}, seed=0, name="net", tell=told.append,
        checkpoint_path=tmp_path / "c.safetensors", key="k", progress=False,
    )  # fmt: skip
    instructions, pace, first, second = told
    assert instructions.startswith("net: this processor has ")
    assert "ms an image" in pace and "an epoch" in pace
    assert first.startswith("net: epoch 1/2, loss ") and "raw validation accuracy 25.0 %" in first
    assert second.startswith("net: epoch 2/2") and second.endswith("0 s left")


@pytest.mark.parametrize(
    ("seconds", "told"), [(40, "40 s"), (119, "119 s"), (720, "12 min"), (12_600, "3.5 h")]
)
def test_durations(seconds, told):
    assert training.loop.duration(seconds) == told


def test_a_nan_loss_stops_with_the_last_good_epoch_kept(tmp_path):
    class Poisoned:
        calls = 0

        def __call__(self, model, batch, generator, epoch):
            self.calls += 1
            step = training.Standard()(model, batch, generator, epoch)
            factor = float("nan") if self.calls > 2 else 1.0
            return type(step)(step.loss * factor, step.logits)

    recipe = Recipe(epochs=3, batch_size=32)
    with pytest.raises(training.TrainingError, match="loss is nan at epoch 2, step 1 of 2"):
        fit(tmp_path, net(), recipe, objective=Poisoned())
    kept = net(seed=5)
    state = checkpoint.load(
        tmp_path / "checkpoint.safetensors", kept, optimizer.build(kept, recipe), "k"
    )
    assert state.epoch == 1
    assert all(value.isfinite().all() for value in kept.state_dict().values())


@pytest.mark.parametrize("keep", [0, 7, 0.3, 0.95])
def test_a_truncated_checkpoint_is_named_and_left_alone(tmp_path, keep):
    recipe = Recipe(epochs=2, batch_size=32)
    fit(tmp_path, net(), recipe, stop_after=1)
    path = tmp_path / "checkpoint.safetensors"
    whole = path.read_bytes()
    cut = whole[: keep if isinstance(keep, int) else int(keep * len(whole))]
    path.write_bytes(cut)
    with pytest.raises(RecordError, match="checkpoint.safetensors is damaged"):
        fit(tmp_path, net(), recipe)
    assert path.read_bytes() == cut


def test_another_runs_checkpoint_is_refused(tmp_path):
    recipe = Recipe(epochs=2, batch_size=32)
    fit(tmp_path, net(), recipe, stop_after=1)
    with pytest.raises(RecordError, match="belongs to another run"):
        fit(tmp_path, net(), recipe, key="other")


def test_weights_of_another_architecture_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    checkpoint.save_weights(path, checkpoint.weights_of(net()), {})
    with pytest.raises(RecordError, match="does not fit this architecture"):
        checkpoint.load_weights(path, models.build("resnet18", width=12))


@pytest.mark.slow
def test_a_full_disk_keeps_the_last_checkpoint(tmp_path):
    script = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
from rslib import models
from rslib.store import records
from rslib.settings.schema import Recipe
from rslib.training import checkpoint, optimizer
from rslib.training.checkpoint import State
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
model = models.build("resnet18", width=8)
optim = optimizer.build(model, Recipe())
checkpoint.save(path, model, optim, State(epoch=1), "k")
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
try:
    checkpoint.save(path, model, optim, State(epoch=2), "k")
except records.RecordError as error:
    print("refused:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print("epoch", checkpoint.load(path, model, optim, "k").epoch)
"""
    path = tmp_path / "checkpoint.safetensors"
    command = [sys.executable, "-c", script, str(path), str(PROJECT)]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "refused: cannot write" in out.stdout, out.stderr
    assert "epoch 1" in out.stdout
    assert not list(tmp_path.glob(".*tmp"))


TRAIN = """
import sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from rslib import settings
from rslib.run import Run
size = {"data": {"name": "shapes", "train_size": 400, "test_size": 20, "validation_size": 20},
        "resnet18": {"width": 8},
        "training": {"standard": {"resnet18": {"epochs": 8, "batch_size": 50}}}}
run = Run(settings.load("smoke", size), root=Path(sys.argv[1]), progress=False)
run.trained("resnet18-standard")
"""


@pytest.mark.slow
def test_sigkill_at_random_moments_changes_nothing(tmp_path):
    def start(root):
        return subprocess.Popen([sys.executable, "-c", TRAIN, str(root), str(PROJECT)])

    def weights(root):
        return {path.name: records.file_digest(path) for path in root.rglob("*.safetensors")}

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    chance = random.Random(0)
    kills = 0
    while True:
        process = start(killed)
        # From the first checkpoint of this sitting on, any moment may be the last.
        seen = set(killed.rglob("checkpoint.json"))
        stamp = {p: p.stat().st_mtime_ns for p in seen}
        while process.poll() is None and kills < 2:
            now = {p: p.stat().st_mtime_ns for p in killed.rglob("checkpoint.json") if p.exists()}
            if now != stamp:
                time.sleep(chance.uniform(0, 0.6))
                process.kill()
                break
            time.sleep(0.01)
        if process.wait() == 0:
            break
        kills += 1
    assert kills == 2
    assert weights(killed) == weights(whole)
    assert not [path for path in killed.rglob("*.tmp")]


class Steps(training.Standard):
    """Keeps a weight of the model at each step."""

    def __init__(self, factor=1.0):
        super().__init__()
        object.__setattr__(self, "seen", [])
        object.__setattr__(self, "factor", factor)

    def __call__(self, model, batch, generator, epoch):
        self.seen.append(model.network.fc.weight.detach().clone())
        step = super().__call__(model, batch, generator, epoch)
        return training.Step(self.factor * step.loss, step.logits)


def followed(tmp_path, recipe, objective, validate, n=24, **options):
    model = net()
    train = data.Batches(small(n), recipe.batch_size, shuffle=True)
    return model, training.fit(
        model, objective, train, validate, recipe, seed=0, key="k", progress=False,
        checkpoint_path=tmp_path / "c.safetensors", **options,
    )  # fmt: skip


def alike(model):
    return {"validation_accuracy": 0.5}


def test_the_rate_of_a_step_is_that_of_its_end_and_the_first_of_equals_is_best(tmp_path):
    recipe = Recipe(epochs=2, batch_size=8, learning_rate=0.3, warmup_epochs=1.0, momentum=0.0)
    objective = Steps()
    _, state = followed(tmp_path, recipe, objective, alike)
    # The rates of the first epoch's three steps are 0.1, 0.2 and 0.3: none is 0.
    assert not torch.equal(objective.seen[0], objective.seen[1])
    assert state.best_epoch == 1


def test_a_gradient_is_clipped_to_its_length(tmp_path):
    moved = []
    for factor in (1e3, 1e6):
        recipe = Recipe(epochs=1, batch_size=8, clip_norm=0.5, momentum=0.0, weight_decay=0.0)
        objective = Steps(factor)
        followed(tmp_path / str(factor), recipe, objective, alike)
        moved.append((objective.seen[1] - objective.seen[0]).norm().item())
    # At a rate of 0.1 x 0.5 a step moves all weights by no more than that, however steep the loss.
    assert 0 < moved[0] <= 0.1 * 0.5 + 1e-6 and moved[0] == pytest.approx(moved[1], rel=1e-3)


def test_the_average_is_what_is_judged_and_kept_as_the_best(tmp_path):
    judged = []

    def validate(model):
        judged.append(checkpoint.weights_of(model))
        return {"validation_accuracy": len(judged) / 10}

    recipe = Recipe(epochs=2, batch_size=4, ema_decay=0.5)
    objective = Steps()
    model, state = followed(tmp_path, recipe, objective, validate)
    assert all(torch.equal(state.best[name], judged[1][name]) for name in state.best)
    assert all(torch.equal(v, judged[1][n]) for n, v in checkpoint.weights_of(model).items())
    # The next epoch starts from the weights themselves.
    assert not torch.equal(objective.seen[6], judged[0]["network.fc.weight"])


def test_scores_and_losses_are_means_over_images_not_batches():
    model, images = net().eval(), small(20)
    whole = training.score(model, data.Batches(images, 20))
    uneven = training.score(model, data.Batches(images, 16))
    assert uneven == pytest.approx(whole, rel=1e-5)
    tally = training.loop.Tally()
    for loss, size in ((1.0, 3), (5.0, 1)):
        logits = torch.tensor([[1.0, 0.0]] * size)
        tally.add(training.Step(torch.tensor(loss), logits), torch.zeros(size, dtype=torch.int64))
    tally.read()
    assert (tally.loss, tally.accuracy) == (2.0, 1.0)


def test_the_average_holds_buffers_too():
    model = nn.BatchNorm1d(1)
    average = training.loop.average_of(model, Recipe(ema_decay=0.5, ema_warmup=False))
    average.update_parameters(model)
    model.running_mean.fill_(4.0)
    average.update_parameters(model)
    assert average.module.running_mean.item() == pytest.approx(2.0)


def test_nesterov_and_the_rates_of_muon_are_as_the_recipe_says():
    (made,) = optimizer.build(net(), RECIPES["sgd"])
    assert made.param_groups[0]["nesterov"] and made.param_groups[0]["momentum"] == 0.9
    (made,) = optimizer.build(net(), Recipe())
    assert not made.param_groups[0]["nesterov"]
    muon, _ = optimizer.build(vit(), RECIPES["muon"])
    assert muon.param_groups[0]["adjust_lr_fn"] == "match_rms_adamw"


def test_an_altered_checkpoint_is_refused(tmp_path):
    recipe = Recipe(epochs=2, batch_size=32)
    fit(tmp_path, net(), recipe, stop_after=1)
    path = tmp_path / "checkpoint.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1  # the last bit of a weight's last number: safetensors cannot tell
    path.write_bytes(whole)
    with pytest.raises(RecordError, match="it was altered"):
        fit(tmp_path, net(), recipe)
