"""Under how many of the corruptions two models clearly differ, tested together (paper 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import ALL19
from rslib.metrics import holm
from rslib.metrics.bootstrap import sign_flips
from rslib.run.outcomes import outcomes

if TYPE_CHECKING:
    from rslib.run import Run


def clearly_changed(run: Run, a: str, b: str) -> tuple[int, int]:
    """Count the corruptions under which model a's error is clearly (lower, higher) than model b's.

    Nineteen intervals of 95 % would find about one difference where there is none. Here each
    corruption has a paired test over images, and the nineteen are corrected together by Holm's
    method at the level of the run.
    """
    first, second = outcomes(run, a).wrong, outcomes(run, b).wrong
    # How many of an image's five versions each gets wrong: whole numbers, so sums are exact.
    gaps = np.stack([first[c].sum(0) - second[c].sum(0) for c in ALL19], axis=1)
    clear = np.array(holm(sign_flips(gaps))) < 1 - run.settings.evaluation.confidence
    means = gaps.mean(0)
    return int((clear & (means < 0)).sum()), int((clear & (means > 0)).sum())
