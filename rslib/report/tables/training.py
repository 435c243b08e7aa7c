"""What training chose: the epoch that is kept, beside the last one (paper 3.1.3, 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import (
    CLEAN_ACCURACY,
    ROBUST_ACCURACY,
    Estimate,
    proportion,
    robust_history,
)
from rslib.models import BUILDERS
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.labels import sizes
from rslib.report.seeds import over_seeds
from rslib.settings.plan import plan

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


def validated_under_attack(run: Run, names: Sequence[str]) -> list[str]:
    """Those models whose training validates them under attack, in their order.

    An objective of a reader's own has no attack that validation could use, so its models can be
    trained and evaluated, and have no robust accuracy by epoch.

    Raises:
        ValueError: a name is not one of a model.
    """
    return [name for name in names if plan(run.settings, name).attack is not None]


def recipes(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """What the settings make of some trainings: a row a setting, a column a model, all in words.

    Rows of the attack in the training begin with ``attack:``. "none" is what a training is without.

    Raises:
        ValueError: a name is not one of a model.
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


@over_seeds()
def selection_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Robust training's best epoch and its last, on validation images (paper 3.2.2).

    The paper does not say which epoch it reports. Robust accuracy can peak early and fall while the
    training goes on (robust overfitting: Rice, Wong and Kolter, ICML 2020, arXiv:2002.11569), so
    both are told. The best is chosen on these very images, which flatters it a little.

    Args:
        run: whose models' summaries are read; nothing is computed.
        names: models whose training validates them under attack, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. ``overfitting`` is the
        best epoch's robust accuracy less the last one's, in points.

    Raises:
        rslib.store.records.RecordError: a model has not been trained.
        ValueError: a model was not validated under attack.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        summary = run.summary(name)
        sources.append(summary)
        history = robust_history(summary)
        best, last = history[summary["best_epoch"] - 1], history[-1]
        attack = plan(run.settings, name).attack
        images = min(attack.validation_images, run.settings.data.validation_size)
        shares = [
            ("best_robust_accuracy", best[ROBUST_ACCURACY], images, "Robust Acc, Best Epoch (%)"),
            ("last_robust_accuracy", last[ROBUST_ACCURACY], images, "Robust Acc, Last Epoch (%)"),
            ("best_clean_accuracy", best[CLEAN_ACCURACY], None, "Clean Acc, Best Epoch (%)"),
            ("last_clean_accuracy", last[CLEAN_ACCURACY], None, "Clean Acc, Last Epoch (%)"),
        ]
        found = [
            ("best_epoch", Estimate(best["epoch"]), Column("Best Epoch", "images")),
            ("epochs", Estimate(last["epoch"]), Column("Epochs", "images")),
        ]
        for quantity, share, n, header in shares:
            n = n or run.settings.data.validation_size
            estimate = proportion(round(share * n), n, confidence)
            found.append((quantity, estimate, Column(header, "%")))
        lost = Estimate(100 * (best[ROBUST_ACCURACY] - last[ROBUST_ACCURACY]), n=images)
        found.append(("overfitting", lost, Column("Best − Last (points)", "points")))
        rows += [row(run, "selection", name, *each) for each in found]
    return build(
        run,
        rows,
        sources,
        title="The epoch that is kept and the last one, on validation images (paper 3.2.2)",
        notes=[
            "Robust accuracy is under the attack of the training, on images withheld from it. "
            "The best epoch is chosen on these images, so its lead is in part luck.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        unreported="",
    )
