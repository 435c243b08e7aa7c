"""The AutoAttack adapter: the package's own answers, and what the package leaves to its caller."""

import logging
import sys

import pyautoattack
import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import nn

from rslib.attacks import ProbabilityOutputWarning, Threat
from rslib.attacks.autoattack import ReducedAutoAttackWarning, autoattack, run_autoattack
from rslib.attacks.square import square

# The package exports the function, which hides the module of the same name.
module = sys.modules["rslib.attacks.autoattack"]

EPS = 4 / 255
QUICK = {"steps": 6, "queries": 30}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """Logits linear in the image, so that the exact outcome of a perfect attack is known."""

    def __init__(self, classes=10, side=6, seed=0):
        super().__init__()
        self.weight = nn.Parameter(0.2 * torch.randn(classes, 3 * side**2, generator=seeded(seed)))

    def forward(self, x):
        return (x - 0.5).flatten(1) @ self.weight.T

    def breakable(self, x, y, eps):
        """Least margin over all wrong classes after the best l_inf change; clipping not needed."""
        logits, rows = self(x).detach(), self.weight.detach()
        margin = logits.gather(1, y.unsqueeze(1)) - logits
        margin = margin - eps * (rows[y].unsqueeze(1) - rows.unsqueeze(0)).abs().sum(2)
        return margin.scatter(1, y.unsqueeze(1), torch.inf).amin(1)


class Bends(nn.Module):
    """A small net whose classes differ in how hard they are to leave."""

    def __init__(self, classes=10, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 6, 3, stride=2, padding=1),
                nn.BatchNorm2d(6),
                nn.ReLU(),
                nn.Flatten(),
                nn.Dropout(0.5),
                nn.Linear(6 * 9, classes),
            )

    def forward(self, x):
        return 5 * self.layers(x - 0.5)


def images(n, seed=0, side=6):
    return 0.1 + 0.8 * torch.rand(n, 3, side, side, generator=seeded(seed))


def labelled(model, n, wrong=2):
    """Images with the model's own answers as labels, a few of them wrong on purpose."""
    x = images(n)
    training = model.training
    with torch.no_grad():
        y = model.eval()(x).argmax(1)
    model.train(training)
    y[:wrong] = (y[:wrong] + 1) % 10
    return x, y


@pytest.fixture(scope="module")
def linear():
    """A linear model, images around its decisions, and what the quick attack finds on them."""
    model = Linear()
    x, y = labelled(model, 40)
    return model, x, y, run_autoattack(model, x, y, eps=EPS, batch_size=40, **QUICK)


# The answers


def test_the_outcome_on_a_linear_model_is_the_exact_one(linear):
    model, x, y, result = linear
    margin = model.breakable(x, y, EPS)
    clear = margin.abs() > 0.02
    assert torch.equal(result.robust[clear], margin[clear] > 0)
    assert clear.sum() > 30
    assert 5 < result.robust.sum() < 35


def quick_package(model, norm, eps):
    """The package called directly, its attacks built anew with fewer iterations."""
    adversary = pyautoattack.AutoAttack(model, norm=norm, eps=eps, seed=3, version="standard")
    options = {"norm": norm, "eps": eps, "n_restarts": 1, "eot_iter": 1, "rho": 0.75, "seed": 3}
    options |= {"n_iter": QUICK["steps"], "verbose": False, "device": "cpu"}
    options["logger"] = logging.getLogger("auto-attack")
    adversary.apgd = APGDAttack(model, **options)
    adversary.apgd_targeted = APGDAttack_targeted(model, n_target_classes=9, **options)
    adversary.fab.n_iter = QUICK["steps"]
    adversary.square.n_queries = QUICK["queries"]
    return adversary


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "eps"), [("linf", 6 / 255), ("l2", 0.3)])
def test_same_images_and_flags_as_the_package_called_directly(norm, eps, caplog):
    caplog.set_level(logging.CRITICAL, "auto-attack")
    model = Bends().eval()
    x, y = labelled(model, 16)
    with torch.random.fork_rng():
        adversary = quick_package(model, {"linf": "Linf", "l2": "L2"}[norm], eps)
        expected, answers = adversary.run_standard_evaluation(x, y, batch_size=9)
    result = run_autoattack(model, x, y, eps=eps, norm=norm, batch_size=9, seed=3, **QUICK)
    assert torch.equal(result.x_adv, expected)
    assert torch.equal(result.robust, answers == y)
    assert 0 < result.robust.sum() < 20


def test_the_function_returns_the_images_of_the_result(monkeypatch):
    model = Linear()
    x, y = labelled(model, 4)
    monkeypatch.setattr(module, "ATTACKS", ("apgd-ce",))
    x_adv = autoattack(model, x, y, eps=EPS, seed=1)
    assert torch.equal(x_adv, run_autoattack(model, x, y, eps=EPS, seed=1).x_adv)


# The record


def test_every_image_is_accounted_for(linear):
    model, x, y, result = linear
    assert result.stages == ("clean", "known", "apgd-ce", "apgd-t", "fab-t", "square")
    assert result.broken_by[:2].tolist() == [0, 0]
    assert torch.equal(result.broken_by < 0, result.robust)
    unchanged = (result.x_adv == x).flatten(1).all(1)
    assert torch.equal(unchanged, result.robust | (result.broken_by == 0))
    with torch.no_grad():
        assert torch.equal(model(result.x_adv).argmax(1) == y, result.robust)
    assert result.mismatches == 0
    assert Threat("linf", EPS).distance(result.x_adv, x).max() <= EPS + 1e-6
    assert (result.broken_by != 0).sum() == 38


def test_provenance(linear):
    *_, result = linear
    assert result.package == f"pyautoattack {pyautoattack.__version__}"
    assert result.label == (
        "AutoAttack (standard), changed: 6 steps instead of 100; 30 Square queries instead of 5000"
    )
    assert result.flags == ()
    # 38 correct images, 7 passes of APGD-CE each, and much more.
    assert result.evaluations > 38 * 7


def test_the_unreduced_version_is_called_standard(monkeypatch):
    package = pyautoattack.AutoAttack
    monkeypatch.setattr(package, "run_standard_evaluation", lambda self, x, y, **_: (x.clone(), y))
    model = Linear()
    x, y = labelled(model, 3)
    assert run_autoattack(model, x, y, eps=EPS).label == "AutoAttack (standard)"


def test_individual_outcomes(linear):
    model, x, y, together = linear
    result = run_autoattack(model, x, y, eps=EPS, batch_size=40, individual=True, **QUICK)
    assert torch.equal(result.x_adv, together.x_adv)
    # What broke an image in turn also breaks it alone here, as the first attack has all images.
    first = result.broken_by == 2
    assert torch.equal(result.alone[:, 0], first | (result.broken_by == 0))
    assert result.alone.shape == (40, 4) and together.alone is None
    broken = result.alone.sum(0).tolist()
    assert broken[3] <= broken[1] and max(broken) <= (~result.robust).sum()


def test_what_an_earlier_attack_broke_is_taken_over_and_said_so(linear):
    model, x, y, plain = linear
    known = plain.x_adv.clone()
    broken = (plain.broken_by > 0).nonzero().squeeze(1)
    outside, kept = broken[0], broken[1:]
    known[outside] = (x[outside] - known[outside]).sign() * 2 * EPS + x[outside]
    result = run_autoattack(model, x, y, eps=EPS, batch_size=40, known=known, **QUICK)
    assert (result.broken_by[kept] == 1).all()
    assert torch.equal(result.x_adv[kept], known[kept])
    assert result.broken_by[outside] != 1
    assert torch.equal(result.robust, plain.robust)
    assert result.evaluations < plain.evaluations
    assert result.label.startswith("worst case of an earlier attack and AutoAttack")
    with pytest.raises(ValueError, match="known has shape"):
        run_autoattack(model, x, y, eps=EPS, known=known[:3])


# What must not matter, and what must be put back


@pytest.mark.slow
def test_a_shard_depends_on_its_arguments_alone(linear):
    model, x, y, whole = linear
    torch.manual_seed(99)
    again = run_autoattack(model, x, y, eps=EPS, batch_size=40, **QUICK)
    assert torch.equal(again.x_adv, whole.x_adv)
    first, second = (
        run_autoattack(model, x[part], y[part], eps=EPS, batch_size=20, **QUICK)
        for part in (slice(20), slice(20, 40))
    )
    assert first.robust.tolist() + second.robust.tolist() == whole.robust.tolist()


def test_global_state_is_put_back():
    model = Bends().train()
    flags = [parameter.requires_grad_(k % 2 == 0) for k, parameter in enumerate(model.parameters())]
    flags = [parameter.requires_grad for parameter in flags]
    x, y = labelled(model, 5)
    logger = logging.getLogger("auto-attack")
    level, handlers = logger.level, list(logger.handlers)
    before = torch.random.get_rng_state()
    trace, tracer = sys.gettrace(), lambda frame, event, argument: None
    sys.settrace(tracer)
    try:
        run_autoattack(model, x, y, eps=EPS, **QUICK)
        kept = sys.gettrace()
    finally:
        sys.settrace(trace)
    assert kept is tracer
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (logger.level, logger.handlers, logger.propagate) == (level, handlers, True)
    assert all(part.training for part in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_is_left_changed_after_a_failure():
    class Breaks(Linear):
        def forward(self, x):
            logits = super().forward(x)
            return logits * torch.nan if x.requires_grad else logits

    model = Breaks().train()
    x, y = labelled(Linear(), 5)
    before = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        run_autoattack(model, x, y, eps=EPS, **QUICK)
    assert model.training and model.weight.requires_grad
    assert torch.equal(torch.random.get_rng_state(), before)


def test_channels_last_images_and_inference_mode(linear):
    model, x, y, plain = linear
    with torch.inference_mode():
        x = x.clone().contiguous(memory_format=torch.channels_last)
        result = run_autoattack(model, x, y.clone(), eps=EPS, batch_size=40, **QUICK)
    assert torch.equal(result.robust, plain.robust)


def test_the_model_is_attacked_in_eval_mode():
    x, y = labelled(Bends(), 6)
    train, evaluate = (
        run_autoattack(model, x, y, eps=EPS, steps=2, queries=10)
        for model in (Bends().train(), Bends().eval())
    )
    assert torch.equal(train.x_adv, evaluate.x_adv)
    assert train.mismatches == 0


def test_a_model_that_returns_its_own_buffer_is_not_damaged():
    class Pixels(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10]

    x = images(4)
    y = x.flatten(1)[:, :10].argmax(1)
    x_adv = square(Pixels(), x, y, eps=EPS, queries=30)
    assert x_adv.isfinite().all()
    assert Threat("linf", EPS).distance(x_adv, x).max() <= EPS + 1e-6


# Flags


class Noisy(Linear):
    def forward(self, x):
        logits = super().forward(x)
        return logits + 0.3 * torch.randn_like(logits)


def test_a_randomized_model_is_flagged_and_its_mismatches_counted():
    x, y = labelled(Linear(), 30, wrong=0)
    result = run_autoattack(Noisy(), x, y, eps=EPS, **QUICK)
    assert any("randomized defense" in flag for flag in result.flags)
    assert len(result.flags) == len(set(result.flags))
    assert result.mismatches > 0
    again = run_autoattack(Noisy(), x, y, eps=EPS, **QUICK)
    assert torch.equal(result.x_adv, again.x_adv)


def test_a_dynamic_model_is_flagged_and_the_next_one_is_not():
    class Dynamic(Linear):
        def forward(self, x):
            with torch.enable_grad():
                inner = x.detach().clone().requires_grad_()
                torch.autograd.grad(super().forward(inner).sum(), inner)
            return super().forward(x)

    x, y = labelled(Linear(), 4)
    result = run_autoattack(Dynamic(), x, y, eps=EPS, **QUICK)
    assert any("dynamic defense" in flag for flag in result.flags)
    assert run_autoattack(Linear(), x, y, eps=EPS, **QUICK).flags == ()


def test_probabilities_are_warned_of_and_flagged():
    class Probabilities(Linear):
        def forward(self, x):
            return super().forward(x).softmax(1)

    x, y = labelled(Linear(), 4)
    with pytest.warns(ProbabilityOutputWarning):
        result = run_autoattack(Probabilities(), x, y, eps=EPS, **QUICK)
    assert any("probability distribution" in flag for flag in result.flags)


def test_zero_gradients_and_square_are_flagged():
    class Rounded(Linear):
        def forward(self, x):
            return super().forward((x * 16).round() / 16)

    x, y = labelled(Rounded(), 30, wrong=0)
    result = run_autoattack(Rounded(), x, y, eps=EPS, **QUICK | {"queries": 200})
    assert any("zero gradient" in flag for flag in result.flags)
    assert any("Square Attack has decreased" in flag for flag in result.flags)
    assert (result.broken_by == result.stages.index("square")).sum() > 3


# Few classes


def test_with_fewer_than_ten_classes_all_wrong_ones_are_targets():
    model = Linear(classes=4)
    x, y = images(20), Linear(classes=4)(images(20)).argmax(1)
    result = run_autoattack(model, x, y, eps=EPS, **QUICK)
    assert result.flags == ()
    assert result.stages[2:] == ("apgd-ce", "apgd-t", "fab-t", "square")
    margin = model.breakable(x, y, EPS)
    clear = margin.abs() > 0.02
    assert torch.equal(result.robust[clear], margin[clear] > 0)


@pytest.mark.parametrize("classes", [2, 3])
def test_an_attack_that_needs_more_classes_is_left_out_with_a_warning(classes):
    model = Linear(classes=classes)
    x = images(6)
    y = model(x).argmax(1)
    with pytest.warns(ReducedAutoAttackWarning, match=f"{classes} classes.*without APGD-T"):
        result = run_autoattack(model, x, y, eps=EPS, **QUICK)
    assert result.stages[2:] == ("apgd-ce", "fab-t", "square")


# Square by itself


def test_square_breaks_a_linear_model_within_its_budget():
    model = Linear()
    x, y = labelled(model, 20, wrong=0)
    before = torch.random.get_rng_state()
    x_adv = square(model, x, y, eps=0.2, queries=100, batch_size=8)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert Threat("linf", 0.2).distance(x_adv, x).max() <= 0.2 + 1e-6
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (model(x_adv).argmax(1) == y).double().mean() < 0.3


# Bad input


@pytest.mark.parametrize("function", [autoattack, square])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps=0 must be positive"),
        ({"eps": -0.1}, ValueError, "eps=-0.1 must be positive"),
        ({"eps": 8}, ValueError, "eps=8 is more than the whole range"),
        ({"norm": "l1"}, ValueError, "norm='l1' is unknown"),
        ({"batch_size": 0}, ValueError, "batch_size=0 must be at least 1"),
        ({"seed": None}, TypeError, "seed=None must be a whole number"),
    ],
)
def test_bad_options(function, options, error, message):
    x, y = labelled(Linear(), 2)
    with pytest.raises(error, match=message):
        function(Linear(), x, y, **({"eps": EPS} | options))


def test_sizes_that_square_cannot_tile_in_l2_are_refused():
    for side in (4, 7, 10, 12, 14, 16, 18, 28, 32):
        model, x, y = Linear(2, side), images(2, side=side), torch.zeros(2, dtype=torch.int64)
        adversary = SquareAttack(model, norm="L2", eps=0.5, n_queries=1, device="cpu")
        with torch.random.fork_rng():
            try:
                adversary.perturb(x, model(x).argmax(1))
            except (RuntimeError, ZeroDivisionError):
                with pytest.raises(ValueError, match=f"cannot handle images of {side} x {side}"):
                    square(model, x, y, eps=0.5, norm="l2", queries=1)
            else:
                square(model, x, y, eps=0.5, norm="l2", queries=1)
    with pytest.raises(ValueError, match="cannot handle images of 12 x 12"):
        autoattack(Linear(side=12), images(2, side=12), y, eps=0.5, norm="l2")


def test_bad_versions_and_types():
    x, y = labelled(Linear(), 2)
    with pytest.raises(ValueError, match="version='best' is unknown: use 'standard'"):
        autoattack(Linear(), x, y, eps=EPS, version="best")
    with pytest.raises(TypeError, match="computes in float32"):
        autoattack(Linear().double(), x.double(), y, eps=EPS)


@pytest.mark.parametrize("function", [autoattack, square])
def test_bad_images_and_models(function):
    x, y = labelled(Linear(), 2)
    with pytest.raises(ValueError, match="images lie in"):
        function(Linear(), x - 0.5, y, eps=EPS)
    with pytest.raises(ValueError, match="at least 2 classes"):
        function(Linear(classes=1), x, torch.zeros(2, dtype=torch.int64), eps=EPS)
    with pytest.raises(ValueError, match="label 10"):
        function(Linear(), x, torch.tensor([10, 0]), eps=EPS)
    broken = Linear()
    broken.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite logits for 2 of 2"):
        function(broken, x, y, eps=EPS)


class Threshold(nn.Module):
    """Label 0 is right where the first pixel is above a level; other classes are far behind."""

    def __init__(self, level, classes=4):
        super().__init__()
        self.level, self.classes = level, classes

    def forward(self, x):
        score = 20 * (x[:, 0, 0, 0] - self.level)
        rest = [score.clamp(max=0) - 9 - k for k in range(self.classes - 2)]
        return torch.stack([score, -score, *rest], 1)


@pytest.mark.parametrize(
    ("value", "level", "brought", "label", "broken_by"),
    [
        (0.5, 0.45, -0.08, 0, 1),  # within the budget and wrong: taken
        (0.9, 0.5, -0.8, 0, -1),  # wrong, but much too far away
        (0.05, -0.02, -0.08, 0, -1),  # near enough, but darker than 0
        (0.95, 0.5, 0.04, 0, -1),  # right
        (0.95, 0.5, 0.0, 1, 0),  # wrong before anything was brought
    ],
)
def test_what_is_brought_counts_if_it_fools_within_the_threat_model(
    value, level, brought, label, broken_by
):
    x = torch.full((1, 3, 6, 6), value)
    y = torch.tensor([label])
    found = run_autoattack(Threshold(level), x, y, eps=0.1, known=x + brought, **QUICK)
    assert found.broken_by.tolist() == [broken_by]
    assert torch.equal(found.x_adv, x + brought if broken_by == 1 else x)


def test_targeted_attacks_aim_at_up_to_nine_classes():
    x, y = torch.full((1, 3, 6, 6), 0.9), torch.tensor([0])
    shown = {}
    for classes in (4, 7, 10, 12):
        options = {"eps": 0.01, "steps": 2, "queries": 1}
        shown[classes] = run_autoattack(Threshold(0.1, classes), x, y, **options).evaluations
    # Each further class of the ten costs the same, and further ones cost nothing.
    assert shown[7] - shown[4] == shown[10] - shown[7] > 0
    assert shown[12] == shown[10]


def test_the_full_number_of_steps_and_queries_is_the_standard():
    x, y = torch.full((1, 3, 6, 6), 0.05), torch.tensor([0])  # wrong already: nothing is run
    options = {"eps": 0.1, "steps": 100, "queries": 5000}
    assert run_autoattack(Threshold(0.5), x, y, **options).label == "AutoAttack (standard)"
