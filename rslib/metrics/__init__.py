"""Numbers from outcomes, with the uncertainty they carry; nothing here runs a model.

Everything takes arrays or tensors. What is exported here returns plain Python numbers;
:mod:`rslib.metrics.estimates` makes from records the numbers with intervals that tables state.
"""

from rslib.metrics.bootstrap import bootstrap_interval
from rslib.metrics.calibration import expected_calibration_error
from rslib.metrics.correlation import RankCorrelation, rank_correlation
from rslib.metrics.corruption_error import mean_corruption_error
from rslib.metrics.shares import McNemar, accuracy_interval, holm, mcnemar

__all__ = [
    "McNemar",
    "RankCorrelation",
    "accuracy_interval",
    "bootstrap_interval",
    "expected_calibration_error",
    "holm",
    "mcnemar",
    "mean_corruption_error",
    "rank_correlation",
]
