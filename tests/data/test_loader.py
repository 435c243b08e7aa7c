"""Batches and augmentation, against a plain loop over images."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode

from rslib.data import Augment, Batches, DataError, Dataset, strong


def make(n=50, masks=True, size=8) -> Dataset:
    generator = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=generator)
    return Dataset(
        images=images,
        labels=torch.arange(n) % 10,
        classes=tuple("abcdefghij"),
        name="tiny",
        split="train",
        ids=torch.arange(n) + 100,
        masks=images[:, 0] > 127 if masks else None,
    )


def one_by_one(image, flip, top, left, padding):
    """Pad with zeros, crop, flip: one (C, H, W) image, pixel by pixel."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            source_row = row + top - padding
            source_column = (width - 1 - column if flip else column) + left - padding
            if 0 <= source_row < height and 0 <= source_column < width:
                out[:, row, column] = image[:, source_row, source_column]
    return out


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_augmentation_equals_a_loop_over_images(padding):
    data = make(12)
    augment = Augment(flip=0.5, padding=padding)
    draws = augment.draw(12, torch.Generator().manual_seed(1))
    flip, top, left = draws
    assert flip.any() and not flip.all()
    images, masks = augment.apply(data.images, data.masks, draws)
    for i in range(12):
        drawn = (flip[i], int(top[i]), int(left[i]), padding)
        assert torch.equal(images[i], one_by_one(data.images[i], *drawn))
        assert torch.equal(masks[i], one_by_one(data.masks[i : i + 1], *drawn)[0])
    assert images.dtype == torch.uint8 and masks.dtype == torch.bool


def test_a_hand_computed_shift_and_flip():
    image = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)
    augment = Augment(padding=1)
    shift = torch.tensor([0]), torch.tensor([2])
    moved, _ = augment.apply(image, None, (torch.tensor([False]), *shift))
    assert moved[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    mirrored, _ = augment.apply(image, None, (torch.tensor([True]), *shift))
    assert mirrored[0, 0].tolist() == [[0, 0, 0], [0, 3, 2], [0, 6, 5]]


def test_draws_cover_their_range_evenly():
    flip, *shifts = Augment(flip=0.25, padding=2).draw(50_000, torch.Generator().manual_seed(0))
    assert abs(flip.float().mean().item() - 0.25) < 0.01
    for shift in shifts:
        shares = torch.bincount(shift, minlength=5) / 50_000
        assert shares.shape == (5,) and (shares - 0.2).abs().max() < 0.01


def test_no_flip_and_no_padding_change_nothing():
    data = make()
    generator = torch.Generator().manual_seed(0)
    unchanged = Augment(flip=0.0, padding=0)
    drawn = unchanged.draw(len(data), generator)
    images, masks = unchanged.apply(data.images, data.masks, drawn)
    assert torch.equal(images, data.images) and torch.equal(masks, data.masks)
    mirroring = Augment(flip=1.0, padding=0)
    flipped, _ = mirroring.apply(data.images, None, mirroring.draw(len(data), generator))
    assert torch.equal(flipped, data.images.flip(3))


@pytest.mark.parametrize("bad", [{"flip": -0.1}, {"flip": 1.1}, {"padding": -1}])
def test_an_impossible_augmentation_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Augment(**bad)


def test_plain_batches_are_the_dataset_in_order():
    data = make(50)
    batches = Batches(data, 16)
    parts = list(batches)
    assert [len(part.y) for part in parts] == [16, 16, 16, 2] and len(batches) == 4
    x = torch.cat([part.x for part in parts])
    assert x.dtype == torch.float32 and x.min() >= 0 and x.max() <= 1
    assert torch.equal((x * 255).round().to(torch.uint8), data.images)
    assert x[0, 0, 0, 0].item() == pytest.approx(data.images[0, 0, 0, 0].item() / 255, abs=1e-7)
    assert torch.equal(torch.cat([part.y for part in parts]), data.labels)
    assert torch.equal(torch.cat([part.ids for part in parts]), data.ids)
    assert torch.equal(torch.cat([part.masks for part in parts]), data.masks)
    assert Batches(make(5, masks=False), 5).epoch(0).__next__().masks is None


def test_shuffling_moves_all_fields_together_and_drops_nothing():
    data = make(50)
    parts = list(Batches(data, 16, shuffle=True, seed=1).epoch(3))
    ids = torch.cat([part.ids for part in parts])
    assert sorted(ids.tolist()) == data.ids.tolist() and ids.tolist() != data.ids.tolist()
    places = ids - 100
    x = torch.cat([part.x for part in parts])
    assert torch.equal((x * 255).round().to(torch.uint8), data.images[places])
    assert torch.equal(torch.cat([part.y for part in parts]), data.labels[places])
    assert torch.equal(torch.cat([part.masks for part in parts]), data.masks[places])


def same(first, second) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, b) for p, q in pairs for a, b in zip(p, q, strict=True))


def test_an_epoch_depends_on_seed_and_number_alone():
    data = make(50)

    def batches(seed=7):
        return Batches(data, 16, shuffle=True, augment=Augment(), seed=seed)

    uninterrupted = batches()
    epochs = [list(uninterrupted.epoch(k)) for k in range(4)]
    torch.manual_seed(123)
    resumed = batches()
    assert same(resumed.epoch(3), epochs[3])
    assert same(resumed.epoch(2), epochs[2])
    assert not same(epochs[2], epochs[3])
    assert not same(batches(seed=8).epoch(2), epochs[2])
    assert same(iter(resumed), epochs[0])


def test_iterating_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    list(Batches(make(), 16, shuffle=True, augment=Augment()))
    assert torch.equal(before, torch.get_rng_state())


def test_masks_stay_on_their_pixels_through_shuffling_and_augmentation():
    data = make(60)
    for batch in Batches(data, 16, shuffle=True, augment=Augment(padding=3)):
        # The masks were made by this rule, and padding is zero in both.
        assert torch.equal(batch.masks, batch.x[:, 0] * 255 > 127.5)


def test_each_image_gets_its_own_draw():
    data = make(1, masks=False)
    many = Dataset(
        images=data.images.expand(64, -1, -1, -1).contiguous(),
        labels=torch.zeros(64, dtype=torch.int64),
        classes=data.classes,
        name="tiny",
        split="train",
        ids=torch.arange(64),
    )
    (batch,) = Batches(many, 64, augment=Augment(padding=4))
    assert len(torch.unique(batch.x, dim=0)) > 40


def test_batches_do_not_share_memory_with_the_dataset():
    data = make()
    before = data.images.clone()
    for batch in Batches(data, 16):
        batch.x.zero_()
    assert torch.equal(data.images, before)


def test_channels_last_changes_layout_and_not_values():
    plain, last = (list(Batches(make(), 16, channels_last=flag)) for flag in (False, True))
    assert same(plain, last)
    assert last[0].x.is_contiguous(memory_format=torch.channels_last)
    assert plain[0].x.is_contiguous()


def test_an_empty_batch_size_is_refused():
    with pytest.raises(ValueError, match="batch_size"):
        Batches(make(), 0)


def test_the_stream_of_an_epoch_is_pinned():
    """A resumed run may use another version of the package: the derived seed must not change."""
    from rslib.data.loader import _stream

    expected = int(hashlib.sha256(b"batches seed=7 epoch=3").hexdigest()[:16], 16) // 2
    assert _stream(7, 3) == expected < 2**63


# Digests of the first epoch's batches, taken when everything was still drawn on the CPU.
DRAWN_ON_A_CPU = {
    "order": "ddeecc9405f33ef2",
    "crops": "2377a226b03bcafd",
    "randaugment": "def594ce28b1283f",
    "erasing": "c510dea4a846d25a",
    "mixup": "91733c81657271d1",
    "cutmix": "3bce8f87bbbf2266",
    "both": "50bcf51eb51f63ea",
    "all": "99a5fb6d1c6ee749",
}


def augmented(name: str) -> dict:
    """The options of a case of the table above."""
    weak = {"shuffle": True, "augment": Augment(), "seed": 7}
    return {
        "order": {"shuffle": True, "seed": 7},
        "crops": weak,
        "randaugment": weak | {"strong": [strong.RandAugment(2, 9)]},
        "erasing": weak | {"strong": [strong.Erasing(0.5)]},
        "mixup": weak | {"mix": strong.Mix(10, 0.8)},
        "cutmix": weak | {"mix": strong.Mix(10, None, 1.0)},
        "both": weak | {"mix": strong.Mix(10, 0.8, 1.0)},
        "all": weak
        | {
            "strong": [strong.RandAugment(2, 14), strong.Erasing(0.25)],
            "mix": strong.Mix(10, 0.8, 1.0),
            "channels_last": True,
        },
    }[name]


@pytest.mark.parametrize("name", list(DRAWN_ON_A_CPU))
def test_the_draws_of_a_cpu_are_pinned(name):
    digest = hashlib.sha256()
    for batch in Batches(make(50), 16, **augmented(name)).epoch(1):
        digest.update(batch.ids.numpy())
        digest.update((batch.y * 1000).round().int().numpy())
        # The pixels of mixup differ in the last digits from processor to processor.
        if name not in ("mixup", "both", "all"):
            digest.update((batch.x * 255).round().byte().contiguous().numpy())
        if batch.masks is not None:
            digest.update(batch.masks.contiguous().numpy())
    assert digest.hexdigest()[:16] == DRAWN_ON_A_CPU[name]


class Elsewhere(torch.Generator):
    """A CPU generator that says it is on the device that was asked for."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu")

    def __init__(self, device="cpu"):
        self.asked = torch.device(device)

    @property
    def device(self):
        return self.asked


class Drawing(TorchFunctionMode):
    """Note where each draw from a given generator is asked for, and make it there or elsewhere."""

    def __init__(self, made_on=None):
        super().__init__()
        self.asked, self.made_on = [], made_on

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if isinstance(kwargs.get("generator"), torch.Generator):
            self.asked.append(str(kwargs.get("device", "cpu")))
            if self.made_on is not None:
                kwargs["device"] = self.made_on
        return function(*args, **kwargs)


def on_meta(dataset: Dataset) -> SimpleNamespace:
    """What a loader sees of a set on the device of tensors without values."""
    fields = ("images", "labels", "ids", "masks")
    moved = {name: getattr(dataset, name).to("meta") for name in fields}

    class Placed(SimpleNamespace):
        def __len__(self):
            return len(dataset)

    return Placed(device=torch.device("meta"), **moved)


@pytest.mark.parametrize("name", ["order", "crops", "erasing", "mixup", "cutmix", "both"])
def test_an_epoch_is_drawn_where_its_images_are(name, monkeypatch):
    monkeypatch.setattr(torch, "Generator", Elsewhere)
    batches = Batches(make(50), 16, **augmented(name))
    batches.dataset = on_meta(batches.dataset)
    with Drawing() as drawing:
        parts = list(batches.epoch(1))
    # Mixing takes one number a batch, which Python reads; all else is as large as the images.
    host = [] if batches.mix is None else ["cpu"]
    assert drawing.asked == ["meta"] * (len(drawing.asked) - len(host)) + host
    assert "meta" in drawing.asked
    assert [len(part.y) for part in parts] == [16, 16, 16, 2]
    assert all(part.x.is_meta and part.y.is_meta and part.ids.is_meta for part in parts)
    assert parts[0].y.shape == ((16,) if batches.mix is None else (16, 10))


@pytest.mark.parametrize(
    ("transform", "draws"),
    [(strong.RandAugment(2, 9), 2), (strong.Erasing(0.5), 2), (strong.Cutout(3), 2)],
)
def test_strong_augmentation_is_drawn_on_the_generator_s_device(transform, draws):
    data = make(20)
    with Drawing(made_on="cpu") as drawing:
        images, masks = transform(data.images, data.masks, Elsewhere("meta").manual_seed(3))
    assert drawing.asked == ["meta"] * draws
    same_seed = transform(data.images, data.masks, torch.Generator().manual_seed(3))
    assert torch.equal(images, same_seed[0]) and torch.equal(masks, same_seed[1])


# Cutout


def cut(side, n=20_000, size=4):
    """Which pixels of white images with full masks are cut out: bool (n, size, size)."""
    images = torch.full((n, 3, size, size), 255, dtype=torch.uint8)
    masks = torch.ones(n, size, size, dtype=torch.bool)
    made, kept = strong.Cutout(side)(images, masks, torch.Generator().manual_seed(0))
    assert made.dtype == torch.uint8 and (images == 255).all() and masks.all()
    assert torch.equal(made == 255, kept.unsqueeze(1).expand_as(made))
    assert torch.equal(made == 0, ~kept.unsqueeze(1).expand_as(made))
    return ~kept


def squares(side, size=4):
    """Every square that can be cut, for each center once, as a loop over pixels."""
    centers = [(row, column) for row in range(size) for column in range(size)]
    up, down = -(side // 2), side - side // 2
    return [
        [
            [row + up <= i < row + down and column + up <= j < column + down for j in range(size)]
            for i in range(size)
        ]
        for row, column in centers
    ]


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_each_center_has_its_square_equally_often(side):
    made, often = torch.unique(cut(side), dim=0, return_counts=True)
    expected = torch.unique(torch.tensor(squares(side)), dim=0)
    assert len(expected) == 16 and torch.equal(made, expected)
    assert (often / 20_000 - 1 / 16).abs().max() < 0.008


@pytest.mark.parametrize(
    ("side", "area"),
    # Along one side of 4 pixels, the four centers leave: 1, 1, 1, 1; 1, 2, 2, 2; 2, 3, 3, 2;
    # 2, 3, 4, 3. The mean, squared.
    [(1, 1.0), (2, 1.75**2), (3, 2.5**2), (4, 3.0**2)],
)
def test_the_area_cut_out_by_hand(side, area):
    assert cut(side).flatten(1).sum(1).float().mean().item() == pytest.approx(area, rel=0.015)


def test_the_area_cut_from_a_cifar_image_by_hand():
    # Of 8 pixels 4, 5, 6, 7 are left at the near border and 7, 6, 5 at the far one, and all at the
    # other 25 centers: (22 + 18 + 200) / 32 = 7.5.
    areas = cut(8, 5000, 32).flatten(1).sum(1).float()
    assert areas.mean().item() == pytest.approx(7.5**2, rel=0.01)
    assert (areas.min(), areas.max()) == (16, 64)


def test_cutout_without_masks_leaves_the_rest_of_the_image():
    data = make(30)
    made, masks = strong.Cutout(3)(data.images, None, torch.Generator().manual_seed(1))
    assert masks is None
    changed = made != data.images
    assert (made[changed] == 0).all() and changed.flatten(1).any(1).all()
    assert changed.any(1).flatten(1).sum(1).max() == 9


@pytest.mark.parametrize("side", [0, -3])
def test_a_square_without_pixels_is_refused(side):
    with pytest.raises(ValueError, match=f"side: expected 1 or more pixels, got {side}"):
        strong.Cutout(side)


def test_a_square_larger_than_the_images_is_refused():
    data = make(3)
    strong.Cutout(8)(data.images, data.masks, torch.Generator())
    with pytest.raises(DataError, match="cutout: .* 9 pixels .* 8 x 8; set cutout to 8 or less"):
        next(Batches(data, 2, strong=[strong.Cutout(9)]).epoch(0))


# Share of mixed batches


@pytest.mark.parametrize("share", [0.25, 0.8])
def test_the_share_of_mixed_batches_is_as_set(share):
    x, y = torch.rand(4, 3, 32, 32), torch.arange(4)
    mix = strong.Mix(6, 0.8, 1.0, cutmix_probability=0.5, share=share)
    mixed = cut = 0
    for seed in range(1500):
        made, labels = mix(x, y, seed)
        assert labels.dtype == torch.float32 and labels.shape == (4, 6)
        if torch.equal(made, x):
            assert torch.equal(labels, torch.eye(6)[:4])
        else:
            mixed += 1
            # CutMix leaves every pixel as it was in one of the two images.
            cut += bool(((made == x) | (made == x.roll(1, 0))).all())
    # A rectangle may be empty, with a chance of 1 in 256: then a batch looks as if left alone.
    assert mixed / 1500 == pytest.approx(share, abs=0.04)
    assert cut / mixed == pytest.approx(0.5, abs=0.07)


def test_a_batch_is_mixed_by_the_first_number_of_its_seed():
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    some = strong.Mix(4, 0.8, share=0.5)
    for seed in range(30):
        first = torch.rand((), generator=torch.Generator().manual_seed(seed)).item()
        assert torch.equal(some(x, y, seed)[0], x) == (first >= 0.5)


def test_the_choice_of_a_batch_is_its_own_and_leaves_the_global_generator_alone():
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    mix = strong.Mix(4, 0.8, share=0.5)
    before = torch.get_rng_state()
    runs = [[mix(x, y, seed)[1] for seed in order] for order in (range(20), range(19, -1, -1))]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(runs[0], reversed(runs[1]), strict=True))


def test_batches_of_an_epoch_have_one_kind_of_labels_whether_mixed_or_not():
    mix = strong.Mix(10, 0.8, share=0.5)
    plain = list(Batches(make(200), 10, shuffle=True, seed=7).epoch(1))
    some = list(Batches(make(200), 10, shuffle=True, mix=mix, seed=7).epoch(1))
    untouched = 0
    for a, b in zip(plain, some, strict=True):
        assert b.y.dtype == torch.float32 and b.y.shape == (10, 10) and b.masks is None
        if torch.equal(a.x, b.x):
            untouched += 1
            assert torch.equal(b.y.argmax(1), a.y) and torch.equal(b.y.sum(1), b.y.amax(1))
    assert 4 <= untouched <= 16


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_of_batches_outside_its_range_is_refused(share):
    with pytest.raises(ValueError, match=r"share: expected .* in \(0, 1\], got"):
        strong.Mix(10, 0.8, share=share)


# Light epochs


def heavy(**options):
    """Batches with everything."""
    return Batches(
        make(50),
        16,
        shuffle=True,
        augment=Augment(),
        strong=[strong.RandAugment(2, 9), strong.Cutout(4), strong.Erasing(0.5)],
        mix=strong.Mix(10, 0.8, 1.0, share=0.5),
        seed=7,
        **options,
    )


def test_light_epochs_are_those_of_batches_with_flips_and_crops_alone():
    weak = Batches(make(50), 16, shuffle=True, augment=Augment(), seed=7)
    late, always = heavy(light_from=2), heavy(light_from=0)
    for k in (2, 3, 9):
        assert same(late.epoch(k), weak.epoch(k))
    for k in (0, 1, 2):
        assert same(always.epoch(k), weak.epoch(k))
    (first, *_) = late.epoch(2)
    assert first.y.dtype == torch.int64 and first.y.shape == (16,) and first.masks is not None


def test_epochs_before_the_light_ones_are_as_without_them():
    late, full = heavy(light_from=2), heavy()
    for k in (0, 1):
        for a, b in zip(late.epoch(k), full.epoch(k), strict=True):
            assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and torch.equal(a.ids, b.ids)
            assert a.masks is None and b.masks is None and a.y.shape == (len(a.ids), 10)
    assert next(full.epoch(2)).y.shape == (16, 10)


def test_a_first_light_epoch_before_the_first_is_refused():
    with pytest.raises(ValueError, match="light_from: expected an epoch from 0 on, or None, got -"):
        heavy(light_from=-1)
