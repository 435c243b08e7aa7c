"""PGD: worked by hand on tiny models, and what holds for any model."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from rslib.attacks import Threat, pgd, run_pgd
from tests.helpers.attack_models import Dip, TwoPixels, images, seeded, striped_set, trained_cnn

RIGHT = torch.tensor([0])
EPS = 4 / 255
OPTIONS = {"eps": EPS, "step_size": EPS / 4, "num_steps": 8}


def softplus(score):
    """Cross-entropy of label 0 for the logits (score, 0)."""
    return math.log1p(math.exp(-score))


@pytest.fixture(scope="module")
def net():
    return trained_cnn()


@pytest.fixture(scope="module")
def batch():
    """32 images; the first four labels are wrong, so the net is wrong there from the start."""
    x, y = striped_set(32, seed=9)
    y[:4] = (y[:4] + 1) % 4
    return x, y


def test_linf_by_hand():
    # Each step of 0.02 moves the pixels by (-0.02, +0.02), which lowers the score 3a - 4b by 0.14:
    # 0.30, 0.16, 0.02, -0.12. The third step fools the model.
    model, x = TwoPixels(), images([0.5, 0.3])
    options = {"eps": 0.1, "step_size": 0.02, "num_steps": 10, "random_start": False}
    result = run_pgd(model, x, RIGHT, **options)
    torch.testing.assert_close(result.x_adv, images([0.44, 0.36]))
    assert result.fooled.tolist() == [True]
    assert result.x_last is None and result.fooled_last is None
    # One clean pass and iterates 0 to 3.
    assert model.batches == [1] * 5 and result.evaluations == 5
    expected = [softplus(0.30), softplus(0.16), softplus(0.02)] + 8 * [softplus(-0.12)]
    torch.testing.assert_close(result.loss, torch.tensor(expected))


def test_linf_followed_to_the_end_by_hand():
    # Without early stopping the corner of the ball is reached at step 5 and held.
    model, x = TwoPixels(), images([0.5, 0.3])
    options = {"eps": 0.1, "step_size": 0.02, "num_steps": 10, "random_start": False}
    result = run_pgd(model, x, RIGHT, early_stop=False, **options)
    torch.testing.assert_close(result.x_adv, images([0.44, 0.36]))
    torch.testing.assert_close(result.x_last, images([0.4, 0.4]))
    assert result.fooled_last.tolist() == [True]
    assert result.evaluations == 1 + 11
    scores = [0.30, 0.16, 0.02, -0.12, -0.26] + 6 * [-0.40]
    torch.testing.assert_close(result.loss, torch.tensor([softplus(s) for s in scores]))


def test_l2_by_hand():
    # The direction is (-0.6, 0.8); a step of 0.05 lowers the score by 0.25: 0.30, 0.05, -0.20.
    # At radius 0.2 the trajectory ends at (0.5 - 0.12, 0.3 + 0.16).
    options = {"eps": 0.2, "step_size": 0.05, "num_steps": 10, "random_start": False, "norm": "l2"}
    result = run_pgd(TwoPixels(), images([0.5, 0.3]), RIGHT, early_stop=False, **options)
    torch.testing.assert_close(result.x_adv, images([0.44, 0.38]))
    torch.testing.assert_close(result.x_last, images([0.38, 0.46]))


def test_an_image_that_resists_ends_at_the_corner():
    # 3 * 0.9 - 4 * 0.1 = 2.3 can fall by at most 7 * 0.1.
    options = {"eps": 0.1, "step_size": 0.02, "num_steps": 10, "random_start": False}
    result = run_pgd(TwoPixels(), images([0.9, 0.1]), RIGHT, **options)
    torch.testing.assert_close(result.x_adv, images([0.8, 0.2]))
    assert result.fooled.tolist() == [False]
    assert result.loss[-1] == pytest.approx(softplus(1.6), rel=1e-5)


def test_any_iterate_differs_from_the_last():
    # 0.50, 0.58 (in the dip: wrong), 0.66 (past it: right again), 0.58, ...
    options = {"eps": 0.2, "step_size": 0.08, "num_steps": 2, "random_start": False}
    result = run_pgd(Dip(), images([0.5]), RIGHT, early_stop=False, **options)
    assert result.fooled.tolist() == [True] and result.fooled_last.tolist() == [False]
    torch.testing.assert_close(result.x_adv, images([0.58]))
    torch.testing.assert_close(result.x_last, images([0.66]))
    early = run_pgd(Dip(), images([0.5]), RIGHT, **options)
    assert torch.equal(early.x_adv, result.x_adv) and early.fooled.tolist() == [True]


def test_the_random_start_and_the_final_point_count():
    # The logits are flat beyond 0.05 from the dip: only a start that falls close is ever wrong.
    x, y = torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.int64)
    threat = Threat("linf", 0.2)
    start = threat.random_start(x, seeded(3))
    result = run_pgd(
        Dip(reach=0.05), x, y, eps=0.2, step_size=1e-6, num_steps=1, generator=seeded(3)
    )
    wrong = ((start - 0.6).abs() < 0.04).flatten()
    assert 0 < wrong.sum() < 64
    assert torch.equal(result.fooled, wrong)
    assert torch.equal(result.x_adv[wrong], start[wrong])
    # One step of 0.08 from 0.5 enters the dip: the last point is judged though no step follows.
    assert run_pgd(
        Dip(), images([0.5]), RIGHT, eps=0.2, step_size=0.08, num_steps=1, random_start=False
    ).fooled.item()


def test_restarts_go_on_with_what_resists():
    model = TwoPixels()
    x = images([0.5, 0.3], [0.9, 0.1])
    result = run_pgd(
        model,
        x,
        torch.zeros(2, dtype=torch.int64),
        eps=0.1,
        step_size=0.1,
        num_steps=3,
        restarts=3,
        generator=seeded(),
    )
    assert result.fooled.tolist() == [True, False]
    # All images clean and in the first restart, then the second image alone.
    assert model.batches[:2] == [2, 2]
    assert model.batches[-8:] == [1] * 8
    assert result.evaluations == sum(model.batches)


def test_restarts_find_more():
    x, y = torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.int64)
    options = {"eps": 0.2, "step_size": 0.01, "num_steps": 2}
    one = run_pgd(Dip(reach=0.05), x, y, generator=seeded(), **options)
    ten = run_pgd(Dip(reach=0.05), x, y, restarts=10, generator=seeded(), **options)
    assert not (one.fooled & ~ten.fooled).any()
    # Each restart finds the dip with probability about 1/4.
    assert one.fooled.sum() < 32 and ten.fooled.sum() > 48


def test_among_restarts_the_highest_loss_is_returned(net, batch):
    x, y = batch
    options = {"eps": EPS / 4, "step_size": EPS / 16, "num_steps": 3}
    one = run_pgd(net, x, y, generator=seeded(), **options)
    four = run_pgd(net, x, y, restarts=4, generator=seeded(), **options)
    resists = ~four.fooled
    assert resists.sum() > 10
    with torch.no_grad():
        before = cross_entropy(net(one.x_adv), y, reduction="none")[resists]
        after = cross_entropy(net(four.x_adv), y, reduction="none")[resists]
    assert (after >= before - 1e-6).all() and (after > before).any()


def test_last_iterates_over_restarts():
    # An image fooled on the way, but not at the end, is tried again for its last iterate.
    x, y = torch.full((64, 1, 1, 1), 0.5), torch.zeros(64, dtype=torch.int64)
    options = {"eps": 0.2, "step_size": 0.08, "num_steps": 4, "early_stop": False}
    one = run_pgd(Dip(), x, y, generator=seeded(), **options)
    five = run_pgd(Dip(), x, y, restarts=5, generator=seeded(), **options)
    assert 0 < one.fooled_last.sum() < five.fooled_last.sum()
    assert torch.equal(Dip()(five.x_last).argmax(1) != y, five.fooled_last)
    assert not (five.fooled_last & ~five.fooled).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("early_stop", [True, False])
def test_invariants_on_a_trained_net(net, batch, norm, early_stop):
    x, y = batch
    before = x.clone()
    eps = EPS if norm == "linf" else 0.5
    result = run_pgd(
        net,
        x,
        y,
        eps=eps,
        step_size=eps / 4,
        num_steps=8,
        restarts=2,
        norm=norm,
        generator=seeded(),
        early_stop=early_stop,
    )
    assert torch.equal(x, before)
    with torch.no_grad():
        clean_wrong = net(x).argmax(1) != y
        fooled = net(result.x_adv).argmax(1) != y
    # The outcome is what a fresh look at the returned images says, and it is neither none nor all.
    assert torch.equal(result.fooled, fooled)
    assert clean_wrong.sum() >= 4 and clean_wrong.sum() < fooled.sum() < len(y)
    assert torch.equal(result.clean_correct, ~clean_wrong)
    assert torch.equal(result.x_adv[clean_wrong], x[clean_wrong])
    returned = [result.x_adv] if early_stop else [result.x_adv, result.x_last]
    for x_adv in returned:
        assert x_adv.min() >= 0 and x_adv.max() <= 1
        assert Threat(norm, eps).distance(x_adv, x).max() <= eps + 1e-6
        assert x_adv.dtype == x.dtype and not x_adv.requires_grad
    assert result.loss.shape == (9,)
    assert (result.loss.diff() > -1e-4).all() and result.loss[-1] > result.loss[0]
    assert result.loss.requires_grad is False


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_early_stopping_changes_nothing_but_the_cost(net, batch, norm):
    x, y = batch
    eps = EPS if norm == "linf" else 0.5
    options = {"eps": eps, "step_size": eps / 4, "num_steps": 8, "norm": norm, "restarts": 2}
    early = run_pgd(net, x, y, generator=seeded(), **options)
    full = run_pgd(net, x, y, generator=seeded(), early_stop=False, **options)
    assert torch.equal(early.fooled, full.fooled)
    assert not torch.equal(early.fooled, ~early.clean_correct)
    # Smaller batches may round differently, and a sign step magnifies that in single pixels.
    assert ((early.x_adv - full.x_adv).abs() > 1e-6).float().mean() < 1e-3
    assert early.evaluations < full.evaluations


def test_evaluations_without_early_stopping(net, batch):
    x, y = batch
    result = run_pgd(net, x, y, early_stop=False, generator=seeded(), **OPTIONS)
    # One clean pass of all, then num_steps + 1 of each image that was right.
    assert result.evaluations == len(y) + 9 * int(result.clean_correct.sum())


def test_same_generator_same_result(net, batch):
    x, y = batch
    first = pgd(net, x, y, generator=seeded(1), **OPTIONS)
    assert torch.equal(first, pgd(net, x, y, generator=seeded(1), **OPTIONS))
    assert not torch.equal(first, pgd(net, x, y, generator=seeded(2), **OPTIONS))


def test_without_a_generator_torchs_seed_decides(net, batch):
    x, y = batch[0][:8], batch[1][:8]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first, second = (pgd(net, x, y, **OPTIONS) for _ in range(2))
        torch.manual_seed(3)
        assert torch.equal(first, pgd(net, x, y, **OPTIONS))
    assert not torch.equal(first, second)


def test_draws_do_not_depend_on_who_resists(batch):
    # A model that is always wrong leaves the generator where any other model does.
    x, y = batch
    generators = seeded(1), seeded(1)
    always_wrong = TwoPixels(bias=-100)
    pair, label = x[:, :1, :1, :2], torch.zeros(len(x), dtype=torch.int64)
    pgd(always_wrong, pair, label, generator=generators[0], restarts=3, **OPTIONS)
    pgd(TwoPixels(bias=100), pair, label, generator=generators[1], restarts=3, **OPTIONS)
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_images_do_not_influence_each_other(net, batch):
    x, y = batch
    whole = run_pgd(net, x, y, random_start=False, **OPTIONS)
    part = run_pgd(net, x[8:16], y[8:16], random_start=False, **OPTIONS)
    assert torch.equal(whole.fooled[8:16], part.fooled)
    assert ((whole.x_adv[8:16] - part.x_adv).abs() > 1e-6).float().mean() < 1e-3


def test_pgd_returns_what_run_pgd_found(net, batch):
    x, y = batch
    assert torch.equal(
        pgd(net, x, y, generator=seeded(), **OPTIONS),
        run_pgd(net, x, y, generator=seeded(), **OPTIONS).x_adv,
    )


def test_nothing_to_attack():
    # The model is wrong on the only image: nothing is tried and there is no loss to speak of.
    result = run_pgd(TwoPixels(), images([0.3, 0.5]), RIGHT, **OPTIONS)
    assert torch.equal(result.x_adv, images([0.3, 0.5]))
    assert result.fooled.tolist() == [True] and result.clean_correct.tolist() == [False]
    assert result.evaluations == 1 and result.loss.isnan().all()


def test_memory_format_is_kept(net, batch):
    x, y = batch
    result = pgd(net, x.to(memory_format=torch.channels_last), y, generator=seeded(), **OPTIONS)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eps": 0}, "clean accuracy"),
        ({"eps": 8}, "8 of 255 is written 8/255"),
        ({"step_size": 2}, "step_size=2 .*2/255"),
        ({"step_size": -0.1}, "step_size=-0.1 must be positive"),
        ({"num_steps": 0}, "num_steps=0 must be at least 1"),
        ({"restarts": 0}, "restarts=0 must be at least 1"),
        ({"restarts": 2, "random_start": False}, "repeats one run"),
        ({"norm": "l1"}, "norm='l1' is unknown"),
    ],
)
def test_meaningless_options_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        pgd(TwoPixels(), images([0.5, 0.3]), RIGHT, **{**OPTIONS, **change})


def test_fractional_counts_are_refused():
    with pytest.raises(TypeError, match="num_steps=2.5 must be a whole number"):
        pgd(TwoPixels(), images([0.5, 0.3]), RIGHT, **{**OPTIONS, "num_steps": 2.5})


class Slope(nn.Module):
    """Logits (3a - 4b, 0) of pixels a, b and c, and (1, 0) where a is above 0.8; c is not used."""

    def forward(self, x):
        a, b, _ = x.flatten(1).T
        score = torch.where(a > 0.8, 1 + 0 * a, 3 * a - 4 * b)
        return torch.stack([score, 0 * score], 1)


@pytest.mark.parametrize("early_stop", [True, False])
def test_gradients_are_counted_an_image_and_step_and_zero_where_all_pixels_are(early_stop):
    x, y = images([0.6, 0.1, 0.5], [0.9, 0.1, 0.5], [0.1, 0.9, 0.5]), torch.zeros(3).long()
    options = {"eps": 0.1, "step_size": 0.02, "num_steps": 4, "random_start": False}
    result = run_pgd(Slope(), x, y, early_stop=early_stop, **options)
    # The third image is wrong from the start, the second does not move from where all is flat.
    assert (result.gradients, result.zero_gradients) == (8, 4)


class Shallow(nn.Module):
    """Ten classes, label 0: wrong at a loss of 0.72 below 0.5, right at a loss of 2.2 above."""

    def forward(self, x):
        a = x.flatten(1)
        wrong = torch.tensor([0.0, 0.05] + 8 * [-50.0])
        right = torch.tensor([0.1] + 9 * [0.0])
        return torch.where(a < 0.5, wrong, right) + 1e-3 * a * torch.eye(10)[0]


def test_a_last_iterate_that_fools_outranks_those_with_a_higher_loss():
    x, y = torch.full((16, 1, 1, 1), 0.55), torch.zeros(16, dtype=torch.int64)
    options = {"eps": 0.2, "step_size": 1e-6, "num_steps": 1, "generator": seeded()}
    result = run_pgd(Shallow(), x, y, restarts=20, early_stop=False, **options)
    assert result.fooled_last.all()
    assert (result.x_last < 0.5).all()


def test_the_trace_is_that_of_the_first_restart(net, batch):
    x, y = batch
    one, three = (
        run_pgd(net, x, y, generator=seeded(), restarts=restarts, **OPTIONS) for restarts in (1, 3)
    )
    assert torch.equal(one.loss, three.loss)


def test_an_infinite_gradient_is_refused():
    class Root(nn.Module):
        def forward(self, x):
            score = 1 + x.flatten(1)[:, 0].sqrt()
            return torch.stack([score, 0 * score], 1)

    x, y = images([0.0, 0.3], [0.5, 0.3]), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match="NaN or infinite for 1 of 2 images"):
        run_pgd(Root(), x, y, random_start=False, **OPTIONS)
