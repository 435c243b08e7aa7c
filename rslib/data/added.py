"""Data sets of your own: the names of the classes, how to load a split, an entry in :data:`ADDED`.

::

    def load(split):
        '''The images of "train" or "test".'''
        images, labels = ...  # uint8 (N, 3, 32, 32), int64 (N,)
        return Dataset(images, labels, CLASSES, "mine", split, ids=torch.arange(len(labels)))


    ADDED = {"mine": Source(CLASSES, load)}

``{data: {name: mine}}`` is then a setting like any other. Every notebook that needs no exact masks
runs on the set; the paper's values, which are not about it, are shown without a difference.
"""

from __future__ import annotations

from rslib.data.dataset import Source
from rslib.settings import extensions

ADDED: dict[str, Source] = extensions.ADDED["dataset"]
"""Name to the names of the classes and the function that loads a split."""
