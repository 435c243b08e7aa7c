"""Tables 1 and 2 against outcomes counted by hand, in a run directory written by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from rslib import paper, settings
from rslib.metrics import calibration, estimates, expected_calibration_error
from rslib.report import numbers, tables
from rslib.report.table import Table
from rslib.run import Run
from rslib.settings.plan import OBJECTIVES
from rslib.store.records import RecordError
from tests.helpers.known_run import (
    DEVICE,
    RESNET,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
    attack_record,
    clean_record,
    make_run,
    pick,
    wilson,
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


@pytest.fixture
def cifar_run(tmp_path):
    return make_run(tmp_path, profile="cpu")


def test_table1_counts_and_intervals(run):
    frame = tables.table1(run)
    row = pick(frame, RESNET, "clean_accuracy")
    assert row["ours"] == pytest.approx(80)
    assert (row["low"], row["high"]) == pytest.approx(wilson(16, 20))
    assert (row["n"], row["paper"], row["method"]) == (20, 94.8, "Wilson")
    assert pick(frame, RESNET, "training_hours")["ours"] == 1.5
    assert pick(frame, RESNET, "parameters")["ours"] == 11_173_962
    assert list(frame.model.unique()) == [RESNET, VIT]


def test_calibration_beyond_the_ece_is_that_of_the_records(run):
    frame, record = tables.calibration_table(run), run.record(RESNET, "clean")
    p = record[[c for c in record if c[0] == "p" and c[1:].isdigit()]].to_numpy(float)
    expected = calibration.profile(p, record["label"])
    for quantity in ("brier", "classwise_ece", "aurc"):
        assert pick(frame, RESNET, quantity)["ours"] == pytest.approx(expected[quantity])
    assert pick(frame, RESNET, "coverage")["ours"] == pytest.approx(100 * expected["coverage"])
    known = record["loss"].mean() if "loss" in record else math.nan
    assert pick(frame, RESNET, "nll")["ours"] == pytest.approx(known, nan_ok=True)


def test_calibration_error_by_hand(run):
    # Wrong: images 8, 9, 18 and 19, so 8 of 10 are right at confidence 0.9 and 8 of 10 at 0.6:
    # (10 * |0.8 - 0.9| + 10 * |0.8 - 0.6|) / 20.
    row = pick(tables.table1(run), RESNET, "ece")
    assert row["ours"] == pytest.approx(0.15)
    assert 0 <= row["low"] < 0.15 < row["high"] <= 1
    assert row["method"] == "bootstrap"


@pytest.mark.parametrize("binning", ["width", "mass"])
def test_reliability_adds_up_to_the_calibration_error(binning):
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(10, 0.2), size=600).astype(np.float32)
    probabilities[0] = np.eye(10)[3]  # certain: on the edge of the last bin
    record = pd.DataFrame({f"p{c}": probabilities[:, c] for c in range(10)})
    record["label"] = rng.integers(0, 10, 600)
    found = estimates.reliability(record, bins=15, binning=binning)
    assert found.n.sum() == 600
    mean_gap = (found.n * (found.accuracy - found.confidence).abs()).sum() / 600
    expected = expected_calibration_error(
        probabilities, record["label"].to_numpy(), bins=15, binning=binning
    )
    assert mean_gap == pytest.approx(expected, abs=1e-6)
    assert ((found.low <= found.accuracy) & (found.accuracy <= found.high)).all()
    estimate = estimates.calibration_error(record, bins=15, binning=binning)
    assert estimate.value == pytest.approx(expected)
    assert estimate.low < estimate.value < estimate.high


def test_unknown_binning_is_refused():
    with pytest.raises(ValueError, match="'width' or 'mass'"):
        estimates.reliability(clean_record(16), binning="depth")


def test_table2_counts_on_the_attacked_images(run):
    frame = tables.table2(run)
    assert pick(frame, RESNET, "clean_accuracy")["n"] == 20
    assert pick(frame, RESNET, "clean_accuracy")["ours"] == pytest.approx(80)
    for quantity, right in (("fgsm_accuracy", 4), ("pgd_accuracy", 1), ("pgd_last_accuracy", 2)):
        row = pick(frame, RESNET, quantity)
        assert (row["ours"], row["n"]) == (pytest.approx(10 * right), 10)
        assert (row["low"], row["high"]) == pytest.approx(wilson(right, 10))


def test_attack_success_is_one_minus_pgd_over_clean_on_the_same_images(run):
    frame = tables.table2(run)
    row = pick(frame, RESNET, "attack_success")
    # 8 of the 10 attacked images are right clean, 1 stays right; the other 10 images do not count.
    assert row["ours"] == pytest.approx(100 * (1 - 0.1 / 0.8))
    assert (row["low"], row["high"]) == pytest.approx(wilson(7, 8))
    assert row["n"] == 8
    assert pick(frame, RESNET, "fgsm_success")["ours"] == pytest.approx(50)


def test_an_attack_that_never_fails_keeps_its_uncertainty(run):
    row = pick(tables.table2(run), VIT, "attack_success")
    assert row["ours"] == 100
    assert row["low"] == pytest.approx(wilson(8, 8)[0])
    assert row["low"] < 70


def test_attack_success_without_right_images_is_refused():
    record = attack_record(0).assign(clean_correct=False)
    with pytest.raises(ValueError, match="right on none"):
        estimates.attack_success(record)


def test_table2_has_the_papers_rows_in_its_order(tmp_path):
    frame = tables.table2(make_run(tmp_path, profile="paper"))
    assert list(frame.model.unique()) == [RESNET, ROBUST_RESNET, VIT, ROBUST_VIT]
    for name in frame.model.unique():
        for quantity in ("clean_accuracy", "fgsm_accuracy", "pgd_accuracy", "attack_success"):
            row, printed = pick(frame, name, quantity), paper.value("table2", name, quantity).value
            assert row["paper"] == printed
            assert row["difference"] == pytest.approx(row["ours"] - printed)
    row = pick(frame, ROBUST_RESNET, "pgd_accuracy")
    assert (row["training"], row["ours"]) == ("Adversarial", pytest.approx(50))


def test_table2_takes_models_the_paper_does_not_report(tmp_path):
    names = ["resnet18-standard", "resnet18-trades", "resnet18-noise"]
    run = make_run(tmp_path, models=dict.fromkeys(names, (14, 7, 5, 6)))
    frame = tables.table2(run, names)
    assert frame[frame.model == names[1]].paper.isna().all()
    assert pick(frame, names[2], "pgd_accuracy")["training"] == "Gaussian noise"
    shown = tables.show(frame)
    markup, text = shown._repr_html_(), repr(shown)
    assert markup.count("<i>not reported</i>") == 2
    assert 'colspan="6"' in markup and markup.count('rowspan="4"') == 1
    assert markup.count('rowspan="3"') == 2
    assert text.count("not reported") == 2
    assert "TRADES" in text and "Gaussian noise" in text


def test_differences_only_where_numbers_compare(run, tmp_path):
    shapes = tables.table1(run)
    assert pick(shapes, RESNET, "clean_accuracy")["incomparable"] == "Shapes"
    assert pick(shapes, RESNET, "parameters")["incomparable"] == "other size"
    assert shapes.difference.isna().all()
    full = make_run(tmp_path / "full", profile="paper")
    frame = tables.table1(full)
    assert pick(frame, RESNET, "clean_accuracy")["difference"] == pytest.approx(80 - 94.8)
    assert pick(frame, RESNET, "parameters")["difference"] == pytest.approx(11_173_962 - 11.2e6)
    assert "hardware" in pick(frame, RESNET, "training_hours")["incomparable"]
    row = pick(frame, RESNET, "ece_mass")
    assert math.isnan(row["paper"]) and math.isnan(row["difference"]) and not row["incomparable"]


def test_names_say_where_sizes_differ(run, tmp_path):
    assert tables.model_label(run, RESNET) == "ResNet-18 (width 8)"
    assert tables.model_label(run, VIT) == "ViT-Small (dim 48, depth 3, heads 3, patch 8)"
    full = Run(settings.load("paper"), root=tmp_path)
    assert tables.model_label(full, VIT) == "ViT-Small"
    labels = {name: tables.training_label(f"resnet18-{name}") for name in OBJECTIVES}
    assert labels == {
        "standard": "Standard",
        "adversarial": "Adversarial",
        "purely_adversarial": "Adversarial (every batch)",
        "trades": "TRADES",
        "noise": "Gaussian noise",
        "aligned": "Aligned",
        "robust_aligned": "Adversarial and aligned",
        "teacher": "Teacher",
        "pretraining": "Pretraining",
    }


def test_cells_are_written_with_what_they_compare_to(cifar_run):
    frame = tables.table2(cifar_run)
    row = pick(frame, RESNET, "pgd_accuracy")
    assert (row["ours"], row["paper"], row["n"]) == (pytest.approx(10), 0.1, 10)
    assert numbers.quantity(row["ours"], row["unit"]) == "10.0 %"
    assert numbers.interval(row) == "[1.8, 40.4]"
    assert numbers.versus(row) == "+9.9"
    assert numbers.versus(pick(frame, VIT, "clean_accuracy")) == "−16.2"
    assert numbers.versus(pick(frame, RESNET, "fgsm_success")) == numbers.NONE
    assert f"{DEVICE}; n = 20 test images (FGSM and PGD 10)" in frame.attrs["stamp"]


def test_a_table_of_no_model_is_refused(run):
    with pytest.raises(ValueError, match="at least one model"):
        tables.table2(run, [])


def test_a_table_notes_what_is_read_and_knows_the_runs_confidence(tmp_path):
    run = make_run(tmp_path, evaluation={"confidence": 0.9})
    table = Table(run, "mine", title="My title", notes=["A note."], sizes=[VIT, RESNET])
    assert table.rows([RESNET]) == [RESNET]
    summary, record = table.read(RESNET, "summary", "clean")
    assert summary == run.summary(RESNET)
    assert table.read(RESNET, "clean").equals(record)
    table.add(RESNET, "right", table.accuracy(record["correct"]), "Right (%)", "%", more="cell")
    frame = table.done()
    row, about = pick(frame, RESNET, "right"), frame.attrs
    found = estimates.accuracy(record["correct"], confidence=0.9)
    assert (row["ours"], row["low"], row["high"]) == (80, found.low, found.high)
    assert (row["label"], row["training"], row["more"]) == (
        "ResNet-18 (width 8)",
        "Standard",
        "cell",
    )
    assert [each["evaluation"] for each in about["sources"]] == ["training", "clean"]
    assert about["title"] == "My title." and "n = 20 test images" in about["stamp"]
    assert about["notes"] == [
        "A note.",
        "ViT-Small: dim 48, depth 3, heads 3, patch 8; ResNet-18: width 8.",
        "Square brackets: 90 % interval over images (Wilson's score).",
    ]


def test_quantities_are_the_same_in_every_profile(run, cifar_run):
    for table in (tables.table1, tables.table2):
        ours, theirs = table(run), table(cifar_run)
        assert ours[["model", "quantity"]].equals(theirs[["model", "quantity"]])
    frame = tables.table1(run)
    assert numbers.versus(pick(frame, RESNET, "clean_accuracy")) == "not comparable (Shapes)"
    assert numbers.value(pick(frame, RESNET, "training_hours")) == "1.5 h"


def test_caption_stands_alone(run):
    for shown in (tables.show(tables.table1(run)), tables.show(tables.table2(run))):
        for text in (shown.caption, shown._repr_html_(), repr(shown).replace("\n", " ")):
            for part in ("Profile smoke", "Shapes", DEVICE, "n = 20 test images", "seed 0", "95 %"):
                assert part in text
    assert tables.show(tables.table1(run), caption="Other").caption == "Other"


def test_html_has_the_numbers_and_escapes_everything(run):
    frame = tables.table2(run)
    evil = "<script>alert('x')</script>&"
    for column in ("label", "training", "header", "incomparable"):
        frame[column] = evil
    markup = tables.show(frame, caption=evil)._repr_html_()
    assert "<script" not in markup
    assert markup.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;") >= 10
    markup = tables.show(tables.table2(run))._repr_html_()
    assert "<caption" in markup and "overflow-x:auto" in markup
    assert "<i>0.1</i>" in markup and "<b>10.0</b>" in markup and "[1.8, 40.4]" in markup
    assert "not comparable (Shapes)" in markup


def test_text_keeps_columns_aligned(cifar_run):
    text = repr(tables.show(tables.table2(cifar_run)))
    head = next(line for line in text.splitlines() if line.startswith("Model"))
    ours = next(line for line in text.splitlines() if line.startswith("Standard"))
    place = head.index("PGD Acc (%)")
    assert ours[place:].split()[0] == "10.0"
    assert max(map(len, text.splitlines())) <= 180


def test_saved_tables_come_back(run):
    frame = tables.table2(run)
    path = tables.save(run, "table2", frame)
    assert path == run.directory / "tables" / "table2.json"
    document = json.loads(path.read_text())
    assert document["metadata"]["seed"] == 0
    assert {s["evaluation"] for s in document["metadata"]["sources"]} == {"clean", "fgsm", "pgd"}
    assert document["rows"][5]["paper"] is None
    back = tables.load(run, "table2")
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == frame.attrs


def test_tables_of_other_settings_are_refused(run, tmp_path):
    tables.save(run, "table1", tables.table1(run))
    other = Run(settings.load("smoke", {"pgd": {"steps": 5}}), root=tmp_path)
    with pytest.raises(RecordError, match="other settings"):
        tables.load(other, "table1")
    with pytest.raises(RecordError, match="table2.json is missing"):
        tables.load(run, "table2")


def test_missing_records_are_named(run):
    run.record_path(VIT, "pgd").unlink()
    assert len(tables.table1(run)) == 10
    with pytest.raises(RecordError, match="no pgd record of vit_small-standard"):
        tables.table2(run)


def test_stamp_names_devices_of_the_records(run):
    sources = [{"provenance": {"device": "NVIDIA H200"}}, {"provenance": {"device": DEVICE}}]
    assert tables.stamp(run, 1000, sources=sources) == (
        "profile smoke; Shapes; NVIDIA H200 and CPU, 2 threads; n = 1,000 test images; seed 0"
    )
    assert "CPU" in tables.stamp(run)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.012, "h", "43 s"),
        (0.5, "h", "30 min"),
        (2.5, "h", "2.5 h"),
        (11_173_962, "count", "11.2 M"),
        (701_466, "count", "701 k"),
        (76_543, "count", "76.5 k"),
        (94.84, "%", "94.8"),
        (0.0321, "", "0.032"),
        (1234, "images", "1,234"),
        (2.25, "points", "+2.2"),
        (-2.06, "points", "−2.1"),
        (-0.04, "points", "0.0"),
        (0.0321, "p", "0.032"),
        (0.0009, "p", "< 0.001"),
    ],
)
def test_numbers_are_written_as_in_the_paper(value, unit, text):
    assert numbers.written(value, unit) == text
