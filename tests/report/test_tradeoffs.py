"""The axes of Figure 4: resampled values against direct computation, and what the tables say."""

import numpy as np
import pandas as pd
import pytest

from rslib import metrics
from rslib.report import figures, tables, tradeoffs
from rslib.report.tables import tradeoff
from rslib.report.tradeoffs import AXES
from rslib.settings.names import REFERENCE
from rslib.store import records
from rslib.store.records import RecordError
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

NAMES = [RESNET, ROBUST_RESNET, VIT, ROBUST_VIT]
ALL = [axis.name for axis in AXES]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    models = OUTCOMES | {REFERENCE: (12, 3, 1, 1)}
    run = make_run(tmp_path_factory.mktemp("run"), models=models)
    for name in models:
        add_corruptions(run, name)
        add_saliency(run, name)
    coverage = pd.DataFrame({"image": np.arange(20), "coverage_exact": np.linspace(0.1, 0.5, 20)})
    records.write_record(run.priors_path, coverage, {"inputs": {}})
    return run


@pytest.mark.slow
def test_the_place_of_a_model_is_what_the_other_tables_say(run):
    values = tradeoffs.place(run, NAMES, ALL)
    for line, name in zip(values, NAMES, strict=True):
        for value, axis in zip(line, ALL, strict=True):
            assert value == pytest.approx(tradeoffs.measured(run, name, axis).value, abs=1e-6)
    # 16 of 20 right; 1 of 10 under PGD; twice the errors under 4 of 19 corruptions: by hand
    assert values[0, :2].tolist() == [80.0, 10.0]
    assert values[0, 2] == pytest.approx((15 * 0.5 + 4 * 1.0) / 19)


def test_resampling_is_reweighting():
    """One image drawn twice and another not at all, against the values computed directly."""
    clean = np.array([4, 7, 9])
    weights = np.array([[2.0, 1.0, 0.0]])
    terms = [
        tradeoffs._Terms(np.array([9, 4]), np.array([[0.0], [6.0]]), None),
        tradeoffs._Terms(clean, np.array([[3.0], [6.0], [9.0]]), None),
    ]
    found = tradeoffs._weighed(terms, clean, weights)
    assert [each.tolist() for each in found] == [[6.0], [4.0]]


def test_resamples_surround_the_estimate_and_are_paired(run):
    drawn = tradeoffs.resampled(run, NAMES, ALL, resamples=300)
    assert drawn.shape == (300, 4, 5)
    values = tradeoffs.place(run, NAMES, ALL)
    spread = drawn.std(0) + 1e-9
    assert (np.abs(drawn.mean(0) - values) < 0.5 * spread + 1e-6).all()
    # The same records: in every resample the two models' IoU is the same.
    assert np.allclose(drawn[:, 0, 3], drawn[:, 1, 3])
    # Wilson and the bootstrap agree about the width, roughly.
    binomial = 100 * np.sqrt(0.8 * 0.2 / 20)
    assert drawn[:, 0, 0].std() == pytest.approx(binomial, rel=0.2)


@pytest.mark.slow
def test_a_dominated_model_is_on_the_front_of_few_resamples(run):
    frame = tables.pareto_table(run, NAMES)
    assert pick(frame, RESNET, "plane")["ours"] > 70
    assert pick(frame, VIT, "plane")["ours"] < pick(frame, ROBUST_RESNET, "plane")["ours"]
    assert frame.attrs["facts"]["plane"] == 2


def test_training_time_counts_the_models_that_a_model_starts_from(run, monkeypatch):
    summaries = {
        "a-both": {"seconds": 5, "parent": "a-robust"},
        "a-robust": {"seconds": 20, "parent": "a-standard"},
        "a-standard": {"seconds": 100, "parent": None},
    }
    monkeypatch.setattr(run, "summary", summaries.__getitem__)
    assert tradeoff.seconds(run, "a-both") == 125


def test_correlations_are_those_of_the_joined_records(run):
    from rslib.run import joined

    frame = joined.load(run, ROBUST_RESNET)
    frame = frame[frame["clean_correct"].astype(bool)].dropna(subset=["pgd_correct"])
    expected = metrics.rank_correlation(
        frame["pgd_correct"].to_numpy(float), -frame["corruption_error"].to_numpy(float)
    )
    # 8 images are right when clean, 5 of them under PGD: fewer than 5 are on the other side.
    table = tables.breakage_table(run, [ROBUST_RESNET])
    assert np.isnan(pick(table, ROBUST_RESNET, "pgd")["ours"])
    assert expected.value == pytest.approx(-np.sqrt(0.75), abs=0.2)


def test_confident_mistakes_by_hand(run):
    # Half of the images have a confidence of 0.9: the even ones, of which 8, 18, 16 are wrong.
    frame = tables.confident_errors_table(run, [RESNET])
    assert pick(frame, RESNET, "confident")["ours"] == 50.0
    wrong = pick(frame, RESNET, "wrong")
    assert (wrong["ours"], wrong["n"]) == (20.0, 10)
    assert np.isnan(pick(frame, RESNET, "corrupted")["ours"])  # none is that sure: 0.8


@pytest.mark.slow
def test_a_worst_class_and_a_rough_test_are_said_to_be_such(run, monkeypatch):
    # Ten classes of one confident image each are compared as soon as one image is enough.
    monkeypatch.setattr(tradeoff, "_FEWEST", 1)
    notes = tables.confident_errors_table(run, [RESNET]).attrs["notes"]
    assert any("picked as the worst of" in note and "too narrow" in note for note in notes)
    assert any(note.endswith("in a class: ResNet-18, standard.") for note in notes)
    monkeypatch.undo()
    notes = tables.confident_errors_table(run, [RESNET]).attrs["notes"]
    assert not any("picked" in note or "rough" in note for note in notes)


@pytest.mark.slow
def test_figures_are_drawn_from_records_alone(run, monkeypatch):
    monkeypatch.setattr(run, "trained", lambda name: pytest.fail("a figure asked for a model"))
    for name in NAMES:
        summary = run.summary(name)
        assert summary["seconds"] > 0
    figure = figures.figure4(run, NAMES)
    labels = [c.get_label() for c in figure.axes[0].collections]
    assert set(NAMES) <= set(labels)
    assert len(figures.objectives(run, NAMES).axes) == 5
    assert len(figures.correlations(run, NAMES).axes) == 2
    assert (
        figures.confident_errors(run, NAMES[:2]).axes[0].get_title(loc="left")
        == "ResNet-18, standard"
    )


def test_a_record_that_lacks_what_is_asked_says_where_to_get_it(tmp_path):
    bare = make_run(tmp_path)
    with pytest.raises(RecordError, match="lacks corruption_error.*Run the notebooks"):
        tables.breakage_table(bare, [RESNET])


def test_models_that_would_look_alike_are_told_apart():
    from rslib.report import style

    apart = style.looks([RESNET, ROBUST_RESNET, VIT])
    assert apart[RESNET] == (style.color(RESNET), style.marker(RESNET))
    alike = style.looks([ROBUST_RESNET, f"{ROBUST_RESNET}@start=aligned"])
    assert len(set(alike.values())) == 2
    assert [entry.get_label() for entry in style.models(list(alike))] == [
        "ResNet-18, adversarial",
        "ResNet-18, adversarial (from aligned)",
    ]
