"""The paper's tables, filled from a run's records: our value and its interval under the paper's.

A table is a long DataFrame, one row a number (:mod:`rslib.report.frames`), in the paper's units
(:mod:`rslib.paper`): accuracies in percent. :func:`rslib.report.rendering.show` prints it in the
paper's shape, :func:`rslib.report.frames.save` stores it and :func:`rslib.report.frames.values`
hands its numbers to the prose; all three can be called from here. So can the tables that the paper
promises and omits (:mod:`rslib.report.tables.robustness`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.attacks import ADDED
from rslib.metrics.estimates import Estimate as Estimate
from rslib.metrics.estimates import accuracy as accuracy
from rslib.metrics.estimates import attack_success as attack_success
from rslib.metrics.estimates import calibration_error as calibration_error
from rslib.metrics.estimates import reliability as reliability
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.frames import flat as flat
from rslib.report.frames import load as load
from rslib.report.frames import save as save
from rslib.report.frames import values as values
from rslib.report.labels import architecture_label as architecture_label
from rslib.report.labels import budget, pgd_phrase
from rslib.report.labels import comparable as comparable
from rslib.report.labels import dataset as dataset
from rslib.report.labels import images as images
from rslib.report.labels import model_label as model_label
from rslib.report.labels import model_size as model_size
from rslib.report.labels import short_label as short_label
from rslib.report.labels import stamp as stamp
from rslib.report.labels import training_label as training_label
from rslib.report.rendering import Shown as Shown
from rslib.report.rendering import show as show
from rslib.report.seeds import over_seeds
from rslib.report.tables.alignment import aligned_attack_table as aligned_attack_table
from rslib.report.tables.alignment import human_table as human_table
from rslib.report.tables.alignment import shares_table as shares_table
from rslib.report.tables.alignment import shortcut_table as shortcut_table
from rslib.report.tables.alignment import swapped_table as swapped_table
from rslib.report.tables.alignment import table4 as table4
from rslib.report.tables.alignment import variants_table as variants_table
from rslib.report.tables.combination import combination_table as combination_table
from rslib.report.tables.combination import orthogonality_table as orthogonality_table
from rslib.report.tables.corruption import agreement_table as agreement_table
from rslib.report.tables.corruption import (
    corruption_difference_table as corruption_difference_table,
)
from rslib.report.tables.corruption import corruption_table as corruption_table
from rslib.report.tables.corruption import severity_table as severity_table
from rslib.report.tables.corruption import table5 as table5
from rslib.report.tables.robustness import autoattack_table as autoattack_table
from rslib.report.tables.robustness import mcnemar_table as mcnemar_table
from rslib.report.tables.robustness import smoothing_table as smoothing_table
from rslib.report.tables.saliency import attacked_saliency_table as attacked_saliency_table
from rslib.report.tables.saliency import class_iou_table as class_iou_table
from rslib.report.tables.saliency import faithfulness_table as faithfulness_table
from rslib.report.tables.saliency import masks_table as masks_table
from rslib.report.tables.saliency import table3 as table3
from rslib.report.tables.tradeoff import breakage_table as breakage_table
from rslib.report.tables.tradeoff import confident_errors_table as confident_errors_table
from rslib.report.tables.tradeoff import overlap_robustness_table as overlap_robustness_table
from rslib.report.tables.tradeoff import pareto_table as pareto_table
from rslib.report.tables.tradeoff import tradeoff_table as tradeoff_table
from rslib.report.tables.training import recipes as recipes
from rslib.report.tables.training import selection_table as selection_table
from rslib.report.tables.training import validated_under_attack as validated_under_attack
from rslib.run.shortcut import shortcut_runs as shortcut_runs

# What notebooks call as tables.<name>, wherever it lives.
from rslib.settings.names import ALIGNED as ALIGNED
from rslib.settings.names import BASELINES as BASELINES
from rslib.settings.names import INTERPRETABILITY as INTERPRETABILITY
from rslib.settings.names import ROBUSTNESS as ROBUSTNESS

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@over_seeds()
def table1(run: Run, names: Sequence[str] = BASELINES) -> pd.DataFrame:
    """Table 1: clean accuracy, calibration, training time and size of the baselines (paper 4.1).

    The bins of the calibration error are not stated in the paper; equally wide ones are read, and
    bins of equal mass are given beside them.

    Args:
        run: whose records and models' summaries are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a model or a record has not been made; says how to make it.
    """
    confidence, bins = run.settings.evaluation.confidence, run.settings.evaluation.ece_bins
    by_mass = Column("ECE, Equal Mass", "")
    rows, sources = [], []
    for name in names:
        record, summary = run.record(name, "clean"), run.summary(name)
        sources += [summary, record.attrs]
        mass = calibration_error(record, bins=bins, binning="mass", confidence=confidence)
        rows += [
            row(run, "table1", name, quantity, estimate, column)
            for quantity, estimate, column in (
                ("clean_accuracy", accuracy(record["correct"], confidence=confidence), None),
                ("ece", calibration_error(record, bins=bins, confidence=confidence), None),
                ("ece_mass", mass, by_mass),
                ("training_hours", Estimate(summary["seconds"] / 3600), None),
                ("parameters", Estimate(summary["parameters"]), None),
            )
        ]
    return build(
        run,
        rows,
        sources,
        title="Table 1. Baseline performance on clean images (paper 4.1)",
        notes=[
            f"ECE: expected calibration error in {bins} bins of confidence, equally wide or with "
            "equally many images."
        ],
        intervals="Wilson's score, and bootstrap for ECE",
    )


@over_seeds()
def table2(run: Run, names: Sequence[str] = ROBUSTNESS) -> pd.DataFrame:
    """Table 2: accuracy on clean images, under FGSM and under PGD (paper 4.2).

    Clean accuracy is over all test images; each attack's accuracy and success over the images it
    was run on. Two columns are ours: the success of FGSM, of which the text says over 99 % while
    the paper's own accuracies give 67 to 69 %, and accuracy at PGD's last iterate, which is what
    other libraries report. An added attack (:func:`rslib.attacks.attack`) has a column where all
    these models were evaluated under it.

    Args:
        run: whose records are read; nothing is computed.
        names: models, in order; the paper has the standard and the adversarially trained ones.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a record has not been made; says how to make it.
    """
    chosen = run.settings
    confidence = chosen.evaluation.confidence
    rows, sources = [], []
    extra = [each for each in ADDED if all(run.has_record(name, each) for name in names)]
    for name in names:
        clean, fgsm, pgd = (run.record(name, kind) for kind in ("clean", "fgsm", "pgd"))
        sources += [clean.attrs, fgsm.attrs, pgd.attrs]
        last = pgd.filter(["correct_last"])
        one_step = attack_success(fgsm, confidence=confidence)
        more = {each: run.record(name, each) for each in extra}
        sources += [record.attrs for record in more.values()]
        rows += [
            row(run, "table2", name, quantity, estimate, column)
            for quantity, estimate, column in (
                ("clean_accuracy", accuracy(clean["correct"], confidence=confidence), None),
                ("fgsm_accuracy", accuracy(fgsm["correct"], confidence=confidence), None),
                ("pgd_accuracy", accuracy(pgd["correct"], confidence=confidence), None),
                ("attack_success", attack_success(pgd, confidence=confidence), None),
                *(
                    (
                        "pgd_last_accuracy",
                        accuracy(last[each], confidence=confidence),
                        Column("PGD, Last Step (%)", "%"),
                    )
                    for each in last
                ),
                ("fgsm_success", one_step, Column("FGSM Success (%)", "%")),
                *(
                    (
                        f"{each}_accuracy",
                        accuracy(record["correct"], confidence=confidence),
                        Column(f"{each.replace('_', ' ').capitalize()}, Added (%)", "%"),
                    )
                    for each, record in more.items()
                ),
            )
        ]
    return build(
        run,
        rows,
        sources,
        title=(
            "Table 2. Accuracy under attack (paper 4.2): FGSM with budget "
            f"{budget(chosen.fgsm)}, {pgd_phrase(chosen.pgd)}"
        ),
        notes=[
            "Under PGD an image counts as right only if it is right when clean and at every "
            "iterate. Attack success is PGD's, among the images that are right when clean."
        ],
    )
