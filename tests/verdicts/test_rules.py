"""The rule: one claim, one estimate, one protocol, and the verdict that must come out."""

import numpy as np
import pytest

from rslib.metrics.estimates import Estimate
from rslib.paper import CLAIMS
from rslib.verdicts import Protocol, Verdict, rules
from rslib.verdicts.rules import Asserted, Judgment, Measured, combine, judge

PAPER = Protocol()
WEAK = "epochs 8, paper 100"
RECIPE = Protocol(training=WEAK, weaker=WEAK)
STRONGER = Protocol(training="epochs 200, paper 100")
TO_THE_END = Protocol(training=WEAK, weaker=WEAK, converged=True)
FEWER = Protocol(images="PGD on 1,000 images, paper 10,000")
NARROW = Protocol(sizes="width 16, paper 64", training=WEAK, weaker=f"width 16, paper 64; {WEAK}")
ATTACK = Protocol(threat="pgd steps 10, paper 20")
SHAPES = Protocol(data="Shapes")

ACCURACY = Asserted("about", 45.2, "%", rounding=0.05, better=1)
UNDEFENDED = Asserted("about", 31.2, "%", rounding=0.05)
GAIN = Asserted("differs", 45.0, "points")
LOSS = Asserted("differs", -8.0, "points")
MORE = Asserted("compares", None, "points")
ALIKE = Asserted("alike", None, "points")
COST = Asserted("below", 2.7, "points")
SUCCESS = Asserted("above", 99.0, "%", better=-1)
SIZE = Asserted("about", 22.1e6, "count", rounding=5e4, sized=True)

ONE_SEED, THREE_SEEDS = Measured(methods=True), Measured(methods=True, seeds=3)
FLOORS = Measured(methods=True, seeds=3, levels=(0.0, 0.0))


def verdict(claimed, ours, protocol=PAPER, how=None):
    return judge(claimed, ours, protocol, how).verdict


def est(value, low=None, high=None, n=10_000):
    return Estimate(value, low, high, n)


R, A, D = Verdict.REPRODUCED, Verdict.REACHED, Verdict.DIRECTION
S, F, N = Verdict.SHORT, Verdict.FAILED, Verdict.INCOMPARABLE


@pytest.mark.parametrize(
    ("claimed", "ours", "protocol", "how", "expected", "said"),
    [
        # A number, by the paper's protocol, by another recipe, with other networks.
        (ACCURACY, est(45.9, 44.9, 46.9), PAPER, None, R, "agrees"),
        (ACCURACY, est(42.0, 41.0, 43.0), PAPER, None, F, "off by \N{MINUS SIGN}3.2"),
        (ACCURACY, est(45.9, 44.9, 46.9), RECIPE, None, A, "epochs 8, paper 100"),
        (ACCURACY, est(48.0, 47.0, 49.0), RECIPE, None, A, "better"),
        (ACCURACY, est(42.0, 41.0, 43.0), RECIPE, None, S, "epochs 8, paper 100"),
        (ACCURACY, est(42.0, 41.0, 43.0), TO_THE_END, None, S, "off by"),  # no comparison
        (ACCURACY, est(42.0, 41.0, 43.0), STRONGER, None, N, "not on the side of a weaker"),
        (ACCURACY, est(42.0, 41.0, 43.0), NARROW, None, S, "width 16, paper 64"),
        (ACCURACY, est(45.2, 44.2, 46.2), NARROW, None, N, "other networks"),
        (ACCURACY, est(48.0, 47.0, 49.0), NARROW, None, N, "other networks"),
        (UNDEFENDED, est(10.0, 9.0, 11.0), RECIPE, None, N, "not on the side of a weaker"),
        (ACCURACY, est(40.0, 30.0, 50.0), FEWER, None, N, "too few images to tell"),
        (ACCURACY, est(40.0, 38.0, 42.0), FEWER, None, F, "PGD on 1,000 images, paper 10,000"),
        # What no training changes.
        (SIZE, est(21.4e6), RECIPE, None, F, "off by"),
        (Asserted("above", 93.0, "%", sized=True), est(90, 89, 91), RECIPE, None, S, "other side"),
        # A comparison: the effect is there, absent, reversed.
        (MORE, est(1.0, 0.1, 1.9), PAPER, THREE_SEEDS, R, "3 seeds"),
        (MORE, est(1.0, 0.1, 1.9), PAPER, ONE_SEED, D, "one seed"),
        (MORE, est(1.0, 0.1, 1.9), RECIPE, THREE_SEEDS, A, "3 seeds"),
        (MORE, est(1.0, -0.1, 2.1), PAPER, THREE_SEEDS, F, "the interval holds 0"),
        (MORE, est(1.0, -0.1, 2.1), FEWER, THREE_SEEDS, N, "too few images to tell"),
        (MORE, est(-1.0, -2.0, -0.1), RECIPE, ONE_SEED, S, "clearly on the other side"),
        (MORE, est(-1.0, -2.0, -0.1), TO_THE_END, THREE_SEEDS, F, "had converged"),
        (MORE, est(-1.0, -2.0, -0.1), STRONGER, THREE_SEEDS, N, "another recipe"),
        (MORE, est(-1.0, -2.0, -0.1), ATTACK, THREE_SEEDS, N, "pgd steps 10, paper 20"),
        # Sizes far from the claimed one.
        (GAIN, est(1.0, 0.5, 1.5), RECIPE, THREE_SEEDS, S, "0.022 times the size"),
        (GAIN, est(1.0, 0.5, 1.5), TO_THE_END, THREE_SEEDS, F, "0.022 times the size"),
        (LOSS, est(-30.0, -31.0, -29.0), RECIPE, THREE_SEEDS, D, "no support for the number"),
        (LOSS, est(-16.0, -17.0, -15.0), RECIPE, THREE_SEEDS, D, "2 times the size"),
        # Bounds: too dear is weaker, too hard to attack is not.
        (COST, est(4.0, 3.5, 4.5), RECIPE, THREE_SEEDS, S, "clearly on the other side"),
        (SUCCESS, est(90.0, 89.0, 91.0), RECIPE, None, N, "not on the side of a weaker"),
        # No difference, and two floors.
        (ALIKE, est(0.1, -0.4, 0.6), PAPER, THREE_SEEDS, R, "would have been seen: 0.71"),
        (ALIKE, est(0.0, -0.1, 0.1), PAPER, FLOORS, N, "0.0 % against 0.0 %"),
        (COST, est(0.0, -0.1, 0.1), PAPER, FLOORS, N, "nothing is left to compare"),
        (GAIN, est(0.0, -0.1, 0.1), RECIPE, FLOORS, S, "the interval holds 0"),  # no support
        (ALIKE, est(3.0, 2.0, 4.0), RECIPE, THREE_SEEDS, N, "there is a difference"),
        (ALIKE, est(3.0, 2.0, 4.0), TO_THE_END, THREE_SEEDS, F, "there is a difference"),
    ],
)
def test_known_truths(claimed, ours, protocol, how, expected, said):
    found = judge(claimed, ours, protocol, how)
    assert found.verdict is expected
    assert said in found.why


def test_every_outcome_is_among_the_known_truths():
    (mark,) = test_known_truths.pytestmark
    cases = mark.args[1]
    assert len(cases) >= 20
    assert {case[4] for case in cases} == {*Verdict} - {Verdict.UNTESTABLE}


def test_nothing_is_not_reproduced_for_a_weaker_training_alone():
    """Whatever the number: only structure and converged comparisons may fail by a weaker recipe."""
    for protocol in (RECIPE, NARROW, STRONGER):
        for claimed in (ACCURACY, UNDEFENDED, GAIN, LOSS, MORE, ALIKE, COST, SUCCESS):
            for value in np.linspace(-100, 100, 81):
                for reach in (0.1, 3.0, 30.0):
                    ours = est(value, value - reach, value + reach)
                    assert verdict(claimed, ours, protocol, ONE_SEED) is not F


def test_two_seeds_are_as_good_as_one():
    two = Measured(methods=True, seeds=2)
    assert judge(MORE, est(1.0, 0.1, 1.9), PAPER, two) == Judgment(
        D, "the interval is beyond zero (2 seeds)"
    )


def test_what_was_tried_can_only_fail_to_refute():
    claimed = Asserted("below", 0.0, "points", refutable=True)
    assert verdict(claimed, est(-2.0, -3.0, -1.0), PAPER, THREE_SEEDS) is D
    assert verdict(claimed, est(2.0, 1.0, 3.0), PAPER, THREE_SEEDS) is F


def test_the_most_favorable_reading_counts_and_is_named():
    good, bad = Judgment(D, "holds"), Judgment(F, "does not")
    found = rules.favorable({"as written": bad, "standardized": good})
    assert found == Judgment(D, "read as standardized: holds")
    assert rules.favorable({"as written": bad}).verdict is F
    with pytest.raises(ValueError, match="at least one reading"):
        rules.favorable({})


def test_references_must_agree_and_all_be_there():
    good, bad = Judgment(D, "holds"), Judgment(F, "does not")
    missing = Judgment(N, "needs a second reference")
    assert combine([("", good), ("", bad)], "references") == Judgment(N, "the references disagree")
    assert combine([("", good), ("", missing)], "references") == missing
    assert combine([("", bad), ("", missing)], "references") == missing


def test_a_part_that_says_nothing_is_left_out_and_named():
    floor, good = Judgment(N, "0.0 % against 0.0 %", empty=True), Judgment(D, "holds")
    assert combine([("PGD", floor), ("FGSM", good)]) == Judgment(D, "holds; PGD says nothing")
    assert combine([("PGD", floor)]) == floor


@pytest.mark.parametrize(
    ("ours", "protocol", "expected"),
    [
        (est(46.24, 46, 46.5), PAPER, R),  # a point and the rounding away
        (est(46.3, 46, 46.5), PAPER, F),
        (est(48.0, 47.0, 49.0), PAPER, F),  # better is not the same number
        (est(43.0, 40.1, 45.9), FEWER, A),  # the interval contains it
        (est(45.2, 44.2, 46.2), ATTACK, N),
        (est(45.2, 44.2, 46.2), SHAPES, N),
        (None, PAPER, N),
        (est(float("nan")), PAPER, N),
    ],
)
def test_numbers(ours, protocol, expected):
    assert verdict(ACCURACY, ours, protocol) is expected


def test_a_lower_calibration_error_is_the_better_one():
    claimed = Asserted("about", 0.032, "", rounding=0.0005, better=-1)
    assert verdict(claimed, est(0.010, 0.008, 0.012), RECIPE) is A
    assert verdict(claimed, est(0.060, 0.055, 0.065), RECIPE) is S
    assert verdict(claimed, est(0.042, 0.040, 0.044)) is R


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
        (GAIN, est(11.0, 10.0, 12.0), NARROW, Verdict.SHORT),  # under a quarter
        (GAIN, est(11.5, 10.0, 12.0), NARROW, Verdict.DIRECTION),
        (GAIN, est(20.0, -1.0, 41.0), NARROW, Verdict.SHORT),  # indistinguishable
        (GAIN, est(-3.0, -4.0, -2.0), NARROW, Verdict.SHORT),
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
        found = verdict(claimed, ours, protocol)
        if holds:
            assert found is expected
        elif protocol is PAPER:
            assert found is Verdict.FAILED
        else:
            assert found is (N if relation == "nearly" else S)
    assert verdict(claimed, ours, ATTACK) is (Verdict.DIRECTION if holds else N)
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
    assert judge(ACCURACY, est(45.2), FEWER).why.endswith("(PGD on 1,000 images, paper 10,000)")
    narrow = judge(GAIN, est(40, 39, 41), NARROW).why
    assert narrow.endswith("(width 16, paper 64; epochs 8, paper 100; otherwise another recipe)")


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
