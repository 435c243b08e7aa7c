"""What training gives: the baselines, and the epoch that is kept (paper 3.1.3, 3.2.2, 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import CLEAN_ACCURACY, ROBUST_ACCURACY, Estimate, robust_history
from rslib.models import BUILDERS
from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.settings.names import BASELINES
from rslib.settings.plan import plan

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@fills(
    "table1",
    "Table 1. Baseline performance on clean images (paper 4.1)",
    intervals="Wilson's score, and bootstrap for ECE",
    unreported="not reported",
)
def table1(table: Table, names: Sequence[str] = BASELINES) -> None:
    """Table 1: clean accuracy, calibration, training time and size of the baselines (paper 4.1).

    The bins of the calibration error are not stated in the paper; equally wide ones are read, and
    bins of equal mass are given beside them.
    """
    bins = table.run.settings.evaluation.ece_bins
    table.notes = [
        f"ECE: expected calibration error in {bins} bins of confidence, equally wide or with "
        "equally many images."
    ]
    for name, summary, clean in table.each(names, "summary", "clean"):
        mass = table.calibration_error(clean, bins=bins, binning="mass")
        table.add(name, "clean_accuracy", table.accuracy(clean["correct"]))
        table.add(name, "ece", table.calibration_error(clean, bins=bins))
        table.add(name, "ece_mass", mass, "ECE, Equal Mass")
        table.add(name, "training_hours", Estimate(summary["seconds"] / 3600))
        table.add(name, "parameters", Estimate(summary["parameters"]))


def validated_under_attack(run: Run, names: Sequence[str]) -> list[str]:
    """Those models whose training validates them under attack, which added objectives do not."""
    return [name for name in names if plan(run.settings, name).attack is not None]


def recipes(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """What the settings make of some trainings: a row a setting, a column a model, all in words.

    Rows of the attack in the training begin with ``attack:``. "none" is what a training is without.
    """
    import pandas as pd

    columns = {}
    for name in names:
        planned = plan(run.settings, name)
        columns[name] = planned.recipe.model_dump()
        if planned.attack is not None:
            # Its recipes by architecture have their rows already.
            attack = planned.attack.model_dump(exclude=set(BUILDERS))
            columns[name] |= {f"attack: {key}": value for key, value in attack.items()}
    return pd.DataFrame(columns, dtype=object).dropna(how="all").fillna("none").astype(str)


@fills(
    "selection",
    "The epoch that is kept and the last one, on validation images (paper 3.2.2)",
    note="Robust accuracy is under the attack of the training, on images withheld from it. The "
    "best epoch is chosen on these images, so its lead is in part luck.",
)
def selection_table(table: Table, names: Sequence[str]) -> None:
    """Robust training's best epoch and its last, on validation images (paper 3.2.2).

    The paper does not say which epoch it reports. Robust accuracy can peak early and fall while the
    training goes on (robust overfitting: Rice, Wong and Kolter, ICML 2020, arXiv:2002.11569).

    Raises:
        ValueError: a model was not validated under attack.
    """
    table.sizes, settings = names, table.run.settings
    validated = settings.data.validation_size
    for name, summary in table.each(names, "summary"):
        history = robust_history(summary)
        best, last = history[summary["best_epoch"] - 1], history[-1]
        attacked = min(plan(settings, name).attack.validation_images, validated)
        table.add(name, "best_epoch", Estimate(best["epoch"]), "Best Epoch", "images")
        table.add(name, "epochs", Estimate(last["epoch"]), "Epochs", "images")
        for kind, key, n in (
            ("robust", ROBUST_ACCURACY, attacked),
            ("clean", CLEAN_ACCURACY, validated),
        ):
            for which, epoch in (("best", best), ("last", last)):
                share = table.proportion(round(epoch[key] * n), n)
                header = f"{kind.capitalize()} Acc, {which.capitalize()} Epoch (%)"
                table.add(name, f"{which}_{kind}_accuracy", share, header)
        lost = Estimate(100 * (best[ROBUST_ACCURACY] - last[ROBUST_ACCURACY]), n=attacked)
        table.add(name, "overfitting", lost, "Best − Last (points)")
