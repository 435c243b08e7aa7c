"""Mean corruption error: values by hand, and clear refusals."""

import numpy as np
import pytest

from rslib.metrics import mean_corruption_error
from rslib.metrics.corruption_error import corruption_errors


class TestMeanCorruptionError:
    reference = {"fog": [0.1, 0.2, 0.3, 0.4, 0.5], "snow": [0.2, 0.2, 0.2, 0.2, 0.2]}

    def test_by_hand(self):
        errors = {"fog": [0.1, 0.1, 0.1, 0.2, 0.25], "snow": [0.1, 0.2, 0.3, 0.4, 0.5]}
        # 0.75 / 1.5 = 0.5 and 1.5 / 1.0 = 1.5; sums first, so a mean of ratios would differ.
        assert mean_corruption_error(errors, self.reference) == pytest.approx(1.0)
        assert mean_corruption_error(
            {**errors, "snow": [0.0] * 5}, self.reference
        ) == pytest.approx(0.25)

    def test_the_reference_scores_exactly_one(self):
        assert mean_corruption_error(self.reference, self.reference) == 1.0
        uneven = {f"c{k}": [k / 7 + s / 13 for s in range(5)] for k in range(1, 20)}
        assert mean_corruption_error(uneven, uneven) == 1.0

    def test_units_cancel_and_order_does_not_matter(self):
        errors = {"snow": [0.3] * 5, "fog": [0.15] * 5}
        percent = [
            {k: [100 * e for e in v] for k, v in t.items()} for t in (errors, self.reference)
        ]
        assert mean_corruption_error(errors, self.reference) == pytest.approx(
            mean_corruption_error(*percent)
        )

    @pytest.mark.parametrize(
        ("errors", "message"),
        [
            ({"fog": [0.1] * 5}, r"missing from errors \['snow'\]"),
            ({"fog": [0.1] * 5, "snow": [0.1] * 5, "rain": [0.1] * 5}, r"reference \['rain'\]"),
            ({"fog": [0.1] * 4, "snow": [0.1] * 5}, r"errors\['fog'\] must be 5"),
            ({"fog": [-0.1] * 5, "snow": [0.1] * 5}, "non-negative"),
            ({"fog": [0.1, 0.1, 0.1, 0.1, -0.1], "snow": [0.1] * 5}, "non-negative"),
            ({"fog": [float("nan")] * 5, "snow": [0.1] * 5}, "finite"),
        ],
    )
    def test_refusals(self, errors, message):
        with pytest.raises(ValueError, match=message):
            mean_corruption_error(errors, self.reference)

    def test_a_reference_without_errors(self):
        with pytest.raises(ValueError, match=r"reference\['fog'\] is zero"):
            mean_corruption_error({"fog": [0.1] * 5}, {"fog": [0.0] * 5})

    def test_nothing_to_average(self):
        with pytest.raises(ValueError, match="at least one"):
            mean_corruption_error({}, {})


@pytest.mark.parametrize("reference", [(0.1 + 0.2) - 0.3, -0.1])
def test_a_reference_that_is_not_above_zero_defines_nothing(reference):
    assert np.isnan(corruption_errors(np.full((2, 5), 0.1), np.full((2, 5), reference))).all()
