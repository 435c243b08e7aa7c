"""AutoAttack: four attacks without parameters to tune, run one after the other (paper 3.2.1).

APGD-CE, targeted APGD, targeted FAB and Square attack; each tries only the images that the ones
before it have left. The attacks are the authors' own, from the package ``pyautoattack`` or, where
that is not installed, from their repository's package ``autoattack``. This module only runs them:
one attack at a time, so that the result says which attack broke which image; with the checks and
records that the package leaves to its caller; and without the traces that the package leaves behind
(it clears the trace function that debuggers and coverage set, and reseeds the global generators).

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690.
"""

import contextlib
import importlib
import importlib.metadata
import io
import logging
import operator
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rslib.attacks.guard import attack_mode, check_inputs, check_outputs, checked_logits
from rslib.attacks.threat import Threat

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
}

# The loss of each attack compares this many logits.
_CLASSES_NEEDED = {"apgd-dlr": 3, "apgd-t": 4}
_TARGETS = 9
_LOGGER = "auto-attack"
# Distances are sums of float32 numbers.
_TOLERANCE = 1e-5


class ReducedAutoAttackWarning(UserWarning):
    """What runs is less than the version that was asked for; ``label`` of the result says how."""


@dataclass(frozen=True)
class AutoAttackResult:
    """What AutoAttack found, image by image, in the order of the batch.

    Attributes:
        x_adv: Images (B, C, H, W) in [0, 1]: adversarial where an attack succeeded, the original
            elsewhere.
        stages: What can break an image, in order: "clean" (wrong without an attack), "known" (an
            adversarial image that the caller brought), then the attacks.
        broken_by: (B,) int64, the position in ``stages`` of the first that broke the image, or -1.
        robust: (B,) bool, no stage broke the image.
        alone: (B, attacks) bool, whether each attack breaks the image when it starts from all
            clean-correct images; None unless asked for. Clean-wrong images count as broken.
        distance: (B,) distance of x_adv from the original.
        mismatches: Images for which a fresh forward pass of x_adv disagrees with ``robust``. Not 0:
            the model's answer is not a function of the image alone.
        outside: Images whose x_adv leaves the threat model by more than rounding.
        flags: Warnings of the package's own checks (randomized or dynamic defense, probabilities,
            zero gradients, Square stronger than the rest), without repetitions.
        log: All that the package logged, line by line, each after the name of the attack. Shares in
            it are of the images that the attack was given.
        label: What was run, in words; "AutoAttack (standard)" only for the unreduced version.
        package: Name and version of the package that ran.
        seed: Seed of every attack on every batch.
        batch_size: Images attacked at a time. It belongs to the result, since the package seeds
            each batch anew.
        evaluations: Images passed forward through the model, all checks included.
    """

    x_adv: Tensor
    stages: tuple[str, ...]
    broken_by: Tensor
    robust: Tensor
    alone: Tensor | None
    distance: Tensor
    mismatches: int
    outside: int
    flags: tuple[str, ...]
    log: tuple[str, ...]
    label: str
    package: str
    seed: int
    batch_size: int
    evaluations: int

    def cumulative(self) -> dict[str, float]:
        """Share of images that are still right after each stage, in order."""
        left = [((self.broken_by < 0) | (self.broken_by > k)) for k in range(len(self.stages))]
        return {
            stage: share.double().mean().item()
            for stage, share in zip(self.stages, left, strict=True)
        }

    def individual(self) -> dict[str, float]:
        """Share of images that are right under each attack by itself.

        Raises:
            ValueError: If the attacks were not run by themselves.
        """
        if self.alone is None:
            raise ValueError("the attacks ran only one after the other: pass individual=True")
        attacks = self.stages[2:]
        return {name: (~self.alone[:, k]).double().mean().item() for k, name in enumerate(attacks)}


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

    Args:
        model: Maps images to logits (B, classes). It is attacked in eval mode, in full precision,
            and given back as it was.
        x: Images (B, C, H, W), float32, in [0, 1].
        y: True labels (B,), int64.
        eps: Budget in [0, 1] units, e.g. 8/255 for l_inf; an l_2 radius may exceed 1.
        norm: "linf" or "l2".
        version: "standard", "plus" (six attacks, more restarts) or "rand" (for randomized models).
            With fewer than 10 classes the targeted attacks aim at all wrong classes instead of
            nine. Below 4 classes the loss of APGD-T is not defined, below 3 that of APGD-DLR: the
            attack is left out, with a warning.
        batch_size: Images attacked at a time. The same images in other batches meet other draws, so
            results differ slightly between batch sizes.
        seed: Seed of all random draws. Together with the model, the images and batch_size it
            decides the result.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x. Those that no attack broke, and those that
        the model gets wrong without help, are returned unchanged.

    Raises:
        ImportError: If neither package is installed.
        TypeError: If a dtype is wrong or the model is not a module.
        ValueError: If inputs, options or the model's outputs are out of range.

    Warns:
        ProbabilityOutputWarning: If the outputs look like probabilities.
        ReducedAutoAttackWarning: If attacks are left out because the model has too few classes.
    """
    return run_autoattack(
        model, x, y, eps=eps, norm=norm, version=version, batch_size=batch_size, seed=seed
    ).x_adv


def run_autoattack(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    version: str = "standard",
    batch_size: int = 250,
    seed: int = 0,
    known: Tensor | None = None,
    individual: bool = False,
    steps: int | None = None,
    queries: int | None = None,
) -> AutoAttackResult:
    """Run AutoAttack as ``autoattack`` does, and keep what it found out on the way.

    The result depends on the arguments alone, so a data set may be attacked in shards.

    Args:
        model: See ``autoattack``.
        x: See ``autoattack``.
        y: See ``autoattack``.
        eps: See ``autoattack``.
        norm: See ``autoattack``.
        version: See ``autoattack``.
        batch_size: See ``autoattack``.
        seed: See ``autoattack``.
        known: What an earlier attack returned for x, (B, C, H, W). Images that it breaks within the
            budget are not attacked again; they count as broken by "known", and ``label`` says so.
        individual: Run each attack on all clean-correct images as well; up to four times the work.
        steps: Iterations of APGD and FAB, instead of 100. For quick looks; ``label`` says so.
        queries: Queries of Square, instead of 5000. For quick looks; ``label`` says so.

    Returns:
        The result.

    Raises:
        ImportError: See ``autoattack``.
        TypeError: See ``autoattack``.
        ValueError: See ``autoattack``.

    Warns:
        ProbabilityOutputWarning: See ``autoattack``.
        ReducedAutoAttackWarning: See ``autoattack``.
    """
    threat = Threat(norm, eps)
    if version not in VERSIONS:
        raise ValueError(f"version={version!r} is unknown: use {', '.join(map(repr, VERSIONS))}")
    batch_size, seed = _whole("batch_size", batch_size, 1), _whole("seed", seed, 0)
    steps = None if steps is None else _whole("steps", steps, 1)
    queries = None if queries is None else _whole("queries", queries, 1)
    check_inputs(model, x, y)
    if x.dtype != torch.float32:
        raise TypeError(f"x has dtype {x.dtype}; AutoAttack computes in float32: use x.float()")
    if known is not None and (known.shape != x.shape or known.device != x.device):
        raise ValueError(f"known has shape {tuple(known.shape)} on {known.device}; x differs")

    with attack_mode(model), seeded_apart(seed):
        # The package reshapes with view, which needs the plain layout; a model in another converts.
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = _Counted(model)
        logits = _forward(counted, x, batch_size)
        check_outputs(logits, y)
        attacks, targets, left_out = _plan(version, logits.shape[1])
        if "square" in attacks:
            _check_square(x, threat)
        runner = _Runner(counted, threat, version, batch_size, seed, targets, steps, queries)

        correct = logits.argmax(1) == y
        broken_by = torch.where(correct, -1, 0)
        x_adv = x.clone()
        if known is not None:
            _take_over(counted, threat, x, y, known, batch_size, x_adv, broken_by)
        # The first attack is given the clean-wrong images too, as when the package is called for
        # all attacks at once: it sorts them out itself, and its checks see the same batch.
        open_images = (broken_by != 1).nonzero().squeeze(1)
        for stage, attack in enumerate(attacks, start=2):
            if not bool((broken_by < 0).any()):
                break
            attacked = runner.run(attack, x[open_images], y[open_images])
            changed = (attacked != x[open_images]).flatten(1).any(1)
            x_adv[open_images[changed]] = attacked[changed]
            broken_by[open_images[changed & (broken_by[open_images] < 0)]] = stage
            open_images = (broken_by < 0).nonzero().squeeze(1)

        alone = None
        if individual:
            alone = torch.stack([runner.breaks(a, x, y, correct) for a in attacks], 1)
        fresh = _forward(counted, x_adv, batch_size).argmax(1) == y

    robust, distance = broken_by < 0, threat.distance(x_adv, x)
    outside = (distance > threat.eps + _TOLERANCE) | ((x_adv < 0) | (x_adv > 1)).flatten(1).any(1)
    stages = ("clean", "known", *attacks)
    result = AutoAttackResult(
        x_adv=x_adv,
        stages=stages,
        broken_by=broken_by,
        robust=robust,
        alone=alone,
        distance=distance,
        mismatches=int((fresh != robust).sum()),
        outside=int(outside.sum()),
        flags=tuple(dict.fromkeys([*runner.flags, *_square_flag(stages, broken_by)])),
        log=tuple(runner.log),
        label=_label(version, left_out, known is not None, steps, queries),
        package=runner.package,
        seed=seed,
        batch_size=batch_size,
        evaluations=counted.images,
    )
    if left_out:
        warnings.warn(
            f"the model has {logits.shape[1]} classes, so this is {result.label}",
            ReducedAutoAttackWarning,
            stacklevel=2,
        )
    return result


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
    """Attack each image with Square, AutoAttack's random search that needs no gradient.

    Source: Andriushchenko, Croce, Flammarion and Hein, "Square attack", ECCV 2020,
    arXiv:1912.00049.

    Args:
        model: See ``autoattack``.
        x: See ``autoattack``.
        y: See ``autoattack``.
        eps: See ``autoattack``.
        norm: See ``autoattack``.
        queries: Trials for each image. The sizes of the squares are scheduled over them, unlike
            inside AutoAttack, whose 5000 follow the first half of a schedule of 10000.
        batch_size: See ``autoattack``.
        seed: See ``autoattack``.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x; those that resist are returned unchanged.

    Raises:
        ImportError: See ``autoattack``.
        TypeError: See ``autoattack``.
        ValueError: See ``autoattack``.

    Warns:
        ProbabilityOutputWarning: See ``autoattack``.
    """
    threat = Threat(norm, eps)
    check_inputs(model, x, y)
    batch_size, seed = _whole("batch_size", batch_size, 1), _whole("seed", seed, 0)
    queries = _whole("queries", queries, 1)
    _check_square(x, threat)
    with attack_mode(model), seeded_apart(seed), torch.no_grad():
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = _Counted(model)
        check_outputs(_forward(counted, x, batch_size), y)
        attack = importlib.import_module(f"{_package().__name__}.square").SquareAttack(
            counted,
            p_init=0.8,
            n_queries=queries,
            eps=threat.eps,
            norm=_NORMS[threat.norm],
            n_restarts=1,
            seed=seed,
            verbose=False,
            device=x.device,
            resc_schedule=True,
        )
        parts = zip(x.split(batch_size), y.split(batch_size), strict=True)
        return torch.cat([attack.perturb(images, labels) for images, labels in parts])


_NORMS = {"linf": "Linf", "l2": "L2"}


class _Counted(nn.Module):
    """The model under attack: checks each output, and counts the images it is asked about."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.images = 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        # A copy, since Square writes into what it gets, which may be the model's own tensor.
        return checked_logits(self.model, x).clone()


class _Runner:
    """The package's attacks, set up once and run one by one, with what they log."""

    def __init__(
        self,
        model: _Counted,
        threat: Threat,
        version: str,
        batch_size: int,
        seed: int,
        targets: int,
        steps: int | None,
        queries: int | None,
    ) -> None:
        module = _package()
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
                norm=_NORMS[threat.norm],
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


@contextlib.contextmanager
def seeded_apart(seed: int) -> Iterator[None]:
    """Seed torch's global generators for a while, and put them back after.

    The package draws from them, and so does a randomized model.

    Args:
        seed: The seed.
    """
    with contextlib.ExitStack() as stack:
        cards = range(torch.cuda.device_count())
        stack.enter_context(torch.random.fork_rng(devices=cards))
        if torch.backends.mps.is_available():
            stack.enter_context(torch.random.fork_rng(devices=[0], device_type="mps"))
        torch.manual_seed(seed)
        yield


def _package() -> ModuleType:
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


def _plan(version: str, classes: int) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
    """Attacks that can run with this many classes, number of target classes, attacks left out."""
    needed = {name: _CLASSES_NEEDED.get(name, 2) for name in VERSIONS[version]}
    attacks = tuple(name for name, least in needed.items() if classes >= least)
    left_out = tuple(name for name, least in needed.items() if classes < least)
    return attacks, min(_TARGETS, classes - 1), left_out


def _check_square(x: Tensor, threat: Threat) -> None:
    """Refuse sizes at which the package's l2 Square runs over the edge of the image."""
    height, width = x.shape[2:]
    tile = height // 5
    # It tiles the image from a margin that assumes five tiles in a row, although six may fit.
    fits = tile == 1 or (
        tile > 1 and all(height % 5 // 2 + size // tile * tile <= size for size in (height, width))
    )
    if threat.norm == "l2" and not fits:
        raise ValueError(
            f"Square attack in l2 cannot handle images of {height} x {width}: pad or resize them, "
            "for example to 32 x 32"
        )


def _shorten(adversary: Any, steps: int) -> None:
    """Set the number of iterations, and the schedule of step sizes that APGD derives from it."""
    adversary.fab.n_iter = steps
    for attack in (adversary.apgd, adversary.apgd_targeted):
        short = type(attack)(None, n_iter=steps, norm=attack.norm, eps=attack.eps)
        names = ("n_iter", "n_iter_orig", "n_iter_2", "n_iter_min", "size_decr")
        attack.__dict__.update({k: v for k, v in vars(short).items() if k in names})


def _forward(model: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    """Logits of all images, batch by batch."""
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(batch_size)])


def _take_over(
    model: nn.Module,
    threat: Threat,
    x: Tensor,
    y: Tensor,
    known: Tensor,
    batch_size: int,
    x_adv: Tensor,
    broken_by: Tensor,
) -> None:
    """Accept those of the caller's adversarial images that are allowed and fool the model."""
    known = known.detach()
    allowed = threat.distance(known, x) <= threat.eps + _TOLERANCE
    allowed &= ((known >= 0) & (known <= 1)).flatten(1).all(1)
    wrong = _forward(model, known, batch_size).argmax(1) != y
    taken = allowed & wrong & (broken_by < 0)
    x_adv[taken] = known[taken]
    broken_by[taken] = 1


def _square_flag(stages: tuple[str, ...], broken_by: Tensor) -> list[str]:
    """The package's check of Square, which it cannot make when attacks run one by one."""
    if stages[-1] != "square":
        return []
    share = (broken_by == len(stages) - 1).double().mean().item()
    if share <= 0.002:
        return []
    return [
        f"Square Attack has decreased the robust accuracy by {share:.2%} after the white-box "
        "attacks: gradients may be masked, and the result may still be too high"
    ]


def _label(
    version: str,
    left_out: tuple[str, ...],
    known: bool,
    steps: int | None,
    queries: int | None,
) -> str:
    notes = [f"without {name.upper()}, which needs more classes" for name in left_out]
    notes += [f"{steps} steps instead of 100"] if steps not in (None, 100) else []
    notes += [f"{queries} Square queries instead of 5000"] if queries not in (None, 5000) else []
    label = f"AutoAttack ({version})" + (f", changed: {'; '.join(notes)}" if notes else "")
    return f"worst case of an earlier attack and {label}" if known else label


def _whole(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be a whole number") from None
    if number < least:
        raise ValueError(f"{name}={value!r} must be at least {least}")
    return number
