"""Training steps of untrained networks, timed against each other: what Table 1's hours imply.

The paper's ViT-Small takes 3.1 hours where its ResNet-18 takes 2.5, and its patches are 2 × 2
pixels or 16 in number (3.1.2), which cannot both be. How much longer a step takes tells the two
apart on any device, so ratios are what is stated.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rslib.run.results import Results
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    from rslib.run import Run

PATCHES = (8, 4, 2)
"""Sides of ViT-Small's patches, in pixels: 16, 64 and 256 of them."""

# A batch of 8 keeps ResNet-18 from the speed it has at the paper's 128, and moves the ratios.
BATCH, WARM_UP = 32, 4
_INPUTS = {"evaluation": "step_times", "patches": list(PATCHES), "batch": BATCH}


def path(run: Results) -> Path:
    """Where the document lies, or will."""
    return run.document("networks", _INPUTS)


def read(run: Results) -> dict[str, float]:
    """Seconds of a training step by network; RecordError where nothing was timed."""
    if not path(run).exists():
        raise RecordError(f"no step times ({path(run)} is missing): run notebook 13")
    return records.read_json(path(run))["seconds"]


def measure(run: Run) -> dict[str, float]:
    """Seconds of one training step (forward, backward, SGD) by network, timed where missing."""
    with run.lock(path(run)):
        if not path(run).exists():
            records.write_json(path(run), _timed(run))
    return read(run)


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """Each network's step as a multiple of ResNet-18's."""
    return {name: value / seconds["resnet18"] for name, value in seconds.items()}


def _timed(run: Run) -> dict[str, Any]:
    import time

    import torch
    from torch.nn import functional

    from rslib import models
    from rslib.models import device
    from rslib.run.provenance import provenance

    images = torch.rand(BATCH, 3, 32, 32, device=run.device)
    labels = torch.arange(BATCH, device=run.device) % 10
    sizes = {"resnet18": {}} | {f"vit_small, patch {side}": {"patch": side} for side in PATCHES}
    # On a CPU its own time, whatever else it does meanwhile.
    clock = time.process_time if run.device.type == "cpu" else time.perf_counter
    seconds = {}
    for name, size in sizes.items():
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            model = models.build(name.partition(",")[0], num_classes=10, **size)
        model = device.place(model, run.device).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
        for shown in (WARM_UP, BATCH):
            started = clock()
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(images[:shown]), labels[:shown])
            loss.backward()
            optimizer.step()
            loss.item()
            seconds[name] = clock() - started
    about = {"model": "networks", "inputs": _INPUTS, "seed": run.seed, "n": BATCH}
    return {"seconds": seconds} | about | {"provenance": provenance(run.device)}
