"""What a training step minimizes. The loop knows nothing else about how models differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from rslib.attacks import Threat
from rslib.data import Batch
from rslib.settings import extensions
from rslib.settings.schema import Training

Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """A step's loss, a scalar with its graph, and the logits (B, C) of its images."""

    loss: Tensor
    logits: Tensor


class Objective(Protocol):
    """A training objective: called once per batch, in train mode."""

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Compute the loss of one batch.

        Args:
            model: images in [0, 1] to logits.
            batch: images (B, 3, H, W) in [0, 1], labels (B,) or, of mixed images, shares of the
                classes (B, C), and masks where the data has them.
            generator: CPU generator of this epoch, for whatever the objective draws; what is as
                large as the images comes from the one :func:`beside` them.
            epoch: epochs done so far, fractional; for what changes along the training.
        """


ADDED: dict[str, Objective] = extensions.ADDED["objective"]
"""Your own, name to function (:func:`objective`)."""


def objective(name: str) -> Callable[[Objective], Objective]:
    """Add a training objective: ``@objective("flooding")`` above a function.

    The function takes what :class:`Objective` takes and returns a :class:`Step`::

        @objective("flooding")
        def flooding(model, batch, generator, epoch):
            step = Standard().on(model, batch.x, batch.y)
            return Step((step.loss - LEVEL).abs() + LEVEL, step.logits)

    ``resnet18-flooding`` is then a model like the others, fine-tuned from the standard one with the
    recipes of ``training.added``. Named in the setting ``extra_models``, it stands in the tables of
    notebooks 07 and 10.

    Raises:
        rslib.settings.extensions.ExtensionError: the name, the second part of a model's, cannot be
            used.
    """
    return extensions.adding("objective", name, Training.model_fields)


def beside(images: Tensor, generator: Generator) -> Generator:
    """The generator on the images' device that a CPU generator stands for at this step.

    It is the generator itself where that is on the images' device, else a new one there, seeded by
    one number drawn from it: large draws need no copy, and the seed does not wait for a GPU. Draws
    differ between a GPU (Philox) and a CPU (Mersenne Twister).
    """
    if images.device.type == generator.device.type:
        return generator
    seed = torch.randint(2**62, (), generator=generator).item()
    return torch.Generator(images.device).manual_seed(seed)


@dataclass(frozen=True)
class Standard:
    """Mean cross-entropy on clean images (3.1.3); smoothing spreads a share over the classes."""

    label_smoothing: float = 0.0

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Loss of a batch; arguments as in :class:`Objective`."""
        return self.on(model, batch.x, batch.y)

    def on(self, model: nn.Module, x: Tensor, y: Tensor) -> Step:
        """Mean cross-entropy of given images (B, 3, H, W) and labels (B,) or shares (B, C)."""
        logits = model(x)
        loss = functional.cross_entropy(logits, y, label_smoothing=self.label_smoothing)
        return Step(loss, logits)


@dataclass(frozen=True)
class Attacker:
    """The inner maximization of adversarial training (paper 3.2.2, equation 3).

    Every image is followed to the last step, fooled or not, for the highest loss.

    Steps have a length in [0, 1] units and go from a random start. In ``eval_mode`` images are
    crafted with batch norm's running statistics, as at test time; otherwise with the batch's, which
    crafting then also updates. The budget grows linearly over ``warmup_epochs``.
    """

    threat: Threat
    step_size: float
    num_steps: int
    eval_mode: bool = True
    warmup_epochs: float = 0.0

    def __call__(
        self, model: nn.Module, x: Tensor, loss: Loss, generator: Generator, epoch: float
    ) -> Tensor:
        """Images that climb a loss of logits (B, C), summed over images, within the budget.

        The model is in train mode, and left in it; the start comes from the generator
        :func:`beside` x, and epoch is as in :class:`Objective`.
        """
        share = min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0
        if share == 0:
            return x
        threat = replace(self.threat, eps=share * self.threat.eps)
        point = threat.random_start(x, beside(x, generator))
        # A compiled model would compute the gradients of its parameters as well.
        wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
        try:
            model.train(not self.eval_mode)
            for parameter in wanted:
                parameter.requires_grad_(False)
            for _ in range(self.num_steps):
                point = point.detach().requires_grad_()
                # Whether it is finite shows in the loss: to ask here would stall a GPU each step.
                (gradient,) = torch.autograd.grad(loss(model(point)), point)
                point = threat.step(point.detach(), gradient, share * self.step_size)
                point = threat.project(point, x)
        finally:
            for parameter in wanted:
                parameter.requires_grad_(True)
            model.train()
        return point.detach()


@dataclass(frozen=True)
class Adversarial:
    """Cross-entropy on attacked images (paper 3.2.2, equation 3; Madry et al., 2017).

    "Alternates between clean and adversarial examples with equal probability" is read as a coin
    per batch; probability 1 is Madry et al.'s training. The outer objective is minimized on the
    batch, attacked or not.
    """

    attacker: Attacker
    probability: float = 0.5
    outer: Objective = Standard()

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Loss of the batch, attacked or clean; arguments as in :class:`Objective`."""
        x = batch.x
        # The coin is thrown on the CPU: to read it from a GPU would wait for it at each step.
        if torch.rand((), generator=generator).item() < self.probability:

            def loss(logits: Tensor) -> Tensor:
                return functional.cross_entropy(logits, batch.y, reduction="sum")

            x = self.attacker(model, x, loss, generator, epoch)
        return self.outer(model, batch._replace(x=x), generator, epoch)


@dataclass(frozen=True)
class Trades:
    """Cross-entropy on clean images plus a pull of attacked predictions towards clean ones.

    TRADES (Zhang et al., 2019, equation 5): CE(f(x), y) + beta KL(f(x) || f(x')), where x' is found
    by climbing the same divergence; beta is 1/lambda in the source.
    """

    attacker: Attacker
    beta: float = 6.0
    clean: Standard = Standard()

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Both terms on the batch; arguments as in :class:`Objective`."""
        model.train(not self.attacker.eval_mode)
        with torch.no_grad():
            target = model(batch.x).softmax(1)
        model.train()

        def divergence(logits: Tensor) -> Tensor:
            return functional.kl_div(logits.log_softmax(1), target, reduction="sum")

        x_adv = self.attacker(model, batch.x, divergence, generator, epoch)
        step = self.clean.on(model, batch.x, batch.y)
        shifted, target = model(x_adv).log_softmax(1), step.logits.softmax(1)
        pull = functional.kl_div(shifted, target, reduction="batchmean")
        return Step(step.loss + self.beta * pull, step.logits)


@dataclass(frozen=True)
class Noise:
    """Cross-entropy on images with Gaussian noise, for smoothing (Cohen et al., 2019, section 3.3).

    Sigma is the noise's standard deviation in [0, 1] units; noisy images are not clipped.
    """

    sigma: float = 0.25
    clean: Standard = Standard()

    def __call__(self, model: nn.Module, batch: Batch, generator: Generator, epoch: float) -> Step:
        """Loss of the noisy batch; arguments as in :class:`Objective`."""
        source = beside(batch.x, generator)
        noise = torch.randn(batch.x.shape, generator=source, device=source.device).to(batch.x)
        return self.clean.on(model, batch.x + self.sigma * noise, batch.y)
