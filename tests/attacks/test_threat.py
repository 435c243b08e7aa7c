"""The threat model: hand-computed geometry, and what holds for any image."""

import math

import pytest
import torch

from rslib.attacks import Threat


def images(*rows):
    """Images of one row of pixels each: (B, 1, 1, W), in double precision."""
    return torch.tensor(rows, dtype=torch.float64).view(len(rows), 1, 1, -1)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_linf_projection_by_hand():
    x = images([0.5, 0.05, 0.95, 0.5])
    x_adv = images([0.9, -0.3, 1.3, 0.55])
    # Into [x - 0.1, x + 0.1], then into [0, 1].
    expected = images([0.6, 0.0, 1.0, 0.55])
    torch.testing.assert_close(Threat("linf", 0.1).project(x_adv, x), expected)


def test_l2_projection_by_hand():
    x = images([0.5, 0.5])
    # The change (0.3, 0.4) has length 0.5; at radius 0.1 it becomes (0.06, 0.08).
    torch.testing.assert_close(
        Threat("l2", 0.1).project(images([0.8, 0.9]), x), images([0.56, 0.58])
    )


def test_l2_projection_clips_after_scaling():
    # (0.3, 0.4) scaled to length 0.25 is (0.15, 0.2): 0.9 + 0.2 leaves the box and is clipped to 1.
    x = images([0.5, 0.9])
    torch.testing.assert_close(
        Threat("l2", 0.25).project(images([0.8, 1.3]), x), images([0.65, 1.0])
    )


def test_l2_projection_treats_each_image_alone():
    x = images([0.5, 0.5], [0.5, 0.5])
    inside, outside = [0.52, 0.5], [0.5, 0.9]
    result = Threat("l2", 0.1).project(images(inside, outside), x)
    torch.testing.assert_close(result, images(inside, [0.5, 0.6]))


def test_steps_by_hand():
    x = images([0.5, 0.5, 0.5])
    gradient = images([3.0, -4.0, 0.0])
    torch.testing.assert_close(
        Threat("linf", 0.1).step(x, gradient, 0.02), images([0.52, 0.48, 0.5])
    )
    torch.testing.assert_close(Threat("l2", 0.1).step(x, gradient, 0.1), images([0.56, 0.42, 0.5]))


def test_l2_step_survives_tiny_and_zero_gradients():
    x = torch.full((2, 1, 1, 2), 0.5)
    # The squares of 3e-30 underflow in float32; the direction must not.
    gradient = torch.tensor([[3e-30, -4e-30], [0.0, 0.0]]).view(2, 1, 1, 2)
    expected = torch.tensor([[0.56, 0.42], [0.5, 0.5]]).view(2, 1, 1, 2)
    torch.testing.assert_close(Threat("l2", 1.0).step(x, gradient, 0.1), expected)


def test_distance_by_hand():
    x = images([0.5, 0.5], [0.5, 0.5])
    x_adv = images([0.8, 0.1], [0.5, 0.5])
    torch.testing.assert_close(
        Threat("linf", 1).distance(x_adv, x), torch.tensor([0.4, 0.0]).double()
    )
    torch.testing.assert_close(
        Threat("l2", 1).distance(x_adv, x), torch.tensor([0.5, 0.0]).double()
    )


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 8 / 255), ("linf", 1.0), ("l2", 0.5), ("l2", 9)]
)
def test_projection_and_start_stay_allowed(norm, eps):
    threat = Threat(norm, eps)
    x = torch.rand(32, 3, 8, 8, generator=seeded())
    far = x + 4 * torch.randn(x.shape, generator=seeded(1))
    for moved in (threat.project(far, x), threat.random_start(x, seeded(2))):
        assert moved.min() >= 0 and moved.max() <= 1
        assert threat.distance(moved, x).max() <= eps + 1e-6
        torch.testing.assert_close(threat.project(moved, x), moved)


def test_linf_start_is_uniform_in_the_box():
    x = torch.full((1, 1, 100, 100), 0.5)
    change = Threat("linf", 0.1).random_start(x, seeded()) - x
    # A uniform variable on [-a, a] has standard deviation a / sqrt(3).
    assert change.mean().abs() < 0.002
    assert change.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.02)
    assert change.abs().max() == pytest.approx(0.1, rel=0.01)


def test_l2_start_is_uniform_in_the_ball():
    # In the plane, a quarter of the disk lies within half its radius, in every direction alike.
    x = torch.full((20_000, 1, 1, 2), 0.5)
    threat = Threat("l2", 0.4)
    start = threat.random_start(x, seeded())
    distance = threat.distance(start, x)
    assert (distance < 0.2).float().mean() == pytest.approx(0.25, abs=0.01)
    assert (distance < 0.4 * math.sqrt(0.5)).float().mean() == pytest.approx(0.5, abs=0.015)
    assert (start > x).float().mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_start_depends_only_on_the_generator(norm):
    x = torch.rand(4, 3, 8, 8, generator=seeded())
    threat = Threat(norm, 0.1)
    torch.manual_seed(5)
    first = threat.random_start(x, seeded(1))
    torch.manual_seed(6)
    assert torch.equal(first, threat.random_start(x, seeded(1)))
    assert not torch.equal(first, threat.random_start(x, seeded(2)))


def test_the_starts_of_a_cpu_are_pinned():
    x = torch.full((1, 1, 1, 3), 0.5)
    linf, l2 = (Threat(norm, 0.1).random_start(x, seeded(1)) - x for norm in ("linf", "l2"))
    assert linf.flatten().tolist() == pytest.approx([0.0515263, -0.0441378, -0.0193861], abs=1e-6)
    assert l2.flatten().tolist() == pytest.approx([0.0765793, 0.0309077, 0.0071417], abs=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_memory_format_is_kept(norm):
    x = torch.rand(4, 3, 8, 8, generator=seeded()).to(memory_format=torch.channels_last)
    threat = Threat(norm, 0.1)
    start = threat.random_start(x, seeded())
    moved = threat.project(threat.step(start, torch.randn_like(x), 0.1), x)
    for result in (start, moved):
        assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("Linf", "'linf'"), ("l_inf", "'linf'"), ("inf", "'linf'"), ("L2", "'l2'"), (2, "'l2'")],
)
def test_unknown_norm_names_the_nearest(given, nearest):
    with pytest.raises(ValueError, match=f"unknown; did you mean {nearest}"):
        Threat(given, 0.1)


def test_far_off_norm_names_both():
    with pytest.raises(ValueError, match="unknown. Use 'linf' or 'l2'"):
        Threat("wasserstein", 0.1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
def test_meaningless_budget_is_refused(norm, eps):
    with pytest.raises(ValueError, match=r"\[0, 1\] units, e\.g\. 8/255"):
        Threat(norm, eps)


def test_zero_budget_points_to_clean_accuracy():
    with pytest.raises(ValueError, match="clean accuracy"):
        Threat("linf", 0)


def test_budget_in_pixel_steps_is_recognized():
    with pytest.raises(ValueError, match="8 of 255 is written 8/255"):
        Threat("linf", 8)
    assert Threat("l2", 8).eps == 8.0


@pytest.mark.parametrize("eps", ["8/255", "0.03", None, True])
def test_budget_must_be_a_number(eps):
    with pytest.raises(TypeError, match="not a number"):
        Threat("linf", eps)


def test_threat_is_immutable():
    with pytest.raises(AttributeError):
        Threat("linf", 0.1).eps = 0.2
