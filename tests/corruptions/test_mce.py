"""Corruption error: values worked out by hand, refusals, and intervals against their theory."""

import numpy as np
import pytest

from rslib.corruptions import ALL19, TEST15, mce
from rslib.metrics import mean_corruption_error
from rslib.metrics.bootstrap import resampled_means

DATA = {"origin": "generated", "dataset": "cifar10", "images": 100, "seed": 0}


def table(rows, *, clean=0.1, model="model", data=None):
    return mce.ErrorTable(model, rows, clean, DATA if data is None else data)


def constant(value, names=ALL19):
    return {name: (value,) * 5 for name in names}


class TestScore:
    def test_the_reference_against_itself_is_exactly_one(self):
        generator = np.random.default_rng(0)
        reference = table({name: generator.uniform(0.2, 0.9, 5) for name in ALL19})
        for names in (TEST15, ALL19):
            result = mce.score(reference, reference, names=names)
            assert result.mce == result.category_mean == result.relative_mce == 1
            assert set(result.ce.values()) == set(result.categories.values()) == {1}

    def test_by_hand(self):
        # fog: 1.5 / 2 = 0.75; contrast: 1 / 4 = 0.25. Clean: 0.1 and 0.2.
        ours = table({"fog": (0.1, 0.2, 0.3, 0.4, 0.5), "contrast": (0.2,) * 5}, clean=0.1)
        theirs = table({"fog": (0.4,) * 5, "contrast": (0.8,) * 5}, clean=0.2, model="reference")
        result = mce.score(ours, theirs, names=["fog", "contrast"])
        assert result.ce == pytest.approx({"fog": 0.75, "contrast": 0.25})
        assert result.mce == pytest.approx(0.5)
        assert result.categories == pytest.approx({"weather": 0.75, "digital": 0.25})
        assert result.error == pytest.approx(0.25)
        # grown by 1.0 against 1.0, and by 0.5 against 3.0
        assert result.relative_mce == pytest.approx((1 + 0.5 / 3) / 2)

    def test_the_two_means_weigh_corruptions_differently(self):
        rows = constant(0.4, ["fog", "snow", "frost", "contrast"]) | {"contrast": (0.8,) * 5}
        result = mce.score(table(rows), table(constant(0.4)), names=list(rows))
        assert result.mce == pytest.approx((1 + 1 + 1 + 2) / 4)
        assert result.category_mean == pytest.approx((1 + 2) / 2)

    def test_mce_is_that_of_metrics(self):
        generator = np.random.default_rng(1)
        ours, theirs = (
            table({name: generator.uniform(0.1, 0.9, 5) for name in ALL19}) for _ in range(2)
        )
        expected = mean_corruption_error(ours.errors, theirs.errors)
        assert mce.score(ours, theirs, names=ALL19).mce == pytest.approx(expected)

    def test_a_reference_without_errors_gives_none_and_no_number(self):
        reference = table(constant(0.3) | {"fog": (0.0,) * 5}, clean=0.1)
        result = mce.score(table(constant(0.3)), reference)
        assert result.ce["fog"] is None and result.ce["snow"] == 1
        assert result.mce is None and result.category_mean is None
        assert result.categories["weather"] is None and result.categories["noise"] == 1
        assert result.relative_mce is None and result.error == pytest.approx(0.3)

    def test_a_reference_that_corruption_does_not_hurt_has_no_relative_error(self):
        result = mce.score(table(constant(0.3)), table(constant(0.3), clean=0.3))
        assert result.relative_mce is None and result.mce == 1


class TestRefusals:
    def test_a_reference_measured_on_other_images(self):
        other = table(constant(0.5), model="alexnet", data=DATA | {"images": 50, "seed": 1})
        with pytest.raises(
            mce.ReferenceMismatch, match="alexnet.*images 100 against 50; seed 0 against 1"
        ):
            mce.score(table(constant(0.5)), other)

    def test_official_against_generated(self):
        other = table(constant(0.5), data={"origin": "official"} | {"images": 100})
        with pytest.raises(mce.ReferenceMismatch, match="origin 'generated' against 'official'"):
            mce.score(table(constant(0.5)), other)

    def test_a_missing_corruption(self):
        with pytest.raises(ValueError, match="speckle_noise is missing"):
            mce.score(table(constant(0.5, TEST15)), table(constant(0.5)), names=ALL19)

    @pytest.mark.parametrize(
        ("rows", "clean", "message"),
        [
            ({}, 0.1, "at least one corruption"),
            ({"rain": (0.1,) * 5}, 0.1, "no corruption 'rain'"),
            ({"fog": (0.1,) * 4}, 0.1, r"errors\['fog'\] has 4 values"),
            ({"fog": (0.1,) * 6}, 0.1, r"errors\['fog'\] has 6 values"),
            ({"fog": (0.1, 0.2, 0.3, 0.4, 45)}, 0.1, "45.0 is not a fraction"),
            ({"fog": (0.1, 0.2, 0.3, 0.4, float("nan"))}, 0.1, "nan is not a fraction"),
            ({"fog": (0.1,) * 5}, -0.1, "-0.1 is not a fraction"),
        ],
    )
    def test_tables(self, rows, clean, message):
        with pytest.raises(ValueError, match=message):
            table(rows, clean=clean)

    def test_no_names(self):
        with pytest.raises(ValueError, match="at least one corruption"):
            mce.score(table(constant(0.5)), table(constant(0.5)), names=[])


class TestDocument:
    def test_round_trip(self):
        first = table(constant(0.25), model="alexnet")
        back = mce.ErrorTable.from_document(first.document())
        assert back == first and back.digest == first.digest

    def test_the_digest_is_of_content_and_not_of_order(self):
        first = table({"fog": (0.1,) * 5, "snow": (0.2,) * 5})
        turned = table({"snow": [0.2] * 5, "fog": [0.1] * 5}, model="the same under another name")
        assert first.digest == turned.digest
        assert first.digest != table({"fog": (0.1,) * 5, "snow": (0.2,) * 5}, clean=0.2).digest
        other = table({"fog": (0.1,) * 5, "snow": (0.2,) * 5}, data=DATA | {"seed": 1})
        assert first.digest != other.digest

    def test_an_altered_table_is_refused(self):
        document = table(constant(0.25)).document()
        document["errors"]["fog"][2] = 0.2
        with pytest.raises(ValueError, match="was altered"):
            mce.ErrorTable.from_document(document)

    def test_missing_fields_are_named(self):
        document = table(constant(0.25)).document()
        del document["digest"], document["clean"]
        with pytest.raises(ValueError, match="clean, digest missing"):
            mce.ErrorTable.from_document(document)


class TestOutcomes:
    def outcomes(self, rate, n=400, seed=0, names=TEST15):
        generator = np.random.default_rng(seed)
        wrong = {name: generator.random((5, n)) < rate for name in names}
        return wrong, generator.random(n) < rate / 2

    def test_table_from_outcomes(self):
        wrong = {"fog": np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0] * 4, [1] * 4, [1, 1, 1, 0]])}
        made = mce.table_from_outcomes("m", wrong, np.array([0, 0, 0, 1]), DATA)
        assert made.errors == {"fog": (0.25, 0.5, 0, 1, 0.75)} and made.clean == 0.25

    def test_the_reference_against_itself_has_no_width(self):
        wrong, clean = self.outcomes(0.4)
        result = mce.interval(
            wrong, wrong, clean_wrong=clean, reference_clean_wrong=clean, resamples=50
        )
        assert result.mce == pytest.approx((1, 1)) and result.category_mean == pytest.approx((1, 1))
        assert result.error[0] < result.error[1]

    def test_the_interval_of_the_plain_error_is_that_of_a_mean(self):
        # One outcome for all corruptions of an image: the error is a mean of n coins.
        n, generator = 1000, np.random.default_rng(0)
        coins = generator.random(n) < 0.3
        wrong = {"fog": np.tile(coins, (5, 1)), "snow": np.tile(coins, (5, 1))}
        always = {name: np.ones((5, n), bool) for name in wrong}
        low, high = mce.interval(
            wrong, always, clean_wrong=coins, reference_clean_wrong=coins, names=["fog", "snow"],
            resamples=4000,
        ).error  # fmt: skip
        half = 1.96 * (coins.mean() * (1 - coins.mean()) / n) ** 0.5
        assert low == pytest.approx(coins.mean() - half, abs=half / 10)
        assert high == pytest.approx(coins.mean() + half, abs=half / 10)

    @pytest.mark.parametrize(("confidence", "z"), [(0.5, 0.6745), (0.99, 2.5758)])
    def test_the_confidence_is_that_of_the_interval(self, confidence, z):
        n, generator = 1000, np.random.default_rng(0)
        coins = generator.random(n) < 0.3
        wrong = {"fog": np.tile(coins, (5, 1))}
        options = {"clean_wrong": coins, "reference_clean_wrong": coins, "names": ["fog"]}
        low, high = mce.interval(
            wrong, wrong, **options, confidence=confidence, resamples=4000
        ).error
        half = z * (coins.mean() * (1 - coins.mean()) / n) ** 0.5
        assert (high - low) / 2 == pytest.approx(half, rel=0.08)

    def test_as_many_resamples_are_drawn_as_asked(self):
        # Of two resamples the ends of the interval at 0.9 lie 0.9 of the way between the two.
        wrong, clean = self.outcomes(0.3, n=50, names=["fog"])
        options = {"clean_wrong": clean, "reference_clean_wrong": clean, "names": ["fog"]}
        low, high = mce.interval(wrong, wrong, **options, resamples=2, confidence=0.9).error
        rows = np.concatenate([wrong["fog"].T], 1).astype(np.float32)
        ends = sorted(resampled_means(rows, resamples=2).mean(1))
        gap = 0.9 * (ends[1] - ends[0])
        assert high - low == pytest.approx(gap, abs=1e-6) and gap > 0

    def test_it_holds_the_score_and_repeats_itself(self):
        (wrong, clean), (base, base_clean) = self.outcomes(0.3), self.outcomes(0.6, seed=1)
        options = {"clean_wrong": clean, "reference_clean_wrong": base_clean, "resamples": 200}
        result = mce.interval(wrong, base, **options)
        score = mce.score(
            mce.table_from_outcomes("a", wrong, clean, DATA),
            mce.table_from_outcomes("b", base, base_clean, DATA),
        )
        for key in ("mce", "category_mean", "error", "relative_mce"):
            low, high = getattr(result, key)
            assert low < getattr(score, key) < high
        assert mce.interval(wrong, base, **options) == result
        assert mce.interval(wrong, base, seed=1, **options) != result

    def test_where_a_resample_is_undefined_there_is_no_interval(self):
        wrong, clean = self.outcomes(0.3, n=20)
        base = {name: rows.copy() for name, rows in wrong.items()}
        base["fog"][:] = False
        base["fog"][0, 0] = True  # one resample in three misses the only error
        result = mce.interval(
            wrong, base, clean_wrong=clean, reference_clean_wrong=clean, resamples=50
        )
        assert result.mce is None and result.error is not None

    def test_refusals(self):
        (wrong, clean), (base, base_clean) = self.outcomes(0.3), self.outcomes(0.3, n=300)
        with pytest.raises(ValueError, match="400 images and the reference 300"):
            mce.interval(wrong, base, clean_wrong=clean, reference_clean_wrong=base_clean)
        with pytest.raises(ValueError, match=r"outcomes must be \(5, 300\)"):
            mce.interval(wrong, base, clean_wrong=base_clean, reference_clean_wrong=base_clean)
        with pytest.raises(ValueError, match="confidence=95"):
            mce.interval(
                wrong, wrong, clean_wrong=clean, reference_clean_wrong=clean, confidence=95
            )
