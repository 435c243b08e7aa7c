"""Calibration beyond the ECE, Table 1's companion: proper scores, selective prediction."""

from __future__ import annotations

from collections.abc import Sequence

from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.settings.names import BASELINES

_RISK = 0.05
_HEADERS = {
    "nll": "Negative Log-Likelihood",
    "brier": "Brier Score",
    "classwise_ece": "Classwise ECE",
    "aurc": "AURC",
    "coverage": f"Coverage at {100 * _RISK:.0f} % Risk (%)",
}


@fills(
    "calibration",
    "Calibration beyond the ECE (paper 4.1 reports the ECE alone)",
    note="Lower is better, but for the coverage. Negative log-likelihood in nats; Brier score in "
    "[0, 2]; AURC: mean error rate among the most confident images, over all numbers of them; "
    "coverage: the largest share of images, the most confident first, with at most that error "
    "rate, its threshold chosen on the same images. A dash: not in this record.",
    intervals="bootstrap",
)
def calibration_table(table: Table, names: Sequence[str] = BASELINES) -> None:
    """Calibration beyond the ECE on clean images, by the models' records (paper 4.1).

    The numbers are those of :func:`rslib.metrics.estimates.calibration_profile`.
    """
    bins = table.run.settings.evaluation.ece_bins
    table.notes.append(f"Classwise ECE: mean over classes, {bins} equally wide bins.")
    for name, clean in table.each(names, "clean"):
        for quantity, estimate in table.calibration_profile(clean, bins=bins, risk=_RISK).items():
            table.add(name, quantity, estimate, _HEADERS[quantity])
