"""The bootstrap: against theory, seeded, and with clear refusals."""

import numpy as np
import pytest
import torch

from rslib.metrics import bootstrap_interval, expected_calibration_error
from rslib.metrics.bootstrap import resampled, resampled_means
from tests.helpers.known_run import wilson


class TestBootstrapInterval:
    def test_mean_close_to_wilson(self):
        values = np.repeat([0, 1], [200, 300])
        assert bootstrap_interval(values) == pytest.approx(
            np.array(wilson(300, 500)) / 100, abs=0.01
        )

    def test_seeded(self):
        values = np.arange(50.0)
        assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
        assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)

    def test_constant_values_have_no_spread(self):
        assert bootstrap_interval([0.25] * 10) == (0.25, 0.25)

    def test_arrays_are_resampled_together(self):
        # The two columns always differ by 1, unless images were drawn apart.
        a = np.arange(30.0)
        low, high = bootstrap_interval((a, a + 1), statistic=lambda x, y: float((y - x).mean()))
        assert low == high == 1

    def test_calibration_error(self):
        generator = torch.Generator().manual_seed(0)
        probabilities = torch.randn(200, 3, generator=generator).mul(2).softmax(1)
        labels = torch.randint(3, (200,), generator=generator)
        error = expected_calibration_error(probabilities, labels)
        low, high = bootstrap_interval(
            (probabilities, labels), statistic=expected_calibration_error, resamples=100
        )
        assert 0 < low < error < high < 1

    @pytest.mark.parametrize(
        ("values", "options", "message"),
        [
            ([1.0], {}, "at least 2"),
            ([1.0, float("nan")], {}, "NaN or infinite"),
            ([[1.0, 2.0], [3.0, 4.0]], {}, "one value per image"),
            (([1, 2], [1, 2, 3]), {"statistic": lambda a, b: 0.0}, "equal lengths"),
            ([1.0, 2.0], {"confidence": 95}, "between 0 and 1"),
        ],
    )
    def test_refusals(self, values, options, message):
        with pytest.raises(ValueError, match=message):
            bootstrap_interval(values, **options)


def test_resampled_means_are_of_the_same_images():
    values = np.random.default_rng(2).normal(size=(60, 2))
    means = resampled_means(values, resamples=50, seed=3)
    for column, found in zip(values.T, means.T, strict=True):
        result = resampled(lambda drawn, v=column: float(v[drawn].mean()), 60, resamples=50, seed=3)
        np.testing.assert_allclose(found, result.bootstrap_distribution, atol=1e-6)


def test_the_confidence_is_that_of_the_interval():
    # Half of the resampled means of 500 coins lie within 0.6745 standard errors.
    values = np.repeat([0, 1], [200, 300])
    low, high = bootstrap_interval(values, confidence=0.5, resamples=4000)
    assert high - low == pytest.approx(2 * 0.6745 * (0.6 * 0.4 / 500) ** 0.5, rel=0.1)


def test_the_interval_is_made_of_percentiles():
    # No resample has a larger maximum than the images; reflected at it, the interval would.
    values = np.arange(30.0)
    low, high = bootstrap_interval((values,), statistic=lambda v: float(v.max()))
    assert 20 < low < high == 29


@pytest.mark.parametrize("resamples", [7, 150])
def test_as_many_resamples_are_drawn_as_asked(resamples):
    drawn = []
    resampled(lambda places: drawn.append(len(places)) or 0.0, 5, resamples=resamples)
    # One more is the images themselves.
    assert len(drawn) in (resamples, resamples + 1) and set(drawn) == {5}
    assert resampled_means(np.ones((5, 2)), resamples=resamples).shape == (resamples, 2)
