"""Table 5 and what is behind it, against outcomes that can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from rslib.corruptions import SEVERITIES, mce
from rslib.report import figures, tables
from rslib.run.outcomes import load_reference, outcomes, write_reference
from rslib.settings.names import REFERENCE
from rslib.store.records import RecordError
from tests.helpers.corruption_records import DATA, add_corruptions
from tests.helpers.known_run import OUTCOMES, RESNET, ROBUST_RESNET, VIT, make_run, pick


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    models = OUTCOMES | {REFERENCE: (12, 3, 1, 1)}
    run = make_run(tmp_path_factory.mktemp("run"), models=models)
    for name in models:
        add_corruptions(run, name)
    return run


def test_table5_by_hand(run):
    # Errors: ResNet 0.6 under noise and 0.3 elsewhere, the reference 0.6 everywhere.
    frame = tables.table5(run)
    expected = {
        "noise": 1.0,
        "blur": 0.5,
        "weather": 0.5,
        "digital": 0.5,
        "mce": (4 * 1 + 15 * 0.5) / 19,
        "category_mean": 2.5 / 4,
        "mce_test15": (3 * 1 + 12 * 0.5) / 15,
        # 15 corruptions of mean error 30 %, 4 of 60 %.
        "error": 100 * (15 * 0.3 + 4 * 0.6) / 19,
    }
    for quantity, value in expected.items():
        row = pick(frame, RESNET, quantity)
        assert row["ours"] == pytest.approx(value), quantity
        assert row["n"] == 10
        assert row["low"] <= row["ours"] <= row["high"]
    assert frame.attrs["facts"]["reference_error"] == pytest.approx(60)
    # Clean errors (images 0 to 7 right of 10): 20 % for both ResNet and reference.
    relative = pick(frame, ROBUST_RESNET, "relative_mce")["ours"]
    assert relative == pytest.approx((0.3 - 0.2) / (0.6 - 0.2))


def test_the_reference_against_itself_is_one(run):
    frame = tables.table5(run, [REFERENCE])
    for quantity in ("noise", "mce", "category_mean", "mce_test15"):
        row = pick(frame, REFERENCE, quantity)
        assert (row["ours"], row["low"], row["high"]) == (1, 1, 1)


def test_the_caption_names_reference_and_origin(run):
    caption = tables.show(tables.table5(run)).caption
    digest = outcomes(run, REFERENCE).errors().digest
    for part in (
        "generated with seed 0, not the official files",
        "Reference: AlexNet, standard",
        "60.0 % on the same images (20.0 % clean)",
        digest[:10],
        "n = 10 test images",
    ):
        assert part in caption


def test_the_papers_values_stand_beside_but_do_not_compare(tmp_path):
    full = make_run(tmp_path, profile="paper", models=OUTCOMES | {REFERENCE: (12, 3, 1, 1)})
    for name in (*OUTCOMES, REFERENCE):
        add_corruptions(full, name)
    row = pick(tables.table5(full), RESNET, "mce")
    assert row["paper"] == 1.49 and row["incomparable"] == "other reference"


def test_a_reference_measured_on_other_images_is_refused(tmp_path):
    run = make_run(tmp_path, models={RESNET: (16, 4, 1, 2), REFERENCE: (12, 3, 1, 1)})
    add_corruptions(run, RESNET)
    add_corruptions(run, REFERENCE, DATA | {"seed": 1})
    with pytest.raises(mce.ReferenceMismatch, match="seed 0 against 1"):
        tables.table5(run, [RESNET])


def test_corruption_by_corruption(run):
    frame = tables.corruption_table(run, [RESNET, VIT])
    assert len(frame) == 2 * 19
    assert pick(frame, RESNET, "fog")["ours"] == pytest.approx(0.5)
    assert pick(frame, RESNET, "shot_noise")["ours"] == pytest.approx(1)
    assert pick(frame, VIT, "fog")["ours"] == pytest.approx(1)
    assert pick(frame, VIT, "jpeg_compression")["header"] == "JPEG compression"


def test_by_severity(run):
    frame = tables.severity_table(run, [ROBUST_RESNET])
    assert pick(frame, ROBUST_RESNET, "accuracy_0")["ours"] == pytest.approx(80)
    for severity in SEVERITIES:
        row = pick(frame, ROBUST_RESNET, f"accuracy_{severity}")
        assert row["ours"] == pytest.approx(100 - 10 * severity)
        # Confidence is 0.8 throughout.
        gap = abs(0.8 - (1 - severity / 10))
        ece = pick(frame, ROBUST_RESNET, f"ece_{severity}")
        assert ece["ours"] == pytest.approx(gap, abs=1e-6)


def test_differences_are_paired_and_signed(run):
    frame = tables.corruption_difference_table(run, [(ROBUST_RESNET, RESNET)])
    pair = f"{ROBUST_RESNET}_vs_{RESNET}"
    row = pick(frame, pair, "gaussian_noise")
    assert row["ours"] == pytest.approx(30 - 60) and row["high"] < 0
    same = pick(frame, pair, "fog")
    assert same["ours"] == 0 and np.isnan(same["low"])
    assert pick(frame, pair, "all")["ours"] == pytest.approx(-30 * 4 / 19)


def test_agreement_by_hand(tmp_path):
    # 20 attacked images would be needed for two groups of five; here PGD leaves five of eight.
    run = make_run(tmp_path, models={ROBUST_RESNET: (14, 7, 5, 6), VIT: (15, 2, 0, 0)})
    for name in (ROBUST_RESNET, VIT):
        add_corruptions(run, name)
    frame = tables.agreement_table(run, [ROBUST_RESNET, VIT])
    left, broken = (pick(frame, ROBUST_RESNET, q)["ours"] for q in ("left", "broken"))
    assert (left, broken) == (5, 3)
    assert np.isnan(pick(frame, ROBUST_RESNET, "gap")["ours"])  # a group of three
    assert frame.attrs["facts"]["compared"] == 0
    assert "–" in repr(tables.show(frame))


def test_agreement_compares_groups_of_five(tmp_path, monkeypatch):
    monkeypatch.setattr("rslib.report.tables.corruption._FEWEST", 3)
    run = make_run(tmp_path, models={ROBUST_RESNET: (14, 7, 5, 6)})
    add_corruptions(run, ROBUST_RESNET)
    frame = tables.agreement_table(run, [ROBUST_RESNET])
    # Image i is wrong at severities above i: i of 5 right, for i up to 5.
    assert pick(frame, ROBUST_RESNET, "left_right")["ours"] == pytest.approx(40)  # images 0 to 4
    assert pick(frame, ROBUST_RESNET, "broken_right")["ours"] == pytest.approx(100)  # 5, 6, 7
    row = pick(frame, ROBUST_RESNET, "gap")
    assert row["ours"] == pytest.approx(-60) and row["method"] == "Welch"


def test_tables_survive_saving(run):
    for name, frame in (
        ("table5", tables.table5(run)),
        ("agreement", tables.agreement_table(run)),
        ("severity", tables.severity_table(run, [RESNET])),
    ):
        tables.save(run, name, frame)
        again = tables.load(run, name)
        pd.testing.assert_frame_equal(again, frame)


def test_figures_draw_what_the_tables_say(run):
    heat = figures.corruption_heat_map(run, [RESNET, VIT])
    texts = [text.get_text() for text in heat.axes[0].texts]
    assert len(texts) == 2 * 19
    assert texts.count("1.00") == 4 + 19 and texts.count("0.50") == 15
    curves = figures.by_severity(run, [RESNET, ROBUST_RESNET])
    drawn = curves.axes[0].containers[1].lines[0].get_ydata()
    assert list(drawn) == pytest.approx([80, 90, 80, 70, 60, 50])
    gaps = figures.corruption_differences(run, [(ROBUST_RESNET, RESNET)])
    values = gaps.axes[0].containers[0].lines[0].get_xdata()
    assert sorted(set(np.round(values, 1))) == [-30, -6.3, 0]
    errors = figures.corruption_errors(run, RESNET)
    assert [t.get_text() for t in errors.axes[0].texts[:5]] == ["20", "40", "60", "80", "100"]


def test_the_sheet_needs_one_strip_a_name():
    import torch

    versions = torch.zeros(2, 5, 3, 32, 32, dtype=torch.uint8)
    figures.corruption_sheet(versions, ["fog", "snow"])
    with pytest.raises(ValueError, match=r"\(3, 5, 3, H, W\) is needed"):
        figures.corruption_sheet(versions, ["fog", "snow", "frost"])


def test_packaged_reference_errors(run, tmp_path, monkeypatch):
    monkeypatch.setattr("rslib.run.outcomes.REFERENCES", tmp_path)
    with pytest.raises(RecordError, match=r"no reference errors for profile 'smoke'.*none"):
        load_reference("smoke")
    path = write_reference(run)
    assert load_reference("smoke") == outcomes(run, REFERENCE).errors()
    with pytest.raises(RecordError, match="did you mean 'smoke'"):
        load_reference("smok")
    path.write_text(path.read_text().replace("0.2", "0.3", 1))
    with pytest.raises(RecordError, match="were altered"):
        load_reference("smoke")


def test_a_model_without_a_corruption_record_is_named(tmp_path):
    run = make_run(tmp_path, models={RESNET: (16, 4, 1, 2)})
    with pytest.raises(RecordError, match="no corruptions record of resnet18-standard"):
        tables.severity_table(run, [RESNET])
