"""Shapes: exact masks, balance, seeding, and a shortcut that is as strong as it is set."""

import math

import numpy as np
import pytest
import torch

from rslib.data import load, shapes


@pytest.fixture(scope="module")
def scene():
    return shapes.render("train", n=300, seed=0)


@pytest.fixture(scope="module")
def dataset():
    return load("shapes", "train", n=300)


def test_the_set_is_what_its_scene_says(scene, dataset):
    assert dataset.images.shape == (300, 3, 32, 32) and dataset.masks.shape == (300, 32, 32)
    assert (dataset.name, dataset.classes) == ("shapes", shapes.CLASSES)
    assert np.array_equal(dataset.images.numpy(), scene.images)
    assert dataset.labels.tolist() == scene.labels.tolist()
    assert dataset.ids.tolist() == list(range(300))
    assert dataset.attributes["backgrounds"].tolist() == scene.kinds.tolist()


def test_default_sizes():
    assert len(load("shapes", "test")) == 1_000
    assert shapes.DEFAULT_SIZES == {"train": 4_000, "test": 1_000}


def test_an_image_is_its_background_except_where_the_object_is(scene):
    pure = np.rint(scene.background * 255).astype(np.uint8)
    outside = np.broadcast_to((scene.coverage == 0)[:, None], pure.shape)
    assert np.array_equal(scene.images[outside], pure[outside])
    color = np.broadcast_to(scene.color[:, :, None, None], pure.shape)
    whole = np.broadcast_to((scene.coverage == 1)[:, None], pure.shape)
    assert np.abs(scene.images[whole] / 255 - color[whole]).max() <= 0.5 / 255 + 1e-6
    # Every pixel that is at least half covered differs from the background it hides.
    changed = (scene.images != pure).any(axis=1)
    assert changed[scene.coverage >= 0.5].all()
    assert not changed[scene.coverage == 0].any()


def test_masks_can_be_read_back_from_the_pixels(scene, dataset):
    """Independent of the renderer: how far each pixel has moved from background to object color."""
    span = scene.color[:, :, None, None] - scene.background
    moved = scene.images / 255 - scene.background
    share = (moved * span).sum(axis=1) / (span * span).sum(axis=1)
    # Coverage comes in sixteenths; rounding to 8 bits moves the share by less than half a step.
    assert np.abs(share - scene.coverage).max() < 1 / 32
    assert np.array_equal(share >= 0.5 - 1 / 32, dataset.masks.numpy())


def test_areas_of_the_unit_objects():
    """Closed forms, where there is one in few symbols."""
    areas = dict(zip(shapes.CLASSES, shapes._unit_areas(), strict=True))
    tip = math.cos(math.radians(72)) / math.cos(math.radians(36))
    expected = {
        "circle": math.pi,
        "square": 2,
        "triangle": 3 * math.sqrt(3) / 4,
        "cross": 2 * 1.91 * 0.59 - 0.59**2,
        "ring": math.pi * (1 - 0.55**2),
        "star": 5 * tip * math.sin(math.radians(36)),
        "heart": (1 + math.pi / 4) / 0.89**2,
        "arrow": 0.8 + 0.95 * 0.56,
        "bar": 1.9 * 0.62,
    }
    for name, area in expected.items():
        assert areas[name] == pytest.approx(area, rel=0.005), name


def test_every_object_fits_the_unit_disc():
    points = np.linspace(-1.2, 1.2, 601, dtype=np.float32)
    x, y = points[None, :], points[:, None]
    for name, inside in shapes.OBJECTS.items():
        held = inside(x, y) & np.ones((601, 601), dtype=bool)
        reach = np.sqrt((x * x + y * y)[held].max())
        assert 0.85 < reach <= 1.005, name


def test_objects_have_the_same_areas_in_every_class():
    data = load("shapes", "test", n=1_000)
    share = data.masks.float().mean((1, 2))
    assert 0.09 < share.min() and share.max() < 0.24
    for label in range(10):
        # Uniform on [0.10, 0.22]: mean 0.16, standard error 0.0035 over 100 images.
        assert abs(share[data.labels == label].mean() - 0.16) < 0.015


def test_no_object_is_cut_by_the_border():
    """The part of the object that lies in the image is all of it: its area is the area drawn."""
    u = np.random.default_rng(0).random((200, 4))
    labels = np.arange(200) % 10
    coverage = shapes._coverage(labels, area=u[:, 0], turn=u[:, 1], x=u[:, 2], y=u[:, 3])
    drawn = 0.10 + 0.12 * u[:, 0]
    assert np.abs(coverage.mean(axis=(1, 2)) - drawn).max() < 0.004


def test_objects_are_found_all_over_the_image():
    data = load("shapes", "train", n=2_000)
    where = data.masks.float().mean(0)
    assert where[8:24, 8:24].min() > 0.1
    assert min(where[0].max(), where[-1].max(), where[:, 0].max(), where[:, -1].max()) > 0
    quarters = [where[r : r + 16, c : c + 16].mean() for r in (0, 16) for c in (0, 16)]
    # Not equal even in the long run: a triangle's disc, which is what is placed, is fuller below.
    assert max(quarters) - min(quarters) < 0.04


def test_labels_are_balanced_in_shuffled_order():
    data = load("shapes", "train", n=205)
    counts = torch.bincount(data.labels, minlength=10)
    assert counts.max() - counts.min() <= 1
    assert data.labels[:10].tolist() != data.labels[10:20].tolist()
    assert sorted(data.labels[:10].tolist()) == list(range(10))


def test_an_image_does_not_depend_on_how_many_follow(dataset):
    for n in (1, 7, 250):
        part = load("shapes", "train", n=n)
        assert part.fingerprint == dataset.subset(range(n)).fingerprint


def test_seed_and_split_decide_the_images(dataset):
    assert load("shapes", "train", n=300).fingerprint == dataset.fingerprint
    others = [load("shapes", "train", n=300, seed=1), load("shapes", "test", n=300)]
    for other in others:
        differing = (other.images != dataset.images).flatten(1).any(1)
        assert differing.all()
        assert other.labels.tolist() != dataset.labels.tolist()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 1.0])
def test_the_background_tells_the_class_as_often_as_set(correlation):
    scene = shapes.render("train", n=2_000, background_correlation=correlation)
    agreement = (scene.kinds == scene.labels).mean()
    expected = correlation + (1 - correlation) / 10
    assert abs(agreement - expected) <= 4 * math.sqrt(expected * (1 - expected) / 2_000)


def test_with_no_correlation_kinds_are_independent_of_classes():
    scene = shapes.render("train", n=4_000)
    table = np.zeros((10, 10))
    np.add.at(table, (scene.labels, scene.kinds), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    # Chi-squared with 81 degrees of freedom: mean 81, 99.9th percentile 127.
    assert ((table - expected) ** 2 / expected).sum() < 127


def test_correlation_changes_backgrounds_and_nothing_else(scene):
    other = shapes.render("train", n=300, seed=0, background_correlation=1.0)
    assert other.kinds.tolist() == other.labels.tolist() == scene.labels.tolist()
    assert np.array_equal(other.coverage, scene.coverage)
    assert np.array_equal(other.color, scene.color)
    kept = other.kinds == scene.kinds
    assert np.array_equal(other.images[kept], scene.images[kept])
    assert 0 < kept.sum() < 100


def test_color_does_not_tell_the_class():
    """Class means of object and background color differ by no more than chance makes them."""
    scene = shapes.render("train", n=4_000)
    for values in (scene.color, scene.background.mean(axis=(2, 3))):
        total = values.mean(0)
        error = values.std(0) / math.sqrt(400)
        for label in range(10):
            assert (np.abs(values[scene.labels == label].mean(0) - total) < 4.5 * error).all()


def test_an_object_is_brighter_than_its_background_in_each_channel(scene):
    brightest = scene.background.max(axis=(2, 3))
    typical = scene.background.mean(axis=(2, 3))
    assert (scene.color - typical).min() > 0
    assert (scene.color - typical).max(axis=1).min() > 0.4
    # Seen in its best channel, no tone of the background comes near: an l_inf attacker with 8/255
    # cannot close the gap by moving both.
    assert (scene.color - brightest).max(axis=1).min() > 16 / 255


def test_objects_are_turned_by_no_more_than_stated():
    """A bar lies along x before it is turned: its second moments give the angle."""
    n = 50
    draws = {
        "area": np.ones(n),
        "turn": np.arange(n) / n,
        "x": np.full(n, 0.5),
        "y": np.full(n, 0.5),
    }
    coverage = shapes._coverage(np.full(n, shapes.CLASSES.index("bar")), **draws)
    place = np.arange(32) - 15.5
    xx, yy = (coverage * place**2).sum((1, 2)), (coverage * place[:, None] ** 2).sum((1, 2))
    xy = (coverage * place * place[:, None]).sum((1, 2))
    angle = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy))
    np.testing.assert_allclose(angle, 60 * np.arange(n) / n - 30, atol=0.6)


def test_hsv_of_known_colors():
    hue = np.array([0, 1 / 3, 2 / 3, 1 / 6, 0.5])
    colors = shapes._hsv(hue, np.array([1, 1, 1, 0.5, 0]), np.array([1, 1, 0.5, 1, 0.3]))
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 0.5], [1, 1, 0.5], [0.3, 0.3, 0.3]]
    np.testing.assert_allclose(colors, expected, atol=1e-6)


def test_kinds_of_background_have_their_symmetries():
    """Rows are constant along x, columns along y; each kind uses both tones."""
    p = np.random.default_rng(0).random((10, 5)).astype(np.float32)
    noise = np.random.default_rng(1).random((10, 32, 32)).astype(np.float32)
    clouds = noise[:, :6, :6]
    pattern = shapes._patterns(np.arange(10), p, clouds, noise)
    by_name = dict(zip(shapes.BACKGROUNDS, pattern, strict=True))
    assert np.ptp(by_name["rows"], axis=1).max() == 0 and np.ptp(by_name["rows"]) > 0.9
    assert np.ptp(by_name["columns"], axis=0).max() == 0 and np.ptp(by_name["columns"]) > 0.9
    for name, values in by_name.items():
        assert values.min() >= 0 and values.max() <= 1, name
        assert values.std() > 0.1, name


@pytest.mark.parametrize(
    "bad",
    [{"n": 0}, {"seed": -1}, {"background_correlation": 1.5}, {"background_correlation": -0.1}],
)
def test_an_impossible_option_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        load("shapes", "train", **bad)
    with pytest.raises(ValueError, match="split"):
        load("shapes", "validation")
