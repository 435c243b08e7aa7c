"""One training loop; what is minimized is passed in as an objective (paper 3.1.3, 3.2.2, 3.4)."""

from rslib.training.loop import TrainingError, fit
from rslib.training.objectives import Objective, Standard

__all__ = ["Objective", "Standard", "TrainingError", "fit"]
