"""One training loop; what is minimized is passed in as an objective (paper 3.1.3, 3.2.2, 3.4)."""

from rslib.training.alignment import Aligned, NoMasks
from rslib.training.loop import TrainingError, fit, score, validating
from rslib.training.objectives import (
    Adversarial,
    Attacker,
    Noise,
    Objective,
    Standard,
    Step,
    Trades,
    objective,
)

__all__ = [
    "Adversarial",
    "Aligned",
    "Attacker",
    "NoMasks",
    "Noise",
    "Objective",
    "Standard",
    "Step",
    "Trades",
    "TrainingError",
    "fit",
    "objective",
    "score",
    "validating",
]
