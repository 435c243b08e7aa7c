"""Training objectives of your own: a function and its entry in :data:`ADDED`.

A function takes the model in train mode, a batch (:class:`rslib.data.Batch`: ``x``, ``y``,
``masks``), a seeded CPU generator and the epochs done so far, and returns the loss with the logits
it was taken on (:class:`rslib.training.Objective`)::

    def flooding(model, batch, generator, epoch):
        '''Cross-entropy that is not driven below a level.'''
        step = Standard().on(model, batch.x, batch.y)
        return Step((step.loss - LEVEL).abs() + LEVEL, step.logits)


    ADDED = {"flooding": flooding}

``resnet18-flooding`` is then a model like the others, fine-tuned from the standard one with the
recipes of ``training.added``. Name it in the setting ``extra_models``, and it stands in the tables
of notebooks 07 and 10. Its key holds this file's text.
"""

from __future__ import annotations

from rslib.settings import extensions
from rslib.training.objectives import Objective

ADDED: dict[str, Objective] = extensions.ADDED["objective"]
"""Name to function: ``function(model, batch, generator, epoch)``."""
