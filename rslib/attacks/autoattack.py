"""AutoAttack: four attacks without parameters to tune, run one after the other (paper 3.2.1).

The attacks are the authors' own (``pyautoattack``). They run one at a time, so that the result says
which attack broke which image, and nothing that the package changes in the process is left behind.

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import torch
from torch import Tensor, nn

from rslib.attacks.square import NORMS, Counted, check_sizes, logits_of
from rslib.attacks.threat import Threat
from rslib.models import checks

ATTACKS = ("apgd-ce", "apgd-t", "fab-t", "square")
"""The attacks of the standard version, in order."""

# The loss of an attack compares this many logits.
_CLASSES_NEEDED = {"apgd-t": 4}
_TARGETS = 9
# Distances are sums of float32 numbers.
_TOLERANCE = 1e-5


class ReducedAutoAttackWarning(UserWarning):
    """Less runs than the standard version; ``label`` of the result says how."""


@dataclass(frozen=True)
class AutoAttackResult:
    """AutoAttack's outcome, image by image, in the order of the batch.

    Attributes:
        x_adv: Images (B, C, H, W) in [0, 1]: adversarial where an attack succeeded, else originals.
        stages: "clean" (wrong without an attack), "known" (broken by an image that the caller
            brought), then the attacks in order.
        broken_by: (B,) int64, the position in ``stages`` of the first that broke the image, or -1.
        robust: (B,) bool, no stage broke the image.
        alone: (B, attacks) bool, each attack breaks the image by itself; None unless asked for.
            Clean-wrong images count as broken.
        mismatches: Images for which a fresh forward pass of x_adv disagrees with ``robust``: the
            model's answer is not a function of the image alone.
        flags: Warnings of the package's own checks, such as of a randomized defense.
        label: What was run, in words; "AutoAttack (standard)" only for the unreduced version.
        package: Name and version of the package that ran.
        evaluations: Images passed forward through the model, all checks included.
    """

    x_adv: Tensor
    stages: tuple[str, ...]
    broken_by: Tensor
    robust: Tensor
    alone: Tensor | None
    mismatches: int
    flags: tuple[str, ...]
    label: str
    package: str
    evaluations: int


def autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    batch_size: int = 250,
    seed: int = 0,
) -> Tensor:
    """Attack each image with AutoAttack and return the images to show to the model.

    Version "standard" runs APGD-CE, targeted APGD (APGD-T), targeted FAB and Square; each tries
    only the images that the ones before it have left. With fewer than 10 classes the targeted
    attacks aim at all wrong classes instead of nine. Below 4 classes the loss of APGD-T is not
    defined: it is left out, with a warning.

    ``batch_size`` images are attacked at a time; other batches meet other draws, so results differ
    slightly between batch sizes. ``seed`` is that of all draws. x has to be float32; the other
    arguments, the result and the errors are those of :func:`rslib.attacks.pgd`.

    Warns:
        ProbabilityOutputWarning: If the outputs look like probabilities.
        ReducedAutoAttackWarning: If attacks are left out because the model has too few classes.
    """
    if version != "standard":
        raise ValueError(f"version={version!r} is unknown: use 'standard'")
    return run_autoattack(model, x, y, eps=eps, norm=norm, batch_size=batch_size, seed=seed).x_adv


def run_autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    batch_size: int = 250,
    seed: int = 0,
    known: Tensor | None = None,
    individual: bool = False,
    steps: int | None = None,
    queries: int | None = None,
) -> AutoAttackResult:
    """Run AutoAttack and keep what it found out on the way.

    The result depends on the arguments alone, so a data set may be attacked in shards. Errors and
    warnings are those of :func:`autoattack`, and so are the arguments but these: ``known``, images
    (B, C, H, W) that an earlier attack returned for x, of which those that fool the model within
    the budget are not attacked again; ``individual``, run each attack on all clean-correct images
    as well, at up to four times the work; ``steps`` of APGD and FAB (100) and ``queries`` of Square
    (5000), for quick looks.
    """
    threat = Threat(norm, eps)
    batch_size, seed = checks.whole("batch_size", batch_size, 1), checks.whole("seed", seed, 0)
    steps = None if steps is None else checks.whole("steps", steps, 1)
    queries = None if queries is None else checks.whole("queries", queries, 1)
    checks.check_inputs(model, x, y)
    if x.dtype != torch.float32:
        raise TypeError(f"x has dtype {x.dtype}; AutoAttack computes in float32: use x.float()")
    if known is not None and (known.shape != x.shape or known.device != x.device):
        raise ValueError(f"known has shape {tuple(known.shape)} on {known.device}; x differs")

    with checks.attack_mode(model), checks.seeded_apart(seed):
        # The package reshapes with view, which needs the plain layout; a model in another converts.
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = Counted(model)
        logits = logits_of(counted, x, batch_size)
        checks.check_outputs(logits, y)
        classes = logits.shape[1]
        attacks = [name for name in ATTACKS if classes >= _CLASSES_NEEDED.get(name, 2)]
        check_sizes(x, threat)
        flags: list[str] = []
        adversary = _adversary(counted, threat, seed, flags)
        _reduce(adversary, min(_TARGETS, classes - 1), steps, queries)

        def run(attack: str, x: Tensor, y: Tensor) -> Tensor:
            # Images that resist, or are wrong already, come back unchanged.
            adversary.attacks_to_run = [attack]
            with _listening(flags):
                return adversary.run_standard_evaluation(x, y, batch_size=batch_size)[0]

        correct = logits.argmax(1) == y
        broken_by = torch.where(correct, -1, 0)
        x_adv = x.clone()
        if known is not None:
            known = known.detach()
            taken = threat.distance(known, x) <= threat.eps + _TOLERANCE
            taken &= ((known >= 0) & (known <= 1)).flatten(1).all(1)
            taken &= (logits_of(counted, known, batch_size).argmax(1) != y) & correct
            x_adv[taken], broken_by[taken] = known[taken], 1
        # The first attack is given the clean-wrong images too, as when the package is called for
        # all attacks at once: it sorts them out itself, and its checks see the same batch.
        open_images = (broken_by != 1).nonzero().squeeze(1)
        for stage, attack in enumerate(attacks, start=2):
            if not bool((broken_by < 0).any()):
                break
            attacked = run(attack, x[open_images], y[open_images])
            changed = (attacked != x[open_images]).flatten(1).any(1)
            x_adv[open_images[changed]] = attacked[changed]
            broken_by[open_images[changed & (broken_by[open_images] < 0)]] = stage
            open_images = (broken_by < 0).nonzero().squeeze(1)

        alone = None
        if individual:
            each = [run(name, x, y) if correct.any() else x for name in attacks]
            alone = torch.stack([(images != x).flatten(1).any(1) | ~correct for images in each], 1)
        mismatches = (logits_of(counted, x_adv, batch_size).argmax(1) == y) != (broken_by < 0)

    # The package's check of Square, which it cannot make when attacks run one by one.
    by_square = (broken_by == 1 + len(attacks)).double().mean().item()
    if attacks[-1] == "square" and by_square > 0.002:
        flags.append(
            f"Square Attack has decreased the robust accuracy by {by_square:.2%} after the "
            "white-box attacks: gradients may be masked, and the result may still be too high"
        )
    left_out = [name.upper() for name in ATTACKS if name not in attacks]
    notes = [f"without {name}, which needs more classes" for name in left_out]
    if steps not in (None, 100):
        notes.append(f"{steps} steps instead of 100")
    if queries not in (None, 5000):
        notes.append(f"{queries} Square queries instead of 5000")
    label = "AutoAttack (standard)"
    if notes:
        label += f", changed: {'; '.join(notes)}"
    if known is not None:
        label = f"worst case of an earlier attack and {label}"
    if left_out:
        message = f"the model has {classes} classes, so this is {label}"
        warnings.warn(message, ReducedAutoAttackWarning, stacklevel=2)
    stages = ("clean", "known", *attacks)
    package = f"pyautoattack {metadata.version('pyautoattack')}"
    outcomes = x_adv, stages, broken_by, broken_by < 0, alone, int(mismatches.sum())
    return AutoAttackResult(*outcomes, tuple(dict.fromkeys(flags)), label, package, counted.images)


def _adversary(model: Counted, threat: Threat, seed: int, flags: list[str]) -> Any:
    """The package's attacks on a model."""
    import pyautoattack
    from pyautoattack import checks as package_checks

    # The package counts calls into autograd over the life of the process; its flag for a dynamic
    # defense would otherwise stay up for every model after the first.
    for name in package_checks.funcs:
        package_checks.funcs[name] = 0
    tensors = [*model.parameters(), *model.buffers(), torch.empty(0)]
    options = {"norm": NORMS[threat.norm], "eps": threat.eps, "device": tensors[0].device}
    with _listening(flags):
        return pyautoattack.AutoAttack(model, seed=seed, version="standard", **options)


def _reduce(adversary: Any, targets: int, steps: int | None, queries: int | None) -> None:
    """Set the classes that targeted attacks aim at and, unless None, steps and queries."""
    fab, apgd = adversary.fab, (adversary.apgd, adversary.apgd_targeted)
    fab.n_target_classes = apgd[1].n_target_classes = targets
    if queries is not None:
        adversary.square.n_queries = queries
    if steps is None:
        return
    fab.n_iter = steps
    for attack in apgd:
        # It derives a schedule of step sizes from the number of iterations.
        short = type(attack)(None, n_iter=steps, norm=attack.norm, eps=attack.eps)
        names = ("n_iter", "n_iter_orig", "n_iter_2", "n_iter_min", "size_decr")
        attack.__dict__.update({k: v for k, v in vars(short).items() if k in names})


@contextlib.contextmanager
def _listening(flags: list[str]) -> Iterator[None]:
    """Keep the warnings that the package logs, and put back the trace function that it clears."""

    def keep(record: logging.LogRecord) -> bool:
        flags.append(record.getMessage())
        return False

    trace, logger = sys.gettrace(), logging.getLogger("auto-attack")
    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addFilter(keep)
    try:
        yield
    finally:
        sys.settrace(trace)
        logger.removeFilter(keep)
        logger.setLevel(level)
