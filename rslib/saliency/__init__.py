"""Saliency maps, their overlap with objects, and tests of their faithfulness (paper 3.3, 3.4).

Images are float tensors (B, C, H, W) in [0, 1], models map images to logits, and a saliency map is
a float tensor (B, h, w) whose larger values mean more attention. Nothing here knows of attacks.
"""

from rslib.saliency.faithfulness import deletion_curve as deletion_curve
from rslib.saliency.faithfulness import infidelity as infidelity
from rslib.saliency.faithfulness import insertion_curve as insertion_curve
from rslib.saliency.faithfulness import randomization_check as randomization_check
from rslib.saliency.faithfulness import rank_correlation as rank_correlation
from rslib.saliency.gradcam import gradcam as gradcam
from rslib.saliency.gradient_rollout import gradient_rollout as gradient_rollout
from rslib.saliency.maps import NotSaliency as NotSaliency
from rslib.saliency.maps import degenerate as degenerate
from rslib.saliency.maps import resize as resize
from rslib.saliency.maps import standardize as standardize
from rslib.saliency.masks import MaskError as MaskError
from rslib.saliency.masks import coverage as coverage
from rslib.saliency.masks import proxy_masks as proxy_masks
from rslib.saliency.masks import read_masks as read_masks
from rslib.saliency.masks import refine as refine
from rslib.saliency.methods import input_gradient as input_gradient
from rslib.saliency.methods import integrated_gradients as integrated_gradients
from rslib.saliency.methods import saliency_method as saliency_method
from rslib.saliency.overlap import ceiling as ceiling
from rslib.saliency.overlap import center_prior as center_prior
from rslib.saliency.overlap import chance as chance
from rslib.saliency.overlap import iou as iou
from rslib.saliency.overlap import iou_area as iou_area
from rslib.saliency.overlap import iou_area_levels as iou_area_levels
from rslib.saliency.overlap import iou_curve as iou_curve
from rslib.saliency.overlap import iou_separated as iou_separated
from rslib.saliency.overlap import mass_inside as mass_inside
from rslib.saliency.overlap import mean_mask_prior as mean_mask_prior
from rslib.saliency.overlap import pointing_game as pointing_game
from rslib.saliency.overlap import same_top as same_top
from rslib.saliency.overlap import separated as separated
from rslib.saliency.overlap import shuffled_pairs as shuffled_pairs
from rslib.saliency.rollout import attention_rollout as attention_rollout
from rslib.saliency.rollout import rollout as rollout
