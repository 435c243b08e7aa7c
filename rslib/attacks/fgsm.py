"""The fast gradient sign method: one step of full length (paper 3.2.1, eq. 1).

Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015,
arXiv:1412.6572.
"""

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from rslib.attacks.pgd import input_gradient
from rslib.attacks.threat import Threat
from rslib.models import checks


def fgsm(model: nn.Module, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    """Attack every image by one l_inf step of length eps along the sign of the loss gradient.

    Implements x_adv = clip(x + eps * sign(grad_x J(x, y)), 0, 1) with J the cross-entropy. Equation
    1 of the paper leaves out the clipping, without which the result would not be an image. There is
    no randomness. Images that the model already gets wrong are moved like all others. Arguments and
    errors are those of :func:`rslib.attacks.pgd`.

    Returns:
        Adversarial images (B, C, H, W) in [0, 1], each within eps of its original.
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
