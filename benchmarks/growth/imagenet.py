"""What an evaluation at ImageNet's scale would take: a projection, from counts and measured rates.

A workload's cost is the passes that it makes of each image, times what a pass of the net takes. The
passes follow from the protocol and are checked against those counted in this run; a pass of each
net at 224 pixels is measured here, on few images, and its operations are counted, so that another
machine's time follows from a rate for it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.growth import plan, work
from rslib.corruptions import NAMES, SEVERITIES
from rslib.settings.schema import PGD, Evaluation, Smoothing

IMAGES = 50_000
"""Validation images of ImageNet."""

KINDS = ("clean", "pgd", "autoattack", "smoothing", "corruptions", "saliency")


@dataclass(frozen=True)
class Protocol:
    """What decides how many passes a workload makes of an image.

    Attributes:
        steps: of PGD.
        attack_steps: of each of AutoAttack's gradient attacks.
        queries: of Square.
        targets: classes that AutoAttack's targeted attacks aim at.
        selection: votes that choose the class that is certified.
        samples: votes behind the certificate.
        versions: corrupted versions of an image.
    """

    steps: int
    attack_steps: int
    queries: int
    targets: int
    selection: int
    samples: int
    versions: int


PAPER = Protocol(
    steps=PGD().steps,
    attack_steps=100,  # these two are the attacks' own, which the settings leave as they are
    queries=5000,
    targets=work.TARGETS,
    selection=Smoothing().selection_samples,
    samples=Smoothing().samples,
    versions=len(NAMES) * len(SEVERITIES),
)
"""The paper's protocol."""

HERE = Protocol(
    steps=work.STEPS,
    attack_steps=work.ATTACK_STEPS,
    queries=work.QUERIES,
    targets=work.TARGETS,
    selection=work.SELECTION,
    samples=work.Work("smoothing").samples,
    versions=len(work.CORRUPTIONS) * len(SEVERITIES),
)
"""What this run's cells do, where the number of samples is not what varies."""


def passes(kind: str, protocol: Protocol) -> tuple[int, int]:
    """Passes of an image without and with a gradient, where every attack goes on to its end.

    Args:
        kind: one of :data:`KINDS`.
        protocol: steps, samples and the like.

    Raises:
        ValueError: there is no such workload.
    """
    steps, targets = protocol.attack_steps, protocol.targets
    match kind:
        case "clean":
            return 1, 0
        case "pgd":
            # Clean, the last iterate, and three to judge what was found.
            return 5, protocol.steps
        case "autoattack":
            # APGD, alone and for each target; FAB for each target, which looks at each iterate once
            # more. The rest are the attacks' own clean passes, the package's checks, and judging.
            gradient = (1 + targets) * (steps + 1) + targets * steps
            return targets * (steps + 4) + protocol.queries + 46, gradient
        case "smoothing":
            return protocol.selection + protocol.samples, 0
        case "corruptions":
            return protocol.versions, 0
        case "saliency":
            return 2, 0
    raise ValueError(f"no workload {kind!r}; there are: {', '.join(KINDS)}")


@functools.cache
def flop(net: str, *, side: int, classes: int) -> tuple[int, int]:
    """Floating-point operations of an image's pass without and with the gradient of the image.

    Counted by torch on tensors without data; a multiplication and an addition are two.

    Args:
        net: see :class:`benchmarks.growth.work.Work`.
        side: of the image.
        classes: of the net.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = work.build(net, side=side, classes=classes).requires_grad_(False)
        x = torch.empty(1, 3, side, side)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(x)
    with FlopCounterMode(display=False) as both:
        model(x.requires_grad_()).sum().backward()
    return forward.get_total_flops(), both.get_total_flops()


@dataclass(frozen=True)
class Assumption:
    """A rate that was not measured here.

    Attributes:
        rate: FLOP/s in bf16, effective, on one H100.
        source: who measured what, and how the rate follows.
    """

    rate: float
    source: str


_A100, _FASTER = 77e12, 1.8
_TRANSFORMER = 218e12
H100 = {
    "resnet50": Assumption(
        _A100 * _FASTER,
        f"{_A100 / 1e12:.0f} TFLOP/s of a ResNet-18 trained on one A100 (README of KellerJordan/"
        f"cifar10-airbench, 32.3 PFLOP in 7 minutes), times {_FASTER} for an H100 (ResNet-50 of "
        "MLPerf)",
    ),
    "vit_small_patch16_224": Assumption(
        _TRANSFORMER,
        f"{_TRANSFORMER / 1e12:.0f} TFLOP/s of a ViT-Small trained at 224 pixels on one H100 "
        "(benchmarks of nvidia-bionemo, nvSubquadratic)",
    ),
}
"""Effective rates of one H100, by net."""

PEAKS = {"bf16": 989.0, "TF32": 495.0, "fp32": 67.0}
"""Peak TFLOP/s of an H100 SXM by precision, dense (NVIDIA's data sheet)."""


def project(bare: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The projection, from the bare passes measured in this run.

    Args:
        bare: for each net and kind of pass ``net``, ``kind``, ``flop`` and ``seconds`` of an image,
            ``in_flight`` (bytes that an image of a batch takes).

    Returns:
        ``images``, ``side``, ``classes``, ``batch``, ``data`` (bytes of the images), and for each
        net ``passes`` by kind of pass, ``memory`` (bytes: the data and a batch in flight), ``h100``
        (seconds a FLOP's rate by precision) and ``workloads``: forward and gradient passes, FLOP,
        seconds here and on one H100 by precision.
    """
    batch = Evaluation().batch_size
    data = IMAGES * 3 * plan.SIDE**2
    nets = {}
    for net in plan.LARGE:
        of = {each["kind"]: each for each in bare if each["net"] == net}
        rates = {
            precision: H100[net].rate * PEAKS[precision] / PEAKS["bf16"]
            for precision in ("TF32", "fp32")
        }
        workloads = {}
        for kind in KINDS:
            counts = dict(zip(("forward", "gradient"), passes(kind, PAPER), strict=True))
            total = IMAGES * sum(counts[each] * of[each]["flop"] for each in counts)
            workloads[kind] = counts | {
                "flop": total,
                "here": IMAGES * sum(counts[each] * of[each]["seconds"] for each in counts),
                "h100": {precision: total / rate for precision, rate in rates.items()},
            }
        nets[net] = {
            "passes": of,
            "rates": rates,
            "source": H100[net].source,
            "memory": data + batch * max(each["in_flight"] for each in of.values()),
            "workloads": workloads,
        }
    return {
        "images": IMAGES,
        "side": plan.SIDE,
        "classes": plan.CLASSES,
        "batch": batch,
        "data": data,
        "nets": nets,
    }
