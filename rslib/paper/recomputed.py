"""The paper's internal arithmetic, recomputed: what it prints against what its numbers give."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rslib.paper.consistency import (
    TOP,
    Check,
    Range,
    against,
    attack_success,
    follows,
    least_coverage,
    most_coverage,
    parameter_count,
    random_iou,
)
from rslib.paper.statement import ALIGNED, BASELINES, ROBUST, TABLE2
from rslib.paper.tables import ARCHITECTURES, TABLES, PaperValue, value

CATEGORIES = {
    "noise": ("Gaussian noise", "shot noise", "impulse noise"),
    "blur": ("defocus blur", "motion blur", "zoom blur", "glass blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic transform", "pixelate", "JPEG compression", "saturate"),
}
"""The corruptions that the paper names (3.1.1)."""


def arithmetic() -> tuple[Check, ...]:
    """All checks, in the paper's order."""
    return (
        *_methods(),
        *_baseline(),
        *_robustness(),
        *_interpretability(),
        *_alignment(),
        *_shift(),
        *_trade_offs(),
        *_across_tables(),
    )


def _methods() -> Iterator[Check]:
    named = sum(map(len, CATEGORIES.values()))
    yield Check(
        "corruption_count",
        "19 corruption types, which are then named",
        "3.1.1",
        "19",
        f"{named}",
        named == 19,
        "speckle noise, Gaussian blur and spatter are evaluated and not named",
    )
    patches = (32 // 2) ** 2
    yield Check(
        "patch_count",
        "32 x 32 pixels in 16 patches of 2 x 2",
        "3.1.2",
        "16",
        f"{patches}",
        patches == 16,
        "16 a side: ViT-Small sees 256 patches, or they are 8 x 8 and there are 16",
    )
    budget = 100 * 8 / 255
    yield Check(
        "budget",
        "8/255 is 3.1 % of the range of intensities",
        "3.2.1",
        "3.1 %",
        f"{budget:.2f} %",
        Range(budget, budget, budget).meets(3.1, 0.05),
    )


def _baseline() -> Iterator[Check]:
    resnet, vit = BASELINES
    gap = follows(_less, *_column("table1", "clean_accuracy", resnet, vit))
    yield against("accuracy_gap", "ResNet-18 is 3.6 points ahead", "4.1", "3.6", gap, "points")
    longer = follows(_percent_more, *_column("table1", "training_hours", vit, resnet))
    yield against(
        "training_time", "ViT-Small trains 24 % longer", "4.1", "24", longer, "%",
        f"rounding of the hours allows {longer.low:.0f} to {longer.high:.0f} %",
    )  # fmt: skip
    times = follows(_ratio, *_column("table1", "parameters", vit, resnet))
    yield against("twice", "twice the parameters", "4.1", "2", times, "times")
    errors = _column("table1", "ece", resnet, vit)
    yield Check(
        "calibration", "both calibration errors are below 0.05", "4.1", "< 0.05",
        " and ".join(each.printed for each in errors), all(each.value < 0.05 for each in errors),
    )  # fmt: skip
    for name, consequence in (
        (resnet, ""),
        (
            vit,
            "22.1 M is the network for 224 x 224 images and 1,000 classes; with the 16 patches of "
            f"8 x 8 it would be {parameter_count('vit_small', patch=8):,}",
        ),
    ):
        printed = value("table1", name, "parameters")
        architecture = name.partition("-")[0]
        count = parameter_count(architecture)
        agrees = abs(count - printed.value) <= printed.rounding
        yield Check(
            f"parameters_{architecture}", f"parameters of {ARCHITECTURES[architecture]}", "4.1",
            printed.printed, f"{count:,}", agrees, consequence,
        )  # fmt: skip


def _robustness() -> Iterator[Check]:
    for name in TABLE2:
        printed = value("table2", name, "attack_success")
        found = follows(attack_success, *_row("table2", name, "clean_accuracy", "pgd_accuracy"))
        yield against(
            f"attack_success_{name}", f"{_label(name)}: attack success is 1 − PGD/clean", "4.2",
            printed.printed, found, "%",
        )  # fmt: skip
    fgsm = [
        follows(attack_success, *_row("table2", name, "clean_accuracy", "fgsm_accuracy"))
        for name in BASELINES
    ]
    yield Check(
        "fgsm_success", "FGSM succeeds on more than 99 % for both", "4.2", "> 99 %",
        " and ".join(f"{each.value:.1f} %" for each in fgsm),
        all(each.high > 99 for each in fgsm), "text and Table 2 cannot both hold",
    )  # fmt: skip
    pgd = _column("table2", "attack_success", *BASELINES)
    yield Check(
        "pgd_success", "PGD's success reaches 100 % for both", "4.2", "100 %",
        " and ".join(f"{each.printed} %" for each in pgd),
        all(round(each.value) == 100 for each in pgd),
    )  # fmt: skip
    before, after = TABLE2[:2]
    gain = follows(_less, *_column("table2", "pgd_accuracy", after, before))
    yield against("gain", "45 points of robustness gained", "4.2", "45", gain, "points")
    loss = follows(_less, *_column("table2", "clean_accuracy", before, after))
    yield against("loss", "8 points of accuracy lost", "4.2", "8", loss, "points")
    gap = follows(_less, *_column("table2", "pgd_accuracy", *ROBUST))
    yield against(
        "robustness_gap", "a gap of 6.2 points in robust accuracy", "4.2", "6.2", gap, "points",
        "text and Table 2 cannot both hold; section 5.4 repeats the table's numbers",
    )  # fmt: skip


def _interpretability() -> Iterator[Check]:
    resnet, vit = BASELINES
    ious = _column("table3", "iou_mean", resnet, vit)
    yield Check(
        "below_15", "less than 15 % of the attention overlaps with objects", "4.3", "< 15 %",
        " and ".join(f"{100 * each.value:.1f} %" for each in ious),
        all(each.value < 0.15 for each in ious), "section 6 says less than 16 %, which both are",
    )  # fmt: skip
    covered = most_coverage(ious[0].value, 0.15)
    yield Check(
        "iou_is_no_share", "an IoU of 0.152 means less than 15 % of the attention on objects",
        "4.3", "any mask", f"masks of under {100 * covered:.1f} % of the image", False,
        "IoU divides by the union: on larger masks, more of the salient pixels is on the object",
    )  # fmt: skip
    for before, after in zip(BASELINES, ROBUST, strict=True):
        gain = follows(_less, *_column("table3", "iou_mean", after, before))
        yield against(
            f"robust_iou_{after}", f"{_label(after)}: IoU up by about 0.03", "4.3", "0.03",
            gain, "",
        )  # fmt: skip
    trainings = [
        _column("table3", "iou_mean", *pair)
        for pair in (BASELINES, ROBUST, ALIGNED)
    ]  # fmt: skip
    yield Check(
        "resnet_iou_higher", "ResNet-18 has the higher IoU in all training paradigms", "4.3",
        "3 of 3",
        f"{sum(a.value > b.value for a, b in trainings)} of 3",
        all(a.value > b.value for a, b in trainings),
    )  # fmt: skip


def _alignment() -> Iterator[Check]:
    for before, after, printed, rounded in (
        (BASELINES[0], ALIGNED[0], "180", (0.15, 0.42)),
        (BASELINES[1], ALIGNED[1], "225", (0.12, 0.39)),
    ):
        more = follows(_percent_more, *_column("table3", "iou_mean", after, before))
        text = _percent_more(rounded[1], rounded[0])
        yield against(
            f"iou_gain_{after}", f"{_label(after)}: IoU up by {printed} %", "4.4", printed,
            more, "%",
            f"from the text's {rounded[0]:g} and {rounded[1]:g} it is {text:.0f} %",
        )  # fmt: skip
    for before, after, printed in zip(BASELINES, ALIGNED, ("2.7", "2.5"), strict=True):
        pair = value("table1", before, "clean_accuracy"), value("table4", after, "clean_accuracy")
        yield against(
            f"cost_{after}", f"{_label(after)}: {printed} points below the baseline", "4.4",
            printed, follows(_less, *pair), "points",
        )  # fmt: skip
    gains = [
        follows(_less, *_column("table3", "iou_mean", after, before))
        for before, after in zip(BASELINES, ALIGNED, strict=True)
    ]
    yield Check(
        "iou_up_038", "IoU ↑ 0.38 for aligned models, read as an increase", "5.2", "0.38",
        " and ".join(f"{each.value:.3f}" for each in gains),
        all(each.meets(0.38, 0.005) for each in gains),
        "read as > 0.38, with the sign lost in print, it holds for both final IoUs",
    )  # fmt: skip
    for before, after in zip(BASELINES, ALIGNED, strict=True):
        loss, iou = value("table4", after, "alignment_loss"), value("table3", before, "iou_mean")
        covered = follows(least_coverage, loss)
        # A mean of random_iou over masks of any sizes lies between these: it is concave, 0 at 0.
        least, most = TOP * covered.low, random_iou(covered.value)
        yield Check(
            f"masks_{after}",
            f"{_label(after)}: a loss of {loss.printed} and a baseline IoU of {iou.printed} with "
            "the same masks",
            "4.4", iou.printed, f"{least:.3f} to {most:.3f} for a random map",
            iou.value >= least,
            f"by equation 12 masks cover {100 * covered.value:.0f} % of the image or more, and the "
            "baseline would do worse than a random map: Tables 3 and 4 disagree",
        )  # fmt: skip


def _shift() -> Iterator[Check]:
    counts = {key: len(names) for key, names in CATEGORIES.items()}
    for name in TABLE2:
        printed = value("table5", name, "mce")
        categories = _row("table5", name, *counts)
        yield against(
            f"category_mean_{name}", f"{_label(name)}: mCE is the mean of the four categories",
            "4.5", printed.printed, follows(_mean, *categories), "ratio",
        )  # fmt: skip
        weighted = follows(functools.partial(_mean, weights=tuple(counts.values())), *categories)
        yield against(
            f"equation_14_{name}", f"{_label(name)}: mCE is the mean over corruptions (eq. 14)",
            "4.5", printed.printed, weighted, "ratio",
            "the 16 corruptions named weigh the categories 3, 4, 4 and 5: this is not eq. 14",
        )  # fmt: skip
    for before, after, printed in zip(BASELINES, ROBUST, ("0.12", "0.07"), strict=True):
        gain = follows(_less, *_column("table5", "mce", before, after))
        yield against(
            f"mce_reduction_{after}", f"{_label(after)}: mCE lower by {printed}", "4.5", printed,
            gain, "ratio",
        )  # fmt: skip
    scores = _column("table5", "mce", *BASELINES)
    yield Check(
        "mce_above", "mCE above 1.5 for both baseline models", "4.5", "> 1.5",
        " and ".join(each.printed for each in scores),
        all(each.value + each.rounding > 1.5 for each in scores),
        "text and Table 5 cannot both hold",
    )  # fmt: skip
    noise = _column("table5", "noise", *BASELINES)
    yield Check(
        "noise_above", "noise exceeds 1.6 for both", "4.5", "> 1.6",
        " and ".join(each.printed for each in noise), all(each.value > 1.6 for each in noise),
    )  # fmt: skip
    ordered = [_row("table5", name, *counts) for name in BASELINES]
    yield Check(
        "category_order", "noise is worst and digital least, for both baseline models", "4.5",
        "2 of 2", f"{sum(map(_noise_first_digital_last, ordered))} of 2",
        all(map(_noise_first_digital_last, ordered)),
    )  # fmt: skip


def _trade_offs() -> Iterator[Check]:
    before, after = TABLE2[:2]
    numbers = [
        *_column("table2", "pgd_accuracy", after, before),
        *_column("table2", "clean_accuracy", before, after),
    ]
    yield against(
        "tradeoff_ratio", "45 points for 8: a ratio of 5.6:1", "4.6", "5.6",
        follows(_quotient_of_differences, *numbers), "times",
        f"from Table 2 it is {_quotient_of_differences(*(n.value for n in numbers)):.1f}, from the "
        f"text's 45 and 8 {45 / 8:.1f}",
    )  # fmt: skip
    numbers = [
        *_column("table3", "iou_mean", ALIGNED[0], before),
        value("table1", before, "clean_accuracy"),
        value("table4", ALIGNED[0], "clean_accuracy"),
    ]
    tenfold = follows(lambda *n: 100 * _quotient_of_differences(*n), *numbers)
    yield against(
        "alignment_ratio", "0.27 of IoU for 2.7 points: a ratio of 10:1", "4.6", "10", tenfold,
        "times", "it divides hundredths of IoU by points of accuracy, so its size means nothing",
    )  # fmt: skip


def _across_tables() -> Iterator[Check]:
    for key, name, tables, models in (
        ("clean_twice", "clean accuracies of Tables 1 and 2", ("table1", "table2"), BASELINES),
        ("iou_twice", "aligned models' IoUs of Tables 3 and 4", ("table3", "table4"), ALIGNED),
    ):
        columns = ("clean_accuracy",) * 2 if key == "clean_twice" else ("iou_mean", "final_iou")
        first, second = (
            [value(table, model, column).printed for model in models]
            for table, column in zip(tables, columns, strict=True)
        )
        yield Check(
            key, f"{name} are the same", f"{TABLES[tables[0]].section}", " and ".join(first),
            " and ".join(second), first == second,
        )  # fmt: skip


def _row(table: str, row: str, *columns: str) -> list[PaperValue]:
    return [value(table, row, column) for column in columns]


def _column(table: str, column: str, *rows: str) -> list[PaperValue]:
    return [value(table, row, column) for row in rows]


def _label(name: str) -> str:
    architecture, _, training = name.partition("-")
    return f"{ARCHITECTURES[architecture]}, {training}"


def _less(first: float, second: float) -> float:
    return first - second


def _ratio(first: float, second: float) -> float:
    return first / second


def _percent_more(first: float, second: float) -> float:
    return 100 * (first / second - 1)


def _quotient_of_differences(a: float, b: float, c: float, d: float) -> float:
    return (a - b) / (c - d)


def _mean(*values: float, weights: tuple[int, ...] | None = None) -> float:
    weights = weights or (1,) * len(values)
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def _noise_first_digital_last(row: list[PaperValue]) -> bool:
    noise, blur, weather, digital = (each.value for each in row)
    return noise > max(blur, weather) and digital < min(blur, weather)
