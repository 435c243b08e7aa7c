"""Attacks of your own, evaluated like PGD: a function and its entry in :data:`ADDED`.

A function takes the model, images (B, 3, 32, 32) in [0, 1], labels (B,), and by keyword the budget
``eps`` in [0, 1] units and a seeded generator; it returns images within the budget::

    def corners(model, x, y, *, eps, generator):
        '''Move every value by the whole budget, up or down at random.'''
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        return Threat("linf", eps).project(x + eps * signs, x)


    ADDED = {"corners": corners}

The entry's name is then an evaluation: ``run.evaluate(model, "corners")`` attacks the images that
PGD is run on, with PGD's budget and norm, and Table 2 has a column for it. The model is in eval
mode meanwhile. What comes back is judged afresh, and images outside the budget are refused. The
record's key holds this file's text.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rslib.settings import extensions

ADDED: dict[str, Callable[..., Tensor]] = extensions.ADDED["attack"]
"""Name to function: ``function(model, x, y, eps=..., generator=...)``."""
