"""The public calls as a user's editor sees them: `ty check` reads this file, nothing runs it."""

from typing import assert_type

import torch
from torch import Tensor, nn

import rslib
from rslib import attacks, corruptions, data, metrics, models, saliency, settings, smoothing


def calls(model: nn.Module, x: Tensor, y: Tensor) -> None:
    versions: list[str] = [rslib.__version__]
    versions.clear()
    assert_type(settings.load("smoke", {"pgd": {"steps": 5}}), settings.Settings)
    assert_type(data.load("cifar10", "test"), data.Dataset)
    assert_type(data.load("cifar10", "test").images, Tensor)
    assert_type(models.build("resnet18", num_classes=10), models.Classifier)
    assert_type(attacks.fgsm(model, x, y, eps=8 / 255), Tensor)
    budget = 8 / 255
    assert_type(attacks.pgd(model, x, y, eps=budget, step_size=0.01, num_steps=20), Tensor)
    assert_type(attacks.autoattack(model, x, y, eps=budget, norm="linf", seed=0), Tensor)
    report = attacks.reliability(model, x, y, eps=budget)
    assert_type(report.passed, bool)
    assert_type(report.failed, tuple[str, ...])
    prediction, radius = smoothing.certify(model, x, sigma=0.25, n=1000)
    assert_type((prediction, radius), tuple[Tensor, Tensor])
    assert_type(smoothing.radius(990, 1000, sigma=0.25, alpha=0.001), float)
    assert_type(saliency.gradcam(model, x), Tensor)
    assert_type(saliency.attention_rollout(model, x), Tensor)
    masks = torch.ones(1, 32, 32, dtype=torch.bool)
    assert_type(saliency.iou(saliency.gradcam(model, x), masks, top=0.3), Tensor)
    names: tuple[str, ...] = corruptions.NAMES
    assert_type(corruptions.corrupt(x, names[0], 3, seed=0), Tensor)
    assert_type(metrics.expected_calibration_error(x, y, bins=15), float)
    assert_type(metrics.mean_corruption_error({"fog": [0.1] * 5}, {"fog": [0.2] * 5}), float)
    assert_type(metrics.accuracy_interval(90, 100), tuple[float, float])
