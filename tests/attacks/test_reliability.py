"""The verdict on a robustness number: masked models are flagged, honest ones are not."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rslib.attacks import ProbabilityOutputWarning, Report
from rslib.attacks.reliability import _autoattack, beside_autoattack, reliability
from tests.helpers.attack_models import patterned_set, train_on_patterns

pytestmark = pytest.mark.slow

EPS = 8 / 255
QUICK = {"strong_steps": 40, "queries": 80}
PGD_ONLY = {"strong_steps": 1, "queries": 1, "examined": 1}
NAMES = [
    "budget",
    "effort",
    "logit_scale",
    "black_box",
    "one_step",
    "gradients",
    "recheck",
    "batch",
    "repeat",
    "eight_bit",
]


@pytest.fixture(scope="module")
def standard():
    return train_on_patterns(eps=0, epochs=4)


@pytest.fixture(scope="module")
def adversarial():
    # With more budget than it is examined with, so that the verdict is not a close call.
    return train_on_patterns(eps=1.5 * EPS, epochs=8)


@pytest.fixture(scope="module")
def images():
    return patterned_set(50, seed=2)


@pytest.fixture(scope="module")
def quantized(standard, images):
    """The report on a model that rounds its input."""
    masked = Around(standard, lambda model, x: model((x * 16).round() / 16))
    return reliability(masked, *images, eps=EPS, strong_steps=40, queries=300)


class Around(nn.Module):
    """A model inside another: ``change(model, x)`` gives the logits."""

    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model, x)


# Honest models


def test_an_honest_standard_net_raises_no_flag(standard, images):
    report = reliability(standard, *images, eps=EPS, **QUICK)
    assert report.clean_accuracy > 0.9
    assert report.passed, report.summary()
    assert [check.name for check in report] == NAMES


def test_an_honest_adversarial_net_raises_no_flag(standard, adversarial, images):
    report = reliability(adversarial, *images, eps=EPS, **QUICK)
    assert report.passed, report.summary()
    # The case is one in which there is something left to break.
    assert report.pgd_accuracy > 0.5
    standard_pgd = reliability(standard, *images, eps=EPS, **PGD_ONLY).pgd_accuracy
    assert report.pgd_accuracy > standard_pgd + 0.1


def test_honest_in_l2_too(standard, images):
    report = reliability(standard, *images, eps=0.5, norm="l2", **QUICK)
    assert report.passed, report.summary()
    assert "l2, eps 0.5" in report.summary()


def test_a_linear_model_passes_with_the_numbers_of_its_closed_form():
    # Two pixels' worth of evidence: the margin shrinks by 2 * eps under l_inf, whatever the attack.
    class Difference(nn.Module):
        def forward(self, x):
            score = x[:, 0, 0, 0] - x[:, 0, 0, 1]
            return torch.stack([score, -score, score - 9, score - 9], 1)

    x = torch.full((40, 3, 6, 6), 0.5)
    x[:, 0, 0, 0] += torch.linspace(0.001, 0.2, 40)
    y = torch.zeros(40, dtype=torch.int64)
    report = reliability(Difference(), x, y, eps=EPS, **QUICK)
    assert report.passed, report.summary()
    safe = (x[:, 0, 0, 0] - x[:, 0, 0, 1] > 2 * EPS).double().mean().item()
    assert report.pgd_accuracy == pytest.approx(safe)
    # 16, 32, 64 and 128 of 255; a gap of 0.2 closes at a budget of 0.1.
    assert report["budget"].evidence["eps"] == pytest.approx([EPS * 2**k for k in range(5)])
    assert report["budget"].evidence["accuracy"][2:] == [0, 0, 0]


# Masked models


def test_quantized_input_is_flagged(quantized):
    assert {"budget", "black_box", "gradients"} <= set(quantized.failed)
    assert quantized["gradients"].evidence["zero_margin"] == 1.0
    assert quantized["gradients"].evidence["reaches_input"]


def test_saturated_logits_are_flagged(standard, images):
    masked = Around(standard, lambda model, x: 1000 * model(x))
    report = reliability(masked, *images, eps=EPS, **QUICK)
    honest = reliability(standard, *images, eps=EPS, **PGD_ONLY)
    assert report.pgd_accuracy > honest.pgd_accuracy + 0.2
    assert {"logit_scale", "gradients"} <= set(report.failed)
    assert report["gradients"].evidence["zero_cross_entropy"] > 0.5
    assert report["gradients"].evidence["zero_margin"] == 0.0
    assert "saturated" in report["gradients"].meaning


@pytest.mark.parametrize(
    "change",
    [
        lambda model, x: model(x + 0.1 * torch.randn_like(x)),
        lambda model, x: model(x) + 0.5 * torch.randn(len(x), 10),
    ],
    ids=["input", "logits"],
)
def test_added_randomness_is_flagged(standard, images, change):
    masked = Around(standard, change)
    state = torch.random.get_rng_state()
    report = reliability(masked, *images, eps=EPS, **QUICK)
    assert {"repeat", "recheck"} <= set(report.failed)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(77)
    assert reliability(masked, *images, eps=EPS, **QUICK).to_dict() == report.to_dict()


def test_a_temperature_is_flagged(standard, images):
    # Defensive distillation: not saturated enough for every gradient to vanish.
    masked = Around(standard, lambda model, x: 40 * model(x))
    report = reliability(masked, *images, eps=EPS, **QUICK)
    assert 0 < report["gradients"].evidence["zero_cross_entropy"] < 1
    assert "logit_scale" in report.failed


def test_a_model_without_any_gradient_is_flagged_not_refused(standard, images):
    masked = Around(standard, lambda model, x: model(x.detach()))
    report = reliability(masked, *images, eps=EPS, **QUICK)
    assert {"gradients", "budget"} <= set(report.failed)
    assert not report["gradients"].evidence["reaches_input"]


def test_shattered_gradients_are_flagged(standard, images):
    masked = Around(standard, lambda model, x: model(x + 0.01 * torch.sin(9000 * x)))
    report = reliability(masked, *images, eps=EPS, **QUICK | {"queries": 300})
    assert "black_box" in report.failed
    assert report["gradients"].passed


def test_gradients_that_vanish_away_from_the_data_are_flagged(standard, images):
    def change(model, x):
        levels = (x * 255 - (x * 255).round()).abs() < 1e-3
        honest = levels.flatten(1).all(1).view(-1, 1, 1, 1)
        return model(torch.where(honest, x, x.detach()))

    report = reliability(Around(standard, change), *images, eps=EPS, **QUICK)
    assert "one_step" in report.failed
    assert report["gradients"].passed
    assert report["one_step"].evidence["one_step_accuracy"] < report.pgd_accuracy


def test_a_model_that_looks_at_the_batch_is_flagged(standard, images):
    def change(model, x):
        logits = model(x)
        return logits + 0.2 * logits.flip(0)

    report = reliability(Around(standard, change), *images, eps=EPS, **QUICK)
    assert "batch" in report.failed
    assert report["repeat"].passed


def test_an_attack_between_the_levels_of_a_pixel_is_flagged(adversarial, images):
    def change(model, x):
        between = torch.sin(2 * torch.pi * 255 * x).flatten(1).mean(1)
        logits = model(x)
        wrong = torch.roll(torch.eye(10), 1, 1)[logits.argmax(1)]
        return logits + 300 * between.unsqueeze(1) * wrong

    report = reliability(Around(adversarial, change), *images, eps=EPS, **QUICK)
    assert "eight_bit" in report.failed
    assert report["eight_bit"].evidence["share"] > 0.05


# AutoAttack beside it


@pytest.mark.parametrize(
    ("only_pgd", "only_autoattack", "n", "low", "high", "side", "meaning"),
    [
        # Agresti and Min's interval: (b - c)/(n + 2) and 1.96 sqrt(b + c + 1 - (b - c)^2/(n + 2))
        # /(n + 2) either way, where b and c count the images that only PGD or AutoAttack leaves.
        (0, 0, 50, -0.0377, 0.0377, "within", "at most 6 points"),
        (1, 0, 50, -0.0338, 0.0723, "unclear", "Too few images to tell"),
        (8, 0, 50, 0.0488, 0.2589, "unclear", "Too few images to tell"),
        (9, 0, 50, 0.0636, 0.2826, "beyond", "clearly ends more than 6 points"),
        # The same difference as the last from images that disagree both ways is less certain.
        (12, 3, 50, 0.0299, 0.3163, "unclear", "Too few images to tell"),
        (8, 0, 400, 0.0054, 0.0344, "within", "at most 6 points"),
    ],
)
def test_autoattack_is_beyond_within_or_too_close_to_call(
    only_pgd, only_autoattack, n, low, high, side, meaning
):
    robust, correct = torch.zeros(2, n, dtype=torch.bool)
    robust[:only_pgd] = True
    correct[n - only_autoattack :] = True
    check = _autoattack(SimpleNamespace(robust=robust), correct)
    assert check.evidence["difference"] == pytest.approx((only_pgd - only_autoattack) / n)
    assert check.evidence["interval"] == pytest.approx([low, high], abs=1e-4)
    assert meaning in check.meaning
    assert beside_autoattack(check.evidence) == side
    assert check.passed is (side != "beyond")


def test_a_report_without_an_interval_says_nothing_about_autoattack():
    assert beside_autoattack({"difference": 0.04, "tolerance": 0.06}) == "unclear"


def test_autoattack_is_only_compared_where_it_is_known(adversarial, images):
    options = {"eps": EPS} | PGD_ONLY
    correct = torch.zeros(50, dtype=torch.bool)
    report = reliability(adversarial, *images, **options, autoattack_correct=correct)
    assert report["autoattack"].evidence["difference"] == pytest.approx(report.pgd_accuracy)
    assert "autoattack" in report.failed
    with pytest.raises(ValueError, match="autoattack_correct has shape"):
        reliability(adversarial, *images, **options, autoattack_correct=correct[:9])


# The report


def test_the_report_is_machine_readable_and_readable(quantized):
    report = quantized
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["passed"] is False and "gradients" in document["failed"]
    assert [check["name"] for check in document["checks"]] == NAMES
    assert all(check["meaning"] and check["evidence"] for check in document["checks"])
    assert all(type(check.passed) is bool for check in report)
    assert report.summary().startswith("Not to be trusted as it stands: ")
    assert "linf, eps 8/255, 50 images" in report.summary()
    assert report._repr_html_().count("<tr>") == 1 + len(NAMES)
    with pytest.raises(KeyError, match="the checks made are budget"):
        report["speed"]


def test_a_report_without_failures_passes():
    report = Report(checks=(), eps=EPS, norm="linf", images=1, clean_accuracy=1, pgd_accuracy=0)
    assert report.passed and report.failed == ()


# Options, state and bad input


def test_the_same_call_gives_the_same_report_and_leaves_the_model_alone(adversarial, images):
    adversarial.train()
    buffers = {name: value.clone() for name, value in adversarial.named_buffers()}
    options = {"eps": EPS, "strong_steps": 10, "queries": 20, "examined": 10, "batch_size": 16}
    first = reliability(adversarial, *images, **options)
    second = reliability(adversarial, *images, **options)
    assert first.to_dict() == second.to_dict()
    assert first["effort"].evidence["examined"] == 10
    assert adversarial.training
    assert all(parameter.requires_grad for parameter in adversarial.parameters())
    assert all(torch.equal(buffers[k], v) for k, v in adversarial.named_buffers())
    adversarial.eval()


def test_nothing_left_to_break_is_no_reason_to_fail(standard, images):
    report = reliability(standard, *images, eps=0.3, **QUICK)
    assert report.pgd_accuracy == 0
    assert report.passed, report.summary()
    assert report["effort"].evidence["examined"] == 0


def test_bad_input(standard, images):
    x, y = images
    for options, message in [
        ({"eps": 0}, "eps=0 must be positive"),
        ({"eps": -EPS}, "must be positive"),
        ({"eps": 8}, "more than the whole range"),
        ({"eps": EPS, "norm": "l7"}, "norm='l7' is unknown"),
        ({"eps": EPS, "queries": 0}, "queries=0 must be at least 1"),
        ({"eps": EPS, "examined": 0}, "examined=0 must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            reliability(standard, x, y, **options)
    with pytest.raises(ValueError, match="images lie in"):
        reliability(standard, x * 255, y, eps=EPS)
    with pytest.raises(ValueError, match="right on none of the 50 images"):
        wrong = Around(standard, lambda model, x: model(x).roll(5, 1))
        reliability(wrong, x, y, eps=EPS)
    with pytest.raises(ValueError, match="at least 2 classes"):
        reliability(Around(standard, lambda model, x: model(x)[:, :1]), x, y, eps=EPS)
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        reliability(Around(standard, lambda model, x: model(x) / 0), x, y, eps=EPS)


def test_probabilities_are_warned_of(standard, images):
    x, y = images
    with pytest.warns(ProbabilityOutputWarning):
        reliability(
            Around(standard, lambda model, x: model(x).softmax(1)), x[:9], y[:9], eps=EPS, **QUICK
        )


def test_the_module_is_found_by_its_path():
    assert sys.modules["rslib.attacks.reliability"].reliability is reliability
