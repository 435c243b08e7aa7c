"""A run as the modules see it that make its parts, so that they need not know the whole of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from rslib.corruptions.cifar10c import Corrupted
    from rslib.data import Dataset
    from rslib.settings.plan import Plan
    from rslib.settings.schema import Settings


class Maker(Protocol):
    """What it takes to make models, masks and records; :class:`rslib.run.run.Run` is one."""

    settings: Settings
    seed: int
    directory: Path
    device: torch.device
    progress: bool
    tell: Callable[[str], None] | None

    data: Callable[[str], Dataset]
    build: Callable[[str], nn.Module]
    trained: Callable[[str], nn.Module]
    corrupted: Callable[[], Corrupted]
    lock: Callable[[Path], AbstractContextManager[None]]

    plan: Callable[[str], Plan]
    summary: Callable[[str], Mapping[str, Any]]
    weights_digest: Callable[[str], str | None]
    record: Callable[[str, str], pd.DataFrame]
    has_record: Callable[[str, str], bool]

    test_inputs: dict[str, Any]
    mask_sources: tuple[str, ...]
    mask_inputs: Callable[[str], dict[str, Any]]
    priors_inputs: dict[str, Any]
    priors_path: Path
    priors: Callable[[], pd.DataFrame]
    followers: tuple[Maker, ...]
