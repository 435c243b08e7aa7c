"""Certificates by randomized smoothing, against the published loop over images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import subjects
from benchmarks.harness import CPU, OURS, Contender, Disagreement, Row, Suite
from benchmarks.plain.certify import certify
from rslib import smoothing as ours
from rslib.smoothing import Certificates

NET = "resnet18-noise"
SETTINGS = {"sigma": 0.25, "n0": 100, "alpha": 0.001}
BATCH = 500
SEED = 0

_DEVIATIONS = 5


def smoothing(n: int, votes: int = 1000, *, device: torch.device = CPU) -> Suite:
    """Certificates of n images, from so many votes each, in batches of 500 noisy copies."""
    x, _ = subjects.images(n, device=device)
    net, other = (subjects.another(NET, device) for _ in range(2))
    options = SETTINGS | {"n": votes, "batch_size": BATCH}

    def run_ours() -> Certificates:
        return ours.certificates(net, x, generator=torch.Generator().manual_seed(SEED), **options)

    def run_plain() -> Certificates:
        torch.manual_seed(SEED)
        found = [certify(other, image, **options) for image in x]
        columns = (torch.tensor(column) for column in zip(*found, strict=True))
        return Certificates(
            *columns, **{key: options[key] for key in ("sigma", "n0", "n", "alpha")}
        )

    row = Row(
        "randomized smoothing, certificates",
        [
            Contender(OURS, run_ours, n, net),
            Contender("plain CERTIFY", run_plain, n, other, note="the published loop over images"),
        ],
        same_certificates,
        targets={"plain CERTIFY": 1.0},
        moved=x[0].nbytes,  # noise need not leave the processor
        note=f"{SETTINGS['n0']} + {votes} noisy copies of each image; the forward passes of the "
        "copies are the work, and both have them",
        shortfall="both are the same passes; each image's noise has a seed of its own here, and "
        "is drawn in blocks that are then put together to batches",
    )
    return Suite([row])


def same_certificates(answers: Mapping[str, Any]) -> str:
    """Whether votes agree up to the noise, and radii follow from them by the same formula.

    Raises:
        Disagreement: a count is further from the other than five standard deviations, the noise
            cannot explain another class, or a radius is not that of its count.
    """
    mine, yours = map(_on_cpu, answers.values())
    for k, count in enumerate(yours.count.tolist()):
        formula = ours.radius(count, yours.n, sigma=yours.sigma, alpha=yours.alpha)
        if not math.isclose(formula, float(yours.radius[k]), abs_tol=1e-5):
            raise Disagreement(f"image {k}: {count} votes give radii {formula}, {yours.radius[k]}")
    shared = (mine.candidate == yours.candidate).nonzero().squeeze(1)
    p = (mine.count + yours.count) / (2 * mine.n)
    deviation = (2 * mine.n * p * (1 - p)).sqrt()
    apart = ((mine.count - yours.count).abs() - 1).clamp_min(0) / deviation.clamp_min(1)
    worst = float(apart[shared].max()) if len(shared) else 0.0
    if worst > _DEVIATIONS:
        raise Disagreement(f"votes are {worst:.1f} standard deviations apart")
    both = (mine.prediction >= 0) & (yours.prediction >= 0)
    if not torch.equal(mine.prediction[both], yours.prediction[both]):
        raise Disagreement("certified classes differ")
    return (
        f"the same class wherever both certify ({int(both.sum())} of {len(both)} images), votes "
        f"within {worst:.1f} standard deviations, radii by the same formula"
    )


def _on_cpu(found: Certificates) -> Certificates:
    tensors = {key: value.cpu() for key, value in vars(found).items() if isinstance(value, Tensor)}
    return replace(found, **tensors)
