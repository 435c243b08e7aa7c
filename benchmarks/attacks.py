"""PGD against torchattacks and foolbox; AutoAttack against its authors' package called directly."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite, gather
from rslib.attacks import Threat, Twins, run_autoattack, run_pgd

THREAT = Threat("linf", 8 / 255)
STEPS = 20
STEP_SIZE = 2 * THREAT.eps / STEPS
SEED = 0

NETS = {"resnet18-standard": "undefended net", "resnet18-adversarial": "adversarially trained net"}

_ROUNDING = 1e-6
# Beyond this, two attacks of one threat model do not differ by their random starts alone.
_AGREEING, _CHANCE = 0.95, 0.01
_FRESH = 0.01


@dataclass(frozen=True)
class Attacked:
    """What an attack leaves: adversarial images, and which images the net still gets right.

    ``evaluations`` are those of a copy of the net with which rslib searches.
    """

    x_adv: Tensor
    robust: Tensor
    evaluations: int = 0


def pgd(n: int, *, device: torch.device = CPU) -> Suite:
    """PGD with 20 steps of 2 eps / 20 from a random start, eps 8/255, on n images in one batch."""
    targets = {
        "resnet18-standard": {"torchattacks": 8.0, "foolbox": 12.0},
        "resnet18-adversarial": {"torchattacks": 2.0, "foolbox": 2.0},
    }
    return Suite([_pgd(name, n, targets[name], device) for name in NETS])


def autoattack(undefended: int, adversarial: int, *, device: torch.device = CPU) -> Suite:
    """AutoAttack (standard), eps 8/255, on so many images of each net in one batch."""
    sizes = dict(zip(NETS, (undefended, adversarial), strict=True))
    targets = {"resnet18-standard": 5.0, "resnet18-adversarial": 1.2}
    return Suite([_autoattack(name, sizes[name], targets[name], device) for name in NETS])


def _moved(x: Tensor) -> float:
    """Bytes of an image that is read, and of the adversarial one that is written."""
    return 2 * x.nbytes / len(x)


# --- PGD ---------------------------------------------------------------------------------------


def _pgd(name: str, n: int, targets: Mapping[str, float], device: torch.device) -> Row:
    x, y = subjects.images(n, device=device)
    peers, missing = gather(
        {
            "torchattacks": lambda: _torchattacks(name, x, y),
            "foolbox": lambda: _foolbox(name, x, y),
            "foolbox, weights frozen": lambda: _foolbox(name, x, y, frozen=True),
        }
    )
    return Row(
        f"PGD-{STEPS}, {NETS[name]}",
        [_ours(name, x, y), *peers],
        lambda answers: same_threat(name, x, y, answers) + "; " + no_weaker(answers),
        targets=targets,
        missing=missing,
        moved=_moved(x),
        warm_up=False,
        note="each attack with its verdict on every image; rslib leaves an image at the first "
        "iterate that fools the net, the others follow it to the last",
        shortfall="the steps are small, so that an image withstands a few before it is left, and "
        "one that withstands all is followed to the end by all; see the passes",
    )


def _ours(name: str, x: Tensor, y: Tensor) -> Contender:
    net = subjects.another(name, x.device)

    def run() -> Attacked:
        x_adv, evaluations = _search(Twins().of(net, x), x, y)
        return Attacked(x_adv, right(net, x_adv, y), evaluations)

    return Contender(OURS, run, len(x), net, told=lambda answer: answer.evaluations)


def _search(net: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, int]:
    """Adversarial images, and how many images were passed forward."""
    found = run_pgd(
        net,
        x,
        y,
        eps=THREAT.eps,
        step_size=STEP_SIZE,
        num_steps=STEPS,
        generator=torch.Generator().manual_seed(SEED),
    )
    return found.x_adv, found.evaluations


def _torchattacks(name: str, x: Tensor, y: Tensor) -> Contender:
    import torchattacks

    net = subjects.another(name, x.device)
    attack = torchattacks.PGD(net, eps=THREAT.eps, alpha=STEP_SIZE, steps=STEPS)

    def run() -> Attacked:
        torch.manual_seed(SEED)
        x_adv = attack(x, y)
        return Attacked(x_adv, right(net, x_adv, y))

    return Contender("torchattacks", run, len(x), net)


def _foolbox(name: str, x: Tensor, y: Tensor, *, frozen: bool = False) -> Contender:
    import foolbox

    net = subjects.another(name, x.device).requires_grad_(not frozen)
    wrapped = foolbox.PyTorchModel(net, bounds=(0, 1), device=x.device)
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=STEPS)

    def run() -> Attacked:
        torch.manual_seed(SEED)
        _, x_adv, success = attack(wrapped, x, y, epsilons=THREAT.eps)
        return Attacked(x_adv, ~success)

    if frozen:
        note = "the caller has switched the weights' gradients off, which its pages do not ask for"
        return Contender("foolbox, weights frozen", run, len(x), net, note=note)
    return Contender("foolbox", run, len(x), net, note="called as its pages show")


# --- AutoAttack --------------------------------------------------------------------------------


def _autoattack(name: str, n: int, target: float, device: torch.device) -> Row:
    x, y = subjects.images(n, device=device)
    peers, missing = gather({"pyautoattack": lambda: _package(name, x, y)})
    return Row(
        f"AutoAttack (standard), {NETS[name]}",
        [_screened(name, x, y), *peers],
        lambda answers: same_threat(name, x, y, answers) + "; " + no_higher(answers),
        targets={"pyautoattack": target},
        missing=missing,
        moved=_moved(x),
        warm_up=False,
        note=f"rslib: worst case of PGD-{STEPS} and AutoAttack, which attacks what PGD leaves; "
        "pyautoattack: AutoAttack alone",
        shortfall="nearly all passes are of the images that withstand every attack, which both "
        "follow to the end; see the passes",
    )


def _screened(name: str, x: Tensor, y: Tensor) -> Contender:
    net = subjects.another(name, x.device)

    def run() -> Attacked:
        searched = Twins().of(net, x)
        known, evaluations = _search(searched, x, y)
        found = run_autoattack(
            searched, x, y, eps=THREAT.eps, batch_size=len(x), seed=SEED, known=known
        )
        robust = right(net, found.x_adv, y)
        return Attacked(found.x_adv, robust, evaluations + found.evaluations)

    return Contender(OURS, run, len(x), net, told=lambda answer: answer.evaluations)


def _package(name: str, x: Tensor, y: Tensor) -> Contender:
    from pyautoattack import AutoAttack

    net = subjects.another(name, x.device)
    plain = x.contiguous()  # the package reshapes with view

    def run() -> Attacked:
        with _undisturbed():
            adversary = AutoAttack(
                net, norm="Linf", eps=THREAT.eps, version="standard", seed=SEED, device=x.device
            )
            x_adv, _ = adversary.run_standard_evaluation(plain, y, batch_size=len(x))
        return Attacked(x_adv, right(net, x_adv, y))

    return Contender("pyautoattack", run, len(x), net, note="called as its pages show")


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put back what the package changes: it clears debuggers' trace function, and logs its doubts.

    It counts calls of autograd over the life of the process, and doubts every net after the first.
    """
    trace, logger = sys.gettrace(), logging.getLogger("auto-attack")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        sys.settrace(trace)


# --- the same answer ---------------------------------------------------------------------------


@torch.no_grad()
def right(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images the net gets right (n,)."""
    return net(x).argmax(1) == y


def same_threat(name: str, x: Tensor, y: Tensor, answers: Mapping[str, Attacked]) -> str:
    """Whether all images are within the threat model, and the net answers as the attacks say.

    Raises:
        Disagreement: one is outside, or more than 1 in 100 verdicts are not the net's.
    """
    net = subjects.another(name, x.device)
    for who, answer in answers.items():
        x_adv = answer.x_adv.detach()
        if float(THREAT.distance(x_adv, x).max()) > THREAT.eps + _ROUNDING:
            raise Disagreement(f"{who} leaves the threat model: further than {THREAT.eps:.5f}")
        if float(x_adv.min()) < 0 or float(x_adv.max()) > 1:
            raise Disagreement(f"{who} leaves the threat model: pixels outside [0, 1]")
        wrong = int((right(net, x_adv, y) != answer.robust).sum())
        if wrong > _FRESH * len(x):
            raise Disagreement(f"{who}: for {wrong} images the net does not do what it says")
    return f"all within eps of {len(x)} images, and the net answers as they say"


def no_weaker(answers: Mapping[str, Attacked]) -> str:
    """Whether our robust images are a subset of each peer's, up to the random starts.

    Every iterate counts here and only the last one there, so a difference should be ours to find.
    One-sided sign test over the images on which the two differ.

    Raises:
        Disagreement: a peer breaks more images that ours leaves than chance explains, or the two
            differ on more than 1 in 20.
    """
    from scipy.stats import binomtest

    ours, told = answers[OURS].robust, [_left(OURS, answers)]
    for who, answer in answers.items():
        if who == OURS:
            continue
        missed, found = int((ours & ~answer.robust).sum()), int((answer.robust & ~ours).sum())
        told.append(f"{_left(who, answers)} ({missed} broken by it alone, {found} by rslib alone)")
        differ = missed + found
        if differ and binomtest(missed, differ, alternative="greater").pvalue < _CHANCE:
            raise Disagreement(f"rslib's PGD is weaker than {who}'s: {'; '.join(told)}")
        if differ > max(1, (1 - _AGREEING) * len(ours)):
            raise Disagreement(f"rslib and {who} differ on {differ} images: {'; '.join(told)}")
    return "; ".join(told)


def no_higher(answers: Mapping[str, Attacked]) -> str:
    """Whether our robust accuracy is at most that of each peer.

    Raises:
        Disagreement: it is higher.
    """
    told = "; ".join(_left(who, answers) for who in answers)
    ours = int(answers[OURS].robust.sum())
    if any(ours > int(answer.robust.sum()) for answer in answers.values()):
        raise Disagreement(f"rslib's robust accuracy is higher: {told}")
    return told


def _left(who: str, answers: Mapping[str, Attacked]) -> str:
    return f"{who} leaves {int(answers[who].robust.sum())} right"
