"""Under which corruptions two models clearly differ, against what can be counted by hand."""

import itertools

import numpy as np
import pytest

from rslib.corruptions import CATEGORIES
from rslib.metrics.bootstrap import sign_flips
from rslib.report import tables
from rslib.report.tables.corruption import clearly_changed
from tests.helpers.corruption_records import add_corruptions
from tests.helpers.known_run import RESNET, ROBUST_RESNET, make_run

NOISE = CATEGORIES["noise"]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, models={RESNET: (8, 1, 0, 0), ROBUST_RESNET: (8, 4, 4, 4)})


def test_each_interval_by_itself_finds_what_all_nineteen_together_do_not(run):
    # Under noise nine images are wrong at some severities more, and none at fewer: p = 2/2^9 of one
    # test, and 19 times that, above 5 %, of the nineteen.
    add_corruptions(run, ROBUST_RESNET, wrong=lambda c, s: np.arange(10) < s)
    add_corruptions(run, RESNET, wrong=lambda c, s: np.arange(10) < s * (2 if c in NOISE else 1))
    alone = tables.corruption_difference_table(run, [(ROBUST_RESNET, RESNET)])
    assert set(alone[alone.high < 0].quantity) == {*NOISE, "all"}
    assert clearly_changed(run, ROBUST_RESNET, RESNET) == (0, 0)


@pytest.mark.slow
def test_what_is_clear_is_counted_by_its_sign(run):
    # All ten images differ, always the same way: 2/2^10 of one test, 19 times that is 3.7 %.
    wrong = np.ones(10, bool)
    add_corruptions(run, RESNET, wrong=lambda c, s: wrong if c in NOISE else ~wrong)
    add_corruptions(run, ROBUST_RESNET, wrong=lambda c, s: wrong if c == "fog" else ~wrong)
    assert clearly_changed(run, ROBUST_RESNET, RESNET) == (len(NOISE), 1)
    assert clearly_changed(run, RESNET, ROBUST_RESNET) == (1, len(NOISE))


def test_sign_flips_are_those_that_could_be_listed():
    gaps = np.random.default_rng(1).integers(-2, 5, size=(9, 4))
    signs = np.array(list(itertools.product((-1, 1), repeat=9)))
    listed = (np.abs(signs @ gaps) >= np.abs(gaps.sum(0))).mean(0)
    assert sign_flips(gaps) == pytest.approx(listed, abs=0.02)
    assert sign_flips(gaps).tolist() == sign_flips(gaps).tolist() == sign_flips(-gaps).tolist()


def test_no_difference_is_none():
    assert sign_flips(np.zeros((5, 2), int)).tolist() == [1, 1]
    assert sign_flips(np.ones((200, 1), int)).tolist() == [1 / 10_000]
