"""Randomized smoothing: predictions that provably cannot change within an l2 radius (paper 3.2.2).

The smoothed classifier answers with the class that the base classifier returns most often when
Gaussian noise N(0, sigma^2 I) is added to the image. If that class has probability p > 1/2, no
change of l2 length below sigma * Phi^-1(p) alters the answer. A lower bound from n draws, which
holds with probability 1 - alpha, stands for p. The paper's equation 4 averages the outputs of f,
its text counts votes; the certificate belongs to the vote. The radius must not be compared with
l_inf budgets.

Source: Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via randomized smoothing",
ICML 2019, arXiv:1902.02918.
"""

import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rslib.models.checks import attack_mode, check_inputs, checked_logits, whole

ABSTAIN = -1

# Noise is drawn for this many copies of one image at a time, whatever the batch size, because how a
# draw is divided may change its values.
_BLOCK = 100


@dataclass(frozen=True)
class Certificates:
    """Votes, predictions and radii of a batch, with the settings of :func:`certify` behind them.

    Attributes:
        prediction: (B,) int64, the certified class, or ``ABSTAIN``.
        radius: (B,) l2 radius in [0, 1] pixel units within which the prediction cannot change; 0
            where the prediction is ``ABSTAIN``.
        candidate: (B,) int64, the class that won the first n0 votes, abstention or not.
        count: (B,) int64, how many of the n votes the candidate got.
    """

    prediction: Tensor
    radius: Tensor
    candidate: Tensor
    count: Tensor
    sigma: float
    n0: int
    n: int
    alpha: float


def radius(count: int, n: int, *, sigma: float, alpha: float) -> float:
    """Certified l2 radius of a class that got ``count`` of ``n`` votes.

    sigma * Phi^-1(p), where p is the one-sided Clopper-Pearson lower bound, at confidence
    1 - alpha, of the probability of that vote (Cohen et al., theorem 1 and section 3.2.2).

    It is in the units of sigma ([0, 1] pixel units), and 0.0 where the bound is not above 1/2,
    which means: abstain. With few votes that is so for every count (``largest_radius``).

    Raises:
        TypeError: If a count is not a whole number, or sigma or alpha not a number.
        ValueError: If an argument is out of range.
    """
    from scipy.stats import beta, norm

    n = whole("n", n, 1)
    count = operator.index(count)
    sigma, alpha = _checked(sigma, alpha)
    if not 0 <= count <= n:
        raise ValueError(f"count={count} must be between 0 and n={n}")
    low = float(beta.ppf(alpha, count, n - count + 1)) if count else 0.0
    return sigma * float(norm.ppf(low)) if low > 0.5 else 0.0


def largest_radius(n: int, *, sigma: float, alpha: float) -> float:
    """The radius that a unanimous vote gives: the ceiling that n and alpha impose.

    It equals sigma * Phi^-1(alpha^(1/n)), or 0.0 where n votes can never certify anything. The
    paper's settings (sigma 0.25, n 1000) with alpha 0.001 end at 0.616, however robust the model
    is. Arguments and errors are those of :func:`radius`.
    """
    return radius(n, n, sigma=sigma, alpha=alpha)


def certify(
    model: nn.Module,
    x: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
    batch_size: int = 500,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Predict with the smoothed classifier and certify each prediction (Cohen et al., CERTIFY).

    n0 votes choose a class; n fresh votes bound its probability, since a class chosen for its luck
    would be bounded too high.

    Args:
        model: The base classifier: images to logits (B, classes). It runs in eval mode and full
            precision, and is given back as it was.
        x: Images (B, C, H, W), float, in [0, 1]. Their noisy copies are neither clipped nor
            checked: the guarantee holds for unbounded Gaussian noise.
        sigma: Standard deviation of the noise, in [0, 1] pixel units; the paper uses 0.25.
        n0: Votes that choose the class.
        n: Votes that bound its probability.
        alpha: Probability, for each image, that its certificate is wrong.
        batch_size: Noisy images in one forward pass. It does not change the draws.
        generator: Source of one seed per image; None uses torch's default generator. The noise
            itself is drawn on the device of x, image by image.

    Returns:
        prediction (B,) int64, ``ABSTAIN`` where no class can be certified, and radius (B,), l2, in
        [0, 1] pixel units, 0 where it abstains.

    Raises:
        TypeError: If a dtype is wrong or the model is not a module.
        ValueError: If inputs, options or the model's outputs are out of range, or if n is too small
            for alpha, so that nothing could ever be certified.
    """
    options = {"n0": n0, "n": n, "alpha": alpha, "batch_size": batch_size, "generator": generator}
    found = certificates(model, x, sigma=sigma, **options)
    return found.prediction, found.radius


def certificates(
    model: nn.Module,
    x: Tensor,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 1000,
    alpha: float = 0.001,
    batch_size: int = 500,
    generator: torch.Generator | None = None,
) -> Certificates:
    """The votes behind each certificate too; arguments and errors are those of :func:`certify`."""
    sigma, alpha = _checked(sigma, alpha)
    n0, n, batch_size = whole("n0", n0, 1), whole("n", n, 1), whole("batch_size", batch_size, 1)
    if largest_radius(n, sigma=sigma, alpha=alpha) == 0:
        needed = math.floor(math.log(alpha) / math.log(0.5)) + 1
        raise ValueError(
            f"n={n} votes cannot certify any image at alpha={alpha:g}: even a unanimous vote "
            f"bounds the probability only by {alpha ** (1 / n):.3f}, and more than 0.5 is needed; "
            f"use n >= {needed}"
        )
    labels = torch.zeros(len(x), dtype=torch.int64, device=getattr(x, "device", None))
    check_inputs(model, x, labels)
    device = generator.device if generator is not None else "cpu"
    # One seed per image and vote, so that an image's noise depends on no other image's.
    seeds = torch.randint(2**62, (len(x), 2), generator=generator, device=device)
    choice, bound = seeds.T.tolist()
    candidate = _count_votes(model, x, sigma, n0, choice, batch_size).argmax(1)
    votes = _count_votes(model, x, sigma, n, bound, batch_size)
    count = votes.gather(1, candidate.unsqueeze(1)).squeeze(1)

    radius_of = {k: radius(k, n, sigma=sigma, alpha=alpha) for k in set(count.tolist())}
    double = torch.float32 if x.device.type == "mps" else torch.float64
    radii = torch.tensor([radius_of[k] for k in count.tolist()], dtype=double, device=x.device)
    prediction = torch.where(radii > 0, candidate, ABSTAIN)
    return Certificates(prediction, radii, candidate, count, sigma, n0, n, alpha)


def _count_votes(
    model: nn.Module, x: Tensor, sigma: float, n: int, seeds: list[int], batch_size: int
) -> Tensor:
    """Votes (B, classes) of n noisy copies of each image."""
    votes, seen = None, 0
    with attack_mode(model), torch.inference_mode():
        for noisy in _noisy_copies(x, sigma, n, seeds, batch_size):
            logits = checked_logits(model, noisy)
            if votes is None:
                votes = torch.zeros(len(x), logits.shape[1], dtype=torch.int64, device=x.device)
            owner = torch.arange(seen, seen + len(noisy), device=x.device) // n
            votes.index_put_((owner, logits.argmax(1)), torch.ones_like(owner), accumulate=True)
            seen += len(noisy)
    # A clone made outside inference mode can be used in further computations.
    return votes.clone()


def _noisy_copies(
    x: Tensor, sigma: float, n: int, seeds: list[int], batch_size: int
) -> Iterator[Tensor]:
    """Batches of noisy copies: n of the first image, n of the second, and so on."""
    generator, copies = torch.Generator(x.device), None
    options = {"generator": generator, "dtype": x.dtype, "device": x.device}
    for image, seed in zip(x, seeds, strict=True):
        generator.manual_seed(seed)
        for start in range(0, n, _BLOCK):
            block = image + sigma * torch.randn(_BLOCK, *image.shape, **options)[: n - start]
            copies = block if copies is None else torch.cat([copies, block])
            while len(copies) >= batch_size:
                yield copies[:batch_size]
                copies = copies[batch_size:]
    if len(copies):
        yield copies


def _checked(sigma: float, alpha: float) -> tuple[float, float]:
    try:
        numbers = float(sigma), float(alpha)
    except (TypeError, ValueError):
        raise TypeError(f"sigma={sigma!r} and alpha={alpha!r} must be numbers") from None
    if not math.isfinite(numbers[0]) or numbers[0] <= 0:
        units = "in [0, 1] pixel units, e.g. 0.25"
        raise ValueError(f"sigma={sigma!r} must be positive and finite, {units}")
    if not 0 < numbers[1] < 1:
        raise ValueError(f"alpha={alpha!r} must lie between 0 and 1, e.g. 0.001")
    return numbers
