"""Evidence on accuracy, attacks, calibration and training (paper 3.2, 4.1, 4.2, 4.6)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.paper.statement import (
    BASELINES,
    RESNET,
    ROBUST_RESNET,
    TABLE2,
    VIT,
)
from rslib.report.labels import architecture_label, short_label
from rslib.verdicts import measures
from rslib.verdicts.evidence.parts import Measure, Part
from rslib.verdicts.reader import Reader


def paired(reader: Reader, evaluated: str, first: str, second: str, label: str = "") -> Part:
    """Accuracy of the first model less the second's on the same images, in points."""
    gap = estimates.paired_difference(
        *reader.together([first, second], evaluated), confidence=reader.confidence
    )
    return Part(label, gap)


def difference(evaluated: str, first: str, second: str) -> Measure:
    """Accuracy of the first less the second's, in points, on the same images."""

    def measure(reader: Reader) -> Iterator[Part]:
        yield paired(reader, evaluated, first, second)

    return measure


def differences(evaluated: str, *pairs: tuple[str, str]) -> Measure:
    """The same for several pairs, each labeled by its first model's architecture."""

    def measure(reader: Reader) -> Iterator[Part]:
        for first, second in pairs:
            label = architecture_label(first)
            yield paired(reader, evaluated, first, second, label)

    return measure


def trade_off(*pairs: tuple[str, str]) -> Measure:
    """Clean accuracy lost and PGD accuracy gained by each pair's second model, in points."""

    def measure(reader: Reader) -> Iterator[Part]:
        for before, after in pairs:
            label = short_label(after)
            yield paired(reader, "clean", before, after, f"{label}, accuracy lost")
            yield paired(reader, "pgd", after, before, f"{label}, robustness gained")

    return measure


def pgd_accuracy(*names: str) -> Measure:
    """Accuracy under PGD, in percent."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name in names:
            right = reader.record(name, "pgd")["correct"]
            found = estimates.accuracy(right, confidence=reader.confidence)
            yield Part(architecture_label(name) * (len(names) > 1), found)

    return measure


def attack_success(evaluated: str) -> Measure:
    """Success of an attack against the baselines, in percent."""

    def measure(reader: Reader) -> Iterator[Part]:
        for name in BASELINES:
            record = reader.record(name, evaluated)
            found = estimates.attack_success(record, confidence=reader.confidence)
            yield Part(architecture_label(name), found)

    return measure


def success_difference(reader: Reader) -> Iterator[Part]:
    """Success of PGD against ResNet-18 less that against ViT-Small, in points."""
    counts = []
    for name in BASELINES:
        record = reader.record(name, "pgd")
        right = record["clean_correct"].to_numpy(bool)
        turned = right & ~record["correct"].to_numpy(bool)
        counts.append((int(turned.sum()), int(right.sum())))
    yield Part("", measures.shares_apart(*counts, confidence=reader.confidence))


def fgsm_over_pgd(reader: Reader) -> Iterator[Part]:
    """Accuracy under FGSM less that under PGD on the same images, in points."""
    for name in TABLE2:
        pgd = reader.record(name, "pgd")
        fgsm = estimates.on_images(reader.record(name, "fgsm"), pgd["image"])
        gap = estimates.paired_difference(
            fgsm["correct"], pgd["correct"], confidence=reader.confidence
        )
        yield Part(short_label(name), gap)


def tradeoff_ratio(reader: Reader) -> Iterator[Part]:
    """PGD accuracy gained over clean accuracy lost, on the images that PGD was run on."""
    names = (RESNET, ROBUST_RESNET)
    columns = [
        *reader.together(names, "pgd", "clean_correct"), *reader.together(names, "pgd")
    ]  # fmt: skip
    found = measures.resampled(
        np.stack(columns, axis=1),
        lambda m: (m[..., 3] - m[..., 2]) / (m[..., 0] - m[..., 1]),
        confidence=reader.confidence,
    )
    yield Part("", found)


def calibration(reader: Reader) -> Iterator[Part]:
    """Calibration errors of the baselines."""
    for name in BASELINES:
        yield Part(architecture_label(name), calibration_error(reader, name))


def calibration_error(reader: Reader, name: str) -> Estimate:
    """A model's expected calibration error."""
    return estimates.calibration_error(
        reader.record(name, "clean"),
        bins=reader.run.settings.evaluation.ece_bins,
        confidence=reader.confidence,
    )


def calibration_difference(reader: Reader) -> Iterator[Part]:
    """Calibration error of ViT-Small less that of ResNet-18."""
    bins = reader.run.settings.evaluation.ece_bins
    records = [reader.record(name, "clean") for name in (VIT, RESNET)]
    gaps = [estimates.binned_gaps(each, bins=bins) for each in records]
    found = measures.resampled(
        np.hstack(gaps),
        lambda m: np.abs(m[..., :bins]).sum(-1) - np.abs(m[..., bins:]).sum(-1),
        confidence=reader.confidence,
        centered=True,
    )
    yield Part("", found)


def training_time(reader: Reader) -> Iterator[Part]:
    """By how many percent ViT-Small trained longer than ResNet-18."""
    vit, resnet = (reader.summary(name)["seconds"] for name in (VIT, RESNET))
    yield Part("", Estimate(100 * (vit / resnet - 1)))


def parameter_ratio(reader: Reader) -> Iterator[Part]:
    """Parameters of ViT-Small over those of ResNet-18."""
    vit, resnet = (reader.summary(name)["parameters"] for name in (VIT, RESNET))
    yield Part("", Estimate(vit / resnet))


def early_accuracy(reader: Reader) -> Iterator[Part]:
    """Validation accuracy of ResNet-18 less ViT-Small's after a tenth of the epochs."""
    n, counts = reader.run.settings.data.validation_size, []
    for name in BASELINES:
        history = reader.summary(name)["history"]
        early = history[math.ceil(len(history) / 10) - 1]
        counts.append((round(early["validation_accuracy"] * n), n))
    yield Part("", measures.shares_apart(*counts, confidence=reader.confidence))
