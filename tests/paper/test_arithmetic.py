"""The paper's arithmetic, each check against values worked out by hand."""

from decimal import Decimal

import numpy as np
import pytest

from rslib import paper
from rslib.paper import consistency
from rslib.paper.tables import rounding

CHECKS = {check.name: check for check in paper.arithmetic()}

# What a reader with a pocket calculator finds.
CONTRADICTIONS = {
    "corruption_count",  # 3 + 4 + 4 + 5 = 16 names for 19
    "patch_count",  # 16 * 16 = 256
    "parameters_vit_small",
    "fgsm_success",  # 1 - 31.2 / 94.8 = 67.1 %
    "robustness_gap",  # 45.2 - 38.7 = 6.5
    "below_15",  # 0.152
    "iou_is_no_share",
    "iou_gain_vit_small-aligned",  # 0.387 / 0.118 = 3.28
    "iou_up_038",  # 0.423 - 0.152 = 0.271
    "masks_resnet18-aligned",
    "masks_vit_small-aligned",
    "mce_above",  # 1.49
    *(f"equation_14_{name}" for name in paper.TABLES["table5"].rows),
}


def test_names_are_unique_and_sections_are_told():
    assert len(CHECKS) == len(paper.arithmetic())
    assert all(check.section[0].isdigit() for check in CHECKS.values())


def test_exactly_the_known_contradictions_are_found():
    assert {name for name, check in CHECKS.items() if not check.agrees} == CONTRADICTIONS
    for name in CONTRADICTIONS:
        assert CHECKS[name].consequence


@pytest.mark.parametrize(
    ("name", "printed", "found"),
    [
        ("corruption_count", "19", "16"),
        ("patch_count", "16", "256"),
        ("budget", "3.1 %", "3.14 %"),
        ("accuracy_gap", "3.6 points", "3.6 points"),
        ("training_time", "24 %", "24.0 %"),
        ("twice", "2", "1.97"),
        ("parameters_resnet18", "11.2M", "11,173,962"),
        ("parameters_vit_small", "22.1M", "21,402,250"),
        ("attack_success_resnet18-adversarial", "48.0 %", "48.0 %"),
        ("fgsm_success", "> 99 %", "67.1 % and 68.5 %"),
        ("gain", "45 points", "45.1 points"),
        ("loss", "8 points", "7.9 points"),
        ("robustness_gap", "6.2 points", "6.5 points"),
        ("iou_gain_resnet18-aligned", "180 %", "178.3 %"),
        ("iou_gain_vit_small-aligned", "225 %", "228.0 %"),
        ("category_mean_resnet18-standard", "1.49", "1.485"),
        ("equation_14_resnet18-standard", "1.49", "1.463"),
        ("mce_reduction_vit_small-adversarial", "0.07", "0.070"),
        ("tradeoff_ratio", "5.6", "5.71"),
        ("alignment_ratio", "10", "10.04"),
    ],
)
def test_what_follows_is_what_a_pocket_calculator_says(name, printed, found):
    assert (CHECKS[name].printed, CHECKS[name].follows) == (printed, found)


def test_numbers_in_the_consequences_follow_as_well():
    hours = [
        paper.value("table1", f"{a}-standard", "training_hours") for a in ("vit_small", "resnet18")
    ]
    longer = consistency.follows(lambda vit, resnet: 100 * (vit / resnet - 1), *hours)
    told = {name: check.consequence for name, check in CHECKS.items()}
    assert f"{longer.low:.0f} to {longer.high:.0f} %" in told["training_time"]
    assert f"{consistency.parameter_count('vit_small', patch=8):,}" in told["parameters_vit_small"]
    assert told["iou_gain_resnet18-aligned"].endswith(f"{100 * (0.42 / 0.15 - 1):.0f} %")
    assert told["iou_gain_vit_small-aligned"].endswith(f"{100 * (0.39 / 0.12 - 1):.0f} %")
    table2 = (45.2 - 0.1) / (94.8 - 86.9)
    assert f"it is {table2:.1f}, from the text's 45 and 8 {45 / 8:.1f}" in told["tradeoff_ratio"]
    for model, loss in (("resnet18-aligned", 0.089), ("vit_small-aligned", 0.095)):
        assert (
            f"{100 * consistency.least_coverage(loss):.0f} % of the image" in told[f"masks_{model}"]
        )


@pytest.mark.parametrize("name", paper.TABLES["table2"].rows)
def test_numbers_of_tables_are_cited_as_they_are_printed(name):
    printed = paper.value("table2", name, "attack_success").printed
    assert CHECKS[f"attack_success_{name}"].printed == f"{printed} %"
    mce = paper.value("table5", name, "mce").printed
    assert CHECKS[f"category_mean_{name}"].printed == CHECKS[f"equation_14_{name}"].printed == mce


@pytest.mark.parametrize(
    ("printed", "holds"), [("6.2", False), ("6.5", True), ("< 6.4", False), ("> 6.5", True)]
)
def test_a_range_satisfies_a_number_or_a_bound(printed, holds):
    assert consistency.Range(6.5, 6.4, 6.6).satisfies(printed) is holds


def test_a_range_comes_from_the_corners_of_rounding():
    a = paper.value("table2", "resnet18-adversarial", "clean_accuracy")  # 86.9
    b = paper.value("table2", "resnet18-adversarial", "pgd_accuracy")  # 45.2
    found = consistency.follows(lambda x, y: x - y, a, b)
    assert (found.value, found.low, found.high) == pytest.approx((41.7, 41.6, 41.8))
    assert found.satisfies("41.8")
    assert not found.satisfies("41.9")


@pytest.mark.parametrize(("printed", "half"), [("45", 0.5), ("6.2", 0.05), ("0.030", 0.0005)])
def test_rounding_is_half_of_the_last_digit(printed, half):
    assert rounding(Decimal(printed)) == pytest.approx(half)


def test_random_iou_against_random_pixels():
    generator = np.random.default_rng(0)
    salient = np.zeros(100_000, bool)
    salient[:30_000] = True
    mask = generator.random(100_000) < 0.24
    drawn = (salient & mask).sum() / (salient | mask).sum()
    assert consistency.random_iou(0.24) == pytest.approx(drawn, abs=0.005)
    assert consistency.random_iou(0.24) == pytest.approx(0.154, abs=0.001)


def test_coverage_that_an_iou_allows_against_counted_pixels():
    # 30 salient pixels of 100 and a mask of 20, 5 shared: IoU 5/45, and 5/30 of the salient inside.
    assert consistency.most_coverage(5 / 45, 5 / 30) == pytest.approx(0.20)


def test_loss_below_what_masks_allow_against_a_direct_search():
    """The smallest mean squared error of a map of at least one half, for a mask of share m."""
    for covered in (0.2, 0.644, 0.9):
        mask = np.arange(1000) < 1000 * covered
        best = np.where(mask, 1.0, 0.5)  # no map of at least one half comes nearer
        least = ((best - mask) ** 2).mean()
        assert consistency.least_coverage(least) == pytest.approx(covered)
    assert consistency.least_coverage(0.089) == pytest.approx(0.644)


def test_parameters_are_counted_without_allocating():
    """ViT, by hand: patches, positions, class token, 12 blocks, norm, classifier."""
    dim, tokens = 384, 256
    block = 2 * 2 * dim + (3 * dim * dim + 3 * dim) + (dim * dim + dim) + (8 * dim * dim + 5 * dim)
    whole = 12 * block + (3 * 4 * dim + dim) + (tokens + 1) * dim + dim + 2 * dim + 10 * dim + 10
    assert consistency.parameter_count("vit_small") == whole
