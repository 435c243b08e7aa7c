"""Our number for every claim, from stored records.

A claim may be about several things at once (two architectures, two controls): each is a part with
an estimate of its own. Differences that a claim states without a number are signed so that above
zero is as claimed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper import PaperValue
from rslib.paper.statement import (
    ALIGNED,
    ALIGNED_RESNET,
    ALIGNED_VIT,
    BASELINES,
    RESNET,
    ROBUST,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
)
from rslib.verdicts import measures
from rslib.verdicts.evidence import accuracy, explanations, shift
from rslib.verdicts.evidence.parts import Measure as Measure
from rslib.verdicts.evidence.parts import Part as Part
from rslib.verdicts.reader import Reader, Unmeasured

PURE = "resnet18-purely_adversarial"

_RESNETS, _VITS = (RESNET, ROBUST_RESNET), (VIT, ROBUST_VIT)
_GAIN = accuracy.difference("pgd", ROBUST_RESNET, RESNET)
_LOSS = accuracy.difference("clean", ROBUST_RESNET, RESNET)
_BELOW = explanations.mean_iou(*BASELINES)
_ABOVE = explanations.mean_iou(*ALIGNED)
_ORDERS = {
    "clean": accuracy.difference("clean", *BASELINES),
    "pgd": accuracy.difference("pgd", *ROBUST),
}
_CHEAPER = accuracy.differences("clean", *zip(ALIGNED, ROBUST, strict=True))
_MCE_CHANGE = {pair: shift.mce_change(*pair) for pair in (_RESNETS, _VITS)}

MEASURES: dict[str, Measure] = {
    "abstract_corruptions": shift.corruption_count,
    "abstract_tradeoff": accuracy.trade_off(_RESNETS, _VITS),
    "abstract_pgd_before": accuracy.pgd_accuracy(RESNET),
    "abstract_pgd_after": _GAIN,
    "abstract_clean_loss": _LOSS,
    "abstract_iou_before": explanations.mean_iou(RESNET),
    "abstract_iou_after": explanations.iou_gain(ALIGNED_RESNET),
    "abstract_competitive": explanations.alignment_cost((ALIGNED_RESNET, RESNET)),
    "fgsm_weaker": accuracy.fgsm_over_pgd,
    "alternating": accuracy.difference("pgd", ROBUST_RESNET, PURE),
    "accuracy_gap": _ORDERS["clean"],
    "calibration": accuracy.calibration,
    "calibration_order": accuracy.calibration_difference,
    "training_time": accuracy.training_time,
    "parameters": accuracy.parameter_ratio,
    "convergence": accuracy.early_accuracy,
    "near_zero": accuracy.pgd_accuracy(*BASELINES),
    "fgsm_success": accuracy.attack_success("fgsm"),
    "pgd_success": accuracy.attack_success("pgd"),
    "similar_vulnerability": accuracy.success_difference,
    "robustness_gain": _GAIN,
    "accuracy_loss": _LOSS,
    "vit_robustness_gain": accuracy.difference("pgd", ROBUST_VIT, VIT),
    "vit_accuracy_loss": accuracy.difference("clean", ROBUST_VIT, VIT),
    "robustness_gap": _ORDERS["pgd"],
    "background_focus": explanations.away_from_objects(),
    "airplanes": explanations.away_from_objects("airplane"),
    "cats_and_dogs": explanations.away_from_objects("cat", "dog"),
    "attention_share": explanations.attention_share,
    "robust_iou_gain": explanations.robust_iou,
    "resnet_iou_higher": explanations.iou_by_architecture,
    "iou_gain_resnet18": explanations.iou_gain(ALIGNED_RESNET, percent=True),
    "iou_gain_vit_small": explanations.iou_gain(ALIGNED_VIT, percent=True),
    "alignment_cost_resnet18": explanations.alignment_cost((ALIGNED_RESNET, RESNET)),
    "alignment_cost_vit_small": explanations.alignment_cost((ALIGNED_VIT, VIT)),
    "cheaper_than_robustness": _CHEAPER,
    "iou_rises": explanations.iou_rise,
    "accuracy_stable": explanations.largest_fall,
    "shift_degrades": shift.degradation,
    "mce_above": shift.mean_score("mce"),
    "vit_less_robust": shift.vit_worse,
    "noise_worst": shift.noise_worst,
    "noise_above": shift.mean_score("noise"),
    "digital_least": shift.digital_least,
    "weather_moderate": shift.weather_between,
    "mce_reduction_resnet18": _MCE_CHANGE[_RESNETS],
    "mce_reduction_vit_small": _MCE_CHANGE[_VITS],
    "noise_gains_most": shift.noise_gains_most,
    "some_weather_minimal": shift.weather_lags,
    **{
        f"ratio_{architecture}_{column}": shift.mce_quotient(*pair, column)
        for architecture, pair in (("resnet18", _RESNETS), ("vit_small", _VITS))
        for column in (*measures.CATEGORIES, "mce")
    },
    "tradeoff_ratio": accuracy.tradeoff_ratio,
    "tradeoff_consistent": accuracy.trade_off(_RESNETS, _VITS, (RESNET, PURE)),
    "alignment_keeps_robustness": explanations.robustness_kept,
    "combination_interpretable": explanations.combined_iou,
    "combination_robust": explanations.combined_robustness,
    "iou_below": _BELOW,
    "iou_above": _ABOVE,
    "weak_correlation": shift.breakage,
    "vit_alignment": explanations.iou_gain(ALIGNED_VIT),
    "other_methods": explanations.other_methods,
    "not_gaming": explanations.reliance_reduced,
    "conclusion_gain": _GAIN,
    "conclusion_loss": _LOSS,
    "conclusion_ratio": accuracy.tradeoff_ratio,
    "conclusion_shortcuts": explanations.background_reliance,
    "conclusion_iou_below": _BELOW,
    "conclusion_attention": explanations.attention_share,
    "conclusion_iou_above": _ABOVE,
    "conclusion_iou_gain": explanations.iou_gain(*ALIGNED, percent=True),
    "conclusion_alignment_cost": explanations.alignment_cost(*zip(ALIGNED, BASELINES, strict=True)),
    "conclusion_favorable": _CHEAPER,
    "conclusion_transfer_resnet18": _MCE_CHANGE[_RESNETS],
    "conclusion_transfer_vit_small": _MCE_CHANGE[_VITS],
    "conclusion_accuracy_order": _ORDERS["clean"],
    "conclusion_robustness_order": _ORDERS["pgd"],
    "conclusion_orthogonal": explanations.robustness_kept,
    "conclusion_interpretable": explanations.combined_iou,
    "conclusion_robust": explanations.combined_robustness,
}
"""What settles each claim of :data:`rslib.paper.CLAIMS` that is not untestable, by its name."""


def cell(value: PaperValue) -> Measure:
    """What a cell of the paper's tables compares with."""
    return functools.partial(_cell, value=value)


def _cell(reader: Reader, value: PaperValue) -> Iterator[Part]:
    yield Part("", _cell_estimate(reader, value))


def _cell_estimate(reader: Reader, value: PaperValue) -> Estimate:
    name, confidence = value.row, reader.confidence
    if value.table == "table5":
        return shift.scored(reader, (name,), lambda t: t(name, value.column)).estimate
    match value.column:
        case "clean_accuracy":
            return estimates.accuracy(reader.clean(name)["correct"], confidence=confidence)
        case "fgsm_accuracy" | "pgd_accuracy":
            right = reader.record(name, value.column.partition("_")[0])["correct"]
            return estimates.accuracy(right, confidence=confidence)
        case "attack_success":
            return estimates.attack_success(reader.record(name, "pgd"), confidence=confidence)
        case "ece":
            return accuracy.calibration_error(reader, name)
        case "training_hours":
            return Estimate(reader.summary(name)["seconds"] / 3600)
        case "parameters":
            return Estimate(reader.summary(name)["parameters"])
        case "iou_mean" | "final_iou":
            found = reader.record(name, "saliency")[f"iou_{reader.masks}"]
            return estimates.mean(found, confidence=confidence)
        case "iou_std":
            found = reader.record(name, "saliency")[f"iou_{reader.masks}"]
            return Estimate(float(found.std(ddof=0)), n=int(found.notna().sum()))
        case "alignment_loss":
            summary = reader.summary(name)
            best = summary["history"][summary["best_epoch"] - 1]
            if "validation_alignment_loss" not in best:
                raise Unmeasured(f"{name}: alignment loss")
            return Estimate(best["validation_alignment_loss"])
    raise ValueError(f"{value.table} has no measure for {value.column!r}")
