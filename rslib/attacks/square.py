"""Square: AutoAttack's random search, which needs no gradient (paper 3.2.1).

Source: Andriushchenko, Croce, Flammarion and Hein, "Square attack", ECCV 2020, arXiv:1912.00049.
"""

import torch
from torch import Tensor, nn

from rslib.attacks._authors import NORMS, Counted, forward
from rslib.attacks.threat import Threat
from rslib.models.checks import attack_mode, check_inputs, check_outputs, seeded_apart, whole


def square(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 5000,
    batch_size: int = 250,
    seed: int = 0,
) -> Tensor:
    """Attack each image with Square, AutoAttack's random search that needs no gradient.

    Arguments, errors and warnings are those of :func:`rslib.attacks.autoattack`. ``queries`` are
    the trials for each image: the sizes of the squares are scheduled over them, unlike inside
    AutoAttack, whose 5000 follow the first half of a schedule of 10000.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x; those that resist are returned unchanged.
    """
    from pyautoattack.square import SquareAttack

    threat = Threat(norm, eps)
    check_inputs(model, x, y)
    batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0)
    queries = whole("queries", queries, 1)
    check_sizes(x, threat)
    with attack_mode(model), seeded_apart(seed), torch.no_grad():
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = Counted(model)
        check_outputs(forward(counted, x, batch_size), y)
        attack = SquareAttack(
            counted,
            p_init=0.8,
            n_queries=queries,
            eps=threat.eps,
            norm=NORMS[threat.norm],
            n_restarts=1,
            seed=seed,
            verbose=False,
            device=x.device,
            resc_schedule=True,
        )
        parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
        return torch.cat([attack.perturb(images, labels) for images, labels in parts])


def check_sizes(x: Tensor, threat: Threat) -> None:
    """Refuse sizes at which the package's l2 Square runs over the edge of the image."""
    height, width = x.shape[2:]
    tile = height // 5
    # It tiles the image from a margin that assumes five tiles in a row, although six may fit.
    fits = tile == 1 or (
        tile > 1 and all(height % 5 // 2 + size // tile * tile <= size for size in (height, width))
    )
    if threat.norm == "l2" and not fits:
        raise ValueError(
            f"Square attack in l2 cannot handle images of {height} x {width}: pad or resize them, "
            "for example to 32 x 32"
        )
