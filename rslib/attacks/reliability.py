"""Can a robustness number be trusted? Checks that models with masked gradients fail.

A defense that hides its gradients makes attacks fail without being robust. Each check looks for one
sign of it. Passing all does not prove robustness; failing one needs an explanation.

Sources: Athalye et al., "Obfuscated gradients give a false sense of security", arXiv:1802.00420;
Carlini et al., "On evaluating adversarial robustness", arXiv:1902.06705; Croce and Hein,
arXiv:2003.01690 (section 5 and the flags of their code).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rslib.attacks.pgd import run_pgd
from rslib.attacks.report import Check, Report
from rslib.attacks.square import logits_of, square
from rslib.attacks.threat import Threat
from rslib.metrics import accuracy_interval
from rslib.metrics.estimates import paired_difference
from rslib.models import checks
from rslib.models.device import tf32

# Shares of all images. A stronger attack, AutoAttack included, may find this much that PGD-20
# missed: on honest networks the gap is usually one to five points.
_MORE = 0.06
# A weaker attack (one step, no gradient) should find next to nothing that the standard one missed.
_WEAKER = 0.02
# What is left under a budget at which every image can be turned into any other.
_LEFT = 0.05
_ZERO_GRADIENTS = 0.05
_RECHECK = 0.01
_ROUNDING = 0.05
# Relative to the largest logit: float32 arithmetic in another order stays far below.
_SAME_LOGITS = 1e-3

# What it means to pass a check, and to fail it.
_MEANINGS = {
    "budget": (
        "Accuracy falls to about zero as the budget grows: the attack can reach its aim.",
        "A larger budget leaves more accuracy: the attack gets stuck.",
    ),
    "effort": (
        "More steps find little that 20 steps missed: the attack has converged.",
        "More steps break many more images: the reported accuracy is too high.",
    ),
    "logit_scale": (
        "The scale of the logits does not shield the model from the attack.",
        "On rescaled logits the same attack breaks many more images: the loss is saturated, and "
        "the reported accuracy too high.",
    ),
    "black_box": (
        "A search without gradients finds next to nothing that the gradient attack missed.",
        "A search without gradients breaks images that the gradient attack could not: the "
        "gradients mislead.",
    ),
    "one_step": (
        "One long step finds next to nothing that many small ones missed.",
        "One long step breaks images that many small ones could not: the gradients nearby mislead.",
    ),
    "gradients": (
        "Nearly every image has a gradient for the attack to follow.",
        "Gradients are exactly zero: gradient attacks say nothing about those images.",
    ),
    "recheck": (
        "Shown again, the adversarial images give the outcome that the attack reported.",
        "Shown again, the same images give another outcome: the model is not a function.",
    ),
    "batch": (
        "An image's logits do not depend on its batch.",
        "An image's logits depend on the images beside it: results change with the batch.",
    ),
    "repeat": (
        "Computed again, the logits are the same.",
        "Computed again, the logits differ: the model is randomized, and an attack needs to "
        "average over its draws.",
    ),
    "eight_bit": (
        "Saved as 8-bit files, the adversarial images still work.",
        "Rounding to 8 bits undoes the attack: it lives between the levels of a pixel, and the "
        "reported accuracy is lower than for real files.",
    ),
}


def reliability(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    norm: str = "linf",
    strong_steps: int = 100,
    queries: int = 300,
    examined: int = 64,
    batch_size: int = 250,
    seed: int = 0,
    autoattack_correct: Tensor | None = None,
) -> Report:
    """Check whether an attack's result on this model can be trusted.

    The number in question is accuracy under PGD with 20 steps of 2 eps / 20 from a random start
    (paper 3.2.1). The checks, by name:

    - ``budget``: accuracy falls to about 0, and never rises, as the budget doubles up to half the
      range of pixel values.
    - ``effort``: PGD with ``strong_steps`` steps and a new start breaks little of what PGD-20 left.
    - ``logit_scale``: so does PGD on logits of a common scale; of huge logits the loss is flat.
    - ``black_box``: Square attack, without gradients, breaks next to nothing in ``queries`` each.
    - ``one_step``: so does one step of full length from the image itself (FGSM in l_inf).
    - ``gradients``: few images have an input gradient that is exactly 0, of cross-entropy or of the
      margin between the true and the nearest other class.
    - ``recheck``: adversarial images stay in the threat model and fool the model when shown again.
    - ``batch``: logits do not depend on the other images of a batch.
    - ``repeat``: logits are the same when computed twice.
    - ``eight_bit``: adversarial images still fool the model after rounding to 256 levels.
    - ``autoattack``: only if ``autoattack_correct`` ((B,) bool, the model is right under
      AutoAttack) is given: it does not clearly end more than 6 points lower.

    Checks that attack again do so on at most ``examined`` of the images concerned, evenly spaced.
    They fail when even the lower end of the 95 % interval of the share exceeds the tolerance. The
    check of AutoAttack takes the interval of the difference on the same images, and its meaning
    says if they are too few to tell.

    The other arguments and errors are those of :func:`rslib.attacks.pgd`; one or two hundred images
    are enough. ``seed`` is that of all draws, a randomized model's own included; torch's generators
    are left as they were.

    Raises:
        ValueError: Also if a gradient is not finite, or if the model is right on no image.
    """
    threat = Threat(norm, eps)
    sizes = {"strong_steps": strong_steps, "queries": queries}
    sizes |= {"examined": examined, "batch_size": batch_size}
    for name, value in sizes.items():
        checks.whole(name, value, 1)
    checks.check_inputs(model, x, y)
    if autoattack_correct is not None and autoattack_correct.shape != y.shape:
        shape = tuple(autoattack_correct.shape)
        raise ValueError(f"autoattack_correct has shape {shape}; images need one each, ({len(x)},)")
    # Strict float32: some checks compare logits, and TF32 alone would make them differ.
    with checks.attack_mode(model), tf32(False), checks.seeded_apart(checks.whole("seed", seed, 0)):
        x, y = x.detach().clone(), y.clone()
        checks.check_outputs(logits_of(model, x, batch_size), y)
        lab = _Lab(model, x, y, threat, examined, batch_size, seed)
        if not bool(lab.correct.any()):
            raise ValueError(f"the model is right on none of the {len(x)} images to attack")
        made = [_budget(lab), _effort(lab, strong_steps), _logit_scale(lab)]
        made += [_black_box(lab, queries), _one_step(lab), _gradients(lab), _recheck(lab)]
        few = x[:48]
        alone = [logits_of(model, few, size) for size in (len(few), max(1, len(few) // 7))]
        # Three passes: a model that switches between two answers may repeat one by luck.
        again = [lab.logits_of(x) for _ in range(3)]
        made += [_same("batch", alone), _same("repeat", again), _eight_bit(lab)]
        if autoattack_correct is not None:
            made.append(_autoattack(lab, autoattack_correct.to(x.device)))
    accuracy = {"clean_accuracy": _share(lab.correct), "pgd_accuracy": _share(lab.robust)}
    return Report(tuple(made), threat.eps, threat.norm, len(x), **accuracy)


def beside_autoattack(evidence: Mapping[str, Any]) -> Literal["within", "unclear", "beyond"]:
    """Judge AutoAttack's distance below PGD-20 by the evidence of the check ``autoattack``.

    It is ``"within"`` or ``"beyond"`` if the whole interval of the difference lies on that side of
    the tolerance, and ``"unclear"`` if the images are too few to tell, or an old report holds none.
    """
    low, high = evidence.get("interval", (-math.inf, math.inf))
    if low > evidence["tolerance"]:
        return "beyond"
    return "within" if high <= evidence["tolerance"] else "unclear"


@dataclass
class _Lab:
    """The model, its images and the result in question, which all checks look at."""

    judged: nn.Module
    x: Tensor
    y: Tensor
    threat: Threat
    examined: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        point = self.x[:1].clone().requires_grad_()
        total = checks.checked_logits(self.judged, point).sum()
        reaches = total.requires_grad and torch.autograd.grad(total, point, allow_unused=True)[0]
        self.has_gradient = isinstance(reaches, Tensor)
        # Attacks need some gradient to follow, if only zeros.
        self.model = self.judged if self.has_gradient else _ZeroGradient(self.judged)
        self.logits = self.logits_of(self.x)
        self.correct = self.logits.argmax(1) == self.y
        self.x_adv, fooled = self.pgd(self.threat.eps)
        self.robust = self.correct & ~fooled
        self.survivors = self.some(self.robust)

    def logits_of(self, x: Tensor) -> Tensor:
        return logits_of(self.judged, x, self.batch_size)

    def pgd(
        self, eps: float, images: Tensor | slice = slice(None), *, start: int = 0, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Adversarial images and whether they fooled the model, by PGD-20 or its options.

        Other values of ``start`` give other random starts. An image is left at its first wrong
        iterate, or else followed to the end, which takes it away from the decision boundary.
        """
        x, y = self.x[images], self.y[images]
        if len(x) == 0:
            return x, torch.zeros_like(y, dtype=torch.bool)
        generator = torch.Generator().manual_seed(self.seed + start)
        options = {"step_size": eps / 10, "num_steps": 20, "model": self.model} | options
        options |= {"eps": eps, "norm": self.threat.norm, "generator": generator}
        parts = zip(x.split(self.batch_size), y.split(self.batch_size), strict=True)
        found = [run_pgd(x=part, y=labels, **options) for part, labels in parts]
        if options.get("early_stop", True):
            return torch.cat([r.x_adv for r in found]), torch.cat([r.fooled for r in found])
        return torch.cat([r.x_last for r in found]), torch.cat([r.fooled_last for r in found])

    def some(self, which: Tensor) -> Tensor:
        """Positions of the images in ``which``, or of as many as may be examined, evenly spaced."""
        positions = which.nonzero().squeeze(1)
        if len(positions) <= self.examined:
            return positions
        return positions[torch.arange(self.examined) * len(positions) // self.examined]


def _check(name: str, passed: bool, evidence: dict[str, Any], meaning: str = "") -> Check:
    return Check(name, passed, evidence, meaning or _MEANINGS[name][0 if passed else 1])


def _few(name: str, found: Tensor, of: Tensor, tolerance: float, **evidence: Any) -> Check:
    """A check that few enough images are found among those examined, which stand for ``of``."""
    count, examined = int(found.sum()), len(found)
    # Shares are of all images.
    weight = _share(of)
    low, high = accuracy_interval(count, examined) if examined else (0.0, 0.0)
    counted = "recovered" if name == "eight_bit" else "newly_broken"
    share = weight * count / max(examined, 1)
    evidence |= {counted: count, "examined": examined, "share": share}
    evidence |= {"interval": [weight * low, weight * high], "tolerance": tolerance}
    return _check(name, weight * low <= tolerance, evidence)


class _ZeroGradient(nn.Module):
    """A model whose logits carry no gradient, given one of zeros."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return checks.checked_logits(self.model, x).detach() + 0 * x.flatten(1).sum(1, keepdim=True)


class _Rescaled(_ZeroGradient):
    """The model with each image's logits divided by their spread, so that no loss saturates."""

    def forward(self, x: Tensor) -> Tensor:
        logits = checks.checked_logits(self.model, x)
        spread = (logits.amax(1, keepdim=True) - logits.mean(1, keepdim=True)).detach()
        return logits / spread.clamp_min(torch.finfo(logits.dtype).tiny)


def _share(outcomes: Tensor) -> float:
    return outcomes.double().mean().item()


def _budget(lab: _Lab) -> Check:
    """Double the budget until half the range of pixel values is allowed."""
    # An l2 budget is compared by the change per pixel value that it would allow if spread evenly.
    spread = 1.0 if lab.threat.norm == "linf" else math.sqrt(lab.x[0].numel())
    budgets, accuracy = [lab.threat.eps], [_share(lab.robust)]
    while budgets[-1] < 0.5 * spread:
        budgets.append(min(2 * budgets[-1], spread))
        accuracy.append(_share(lab.correct & ~lab.pgd(budgets[-1])[1]))
    rise = max((b - a for a, b in zip(accuracy, accuracy[1:], strict=False)), default=0.0)
    vanishes = accuracy[-1] <= _LEFT
    # Random starts decide single images either way.
    monotone = rise <= max(_WEAKER, 1.5 / len(lab.x))
    evidence = {"eps": budgets, "accuracy": accuracy, "largest_rise": rise}
    evidence["allowed_at_the_end"] = _LEFT
    if vanishes:
        return _check("budget", monotone, evidence)
    meaning = "Even a budget that allows any image leaves accuracy: the attack fails, not the "
    return Check("budget", False, evidence, meaning + "perturbation.")


def _effort(lab: _Lab, steps: int) -> Check:
    # Steps as long as those of PGD-20 let it leave a local maximum.
    _, fooled = lab.pgd(lab.threat.eps, lab.survivors, start=1, num_steps=steps)
    return _few("effort", fooled, lab.robust, _MORE, steps=steps)


def _logit_scale(lab: _Lab) -> Check:
    _, fooled = lab.pgd(lab.threat.eps, lab.survivors, model=_Rescaled(lab.model))
    largest = lab.logits.abs().amax(1).median().item()
    return _few("logit_scale", fooled, lab.robust, _MORE, median_largest_logit=largest)


def _black_box(lab: _Lab, queries: int) -> Check:
    fooled = torch.zeros(0, dtype=torch.bool)
    if len(lab.survivors):
        x, y = lab.x[lab.survivors], lab.y[lab.survivors]
        options = {"eps": lab.threat.eps, "norm": lab.threat.norm, "queries": queries}
        options |= {"batch_size": lab.batch_size, "seed": lab.seed}
        fooled = lab.logits_of(square(lab.judged, x, y, **options)).argmax(1) != y
    return _few("black_box", fooled, lab.robust, _WEAKER, queries=queries)


def _one_step(lab: _Lab) -> Check:
    # FGSM; in l2 the same step along the normalized gradient.
    eps = lab.threat.eps
    _, wrong = lab.pgd(eps, num_steps=1, step_size=eps, random_start=False)
    check = _few("one_step", wrong[lab.robust], lab.robust, _WEAKER)
    check.evidence["one_step_accuracy"] = _share(lab.correct & ~wrong)
    return check


def _gradients(lab: _Lab) -> Check:
    zero, sizes = {"zero_cross_entropy": [], "zero_margin": []}, []
    parts = (tensor[lab.correct].split(lab.batch_size) for tensor in (lab.x, lab.y))
    for x, y in zip(*parts, strict=True):
        point = x.clone().requires_grad_()
        logits = checks.checked_logits(lab.model, point)
        others = logits.scatter(1, y.unsqueeze(1), -torch.inf).amax(1)
        margin = (others - logits.gather(1, y.unsqueeze(1)).squeeze(1)).sum()
        losses = cross_entropy(logits, y, reduction="sum"), margin
        for name, loss in zip(zero, losses, strict=True):
            (gradient,) = torch.autograd.grad(loss, point, retain_graph=True)
            zero[name].append(gradient.flatten(1).abs().amax(1) == 0)
            if name == "zero_cross_entropy":
                sizes.append(gradient.flatten(1).double().norm(dim=1))
    shares = {name: _share(torch.cat(parts)) for name, parts in zero.items()}
    evidence = {"reaches_input": lab.has_gradient, **shares, "of": "clean-correct images"}
    evidence["median_norm_cross_entropy"] = torch.cat(sizes).median().item()
    evidence["tolerance"] = _ZERO_GRADIENTS
    meaning = ""
    if not lab.has_gradient:
        meaning = "No gradient reaches the input: gradient attacks say nothing about this model."
    elif shares["zero_margin"] <= _ZERO_GRADIENTS < shares["zero_cross_entropy"]:
        meaning = (
            "The cross-entropy gradient underflows to zero, that of the margin does not: the loss "
            "is saturated, and attacks on it are blind."
        )
    passed = lab.has_gradient and max(shares.values()) <= _ZERO_GRADIENTS
    return _check("gradients", passed, evidence, meaning)


def _recheck(lab: _Lab) -> Check:
    distance = lab.threat.distance(lab.x_adv, lab.x).max().item()
    # Rounding of float32 differences.
    inside = distance <= lab.threat.eps + 1e-5 and 0 <= lab.x_adv.min() and lab.x_adv.max() <= 1
    still_right = lab.logits_of(lab.x_adv).argmax(1) == lab.y
    mismatches = int((still_right != lab.robust).sum())
    evidence = {"largest_distance": distance, "mismatches": mismatches}
    evidence |= {"share": mismatches / len(lab.x), "tolerance": _RECHECK}
    if not inside:
        meaning = "The attack left its threat model: its result does not count."
        return Check("recheck", False, evidence, meaning)
    return _check("recheck", mismatches <= max(1, _RECHECK * len(lab.x)), evidence)


def _same(name: str, logits: Sequence[Tensor]) -> Check:
    """A check that logits do not differ from the first ones, relative to the largest of them."""
    first, *others = logits
    scale = max(first.abs().max().item(), torch.finfo(first.dtype).tiny)
    difference = max((first - other).abs().max().item() / scale for other in others)
    changed = max(int((first.argmax(1) != other.argmax(1)).sum()) for other in others)
    evidence = {"largest_relative_difference": difference, "predictions_changed": changed}
    evidence["tolerance"] = _SAME_LOGITS
    return _check(name, difference <= _SAME_LOGITS, evidence)


def _eight_bit(lab: _Lab) -> Check:
    # The first wrong iterate lies just past the boundary, where rounding decides either way; the
    # question is whether a finished attack survives it.
    broken = lab.correct & ~lab.robust
    some = lab.some(broken)
    x_adv, fooled = lab.pgd(lab.threat.eps, some, early_stop=False)
    if len(some):
        rounded = lab.threat.project((x_adv * 255).round() / 255, lab.x[some])
        fooled = fooled & (lab.logits_of(rounded).argmax(1) == lab.y[some])
    return _few("eight_bit", fooled, broken, _ROUNDING)


def _autoattack(lab: _Lab, correct: Tensor) -> Check:
    # Images are the same, so what counts is on how many the two attacks disagree.
    gap = paired_difference(lab.robust.cpu().numpy(), correct.cpu().numpy())
    points, pgd, auto = f"{100 * _MORE:g} points", _share(lab.robust), _share(correct)
    evidence = {"pgd_accuracy": pgd, "autoattack_accuracy": auto, "difference": pgd - auto}
    evidence |= {"interval": [gap.low / 100, gap.high / 100], "tolerance": _MORE}
    meanings = {
        "within": f"AutoAttack ends at most {points} under PGD-20, with its whole interval.",
        "unclear": f"Too few images to tell whether AutoAttack ends more than {points} under "
        "PGD-20.",
        "beyond": f"AutoAttack clearly ends more than {points} under PGD-20: PGD-20 overstates "
        "this model's robustness.",
    }
    found = beside_autoattack(evidence)
    return Check("autoattack", found != "beyond", evidence, meanings[found])


class RoundedInput(nn.Module):
    """A model meant to fail the checks: its input is rounded to a few levels, at least 2.

    Rounding has a zero derivative almost everywhere, so gradient attacks find nothing to follow,
    while other attacks fool the model as easily as before (Athalye et al., 2018, section 4).

    Raises:
        ValueError: fewer than 2 levels.
    """

    def __init__(self, model: nn.Module, *, levels: int) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels={levels!r} must be at least 2")
        self.model = model
        self.steps = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (B, 3, H, W) in [0, 1], rounded."""
        return self.model((x * self.steps).round() / self.steps)
