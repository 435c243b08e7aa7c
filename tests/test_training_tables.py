"""Best and last epoch of a robust training, against a history written by hand."""

import pytest
from known_run import RESNET, ROBUST_RESNET, ROBUST_VIT, make_run, pick, wilson

from rslib import tables


@pytest.fixture
def run(tmp_path):
    overrides = {
        "data": {"validation_size": 500},
        "training": {"adversarial": {"validation_images": 100}},
    }
    return make_run(tmp_path, **overrides)


def test_best_and_last_epoch_with_their_intervals(run):
    # Epochs 1, 2, 3: 20, 35, 30 % under attack and 40, 70, 60 % clean; the second is kept.
    frame = tables.selection_table(run, [ROBUST_RESNET, ROBUST_VIT])
    expected = {
        "best_epoch": 2,
        "epochs": 3,
        "best_robust_accuracy": 35,
        "last_robust_accuracy": 30,
        "best_clean_accuracy": 70,
        "last_clean_accuracy": 60,
        "overfitting": 5,
    }
    for quantity, value in expected.items():
        assert pick(frame, ROBUST_RESNET, quantity)["ours"] == pytest.approx(value), quantity
    best = pick(frame, ROBUST_RESNET, "best_robust_accuracy")
    assert (best["low"], best["high"]) == pytest.approx(wilson(35, 100))
    assert best["n"] == 100
    clean = pick(frame, ROBUST_RESNET, "last_clean_accuracy")
    assert (clean["low"], clean["high"]) == pytest.approx(wilson(300, 500))
    assert "n = " not in frame.attrs["stamp"]  # no test image is in it


def test_it_goes_through_saving_and_showing(run):
    frame = tables.selection_table(run, [ROBUST_RESNET])
    tables.save(run, "selection", frame)
    assert tables.values(frame)["selection_resnet18_adversarial_overfitting"] == pytest.approx(5)
    assert "Best − Last (points)" in repr(tables.show(frame))


def test_only_robust_trainings_have_a_choice_to_show(run):
    with pytest.raises(ValueError, match="resnet18-standard was not validated under attack"):
        tables.selection_table(run, [RESNET])
