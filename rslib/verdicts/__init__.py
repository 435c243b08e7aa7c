"""Verdicts of a run on the paper: every number and claim, ours beside it, judged by one rule.

``rules`` is the rule, ``evidence`` our numbers, and ``frame`` puts them together::

    frame = verdicts.table(run)
    verdicts.counts(frame)  # {"reproduced": 3, ...}
    verdicts.show(frame, "6")  # the conclusion's claims
"""

from rslib.report.protocol import Protocol as Protocol
from rslib.report.protocol import departures as departures
from rslib.report.protocol import limits as limits
from rslib.verdicts.frame import counts as counts
from rslib.verdicts.frame import counts_by_group as counts_by_group
from rslib.verdicts.frame import implied_reference as implied_reference
from rslib.verdicts.frame import load as load
from rslib.verdicts.frame import table as table
from rslib.verdicts.frame import values as values
from rslib.verdicts.listing import show as show
from rslib.verdicts.listing import show_arithmetic as show_arithmetic
from rslib.verdicts.rules import Verdict as Verdict
