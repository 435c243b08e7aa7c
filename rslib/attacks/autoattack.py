"""AutoAttack: four attacks without parameters to tune, run one after the other (paper 3.2.1).

APGD-CE, targeted APGD, targeted FAB and Square attack; each tries only the images that the ones
before it have left. The attacks are the authors' own, from the package ``pyautoattack``. This
module only runs them: one attack at a time, so that the result says which attack broke which image;
with the checks and records that the package leaves to its caller; and without the traces that the
package leaves behind (it clears the trace function that debuggers and coverage set, and reseeds the
global generators).

Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, arXiv:2003.01690.
"""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rslib.attacks._authors import Counted, Runner, forward
from rslib.attacks.square import check_sizes
from rslib.attacks.threat import Threat
from rslib.models.checks import attack_mode, check_inputs, check_outputs, seeded_apart, whole

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
        x_adv: Images (B, C, H, W) in [0, 1]: adversarial where an attack succeeded, the original
            elsewhere.
        stages: What can break an image, in order: "clean" (wrong without an attack), "known" (an
            adversarial image that the caller brought), then the attacks.
        broken_by: (B,) int64, the position in ``stages`` of the first that broke the image, or -1.
        robust: (B,) bool, no stage broke the image.
        alone: (B, attacks) bool, whether each attack breaks the image when it starts from all
            clean-correct images; None unless asked for. Clean-wrong images count as broken.
        mismatches: Images for which a fresh forward pass of x_adv disagrees with ``robust``. Not 0:
            the model's answer is not a function of the image alone.
        flags: Warnings of the package's own checks (randomized or dynamic defense, probabilities,
            zero gradients, Square stronger than the rest), without repetitions.
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

    Args:
        model: Maps images to logits (B, classes). It is attacked in eval mode, in full precision,
            and given back as it was.
        x: Images (B, C, H, W), float32, in [0, 1].
        y: True labels (B,), int64.
        eps: Budget in [0, 1] units, e.g. 8/255 for l_inf; an l_2 radius may exceed 1.
        norm: "linf" or "l2".
        version: "standard", the four attacks above. With fewer than 10 classes the targeted attacks
            aim at all wrong classes instead of nine. Below 4 classes the loss of APGD-T is not
            defined: it is left out, with a warning.
        batch_size: Images attacked at a time. The same images in other batches meet other draws, so
            results differ slightly between batch sizes.
        seed: Seed of all random draws. Together with the model, the images and batch_size it
            decides the result.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x. Those that no attack broke, and those that
        the model gets wrong without help, are returned unchanged.

    Raises:
        TypeError: If a dtype is wrong or the model is not a module.
        ValueError: If inputs, options or the model's outputs are out of range.

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

    The result depends on the arguments alone, so a data set may be attacked in shards. Arguments,
    errors and warnings are those of :func:`autoattack`, and these:

    - ``known``: adversarial images (B, C, H, W) that an earlier attack returned for x. Images that
      it breaks within the budget are not attacked again; they count as broken by "known", and
      ``label`` says so.
    - ``individual``: run each attack on all clean-correct images as well; up to four times the
      work.
    - ``steps`` of APGD and FAB, instead of 100, and ``queries`` of Square, instead of 5000: for
      quick looks; ``label`` says so.
    """
    threat = Threat(norm, eps)
    batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0)
    steps = None if steps is None else whole("steps", steps, 1)
    queries = None if queries is None else whole("queries", queries, 1)
    check_inputs(model, x, y)
    if x.dtype != torch.float32:
        raise TypeError(f"x has dtype {x.dtype}; AutoAttack computes in float32: use x.float()")
    if known is not None and (known.shape != x.shape or known.device != x.device):
        raise ValueError(f"known has shape {tuple(known.shape)} on {known.device}; x differs")

    with attack_mode(model), seeded_apart(seed):
        # The package reshapes with view, which needs the plain layout; a model in another converts.
        x = x.detach().clone(memory_format=torch.contiguous_format)
        y = y.clone()
        counted = Counted(model)
        logits = forward(counted, x, batch_size)
        check_outputs(logits, y)
        classes = logits.shape[1]
        attacks = tuple(name for name in ATTACKS if classes >= _CLASSES_NEEDED.get(name, 2))
        left_out = tuple(name for name in ATTACKS if name not in attacks)
        check_sizes(x, threat)
        targets = min(_TARGETS, classes - 1)
        runner = Runner(counted, threat, batch_size, seed, targets, steps, queries)

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
        fresh = forward(counted, x_adv, batch_size).argmax(1) == y

    robust, stages = broken_by < 0, ("clean", "known", *attacks)
    result = AutoAttackResult(
        x_adv=x_adv,
        stages=stages,
        broken_by=broken_by,
        robust=robust,
        alone=alone,
        mismatches=int((fresh != robust).sum()),
        flags=tuple(dict.fromkeys([*runner.flags, *_square_flag(stages, broken_by)])),
        label=_label(left_out, known is not None, steps, queries),
        package=runner.package,
        evaluations=counted.images,
    )
    if left_out:
        warnings.warn(
            f"the model has {classes} classes, so this is {result.label}",
            ReducedAutoAttackWarning,
            stacklevel=2,
        )
    return result


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
    wrong = forward(model, known, batch_size).argmax(1) != y
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


def _label(left_out: tuple[str, ...], known: bool, steps: int | None, queries: int | None) -> str:
    notes = [f"without {name.upper()}, which needs more classes" for name in left_out]
    if steps not in (None, 100):
        notes.append(f"{steps} steps instead of 100")
    if queries not in (None, 5000):
        notes.append(f"{queries} Square queries instead of 5000")
    label = "AutoAttack (standard)"
    if notes:
        label += f", changed: {'; '.join(notes)}"
    return f"worst case of an earlier attack and {label}" if known else label
