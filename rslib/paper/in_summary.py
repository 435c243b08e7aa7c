"""Claims of the abstract, the discussion (5) and the conclusion (6).

What the discussion repeats of the results is marked there (``also``); the abstract's and the
conclusion's claims all stand here, so that each has a verdict of its own.
"""

from rslib.paper.statement import (
    ALIGNED,
    ALIGNED_RESNET,
    ALIGNED_VIT,
    BASELINES,
    COMBINED,
    RESNET,
    ROBUST,
    ROBUST_RESNET,
    TABLE2,
    VIT,
    Claim,
    cells,
    untestable,
)

_RESNETS = (RESNET, ROBUST_RESNET)

ABSTRACT = (
    untestable(
        "abstract_attacks", "a systematic evaluation with FGSM, PGD and AutoAttack", "abstract",
        "no AutoAttack result is in the paper; ours are in notebook 07", "1", models=TABLE2,
    ),
    untestable(
        "abstract_interpretability", "a comprehensive interpretability analysis", "abstract",
        "a description, not a finding", "1", models=(*TABLE2, *ALIGNED),
    ),
    untestable(
        "abstract_novel", "a novel alignment method with a saliency-alignment loss", "abstract",
        "novelty is no measurement; 2.3 cites earlier training with explanations", "1",
        models=ALIGNED,
    ),
    Claim(
        "abstract_corruptions", "distribution shift is evaluated on 19 corruption types",
        "abstract", 19.0, "count", "about", (), also=("1", "3.5"),
    ),
    Claim(
        "abstract_tradeoff",
        "adversarial training trades clean accuracy for robustness, significantly",
        "abstract", None, "points", "compares", TABLE2,
        cells("table2", TABLE2, "clean_accuracy", "pgd_accuracy"),
    ),
    Claim(
        "abstract_pgd_before", "ResNet-18 has no PGD robustness before adversarial training",
        "abstract", 0.0, "%", "nearly", (RESNET,), cells("table2", (RESNET,), "pgd_accuracy"),
    ),
    Claim(
        "abstract_pgd_after",
        "adversarial training raises the PGD accuracy of ResNet-18 from 0 to 45 %",
        "abstract", 45.0, "points", "differs", _RESNETS,
        cells("table2", _RESNETS, "pgd_accuracy"),
    ),
    Claim(
        "abstract_clean_loss", "adversarial training costs ResNet-18 8 points of clean accuracy",
        "abstract", -8.0, "points", "differs", _RESNETS,
        cells("table2", _RESNETS, "clean_accuracy"),
    ),
    Claim(
        "abstract_iou_before",
        "the explanations of the baseline ResNet-18 overlap the object by an IoU of 0.15",
        "abstract", 0.15, "", "about", (RESNET,), cells("table3", (RESNET,), "iou_mean"),
        scale="masks",
    ),
    Claim(
        "abstract_iou_after", "alignment raises that IoU by 0.27, to 0.42",
        "abstract", 0.27, "", "differs", (RESNET, ALIGNED_RESNET),
        cells("table3", (RESNET, ALIGNED_RESNET), "iou_mean"), scale="masks",
        also=("4.6", "5.1"),
    ),
    Claim(
        "abstract_competitive",
        "while accuracy stays competitive (read as in 4.4: at most 2.7 points below the baseline)",
        "abstract", 2.7, "points", "below", (RESNET, ALIGNED_RESNET),
        (("table1", RESNET, "clean_accuracy"), ("table4", ALIGNED_RESNET, "clean_accuracy")),
    ),
    untestable(
        "abstract_insights", "crucial insights for safer and more aligned vision systems",
        "abstract", "a judgment of value", "6",
    ),
)  # fmt: skip

DISCUSSION = (
    Claim(
        "iou_below", "baseline models have an IoU below 0.16",
        "5.1", 0.16, "", "below", BASELINES, cells("table3", BASELINES, "iou_mean"),
        scale="masks", also=("5.2",),
    ),
    untestable(
        "less_tension", "interpretability and accuracy are in less tension than believed", "5.1",
        "no earlier belief is quantified", "5.2", models=ALIGNED,
    ),
    Claim(
        "iou_above", "aligned models have an IoU above 0.38 (the sign is lost in print)",
        "5.2", 0.38, "", "above", ALIGNED, cells("table3", ALIGNED, "iou_mean"), scale="masks",
    ),
    untestable(
        "practical", "the loss is a practical and scalable way to use human feedback", "5.2",
        "no human feedback was used (5.5), and no scale but CIFAR-10's", models=ALIGNED,
    ),
    untestable(
        "no_changes", "it needs no fundamental change of architecture or training", "5.2",
        "fundamental is not defined; 3.4.2 adds a saliency head to both architectures",
        models=ALIGNED,
    ),
    untestable(
        "uncovers", "models already encode object-level information, which alignment uncovers",
        "5.2", "representations are not examined", models=ALIGNED,
    ),
    Claim(
        "weak_correlation",
        "adversarial robustness and robustness to corruptions correlate weakly (read: over the "
        "images that an adversarially trained model gets right, below 0.3)",
        "5.3", 0.3, "", "below", ROBUST,
    ),
    Claim(
        "vit_alignment", "ViT-Small gains as much IoU from alignment, 0.27",
        "5.4", 0.27, "", "differs", (VIT, ALIGNED_VIT),
        cells("table3", (VIT, ALIGNED_VIT), "iou_mean"), scale="masks",
    ),
    untestable(
        "shortcut_cause", "shortcut learning is a consequence of optimization dynamics", "5.4",
        "optimization dynamics are not varied", models=BASELINES,
    ),
    Claim(
        "other_methods",
        "the gain is no artifact of one visualization (read: other methods' maps gain too)",
        "5.4", None, "", "compares", ALIGNED,
    ),
    Claim(
        "not_gaming",
        "aligned models look at relevant features and do not game the IoU (read: another class's "
        "background costs them less accuracy than it costs the control)",
        "5.4", None, "points", "compares", ALIGNED,
    ),
)  # fmt: skip

CONCLUSION = (
    Claim(
        "conclusion_gain",
        "1. adversarial training makes ResNet-18 robust: 45 points of PGD accuracy",
        "6", 45.0, "points", "differs", _RESNETS, cells("table2", _RESNETS, "pgd_accuracy"),
    ),
    Claim(
        "conclusion_loss", "1. it costs 8 points of clean accuracy",
        "6", -8.0, "points", "differs", _RESNETS, cells("table2", _RESNETS, "clean_accuracy"),
    ),
    Claim(
        "conclusion_ratio", "1. a trade-off ratio of 5.6:1",
        "6", 5.6, "ratio", "about", _RESNETS,
        cells("table2", _RESNETS, "clean_accuracy", "pgd_accuracy"),
    ),
    untestable(
        "conclusion_fundamental", "1. the trade-off is fundamental rather than methodological", "6",
        "no experiment with some methods can speak of all of them", models=TABLE2,
    ),
    Claim(
        "conclusion_shortcuts",
        "2. baseline models learn shortcuts (read: another class's background costs accuracy that "
        "a background of the same class does not; extensive is not defined)",
        "6", None, "points", "compares", BASELINES, also=("5.2",),
    ),
    Claim(
        "conclusion_iou_below", "2. baseline models have an IoU below 0.16",
        "6", 0.16, "", "below", BASELINES, cells("table3", BASELINES, "iou_mean"), scale="masks",
    ),
    Claim(
        "conclusion_attention", "2. less than 16 % of baseline models' attention lies on objects",
        "6", 16.0, "%", "below", BASELINES, cells("table3", BASELINES, "iou_mean"),
        scale="masks",
    ),
    Claim(
        "conclusion_iou_above", "3. alignment brings the IoU above 0.38 (a sign lost in print)",
        "6", 0.38, "", "above", ALIGNED, cells("table3", ALIGNED, "iou_mean"), scale="masks",
    ),
    Claim(
        "conclusion_iou_gain", "3. alignment improves the IoU by 180 % and more",
        "6", 180.0, "%", "differs", (*BASELINES, *ALIGNED),
        cells("table3", (*BASELINES, *ALIGNED), "iou_mean"), scale="masks",
    ),
    Claim(
        "conclusion_alignment_cost",
        "3. alignment costs less than 3 points of accuracy (a sign lost in print)",
        "6", 3.0, "points", "below", (*BASELINES, *ALIGNED),
        (
            *cells("table1", BASELINES, "clean_accuracy"),
            *cells("table4", ALIGNED, "clean_accuracy"),
        ),
    ),
    Claim(
        "conclusion_favorable",
        "3. a far more favorable trade-off than adversarial training's (read: it costs less "
        "accuracy; what is gained has no common unit)",
        "6", None, "points", "compares", (*ALIGNED, *ROBUST),
        (*cells("table4", ALIGNED, "clean_accuracy"), *cells("table2", ROBUST, "clean_accuracy")),
    ),
    Claim(
        "conclusion_transfer_resnet18",
        "4. adversarial training helps little against corruptions: 0.12 of mCE for ResNet-18",
        "6", -0.12, "ratio", "differs", _RESNETS, cells("table5", _RESNETS, "mce"),
        scale="reference",
    ),
    Claim(
        "conclusion_transfer_vit_small", "4. and 0.07 of mCE for ViT-Small",
        "6", -0.07, "ratio", "differs", (VIT, ROBUST[1]), cells("table5", (VIT, ROBUST[1]), "mce"),
        scale="reference",
    ),
    untestable(
        "conclusion_phenomena", "4. the two kinds of robustness may be different phenomena", "6",
        "it may be, or not: nothing measured would contradict it", "5.3", models=TABLE2,
    ),
    Claim(
        "conclusion_accuracy_order",
        "5. ResNet-18 is the more accurate (94.8 against 91.2 %)",
        "6", 3.6, "points", "differs", BASELINES, cells("table1", BASELINES, "clean_accuracy"),
    ),
    Claim(
        "conclusion_robustness_order",
        "5. and, adversarially trained, the more robust (45.2 against 38.7 %)",
        "6", 6.5, "points", "differs", ROBUST, cells("table2", ROBUST, "pgd_accuracy"),
    ),
    Claim(
        "conclusion_orthogonal",
        "6. alignment and adversarial robustness are orthogonal (read: alignment does not change "
        "robustness)",
        "6", None, "points", "alike", ALIGNED,
    ),
    Claim(
        "conclusion_interpretable",
        "6. so one model can be interpretable (read: IoU above the adversarially trained one's)",
        "6", None, "", "compares", COMBINED,
    ),
    Claim(
        "conclusion_robust",
        "6. and robust and accurate (read: under PGD and clean, it loses at most a point to it)",
        "6", -1.0, "points", "above", COMBINED,
    ),
    untestable(
        "conclusion_feasible", "alignment is feasible, practical and scalable", "6",
        "no human feedback was used (5.5), and no scale but CIFAR-10's", models=ALIGNED,
    ),
    untestable(
        "conclusion_replicable", "the framework is a replicable approach", "6",
        "no code, weights, masks or corruption reference are published with the paper",
    ),
)  # fmt: skip
