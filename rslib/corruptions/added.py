"""Corruptions of your own, beside the nineteen: a function and its entry in :data:`ADDED`.

A function takes uint8 images (B, 3, 32, 32), a severity from 1 to 5 and the images' random numbers
(:class:`rslib.corruptions._random.Draws`: ``draws.normal(0, 3, 32, 32)``, ``draws.uniform(...)``),
and returns uint8 images of the same shape, as those in ``noise.py`` do::

    STRENGTH = (0.1, 0.2, 0.3, 0.4, 0.5)


    def fade(images, severity, draws):
        '''Move every value towards white.'''
        pale = images + (255.0 - images) * STRENGTH[severity - 1]
        return pale.round().to(torch.uint8)


    ADDED = {"fade": fade}

Entries appear beside the nineteen in the tables and figures of notebook 10, marked as added. They
enter no mean, so that an mCE stays the mean over the nineteen. Their outcomes are kept in a record
of their own, under a key that holds this file's text: records of the nineteen stay valid.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rslib.corruptions._random import Draws
from rslib.settings import extensions

ADDED: dict[str, Callable[[Tensor, int, Draws], Tensor]] = extensions.ADDED["corruption"]
"""Name to function: ``function(images, severity, draws)``, in the order of the tables."""
