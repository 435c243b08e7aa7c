"""Our attacks against torchattacks, an independent implementation, on one trained net."""

import pytest
import torch
import torchattacks
from attack_models import striped_set, trained_cnn

from rslib.attacks import fgsm, run_pgd

EPS, STEP, STEPS = 4 / 255, 1 / 255, 10


@pytest.fixture(scope="module")
def net():
    return trained_cnn()


@pytest.fixture(scope="module")
def batch(net):
    """32 images, a few of which the net gets wrong because their labels are."""
    x, y = striped_set(32, seed=9)
    y[:3] = (y[:3] + 1) % 4
    return x, y


def accuracy(net, x, y):
    with torch.no_grad():
        return (net(x).argmax(1) == y).float().mean().item()


def assert_nearly_all_equal(ours, theirs):
    # The two sum the loss in different orders; a sign step magnifies a rounding in single pixels.
    assert ((ours - theirs).abs() > 1e-6).float().mean() < 1e-3


def test_fgsm_equals_torchattacks(net, batch):
    x, y = batch
    ours, theirs = fgsm(net, x, y, eps=EPS), torchattacks.FGSM(net, eps=EPS)(x, y)
    assert_nearly_all_equal(ours, theirs)
    assert accuracy(net, ours, y) == accuracy(net, theirs, y)
    assert 0 < accuracy(net, ours, y) < accuracy(net, x, y)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_equals_torchattacks(net, batch, norm):
    x, y = batch
    if norm == "linf":
        eps, step = EPS, STEP
        theirs = torchattacks.PGD(net, eps=eps, alpha=step, steps=STEPS, random_start=False)(x, y)
    else:
        eps, step = 0.5, 0.1
        theirs = torchattacks.PGDL2(net, eps=eps, alpha=step, steps=STEPS, random_start=False)(x, y)
    ours = run_pgd(
        net,
        x,
        y,
        eps=eps,
        step_size=step,
        num_steps=STEPS,
        random_start=False,
        norm=norm,
        early_stop=False,
    )
    # torchattacks also moves images that were wrong from the start.
    right = ours.clean_correct
    assert 0 < right.sum() < len(y)
    assert_nearly_all_equal(ours.x_last[right], theirs[right])
    assert (~ours.fooled_last).float().mean().item() == accuracy(net, theirs, y)
    # The attack neither fails nor succeeds everywhere, so agreement means something.
    assert 0 < (~ours.fooled_last[right]).sum() < right.sum()
    # Looking at every iterate can only find more.
    assert not (ours.fooled_last & ~ours.fooled).any()
