"""Is an explanation true to the model? Tests that do not ask where the object is.

Insertion and deletion: Petsiuk, Das and Saenko, "RISE", BMVC 2018, arXiv:1806.07421. Infidelity:
Yeh et al., NeurIPS 2019, arXiv:1901.09392. Randomization: Adebayo et al., "Sanity checks for
saliency maps", NeurIPS 2018, arXiv:1810.03292 (the paper's reference 14).
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rslib.models import eval_mode
from rslib.saliency.maps import check_maps, degenerate

Method = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A saliency method: model, images (B, C, H, W) and targets (B,) to maps (B, h, w)."""


def deletion_curve(
    model: nn.Module, x: Tensor, saliency: Tensor, target: Tensor, *, steps: int = 16
) -> Tensor:
    """The class's probability as the most salient pixels are replaced by the image's mean color.

    A faithful map makes it fall at once: a smaller mean over the curve is better. The curve is
    float (B, steps + 1), from the image to its mean color; ties fall in random but fixed order.
    Images are (B, C, H, W) in [0, 1], maps (B, H, W), targets (B,) int64. The model runs in eval
    mode and is given back as it was.

    Raises:
        NotSaliency: If the maps are not finite or of another form.
        ValueError: If maps and images differ in size.
    """
    return _curve(model, x, saliency, target, steps, insert=False)


def insertion_curve(
    model: nn.Module, x: Tensor, saliency: Tensor, target: Tensor, *, steps: int = 16
) -> Tensor:
    """The class's probability as the most salient pixels are put into the image's mean color.

    A faithful map makes it rise at once: a larger mean over the curve is better. Otherwise it is as
    :func:`deletion_curve`, from the mean color to the image.
    """
    return _curve(model, x, saliency, target, steps, insert=True)


def infidelity(
    model: nn.Module,
    x: Tensor,
    saliency: Tensor,
    target: Tensor,
    *,
    sigma: float = 0.05,
    draws: int = 16,
    seed: int = 0,
) -> Tensor:
    """The error (B,) of a map's prediction of what small noise does to the logit; less is better.

    Computed by captum, from ``draws`` samples an image of noise of standard deviation ``sigma``, in
    [0, 1] units; torch's generators are left as they were. The map stands for all channels alike,
    and is rescaled as captum's ``normalize`` does, so that maps in other units compare. The rest is
    as in :func:`deletion_curve`.

    Raises:
        NotSaliency: If the maps are not finite or of another form.
    """
    from captum.metrics import infidelity as captum_infidelity

    spread = check_maps(saliency).unsqueeze(1).expand_as(x).contiguous()

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        noise = sigma * torch.randn_like(images)
        return noise, images - noise

    with eval_mode(model), torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return captum_infidelity(
            model, perturb, x, spread, target=target, n_perturb_samples=draws, normalize=True
        ).detach()


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's correlation of two maps of the same image, (B, h, w) each, pixel by pixel.

    It is float64 (B,), in [-1, 1]; NaN where a map is constant (see :func:`degenerate`).

    Raises:
        NotSaliency: If the maps are not finite or of another form.
        ValueError: If shapes differ.
    """
    from scipy.stats import rankdata

    check_maps(first), check_maps(second)
    if first.shape != second.shape:
        raise ValueError(f"maps have shapes {tuple(first.shape)} and {tuple(second.shape)}")
    one, other = (
        torch.from_numpy(rankdata(maps.detach().flatten(1).cpu().numpy(), axis=1))
        for maps in (first, second)
    )
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    found = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    return found.clamp(-1, 1)  # equal maps may round to more than 1


def randomization_check(
    model: nn.Module, x: Tensor, method: Method, *, seed: int = 0, points: int | None = None
) -> list[tuple[int, float, int]]:
    """Compare maps as the model's layers are re-initialized from the last to the first.

    A method that explains the model must change with it; one whose maps stay correlated with the
    trained model's after all layers are random shows the image instead (Adebayo et al., section 3).
    The last look is at a network that keeps nothing it learned: parameters that belong to no such
    layer, as a transformer's positions and class token, are drawn anew with the first layer, from a
    normal distribution of standard deviation 0.02. The method explains the class that the *trained*
    model predicts; the model and torch's generators are left as they were. With ``points`` maps are
    looked at only so often, evenly over the layers.

    Returns:
        For each look: how many layers with parameters were random, the last first, the mean rank
        correlation with the trained model's maps over images where it is defined (else NaN), and
        the number of degenerate maps.
    """
    altered = copy.deepcopy(model)
    with eval_mode(model), torch.no_grad():
        target = model(x).argmax(1)
    original = method(model, x, target)
    layers = [m for m in altered.modules() if hasattr(m, "reset_parameters")][::-1]
    reached = {id(each) for layer in layers for each in layer.parameters(recurse=False)}
    looks = range(1, len(layers) + 1)
    if points is not None:
        looks = {round(k * len(layers) / points) for k in range(1, points + 1)}
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for number, layer in enumerate(layers, start=1):
            layer.reset_parameters()
            if number == len(layers):
                for parameter in altered.parameters():
                    if id(parameter) not in reached:  # 0.02 as in Dosovitskiy et al., 2021
                        nn.init.trunc_normal_(parameter, std=0.02)
            if number not in looks:
                continue
            maps = method(altered, x, target)
            defined = rank_correlation(original, maps)
            mean = float(defined[~defined.isnan()].mean())  # NaN if none is
            found.append((number, mean, int(degenerate(maps).sum())))
    return found


def _curve(
    model: nn.Module, x: Tensor, saliency: Tensor, target: Tensor, steps: int, *, insert: bool
) -> Tensor:
    check_maps(saliency)
    if saliency.shape != (len(x), *x.shape[2:]):
        raise ValueError(
            f"saliency is {tuple(saliency.shape)}, images are {tuple(x.shape)}: bring maps to the "
            "image's size with resize(saliency, (H, W))"
        )
    color = x.mean((2, 3), keepdim=True).expand_as(x)
    start, end = (color, x) if insert else (x, color)
    # Each pixel's place, the most salient first; ties in a random but fixed order.
    flat = saliency.detach().flatten(1)
    shuffle = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0))
    shuffle = shuffle.to(flat.device)
    ranked = shuffle[flat[:, shuffle].argsort(dim=1, descending=True, stable=True)]
    place, shares = ranked.argsort(1), []
    with eval_mode(model), torch.no_grad():
        for step in range(steps + 1):
            changed = place < round(step / steps * place.shape[1])
            mixed = torch.where(changed.view(len(x), 1, *x.shape[2:]), end, start)
            probabilities = model(mixed).softmax(1)
            shares.append(probabilities.gather(1, target.unsqueeze(1)).squeeze(1))
    return torch.stack(shares, 1)
