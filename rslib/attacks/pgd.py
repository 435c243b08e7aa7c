"""Gradient attacks: FGSM, one long step, and PGD, many small ones, each projected back (3.2.1).

Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015,
arXiv:1412.6572. Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR
2018, arXiv:1706.06083.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rslib.attacks.threat import Threat, in_pixel_units
from rslib.models import checks


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    """Attack every image by one l_inf step of length eps along the sign of the loss gradient.

    Returns clip(x + eps * sign(grad_x J(x, y)), 0, 1), images (B, C, H, W), with J the
    cross-entropy; equation 1 of the paper leaves out the clipping. Images that the model already
    gets wrong are moved like all others. Arguments and errors are those of :func:`pgd`.
    """
    threat = Threat("linf", eps)
    checks.check_inputs(model, x, y)
    with checks.attack_mode(model):
        # Clones, since tensors made in inference mode cannot take part in a backward pass.
        x, y = x.detach().clone(), y.clone()
        point = x.clone().requires_grad_()
        logits = checks.checked_logits(model, point)
        checks.check_outputs(logits, y)
        gradient = input_gradient(cross_entropy(logits, y, reduction="sum"), point)
        return threat.project(threat.step(x, gradient, threat.eps), x)


@dataclass(frozen=True)
class PGDResult:
    """PGD's outcome, image by image, in the order of the batch.

    Attributes:
        x_adv: Images (B, C, H, W) in [0, 1]: the first iterate that the model got wrong; where
            there is none, the last one of the restart that ended with the highest loss; where the
            model was wrong from the start, the original.
        x_last: The same, but of last iterates alone, as in other libraries; None if stopped early.
        clean_correct: (B,) bool, the model is right on the original.
        fooled: (B,) bool, the model is wrong on the original or on any iterate, the random start
            and the final point included. An image is robust if it is not fooled.
        fooled_last: (B,) bool, the model is wrong on the original or on the last iterate of some
            restart; None if stopped early.
        loss: (num_steps + 1,) mean cross-entropy of the clean-correct images at each iterate of the
            first restart; an image that was dropped keeps its last value. NaN if there are none.
        evaluations: Images passed forward through the model, clean pass included.
        gradients: Gradients taken, one an image and step.
        zero_gradients: How many of them are exactly zero in every pixel: rounding, not robustness,
            may then have stopped the attack.
    """

    x_adv: Tensor
    x_last: Tensor | None
    clean_correct: Tensor
    fooled: Tensor
    fooled_last: Tensor | None
    loss: Tensor
    evaluations: int
    gradients: int
    zero_gradients: int


def pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float,
    num_steps: int,
    restarts: int = 1,
    random_start: bool = True,
    norm: str = "linf",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Attack each image with PGD and return the images to show to the model.

    Implements x_{t+1} = Proj_S(x_t + step_size * sign(grad_x J(x_t, y))) with J the cross-entropy
    and S the ball of radius eps cut with [0, 1]; in l_2 the step goes along the normalized
    gradient. The paper uses 20 steps of 2 eps / 20 from a random start. An image is left as soon as
    the model gets it wrong, and one that the model gets wrong without help is returned unchanged.

    Args:
        model: Maps images to logits (B, classes). It is attacked in eval mode, in full precision,
            and given back as it was.
        x: Images (B, C, H, W), float, in [0, 1].
        y: True labels (B,), int64.
        eps: Budget in [0, 1] units, e.g. 8/255 for l_inf; an l_2 radius may exceed 1.
        step_size: Length of a step, in the same units.
        num_steps: Number of steps, at least 1.
        restarts: Runs from different random starts; later ones try only what still resists.
        random_start: Start from a random point of the ball; otherwise from x.
        norm: "linf" or "l2".
        generator: Source of the random starts, usually on the CPU; None seeds a fresh one from
            torch's default generator.

    Returns:
        Images (B, C, H, W) in [0, 1] within eps of x: ``x_adv`` of ``PGDResult``.

    Raises:
        TypeError: If a dtype is wrong or the model is not a module.
        ValueError: If inputs, options or the model's outputs are out of range.
    """
    budget = {"eps": eps, "norm": norm, "step_size": step_size, "num_steps": num_steps}
    starts = {"restarts": restarts, "random_start": random_start, "generator": generator}
    return run_pgd(model, x, y, **budget, **starts).x_adv


def run_pgd(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    eps: float,
    step_size: float,
    num_steps: int,
    restarts: int = 1,
    random_start: bool = True,
    norm: str = "linf",
    generator: torch.Generator | None = None,
    early_stop: bool = True,
    broken: Tensor | None = None,
) -> PGDResult:
    """Run PGD and report everything it found; arguments and errors are those of :func:`pgd`.

    Random starts are drawn for the whole batch in each restart, so that the same generator gives
    the same starts with and without early stopping and for every model.

    ``early_stop`` drops an image at its first wrong iterate, which is much faster. Without it every
    clean-correct image is followed to the last step, so that the last iterate is known as well;
    ``fooled`` and ``x_adv`` are the same.

    Images that are ``broken`` already, (B,) bool, such as by a smaller budget, are not attacked:
    they come back unchanged and count as fooled. The starts of the others stay the same.
    """
    threat = Threat(norm, eps)
    step_size = in_pixel_units("step_size", step_size, norm=norm)
    num_steps = checks.whole("num_steps", num_steps, 1)
    restarts = checks.whole("restarts", restarts, 1)
    if restarts > 1 and not random_start:
        way = "set random_start=True or restarts=1"
        raise ValueError(f"restarts={restarts} without a random start repeats one run: {way}")
    checks.check_inputs(model, x, y)
    if broken is not None and (broken.dtype != torch.bool or broken.shape != y.shape):
        found = f"{broken.dtype} {tuple(broken.shape)}"
        raise ValueError(f"broken is {found}: give one true or false value an image, ({len(y)},)")
    if random_start and generator is None:
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))

    with checks.attack_mode(model):
        # Clones, since tensors made in inference mode cannot take part in a backward pass.
        x, y = x.detach().clone(), y.clone()
        with torch.no_grad():
            logits = checks.checked_logits(model, x)
        checks.check_outputs(logits, y)
        correct = logits.argmax(1) == y
        fooled = ~correct if broken is None else ~correct | broken
        fooled_last = fooled.clone()
        x_adv, x_last = x.clone(), x.clone()
        # Loss at the last iterate held in x_last; any real one is higher.
        highest = torch.full_like(x[:, 0, 0, 0], -torch.inf)
        trace = x.new_full((num_steps + 1, len(x)), torch.nan)
        evaluations, gradients = len(x), 0
        # Stays on the device until the end: reading it each step would stall a GPU.
        zero_gradients = torch.zeros((), dtype=torch.int64, device=x.device)
        for restart in range(restarts):
            start = threat.random_start(x, generator) if random_start else x
            # Images still attacked, their originals, labels and present iterates.
            active = (~(fooled if early_stop else fooled_last)).nonzero().squeeze(1)
            origin, labels, point = x[active], y[active], start[active]
            for step in range(num_steps + 1):
                if len(active) == 0:
                    break
                last = step == num_steps
                point = point.detach().requires_grad_(not last)
                logits = checks.checked_logits(model, point)
                evaluations += len(active)
                losses = cross_entropy(logits, labels, reduction="none")
                wrong = logits.argmax(1) != labels
                new = wrong & ~fooled[active]
                x_adv[active[new]] = point.detach()[new]
                fooled[active[new]] = True
                if restart == 0:
                    # Written to all later rows too: a dropped image keeps its last value.
                    trace[step:, active] = losses.detach()
                if last:
                    # The restart that ended highest; an iterate that fools outranks all.
                    better = wrong | (losses > highest[active])
                    x_last[active[better]] = point[better]
                    highest[active[better]] = losses[better]
                    fooled_last[active[wrong]] = True
                    break
                if early_stop and bool(wrong.all()):
                    break
                gradient = input_gradient(losses.sum(), point)
                gradients += len(gradient)
                zero_gradients += (gradient == 0).flatten(1).all(1).sum()
                point = point.detach()
                if early_stop and bool(wrong.any()):
                    keep = (~wrong).nonzero().squeeze(1)
                    active, origin, labels = active[keep], origin[keep], labels[keep]
                    point, gradient = point[keep], gradient[keep]
                point = threat.project(threat.step(point, gradient, step_size), origin)
        # Where nothing fooled the model, the best last iterate is the attack's answer.
        x_adv[~fooled] = x_last[~fooled]
        if early_stop:
            x_last = fooled_last = None
        outcomes = x_adv, x_last, correct, fooled, fooled_last, trace[:, correct].mean(1)
        return PGDResult(*outcomes, evaluations, gradients, int(zero_gradients))


def input_gradient(loss: Tensor, x: Tensor) -> Tensor:
    """Gradient (B, C, H, W) of a loss, summed over images, with respect to the images alone.

    Raises:
        ValueError: If the loss does not depend differentiably on x, or if the gradient is not
            finite.
    """
    try:
        (gradient,) = torch.autograd.grad(loss, x)
    except RuntimeError as error:
        if "require grad" not in str(error) and "not have been used" not in str(error):
            raise
        raise ValueError(
            "the model's logits carry no gradient back to its input: look for detach, "
            "torch.no_grad, integer types or NumPy inside it; a gradient attack tells nothing then"
        ) from error
    if not gradient.isfinite().all():
        bad = int((~gradient.isfinite()).flatten(1).any(1).sum())
        raise ValueError(
            f"the gradient is NaN or infinite for {bad} of {len(x)} images: check the model's "
            "precision and operations without a finite derivative (sqrt or log at 0)"
        )
    return gradient
