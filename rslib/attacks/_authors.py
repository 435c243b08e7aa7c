"""The package of AutoAttack's authors, ``pyautoattack``, one attack of it at a time.

It logs its warnings and clears the trace function that debuggers and coverage set; here the
warnings are kept and the trace function is put back.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rslib.attacks.threat import Threat
from rslib.models.checks import checked_logits

NORMS = {"linf": "Linf", "l2": "L2"}
"""The package's names of the norms."""

_LOGGER = "auto-attack"


class Counted(nn.Module):
    """The model under attack: checks each output, and counts the images it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        # A copy, since Square writes into what it gets, which may be the model's own tensor.
        return checked_logits(self.model, x).clone()


class Runner:
    """The package's attacks, set up once and run one by one, with the warnings they log."""

    def __init__(
        self,
        model: Counted,
        threat: Threat,
        batch_size: int,
        seed: int,
        targets: int,
        steps: int | None,
        queries: int | None,
    ) -> None:
        import pyautoattack
        from pyautoattack import checks

        self.model, self.batch_size = model, batch_size
        self.package = f"pyautoattack {pyautoattack.__version__}"
        self.flags: list[str] = []
        # The package counts calls into autograd over the life of the process; its flag for a
        # dynamic defense would otherwise stay up for every model after the first.
        for name in checks.funcs:
            checks.funcs[name] = 0
        device = next((t.device for t in [*model.parameters(), *model.buffers()]), None)
        with self._listen():
            self.adversary = pyautoattack.AutoAttack(
                model,
                norm=NORMS[threat.norm],
                eps=threat.eps,
                seed=seed,
                version="standard",
                device=device or torch.device("cpu"),
            )
        self.adversary.apgd_targeted.n_target_classes = targets
        self.adversary.fab.n_target_classes = targets
        if steps is not None:
            _shorten(self.adversary, steps)
        if queries is not None:
            self.adversary.square.n_queries = queries

    def run(self, attack: str, x: Tensor, y: Tensor) -> Tensor:
        """Run one attack; images that resist, or are wrong already, come back unchanged."""
        self.adversary.attacks_to_run = [attack]
        with self._listen():
            return self.adversary.run_standard_evaluation(x, y, batch_size=self.batch_size)[0]

    def breaks(self, attack: str, x: Tensor, y: Tensor, correct: Tensor) -> Tensor:
        """Images that one attack breaks by itself, bool (B,); clean-wrong ones count as broken."""
        if not bool(correct.any()):
            return ~correct
        changed = (self.run(attack, x, y) != x).flatten(1).any(1)
        return changed | ~correct

    @contextlib.contextmanager
    def _listen(self) -> Iterator[None]:
        """Collect the warnings that the package logs, and put back what it changes."""
        trace = sys.gettrace()
        logger, handler = logging.getLogger(_LOGGER), _Collector(self.flags)
        level, propagate = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        try:
            yield
        finally:
            sys.settrace(trace)
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


class _Collector(logging.Handler):
    """Keeps messages in a list."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__()
        self.messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _shorten(adversary: Any, steps: int) -> None:
    """Set the number of iterations, and the schedule of step sizes that APGD derives from it."""
    adversary.fab.n_iter = steps
    for attack in (adversary.apgd, adversary.apgd_targeted):
        short = type(attack)(None, n_iter=steps, norm=attack.norm, eps=attack.eps)
        names = ("n_iter", "n_iter_orig", "n_iter_2", "n_iter_min", "size_decr")
        attack.__dict__.update({k: v for k, v in vars(short).items() if k in names})


def forward(model: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """Logits of all images, batch by batch."""
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch_size)])
