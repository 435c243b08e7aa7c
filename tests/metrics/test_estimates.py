"""An accuracy carried over from few images to many: by hand, and its coverage over draws."""

import math

import numpy as np
import pytest

from rslib.metrics.estimates import extended
from tests.helpers.known_run import wilson


def test_the_gap_on_few_images_is_taken_from_the_accuracy_on_all():
    # 12 of 20 right under the cheap attack; of the 8 also under the dear one, 6 against 4.
    broad = np.arange(20) < 12
    first = np.arange(8) < 6
    second = np.arange(8) < 4
    found = extended(broad, first, second)
    assert found.value == pytest.approx(60 - 25) and found.n == 20
    low, high = wilson(12, 20)
    spread = 1.959963984540054 * math.sqrt(2 + 1 - 4 / 10) / 10
    below, above = 20 - 100 * spread, 20 + 100 * spread
    # P and D on the 8: means 3/4 and 1/4, product 1/4: covariance 1/16, variances 3/16 each.
    shared = math.sqrt(8 / 20) / 3
    for end, one, other in (
        (found.low, 60 - low, above - 25),
        (found.high, high - 60, 25 - below),
    ):
        reach = math.sqrt(one**2 + other**2 - 2 * shared * one * other)
        assert abs(end - 35) == pytest.approx(reach)


def test_no_further_images_leave_the_accuracy_as_it_is():
    found = extended([True] * 9 + [False], [True] * 9 + [False], [True] * 3 + [False] * 7)
    assert (found.value, found.method) == (pytest.approx(30), "Wilson")
    assert (found.low, found.high) == pytest.approx(wilson(3, 10))


def test_attacks_that_never_differ_keep_an_interval():
    for right in (0, 50, 100):
        broad = np.arange(100) < right
        found = extended(broad, broad[::4], broad[::4])
        assert found.value == right
        assert 2 < found.high - found.low and 0 <= found.low <= right <= found.high <= 100


@pytest.mark.parametrize(
    ("broad", "first", "second"),
    [([True], [True] * 2, [True] * 2), ([True] * 3, [True], [True] * 2), ([True], [], [])],
)
def test_images_that_do_not_fit_are_refused(broad, first, second):
    with pytest.raises(ValueError, match="both tests are of the same images, among all"):
        extended(broad, first, second)


@pytest.mark.parametrize(
    ("n", "m", "right", "gap"),
    [
        (1000, 250, 0.42, 0.04),
        (1000, 250, 0.42, 0.0),
        (1000, 250, 0.9, 0.9),
        (1000, 250, 0.05, 0.03),
        (400, 200, 0.42, 0.15),
        (400, 390, 0.5, 0.3),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(n, m, right, gap):
    draws, held, alone = np.random.default_rng(0), 0, 0.0
    for _ in range(400):
        chance = draws.random(n)
        cheap, dear = chance < right, chance < right - gap
        found = extended(cheap, cheap[:m], dear[:m])
        held += found.low - 1e-9 <= 100 * (right - gap) <= found.high + 1e-9
        alone += found.high - found.low
    assert 0.92 <= held / 400  # 3 standard deviations of 400 draws below 95 %
    if 0 < right - gap:
        assert held / 400 <= 0.985
    # Where the attacks differ little, narrower than the raw number on the few images.
    if gap <= 0.04 and right > 0.1:
        low, high = wilson(round(m * (right - gap)), m)
        assert alone / 400 < 0.7 * (high - low)
