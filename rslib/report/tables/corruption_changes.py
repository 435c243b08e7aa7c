"""Under how many of the corruptions two models clearly differ, tested together (paper 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import ALL19
from rslib.metrics import holm
from rslib.run.outcomes import outcomes

if TYPE_CHECKING:
    from rslib.run import Run

_DRAWS = 9_999
# Signs are drawn for so many repetitions at a time, to bound the memory.
_CHUNK = 500


def clearly_changed(run: Run, a: str, b: str) -> tuple[int, int]:
    """Count the corruptions under which one model's error clearly differs from another's.

    Nineteen intervals of 95 % would find about one difference where there is none. Here each
    corruption has a paired test over images, and the nineteen are corrected together by Holm's
    method at the level of the run.

    Args:
        run: whose corruption records are read; nothing is computed.
        a: a model.
        b: the model that it is compared with.

    Returns:
        (lower, higher): under how many corruptions a's error is clearly lower than b's, and under
        how many clearly higher.

    Raises:
        RecordError: a record has not been made.
    """
    first, second = outcomes(run, a).wrong, outcomes(run, b).wrong
    # How many of an image's five versions each gets wrong: whole numbers, so sums are exact.
    gaps = np.stack([first[c].sum(0) - second[c].sum(0) for c in ALL19], axis=1)
    clear = np.array(holm(sign_flips(gaps))) < 1 - run.settings.evaluation.confidence
    means = gaps.mean(0)
    return int((clear & (means < 0)).sum()), int((clear & (means > 0)).sum())


def sign_flips(gaps: np.ndarray) -> np.ndarray:
    """Whether paired differences are as often above 0 as below: p-values of the sign-flip test.

    If two models are alike, each image's difference could as well have had the other sign. The
    p-value is the share of 9,999 seeded draws of signs, and of what was seen, in which the sum is
    as far from 0 as that seen or further. Differences that are mostly 0 need no approximation.

    Source: Fisher, "The Design of Experiments", 1935, section 21.

    Args:
        gaps: (n, k) differences of n images, one column a test; whole numbers.

    Returns:
        (k,) two-sided p-values.
    """
    gaps = np.asarray(gaps, np.float32)
    seen, generator = np.abs(gaps.sum(0)), np.random.default_rng(0)
    reached = np.ones(gaps.shape[1])
    for start in range(0, _DRAWS, _CHUNK):
        draws = min(_CHUNK, _DRAWS - start)
        signs = generator.integers(2, size=(draws, len(gaps)), dtype=np.int8)
        reached += (np.abs((2 * signs - 1).astype(np.float32) @ gaps) >= seen).sum(0)
    return reached / (_DRAWS + 1)
