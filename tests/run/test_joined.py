"""The joined per-image record, against records of outcomes that are known."""

import pytest

from rslib.run import joined
from rslib.store import records
from rslib.store.records import RecordError
from tests.helpers.image_records import add_corruptions, add_saliency
from tests.helpers.known_run import RESNET, ROBUST_RESNET, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"))
    add_corruptions(run, RESNET)
    add_saliency(run, RESNET)
    return run


def test_one_row_an_image_and_unknown_where_an_evaluation_left_it_out(run):
    frame = joined.load(run, RESNET)
    assert frame["image"].tolist() == list(range(20))
    assert frame["label"].tolist() == [i % 10 for i in range(20)]
    assert frame["pgd_correct"].tolist()[:2] == [True, False]
    assert frame["pgd_correct"].isna().sum() == 10
    assert frame["autoattack_correct"].notna().sum() == 8
    # Image 9 comes first in AutoAttack's record and is wrong there; image 0 was broken by APGD.
    assert not frame["autoattack_correct"][9] and not frame["autoattack_correct"][0]
    assert frame["certified_radius"][9] == pytest.approx(0.3)
    assert frame["iou_exact"].isna().tolist() == [i == 3 for i in range(20)]
    assert "iou_exact_05" not in frame


def test_corruption_errors_by_hand(run):
    # At severity s the first s of ten images are wrong, under noise the first 2 s.
    frame = joined.load(run, RESNET)
    assert frame["corruption_error_blur"].tolist()[:10] == pytest.approx(
        [1.0, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0, 0]
    )
    assert frame["corruption_error_noise"][4] == pytest.approx(0.6)
    assert frame["corruption_confidence"][0] == pytest.approx(0.8)
    assert frame["corruption_error"].isna().sum() == 10


def test_every_column_is_documented(run):
    for column in joined.load(run, RESNET):
        stem = column.rpartition("_")[0]
        assert {column, f"{stem}_<masks>", f"{stem}_<category>"} & set(joined.COLUMNS), column


def test_what_was_not_evaluated_is_not_there(run):
    frame = joined.load(run, ROBUST_RESNET)
    assert not any(c.startswith(("iou", "corruption")) for c in frame)
    assert set(frame.attrs["sources"]) == {"clean", "fgsm", "pgd", "autoattack", "smoothing"}
    with pytest.raises(RecordError, match="no per-image record of vit_small-aligned"):
        run_without = make_run(run.directory.parents[2] / "other", models={})
        run_without.has_record = lambda *_: False
        joined.load(run_without, "vit_small-aligned")


def test_records_about_other_images_are_refused(run, tmp_path):
    other = make_run(tmp_path)
    path = other.record_path(RESNET, "fgsm")
    frame = records.read_record(path)
    about = frame.attrs
    records.write_record(path, frame.assign(label=frame["label"][::-1].to_numpy()), about)
    with pytest.raises(RecordError, match="disagree about labels"):
        joined.load(other, RESNET)
