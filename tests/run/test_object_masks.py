"""The masks of a run: who was taught on what, what is kept, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rslib import data
from rslib.run import object_masks
from rslib.run.trainer import images_of
from rslib.saliency import MaskError
from rslib.settings.names import TEACHERS
from rslib.settings.plan import plan
from rslib.store import records
from rslib.store.records import RecordError


def test_halves_share_nothing_and_are_balanced():
    images = data.load("shapes", "train", n=101)
    first, second = data.halves(images)
    assert (len(first), len(second)) == (51, 50)
    assert not set(first.ids.tolist()) & set(second.ids.tolist())
    for half in (first, second):
        counts = torch.bincount(half.labels, minlength=10)
        assert counts.max() - counts.min() <= 2
    with pytest.raises(data.DataError, match="cannot halve 1 image"):
        data.halves(images.subset([0]))


def test_the_teachers_are_taught_on_the_halves(explained_run):
    run = explained_run
    taught = [images_of(run, plan(run.settings, n), "train") for n in TEACHERS.values()]
    assert sum(map(len, taught)) == len(run.data("train"))
    assert not set(taught[0].ids.tolist()) & set(taught[1].ids.tolist())
    run.trained("resnet18-teacher")
    assert run.summary("resnet18-teacher")["train_images"] == 60


def test_exact_masks_are_the_data_sets(explained_run):
    assert explained_run.mask_sources == ("exact", "cnn", "vit")
    assert explained_run.mask_source == "exact"
    masks = object_masks.of(explained_run, "exact", "test")
    assert torch.equal(masks, explained_run.data("test").masks)


@pytest.mark.parametrize("source", ["cnn", "vit"])
def test_a_record_of_masks_keeps_every_image_and_its_refusals(explained_run, source):
    frame = object_masks.record(explained_run, source, "test")
    masks = object_masks.of(explained_run, source, "test")
    assert frame["image"].tolist() == explained_run.data("test").ids.tolist()
    assert masks.shape == (60, 32, 32)
    assert frame["coverage"].to_numpy() == pytest.approx(masks.float().mean((1, 2)).numpy())
    assert (frame["refused"].to_numpy() == ~masks.flatten(1).any(1).numpy()).all()
    made = frame.attrs
    assert made["temperature"] > 0
    assert 0 <= made["ece_after"] <= 1
    assert made["inputs"]["teacher"]["model"] == TEACHERS[source]


def test_masks_do_not_depend_on_the_temperature(explained_run):
    """Dividing all logits by a number scales every map, and Otsu's threshold with it."""
    from rslib.saliency import proxy_masks

    model = explained_run.trained("resnet18-teacher")
    x = explained_run.data("test").images[:8].float() / 255
    labels = explained_run.data("test").labels[:8]
    plain = object_masks.activation_maps(model, x, labels, "network.layer3")
    scaled = object_masks.activation_maps(
        torch.nn.Sequential(model, Divide(2.5)), x, labels, "0.network.layer3"
    )
    assert torch.allclose(scaled * 2.5, plain, rtol=1e-4, atol=1e-6)
    same = proxy_masks(plain)[0] == proxy_masks(plain * 4)[0]
    assert same.all()


def test_maps_of_layers_and_mirror_images_are_averaged(explained_run):
    from rslib.saliency import gradcam, resize, standardize

    model = explained_run.trained("resnet18-teacher")
    x = explained_run.data("test").images[:4].float() / 255
    labels = explained_run.data("test").labels[:4]
    layers = ["network.layer3", "network.layer4"]
    found = object_masks.activation_maps(model, x, labels, layers, flips=True)
    maps = []
    for layer in layers:
        maps.append(resize(gradcam(model, x, labels, layer=layer), (32, 32)))
        back = resize(gradcam(model, x.flip(3), labels, layer=layer), (32, 32)).flip(2)
        maps.append(back)
    assert torch.allclose(found, sum(map(standardize, maps)) / 4, atol=1e-4)
    mirrored = object_masks.activation_maps(model, x.flip(3), labels, layers, flips=True)
    assert torch.allclose(mirrored.flip(2), found, atol=1e-4)


def test_how_masks_are_made_is_in_their_key_and_the_old_way_has_the_old_one(tiny_run):
    old = {"cnn_layer": "network.layer3", "vit_blocks": 1, "flips": False, "refine": None}
    keys = {str(tiny_run({"masks": old}).mask_inputs("cnn")["masks"])}
    assert keys == {"{}"}
    for change in ({"flips": True}, {"refine": "colors"}, {"cnn_layer": ["network.layer4"]}):
        keys.add(str(tiny_run({"masks": old | change}).mask_inputs("cnn")["masks"]))
    assert len(keys) == 4


def test_a_teachers_masks_are_judged_by_exact_ones_and_tables_say_so(explained_run):
    from rslib.report import tables

    run = explained_run
    exact = run.data("test").masks.numpy()
    masks = object_masks.of(run, "vit", "test").numpy()
    ious = [(m & e).sum() / (m | e).sum() for m, e in zip(masks, exact, strict=True)]
    found = object_masks.priors(run).attrs["sources"]
    assert found["vit"]["exact_iou"] == pytest.approx(np.mean(ious))
    assert found["vit"]["exact_chance"] < 1 and "exact_iou" not in found["exact"]
    (told,) = [n for n in tables.masks_table(run).attrs["notes"] if "Shapes' exact ones" in n]
    assert f"ViT teacher's {np.mean(ious):.2f} (chance" in told


def test_on_other_images_teachers_are_judged_on_shapes(tiny_run):
    from rslib.run.results import on_shapes

    run = tiny_run()
    assert on_shapes(run) is run
    other = tiny_run({"data": {"name": "cifar10"}, "masks": {"flips": True}})
    judged = on_shapes(other).settings
    assert (judged.data.name, judged.data.train_size, judged.masks.flips) == ("shapes", 120, True)


class Divide(torch.nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, logits):
        return logits / self.by


def test_priors_are_those_of_the_masks(explained_run):
    from rslib import saliency

    record = object_masks.priors(explained_run)
    exact = explained_run.data("test").masks
    assert record["chance_exact_30"].to_numpy() == pytest.approx(
        saliency.chance(exact).numpy(), abs=1e-4
    )
    assert record["ceiling_exact"].to_numpy() == pytest.approx(
        saliency.ceiling(exact).numpy(), abs=1e-4
    )
    assert record["coverage_exact"].to_numpy() == pytest.approx(
        exact.float().mean((1, 2)).numpy(), abs=1e-4
    )
    about = record.attrs["sources"]
    assert about["exact"] == {"known": 60, "images": 60}
    assert int(record["coverage_cnn"].notna().sum()) == about["cnn"]["known"]
    assert record.equals(explained_run.priors())


def test_priors_that_were_not_made_are_asked_for(tiny_run):
    with pytest.raises(RecordError, match="run notebook 03"):
        tiny_run().priors()


def test_a_share_of_the_masks_is_nested_and_balanced(explained_run):
    images = explained_run.data("train")
    kept = {}
    for share in (0.25, 0.5, 1.0):
        attached = object_masks.attach(explained_run, "train", "exact", share)
        kept[share] = attached.masks.flatten(1).any(1)
        assert kept[share].sum() == round(share * len(images))
        assert torch.equal(attached.masks[kept[share]], images.masks[kept[share]])
    assert not (kept[0.25] & ~kept[0.5]).any()
    # and not within the images that one of the teachers was taught
    first = torch.isin(images.ids, data.halves(images)[0].ids)
    assert 0 < (kept[0.5] & first).sum() < kept[0.5].sum()
    assert torch.bincount(images.labels[kept[0.5]], minlength=10).tolist() == [6] * 10


def test_masks_of_a_teacher_that_was_trained_again_are_refused(tiny_run):
    run = tiny_run()
    object_masks.record(run, "cnn", "validation")
    path = run.model_folder("resnet18-teacher") / "model.json"
    summary = run.summary("resnet18-teacher")
    records.write_json(path, summary | {"weights": summary["weights"] | {"best": "0" * 64}})
    with pytest.raises(RecordError, match="other weights than resnet18-teacher has now"):
        object_masks.record(run, "cnn", "validation")
    path.unlink()  # as in what is published
    object_masks.record(run, "cnn", "validation")


def test_masks_of_ones_own_are_read_and_decide_the_key(tiny_run, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    rows = np.zeros((160, 32, 32), dtype=np.uint8)
    rows[:100, 4:20, 4:20] = 1
    np.save(folder / "train.npy", rows)
    np.save(folder / "test.npy", rows[:60])
    run = tiny_run({"masks": {"own": str(folder)}})
    assert run.mask_source == "own"
    assert run.mask_sources == ("exact", "own", "cnn", "vit")
    train = object_masks.of(run, "own", "train")
    known = run.data("train").ids < 100
    assert torch.equal(train.flatten(1).any(1), known)
    assert run.model_inputs("resnet18-aligned")["masks"]["source"] == "own"
    before = run.model_inputs("resnet18-aligned")
    rows[:50, 10:12, 10:12] = 0
    np.save(folder / "train.npy", rows)
    assert run.model_inputs("resnet18-aligned") != before


@pytest.mark.parametrize(
    ("overrides", "source", "said"),
    [
        ({}, "own", "names no folder"),
        ({"masks": {"own": str(Path(__file__).parent)}}, "own", "neither a folder train nor"),
        ({}, "saliency", "no masks 'saliency'"),
    ],
)
def test_masks_that_are_not_there_are_refused(tiny_run, overrides, source, said):
    run = tiny_run(overrides)
    with pytest.raises(MaskError, match=said):
        object_masks.of(run, source, "train")


def test_a_set_without_masks_says_what_to_use(explained_run):
    from dataclasses import replace

    bare = replace(explained_run.data("test"), masks=None)

    class Bare:
        settings = explained_run.settings

        def data(self, split):
            return bare

    with pytest.raises(MaskError, match="has no exact masks: use a teacher"):
        object_masks.of(Bare(), "exact", "test")
