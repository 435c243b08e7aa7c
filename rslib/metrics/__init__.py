"""Numbers from outcomes, with the uncertainty they carry; nothing here runs a model.

Everything takes arrays or tensors. What is exported here returns plain Python numbers;
:mod:`rslib.metrics.estimates` makes from records the numbers with intervals that tables state.
"""

from rslib.metrics.bootstrap import bootstrap_interval as bootstrap_interval
from rslib.metrics.calibration import classwise_calibration_error as classwise_calibration_error
from rslib.metrics.calibration import expected_calibration_error as expected_calibration_error
from rslib.metrics.correlation import RankCorrelation as RankCorrelation
from rslib.metrics.correlation import rank_correlation as rank_correlation
from rslib.metrics.corruption_error import mean_corruption_error as mean_corruption_error
from rslib.metrics.shares import McNemar as McNemar
from rslib.metrics.shares import accuracy_interval as accuracy_interval
from rslib.metrics.shares import holm as holm
from rslib.metrics.shares import mcnemar as mcnemar
