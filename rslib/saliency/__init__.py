"""Saliency maps, their overlap with objects, and tests of their faithfulness (paper 3.3, 3.4).

Images are float tensors (B, C, H, W) in [0, 1], models map images to logits, and a saliency map is
a float tensor (B, h, w) whose larger values mean more attention. Nothing here knows of attacks.
"""

from rslib.saliency.attribution import input_gradient, integrated_gradients
from rslib.saliency.faithfulness import (
    deletion_curve,
    infidelity,
    insertion_curve,
    randomization_check,
    rank_correlation,
)
from rslib.saliency.gradcam import gradcam
from rslib.saliency.maps import NotSaliency, degenerate, resize, standardize
from rslib.saliency.masks import MaskError, coverage, proxy_masks, read_masks
from rslib.saliency.methods import saliency_method
from rslib.saliency.overlap import (
    ceiling,
    center_prior,
    chance,
    iou,
    iou_curve,
    mass_inside,
    mean_mask_prior,
    pointing_game,
    same_top,
    shuffled_pairs,
)
from rslib.saliency.rollout import attention_rollout, rollout

__all__ = [
    "MaskError",
    "NotSaliency",
    "attention_rollout",
    "ceiling",
    "center_prior",
    "chance",
    "coverage",
    "degenerate",
    "deletion_curve",
    "gradcam",
    "infidelity",
    "input_gradient",
    "insertion_curve",
    "integrated_gradients",
    "iou",
    "iou_curve",
    "mass_inside",
    "mean_mask_prior",
    "pointing_game",
    "proxy_masks",
    "randomization_check",
    "rank_correlation",
    "read_masks",
    "resize",
    "rollout",
    "saliency_method",
    "same_top",
    "shuffled_pairs",
    "standardize",
]
