"""Claims of 4.1 to 4.6, and the two of 3.2 that are findings rather than methods."""

from rslib.paper.statement import (
    ALIGNED,
    ALIGNED_RESNET,
    ALIGNED_VIT,
    BASELINES,
    COMBINED,
    RESNET,
    ROBUST,
    ROBUST_RESNET,
    ROBUST_VIT,
    TABLE2,
    VIT,
    Claim,
    cells,
    untestable,
)
from rslib.paper.tables import value

_RESNETS, _VITS = (RESNET, ROBUST_RESNET), (VIT, ROBUST_VIT)
_PURE = "resnet18-purely_adversarial"


def _ratio(pair: tuple[str, str], column: str) -> float:
    """Table 5's corruption error after adversarial training over that before."""
    before, after = (value("table5", row, column).value for row in pair)
    return round(after / before, 3)


METHODS = (
    Claim(
        "fgsm_weaker", "FGSM is a weaker attack than PGD",
        "3.2.1", None, "points", "compares", TABLE2,
        cells("table2", TABLE2, "fgsm_accuracy", "pgd_accuracy"),
    ),
    Claim(
        "alternating",
        "training on clean and attacked batches by turns gives a more robust model than training "
        "on attacked batches alone",
        "3.2.2", None, "points", "compares", (ROBUST_RESNET, _PURE),
    ),
)  # fmt: skip

BASELINE = (
    Claim(
        "accuracy_gap", "ResNet-18 is 3.6 points more accurate than ViT-Small",
        "4.1", 3.6, "points", "differs", BASELINES,
        cells("table1", BASELINES, "clean_accuracy"), also=("5.4",),
    ),
    untestable(
        "competitive_accuracy", "94.8 % is competitive with the state of the art", "4.1",
        "no result that it competes with is named", models=(RESNET,),
    ),
    Claim(
        "calibration", "both baseline models have an expected calibration error below 0.05",
        "4.1", 0.05, "", "below", BASELINES, cells("table1", BASELINES, "ece"),
    ),
    Claim(
        "calibration_order", "ResNet-18 is better calibrated than ViT-Small",
        "4.1", None, "", "compares", BASELINES, cells("table1", BASELINES, "ece"),
    ),
    Claim(
        "training_time", "ViT-Small takes 24 % more training time than ResNet-18",
        "4.1", 24.0, "%", "differs", BASELINES,
        cells("table1", BASELINES, "training_hours"), scale="hardware", sized=True,
    ),
    Claim(
        "parameters", "ViT-Small has twice the parameters of ResNet-18",
        "4.1", 2.0, "ratio", "about", BASELINES,
        cells("table1", BASELINES, "parameters"), sized=True,
    ),
    Claim(
        "convergence",
        "ResNet-18 converges faster at first (Figure 1; read: is more accurate on validation "
        "images after a tenth of the epochs)",
        "4.1", None, "points", "compares", BASELINES,
    ),
    untestable(
        "similar_accuracies", "both models reach similar final performance (Figure 1)", "4.1",
        "similar is not defined, and the same caption calls ResNet-18 superior", models=BASELINES,
    ),
    untestable(
        "inductive_bias", "the advantage of ResNet-18 comes from convolution's inductive biases",
        "4.1", "no experiment varies the bias and nothing else", "4.2", "5.4", models=BASELINES,
    ),
)  # fmt: skip

ROBUSTNESS = (
    Claim(
        "near_zero", "PGD leaves both baseline models near zero (0.1 and 0.0 %)",
        "4.2", 0.0, "%", "nearly", BASELINES, cells("table2", BASELINES, "pgd_accuracy"),
    ),
    Claim(
        "fgsm_success",
        "FGSM succeeds on more than 99 % of images against both baseline models "
        "(Table 2's FGSM accuracies of 31.2 % and 28.7 % make it 67.1 % and 68.5 %)",
        "4.2", 99.0, "%", "above", BASELINES,
        cells("table2", BASELINES, "clean_accuracy", "fgsm_accuracy"), also=("1",),
    ),
    Claim(
        "pgd_success", "PGD succeeds on all images against both baseline models",
        "4.2", 100.0, "%", "nearly", BASELINES, cells("table2", BASELINES, "attack_success"),
    ),
    Claim(
        "similar_vulnerability", "PGD succeeds alike against ResNet-18 and ViT-Small",
        "4.2", None, "points", "alike", BASELINES, cells("table2", BASELINES, "pgd_accuracy"),
    ),
    untestable(
        "fundamental_brittleness",
        "brittleness is a property of gradient-based optimization, not of an architecture; models "
        "rely on non-robust features", "4.2",
        "nothing else than gradient-based training is tried, and features are not examined",
        models=BASELINES,
    ),
    Claim(
        "robustness_gain", "adversarial training gains ResNet-18 45 points of PGD accuracy",
        "4.2", 45.0, "points", "differs", _RESNETS,
        cells("table2", _RESNETS, "pgd_accuracy"), also=("1", "4.6", "5.1", "5.3"),
    ),
    Claim(
        "accuracy_loss", "adversarial training costs ResNet-18 8 points of clean accuracy",
        "4.2", -8.0, "points", "differs", _RESNETS,
        cells("table2", _RESNETS, "clean_accuracy"), also=("4.6", "5.1"),
    ),
    Claim(
        "vit_robustness_gain", "ViT-Small shows the same trend: 38.7 points of PGD accuracy gained",
        "4.2", 38.7, "points", "differs", _VITS, cells("table2", _VITS, "pgd_accuracy"),
    ),
    Claim(
        "vit_accuracy_loss", "and ViT-Small loses 8.1 points of clean accuracy",
        "4.2", -8.1, "points", "differs", _VITS, cells("table2", _VITS, "clean_accuracy"),
    ),
    Claim(
        "robustness_gap",
        "adversarially trained, ResNet-18 is 6.2 points more robust than ViT-Small (Table 2: 6.5)",
        "4.2", 6.2, "points", "differs", ROBUST, cells("table2", ROBUST, "pgd_accuracy"),
        also=("5.4",),
    ),
)  # fmt: skip

INTERPRETABILITY = (
    Claim(
        "background_focus",
        "baseline models often look at the background (read: their saliency prefers it, holding "
        "less of the object than the object's share of the image)",
        "4.3", None, "points", "compares", BASELINES,
    ),
    Claim(
        "airplanes", "for airplanes, baseline models look at the sky (read likewise)",
        "4.3", None, "points", "compares", BASELINES,
    ),
    Claim(
        "cats_and_dogs", "for cats and dogs, at grass and furniture (read likewise)",
        "4.3", None, "points", "compares", BASELINES,
    ),
    Claim(
        "attention_share",
        "less than 15 % of the baseline models' attention overlaps with objects",
        "4.3", 15.0, "%", "below", BASELINES, cells("table3", BASELINES, "iou_mean"),
        scale="masks",
    ),
    Claim(
        "robust_iou_gain", "adversarial training raises the IoU modestly, by about 0.03",
        "4.3", 0.03, "", "differs", TABLE2, cells("table3", TABLE2, "iou_mean"), scale="masks",
    ),
    untestable(
        "semantic_features", "robust features are more semantically meaningful", "4.3",
        "meaning is not measured; the IoU with proxy masks is", models=ROBUST,
    ),
    Claim(
        "resnet_iou_higher",
        "ResNet-18 has the higher IoU in all training paradigms (judged on every source of masks)",
        "4.3", None, "", "compares", (*TABLE2, *ALIGNED),
        cells("table3", (*TABLE2, *ALIGNED), "iou_mean"),
    ),
)  # fmt: skip

ALIGNMENT = (
    Claim(
        "iou_gain_resnet18", "alignment raises the IoU of ResNet-18 by 180 %",
        "4.4", 180.0, "%", "differs", (RESNET, ALIGNED_RESNET),
        cells("table3", (RESNET, ALIGNED_RESNET), "iou_mean"), scale="masks",
    ),
    Claim(
        "iou_gain_vit_small", "alignment raises the IoU of ViT-Small by 225 %",
        "4.4", 225.0, "%", "differs", (VIT, ALIGNED_VIT),
        cells("table3", (VIT, ALIGNED_VIT), "iou_mean"), scale="masks",
    ),
    Claim(
        "alignment_cost_resnet18", "alignment costs ResNet-18 only 2.7 points of clean accuracy",
        "4.4", 2.7, "points", "below", (RESNET, ALIGNED_RESNET),
        (("table1", RESNET, "clean_accuracy"), ("table4", ALIGNED_RESNET, "clean_accuracy")),
        also=("4.6", "5.1"),
    ),
    Claim(
        "alignment_cost_vit_small", "alignment costs ViT-Small only 2.5 points of clean accuracy",
        "4.4", 2.5, "points", "below", (VIT, ALIGNED_VIT),
        (("table1", VIT, "clean_accuracy"), ("table4", ALIGNED_VIT, "clean_accuracy")),
    ),
    Claim(
        "cheaper_than_robustness",
        "alignment costs less clean accuracy than adversarial training does",
        "4.4", None, "points", "compares", (*ALIGNED, *ROBUST),
        (*cells("table4", ALIGNED, "clean_accuracy"), *cells("table2", ROBUST, "clean_accuracy")),
        also=("4.6",),
    ),
    Claim(
        "iou_rises",
        "the IoU rises steadily during alignment, from the baseline's level to the final one "
        "(read: at the last epoch it stands as far above the control as Table 3 says)",
        "4.4", 0.27, "", "differs", (*BASELINES, *ALIGNED),
        cells("table3", (*BASELINES, *ALIGNED), "iou_mean"), scale="masks",
    ),
    Claim(
        "accuracy_stable",
        "classification accuracy stays stable throughout alignment (read: on validation images it "
        "never falls further below the baseline's than the 2.7 points that it ends with)",
        "4.4", 2.7, "points", "below", ALIGNED,
    ),
    untestable(
        "shared_features",
        "human-relevant and discriminative features overlap; alignment regularizes and may "
        "generalize better", "4.4",
        "features are not compared, and no test of generalization is reported", models=ALIGNED,
    ),
)  # fmt: skip

SHIFT = (
    Claim(
        "shift_degrades", "corruptions degrade both baseline models",
        "4.5", None, "points", "compares", BASELINES, cells("table5", BASELINES, "mce"),
    ),
    Claim(
        "mce_above", "both baseline models have an mCE above 1.5 (Table 5: 1.49 and 1.70)",
        "4.5", 1.5, "ratio", "above", BASELINES, cells("table5", BASELINES, "mce"),
        scale="reference",
    ),
    Claim(
        "vit_less_robust", "ViT-Small is less robust to corruptions than ResNet-18",
        "4.5", None, "ratio", "compares", BASELINES, cells("table5", BASELINES, "mce"),
    ),
    Claim(
        "noise_worst", "noise degrades both architectures the most",
        "4.5", None, "ratio", "compares", BASELINES,
        cells("table5", BASELINES, "noise", "blur", "weather", "digital"),
    ),
    Claim(
        "noise_above", "noise has an mCE above 1.6 for both",
        "4.5", 1.6, "ratio", "above", BASELINES, cells("table5", BASELINES, "noise"),
        scale="reference",
    ),
    Claim(
        "digital_least", "digital corruptions degrade them the least",
        "4.5", None, "ratio", "compares", BASELINES,
        cells("table5", BASELINES, "noise", "blur", "weather", "digital"),
    ),
    Claim(
        "weather_moderate", "weather stands between noise and digital corruptions",
        "4.5", None, "ratio", "compares", BASELINES,
        cells("table5", BASELINES, "noise", "weather", "digital"),
    ),
    Claim(
        "mce_reduction_resnet18", "adversarial training lowers the mCE of ResNet-18 by 0.12",
        "4.5", -0.12, "ratio", "differs", _RESNETS, cells("table5", _RESNETS, "mce"),
        scale="reference", also=("5.3",),
    ),
    Claim(
        "mce_reduction_vit_small", "adversarial training lowers the mCE of ViT-Small by 0.07",
        "4.5", -0.07, "ratio", "differs", _VITS, cells("table5", _VITS, "mce"),
        scale="reference",
    ),
    Claim(
        "noise_gains_most",
        "noise gains the most from adversarial training (ResNet-18: 1.68 to 1.45)",
        "4.5", None, "ratio", "compares", TABLE2,
        cells("table5", TABLE2, "noise", "blur", "weather", "digital"),
    ),
    Claim(
        "some_weather_minimal",
        "some weather corruptions improve minimally (read: at least one by less than half of what "
        "noise does)",
        "4.5", None, "ratio", "compares", TABLE2,
        cells("table5", TABLE2, "noise", "weather"),
    ),
    *(
        Claim(
            f"ratio_{architecture}_{column}",
            f"{label}, {column if column != 'mce' else 'mCE'}: adversarial over standard training",
            "4.5", _ratio(pair, column), "ratio", "differs", pair, cells("table5", pair, column),
            neutral=1.0,
        )
        for architecture, label, pair in (
            ("resnet18", "ResNet-18", _RESNETS), ("vit_small", "ViT-Small", _VITS),
        )
        for column in ("noise", "blur", "weather", "digital", "mce")
    ),
)  # fmt: skip

TRADE_OFFS = (
    Claim(
        "tradeoff_ratio",
        "adversarial training gains ResNet-18 5.6 points of robustness for one of accuracy",
        "4.6", 5.6, "ratio", "about", _RESNETS,
        cells("table2", _RESNETS, "clean_accuracy", "pgd_accuracy"),
    ),
    Claim(
        "tradeoff_consistent",
        "the trade-off appears in both architectures, and with other settings of the training",
        "4.6", None, "points", "compares", (*TABLE2, _PURE),
    ),
    untestable(
        "tradeoff_genuine", "the trade-off is genuine, not an artifact of training methods", "4.6",
        "no experiment with some methods can speak of all of them", "5.1", models=TABLE2,
    ),
    untestable(
        "pareto_frontier", "the Pareto frontier shows the limits of current training (Figure 4)",
        "4.6", "six trained models bound nothing that was not tried", models=(*TABLE2, *ALIGNED),
    ),
    untestable(
        "alignment_ratio", "alignment has a trade-off ratio of 10:1", "4.6",
        "it divides hundredths of IoU by points of accuracy, which have no common unit",
        models=(RESNET, ALIGNED_RESNET),
    ),
    Claim(
        "alignment_keeps_robustness",
        "alignment does not change adversarial robustness (no number is given)",
        "4.6", None, "points", "alike", ALIGNED,
    ),
    Claim(
        "combination_interpretable",
        "combined with adversarial training, alignment makes a robust model interpretable, too "
        "(read: the IoU of the model trained for both lies above the adversarially trained one's)",
        "4.6", None, "", "compares", COMBINED,
    ),
    Claim(
        "combination_robust",
        "the model trained for both stays robust and reasonably accurate (read: under PGD and "
        "clean, it loses at most a point to the adversarially trained one)",
        "4.6", -1.0, "points", "above", COMBINED,
    ),
)  # fmt: skip
