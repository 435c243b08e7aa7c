"""Verdicts on runs written by hand: numbers counted, what differs named, nothing ever missing."""

import numpy as np
import pandas as pd
import pytest

from rslib import paper, settings, verdicts
from rslib.corruptions import ALL19, CATEGORIES, mce
from rslib.metrics import estimates
from rslib.report import protocol, table, tables
from rslib.run import Run
from rslib.run.outcomes import outcomes
from rslib.settings.names import REFERENCE
from rslib.store import records
from rslib.verdicts import Verdict, evidence, figures, judging, measures
from rslib.verdicts.reader import Reader, Unmeasured
from tests.helpers.image_records import DATA, add_corruptions
from tests.helpers.known_run import (
    DEVICE,
    OUTCOMES,
    RESNET,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
    make_run,
    wilson,
)

ALIGNED, CONTROL = "resnet18-aligned", "resnet18-aligned@beta=0.0"
MODELS = OUTCOMES | {REFERENCE: (12, 3, 1, 1), ALIGNED: (17, 4, 1, 1), CONTROL: (16, 4, 1, 1)}


def add(run, name, kind, columns, path=None):
    """A record of 20 images."""
    frame = pd.DataFrame({"image": np.arange(20), "label": np.arange(20) % 10} | columns)
    about = {
        "model": name,
        "evaluation": kind,
        "inputs": {"evaluation": kind, "model": name},
        "n": 20,
        "seconds": 1.0,
        "provenance": {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"},
    }
    records.write_record(path or run.record_path(name, kind), frame, about)


def filled(root, profile="cpu", **overrides):
    """A run with attacks, corruptions, and saliency of which the masks' sources differ."""
    run = make_run(root, profile=profile, models=MODELS, **overrides)
    for name in (*OUTCOMES, REFERENCE):
        add_corruptions(run, name, DATA | {"dataset": "cifar10"})
    spread = np.linspace(-0.05, 0.05, 20)
    for name, iou in ((RESNET, 0.40), (ALIGNED, 0.44), (CONTROL, 0.44), (VIT, 0.30)):
        # By one source's masks the saliency prefers the object, by the other's the background.
        columns = {
            "correct": np.arange(20) < 16,
            "iou_cnn": iou + spread,
            "iou_vit": iou + spread,
            "mass_cnn": 0.40 + spread,
            "mass_vit": 0.20 + spread,
        }
        add(run, name, "saliency", columns)
    coverage = {"coverage_cnn": np.full(20, 0.3), "coverage_vit": np.full(20, 0.3)}
    add(run, "masks", "priors", coverage, run.priors_path)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def frame(run):
    return verdicts.table(run)


def of(frame, name):
    found = frame[frame.model == name]
    assert len(found), name
    return found.iloc[0]


def parts(run, name):
    found = evidence.parts(Reader(run), evidence.of_claim(paper.claim(name)))
    return {part.label: part.estimate for part in found}


@pytest.mark.slow
def test_every_number_and_claim_has_one_verdict(frame):
    cells = [f"{t.name}/{r}/{c}" for t in paper.TABLES.values() for r, c in t.values]
    assert list(dict.fromkeys(frame.model)) == [*cells, *paper.CLAIMS]
    assert set(frame.verdict) <= {each.value for each in Verdict}
    assert frame.groupby("model")["verdict"].nunique().eq(1).all()
    assert frame["why"].str.len().gt(0).all()
    assert frame["why"].str.contains("\n").sum() == 0


def test_what_can_be_tested_has_a_measure_and_nothing_else_has():
    assert set(evidence.FUNCTIONS) <= set(paper.CLAIMS)
    for name, claim in paper.CLAIMS.items():
        ways = bool(claim.evidence) + (name in evidence.FUNCTIONS)
        assert ways == (claim.relation != "untestable"), name


def test_what_nothing_measures_is_an_error(run):
    for kind, cells in (
        ("value", ("resnet18-standard/beauty",)),
        ("percent", ("resnet18-standard/ece", "vit_small-standard/ece")),
    ):
        with pytest.raises(ValueError, match=f"nothing measures .*{cells[0].rpartition('/')[2]}"):
            list(evidence.parts(Reader(run), (paper.Evidence(kind=kind, cells=cells),)))


def test_optional_evidence_is_left_out_where_it_was_not_measured(run):
    missing = f"{ALIGNED}@beta=0.5/iou_mean"
    known, unknown = f"{ALIGNED}/iou_mean", {"kind": "difference", "cells": (missing, missing)}
    wanted = (
        paper.Evidence(kind="value", cells=(known,)),
        paper.Evidence(**unknown, optional=True),
    )
    (part,) = evidence.parts(Reader(run), wanted)
    assert part.estimate.value == pytest.approx(0.44)
    with pytest.raises(Unmeasured):
        list(evidence.parts(Reader(run), (paper.Evidence(**unknown),)))


def test_counts_add_up(frame):
    found = verdicts.counts(frame)
    assert list(found) == [each.value for each in Verdict]
    assert sum(found.values()) == 64 + len(paper.CLAIMS)
    groups = verdicts.counts_by_group(frame)
    assert groups.sum().to_dict() == found
    assert list(groups.index) == [*paper.TABLES, *paper.SECTIONS]


def test_narrow_networks_reproduce_nothing(frame):
    assert verdicts.counts(frame)[Verdict.REPRODUCED] == 0
    cell = of(frame, "table2/resnet18-adversarial/pgd_accuracy")
    assert (cell.verdict, cell.ours, cell.paper) == (Verdict.INCOMPARABLE, 50.0, 45.2)
    assert (cell.low, cell.high) == pytest.approx(wilson(5, 10))
    assert cell.why == "measured with other networks, another recipe, PGD on 1,000 images"


def test_differences_are_paired_and_signed_as_claimed(frame):
    gain = of(frame, "robustness_gain")  # PGD leaves 1 of 10 images, and 5 after the training
    expected = estimates.paired_difference(np.arange(10) < 5, np.arange(10) < 1)
    assert (gain.ours, gain.low, gain.high) == (40.0, expected.low, expected.high)
    assert gain.verdict == Verdict.DIRECTION
    assert gain.why.startswith("0.89 times the size")
    loss = of(frame, "accuracy_loss")  # 16 of 20, and 14
    assert loss.ours == pytest.approx(-10)
    assert loss.verdict == Verdict.FAILED  # two images of twenty are no evidence
    assert of(frame, "alternating").why == "not measured in this run"


def test_success_and_the_bound_on_it(frame):
    rows = frame[frame.model == "fgsm_success"]
    assert rows.ours.tolist() == [50.0, 75.0]  # 4 and 2 of 8 images are left
    assert set(rows.verdict) == {Verdict.FAILED}


def test_mce_is_judged_by_order_and_quotient(run, frame):
    assert of(frame, "table5/resnet18-standard/mce").why == "the paper's reference errors are " + (
        "unpublished"
    )
    tables5 = tables.table5(run).set_index(["model", "quantity"])["ours"]
    assert of(frame, "table5/resnet18-standard/mce").ours == pytest.approx(tables5[RESNET, "mce"])
    quotient = of(frame, "ratio_resnet18_noise")
    assert quotient.ours == pytest.approx(0.5)  # noise doubles the errors of the standard model
    assert quotient.verdict == Verdict.DIRECTION
    assert "generated corruptions" in quotient.why
    assert of(frame, "mce_above").verdict == Verdict.INCOMPARABLE


def test_alignment_is_held_against_its_control(run, frame):
    found = parts(run, "abstract_iou_after")
    assert found["over baseline"].value == pytest.approx(0.04)
    assert found["over control"].value == pytest.approx(0.0)
    assert of(frame, "abstract_iou_after").verdict == Verdict.FAILED
    percent = parts(run, "iou_gain_resnet18")
    assert percent["over baseline"].value == pytest.approx(10)


def test_masks_that_disagree_decide_nothing(run, frame):
    found = parts(run, "background_focus")
    assert found["ResNet-18, CNN teacher's masks"].value == pytest.approx(-10)
    assert found["ResNet-18, ViT teacher's masks"].value == pytest.approx(10)
    claim = of(frame, "background_focus")
    assert (claim.verdict, claim.why) == (Verdict.INCOMPARABLE, "the sources of masks disagree")


def test_bounds_on_what_lies_in_masks_are_about_the_papers_masks(run, frame):
    # 40 and 20 % of the saliency, both above the bounds; but of other masks than the paper's.
    assert parts(run, "attention_share")["ResNet-18, CNN teacher's masks"].value > 16
    for name in ("attention_share", "conclusion_attention", "iou_below", "conclusion_iou_below"):
        claim = of(frame, name)
        assert (claim.verdict, claim.why) == (
            Verdict.INCOMPARABLE,
            "the paper's masks are unpublished",
        )


def test_airplanes_are_images_of_airplanes(run):
    assert {each.n for each in parts(run, "airplanes").values()} == {2}
    assert {each.n for each in parts(run, "cats_and_dogs").values()} == {4}


@pytest.mark.slow
def test_the_papers_protocol_can_reproduce(tmp_path):
    run = filled(tmp_path, profile="paper")
    assert protocol.of(run, MODELS, ["clean", "fgsm", "pgd", "corruptions"]).differs == ""
    frame = verdicts.table(run)
    assert of(frame, "table1/resnet18-standard/parameters").verdict == Verdict.REPRODUCED
    assert of(frame, "table1/vit_small-standard/parameters").verdict == Verdict.FAILED
    assert of(frame, "parameters").verdict == Verdict.FAILED  # the same count twice
    assert of(frame, "table1/resnet18-standard/training_hours").verdict == Verdict.INCOMPARABLE
    assert of(frame, "near_zero").verdict == Verdict.FAILED  # 1 of 10
    # 19 corruptions, which are not the official files.
    assert of(frame, "abstract_corruptions").verdict == Verdict.REACHED


def test_another_data_set_compares_with_nothing(tmp_path):
    frame = verdicts.table(make_run(tmp_path))
    found = verdicts.counts(frame)
    untestable = sum(c.relation == "untestable" for c in paper.CLAIMS.values())
    assert found[Verdict.UNTESTABLE] == untestable
    assert found[Verdict.INCOMPARABLE] == sum(found.values()) - untestable
    assert of(frame, "robustness_gain").why == "measured on Shapes, not CIFAR-10"
    assert of(frame, "robustness_gain").ours == 40.0


def test_a_run_without_any_record_has_verdicts(tmp_path):
    frame = verdicts.table(Run(settings.load("cpu"), root=tmp_path, progress=False))
    assert frame.ours.isna().all()
    testable = frame[frame.relation != "untestable"]
    assert set(testable.why) == {"not measured in this run"}


def test_what_no_run_has_is_unmeasured(run):
    reader = Reader(run)
    for name in ("resnet18-nonsense", "resnet50-standard", "resnet18-aligned@beta=nonsense"):
        assert not reader.trained(name)
        assert not reader.has(name, "pgd")
        with pytest.raises(Unmeasured):
            reader.record(name, "pgd")
        with pytest.raises(Unmeasured):
            reader.summary(name)


def test_departures_name_what_differs(run):
    told = verdicts.departures(run, [RESNET, ROBUST_VIT])
    assert told["ResNet-18, standard"] == (
        "ResNet-18: width 8; recipe (epochs, learning rate, nesterov, warmup epochs, schedule)"
    )
    assert "patch 4" in told["ViT-Small, adversarial"]
    assert "steps" in told["ViT-Small, adversarial"]
    paper_run = Run(settings.load("paper"), root=run.directory.parents[1])
    assert verdicts.departures(paper_run, [RESNET, ROBUST_VIT]) == {}


def test_another_attack_is_a_threat_and_fewer_images_are_not(tmp_path):
    attack = {"pgd": {"steps": 10, "n": 500}, "data": {"test_size": 2000}}
    run = Run(settings.load("paper", attack), root=tmp_path, progress=False)
    found = protocol.of(run, [RESNET], ["pgd"])
    assert (found.threat, found.images) == ("pgd steps 10", "PGD on 500 images, 2,000 test images")
    assert protocol.of(run, [RESNET], ["clean"]).threat == ""
    quiet = {"device": "cpu", "evaluation": {"batch_size": 50}}
    run = Run(settings.load("paper", quiet), root=tmp_path, progress=False)
    assert protocol.of(run, [RESNET, ROBUST_RESNET], ["pgd"]).differs == ""


def test_verdicts_survive_saving(run, frame):
    tables.save(run, "verdicts", frame)
    again = verdicts.load(run)
    pd.testing.assert_frame_equal(again, frame)
    assert verdicts.counts(again) == verdicts.counts(frame)
    assert table.load(run, "verdicts").attrs == frame.attrs


@pytest.mark.slow
def test_values_for_the_prose(frame):
    v = verdicts.values(frame, paper.CLAIMS)
    assert v["verdicts_total"] == 64 + len(paper.CLAIMS)
    assert v["verdicts_not_reproduced"] == verdicts.counts(frame)[Verdict.FAILED]
    assert v["verdict_robustness_gain"] == "same direction"
    assert v["verdict_robustness_gain_ours"].startswith("+40.0 points [")
    assert v["verdict_accuracy_loss_ours"].startswith("\N{MINUS SIGN}10.0 points")
    assert v["verdict_alternating_ours"] == "not measured"
    assert all(type(value) in (str, int, float) for value in v.values())
    assert len(verdicts.values(frame)) == 7
    with pytest.raises(paper.UnknownValue, match="did you mean 'robustness_gain'"):
        verdicts.values(frame, ["robustnes_gain"])


def test_a_number_that_rounds_to_zero_has_no_sign():
    cell = {"ours": -0.0003, "low": -0.0024, "high": -0.00004, "unit": ""}
    assert judging.number_text(cell) == "0.000 [\N{MINUS SIGN}0.002, 0.000]"
    cell = {"ours": -0.05, "low": -0.055, "high": -0.004, "unit": "ratio"}
    assert judging.number_text(cell).startswith("\N{MINUS SIGN}0.05 [")


def test_the_listing_shows_every_part_and_escapes(frame):
    shown = verdicts.show(frame, "4.2", "table1")
    assert len(shown.entries) == 8 + sum(c.section == "4.2" for c in paper.CLAIMS.values())
    text, html = repr(shown), shown._repr_html_()
    assert "ours, ViT-Small: 75.0 %" in text
    assert html.count("<li") == len(shown.entries)
    assert "&gt;&nbsp;99.0&nbsp;%" in html
    assert "not reproduced" in html
    with pytest.raises(ValueError, match="no group 'table9'"):
        verdicts.show(frame, "table9")


def test_the_arithmetic_is_listed(frame):
    shown = verdicts.show_arithmetic(paper.arithmetic())
    assert len(shown.entries) == len(paper.arithmetic())
    assert "contradicts itself" in shown._repr_html_()


def test_figures_draw_the_counts_and_the_numbers(run, frame):
    axis = figures.counts(frame).axes[0]
    widths = [bar.get_width() for bar in axis.patches]
    assert sum(widths) == sum(verdicts.counts(frame).values())
    percent, overlap, errors = figures.beside(run, frame).axes
    labels = [each.get_text() for each in percent.get_yticklabels()]
    assert labels[0] == "standard, clean"
    assert (len(labels), len(overlap.get_yticks()), len(errors.get_yticks())) == (18, 6, 20)
    hollow = [line for line in percent.lines if line.get_marker() == "D"]
    assert {94.8, 45.2, 31.2} <= {float(line.get_xdata()[0]) for line in hollow}


def test_resampled_means_agree_with_the_normal_interval():
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    found = measures.resampled(values[:, None], lambda m: m[..., 0])
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found == measures.resampled(values[:, None], lambda m: m[..., 0])


def test_resampling_is_paired_and_leaves_out_unknown_images():
    first = np.random.default_rng(2).normal(size=300)
    pair = np.stack([first + 1, first], axis=1)
    found = measures.difference(pair)
    assert found.value == pytest.approx(1)
    assert found.high is None or found.high - found.low < 1e-5
    pair[:10, 0] = np.nan
    assert measures.difference(pair).n == 290
    assert np.isnan(measures.difference(pair[:11]).value)


def test_a_biased_function_is_centered():
    """The mean of absolute column means grows by resampling; the interval must hold its value."""
    noise = np.random.default_rng(3).normal(size=(200, 30))
    plain, centered = (
        measures.resampled(noise, lambda m: np.abs(m).sum(-1), centered=flag)
        for flag in (False, True)
    )
    assert plain.value < plain.low
    assert centered.low < centered.value < centered.high


def test_calibration_difference_is_that_of_the_two_errors(run):
    reader = Reader(run)
    errors = {name: evidence.cells.value(reader, name, "ece") for name in (RESNET, VIT)}
    found = parts(run, "calibration_order")[""]
    assert found.value == pytest.approx(errors[VIT].value - errors[RESNET].value, abs=1e-6)


def test_shift_scores_as_the_benchmark_does(run):
    names = (RESNET, VIT)
    made = {name: outcomes(run, name) for name in names}
    base = outcomes(run, REFERENCE)
    shift = measures.Shift(made, base)
    means = shift.columns.mean(0)
    for name in names:
        expected = mce.score(made[name].errors(), base.errors(), names=ALL19)
        assert shift.score(means, name, "mce") == pytest.approx(expected.mce)
        for category in CATEGORIES:
            found = shift.score(means, name, category)
            assert found == pytest.approx(expected.categories[category])
        assert shift.single(means, name, "fog") == pytest.approx(expected.ce["fog"])


def test_shares_apart_by_newcombe():
    """Newcombe's own example: 56/70 less 48/80 has the interval 0.0524 to 0.3339."""
    found = measures.shares_apart((56, 70), (48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.01)
