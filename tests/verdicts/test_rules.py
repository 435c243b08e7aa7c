"""The rule: one claim, one estimate, one protocol, and the verdict that must come out."""

import pytest

from rslib.metrics.estimates import Estimate
from rslib.paper import CLAIMS
from rslib.verdicts import Protocol, Verdict, rules
from rslib.verdicts.rules import Asserted, Judgment, combine, judge

PAPER = Protocol()
RECIPE = Protocol(training="recipe (epochs)")
FEWER = Protocol(images="PGD on 1,000 images")
NARROW = Protocol(sizes="ResNet-18: width 16", training="recipe (epochs)")
ATTACK = Protocol(threat="pgd steps 10")
SHAPES = Protocol(data="Shapes")

ACCURACY = Asserted("about", 45.2, "%", rounding=0.05, better=1)
GAIN = Asserted("differs", 45.0, "points")
LOSS = Asserted("differs", -8.0, "points")


def verdict(claimed, ours, protocol=PAPER):
    return judge(claimed, ours, protocol).verdict


def est(value, low=None, high=None, n=10_000):
    return Estimate(value, low, high, n)


@pytest.mark.parametrize(
    ("ours", "protocol", "expected"),
    [
        (est(45.9, 44.9, 46.9), PAPER, Verdict.REPRODUCED),
        (est(46.24, 46, 46.5), PAPER, Verdict.REPRODUCED),  # a point and the rounding away
        (est(46.3, 46, 46.5), PAPER, Verdict.FAILED),
        (est(48.0, 47.0, 49.0), PAPER, Verdict.FAILED),  # better is not the same number
        (est(45.9, 44.9, 46.9), RECIPE, Verdict.REACHED),
        (est(48.0, 47.0, 49.0), RECIPE, Verdict.REACHED),  # better
        (est(42.0, 41.0, 43.0), RECIPE, Verdict.FAILED),
        (est(43.0, 40.1, 45.9), FEWER, Verdict.REACHED),  # the interval contains it
        (est(40.0, 30.0, 50.0), FEWER, Verdict.FAILED),  # so would a very wide one
        (est(45.2, 44.2, 46.2), NARROW, Verdict.INCOMPARABLE),
        (est(45.2, 44.2, 46.2), ATTACK, Verdict.INCOMPARABLE),
        (est(45.2, 44.2, 46.2), SHAPES, Verdict.INCOMPARABLE),
        (None, PAPER, Verdict.INCOMPARABLE),
        (est(float("nan")), PAPER, Verdict.INCOMPARABLE),
    ],
)
def test_numbers(ours, protocol, expected):
    assert verdict(ACCURACY, ours, protocol) is expected


def test_a_lower_calibration_error_is_the_better_one():
    claimed = Asserted("about", 0.032, "", rounding=0.0005, better=-1)
    assert verdict(claimed, est(0.010, 0.008, 0.012), RECIPE) is Verdict.REACHED
    assert verdict(claimed, est(0.060, 0.055, 0.065), RECIPE) is Verdict.FAILED
    assert verdict(claimed, est(0.042, 0.040, 0.044)) is Verdict.REPRODUCED


@pytest.mark.parametrize("scale", ["masks", "reference", "hardware"])
def test_numbers_on_a_scale_that_is_not_published_do_not_compare(scale):
    found = judge(Asserted("about", 0.15, "", scale=scale), est(0.15), PAPER)
    assert found == Judgment(Verdict.INCOMPARABLE, rules.UNPUBLISHED[scale])
    bound = Asserted("below", 0.16, "", scale=scale)
    assert verdict(bound, est(0.1)) is Verdict.INCOMPARABLE


@pytest.mark.parametrize(
    ("claimed", "ours", "protocol", "expected"),
    [
        (GAIN, est(45.4, 44.4, 46.4), PAPER, Verdict.REPRODUCED),
        (GAIN, est(30.0, 29.0, 31.0), PAPER, Verdict.DIRECTION),  # the size does not agree
        (GAIN, est(45.4, 44.4, 46.4), RECIPE, Verdict.REACHED),
        (GAIN, est(45.4, 44.4, 46.4), NARROW, Verdict.DIRECTION),
        (GAIN, est(11.0, 10.0, 12.0), NARROW, Verdict.FAILED),  # under a quarter
        (GAIN, est(11.5, 10.0, 12.0), NARROW, Verdict.DIRECTION),
        (GAIN, est(20.0, -1.0, 41.0), NARROW, Verdict.FAILED),  # indistinguishable
        (GAIN, est(-3.0, -4.0, -2.0), NARROW, Verdict.FAILED),
        (LOSS, est(-8.5, -9.0, -8.0), PAPER, Verdict.REPRODUCED),
        (LOSS, est(2.0, 1.0, 3.0), PAPER, Verdict.FAILED),
        (LOSS, est(-10.0, -11.0, -9.0), NARROW, Verdict.DIRECTION),
    ],
)
def test_differences(claimed, ours, protocol, expected):
    assert verdict(claimed, ours, protocol) is expected


def test_a_quotient_differs_from_one():
    claimed = Asserted("differs", 0.92, "ratio", neutral=1.0)
    assert verdict(claimed, est(0.90, 0.88, 0.92)) is Verdict.REPRODUCED
    assert verdict(claimed, est(0.60, 0.58, 0.62)) is Verdict.DIRECTION
    assert verdict(claimed, est(0.99, 0.985, 0.995)) is Verdict.FAILED  # an eighth of the effect
    assert verdict(claimed, est(0.95, 0.89, 1.01)) is Verdict.FAILED
    assert verdict(claimed, est(1.20, 1.15, 1.25)) is Verdict.FAILED


def test_overlap_gains_compare_in_direction_at_most():
    claimed = Asserted("differs", 0.27, "", scale="masks")
    assert verdict(claimed, est(0.27, 0.26, 0.28)) is Verdict.DIRECTION
    trifle = judge(claimed, est(0.003, 0.002, 0.004), PAPER)
    assert trifle.verdict is Verdict.FAILED
    assert "0.011 times the size" in trifle.why


@pytest.mark.parametrize(
    ("relation", "value", "ours", "holds"),
    [
        ("below", 0.05, est(0.03, 0.02, 0.04), True),
        ("below", 0.05, est(0.045, 0.035, 0.055), False),
        ("below", 0.05, est(0.07, 0.06, 0.08), False),
        ("above", 99.0, est(99.8, 99.5, 99.9), True),
        ("above", 99.0, est(98.5, 98.0, 99.2), False),
        ("nearly", 0.0, est(0.0, 0.0, 0.4), True),
        ("nearly", 0.0, est(0.5, 0.2, 1.2), False),
        ("nearly", 100.0, est(100.0, 99.5, 100.0), True),
        ("compares", None, est(1.0, 0.1, 1.9), True),
        ("compares", None, est(1.0, -0.1, 2.1), False),
        ("compares", None, est(-1.0, -2.0, -0.1), False),
        ("below", 2.7, est(1.1), True),  # without an interval, the number itself
    ],
)
def test_statements_about_any_network(relation, value, ours, holds):
    claimed = Asserted(relation, value, "%")
    best = {PAPER: Verdict.REPRODUCED, RECIPE: Verdict.REACHED, NARROW: Verdict.DIRECTION}
    for protocol, expected in best.items():
        assert verdict(claimed, ours, protocol) is (expected if holds else Verdict.FAILED)
    assert verdict(claimed, ours, ATTACK) in (Verdict.DIRECTION, Verdict.FAILED)
    assert verdict(claimed, ours, SHAPES) is Verdict.INCOMPARABLE


def test_no_difference_needs_an_interval_within_the_tolerance():
    claimed = Asserted("alike", None, "points")
    assert verdict(claimed, est(0.1, -0.4, 0.6)) is Verdict.REPRODUCED
    assert verdict(claimed, est(0.4, 0.2, 0.6)) is Verdict.REPRODUCED  # real and negligible
    assert verdict(claimed, est(3.0, 1.5, 4.5)) is Verdict.FAILED
    assert verdict(claimed, est(0.5, -2.0, 3.0)) is Verdict.INCOMPARABLE  # cannot tell


def test_claims_about_the_networks_described_need_them():
    claimed = Asserted("about", 2.0, "ratio", sized=True)
    assert verdict(claimed, est(1.92), NARROW) is Verdict.INCOMPARABLE
    assert verdict(claimed, est(1.92), RECIPE) is Verdict.REACHED
    assert verdict(claimed, est(1.85)) is Verdict.FAILED


def test_untestable_claims_stay_so_on_any_data():
    claimed = Asserted("untestable", None, "", why="nothing is said")
    for protocol in (PAPER, SHAPES, NARROW):
        assert judge(claimed, None, protocol) == Judgment(Verdict.UNTESTABLE, "nothing is said")


def test_reproduced_says_nothing_differs_and_the_rest_says_what():
    assert "(" not in judge(ACCURACY, est(45.2), PAPER).why
    assert judge(ACCURACY, est(45.2), FEWER).why.endswith("(PGD on 1,000 images)")
    assert judge(GAIN, est(40, 39, 41), NARROW).why.endswith("(other networks, another recipe)")


def test_a_claim_has_its_weakest_parts_verdict():
    good, bad = Judgment(Verdict.DIRECTION, "holds"), Judgment(Verdict.FAILED, "does not")
    unknown = Judgment(Verdict.INCOMPARABLE, "not measured")
    assert combine([("a", good), ("b", good)]) == good
    assert combine([("a", good), ("b", bad)]) == Judgment(Verdict.FAILED, "b: does not")
    assert combine([("a", unknown), ("b", bad)]).verdict is Verdict.FAILED
    assert combine([("a", good), ("b", unknown)]).verdict is Verdict.INCOMPARABLE


def test_masks_that_disagree_decide_nothing():
    good, bad = Judgment(Verdict.DIRECTION, "holds"), Judgment(Verdict.FAILED, "does not")
    split = [("a", good), ("a", bad)]
    assert combine(split).verdict is Verdict.INCOMPARABLE
    assert combine([("a", bad), ("a", bad)]) == bad
    assert combine([*split, ("b", bad)]) == Judgment(Verdict.FAILED, "b: does not")


def test_a_number_without_a_value_is_an_error():
    with pytest.raises(ValueError, match="'about' needs a number"):
        judge(Asserted("about", None, "%"), est(1.0), PAPER)


def test_every_claim_has_a_tolerance():
    for claim in CLAIMS.values():
        assert claim.unit in {*rules.TOLERANCE, "ratio"}
