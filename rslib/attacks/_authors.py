"""The packages of AutoAttack's authors: whichever is installed, one attack of it at a time.

``pyautoattack`` is on PyPI; ``autoattack`` is the same code in its authors' repository, called in
another way. Both log to one place, clear the trace function that debuggers and coverage set, and
leave their caller to keep what they say; here that is put back and kept.
"""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rslib.attacks.threat import Threat
from rslib.models.checks import checked_logits

NORMS = {"linf": "Linf", "l2": "L2"}
"""The packages' names of the norms."""

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
    """The package's attacks, set up once and run one by one, with what they log."""

    def __init__(
        self,
        model: Counted,
        threat: Threat,
        version: str,
        batch_size: int,
        seed: int,
        targets: int,
        steps: int | None,
        queries: int | None,
    ) -> None:
        module = package()
        self.model, self.batch_size = model, batch_size
        self.package = f"{module.__name__} {_version(module.__name__)}"
        self.authors = module.__name__ == "pyautoattack"
        self.log: list[str] = []
        self.flags: list[str] = []
        options: dict[str, Any] = {} if self.authors else {"verbose": True}
        # The package counts calls into autograd over the life of the process; its flag for a
        # dynamic defense would otherwise stay up for every model after the first.
        checks = _submodule(module, "checks")
        for name in getattr(checks, "funcs", {}):
            checks.funcs[name] = 0
        device = next((t.device for t in [*model.parameters(), *model.buffers()]), None)
        with self._listen("set-up"):
            self.adversary = module.AutoAttack(
                model,
                norm=NORMS[threat.norm],
                eps=threat.eps,
                seed=seed,
                version=version,
                device=device or torch.device("cpu"),
                **options,
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
        evaluate = self.adversary.run_standard_evaluation
        with self._listen(attack):
            if self.authors:
                return evaluate(x, y, batch_size=self.batch_size)[0]
            return evaluate(x, y, bs=self.batch_size)

    def breaks(self, attack: str, x: Tensor, y: Tensor, correct: Tensor) -> Tensor:
        """Which images one attack breaks by itself (B,); clean-wrong ones count as broken."""
        if not bool(correct.any()):
            return ~correct
        changed = (self.run(attack, x, y) != x).flatten(1).any(1)
        return changed | ~correct

    @contextlib.contextmanager
    def _listen(self, source: str) -> Iterator[None]:
        """Collect what the package logs or prints, and put back what it changes."""
        trace = sys.gettrace()
        logger, handler = logging.getLogger(_LOGGER), _Collector()
        level, propagate = logger.level, logger.propagate
        printed = io.StringIO()
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        try:
            with contextlib.ExitStack() as stack:
                if not self.authors:
                    stack.enter_context(contextlib.redirect_stdout(printed))
                yield
        finally:
            sys.settrace(trace)
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
            lines = printed.getvalue().splitlines()
            messages = [record.getMessage() for record in handler.records] + lines
            self.log += [f"{source}: {message}" for message in messages]
            self.flags += [
                record.getMessage()
                for record in handler.records
                if record.levelno >= logging.WARNING
            ]
            # Upstream prints its warnings among its progress; they point to this document.
            self.flags += [line for line in lines if "flags_doc" in line]


class _Collector(logging.Handler):
    """Keeps log records in a list."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def package() -> ModuleType:
    """Import whichever package is installed."""
    for name in ("pyautoattack", "autoattack"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ImportError("AutoAttack is not installed: pip install pyautoattack")


def _submodule(module: ModuleType, name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"{module.__name__}.{name}")
    except ModuleNotFoundError:
        return None


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    # The import name need not be the name of the distribution.
    owners = importlib.metadata.packages_distributions().get(package)
    return f"{importlib.metadata.version(owners[0])} of {owners[0]}" if owners else "unknown"


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
