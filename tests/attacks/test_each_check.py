"""Each check of reliability by itself: a model that fails by it alone, and not by much."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rslib.attacks import Threat
from rslib.attacks.reliability import _few, _recheck, reliability

EPS = 8 / 255
N = 100
OPTIONS = {"eps": EPS, "strong_steps": 100, "queries": 1}


class Odd(nn.Module):
    """Right on images of 0.5 until a pixel moves by more than ``far`` eps, but for what is odd.

    Logit 0 is ahead by a score that falls as the first pixel rises. The blue channel's first pixel
    says if an image is odd: of those ``odd(self, z, score)`` makes another score, from the changes
    z of the red pixels in units of eps, (B, 36), and ``logits`` may change the logits of all.
    """

    def __init__(self, odd=None, logits=None, far=1.2):
        super().__init__()
        self.odd, self.change, self.far = odd, logits, far

    def forward(self, x):
        z = (x[:, 0].flatten(1) - 128 / 255) / EPS
        score = 1 - 0.1 * z[:, 0]
        far = z.abs().amax(1) > self.far
        score = torch.where(far, -1 + 0 * score, score)
        if self.odd:
            marked = x[:, 2, 0, 0] > 0.5
            score = torch.where(marked, self.odd(z, score), score)
        found = torch.stack([score, -score, score - 9, score - 9], 1)
        return self.change(self, found) if self.change else found


def images(odd=0, last=False):
    """100 images of class 0, the stated number of them odd; spread, or the last of all."""
    x = torch.full((N, 3, 6, 6), 128 / 255)
    x[:, 2] = 0.0
    place = torch.arange(N - odd, N) if last else torch.arange(odd) * N // max(1, odd)
    x[place, 2] = 1.0
    return x, torch.zeros(N, dtype=torch.int64)


def report(odd=None, share=0, *, last=False, logits=None, far=1.2, **options):
    return reliability(Odd(odd, logits, far), *images(share, last), **OPTIONS | options)


def out_of(z, score):
    """The usual score, less steep, and -1 where any pixel is further than 1.2 eps away."""
    return torch.where(z.abs().amax(1) > 1.2, -1 + 0 * score, score)


def long_way(z, score):
    """Five pixels have to move one after the other, each only seen when the one before is there.

    Their directions are such that neither stripes nor a square of one color move them all.
    """
    way = z[:, [0, 30, 2, 32, 4]] * torch.tensor([1, -1, -1, 1, 1])
    score, before = 4 - 0.1 * way[:, 0], torch.ones(len(z), dtype=torch.bool)
    for k in range(5):
        before = before & (way[:, k] > 0.8)
        following = 4 - 0.1 * way[:, k + 1] if k < 4 else -1 + 0 * score
        score = torch.where(before, following, score)
    return out_of(z, score)


def corner(z, score):
    """Wrong only where the first pixel is at its lower end, from which the gradient leads away."""
    return out_of(z, torch.where(z[:, 0] < -0.95, -1 + 0 * score, score))


def only_from_the_middle(z, score):
    """Wrong where six pixels are at their lower ends; the gradient shows it at the image alone."""
    low = (z[:, :6] < -0.95).all(1)
    at = (z.abs() < 1e-3).all(1)
    score = torch.where(at, 1 + 0.1 * z[:, :6].sum(1), 1 - 0.1 * z[:, :6].sum(1))
    return out_of(z, torch.where(low, -1 + 0 * score, score))


def flat(z, score):
    return out_of(z, 1 + 0 * score)


def seen_while_attacked(z, score):
    """Wrong, but only in passes that record a gradient."""
    return torch.where(z[:, 0] > 0.5, -1 + 0 * score, score) if torch.is_grad_enabled() else score


def between_levels(z, score):
    """Wrong from 4.8 to 5.9 levels above, where the attack comes to rest beyond 5.5."""
    level = 8 * z[:, 0]
    rest = (level - 5.7).abs().clamp(min=0.2)
    wrong = (level > 4.8) & (level < 5.9)
    return out_of(z, torch.where(wrong, -2 + 0.1 * rest, 1 + 0.1 * rest))


def never_wrong(z, score):
    return 1 - 0.01 * z[:, 0]


def wrong_nearby_alone(z, score):
    """Wrong within eps, and then only far away: more budget leaves more accuracy."""
    reach = z.abs().amax(1)
    wrong = (z[:, 0] > 0.5) & (reach < 1.05) | (reach > 4.5)
    return torch.where(wrong, -1 + 0 * score, 1 - 0.1 * z[:, 0])


def test_the_model_without_anything_odd_passes():
    found = report(queries=20)
    assert found.passed, found.summary()
    assert found.pgd_accuracy == 1 and found["budget"].evidence["accuracy"] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("odd", "share", "options", "check"),
    [
        (never_wrong, 20, {}, "budget"),
        (wrong_nearby_alone, 10, {"far": 4.5}, "budget"),
        (long_way, 25, {}, "effort"),
        (corner, 15, {"queries": 20}, "black_box"),
        (only_from_the_middle, 12, {}, "one_step"),
        (flat, 15, {}, "gradients"),
        (seen_while_attacked, 4, {}, "recheck"),
        (between_levels, 40, {}, "eight_bit"),
    ],
)
def test_a_share_of_images_over_the_tolerance_fails_one_check(odd, share, options, check):
    found = report(odd, share, **options)
    assert found.failed == (check,), found.summary()


@pytest.mark.parametrize(
    ("odd", "share", "options"),
    [
        (never_wrong, 4, {}),
        (wrong_nearby_alone, 1, {"far": 4.5}),
        (long_way, 5, {}),
        (corner, 2, {"queries": 20}),
        (only_from_the_middle, 2, {}),
        (flat, 5, {}),
        (seen_while_attacked, 1, {}),
        (between_levels, 5, {}),
    ],
)
def test_a_share_within_the_tolerance_fails_none(odd, share, options):
    found = report(odd, share, **options)
    assert found.passed, found.summary()


class Misled(Odd):
    """Of odd images the loss follows the runner-up up, unless the logits are brought to a scale."""

    def forward(self, x):
        z = (x[:, 0].flatten(1) - 128 / 255) / EPS
        wait = torch.where(
            (z[:, 0] + 0.65).abs() < 0.25, 2 - 0.1 * z[:, 0], -20 - 40 * z[:, 0].clamp(min=-0.4)
        )
        odd = torch.stack([0 * wait, -10 + 8 * z[:, 0], wait, -30 + 0 * wait], 1)
        far = torch.tensor([-1.0, 1.0, -9.0, -9.0]) + 0 * odd
        odd = torch.where((z.abs().amax(1) > 1.2).unsqueeze(1), far, odd)
        return torch.where((x[:, 2, 0, 0] > 0.5).unsqueeze(1), odd, super().forward(x))


def test_a_loss_that_the_scale_of_the_logits_misleads_fails_one_check():
    found = reliability(Misled(), *images(33), **OPTIONS)
    assert found.failed == ("logit_scale",), found.summary()
    assert reliability(Misled(), *images(8), **OPTIONS).passed


class Steep(nn.Module):
    """Two classes with huge logits: the difference of two pixels, times 100,000."""

    def forward(self, x):
        score = 1e5 * (x[:, 0, 0, 0] - x[:, 0, 0, 1])
        return torch.stack([score, -score], 1)


def test_the_scale_that_logits_are_brought_to_is_a_constant_of_the_gradient():
    # Of two classes, logits over their own spread would be 1 and -1 whatever the image.
    x = torch.full((40, 3, 6, 6), 0.5)
    x[:, 0, 0, 0] += 0.02
    found = reliability(Steep(), x, torch.zeros(40, dtype=torch.int64), **OPTIONS)
    evidence = found["logit_scale"].evidence
    assert evidence["newly_broken"] == evidence["examined"] > 30


def scaled(model, logits, *, when):
    return logits * (1.004 if when(model, logits) else 1)


def test_logits_that_move_a_little_with_the_batch_fail_one_check():
    found = report(logits=lambda model, z: scaled(model, z, when=lambda m, z: len(z) == 6))
    assert found.failed == ("batch",), found.summary()


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_logits_that_move_a_little_at_every_third_call_fail_one_check(phase):
    def when(model, logits):
        model.wholes = getattr(model, "wholes", phase) + (len(logits) == N)
        return len(logits) == N and model.wholes % 3 == 0

    found = report(logits=lambda model, z: scaled(model, z, when=when))
    assert found.failed == ("repeat",), found.summary()


def test_images_examined_are_spread_over_all():
    found = report(corner, 15, last=True, queries=20, examined=30)
    assert found.failed == ("black_box",) and found["black_box"].evidence["examined"] == 30


def test_a_share_found_counts_by_those_it_stands_for_and_by_its_lower_end():
    # 8 of 20 examined have Wilson's interval [0.2188, 0.6134]; the 20 are a quarter of all images.
    found, of = torch.arange(20) < 8, torch.arange(80) < 20
    check = _few("effort", found, of, 0.06)
    assert check.evidence["share"] == pytest.approx(0.1)
    assert check.evidence["interval"] == pytest.approx([0.2188 / 4, 0.6134 / 4], abs=1e-4)
    assert check.passed and not _few("effort", found, of, 0.054).passed


@pytest.mark.parametrize("moved", [EPS + 1e-3, -0.1])
def test_images_outside_the_threat_model_fail(moved):
    # The second image is darker than 0, but no further away than eps.
    start = 0.5 if moved > 0 else EPS / 2
    x = torch.full((1, 3, 6, 6), start)
    x_adv = x + moved if moved > 0 else x - EPS
    lab = SimpleNamespace(
        x=x, x_adv=x_adv, y=torch.tensor([0]), threat=Threat("linf", EPS),
        robust=torch.tensor([True]), logits_of=lambda x: torch.tensor([[1.0, 0.0]]),
    )  # fmt: skip
    check = _recheck(lab)
    assert not check.passed and "left its threat model" in check.meaning
    lab.x_adv = x
    assert _recheck(lab).passed


def a_lucky_start(z, score):
    """Wrong where the first pixel lies between 0.3 and 0.34 eps, to which no gradient leads."""
    found = (z[:, 0] > 0.3) & (z[:, 0] < 0.34)
    return out_of(z, torch.where(found, -1.0, 1.0) - 0.1 * z[:, 1])


def test_more_steps_go_from_another_start():
    x, _ = images(N)

    def lucky(seed):
        start = Threat("linf", EPS).random_start(x, torch.Generator().manual_seed(seed))
        first = (start[:, 0, 0, 0] - 128 / 255) / EPS
        return int(((first > 0.3) & (first < 0.34)).sum())

    # No image is lucky at first, so that all are tried again; from the same start none would be.
    seed = next(seed for seed in range(1000) if lucky(seed) == 0 and lucky(seed + 1) > 2)
    found = report(a_lucky_start, N, seed=seed, strong_steps=20, examined=N)
    assert found.pgd_accuracy == 1
    assert found["effort"].evidence["newly_broken"] == lucky(seed + 1)


def test_images_that_are_wrong_when_clean_are_not_robust():
    x, y = images()
    y[:10] = 1
    found = reliability(Odd(), x, y, **OPTIONS)
    assert found.clean_accuracy == found.pgd_accuracy == pytest.approx(0.9)
