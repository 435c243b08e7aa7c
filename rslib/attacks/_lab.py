"""What the reliability checks work on: a model, its images, and PGD's result on them."""

from typing import Any

import torch
from torch import Tensor, nn

from rslib.attacks.pgd import run_pgd
from rslib.attacks.threat import Threat
from rslib.models.checks import checked_logits


class Lab:
    """The model, its images and the result in question, which all checks look at."""

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        examined: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.judged, self.x, self.y, self.threat = model, x, y, threat
        self.examined, self.batch_size, self.seed = examined, batch_size, seed
        self.has_gradient = _has_gradient(model, x[:1])
        # Attacks need some gradient to follow, if only zeros.
        self.model = model if self.has_gradient else _ZeroGradient(model)
        self.logits = logits_of(model, x, batch_size)
        self.correct = self.logits.argmax(1) == y
        self.x_adv, fooled = self.pgd(threat.eps)
        self.robust = self.correct & ~fooled
        self.survivors = self.some(self.robust)

    def pgd(
        self,
        eps: float,
        *,
        steps: int = 20,
        step_size: float | None = None,
        start: int = 0,
        random_start: bool = True,
        to_the_end: bool = False,
        model: nn.Module | None = None,
        images: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Adversarial images and whether they fooled the model, for all images or some.

        Other values of ``start`` give other random starts. An image is left at its first wrong
        iterate, or else followed to the end, which takes it away from the decision boundary.
        """
        x, y = (self.x, self.y) if images is None else (self.x[images], self.y[images])
        generator = torch.Generator().manual_seed(self.seed + start)
        found = [
            run_pgd(
                model or self.model,
                part,
                labels,
                eps=eps,
                step_size=step_size or 2 * eps / steps,
                num_steps=steps,
                random_start=random_start,
                norm=self.threat.norm,
                generator=generator,
                early_stop=not to_the_end,
            )
            for part, labels in self.batches(x, y)
        ]
        if not found:
            return x, torch.zeros_like(y, dtype=torch.bool)
        if to_the_end:
            return torch.cat([r.x_last for r in found]), torch.cat([r.fooled_last for r in found])
        return torch.cat([r.x_adv for r in found]), torch.cat([r.fooled for r in found])

    def batches(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Images and labels in batches; none if there are no images."""
        if len(x) == 0:
            return []
        return list(zip(x.split(self.batch_size), y.split(self.batch_size), strict=True))

    def some(self, which: Tensor) -> Tensor:
        """Positions of the images in ``which``, or of as many as may be examined, evenly spaced."""
        positions = which.nonzero().squeeze(1)
        if len(positions) <= self.examined:
            return positions
        return positions[torch.arange(self.examined) * len(positions) // self.examined]

    def few(
        self, name: str, found: Tensor, of: Tensor, tolerance: float
    ) -> tuple[bool, dict[str, Any]]:
        """Whether few enough images are found among those examined, and the numbers.

        The share found among the examined stands for all images in ``of``, and is then expressed
        as a share of all images.
        """
        from rslib.metrics import accuracy_interval

        count, examined = int(found.sum()), len(found)
        weight = share(of)
        low, high = accuracy_interval(count, examined) if examined else (0.0, 0.0)
        evidence = {
            name: count,
            "examined": examined,
            "share": weight * count / max(examined, 1),
            "interval": [weight * low, weight * high],
            "tolerance": tolerance,
        }
        return weight * low <= tolerance, evidence


class _ZeroGradient(nn.Module):
    """A model whose logits carry no gradient, given one of zeros."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return checked_logits(self.model, x).detach() + 0 * x.flatten(1).sum(1, keepdim=True)


def _has_gradient(model: nn.Module, x: Tensor) -> bool:
    """Whether the logits are connected to the input at all."""
    point = x.clone().requires_grad_()
    logits = checked_logits(model, point)
    if not logits.requires_grad:
        return False
    return torch.autograd.grad(logits.sum(), point, allow_unused=True)[0] is not None


def logits_of(model: nn.Module, x: Tensor, batch_size: int) -> Tensor:
    with torch.no_grad():
        return torch.cat([checked_logits(model, part) for part in x.split(batch_size)])


def share(outcomes: Tensor) -> float:
    return outcomes.double().mean().item()
