"""What holds for every corruption: reproducible pixels, clear errors, values worked out by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rslib import corruptions
from rslib.corruptions import ALL19, CATEGORIES, NAMES, TEST15, corrupt, generate, weather
from rslib.corruptions._random import LEVELS, Draws, image_keys
from rslib.data import DataError
from tests.helpers.corruption_samples import photographs, pictures

RANDOM = {
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur",
    "snow", "frost", "fog", "spatter", "elastic_transform",
}  # fmt: skip


@pytest.fixture(scope="module")
def frost(tmp_path_factory):
    return photographs(tmp_path_factory.mktemp("frost"))


@pytest.fixture(scope="module")
def apply(frost):
    """Corrupt with the test's frost photographs, so that all 19 work wherever tests run."""

    def run(images, name, severity, *, seed=0, **options):
        return corrupt(images, name, severity, seed=seed, photographs=frost, **options)

    return run


def flat(level, n=1):
    """Images of one color: uint8 (n, 3, 32, 32)."""
    color = torch.tensor(level, dtype=torch.uint8).reshape(1, -1, 1, 1)
    return color.expand(n, 3, 32, 32).contiguous()


class TestNames:
    def test_categories_cover_each_corruption_once(self):
        listed = [name for names in CATEGORIES.values() for name in names]
        assert sorted(listed) == sorted(NAMES) and len(set(NAMES)) == 19
        assert [len(names) for names in CATEGORIES.values()] == [4, 5, 5, 5]

    def test_test15_leaves_out_the_four_validation_corruptions(self):
        assert NAMES == ALL19 and len(TEST15) == 15
        assert set(ALL19) - set(TEST15) == {
            "speckle_noise", "gaussian_blur", "spatter", "saturate"
        }  # fmt: skip

    def test_category(self):
        assert "brightness" in corruptions.CATEGORIES["weather"]
        assert "saturate" in corruptions.CATEGORIES["digital"]


@pytest.mark.parametrize("name", NAMES)
class TestEach:
    def test_makes_images_like_those_it_got(self, apply, name):
        images = pictures(3)
        before = images.clone()
        for severity in range(1, 6):
            after = apply(images, name, severity)
            assert after.dtype == torch.uint8 and after.shape == images.shape
            assert after.is_contiguous() and not torch.equal(after, images)
        assert torch.equal(images, before)

    def test_batch_and_order_change_nothing(self, apply, name):
        images = pictures(9)
        order = torch.tensor([4, 0, 8, 2, 7, 1, 6, 3, 5])
        for severity in (2, 5):
            together = apply(images, name, severity)
            alone = torch.cat([apply(image[None], name, severity) for image in images])
            assert torch.equal(together, alone)
            assert torch.equal(apply(images[order], name, severity), together[order])

    def test_chunks_and_memory_layout_change_nothing(self, apply, name, monkeypatch):
        images = pictures(7)
        together = apply(images, name, 3)
        monkeypatch.setattr(generate, "_CPU_CHUNK", 3)
        last = images.contiguous(memory_format=torch.channels_last)
        assert torch.equal(apply(last, name, 3), together)

    def test_thread_count_changes_nothing(self, apply, name, monkeypatch):
        images = pictures(40)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            alone = apply(images, name, 4)
            torch.set_num_threads(3)
            assert torch.equal(apply(images, name, 4), alone)  # inside one chunk
            monkeypatch.setattr(generate, "_CPU_CHUNK", 9)
            assert torch.equal(apply(images, name, 4), alone)  # chunks side by side
            assert torch.get_num_threads() == 3
        finally:
            torch.set_num_threads(threads)

    def test_the_seed_decides_what_is_random_and_only_that(self, apply, name):
        images = pictures(4)
        again, other = apply(images, name, 3), apply(images, name, 3, seed=1)
        assert torch.equal(apply(images, name, 3), again)
        differs = (other != again).flatten(1).any(1)
        assert differs.all() if name in RANDOM else not differs.any()

    def test_global_generators_are_left_alone(self, apply, name):
        before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
        apply(pictures(2), name, 1)
        assert torch.equal(torch.get_rng_state(), before)
        assert (np.random.get_state()[1] == numpy_before).all()

    def test_extreme_images_stay_in_range(self, apply, name):
        images = torch.cat([flat([0]), flat([255]), flat([255, 0, 0]), flat([1, 1, 2])])
        for severity in (1, 5):
            assert apply(images, name, severity).shape == images.shape

    def test_no_image_is_fine(self, apply, name):
        assert apply(pictures(1)[:0], name, 2).shape == (0, 3, 32, 32)


class TestByHand:
    def test_contrast(self):
        # Half 100, half 200: the mean is 150, and three quarters of the distance stay.
        image = flat([100])
        image[..., 16:] = 200
        after = corrupt(image, "contrast", 1, seed=0)
        assert after[..., :16].unique() == 112 and after[..., 16:].unique() == 187

    def test_brightness_scales_the_channels_alike(self):
        # The value rises from 100 by 12.75, and 50 and 20 keep their ratios to it.
        after = corrupt(flat([100, 50, 20]), "brightness", 1, seed=0)
        assert after[0, :, 0, 0].tolist() == [112, 56, 22]
        assert corrupt(flat([0]), "brightness", 4, seed=0).unique() == 51  # black: + 0.2
        assert corrupt(flat([250]), "brightness", 5, seed=0).unique() == 255

    def test_saturate(self):
        # Value 200, least 100: saturation 1/2 becomes 0.15, so the least rises to 200 * 0.85.
        after = corrupt(flat([200, 150, 100]), "saturate", 1, seed=0)
        assert after[0, :, 0, 0].tolist() == [200, 185, 170]
        # Saturation 1/2 * 2 + 0.1 is cut to 1: the least goes to 0.
        after = corrupt(flat([200, 150, 100]), "saturate", 4, seed=0)
        assert after[0, :, 0, 0].tolist() == [200, 100, 0]
        # Grey has hue 0, which is red: a saturation of 0.2 leaves 0.8 of the others.
        after = corrupt(flat([200]), "saturate", 5, seed=0)
        assert after[0, :, 0, 0].tolist() == [200, 160, 160]

    def test_pixelate_averages_two_and_rounds_up(self):
        # 20 pixels of 1.6: the first covers pixels 0 and 1, the second 2, the third 3 and 4.
        image = flat([0])
        image[..., 1], image[..., 3] = 101, 50
        after = corrupt(image, "pixelate", 5, seed=0)
        assert after[0, 0, 0, :5].tolist() == [51, 51, 0, 25, 25]

    def test_frost(self, apply):
        # Every crop of a black image shows the photograph at 45 percent, at most 114.
        after = apply(flat([0]), "frost", 5)
        assert 100 < after.max() <= 114

    def test_shot_noise_keeps_black_and_counts_photons(self):
        after = corrupt(flat([0]), "shot_noise", 5, seed=0)
        assert after.unique().tolist() == [0]
        levels = corrupt(flat([128]), "shot_noise", 5, seed=0).unique().tolist()
        assert set(levels) <= {int(k / 50 * 255) for k in range(51)}

    def test_impulse_noise_leaves_all_other_values_alone(self):
        after = corrupt(flat([77], 4), "impulse_noise", 3, seed=0)
        assert set(after.unique().tolist()) == {0, 77, 255}

    @pytest.mark.parametrize(
        "name", ["gaussian_blur", "defocus_blur", "zoom_blur", "motion_blur", "glass_blur"]
    )
    def test_blur_keeps_a_plain_image(self, name):
        image = flat([7, 100, 255])
        assert torch.equal(corrupt(image, name, 5, seed=0), image)

    def test_the_fog_of_black_is_black(self):
        assert corrupt(flat([0]), "fog", 3, seed=0).unique() == 0


class TestSeverity:
    @pytest.mark.parametrize(
        "name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "brightness",
                 "contrast", "gaussian_blur", "zoom_blur", "pixelate", "defocus_blur"]
    )  # fmt: skip
    def test_each_step_changes_more(self, apply, name):
        images = pictures(20)
        corrupted = [apply(images, name, severity).float() for severity in range(1, 6)]
        change = [(after - images).abs().mean() for after in corrupted]
        assert change == sorted(change) and change[0] > 0


class TestDraws:
    def test_the_key_depends_on_image_name_severity_and_seed(self):
        images = pictures(2)
        swapped = images.clone()
        swapped[:, :, 0, 0], swapped[:, :, 0, 8] = images[:, :, 0, 8], images[:, :, 0, 0]
        nudged = images.clone()
        nudged[:, 2, 31, 31] ^= 1
        keys = torch.cat([
            image_keys(images, "fog", 1, 0), image_keys(swapped, "fog", 1, 0),
            image_keys(nudged, "fog", 1, 0), image_keys(images, "fog", 2, 0),
            image_keys(images, "snow", 1, 0), image_keys(images, "fog", 1, 1),
        ])  # fmt: skip
        assert len(keys.unique()) == 12

    def test_equal_images_get_equal_noise(self):
        after = corrupt(pictures(1).repeat(2, 1, 1, 1), "gaussian_noise", 1, seed=0)
        assert torch.equal(after[0], after[1])

    def test_words_are_uniform_and_independent(self):
        words = Draws(torch.arange(64)).words(0, 4096)
        assert words.min() >= 0 and words.max() < LEVELS
        counts = torch.bincount(words.flatten() >> 8, minlength=256).double()
        expected = words.numel() / 256
        # chi-square with 255 degrees of freedom: mean 255, deviation 22.6
        assert abs(((counts - expected) ** 2 / expected).sum() - 255) < 5 * 22.6
        x = words.double() / LEVELS - 0.5
        n = x.numel()
        for shifted in (x.roll(1, 0), x.roll(1, 1), x.roll(4, 1), x.roll(64, 1)):
            assert abs((x * shifted).mean() * 12) < 5 / n**0.5

    def test_streams_seeds_and_severities_do_not_repeat_each_other(self):
        images = pictures(8)
        draws = [
            Draws(image_keys(images, "fog", severity, seed)).uniform(stream, 4096)
            for severity, seed, stream in ((1, 0, 0), (1, 0, 1), (2, 0, 0), (1, 1, 0))
        ]
        for i, a in enumerate(draws):
            for b in draws[:i]:
                assert abs((a * b).mean() * 3) < 5 / a.numel() ** 0.5

    def test_normal_has_the_moments_and_tails_of_a_normal(self):
        z = Draws(torch.arange(300)).normal(0, 4096).double()
        n = z.numel()
        assert abs(z.mean()) < 5 / n**0.5
        assert abs(z.var() - 1) < 5 * (2 / n) ** 0.5 + 1e-3
        assert abs((z**4).mean() - 3) < 5 * (96 / n) ** 0.5 + 5e-3
        share = (z.abs() > 3).double().mean()
        assert share == pytest.approx(0.0027, rel=0.1) and z.abs().max() < 4.33

    def test_uniform_and_fractions_fill_their_range(self):
        draws = Draws(torch.arange(2000))
        uniform, fractions = draws.uniform(0, 64).double(), draws.fractions(1, 64)
        assert -1 < uniform.min() < -0.999 and 0.999 < uniform.max() < 1
        assert abs(uniform.mean()) < 5 * (1 / 3 / uniform.numel()) ** 0.5
        assert 0 <= fractions.min() < 1e-3 and 1 - 1e-3 < fractions.max() < 1
        assert abs(fractions.mean() - 0.5) < 5 * (1 / 12 / fractions.numel()) ** 0.5

    @settings(max_examples=40, deadline=None)
    @given(key=st.integers(-(2**63), 2**63 - 1), count=st.integers(1, 9))
    def test_words_are_those_of_splitmix64(self, key, count):
        mask, state = 2**64 - 1, key
        expected = []
        for _ in range(3):
            state = (state + 0x9E3779B97F4A7C15) & mask
            z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
            z ^= z >> 31
            expected += [(((z >> 16 * k) & 0xFFFF) + LEVELS // 2) % LEVELS for k in range(4)]
        assert Draws(torch.tensor([key])).words(0, count)[0].tolist() == expected[:count]


class TestBadInput:
    @pytest.mark.parametrize(
        ("name", "nearest"),
        [("gausian_noise", "gaussian_noise"), ("jpeg", "jpeg_compression"), ("Fog", "fog")],
    )
    def test_an_unknown_name_brings_the_nearest(self, name, nearest):
        with pytest.raises(ValueError, match=f"no corruption '{name}'; did you mean '{nearest}'"):
            corrupt(pictures(1), name, 1, seed=0)

    @pytest.mark.parametrize("name", ["qqqq", None, 3])
    def test_a_name_like_no_other_brings_the_list(self, name):
        with pytest.raises(ValueError, match="There are: gaussian_noise"):
            corrupt(pictures(1), name, 1, seed=0)

    @pytest.mark.parametrize("severity", [0, 6, -1, 2.5, 1.0, True, "3", None])
    def test_severity(self, severity):
        with pytest.raises(ValueError, match="must be 1, 2, 3, 4 or 5"):
            corrupt(pictures(1), "fog", severity, seed=0)

    def test_severity_may_be_a_numpy_integer(self):
        first = corrupt(pictures(1), "fog", np.int64(2), seed=np.int64(3))
        assert torch.equal(first, corrupt(pictures(1), "fog", 2, seed=3))

    def test_float_images_bring_the_conversion(self):
        with pytest.raises(ValueError, match=r"uint8.*float32: turn \[0,1\] floats into levels"):
            corrupt(pictures(1) / 255, "fog", 1, seed=0)

    @pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 64, 64), (1, 32, 32, 3)])
    def test_shape(self, shape):
        with pytest.raises(ValueError, match=r"must be \(B, 3, 32, 32\)"):
            corrupt(torch.zeros(shape, dtype=torch.uint8), "fog", 1, seed=0)

    def test_not_a_tensor(self):
        with pytest.raises(ValueError, match="not ndarray"):
            corrupt(np.zeros((1, 3, 32, 32), np.uint8), "fog", 1, seed=0)

    @pytest.mark.parametrize("seed", [1.5, True, None, "0"])
    def test_seed(self, seed):
        with pytest.raises(ValueError, match="seed=.*must be a whole number"):
            corrupt(pictures(1), "fog", 1, seed=seed)


class TestFrostPhotographs:
    def test_those_of_the_published_generator_are_there(self):
        # As the package with the published code has them, a fifth of their size.
        digest = weather.photographs_digest(weather.FROST_FOLDER)
        assert digest.startswith("7012372b7d16131f")
        assert not torch.equal(corrupt(pictures(1), "frost", 1, seed=0), pictures(1))

    def test_a_missing_photograph_is_named(self, tmp_path):
        (photographs(tmp_path) / "frost3.png").unlink()
        with pytest.raises(DataError, match=r"frost3\.png is missing"):
            corrupt(pictures(1), "frost", 1, seed=0, photographs=tmp_path)

    def test_a_damaged_photograph_is_named(self, tmp_path):
        (photographs(tmp_path) / "frost2.png").write_bytes(b"not an image")
        with pytest.raises(DataError, match=r"frost2\.png cannot be read"):
            corrupt(pictures(1), "frost", 1, seed=0, photographs=tmp_path)

    def test_a_truncated_photograph_is_named(self, tmp_path):
        path = photographs(tmp_path) / "frost1.png"
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(DataError, match=r"frost1\.png cannot be read"):
            corrupt(pictures(1), "frost", 1, seed=0, photographs=tmp_path)

    def test_a_photograph_can_be_too_small(self, tmp_path):
        from PIL import Image

        Image.new("RGB", (160, 300)).save(photographs(tmp_path) / "frost5.jpg", "PNG")
        with pytest.raises(DataError, match=r"frost5\.jpg is too small"):
            corrupt(pictures(1), "frost", 1, seed=0, photographs=tmp_path)

    def test_an_error_in_a_thread_arrives(self, tmp_path, monkeypatch):
        monkeypatch.setattr(generate, "_CPU_CHUNK", 1)
        with pytest.raises(DataError, match=r"frost1\.png is missing"):
            corrupt(pictures(3), "frost", 1, seed=0, photographs=tmp_path)

    def test_the_digest_is_of_the_pixels(self, tmp_path):
        first, same, other = (
            weather.photographs_digest(photographs(tmp_path / str(k), seed=seed))
            for k, seed in enumerate((0, 0, 1))
        )
        assert first == same != other
