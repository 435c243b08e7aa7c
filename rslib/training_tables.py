"""What training chose: the epoch that is kept, beside the last one (paper 3.1.3, 3.2.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.estimates import ROBUST_ACCURACY, Estimate, proportion, robust_history
from rslib.frames import build, row
from rslib.labels import sizes
from rslib.paper import Column
from rslib.seeds import over_seeds

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

CLEAN_ACCURACY = "validation_accuracy"


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
        One row per model and quantity; see :func:`rslib.frames.save`. ``overfitting`` is the best
        epoch's robust accuracy less the last one's, in points.

    Raises:
        rslib.records.RecordError: a model has not been trained.
        ValueError: a model was not validated under attack.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        summary = run.summary(name)
        sources.append(summary)
        history = robust_history(summary)
        best, last = history[summary["best_epoch"] - 1], history[-1]
        attacked = getattr(run.settings.training, name.partition("-")[2]).validation_images
        images = min(attacked, run.settings.data.validation_size)
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
