"""The paper's tables, filled from a run's records: our value and its interval under the paper's.

Each function takes the run first, whose records are read (nothing is computed), and then names of
models, its rows in that order, or pairs of them. It returns a long DataFrame, one row per model and
quantity in the paper's units, with the columns of :func:`rslib.report.table.save` and, where the
run has several seeds, those of :func:`rslib.report.seeds.fills`. It raises a ``RecordError``
where a model or a record has not been made, which says how to make it. :func:`show` prints a table.
"""

from rslib.report.labels import model_label as model_label
from rslib.report.labels import short_label as short_label
from rslib.report.labels import stamp as stamp
from rslib.report.labels import training_label as training_label
from rslib.report.rendering import show as show
from rslib.report.table import load as load
from rslib.report.table import save as save
from rslib.report.tables.alignment import aligned_attack_table as aligned_attack_table
from rslib.report.tables.alignment import combination_table as combination_table
from rslib.report.tables.alignment import human_table as human_table
from rslib.report.tables.alignment import orthogonality_table as orthogonality_table
from rslib.report.tables.alignment import shares_table as shares_table
from rslib.report.tables.alignment import shortcut_table as shortcut_table
from rslib.report.tables.alignment import swapped_table as swapped_table
from rslib.report.tables.alignment import table4 as table4
from rslib.report.tables.alignment import variants_table as variants_table
from rslib.report.tables.calibration import calibration_table as calibration_table
from rslib.report.tables.corruption import agreement_table as agreement_table
from rslib.report.tables.corruption import (
    corruption_difference_table as corruption_difference_table,
)
from rslib.report.tables.corruption import corruption_table as corruption_table
from rslib.report.tables.corruption import severity_table as severity_table
from rslib.report.tables.corruption import table5 as table5
from rslib.report.tables.robustness import autoattack_estimate_table as autoattack_estimate_table
from rslib.report.tables.robustness import autoattack_table as autoattack_table
from rslib.report.tables.robustness import budgets_table as budgets_table
from rslib.report.tables.robustness import fgsm_budgets_table as fgsm_budgets_table
from rslib.report.tables.robustness import mcnemar_table as mcnemar_table
from rslib.report.tables.robustness import smoothing_table as smoothing_table
from rslib.report.tables.robustness import table2 as table2
from rslib.report.tables.robustness import transfer_table as transfer_table
from rslib.report.tables.saliency import attacked_saliency_table as attacked_saliency_table
from rslib.report.tables.saliency import class_iou_table as class_iou_table
from rslib.report.tables.saliency import faithfulness_table as faithfulness_table
from rslib.report.tables.saliency import masks_table as masks_table
from rslib.report.tables.saliency import table3 as table3
from rslib.report.tables.saliency import thresholds_table as thresholds_table
from rslib.report.tables.tradeoff import breakage_table as breakage_table
from rslib.report.tables.tradeoff import confident_errors_table as confident_errors_table
from rslib.report.tables.tradeoff import overlap_robustness_table as overlap_robustness_table
from rslib.report.tables.tradeoff import pareto_table as pareto_table
from rslib.report.tables.tradeoff import tradeoff_table as tradeoff_table
from rslib.report.tables.training import recipes as recipes
from rslib.report.tables.training import selection_table as selection_table
from rslib.report.tables.training import table1 as table1
from rslib.report.tables.training import validated_under_attack as validated_under_attack
from rslib.run.results import shortcut_runs as shortcut_runs
from rslib.settings.names import ALIGNED as ALIGNED
from rslib.settings.names import INTERPRETABILITY as INTERPRETABILITY
from rslib.settings.names import ROBUSTNESS as ROBUSTNESS
