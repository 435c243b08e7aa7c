"""What is measured of explanations, on a tiny run: against the functions it is made of."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from rslib import data, saliency
from rslib.report import tables
from rslib.run import explanations, object_masks
from rslib.saliency.methods import explain, is_transformer, methods
from rslib.settings.names import TEACHERS
from rslib.store.records import RecordError

pytestmark = pytest.mark.slow

MODELS = ["resnet18-standard", "vit_small-standard"]


@pytest.fixture(scope="module")
def run(explained_run):
    for name in MODELS:
        explained_run.evaluate(name, "saliency")
    object_masks.priors(explained_run)
    return explained_run


def test_every_method_gives_a_map_at_the_images_size(run):
    x = run.data("test").images[:3].float() / 255
    for name in MODELS:
        model = run.trained(name)
        offered = methods(model)
        assert offered[0] == ("rollout" if is_transformer(model) else "gradcam")
        for method in offered:
            maps = explain(model, x, method=method)
            assert maps.shape == (3, 32, 32)
            assert not maps.requires_grad
        assert torch.equal(explain(model, x), explain(model, x, method=offered[0]))


def test_methods_that_do_not_fit_are_refused(run):
    x = run.data("test").images[:1].float() / 255
    with pytest.raises(ValueError, match="holds no timm vision transformer"):
        explain(run.trained(MODELS[0]), x, method="rollout")
    with pytest.raises(ValueError, match="no saliency method 'lime'"):
        explain(run.trained(MODELS[0]), x, method="lime")


def test_overlap_is_that_of_the_maps(run):
    test = run.data("test")
    for name in MODELS:
        model = run.trained(name)
        maps = explain(model, test.images.float() / 255)
        record = run.record(name, "saliency")
        close = {"abs": 2e-3}  # shards are smaller batches, and columns are rounded
        assert record["iou_exact"].to_numpy() == pytest.approx(
            saliency.iou(maps, test.masks).numpy(), **close
        )
        assert record["mass_exact"].to_numpy() == pytest.approx(
            saliency.mass_inside(maps, test.masks).numpy(), **close
        )
        assert record["iou_exact_10"].to_numpy() == pytest.approx(
            saliency.iou(maps, test.masks, top=0.1).numpy(), **close
        )
        assert record["iou_exact_30"].to_numpy() == pytest.approx(
            record["iou_exact"].to_numpy(), abs=2**-10 + 2**-12
        )


def test_refused_masks_are_nan_and_nothing_is_dropped(run):
    record = run.record(MODELS[0], "saliency")
    assert len(record) == 60
    for source in TEACHERS:
        refused = object_masks.record(run, source, "test")["refused"].to_numpy()
        assert (record[f"iou_{source}"].isna().to_numpy() == refused).all()


def test_table_3_counts_and_compares(run):
    frame = tables.table3(run, MODELS)
    cells = frame[frame["model"] == MODELS[0]].set_index("quantity")
    record = run.record(MODELS[0], "saliency")
    assert cells.loc["iou_mean", "ours"] == pytest.approx(record["iou_exact"].mean())
    assert cells.loc["iou_mean", "n"] == 60
    assert cells.loc["iou_std", "ours"] == pytest.approx(record["iou_exact"].std(ddof=0))
    assert cells.loc["iou_mean", "paper"] == 0.152
    assert pd.isna(cells.loc["iou_mean", "difference"])  # Shapes, not CIFAR-10
    assert cells.loc["chance", "ours"] == pytest.approx(
        float(saliency.chance(run.data("test").masks).mean()), abs=1e-4
    )
    assert cells.loc["ceiling", "ours"] >= cells.loc["iou_mean", "ours"]
    other = tables.table3(run, MODELS, source="cnn")
    assert other.attrs["table"] == "overlap_cnn"
    assert set(other["quantity"]) == set(frame["quantity"])
    by_class = tables.class_iou_table(run, MODELS)
    assert len(by_class) == 20
    masks = tables.masks_table(run)
    assert list(dict.fromkeys(masks["model"])) == ["exact", "cnn", "vit"]
    assert masks.set_index(["model", "quantity"]).loc[("exact", "refused"), "ours"] == 0


def test_tables_ask_for_records_that_are_missing(tiny_run):
    with pytest.raises(RecordError):
        tables.table3(tiny_run(), MODELS)


def test_faithfulness_ends_where_it_must(run):
    steps = run.settings.faithfulness.steps
    for name in MODELS:
        record = run.evaluate(name, "faithfulness")
        assert len(record) == 10
        clean = run.evaluate(name, "clean").set_index("image").loc[record["image"]]
        for method in (*methods(run.trained(name)), "random"):
            # All pixels kept is the image itself; none is its mean color, whatever the method.
            kept = record[f"{method}_deletion_0"].to_numpy()
            assert kept == pytest.approx(clean["confidence"].to_numpy(), abs=1e-4)
            assert record[f"{method}_insertion_{steps}"].to_numpy() == pytest.approx(kept)
            assert record[f"{method}_deletion_{steps}"].to_numpy() == pytest.approx(
                record[f"{method}_insertion_0"].to_numpy()
            )
        frame = tables.faithfulness_table(run, [name], "deletion").set_index("quantity")
        columns = [f"random_deletion_{k}" for k in range(steps + 1)]
        assert frame.loc["random", "ours"] == pytest.approx(record[columns].to_numpy().mean())
    frame = tables.faithfulness_table(run, MODELS, "iou").set_index(["model", "quantity"])["ours"]
    ids = record["image"].to_numpy()
    masks = run.data("test").masks[[run.data("test").ids.tolist().index(i) for i in ids]]
    for kind, level in (("chance", saliency.chance), ("ceiling", saliency.ceiling)):
        assert frame[MODELS[1], kind] == pytest.approx(level(masks).mean().item(), abs=2e-3)
    expected = record["gradient_rollout_iou"].to_numpy(float).mean()
    assert frame[MODELS[1], "gradient_rollout"] == pytest.approx(expected)
    assert pd.isna(frame[MODELS[0], "gradient_rollout"])
    # No record of these models has the method: no column, as in editions made before it was there.
    alone = tables.faithfulness_table(run, MODELS[:1], "iou")
    assert "gradient_rollout" not in set(alone["quantity"])
    with pytest.raises(ValueError, match="no measure 'speed'"):
        tables.faithfulness_table(run, MODELS, "speed")


def test_other_thresholds_are_those_of_the_maps(run):
    test, frame = run.data("test"), tables.thresholds_table(run, MODELS)
    for name in MODELS:
        cells = frame[frame["model"] == name].set_index("quantity")["ours"]
        maps = explain(run.trained(name), test.images.float() / 255)
        otsu, chance = saliency.iou_separated(maps, test.masks)
        area = saliency.iou_area(maps, test.masks)
        low, high = saliency.iou_area_levels(test.masks)
        expected = {"otsu": otsu, "otsu_chance": chance, "area": area}
        expected |= {"area_chance": low, "area_ceiling": high}
        for quantity, values in expected.items():
            assert cells[quantity] == pytest.approx(values.mean().item(), abs=2e-3)
        curve = run.record(name, "saliency")[[f"iou_exact_{s:02.0f}" for s in (5, 50)]]
        assert curve.mean().min() - 0.05 <= cells["iou_best"] <= 1
        assert 5 <= cells["best_share"] <= 50


def test_a_record_without_the_other_thresholds_has_dashes(run, monkeypatch):
    record = run.record(MODELS[0], "saliency")
    old = record[[c for c in record if not c.startswith(("otsu", "area"))]]
    monkeypatch.setattr(run, "record", lambda name, kind: old)
    cells = tables.thresholds_table(run, MODELS[:1]).set_index("quantity")["ours"]
    assert cells[["otsu", "otsu_chance", "area", "area_chance", "area_ceiling"]].isna().all()
    assert cells[["iou_mean", "iou_best", "best_share"]].notna().all()


def test_a_random_models_maps_are_no_longer_the_trained_ones(run):
    found = run.randomization(MODELS[0])
    assert found == run.randomization(MODELS[0])
    assert found["n"] == 4
    assert set(found["methods"]) == set(methods(run.trained(MODELS[0])))
    for steps in found["methods"].values():
        assert 1 <= len(steps) <= 8
        layers = [step["layers"] for step in steps]
        assert layers == sorted(layers)
        assert all(s["correlation"] is None or -1 <= s["correlation"] <= 1 for s in steps)


def test_saliency_under_attack(run):
    record = run.evaluate(MODELS[0], "attacked_saliency")
    assert len(record) == 20
    assert not (record["fooled"] & ~record["clean_correct"]).any()
    assert record["rank_correlation"].dropna().between(-1, 1).all()
    assert record["same_top"].between(0, 1).all()
    frame = tables.attacked_saliency_table(run, [MODELS[0]])
    right = record[record["clean_correct"]]
    assert frame.set_index("quantity").loc["fooled", "ours"] == pytest.approx(
        100 * right["fooled"].mean()
    )


def test_swapped_images_are_judged_by_the_objects_class(run):
    record = run.evaluate(MODELS[0], "swapped")
    known = record.dropna(subset=["same_correct"])
    assert len(record) == 60
    assert len(known) > 20
    assert not ((known["other_correct"] == 1) & (known["background"] == 1)).any()
    frame = tables.swapped_table(run, [MODELS[0]]).set_index("quantity")
    assert frame.loc["gap", "ours"] == pytest.approx(
        100 * (known["same_correct"].mean() - known["other_correct"].mean())
    )


def test_agreement_with_people_by_hand():
    counts = torch.zeros(10_000, 10, dtype=torch.long)
    counts[:, 0], counts[:, 1] = 30, 10

    class Sure(torch.nn.Module):
        def forward(self, x):
            logits = torch.full((len(x), 10), -1e4)
            logits[:, :2] = torch.tensor([0.0, 0.0])
            return logits

    from rslib.data import Batch

    batch = Batch(torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.long), torch.arange(2), None)
    close = {"abs": 2**-14}  # half a step
    found = explanations.agreement(counts)(Sure(), batch, torch.Generator()).columns
    assert found["cross_entropy"].tolist() == pytest.approx([np.log(2)] * 2, **close)
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert found["people_entropy"].tolist() == pytest.approx([entropy] * 2, **close)
    assert found["distance"].tolist() == pytest.approx([0.25] * 2, rel=1e-5)
    assert found["chosen"].tolist() == pytest.approx([0.75] * 2)


def test_the_shortcut_runs_share_their_models(run):
    tied, broken = tables.shortcut_runs(run)
    assert tied.model_inputs("resnet18-aligned") == broken.model_inputs("resnet18-aligned")
    assert tied.model_inputs("resnet18-standard") != run.model_inputs("resnet18-standard")
    few = {"data": {"test_size": 60, "train_size": 120}}
    tied, broken = tied.under(few), broken.under(few)
    first, second = tied.data("test"), broken.data("test")
    assert torch.equal(first.masks, second.masks)
    assert torch.equal(first.labels, second.labels)
    match = [(d.attributes["backgrounds"] == d.labels).float().mean() for d in (first, second)]
    assert match[0] > 0.8
    assert match[1] < 0.3


def test_a_model_is_compared_with_its_control_on_the_same_broken_images(run):
    names = ["resnet18-aligned@beta=0.0", "resnet18-aligned"]
    for each in tables.shortcut_runs(run):
        for name in names:
            each.evaluate(name, "saliency")
    frame = tables.shortcut_table(run, names).set_index(["model", "quantity"])
    assert frame.loc[(names[0], "over_control"), "ours"] == 0
    broken = [frame.loc[(name, "broken"), "ours"] for name in names]
    assert frame.loc[(names[1], "over_control"), "ours"] == pytest.approx(broken[1] - broken[0])
    for name in names:
        drop = frame.loc[(name, "tied"), "ours"] - frame.loc[(name, "broken"), "ours"]
        assert frame.loc[(name, "drop"), "ours"] == pytest.approx(drop)
        assert frame.loc[(name, "iou"), "n"] == 30  # a quarter of the images trained on


def test_an_explanation_that_did_not_move_has_the_same_top_though_zeros_tie(run, monkeypatch):
    def unmoved(model, batch, *settings, **options):
        return SimpleNamespace(x_adv=batch.x)

    monkeypatch.setattr(explanations.predictions, "pgd", unmoved)
    # Fewer pixels than the top's share are positive, the last ones: the rest of it is any zeros.
    sparse = torch.zeros(10, 32, 32)
    sparse[:, -2:] = torch.rand(10, 2, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(explanations, "explain", lambda model, x: sparse)
    test = run.data("test")
    known = explanations.Known(test, test.masks)
    batch = next(iter(data.Batches(test, 10, device=run.device)))
    evaluate = explanations.under_attack(run.settings.pgd, known)
    found = evaluate(run.trained(MODELS[0]), batch, torch.Generator()).columns["same_top"]
    assert found.tolist() == [1] * 10
