"""Overlap by hand, ties by enumeration, levels by their meaning; masks and their refusals."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rslib.saliency import (
    MaskError,
    NotSaliency,
    ceiling,
    center_prior,
    chance,
    coverage,
    iou,
    iou_area,
    iou_area_levels,
    iou_curve,
    iou_separated,
    mass_inside,
    mean_mask_prior,
    pointing_game,
    proxy_masks,
    read_masks,
    same_top,
    separated,
    shuffled_pairs,
)
from rslib.saliency.overlap import iou_elsewhere


def mask_of(*rows):
    return torch.tensor([[[c == "#" for c in row] for row in rows]])


SQUARE = mask_of("##..", "##..", "....", "....")


def test_iou_by_hand():
    saliency = torch.arange(16.0, 0, -1).view(1, 4, 4)
    # The top quarter is the first row, of which two of four pixels lie on the square.
    assert iou(saliency, SQUARE, top=0.25).item() == pytest.approx(2 / 6)
    # The top half is the first two rows: all four object pixels among eight.
    assert iou(saliency, SQUARE, top=0.5).item() == pytest.approx(4 / 8)
    curve = iou_curve(saliency, SQUARE, tops=[0.25, 0.5])
    assert curve.tolist() == [pytest.approx([2 / 6, 4 / 8])]


def test_a_map_that_is_the_object_reaches_the_ceiling():
    assert iou(SQUARE.float(), SQUARE, top=0.25).item() == 1
    found = iou(SQUARE.float(), SQUARE, top=0.5).item()
    assert found == ceiling(SQUARE, top=0.5).item() == pytest.approx(4 / 8)


@given(
    st.lists(st.integers(0, 2), min_size=9, max_size=9),
    st.lists(st.booleans(), min_size=9, max_size=9).filter(any),
    st.integers(1, 8),
)
@settings(max_examples=60, deadline=None)
def test_ties_are_the_mean_over_all_choices(values, inside, kept):
    order = sorted(values, reverse=True)
    threshold = order[kept - 1]
    above = [i for i, v in enumerate(values) if v > threshold]
    tied = [i for i, v in enumerate(values) if v == threshold]
    scores = []
    for drawn in itertools.combinations(tied, kept - len(above)):
        hits = sum(inside[i] for i in (*above, *drawn))
        scores.append(hits / (kept + sum(inside) - hits))
    saliency = torch.tensor(values, dtype=torch.float32).view(1, 3, 3)
    found = iou(saliency, torch.tensor(inside).view(1, 3, 3), top=kept / 9)
    assert found.item() == pytest.approx(np.mean(scores))


def test_the_same_top_by_hand():
    first = torch.arange(16.0, 0, -1).view(1, 4, 4)
    # Tops of four: the first row, and the first column; they share one pixel of seven.
    assert same_top(first, first.transpose(1, 2), top=0.25).item() == pytest.approx(1 / 7)
    # Half of a sparse map's top of four is any 2 of 14 zeros, 1/7 of each. Shared with the first
    # row: two whole pixels and two of 1/7; in one or the other: those 4 and twelve of 1/7.
    sparse = torch.zeros(1, 4, 4)
    sparse[0, 0, :2] = torch.tensor([2.0, 1.0])
    expected = (2 + 2 / 7) / (4 + 12 / 7)
    assert same_top(first, sparse, top=0.25).item() == pytest.approx(expected)
    assert same_top(sparse, first, top=0.25).item() == pytest.approx(expected)
    # A constant map: 4 whole pixels with 1/4 of each, and 1/4 of the twelve others: 1 of 7.
    constant = torch.zeros(1, 4, 4)
    assert same_top(first, constant, top=0.25).item() == pytest.approx(1 / 7)
    with pytest.raises(ValueError, match="shapes"):
        same_top(first, torch.zeros(1, 2, 2))


@given(
    st.lists(st.integers(0, 2), min_size=16, max_size=16),
    st.lists(st.integers(0, 2), min_size=16, max_size=16),
    st.permutations(range(16)),
    st.integers(1, 15),
)
@settings(max_examples=60, deadline=None)
def test_the_same_top_is_1_for_equal_maps_and_knows_no_order(first, second, order, kept):
    one, other = (torch.tensor(values).float().view(1, 4, 4) for values in (first, second))
    assert same_top(one, one, top=kept / 16).item() == 1
    moved = (maps.flatten()[list(order)].view(1, 4, 4) for maps in (one, other))
    found = same_top(one, other, top=kept / 16).item()
    assert same_top(*moved, top=kept / 16).item() == pytest.approx(found)


@given(st.permutations(range(16)), st.integers(1, 15))
@settings(max_examples=30, deadline=None)
def test_pixel_order_and_scale_do_not_matter(order, kept):
    saliency = torch.tensor([3.0, 1, 1, 1, 0, 0, 2, 2, 2, 1, 0, 5, 5, 1, 1, 0]).view(1, 4, 4)
    mask = (torch.arange(16) % 3 == 0).view(1, 4, 4)
    shuffled, moved = (t.flatten()[list(order)].view(1, 4, 4) for t in (saliency, mask))
    before = iou(saliency, mask, top=kept / 16).item()
    assert iou(shuffled, moved, top=kept / 16).item() == pytest.approx(before)
    assert iou(saliency**3 + 1, mask, top=kept / 16).item() == pytest.approx(before)


def test_a_constant_map_scores_chance_and_chance_is_what_random_maps_score():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 4:20, 6:22] = True  # a quarter of the image
    level = chance(mask).item()
    assert iou(torch.full((1, 32, 32), 7.0), mask).item() == level
    random = torch.rand(400, 32, 32, generator=generator)
    scored = iou(random, mask.expand(400, -1, -1)).mean().item()
    assert scored == pytest.approx(level, abs=2e-3)
    # The formula for large images: 0.3 m / (0.3 + 0.7 m).
    assert level == pytest.approx(0.3 * 0.25 / (0.3 + 0.7 * 0.25), abs=1e-3)


def test_priors():
    center = center_prior((4, 4))[0]
    assert set(center.flatten().topk(4).indices.tolist()) == {5, 6, 9, 10}
    assert torch.allclose(center, center.flip(0)) and torch.allclose(center, center.T)
    masks = torch.cat([SQUARE, SQUARE.flip(1), SQUARE.flip(2)])
    prior = mean_mask_prior(masks)
    # Leaving oneself out: the first prior knows the other two only.
    assert prior[0, 0, 0] == 0 and prior[0, 3, 0] == 0.5 and prior[1, 0, 0] == 0.5
    with pytest.raises(MaskError, match="B >= 2"):
        mean_mask_prior(SQUARE)


def test_shuffled_pairs_never_meet_their_own():
    masks = torch.zeros(6, 4, 4, dtype=torch.bool)
    for k in range(6):
        masks[k].view(-1)[2 * k : 2 * k + 2] = True
    for seed in range(5):
        assert shuffled_pairs(masks.float(), masks, top=2 / 16, seed=seed).sum() == 0
    assert iou(masks.float(), masks, top=2 / 16).tolist() == [1] * 6


def test_mass_and_pointing_by_hand():
    saliency = torch.zeros(1, 4, 4)
    saliency[0, 0, 0], saliency[0, 3, 3], saliency[0, 2, 2] = 3.0, 1.0, -5.0
    assert mass_inside(saliency, SQUARE).item() == pytest.approx(0.75)
    assert pointing_game(saliency, SQUARE).item() == 1
    saliency[0, 3, 3] = 3.0
    assert pointing_game(saliency, SQUARE).item() == 0.5
    assert mass_inside(torch.zeros(1, 4, 4), SQUARE).item() == 0.25


def test_bad_maps_and_masks():
    good = torch.rand(2, 4, 4)
    two = SQUARE.expand(2, -1, -1)
    with pytest.raises(MaskError, match=r"masks have shape \(1, 4, 4\), saliency maps \(2, 4, 4\)"):
        iou(good, SQUARE)
    with pytest.raises(MaskError, match=r"bool \(B, H, W\)"):
        iou(good, two.float())
    empty = two.clone()
    empty[1] = False
    with pytest.raises(MaskError, match=r"1 masks hold no object \(positions 1\)"):
        iou(good, empty)
    with pytest.raises(ValueError, match="top=1.5"):
        iou(good, two, top=1.5)
    good[0, 0, 0] = torch.inf
    with pytest.raises(NotSaliency, match="1 of 2"):
        iou(good, two)


def test_proxy_masks_find_the_blob_and_refuse_what_is_none():
    maps = torch.zeros(4, 32, 32)
    maps[0, 8:20, 8:20] = 1.0
    maps[0, 28, 28] = 1.0  # a speck, opened away
    maps[2, :2, :2] = 1.0  # too small
    maps[3] = torch.linspace(0, 1, 1024).view(32, 32)
    masks, refused = proxy_masks(maps)
    assert refused.tolist() == [False, True, True, False]
    assert masks[0, 9:19, 9:19].all() and not masks[0, 28, 28]
    assert masks[0].sum() == 144 - 4  # opening by a cross rounds the corners
    assert not masks[1].any()
    assert masks[3, -1, -1] and not masks[3, 0, 0]
    told = coverage(masks)
    assert (told["n"], told["empty"]) == (4, 2)
    assert told["q50"] == pytest.approx((masks[0].float().mean() + masks[3].float().mean()) / 2)
    assert np.isnan(coverage(masks[1:2])["mean"])


def test_masks_of_ones_own(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    drawn = np.zeros((32, 32), np.uint8)
    drawn[3:9, 4:10] = 255
    Image.fromarray(drawn).save(folder / "17.png")
    masks, known = read_masks(folder, [3, 17])
    assert known.tolist() == [False, True]
    assert torch.equal(masks[1], torch.from_numpy(drawn > 0)) and not masks[0].any()

    rows = np.zeros((20, 32, 32), np.uint8)
    rows[17] = drawn
    np.save(tmp_path / "masks.npy", rows)
    again, known = read_masks(tmp_path / "masks.npy", [3, 17, 99])
    assert known.tolist() == [False, True, False] and torch.equal(again[1], masks[1])


def test_bad_masks_of_ones_own(tmp_path):
    with pytest.raises(MaskError, match="expected a folder of PNG files"):
        read_masks(tmp_path / "nothing", [0])
    with pytest.raises(MaskError, match="no mask of any of the 2 images"):
        read_masks(tmp_path, [0, 1])
    Image.fromarray(np.full((16, 16), 255, np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(MaskError, match="0.png is 16 x 16; 32 x 32 is needed"):
        read_masks(tmp_path, [0])
    Image.fromarray(np.full((32, 32), 255, np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(MaskError, match="image 0 covers the whole image"):
        read_masks(tmp_path, [0])
    (tmp_path / "0.png").write_bytes(b"not a picture")
    with pytest.raises(MaskError, match="cannot be read as an image"):
        read_masks(tmp_path, [0])
    np.save(tmp_path / "floats.npy", np.zeros((3, 32, 32)))
    with pytest.raises(MaskError, match="holds float64"):
        read_masks(tmp_path / "floats.npy", [0])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(MaskError, match="damaged or not a NumPy array"):
        read_masks(tmp_path / "objects.npy", [0])


def test_the_threshold_that_separates_by_hand():
    saliency = torch.tensor([[[9.0, 8.0], [1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])
    # k (P - k) (difference of means)^2 of the first: 3 * 36, 4 * 64, 3 * 36.
    assert separated(saliency).tolist() == [[[True, True], [False, False]], [[True] * 2] * 2]
    mask = torch.tensor([[[True, False], [False, False]]] * 2)
    found, random = iou_separated(saliency, mask)
    assert found.tolist() == [pytest.approx(1 / 2), pytest.approx(1 / 4)]
    # s m / (s + m - s m) of s = 1/2 and m = 1/4, and all of the image against a quarter.
    assert random.tolist() == [pytest.approx(0.125 / 0.625), pytest.approx(1 / 4)]


def test_the_threshold_is_that_of_scikit_image():
    from skimage.filters import threshold_otsu

    maps = torch.randint(256, (20, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    maps[:, :4] /= 4
    maps = maps.floor()
    for values, found in zip(maps, separated(maps), strict=True):
        whole = values.numpy().astype(np.uint8)
        assert np.array_equal(found.numpy(), whole > threshold_otsu(whole))
    # Only the values count, up to their scale and origin.
    assert torch.equal(separated(maps * 3e-6 - 1), separated(maps))


def test_the_area_over_all_thresholds_by_hand():
    mask = torch.tensor([[[True, True], [False, False]]])
    # The order object, ground, object, ground: 1/2, 1/3, 2/3, 2/4.
    saliency = torch.tensor([[[4.0, 2.0], [3.0, 1.0]]])
    assert iou_area(saliency, mask).item() == pytest.approx((1 / 2 + 1 / 3 + 2 / 3 + 1 / 2) / 4)
    # Two tied pixels, one of the object: half a hit each. 0.5/2.5, 1/3, then 2/3, 2/4.
    tied = torch.tensor([[[3.0, 2.0], [3.0, 1.0]]])
    assert iou_area(tied, mask).item() == pytest.approx((0.2 + 1 / 3 + 2 / 3 + 1 / 2) / 4)
    chance, best = iou_area_levels(mask)
    assert best.item() == pytest.approx((1 / 2 + 1 + 2 / 3 + 2 / 4) / 4)
    assert chance.item() == iou_area(torch.zeros(1, 2, 2), mask).item()
    assert best.item() == iou_area(mask.float(), mask).item()


def test_the_area_is_the_mean_of_the_curve_and_heeds_the_order_alone():
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(5, 6, 6, generator=generator)
    mask = torch.rand(5, 6, 6, generator=generator) > 0.7
    curve = iou_curve(saliency, mask, tops=[k / 36 for k in range(1, 36)])
    whole = mask.flatten(1).double().mean(1, keepdim=True)
    expected = torch.cat([curve, whole], 1).mean(1)
    assert torch.allclose(iou_area(saliency, mask), expected)
    assert torch.allclose(iou_area(saliency.exp(), mask), expected)
    many = iou_area(torch.rand(2000, 6, 6, generator=generator), mask[:1].expand(2000, -1, -1))
    assert many.mean().item() == pytest.approx(iou_area_levels(mask[:1])[0].item(), abs=0.01)


def test_a_share_is_chosen_on_other_images():
    # Even images score best at the first share, odd ones at the second: each gets the other's.
    curve = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6], [np.nan, np.nan]])
    found, columns = iou_elsewhere(curve)
    assert columns == (1, 0)
    assert found[:4].tolist() == [0.1, 0.2, 0.3, 0.4]
    assert np.isnan(found[4])
    with pytest.raises(ValueError, match="two or more need a mask"):
        iou_elsewhere(curve[:1])


@pytest.mark.parametrize("measure", [iou_separated, iou_area])
def test_the_other_rules_refuse_what_iou_refuses(measure):
    with pytest.raises(NotSaliency, match="NaN"):
        measure(torch.full((1, 4, 4), torch.nan), SQUARE)
    with pytest.raises(MaskError):
        measure(torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool))
    with pytest.raises(MaskError):
        measure(torch.rand(1, 5, 5), SQUARE)


@pytest.mark.parametrize(("top", "kept"), [(0.30, 5), (0.28, 4), (0.01, 1), (0.97, 16)])
def test_the_pixels_kept_are_the_nearest_whole_number(top, kept):
    # 4.8, 4.48, 0.16 and 15.52 of 16 pixels, in order; all lie on the object of eight or past it.
    saliency = torch.arange(16.0, 0, -1).view(1, 4, 4)
    half = mask_of("####", "####", "....", "....")
    expected = min(kept, 8) / max(kept, 8)
    assert iou(saliency, half, top=top).item() == pytest.approx(expected)
    assert ceiling(half, top=top).item() == pytest.approx(expected)
    assert same_top(saliency, saliency.flip(1, 2), top=top).item() == pytest.approx(
        max(0, 2 * kept - 16) / min(16, 2 * kept)
    )


def test_the_seed_pairs_maps_and_masks():
    masks = torch.zeros(8, 4, 4, dtype=torch.bool)
    for k in range(8):
        masks[k].view(-1)[: k + 1] = True
    found = [shuffled_pairs(masks.float(), masks, seed=seed).tolist() for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
