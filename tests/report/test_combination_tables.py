"""Robust and aligned, two by two, against outcomes that can be counted by hand."""

import numpy as np
import pandas as pd
import pytest

from rslib.report import tables
from rslib.settings.names import REFERENCE
from rslib.store import records
from tests.helpers.corruption_records import add_corruptions
from tests.helpers.known_run import (
    OUTCOMES,
    RESNET,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
    add_saliency,
    make_run,
    pick,
)

SQUARE = {"neither": RESNET, "aligned": VIT, "robust": ROBUST_RESNET, "both": ROBUST_VIT}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    models = OUTCOMES | {REFERENCE: (12, 3, 1, 1)}
    run = make_run(tmp_path_factory.mktemp("run"), models=models, masks={"sources": ["exact"]})
    for name in models:
        add_corruptions(run, name)
        add_saliency(run, name)
    return run


def test_two_by_two_by_hand(run):
    frame = tables.orthogonality_table(run, **SQUARE)
    # Right when clean, of 20: 16, 15, 14, 13 (neither, aligned, robust, both); under PGD, of 10:
    # 1, 0, 5, 3.
    expected = {
        "clean": (-5.0, -5.0, -10.0, -10.0, 0.0),
        "pgd": (-10.0, -20.0, 40.0, 30.0, -10.0),
    }
    effects = ("alignment", "alignment_robust", "attack", "attack_aligned", "interaction")
    for outcome, values in expected.items():
        found = [pick(frame, outcome, effect) for effect in effects]
        assert [each["ours"] for each in found] == pytest.approx(list(values))
    one = pick(frame, "pgd", "attack")
    assert one["low"] < 40 < one["high"] and one["n"] == 10
    # The same saliency records: nothing changes, and there is no interval to give.
    assert pick(frame, "iou_exact", "interaction")["ours"] == 0
    assert np.isnan(pick(frame, "iou_exact", "interaction")["low"])


def test_differences_are_paired_and_on_the_same_images(run):
    frame = tables.combination_table(run, [ROBUST_VIT], against=ROBUST_RESNET)
    assert pick(frame, ROBUST_VIT, "clean_accuracy")["ours"] == pytest.approx(-5.0)
    assert pick(frame, ROBUST_VIT, "pgd_accuracy")["ours"] == pytest.approx(-20.0)
    # AutoAttack leaves images 0, 1, 2 of the one and 0, 1 of the other, of 8.
    assert pick(frame, ROBUST_VIT, "autoattack_accuracy")["ours"] == pytest.approx(-12.5)
    assert pick(frame, ROBUST_VIT, "corruptions")["ours"] == pytest.approx(0.0)


def test_images_that_one_model_does_not_know_are_left_out_of_all(run):
    path = run.record_path(ROBUST_VIT, "saliency")
    kept = records.read_record(path)
    fewer = kept[kept["image"] < 12]
    fewer.attrs = kept.attrs
    records.write_record(path, pd.DataFrame(fewer), kept.attrs | {"n": len(fewer)})
    try:
        frame = tables.orthogonality_table(run, **SQUARE)
        assert pick(frame, "iou_exact", "alignment")["n"] == 11  # image 3 has no mask
    finally:
        records.write_record(path, kept, kept.attrs)
