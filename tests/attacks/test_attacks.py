"""What every attack promises: the model comes back as it was, bad inputs are refused clearly."""

import warnings

import pytest
import torch
from torch import nn

from rslib.attacks import ProbabilityOutputWarning, attack_mode, fgsm, pgd, run_pgd
from rslib.models.checks import check_inputs
from tests.helpers.attack_models import TwoPixels, images, seeded, small_cnn, striped_set

ATTACKS = {
    "fgsm": lambda model, x, y: fgsm(model, x, y, eps=0.02),
    "pgd": lambda model, x, y: pgd(
        model, x, y, eps=0.02, step_size=0.01, num_steps=2, generator=seeded()
    ),
    "pgd-full": lambda model, x, y: (
        run_pgd(
            model,
            x,
            y,
            eps=0.02,
            step_size=0.01,
            num_steps=2,
            generator=seeded(),
            early_stop=False,
        ).x_last
    ),
}
X, Y = images([0.5, 0.3]), torch.tensor([0])


@pytest.fixture(params=list(ATTACKS))
def attack(request):
    return ATTACKS[request.param]


class Returning(nn.Module):
    """A model that applies a function to the image and has no parameters."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def partly_trained_net():
    """A net as a fine-tuner leaves it: frozen stem in eval mode, the rest training."""
    model = small_cnn().train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    return model


def state_of(model):
    flags = [module.training for module in model.modules()]
    wanted = [parameter.requires_grad for parameter in model.parameters()]
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return flags, wanted, tensors


def assert_same_state(before, after):
    assert before[:2] == after[:2]
    for name, tensor in before[2].items():
        assert torch.equal(tensor, after[2][name]), name


def test_attack_mode_sets_and_restores_each_flag():
    model = partly_trained_net()
    before = state_of(model)
    assert len(set(before[0])) == 2 and len(set(before[1])) == 2
    with torch.autocast("cpu"), torch.no_grad(), attack_mode(model) as inside:
        assert inside is model
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not torch.is_autocast_enabled("cpu")
        assert torch.is_grad_enabled()
    assert_same_state(before, state_of(model))


def test_attack_mode_restores_after_an_exception():
    model = partly_trained_net()
    before = state_of(model)
    with (
        torch.autocast("cpu"),
        pytest.raises(RuntimeError, match="stop"),
        attack_mode(model),
    ):
        raise RuntimeError("stop")
    assert_same_state(before, state_of(model))
    assert not torch.is_autocast_enabled("cpu")


def test_attack_mode_needs_a_module():
    with (
        pytest.raises(TypeError, match="function, not a torch.nn.Module"),
        attack_mode(lambda x: x),
    ):
        pass


def test_attacks_leave_the_model_as_it_was(attack):
    model = partly_trained_net()
    before = state_of(model)
    x, y = striped_set(8)
    x.requires_grad_()
    attack(model, x, y)
    assert_same_state(before, state_of(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert x.grad is None and x.requires_grad


def test_attacks_leave_the_model_as_it_was_after_an_exception(attack):
    model = partly_trained_net()
    before = state_of(model)
    x, y = striped_set(8)

    def fail(module, inputs, output):
        raise RuntimeError("stop")

    handle = model[3].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        attack(model, x, y)
    handle.remove()
    assert_same_state(before, state_of(model))


def test_attacks_do_not_depend_on_the_callers_mode(attack):
    model, (x, y) = small_cnn(), striped_set(8)
    expected = attack(model.eval(), x, y)
    assert torch.equal(attack(model.train(), x, y), expected)
    with torch.no_grad():
        assert torch.equal(attack(model, x, y), expected)
    with torch.autocast("cpu"):
        assert torch.equal(attack(model, x, y), expected)
    with torch.inference_mode():
        assert torch.equal(attack(model, x.clone(), y.clone()), expected)
    model.requires_grad_(False)
    assert torch.equal(attack(model, x, y), expected)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (X * 255, Y, ValueError, "divide by 255"),
        (X - 0.4, Y, ValueError, "normalization belongs inside the model"),
        (X * float("nan"), Y, ValueError, "NaN or infinite values in 1 of 1"),
        (X / 0, Y, ValueError, "NaN or infinite values in 1 of 1"),
        ((X * 255).byte(), Y, TypeError, "uint8.*divide by 255"),
        (X.half(), Y, TypeError, r"float16.*x\.float\(\)"),
        (X.double(), Y, TypeError, "computes in torch.float32, x is torch.float64"),
        (X[0], Y, ValueError, r"shape \(1, 1, 2\).*\(B, C, H, W\)"),
        (X[:0], Y[:0], ValueError, "B >= 1"),
        (X.tolist(), Y, TypeError, "must be tensors, not list"),
        (X, Y.int(), TypeError, r"int32.*y\.long\(\)"),
        (X, torch.eye(2)[Y], TypeError, r"float32.*y\.argmax\(1\)"),
        (X, torch.tensor([0, 1]), ValueError, r"need labels \(1,\)"),
        (X, torch.tensor([-1]), ValueError, "label -1"),
        (X, torch.tensor([2]), ValueError, r"label 2, but the model has 2 classes \(0 to 1\)"),
        (X, Y.to("meta"), ValueError, r"y on meta: use y\.to\(x\.device\)"),
    ],
)
def test_bad_inputs_are_refused(attack, x, y, error, message):
    model = TwoPixels().train()
    with pytest.raises(error, match=message):
        attack(model, x, y)
    assert model.training and model.weight.requires_grad


def test_half_precision_models_are_refused():
    with pytest.raises(TypeError, match=r"bfloat16.*model\.float\(\)"):
        check_inputs(TwoPixels().bfloat16(), X, Y)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.flatten(1)[:, 0], ValueError, r"shape \(1,\) for 1 images"),
        (lambda x: x.flatten(1)[:, :1], ValueError, r"shape \(1, 1\).*at least 2 classes"),
        (lambda x: (x.flatten(1), None), TypeError, "returned tuple"),
        (lambda x: x.flatten(1).argmax(1), TypeError, "returned torch.int64"),
        (lambda x: x.flatten(1) / 0, ValueError, "NaN or infinite logits for 1 of 1"),
        (lambda x: x.detach().flatten(1), ValueError, "no gradient back to its input"),
        (lambda x: torch.ones(len(x), 2) * 3, ValueError, "no gradient back to its input"),
        (
            lambda x: 1 - (x - 0.5).abs().sqrt().flatten(1),
            ValueError,
            "gradient is NaN or infinite",
        ),
    ],
)
def test_bad_outputs_are_refused(function, error, message):
    with pytest.raises(error, match=message):
        fgsm(Returning(function), X, Y, eps=0.02)
    with pytest.raises(error, match=message):
        pgd(Returning(function), X, Y, eps=0.02, step_size=0.01, num_steps=2, random_start=False)


def test_probabilities_are_called_out(attack):
    model = nn.Sequential(TwoPixels(), nn.Softmax(1))
    with pytest.warns(ProbabilityOutputWarning, match="remove the final softmax"):
        attack(model, X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(model[0], X, Y)


def test_half_precision_logits_are_judged_in_float32():
    # A model that runs its own autocast is attacked all the same.
    model = nn.Sequential(TwoPixels(), Returning(lambda logits: logits.bfloat16()))
    x_adv = fgsm(model, X, Y, eps=0.05)
    torch.testing.assert_close(x_adv, images([0.45, 0.35]))


def test_double_precision_is_kept(attack):
    result = attack(TwoPixels().double(), X.double(), Y)
    assert result.dtype == torch.float64
