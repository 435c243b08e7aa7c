"""The paper's figures, drawn from records and models' summaries alone, never from models.

A function that takes a run draws the named models in that order, and raises a ``RecordError``,
which says how to make it, where a model or a record that it reads has not been made. Each figure is
returned closed, so that a notebook shows it once, as the value of its cell; its last line says
where it comes from (:func:`rslib.report.labels.stamp`). Colors are Okabe and Ito's, which
color-blind readers can tell apart: blue for ResNet-18, vermilion for ViT-Small; hollow marks are
the paper's, drawn where the data set is. Where a run has siblings, small dots or thin lines are its
other seeds (:mod:`rslib.report.seeds`), and the line below the stamp says so.

A ``footer`` that is passed is the last lines, such as the stamp; a ``source`` is that of the masks,
by default those that models are aligned to. Notebooks call all as ``figures.<name>``.
"""

from rslib.report.figures.baselines import figure1 as figure1
from rslib.report.figures.baselines import learning_rates as learning_rates
from rslib.report.figures.baselines import reliability_diagram as reliability_diagram
from rslib.report.figures.corruption import by_severity as by_severity
from rslib.report.figures.corruption import corruption_differences as corruption_differences
from rslib.report.figures.corruption import corruption_errors as corruption_errors
from rslib.report.figures.corruption import corruption_heat_map as corruption_heat_map
from rslib.report.figures.corruption import corruption_sheet as corruption_sheet
from rslib.report.figures.pictures import attack_anatomy as attack_anatomy
from rslib.report.figures.pictures import image_grid as image_grid
from rslib.report.figures.pictures import loss_trace as loss_trace
from rslib.report.figures.robustness import accuracy_against_budget as accuracy_against_budget
from rslib.report.figures.robustness import autoattack_stages as autoattack_stages
from rslib.report.figures.robustness import budget_curves as budget_curves
from rslib.report.figures.robustness import certified_curves as certified_curves
from rslib.report.figures.robustness import figure2 as figure2
from rslib.report.figures.robustness import robust_overfitting as robust_overfitting
from rslib.report.figures.saliency import alignment_dynamics as alignment_dynamics
from rslib.report.figures.saliency import alignment_front as alignment_front
from rslib.report.figures.saliency import alignment_plane as alignment_plane
from rslib.report.figures.saliency import chance_curve as chance_curve
from rslib.report.figures.saliency import faithfulness_curves as faithfulness_curves
from rslib.report.figures.saliency import mask_sheet as mask_sheet
from rslib.report.figures.saliency import masks_needed as masks_needed
from rslib.report.figures.saliency import overlap_bars as overlap_bars
from rslib.report.figures.saliency import overlap_curve as overlap_curve
from rslib.report.figures.saliency import randomization_curves as randomization_curves
from rslib.report.figures.saliency import saliency_grid as saliency_grid
from rslib.report.figures.tradeoff import confident_errors as confident_errors
from rslib.report.figures.tradeoff import correlations as correlations
from rslib.report.figures.tradeoff import figure4 as figure4
from rslib.report.figures.tradeoff import objectives as objectives
from rslib.report.style import WIDTH as WIDTH
