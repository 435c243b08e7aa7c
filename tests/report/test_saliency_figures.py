"""What is drawn of saliency is what the records say."""

import numpy as np
import pytest
import torch

from rslib.report import figures, tables
from rslib.run import object_masks
from rslib.settings.names import TOPS, baseline, control

pytestmark = pytest.mark.slow

STANDARD = ["resnet18-standard", "vit_small-standard"]
ALIGNED = "resnet18-aligned"
SHARED = f"{ALIGNED}@share=0.5"


@pytest.fixture(scope="module")
def run(explained_run):
    object_masks.priors(explained_run)
    for name in (*STANDARD, control(ALIGNED), ALIGNED, SHARED):
        explained_run.evaluate(name, "saliency")
    return explained_run


def widths(axis):
    return [bar.get_width() for bar in axis.patches]


def test_bars_are_mean_ious(run):
    figure = figures.overlap_bars(run, STANDARD)
    (axis,) = figure.axes
    expected = [run.record(name, "saliency")["iou_exact"].mean() for name in STANDARD]
    assert widths(axis) == pytest.approx(expected)
    assert "n = 60 test images" in figure.texts[-1].get_text()


def test_the_curve_goes_through_the_table(run):
    figure = figures.overlap_curve(run, STANDARD)
    for axis, name in zip(figure.axes, STANDARD, strict=True):
        line = next(each for each in axis.lines if each.get_label() == "standard")
        assert list(line.get_xdata()) == [100 * top for top in TOPS]
        record = run.record(name, "saliency")
        assert line.get_ydata()[3] == pytest.approx(record["iou_exact_30"].mean())


def test_chance_is_drawn_where_the_masks_are(run):
    figure = figures.chance_curve(run)
    (axis,) = figure.axes
    marks = {line.get_label(): line for line in axis.lines}
    priors = run.priors()
    exact = marks["exact masks"]
    assert exact.get_xdata()[0] == pytest.approx(priors["coverage_exact"].mean(), abs=1e-6)
    curve = marks["random map"]
    at = np.interp(0.24, curve.get_xdata(), curve.get_ydata())
    assert at == pytest.approx(0.3 * 0.24 / (0.3 + 0.7 * 0.24), abs=1e-4)


def test_dynamics_and_plane_show_every_model(run):
    names = [ALIGNED, control(ALIGNED)]
    figure = figures.alignment_dynamics(run, names)
    history = run.summary(ALIGNED)["history"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [row["validation_iou"] for row in history]
    figure = figures.alignment_plane(run, names)
    (axis,) = figure.axes
    record = run.record(baseline(ALIGNED), "saliency")
    points = axis.containers
    assert points[0].lines[0].get_xdata()[0] == pytest.approx(record["iou_exact"].mean())
    assert len(points) == 3


def test_the_front_joins_what_no_other_way_beats(run):
    names = [ALIGNED, control(ALIGNED), f"{ALIGNED}@beta=5.0,epochs=1"]
    for name in names:
        run.evaluate(name, "saliency")
    (axis,) = figures.alignment_front(run, names).axes
    at = {}
    for name in names:
        record = run.record(name, "saliency")
        at[name] = (record["iou_exact"].mean(), 100 * record["correct"].mean())
    best = {
        place
        for place in at.values()
        if not any(o != place and o[0] >= place[0] and o[1] >= place[1] for o in at.values())
    }
    front = next(line for line in axis.lines if line.get_linestyle() == "--")
    drawn = {tuple(map(float, each)) for each in zip(*front.get_data(), strict=True)}
    assert len(drawn) == len(best)
    assert sorted(drawn) == pytest.approx(np.array(sorted(best)))
    assert [text.get_text() for text in axis.texts] == ["2", "2", "1"]


def test_table_4_and_the_shares(run):
    frame = tables.table4(run, [ALIGNED]).set_index("quantity")
    own, rest = (run.record(n, "saliency") for n in (ALIGNED, control(ALIGNED)))
    gap = own["iou_exact"].mean() - rest["iou_exact"].mean()
    assert frame.loc["iou_over_control", "ours"] == pytest.approx(gap, abs=1e-6)
    assert frame.loc["final_iou", "paper"] == 0.423
    summary = run.summary(ALIGNED)
    best = summary["history"][summary["best_epoch"] - 1]
    assert frame.loc["alignment_loss", "ours"] == best["validation_alignment_loss"]
    shares = tables.shares_table(run, [SHARED, ALIGNED])
    masked = shares[shares["quantity"] == "masked_images"]["ours"]
    assert masked.tolist() == [60, 120]
    figure = figures.masks_needed(run, [SHARED, ALIGNED])
    assert figure.axes[0].get_xscale() == "log"


def test_pictures_carry_outlines_and_overlaps(run):
    test = run.data("test")
    images, masks = test.images[:4], test.masks[:4].clone()
    masks[3] = False
    figure = figures.saliency_grid(images, {"a map": masks.float()}, masks)
    titles = [axis.get_title() for axis in figure.axes]
    kept = [title for title in titles if title]
    assert len(kept) == 3  # the fourth has no mask
    area = masks[0].float().mean().item()
    assert float(kept[0]) == pytest.approx(min(area, 0.3) / max(area, 0.3), abs=0.02)
    sheet = figures.mask_sheet(images, {"exact": masks})
    said = [text.get_text() for axis in sheet.axes for text in axis.texts]
    assert said == ["refused"]
    with pytest.raises(ValueError, match="a map: 2 maps for 4 images"):
        figures.saliency_grid(images, {"a map": torch.zeros(2, 32, 32)}, masks)
    with pytest.raises(ValueError, match="exact: 2 masks for 4 images"):
        figures.mask_sheet(images, {"exact": masks[:2]})


def test_faithfulness_and_randomization_are_drawn_model_by_model(run):
    for name in STANDARD:
        run.evaluate(name, "faithfulness")
    figure = figures.faithfulness_curves(run, STANDARD, "insertion")
    record = run.record(STANDARD[0], "faithfulness")
    line = figure.axes[0].lines[0]
    assert line.get_ydata()[0] == pytest.approx(record["gradcam_insertion_0"].mean())
    figure = figures.randomization_curves(run, STANDARD)
    for axis in figure.axes[:2]:
        for line in axis.lines[:-1]:
            assert line.get_ydata()[0] == 1


def test_variants_tell_the_heads_overlap_beside_the_explanations(run):
    headed = "resnet18-aligned@through=head"
    run.evaluate(headed, "saliency")
    frame = tables.variants_table(run, [ALIGNED, headed]).set_index(["model", "quantity"])
    assert frame.loc[(headed, "head_iou"), "ours"] > 0
    assert np.isnan(frame.loc[(ALIGNED, "head_iou"), "ours"])
    record = run.record(headed, "saliency")
    assert frame.loc[(headed, "iou_exact"), "ours"] == pytest.approx(record["iou_exact"].mean())
    assert run.mask_source == "exact"
