"""Randomized smoothing: the formula, the votes, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, norm
from statsmodels.stats.proportion import proportion_confint
from torch import nn

from rslib import smoothing
from rslib.smoothing import ABSTAIN, certificates, certify

SIGMA = 0.25


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class HalfSpace(nn.Module):
    """Class 1 where the first pixel exceeds 0.5, else class 0.

    Under noise, class 1 has probability Phi((pixel - 0.5) / sigma), and the true l2 robust radius
    of the smoothed classifier is exactly the distance |pixel - 0.5|.
    """

    def __init__(self, classes=2):
        super().__init__()
        self.dropout = nn.Dropout(0.5)
        self.classes = classes

    def forward(self, x):
        score = self.dropout(x.flatten(1))[:, 0] - 0.5
        rest = torch.full((len(x), self.classes - 2), -9.0)
        return torch.cat([torch.stack([-score, score], 1), rest], 1)


def pixels(*values):
    x = torch.full((len(values), 3, 4, 4), 0.5)
    x[:, 0, 0, 0] = torch.tensor(values)
    return x


# The formula


@pytest.mark.parametrize("n", [10, 100, 1000, 100_000])
@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.51, 0.6, 0.9, 0.999, 1.0])
def test_radius_agrees_with_statsmodels(n, alpha, share):
    count = round(share * n)
    low = proportion_confint(count, n, alpha=2 * alpha, method="beta")[0]
    expected = SIGMA * norm.ppf(low) if low > 0.5 else 0.0
    assert smoothing.radius(count, n, sigma=SIGMA, alpha=alpha) == pytest.approx(expected, abs=1e-9)


def test_a_tie_abstains_and_unanimity_has_a_closed_form():
    assert smoothing.radius(500, 1000, sigma=SIGMA, alpha=0.001) == 0.0
    unanimous = smoothing.radius(1000, 1000, sigma=SIGMA, alpha=0.001)
    assert unanimous == pytest.approx(SIGMA * norm.ppf(0.001 ** (1 / 1000)), abs=1e-9)


def test_the_bound_is_where_the_binomial_tail_is_alpha():
    radius = smoothing.radius(900, 1000, sigma=1.0, alpha=0.01)
    assert binom.sf(899, 1000, norm.cdf(radius)) == pytest.approx(0.01, rel=1e-6)


def test_largest_radius_of_the_papers_settings():
    assert smoothing.largest_radius(1000, sigma=0.25, alpha=0.001) == pytest.approx(0.616, abs=5e-4)
    assert smoothing.largest_radius(100_000, sigma=0.25, alpha=0.001) == pytest.approx(
        0.953, abs=5e-4
    )
    assert smoothing.largest_radius(9, sigma=0.25, alpha=0.001) == 0.0
    assert smoothing.largest_radius(10, sigma=0.25, alpha=0.001) > 0.0


def test_radius_is_a_plain_float_and_grows_with_the_count():
    radii = [smoothing.radius(k, 100, sigma=SIGMA, alpha=0.001) for k in range(101)]
    assert all(type(r) is float for r in radii)
    assert radii == sorted(radii)
    assert radii[50] == 0.0 < radii[100]


# Certificates


def test_counts_follow_the_closed_form_probability_and_radii_stay_below_the_truth():
    values = [0.5, 0.55, 0.65, 0.8, 0.1]
    found = certificates(HalfSpace(), pixels(*values), sigma=SIGMA, n=2000, generator=seeded())
    truth = [abs(v - 0.5) for v in values]
    for i in range(1, 5):
        p = norm.cdf(truth[i] / SIGMA)
        # Five standard deviations of a binomial count.
        assert abs(found.count[i].item() - 2000 * p) < 5 * math.sqrt(2000 * p * (1 - p)) + 1
        assert found.radius[i].item() < truth[i]
    assert found.prediction[3:].tolist() == [1, 0]
    # A vote split in halves cannot be certified.
    assert found.prediction[0] == ABSTAIN and found.radius[0] == 0.0


def test_the_votes_that_bound_a_class_do_not_choose_it():
    # One vote chooses, and takes class 0 of 15 % of the images; 85 % of the others are for class 1.
    # Such an image abstains, since the class chosen has the fewer votes.
    x = pixels(*[0.5 + SIGMA * norm.ppf(0.85)] * 60)
    found = certificates(HalfSpace(), x, sigma=SIGMA, n0=1, n=400, generator=seeded())
    lucky = found.candidate == 0
    assert 3 <= lucky.sum() <= 20
    assert (found.count[lucky] < 100).all() and (found.count[~lucky] > 300).all()
    assert (found.prediction[lucky] == ABSTAIN).all() and (found.radius[lucky] == 0).all()
    assert (found.prediction[~lucky] == 1).all()


class Watch(nn.Module):
    """Keeps every image it is shown; answers by the first pixel."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = HalfSpace(), []

    def forward(self, x):
        self.seen.append(x.clone())
        return self.inner(x)


def test_certify_agrees_with_a_plain_loop_over_images():
    watch, x = Watch(), pixels(0.4, 0.62, 0.9)
    prediction, radius = certify(
        watch, x, sigma=SIGMA, n0=50, n=300, generator=seeded(3), batch_size=64
    )
    copies = torch.cat(watch.seen)
    for i in range(3):
        first = copies[50 * i : 50 * (i + 1)]
        then = copies[150 + 300 * i : 150 + 300 * (i + 1)]
        candidate = int((first[:, 0, 0, 0] > 0.5).sum() > 25)
        count = int(((then[:, 0, 0, 0] > 0.5) == candidate).sum())
        low = proportion_confint(count, 300, alpha=0.002, method="beta")[0]
        assert prediction[i] == (candidate if low > 0.5 else ABSTAIN)
        expected = SIGMA * norm.ppf(low) if low > 0.5 else 0.0
        assert radius[i].item() == pytest.approx(expected, abs=1e-9)
    assert prediction[2] == 1


def test_noise_is_gaussian_unclipped_independent_and_not_reused():
    watch = Watch()
    x = pixels(0.0, 1.0)
    certificates(watch, x, sigma=SIGMA, n0=100, n=400, generator=seeded(), batch_size=64)
    assert {len(batch) for batch in watch.seen[:3]} == {64}
    shown = torch.cat(watch.seen)
    assert len(shown) == 2 * 500
    noise = torch.cat([shown[:100] - x[0], shown[100:200] - x[1], shown[200:600] - x[0]])
    noise = torch.cat([noise, shown[600:] - x[1]]).flatten(1)
    assert shown.min() < -0.3 and shown.max() > 1.3
    assert noise.mean().abs() < 0.01
    assert noise.std() == pytest.approx(SIGMA, rel=0.02)
    # No two copies share their noise, within an image, between images, or between the two votes.
    assert len(torch.unique(noise[:, 0])) == len(noise)


@pytest.mark.parametrize("batch_size", [1, 7, 130, 10_000])
def test_batch_size_changes_nothing(batch_size):
    # Five values per image: draws of odd length are where divided noise would differ.
    x = torch.linspace(0.2, 0.8, 30).view(6, 1, 1, 5)
    options = {"sigma": SIGMA, "n0": 20, "n": 150, "alpha": 0.01}
    one = certificates(HalfSpace(), x, **options, generator=seeded(5))
    other = certificates(HalfSpace(), x, **options, generator=seeded(5), batch_size=batch_size)
    assert torch.equal(one.count, other.count)
    assert torch.equal(one.radius, other.radius)


def test_the_votes_of_an_image_do_not_depend_on_the_others():
    x = pixels(0.55, 0.6, 0.45)
    options = {"sigma": SIGMA, "n": 200}
    one = certificates(HalfSpace(), x, **options, generator=seeded())
    changed = x.clone()
    changed[1] = 0.1
    other = certificates(HalfSpace(), changed, **options, generator=seeded())
    assert torch.equal(one.count[[0, 2]], other.count[[0, 2]])


def test_the_generator_decides():
    x = pixels(0.55, 0.6, 0.45)
    runs = [certificates(HalfSpace(), x, sigma=SIGMA, generator=seeded(s)).count for s in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    torch.manual_seed(4)
    first = certificates(HalfSpace(), x, sigma=SIGMA).count
    torch.manual_seed(4)
    assert torch.equal(first, certificates(HalfSpace(), x, sigma=SIGMA).count)


def test_the_model_is_given_back_as_it_was_and_runs_in_eval_mode():
    model = HalfSpace()
    model.dropout.p = 0.999  # in training mode nearly every pixel would read 0
    model.train()
    prediction, _ = certify(model, pixels(0.9), sigma=SIGMA, generator=seeded())
    assert prediction.tolist() == [1]
    assert model.training and model.dropout.training


def test_results_can_be_computed_with():
    prediction, radius = certify(HalfSpace(), pixels(0.9), sigma=SIGMA, generator=seeded())
    assert prediction.dtype == torch.int64 and radius.dtype == torch.float64
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    (weight * radius).sum().backward()
    assert weight.grad is not None


def test_wrong_certificates_are_rarer_than_alpha():
    # True radius 0.1; with alpha = 0.2 about a fifth of the certificates may exceed it.
    x = pixels(*[0.6] * 300)
    found = certificates(HalfSpace(), x, sigma=SIGMA, n=60, alpha=0.2, generator=seeded())
    wrong = (found.radius > 0.1).double().mean().item()
    assert 0.05 < wrong < 0.2 + 3 * math.sqrt(0.2 * 0.8 / 300)


def test_a_plurality_that_is_no_majority_is_not_certified():
    class Thirds(nn.Module):
        """Class 0 for four tenths of the noise, classes 1 and 2 for three tenths each."""

        def forward(self, x):
            u = torch.special.ndtr((x[:, 0, 0, 0] - 0.5) / SIGMA)
            return torch.stack([u < 0.4, (u >= 0.4) & (u < 0.7), u >= 0.7], 1).float()

    options = {"sigma": SIGMA, "n0": 1000, "n": 5000, "generator": seeded()}
    found = certificates(Thirds(), pixels(0.5), **options)
    assert found.candidate.tolist() == [0]
    assert found.count.item() == pytest.approx(2000, abs=175)
    assert found.prediction.tolist() == [ABSTAIN] and found.radius.tolist() == [0]


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": 0}, "sigma=0 must be positive"),
        ({"sigma": -0.1}, "sigma=-0.1 must be positive"),
        ({"sigma": float("nan")}, "sigma=nan must be positive"),
        ({"n": 0}, "n=0 must be at least 1"),
        ({"n0": 0}, "n0=0 must be at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
        ({"alpha": 0}, "alpha=0 must lie between"),
        ({"alpha": 1.0}, "alpha=1.0 must lie between"),
        ({"n": 9}, "n=9 votes cannot certify any image at alpha=0.001.*use n >= 10"),
        ({"n": 12, "alpha": 1e-4}, "use n >= 14"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        certify(HalfSpace(), pixels(0.5), **({"sigma": SIGMA} | options))


@pytest.mark.parametrize("name", ["n", "n0", "batch_size"])
def test_fractional_counts(name):
    with pytest.raises(TypeError, match=f"{name}=10.5 must be a whole number"):
        certify(HalfSpace(), pixels(0.5), sigma=SIGMA, **{name: 10.5})


def test_the_smallest_n_that_is_named_works():
    # Ten votes of ten give the only radius there is; an image with fewer abstains.
    prediction, radius = certify(
        HalfSpace(), pixels(*[0.8] * 20), sigma=SIGMA, n=10, generator=seeded()
    )
    largest = smoothing.largest_radius(10, sigma=SIGMA, alpha=0.001)
    assert set(radius.tolist()) == {0.0, largest}
    assert torch.equal(prediction == 1, radius > 0)


@pytest.mark.parametrize(("count", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_impossible_counts(count, n):
    with pytest.raises(ValueError, match="must be"):
        smoothing.radius(count, n, sigma=SIGMA, alpha=0.001)


def test_bad_images_and_models():
    class Constant(nn.Module):
        def __init__(self, *logits):
            super().__init__()
            self.logits = torch.tensor(logits)

        def forward(self, x):
            return self.logits.expand(len(x), -1)

    with pytest.raises(ValueError, match=r"x spans \[0, 255\]"):
        certify(HalfSpace(), pixels(0.0, 1.0) * 255, sigma=SIGMA)
    with pytest.raises(ValueError, match="x holds NaN"):
        certify(HalfSpace(), pixels(float("nan")), sigma=SIGMA)
    with pytest.raises(TypeError, match="dtype torch.uint8"):
        certify(HalfSpace(), torch.zeros(1, 3, 4, 4, dtype=torch.uint8), sigma=SIGMA)
    with pytest.raises(TypeError, match="must be tensors"):
        certify(HalfSpace(), np.zeros((1, 3, 4, 4)), sigma=SIGMA)
    with pytest.raises(ValueError, match="at least 2 classes"):
        certify(Constant(1.0), pixels(0.5), sigma=SIGMA)
    with pytest.raises(ValueError, match="NaN or infinite logits"):
        certify(Constant(1.0, float("nan")), pixels(0.5), sigma=SIGMA)
