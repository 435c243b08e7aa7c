"""FGSM: the closed form on a linear model, and what holds for any model."""

import pytest
import torch

from rslib.attacks import fgsm
from tests.helpers.attack_models import TwoPixels, images, striped_set, trained_cnn


def test_closed_form_on_a_linear_model():
    # The loss of label 0 grows against the weights (3, -4), that of label 1 along them.
    x = images([0.5, 0.3], [0.5, 0.3])
    x_adv = fgsm(TwoPixels(), x, torch.tensor([0, 1]), eps=0.05)
    torch.testing.assert_close(x_adv, images([0.45, 0.35], [0.55, 0.25]))


def test_result_is_clipped_to_the_range():
    x_adv = fgsm(TwoPixels(), images([0.02, 0.99]), torch.tensor([0]), eps=0.05)
    torch.testing.assert_close(x_adv, images([0.0, 1.0]))


def test_one_forward_pass_over_all_images():
    model = TwoPixels()
    fgsm(model, images([0.5, 0.3], [0.3, 0.5], [0.1, 0.1]), torch.tensor([0, 0, 1]), eps=0.05)
    assert model.batches == [3]


def test_images_already_wrong_are_moved_too():
    # 3 * 0.3 - 4 * 0.5 < 0: label 0 is wrong from the start.
    x_adv = fgsm(TwoPixels(), images([0.3, 0.5]), torch.tensor([0]), eps=0.05)
    torch.testing.assert_close(x_adv, images([0.25, 0.55]))


def test_invariants_on_a_trained_net():
    model = trained_cnn()
    x, y = striped_set(16, seed=9)
    before = x.clone()
    x_adv = fgsm(model, x, y, eps=4 / 255)
    assert torch.equal(x, before)
    assert x_adv.dtype == x.dtype and not x_adv.requires_grad
    assert x_adv.min() >= 0 and x_adv.max() <= 1
    assert (x_adv - x).abs().max() <= 4 / 255 + 1e-6
    assert torch.equal(x_adv, fgsm(model, x, y, eps=4 / 255))
    loss = torch.nn.functional.cross_entropy
    assert loss(model(x_adv), y) > loss(model(x), y)


@pytest.mark.parametrize("eps", [0, -0.1, 8, float("nan")])
def test_meaningless_budgets_are_refused(eps):
    with pytest.raises(ValueError, match="8/255"):
        fgsm(TwoPixels(), images([0.5, 0.3]), torch.tensor([0]), eps=eps)
