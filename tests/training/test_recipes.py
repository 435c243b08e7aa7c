"""Ingredients of recipes with fewer epochs: schedules, strong augmentation, mixing, patches."""

import math

import pytest
import torch
from torch import nn

from rslib import data, models, settings, training
from rslib.data import Augment, Batches, strong
from rslib.models.resampling import resampled
from rslib.run import Run, trainer
from rslib.settings import PROJECT, SettingsError, load
from rslib.settings.plan import plan
from rslib.settings.schema import Recipe
from rslib.store import records
from rslib.training import Adversarial, Attacker, loop, optimizer


def shapes(n=60, seed=0):
    return data.load("shapes", "train", n=n, seed=seed)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Schedule


def test_one_cycle_is_two_straight_lines():
    recipe = Recipe(epochs=10, learning_rate=0.4, warmup_epochs=2.0, schedule="one_cycle")
    rates = [optimizer.learning_rate(recipe, at) for at in (0.0, 1.0, 2.0, 4.0, 6.0, 10.0)]
    assert rates == pytest.approx([0.0, 0.2, 0.4, 0.3, 0.2, 0.0])


# RandAugment


@pytest.mark.parametrize("name", list(strong.operations()))
@pytest.mark.parametrize("magnitude", [9, 17])
def test_each_operation_is_torchvisions(name, magnitude):
    from torchvision.transforms import v2

    class Only(v2.RandAugment):
        _AUGMENTATION_SPACE = {name: v2.RandAugment._AUGMENTATION_SPACE[name]}

    images = shapes(6).images
    operation = strong.operations()[name]
    strength = operation.strength * magnitude / strong.STRONGEST
    sides = (1, -1) if operation.signed else (1,)
    ours = {side: operation.apply(images, side * strength) for side in sides}
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        theirs = Only(num_ops=1, magnitude=magnitude)(images)
        # torchvision's strengths are single precision, so a rounded level may be the next one.
        apart = {side: (made.int() - theirs.int()).abs().max() for side, made in ours.items()}
        matching = {side for side, most in apart.items() if most <= 1}
        assert matching
        seen |= matching
    assert seen == set(sides)


def test_the_operations_are_all_of_torchvisions():
    from torchvision.transforms import v2

    theirs = v2.RandAugment._AUGMENTATION_SPACE
    assert list(strong.operations()) == list(theirs)
    assert [each.signed for each in strong.operations().values()] == [x[1] for x in theirs.values()]


def test_every_image_has_operations_of_its_own_and_the_original_stays():
    one = shapes(1).images.expand(200, -1, -1, -1).contiguous()
    before = one.clone()
    made, _ = strong.RandAugment(2, 15)(one, None, generator())
    assert torch.equal(one, before)
    assert made.dtype == torch.uint8 and made.shape == one.shape
    # 14 operations, 9 of them with two signs, twice: few of 200 images can agree by chance.
    assert len(torch.unique(made.flatten(1), dim=0)) > 100


def test_masks_move_with_their_pixels(monkeypatch):
    moving = {name: each for name, each in strong.operations().items() if each.moves}
    assert set(moving) == {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"}
    monkeypatch.setattr(strong, "operations", lambda: moving)
    masks = shapes(40).masks
    images = (masks.unsqueeze(1).expand(-1, 3, -1, -1) * 255).to(torch.uint8)
    made, moved = strong.RandAugment(3, 20)(images, masks, generator())
    assert torch.equal(moved, made[:, 0] > 0)
    assert not torch.equal(moved, masks)


def test_colors_leave_masks_alone(monkeypatch):
    still = {name: each for name, each in strong.operations().items() if not each.moves}
    monkeypatch.setattr(strong, "operations", lambda: still)
    images = shapes(20)
    made, masks = strong.RandAugment(2, 20)(images.images, images.masks, generator())
    assert torch.equal(masks, images.masks) and not torch.equal(made, images.images)


# Erasing


def test_a_rectangle_of_the_stated_size_is_filled_with_one_color():
    n = 2000
    images = torch.full((n, 3, 32, 32), 7, dtype=torch.uint8)
    masks = torch.ones(n, 32, 32, dtype=torch.bool)
    made, kept = strong.Erasing(0.25)(images, masks, generator())
    hit = ~kept.flatten(1).all(1)
    assert hit.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(made[~hit], images[~hit])
    for image, mask in zip(made[hit][:50], ~kept[hit][:50], strict=True):
        rows, columns = mask.any(1).nonzero().squeeze(1), mask.any(0).nonzero().squeeze(1)
        assert mask.sum() == len(rows) * len(columns)  # a rectangle
        assert len(torch.unique(image[:, mask], dim=1)[0]) == 1
        assert (image[:, ~mask] == 7).all()
    area = (~kept[hit]).flatten(1).float().mean(1)
    assert 0.01 < area.min() < 0.05 and 0.25 < area.max() < 0.36


def test_no_chance_no_rectangle():
    images = shapes(20)
    made, masks = strong.Erasing(0.0)(images.images, images.masks, generator())
    assert torch.equal(made, images.images) and torch.equal(masks, images.masks)


# Mixing


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, None), (None, 1.0), (0.8, 1.0)])
def test_labels_are_shares_of_the_pixels(mixup, cutmix):
    y = torch.tensor([3, 1, 4, 0, 2, 2, 4])
    x = (y / 10).view(-1, 1, 1, 1).expand(-1, 3, 32, 32).contiguous()  # the label can be read off
    mix = strong.Mix(5, mixup, cutmix)
    for seed in range(6):
        mixed, shares = mix(x, y, seed)
        assert torch.allclose(shares.sum(1), torch.ones(7))
        read = mixed.mean((1, 2, 3))
        assert torch.allclose(read, shares @ (torch.arange(5) / 10), atol=1e-5)


def test_the_share_of_cutmix_is_as_set():
    x, y = torch.rand(8, 3, 8, 8), torch.arange(8)
    mix = strong.Mix(8, 1.0, 1.0, cutmix_probability=0.8)
    # CutMix leaves every pixel as it was in one of the two images.
    cut = [
        bool(((made == x) | (made == x.roll(1, 0))).all())
        for made in (mix(x, y, seed)[0] for seed in range(200))
    ]
    assert sum(cut) / 200 == pytest.approx(0.8, abs=0.09)


def test_the_loss_of_shares_by_hand():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.tensor([[0.0, math.log(3.0)]])

    step = training.Standard().on(Fixed(), torch.zeros(1, 3, 1, 1), torch.tensor([[0.3, 0.7]]))
    assert step.loss.item() == pytest.approx(-0.3 * math.log(0.25) - 0.7 * math.log(0.75))


def test_of_mixed_images_the_larger_share_counts():
    tally = loop.Tally()
    logits = torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    shares = torch.tensor([[0.4, 0.6], [0.6, 0.4], [0.1, 0.9]])
    tally.add(training.objectives.Step(torch.tensor(2.0), logits), shares)
    tally.read()
    assert (tally.accuracy, tally.loss) == (pytest.approx(2 / 3), 2.0)


# Batches


def everything(seed=0, **options):
    return Batches(
        shapes(50), 16, shuffle=True, augment=Augment(), seed=seed, channels_last=True,
        strong=[strong.RandAugment(), strong.Erasing(0.5)], mix=strong.Mix(10, 0.8, 1.0), **options,
    )  # fmt: skip


def same(first, second):
    pairs = zip(first, second, strict=True)
    return all(torch.equal(p.x, q.x) and torch.equal(p.y, q.y) for p, q in pairs)


def test_an_epoch_with_everything_depends_on_seed_and_number_alone():
    uninterrupted = everything()
    epochs = [list(uninterrupted.epoch(k)) for k in range(3)]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert same(everything().epoch(2), epochs[2])
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(epochs[1], epochs[2])
    assert not same(everything(seed=1).epoch(2), epochs[2])


def test_order_and_crops_are_those_of_an_epoch_without_it():
    plain = Batches(shapes(50), 16, shuffle=True, augment=Augment(), seed=0)
    erased = Batches(
        shapes(50), 16, shuffle=True, augment=Augment(), seed=0, strong=[strong.Erasing(0.5)]
    )
    untouched = []
    for a, b, mixed in zip(plain.epoch(1), erased.epoch(1), everything().epoch(1), strict=True):
        assert torch.equal(a.ids, b.ids) and torch.equal(a.ids, mixed.ids)
        untouched += (a.x == b.x).flatten(1).all(1).tolist()
        assert mixed.masks is None and mixed.y.shape == (len(a.y), 10)
        assert mixed.x.is_contiguous(memory_format=torch.channels_last)
    assert sum(untouched) / len(untouched) == pytest.approx(0.5, abs=0.25)


# Refusals


@pytest.mark.parametrize(
    ("training", "said"),
    [
        (
            {"aligned": {"resnet18": {"mixup": 0.8}}},
            "aligned: resnet18: mixup and cutmix blend two",
        ),
        ({"robust_aligned": {"vit_small": {"cutmix": 1.0}}}, "no one mask"),
        ({"aligned": {"vit_small": {"compile": True}}}, "compile leaves out the hooks"),
        (
            {"standard": {"resnet18": {"drop_path": 0.1}}},
            "resnet18: drop_path 0.1 is for vit_small",
        ),
        ({"standard": {"start": "adversarial"}}, "start goes in a circle"),
        ({"standard": {"start": "pretrainin"}}, "no training 'pretrainin'"),
        ({"standard": {"resnet18": {"schedule": "linear"}}}, "'cosine', 'one_cycle' or 'constant'"),
        (
            {"standard": {"resnet18": {"optimizer": "muon"}}},
            "resnet18: muon steps .* has none; set optimizer to sgd or adamw",
        ),
        ({"standard": {"alexnet": {"optimizer": "muon"}}}, "alexnet: muon steps"),
        ({"noise": {"resnet18": {"optimizer": "muon"}}}, "noise: resnet18: muon steps"),
        ({"standard": {"vit_small": {"cutout": 33}}}, "cutout: .* less than or equal to 32"),
        ({"standard": {"vit_small": {"mixed_share": 1.5}}}, "mixed_share: .* or equal to 1 "),
        ({"standard": {"vit_small": {"mixed_share": 0.0}}}, "mixed_share: .* greater than 0 "),
        ({"standard": {"vit_small": {"light_epochs": 30}}}, "light_epochs 30 .* at most epochs"),
        ({"standard": {"resnet18": {"randaugment_magnitude": 31}}}, "less than or equal to 30"),
    ],
)
def test_what_cannot_be_combined_is_refused(training, said):
    with pytest.raises(SettingsError, match=said):
        load("smoke", {"training": training})


# Stochastic depth


def test_drop_path_changes_training_alone():
    torch.manual_seed(0)
    model = models.build("vit_small", dim=24, depth=3, heads=3, patch=8)
    x, names = torch.rand(4, 3, 32, 32), list(model.state_dict())
    before = model.eval()(x)
    models.set_drop_path(model, 0.5)
    assert [block.drop_path2.drop_prob for block in model.network.blocks] == [0.0, 0.25, 0.5]
    assert list(model.state_dict()) == names
    assert torch.equal(model.eval()(x), before)
    assert not torch.equal(model.train()(x), model(x))


# Patches of another size


def vit(patch, **size):
    torch.manual_seed(0)
    return models.build("vit_small", **{"dim": 24, "depth": 2, "heads": 3, **size}, patch=patch)


def test_weights_of_the_same_size_are_handed_on_as_they_are():
    source = vit(4)
    for name, value in resampled(source.state_dict(), vit(4)).items():
        assert value is source.state_dict()[name] or torch.equal(value, source.state_dict()[name])


def test_resampled_weights_see_a_smooth_image_as_before():
    coarse, fine = vit(4, dim=48), vit(2, dim=48)
    nn.init.normal_(coarse.network.patch_embed.proj.weight, std=0.1)
    found = resampled(coarse.state_dict(), fine)
    shapes_of = {name: value.shape for name, value in fine.state_dict().items()}
    assert {name: value.shape for name, value in found.items()} == shapes_of
    fine.load_state_dict(found)
    # Six images, each of one color, so that a patch of either size holds the same.
    x = torch.rand(6, 3, 1, 1, generator=generator()).expand(-1, -1, 32, 32)
    with torch.no_grad():
        before, after = (m.network.patch_embed(m.normalize(x))[:, 0] for m in (coarse, fine))
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
        before, after = (model.eval()(x) for model in (coarse, fine))
    # Relative to how far the images' logits lie apart.
    apart = (before - before.mean(0)).abs().max()
    assert (after - before).abs().max() < 0.2 * apart


def test_a_start_from_pretraining_is_the_transformers_alone():
    chosen = load("paper", {"training": {"standard": {"start": "pretraining"}}})
    assert plan(chosen, "vit_small-standard").parent == "vit_small-pretraining"
    assert plan(chosen, "resnet18-standard").parent is None
    assert plan(chosen, "alexnet-standard").parent is None
    assert plan(load("paper"), "vit_small-standard").parent is None
    both = {"start": "pretraining"}, {"architectures": ["resnet18"]}
    turned = load("paper", {"training": dict(zip(("standard", "pretraining"), both, strict=True))})
    assert plan(turned, "vit_small-standard").parent is None
    assert plan(turned, "resnet18-standard").parent == "resnet18-pretraining"
    with pytest.raises(ValueError, match="pretraining training has no recipe for resnet18"):
        plan(chosen, "resnet18-pretraining")


def test_the_patch_of_pretraining_is_its_own(tmp_path):
    overrides = {"training": {"pretraining": {"patch": 4}, "standard": {"start": "pretraining"}}}
    run = Run(load("paper", overrides), root=tmp_path)
    assert plan(run.settings, "vit_small-pretraining").size.patch == 4
    assert plan(run.settings, "vit_small-standard").size.patch == 2
    inputs = run.model_inputs("vit_small-standard")
    assert inputs["parent"]["architecture"] == {"patch": 4}
    assert inputs["objective"] == {"start": "pretraining"}


ADAMW = {"epochs": 4, "optimizer": "adamw", "clip_norm": 1.0}


def test_settings_at_rest_do_not_enter_a_key(tmp_path):
    chosen = load("paper", {"training": {"adversarial": {"vit_small": ADAMW}}})
    inputs = Run(chosen, root=tmp_path).model_inputs("vit_small-adversarial")
    expected = {**ADAMW, "learning_rate": 0.001, "decay_positions": False}
    assert inputs["recipe"] == expected
    assert "objective" not in inputs["parent"] and "parent" not in inputs["parent"]
    assert "weights" not in inputs


@pytest.mark.parametrize(
    ("architecture", "recipe", "told"),
    [
        # What is computed otherwise than before is told apart from it,
        ("resnet18", {"ema_decay": 0.9}, {"ema_warmup": True}),
        ("vit_small", {"optimizer": "adamw"}, {"decay_positions": False}),
        # and the way of before has the keys that it had.
        ("resnet18", {"ema_decay": 0.9, "ema_warmup": False}, {}),
        ("vit_small", {"optimizer": "adamw", "decay_positions": True}, {}),
        ("resnet18", {"optimizer": "adamw"}, {}),  # it has no position embeddings
        ("resnet18", {"ema_warmup": False}, {}),
        ("vit_small", {"optimizer": "muon"}, {}),
    ],
)
def test_keys_tell_what_is_computed_otherwise_than_before(architecture, recipe, told):
    made = Recipe(**recipe)
    before = {key: recipe[key] for key in recipe if key not in ("ema_warmup", "decay_positions")}
    assert made.inputs(architecture) == before | told
    chosen = load("paper", {"training": {"standard": {architecture: recipe}}})
    dumped = chosen.model_dump(exclude_defaults=True)["training"]["standard"][architecture]
    assert {key: dumped[key] for key in dumped if key != "learning_rate"} == before | told


# Keys of results of which nothing changed, as published before there were these settings.
PINNED = {
    ("cpu", "resnet18-standard"): "6f4236ee62",
    ("cpu", "resnet18-adversarial"): "890a110655",
    ("cpu", "alexnet-standard"): "ad1bf4ff1d",
    ("cpu", "vit_small-adversarial"): "2e753f72ef",
    ("fast", "alexnet-standard"): "0adc1427b5",
    ("fast", "resnet18-standard"): "bad88ac944",
    ("fast", "vit_small-adversarial"): "b608ae89bf",
}


@pytest.mark.parametrize(("edition", "name"), PINNED)
def test_keys_of_published_models_stay(tmp_path, edition, name):
    path = PROJECT / "book" / "published" / edition / "params.yaml"
    run = Run(load(str(path)), root=tmp_path)
    assert records.key(**run.model_inputs(name)) == PINNED[edition, name]


# The loop


class Stop(Exception):
    pass


def fit(folder, model, recipe, objective=None, *, images=40, stop_after=None):
    def after(state):
        if state.epoch == stop_after:
            raise Stop

    return training.fit(
        model,
        objective or training.Standard(recipe.label_smoothing),
        trainer.batches(shapes(images), recipe, device=torch.device("cpu"), seed=0),
        lambda model: training.score(model, Batches(shapes(20, seed=1), 20)),
        recipe,
        seed=0,
        checkpoint_path=folder / "checkpoint.safetensors",
        key="k",
        progress=False,
        after_epoch=after,
    )


EVERYTHING = Recipe(
    epochs=3, batch_size=16, optimizer="adamw", learning_rate=1e-3, warmup_epochs=1.0,
    schedule="one_cycle", label_smoothing=0.1, clip_norm=1.0, randaugment=2, erasing=0.5,
    mixup=0.8, cutmix=1.0, drop_path=0.3, ema_decay=0.3,
)  # fmt: skip


@pytest.mark.parametrize("attacked", [False, True])
def test_a_training_with_everything_is_resumed_to_the_bit(tmp_path, attacked):
    from rslib.attacks import Threat

    objective = None
    if attacked:
        objective = Adversarial(Attacker(Threat("linf", 8 / 255), 4 / 255, 2, warmup_epochs=2.0))

    def net():
        model = vit(8)
        models.set_drop_path(model, EVERYTHING.drop_path)
        return model

    whole, resumed = net(), net()
    expected = fit(tmp_path / "a", whole, EVERYTHING, objective)
    with pytest.raises(Stop):
        fit(tmp_path / "b", net(), EVERYTHING, objective, stop_after=2)
    state = fit(tmp_path / "b", resumed, EVERYTHING, objective)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert state.best_epoch == expected.best_epoch
    assert [row["train_loss"] for row in state.history] == [
        row["train_loss"] for row in expected.history
    ]


def test_mixed_images_can_be_attacked_and_pulled():
    from rslib.attacks import Threat

    attacker = Attacker(Threat("linf", 8 / 255), 4 / 255, 2)
    batch = next(iter(everything()))
    for objective in (Adversarial(attacker, 1.0), training.Trades(attacker)):
        step = objective(vit(8).train(), batch, generator(), 0.0)
        step.loss.backward()
        assert step.loss.isfinite() and step.logits.shape == (16, 10)


def test_bf16_losses_are_taken_in_full_precision():
    batch = next(iter(everything()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = training.Standard(0.1)(vit(8), batch, generator(), 0.0)
    assert step.loss.dtype == torch.float32


def test_readings_far_apart_keep_no_bad_epoch_and_name_the_step(tmp_path, monkeypatch):
    class Poisoned:
        calls = 0

        def __call__(self, model, batch, generator, epoch):
            self.calls += 1
            step = training.Standard()(model, batch, generator, epoch)
            return type(step)(step.loss * (math.nan if self.calls == 5 else 1.0), step.logits)

    monkeypatch.setattr(loop, "pace", lambda device: (50, 0.0))
    recipe = Recipe(epochs=4, batch_size=16, learning_rate=0.01)
    with pytest.raises(training.TrainingError, match="epoch 2, step 2 of 3. Epoch 1 is kept"):
        fit(tmp_path, vit(8), recipe, Poisoned())


def test_how_often_the_loss_is_read_changes_nothing(tmp_path, monkeypatch):
    recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.01)
    often, seldom = vit(8), vit(8)
    first = fit(tmp_path / "a", often, recipe)
    monkeypatch.setattr(loop, "pace", lambda device: (2, 1000.0))
    written = []
    second = training.fit(
        seldom, training.Standard(), trainer.batches(shapes(40), recipe, device="cpu", seed=0),
        lambda model: training.score(model, Batches(shapes(20, seed=1), 20)), recipe, seed=0,
        checkpoint_path=tmp_path / "b.safetensors", key="k", progress=False,
        after_epoch=lambda state: written.append(state.epoch),
    )  # fmt: skip
    assert written == [2]  # the last epoch is written however little time has gone by
    for name, value in often.state_dict().items():
        assert torch.equal(value, seldom.state_dict()[name])
    strip = [{**row, "seconds": 0} for row in first.history]
    assert strip == [{**row, "seconds": 0} for row in second.history]


def test_only_whole_batches_are_compiled_for_and_every_image_is_seen(tmp_path, monkeypatch):
    compiled, seen = [], []

    class Compiled(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            compiled.append(len(x))
            return self.model(x)

    class Counting(training.Standard):
        def __call__(self, model, batch, generator, epoch):
            seen.extend(batch.ids.tolist())
            return super().__call__(model, batch, generator, epoch)

    monkeypatch.setattr(torch, "compile", lambda model, **options: Compiled(model))
    fit(tmp_path, vit(8), Recipe(epochs=1, batch_size=16, compile=True), Counting())
    assert compiled == [16, 16]
    assert sorted(seen) == sorted(shapes(40).ids.tolist())


def test_an_average_has_the_statistics_of_what_the_objective_showed(tmp_path):
    torch.manual_seed(0)
    model = models.build("resnet18", width=8)
    seen = []

    class Black(training.Standard):
        """Of black images, as no clean batch is."""

        def __call__(self, model, batch, generator, epoch):
            seen.append(model.network.bn1.running_mean.clone())
            return super().__call__(model, batch._replace(x=0 * batch.x), generator, epoch)

    trained = trainer.batches(shapes(40), recipe := Recipe(
        epochs=4, batch_size=10, ema_decay=0.65, ema_warmup=False
    ), device=torch.device("cpu"), seed=0)  # fmt: skip
    training.fit(
        model, Black(), trained, lambda _: {"validation_accuracy": 0.5}, recipe, seed=0,
        checkpoint_path=tmp_path / "checkpoint.safetensors", key="k", progress=False,
        after_epoch=lambda state: seen.append(model.network.bn1.running_mean.clone()),
    )  # fmt: skip
    # Four steps an epoch: what a step left is what the next one finds, the last one after it.
    after = [each for start in (1, 6, 11, 16) for each in seen[start : start + 4]]
    expected = after[0]
    for each in after[1:]:
        expected = 0.65 * expected + 0.35 * each
    assert torch.allclose(model.network.bn1.running_mean, expected, atol=1e-6)
    assert not torch.allclose(expected, after[-1], atol=1e-6)


# The profile


def reduced(profile):
    """A profile's settings at a size at which each of its trainings takes one step."""
    chosen = load(profile)
    small = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": 20, "compile": False}
    small |= {"precision": "fp32", "ema_decay": None, "light_epochs": 0}
    changes = {}
    for name in type(chosen.training).model_fields:
        section = getattr(chosen.training, name)
        changes[name] = {architecture: small for architecture in section.recipes}
        if hasattr(section, "steps"):
            changes[name] |= {"steps": 2, "validation_images": 10}
    return load(profile, {
        "data": {"name": "shapes", "train_size": 20, "test_size": 20, "validation_size": 20},
        "resnet18": {"width": 8},
        "vit_small": {"dim": 24, "depth": 2, "heads": 3},
        "alexnet": {"width": 0.1},
        "training": changes,
    })  # fmt: skip


@pytest.fixture(scope="module")
def fast(tmp_path_factory):
    return Run(reduced("fast"), root=tmp_path_factory.mktemp("fast"), progress=False)


@pytest.mark.parametrize(
    "name",
    [
        f"{architecture}-{name}"
        for name in type(settings.load("fast").training).model_fields
        if name not in ("added", "pretraining")  # it trains no first stage
        for architecture in getattr(settings.load("fast").training, name).recipes
    ],
)
def test_every_training_of_the_fast_profile_takes_a_step(fast, name):
    if name.endswith("teacher"):  # each has half of the images
        assert fast.recipe(name).epochs == 1
    summary = fast.trained(name) and fast.summary(name)
    assert math.isfinite(summary["history"][0]["train_loss"])
    full = settings.load("fast")
    recipe = plan(full, name).recipe
    assert recipe.epochs > recipe.warmup_epochs


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_attacked_training_is_compiled_twice_and_takes_the_same_steps(tmp_path, monkeypatch):
    from torch._dynamo.testing import CompileCounterWithBackend

    from rslib.attacks import Threat

    counter, real = CompileCounterWithBackend("aot_eager"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **options: real(m, backend=counter, **options))
    losses = []
    for compiled in (True, False):
        model = vit(8, depth=1)
        models.set_drop_path(model, 0.3)
        recipe = Recipe(epochs=2, batch_size=16, learning_rate=0.01, mixup=0.8, compile=compiled)
        objective = Adversarial(Attacker(Threat("linf", 8 / 255), 4 / 255, 2), 0.7)
        state = fit(tmp_path / str(compiled), model, recipe, objective)
        losses.append([row["train_loss"] for row in state.history])
    assert counter.frame_count == 2  # to train, and to be attacked
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


# Recipes side by side


def document(variant, right):
    import numpy as np

    from benchmarks import recipes

    return {
        "variant": recipes.described(variant),
        "images": 20,
        "steps": 40,
        "processor_seconds": 3.0 + variant.seed,
        "train_loss": [1.0],
        "right": recipes.packed(np.array(right, bool)),
    }


def of(arm, seed=0):
    from benchmarks import recipes

    return recipes.Variant("resnet18", list(recipes.GROUPS["resnet18"].arms)[arm], seed)


def test_differences_of_recipes_are_paired_by_seed_and_told_over_seeds():
    from benchmarks import recipes

    half, more = [1, 1, 0, 0] * 25, [1, 1, 1, 0] * 25
    most = [1, 1, 1, 0] * 24 + [1, 1, 1, 1]
    made = [document(of(0, seed), half) for seed in (0, 1, 2)]
    made += [document(of(1, seed), right) for seed, right in enumerate((more, more, most))]
    rows = recipes.summarize(made)
    first, second = (row for row in rows if row["group"] == "resnet18")
    assert first["accuracy"] == [50.0] * 3 and first["differences"] == []
    assert [each["value"] for each in second["differences"]] == [25.0, 25.0, 26.0]
    assert all(each["low"] > 0 for each in second["differences"])
    gap = recipes.over_seeds(second)
    # Standard deviation 0.577 of three, times 4.303 / sqrt(3).
    assert (gap.value, gap.high - gap.value) == (
        pytest.approx(25.333, 1e-4),
        pytest.approx(1.434, 1e-3),
    )
    report = {"rows": rows, "machine": {"device": "CPU, 1 thread"}}
    text = recipes.markdown(report)
    assert "(width 8) on CIFAR-10: 20 training images, 40 steps.** SGD" in text
    assert "| PyTorch's initial weights | 75.3 ± 0.6 | +25.3 [+23.9, +26.8] | better |" in text
    assert "| AdamW | not measured yet |" in text
    assert recipes.describe(report) == (
        "Mean differences in points: PyTorch's initial weights +25.3."
    )
    (axis,) = recipes.figure(report).axes
    assert [each.get_text() for each in axis.get_yticklabels()] == ["PyTorch's initial weights"]


def test_of_few_seeds_nothing_is_concluded_and_the_others_are_named():
    from benchmarks import recipes

    rows = recipes.summarize([document(of(0), [1, 0] * 20), document(of(1), [0, 0] * 20)])
    text = recipes.markdown({"rows": rows, "machine": {"device": "CPU, 1 thread"}})
    (line,) = [line for line in text.splitlines() if line.startswith("| PyTorch's")]
    assert line.startswith("| PyTorch's initial weights | 0.0 |  |  | −50.0 [−")
    assert "seed 1 not measured yet; seed 2 not measured yet" in line
    # Without the recipe it is compared with, there is nothing to draw.
    alone = recipes.summarize([document(of(1), [1, 0] * 20)])
    assert recipes.describe({"rows": alone}) == ""


def test_a_training_of_other_settings_is_not_taken_for_a_finished_one(tmp_path):
    from benchmarks import recipes
    from rslib.store import records

    path = tmp_path / "recipes" / f"{of(0).name}.json"
    assert recipes.finished(of(0), tmp_path) is None
    made = document(of(0), [1, 0] * 20)
    records.write_json(path, made)
    assert recipes.finished(of(0), tmp_path) == made
    assert [row["seeds"] for row in recipes.collect(tmp_path)["rows"]].count([0]) == 1
    made["variant"]["recipe"]["epochs"] += 1
    records.write_json(path, made)
    assert recipes.finished(of(0), tmp_path) is None


def test_every_training_of_the_comparison_has_settings_and_a_file_of_its_own():
    from benchmarks import recipes

    assert len({each.name for each in recipes.VARIANTS}) == len(recipes.VARIANTS) == 27
    for variant in recipes.VARIANTS:
        run, told = recipes.run_of(variant), recipes.described(variant)
        architecture = recipes.GROUPS[variant.group].architecture
        recipe = run.recipe(f"{architecture}-standard")
        assert recipe.model_dump().items() >= told["recipe"].items()
        assert getattr(run.settings, architecture).model_dump().items() >= told["net"].items()
        assert run.seed == variant.seed


@pytest.fixture
def short(monkeypatch):
    """The comparison of averages at a size of six steps."""
    from dataclasses import replace

    from benchmarks import recipes

    group = recipes.GROUPS["averaging"]
    small = {"train_size": 60, "validation_size": 40}
    smaller = replace(
        group,
        images=group.images | small,
        recipe=group.recipe | {"epochs": 2, "batch_size": 20, "warmup_epochs": 1.0},
    )
    monkeypatch.setitem(recipes.GROUPS, "averaging", smaller)
    return recipes


def test_an_average_beside_a_training_is_the_one_that_it_keeps(short, tmp_path):
    average = {"ema_decay": 0.1, "ema_warmup": False}
    run = short.run_of(short.Variant("averaging", "no averaging", 0))
    recipe = run.recipe("resnet18-standard")
    beside, kept = run.build("resnet18-standard"), run.build("resnet18-standard")
    watching = short.Averaging(training.Standard(), beside, average)
    for net, objective, chosen in (
        (beside, watching, recipe),
        (kept, training.Standard(), recipe.model_copy(update=average)),
    ):
        training.fit(
            net, objective, trainer.batches(run.data("train"), recipe, device="cpu", seed=0),
            lambda _: {"validation_accuracy": 0.0}, chosen, seed=0,
            checkpoint_path=tmp_path / f"{chosen.ema_decay}.safetensors", key="k", progress=False,
        )  # fmt: skip
    averaged = watching.finished().state_dict()
    for name, value in kept.state_dict().items():
        assert torch.equal(value, averaged[name]), name
    assert not torch.equal(beside.network.fc.weight, kept.network.fc.weight)


def test_the_command_measures_what_is_missing(short, tmp_path, monkeypatch, capsys):
    from rslib.store import records

    variants = [short.Variant("averaging", arm, 0) for arm in short.GROUPS["averaging"].arms]
    monkeypatch.setattr(short, "VARIANTS", variants)
    monkeypatch.setattr("sys.argv", ["recipes", "--out", str(tmp_path), "--groups", "averaging"])
    short.main()
    assert len(capsys.readouterr().out.splitlines()) == 3
    report = records.read_json(tmp_path / short.FILE)
    told = {row["arm"]: row for row in report["rows"] if row["group"] == "averaging"}
    assert {row["steps"][0] for row in told.values()} == {6}
    assert (tmp_path / "recipes.md").read_text() == short.markdown(report)
    (tmp_path / "recipes" / f"{variants[1].name}.json").unlink()
    short.main()
    assert capsys.readouterr().out.startswith(variants[1].name)
    again = records.read_json(tmp_path / short.FILE)
    strip = [{**row, "seconds": 0} for row in report["rows"]]
    assert strip == [{**row, "seconds": 0} for row in again["rows"]]
