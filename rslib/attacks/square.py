"""Square: AutoAttack's random search, which needs no gradient (paper 3.2.1).

Source: Andriushchenko, Croce, Flammarion and Hein, "Square attack", ECCV 2020, arXiv:1912.00049.
"""

import torch
from torch import Tensor, nn

from rslib.attacks.threat import Threat
from rslib.models import checks

NORMS = {"linf": "Linf", "l2": "L2"}
"""The names of the norms in ``pyautoattack``, the package of AutoAttack's authors."""


class Counted(nn.Module):
    """The model under attack: checks each output, and counts the images it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        self.images += len(x)
        # A copy, since Square writes into what it gets, which may be the model's own tensor.
        return checks.checked_logits(self.model, x).clone()


def logits_of(model: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """Logits of all images, batch by batch."""
    with torch.no_grad():
        return torch.cat([checks.checked_logits(model, part) for part in x.split(batch_size)])


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
    """Attack each image with Square, which tries ``queries`` changes of it.

    The sizes of the squares are scheduled over the queries; AutoAttack's 5000 follow the first half
    of a schedule of 10000. The other arguments, errors and warnings are those of
    :func:`rslib.attacks.autoattack`.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x; those that resist are returned unchanged.
    """
    from pyautoattack.square import SquareAttack

    threat = Threat(norm, eps)
    checks.check_inputs(model, x, y)
    batch_size, seed = checks.whole("batch_size", batch_size, 1), checks.whole("seed", seed, 0)
    queries = checks.whole("queries", queries, 1)
    check_sizes(x, threat)
    with checks.attack_mode(model), checks.seeded_apart(seed), torch.no_grad():
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = Counted(model)
        checks.check_outputs(logits_of(counted, x, batch_size), y)
        # By default the sizes follow the number of queries.
        options = {"n_queries": queries, "eps": threat.eps, "norm": NORMS[threat.norm]}
        attack = SquareAttack(counted, seed=seed, device=x.device, **options)
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
        size = f"{height} x {width}: pad or resize them, for example to 32 x 32"
        raise ValueError(f"Square attack in l2 cannot handle images of {size}")
