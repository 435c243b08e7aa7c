"""Attacks of your own, evaluated like PGD."""

from collections.abc import Callable

from torch import Tensor

from rslib.settings import extensions

Attack = Callable[..., Tensor]

ADDED: dict[str, Attack] = extensions.ADDED["attack"]
"""Name to function, see :func:`attack`."""

_TAKEN = (
    "clean", "fgsm", "pgd", "autoattack", "smoothing", "corruptions", "added_corruptions",
    "saliency", "faithfulness", "attacked_saliency", "swapped", "human", "reliability",
    "randomization", "budgets", "transfer",
)  # fmt: skip


def attack(name: str) -> Callable[[Attack], Attack]:
    """Add an attack of your own: ``@attack("corners")`` above a function.

    The function takes the model in eval mode, images (B, 3, 32, 32) in [0, 1], labels (B,) int64
    and, by keyword, the budget ``eps`` in [0, 1] units and a seeded CPU ``generator``. It returns
    images within the budget::

        @attack("corners")
        def corners(model, x, y, *, eps, generator):
            signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
            return Threat("linf", eps).project(x + eps * signs, x)

    ``run.evaluate(model, "corners")`` then attacks PGD's images with PGD's budget and norm, and
    Table 2 has a column for it. A fresh forward pass judges the images that come back; those
    outside the budget are refused.

    Raises:
        rslib.settings.extensions.ExtensionError: the name, which becomes an evaluation's, cannot
            be used.
    """
    return extensions.adding("attack", name, _TAKEN)
