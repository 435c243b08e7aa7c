"""What one cell measures: a workload of rslib on random images, its seconds and its highest memory.

Times do not depend on what images show or on what a net has learned, except that attacks and
reports treat images differently that the net gets wrong. Therefore the nets here are untrained and
sure of class 0, which is every image's label: each attack goes on to its last step.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.clock import timed
from rslib import models, smoothing
from rslib.attacks import Twins, attack_mode
from rslib.attacks.pgd import input_gradient
from rslib.corruptions.cifar10c import Corrupted
from rslib.data import Batch, Batches, Dataset
from rslib.models.device import pick, place
from rslib.run import explanations, predictions, shards
from rslib.run.shards import Evaluate, Outcome
from rslib.settings.schema import PGD, AutoAttack, Smoothing

if TYPE_CHECKING:
    import pandas as pd

NARROW = ("resnet18", "vit_small")
"""The two architectures of the paper, here with few channels."""

STEPS = 2
"""Of PGD."""

ATTACK_STEPS, QUERIES, TARGETS = 2, 5, 9
"""Of AutoAttack: steps of its gradient attacks, Square's queries, classes aimed at."""

SELECTION = 10
"""Votes that choose the class that smoothing certifies."""

CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "contrast")
"""One of each category."""

_SIGMA, _ALPHA = 0.25, 0.001
_LEAST_VOTES = 10  # fewer cannot certify anything at this alpha
_WARM_UP = 1
# How much larger than the others the logit of class 0 is. More would make the other classes'
# probabilities too small for a float32, and with them the gradients.
_SURE = 30.0


@dataclass(frozen=True)
class Work:
    """A workload and its size.

    Attributes:
        kind: ``"clean"``, ``"pgd"``, ``"autoattack"``, ``"smoothing"``, ``"votes"`` (smoothing
            whose passes take ``batch`` noisy copies), ``"corruptions"``, ``"saliency"``, or the
            bare ``"forward"`` and ``"gradient"`` passes.
        net: one of :data:`NARROW`, or the name of a net of timm.
        images: how many.
        batch: images a batch, which is also one shard.
        models: nets that are evaluated together.
        samples: noisy copies of each image that smoothing counts.
        side: of the images, in pixels.
        classes: that the nets tell apart.
    """

    kind: str
    net: str = "resnet18"
    images: int = 64
    batch: int = 32
    models: int = 1
    samples: int = 10
    side: int = 32
    classes: int = 10


def build(name: str, *, side: int, classes: int) -> nn.Module:
    """An untrained net that is sure of class 0, mapping images in [0, 1] to logits."""
    match name:
        case "resnet18":
            net = models.resnet18(classes, width=8)
        case "vit_small":
            from timm.models.vision_transformer import VisionTransformer

            net = models.Classifier(
                VisionTransformer(
                    img_size=side,
                    patch_size=4,
                    embed_dim=48,
                    depth=4,
                    num_heads=3,
                    num_classes=classes,
                )
            )
        case _:
            import timm

            net = models.Classifier(timm.create_model(name, num_classes=classes))
    head = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        head.bias[0] += _SURE
    return net.eval()


def dataset(work: Work) -> Dataset:
    """Random images, all of class 0, whose object is a random half of the pixels."""
    generator = torch.Generator().manual_seed(0)
    shape = (work.images, 3, work.side, work.side)
    return Dataset(
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        torch.zeros(work.images, dtype=torch.int64),
        tuple(map(str, range(work.classes))),
        "random",
        "test",
        ids=torch.arange(work.images),
        masks=torch.rand(work.images, work.side, work.side, generator=generator) < 0.5,
    )


def measure(work: Work) -> dict[str, Any]:
    """Do the work once, after a warm-up of one image; meant for a process that did nothing else.

    Returns:
        ``seconds``; ``peak``, the highest memory over that held before the images were there, in
        bytes; ``data`` and ``rows``, the bytes of the images with their masks and of the resulting
        records; ``forward`` and ``gradient``, how many images passed through the nets without and
        with a gradient.
    """
    device = pick()
    nets = {
        f"net{number}": place(build(work.net, side=work.side, classes=work.classes), device)
        for number in range(work.models)
    }
    twins = Twins()
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        few = replace(work, images=_WARM_UP, batch=_WARM_UP, samples=_LEAST_VOTES)
        _perform(few, nets, dataset(few), twins, device, Path(folder) / "few")
        watched = [*nets.values(), *_searched(work, nets, twins, device)]
        gauge = Gauge(device)
        images = dataset(work)
        with passes(watched) as counts:
            frames, seconds = timed(
                lambda: _perform(work, nets, images, twins, device, Path(folder) / "all"), device
            )
        peak = gauge.above()
    return {
        "seconds": seconds,
        "peak": peak,
        "data": images.images.nbytes + images.masks.nbytes,
        "rows": sum(int(frame.memory_usage(deep=True).sum()) for frame in frames),
        **counts,
    }


class Gauge:
    """How far the memory of this process, or of its GPU, has risen since the gauge was made.

    On the CPU this is the highest resident memory that the operating system has seen: in a process
    that has lived through larger things before, it shows nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._before = self._highest()

    def above(self) -> int:
        """Bytes between the highest level so far and the level when the gauge was made."""
        return self._highest() - self._before

    def _highest(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def passes(nets: Sequence[nn.Module]) -> Iterator[dict[str, int]]:
    """Count the images that pass through nets, those that a gradient is asked for apart."""
    counts = {"forward": 0, "gradient": 0}

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counts["gradient" if inputs[0].requires_grad else "forward"] += len(inputs[0])

    with ExitStack() as stack:
        for net in dict.fromkeys(nets):
            stack.callback(net.register_forward_hook(count).remove)
        yield counts


def _perform(
    work: Work,
    nets: Mapping[str, nn.Module],
    images: Dataset,
    twins: Twins,
    device: torch.device,
    folder: Path,
) -> list[pd.DataFrame]:
    """Do the work; the records that it gives, none for bare passes."""
    if work.kind in ("forward", "gradient"):
        for net in nets.values():
            for batch in Batches(images, work.batch, device=device, channels_last=True):
                _PASSES[work.kind](net, batch, twins)
        return []
    made = shards.in_shards(
        nets,
        images,
        _evaluate(work, images, twins),
        batch_size=work.batch,
        device=device,
        seed=0,
        parts={name: folder / name for name in nets},
        progress=False,
    )
    return [frame for frame, _ in made.values()]


def _evaluate(work: Work, images: Dataset, twins: Twins) -> Evaluate:
    match work.kind:
        case "clean":
            return predictions.clean
        case "pgd":
            return predictions.under_pgd(PGD(steps=STEPS), twins)
        case "autoattack":
            chosen = AutoAttack(
                steps=ATTACK_STEPS,
                queries=QUERIES,
                batch_size=work.batch,
                skip_broken_by_pgd=False,
            )
            return predictions.under_autoattack(chosen, PGD(steps=STEPS), twins, seed=0)
        case "smoothing":
            settings = Smoothing(
                sigma=_SIGMA, alpha=_ALPHA, samples=work.samples, selection_samples=SELECTION
            )
            return predictions.certified(settings)
        case "votes":
            return _votes(work)
        case "corruptions":
            return predictions.UnderCorruptions(Corrupted(images, None), CORRUPTIONS)
        case "saliency":
            return explanations.overlap({"exact": explanations.Known(images, images.masks)})
    raise ValueError(f"no workload {work.kind!r}")


def _votes(work: Work) -> Evaluate:
    def evaluate(model: nn.Module, batch: Batch, generator: torch.Generator) -> Outcome:
        found = smoothing.certificates(
            model,
            batch.x,
            sigma=_SIGMA,
            n0=SELECTION,
            n=work.samples,
            alpha=_ALPHA,
            batch_size=work.batch,
            generator=generator,
        )
        return Outcome({"votes": found.count})

    return evaluate


def _forward(net: nn.Module, batch: Batch, twins: Twins) -> None:
    predictions.logits(net, batch.x)


def _gradient(net: nn.Module, batch: Batch, twins: Twins) -> None:
    searched = twins.of(net, batch.x)
    with attack_mode(searched):
        x = batch.x.requires_grad_()
        input_gradient(cross_entropy(searched(x), batch.y, reduction="sum"), x)


_PASSES: dict[str, Callable[[nn.Module, Batch, Twins], None]] = {
    "forward": _forward,
    "gradient": _gradient,
}


def _searched(
    work: Work, nets: Mapping[str, nn.Module], twins: Twins, device: torch.device
) -> list[nn.Module]:
    """The twins of the nets, which is what attacks pass images through."""
    if work.kind not in ("pgd", "autoattack", "gradient"):
        return []
    x = torch.zeros(_WARM_UP, 3, work.side, work.side, device=device)
    return [twins.of(net, x) for net in nets.values()]
