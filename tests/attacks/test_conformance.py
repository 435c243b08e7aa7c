"""Our attacks against independent implementations, torchattacks and foolbox, on the same net."""

import foolbox
import pytest
import torch
import torchattacks

from rslib.attacks import fgsm, run_autoattack, run_pgd
from tests.helpers.attack_models import (
    patterned_set,
    seeded,
    striped_set,
    train_on_patterns,
    trained_cnn,
)

pytestmark = pytest.mark.slow

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


# On an adversarially trained net, as the paper attacks it: PGD-20 with steps of 2 eps / 20

BUDGET = 8 / 255
ATTACK = {"eps": BUDGET, "step_size": 2 * BUDGET / 20, "num_steps": 20}


@pytest.fixture(scope="module")
def robust():
    return train_on_patterns(eps=BUDGET, epochs=8)


@pytest.fixture(scope="module")
def attacked():
    return patterned_set(200, seed=5)


def torchattacks_pgd(net, x, y, *, random_start):
    options = {"eps": BUDGET, "alpha": ATTACK["step_size"], "steps": 20}
    return torchattacks.PGD(net, **options, random_start=random_start)(x, y)


def foolbox_pgd(net, x, y, *, random_start):
    attack = foolbox.attacks.LinfPGD(
        abs_stepsize=ATTACK["step_size"], steps=20, random_start=random_start
    )
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device="cpu")
    return attack.run(wrapped, x, foolbox.criteria.Misclassification(y), epsilon=BUDGET)


@pytest.mark.parametrize("other", [torchattacks_pgd, foolbox_pgd])
def test_from_the_image_the_same_pixels(robust, attacked, other):
    x, y = attacked
    ours = run_pgd(robust, x, y, **ATTACK, random_start=False, early_stop=False)
    theirs = other(robust, x, y, random_start=False)
    right = ours.clean_correct
    assert_nearly_all_equal(ours.x_last[right], theirs[right])
    left = (~ours.fooled_last).float().mean().item()
    assert left == accuracy(robust, theirs, y)
    assert 0.1 < left < right.float().mean().item() - 0.1  # the attack decides something


@pytest.mark.parametrize("other", [torchattacks_pgd, foolbox_pgd])
def test_from_random_starts_the_same_accuracy_up_to_chance(robust, attacked, other):
    x, y = attacked
    torch.manual_seed(3)
    ours = run_pgd(robust, x, y, **ATTACK, early_stop=False, generator=seeded(4))
    theirs = robust(other(robust, x, y, random_start=True)).argmax(1) == y
    ours_right = ~ours.fooled_last
    # Only the starts differ, so a difference may go either way: two standard errors.
    differ = (ours_right != theirs).sum().item()
    assert abs(int(ours_right.sum()) - int(theirs.sum())) <= max(2, 2 * differ**0.5)
    assert (ours_right == theirs).float().mean() > 0.95


def test_autoattack_breaks_the_images_that_the_package_breaks(robust, attacked):
    from pyautoattack import AutoAttack

    x, y = (tensor[:10] for tensor in attacked)
    ours = run_autoattack(robust, x, y, eps=BUDGET, batch_size=10, seed=0)
    package = AutoAttack(robust, norm="Linf", eps=BUDGET, version="standard", seed=0, device="cpu")
    theirs, _ = package.run_standard_evaluation(x.clone(), y, batch_size=10)
    with torch.no_grad():
        survives = robust(theirs).argmax(1) == y
    assert torch.equal(ours.robust, survives)
    assert 0 < ours.robust.sum() < len(x)
