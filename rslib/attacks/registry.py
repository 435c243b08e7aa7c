"""Attacks of a user's own, evaluated like PGD."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rslib.settings import extensions

Attack = Callable[..., Tensor]

ADDED: dict[str, Attack] = extensions.ADDED["attack"]
"""Name to function, see :func:`attack`."""

TAKEN = (
    "clean", "fgsm", "pgd", "autoattack", "smoothing", "corruptions", "added_corruptions",
    "saliency", "faithfulness", "attacked_saliency", "swapped", "human", "reliability",
    "randomization",
)  # fmt: skip
"""Names that an attack cannot have: it becomes an evaluation beside these."""


def attack(name: str) -> Callable[[Attack], Attack]:
    """Add an attack: ``@attack("corners")`` above a function.

    The function takes the model in eval mode, images (B, 3, 32, 32) in [0, 1], labels (B,) int64
    and, by keyword, the budget ``eps`` in [0, 1] units and a seeded CPU ``generator``. It returns
    images within the budget::

        @attack("corners")
        def corners(model, x, y, *, eps, generator):
            signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
            return Threat("linf", eps).project(x + eps * signs, x)

    ``run.evaluate(model, "corners")`` then attacks the images that PGD is run on, with PGD's budget
    and norm, and Table 2 has a column for it. What comes back is judged by a fresh forward pass,
    and images outside the budget are refused.

    Args:
        name: of the evaluation.

    Raises:
        rslib.settings.extensions.ExtensionError: the name cannot be used.
    """
    return extensions.adding("attack", name, TAKEN)
