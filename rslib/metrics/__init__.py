"""Numbers from outcomes, with the uncertainty they carry; nothing here runs a model."""

from rslib.metrics.scores import (
    SEVERITIES,
    McNemar,
    RankCorrelation,
    accuracy_interval,
    bootstrap_interval,
    expected_calibration_error,
    holm,
    mcnemar,
    mean_corruption_error,
    rank_correlation,
)

__all__ = [
    "SEVERITIES",
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
