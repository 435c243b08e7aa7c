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
from rslib.verdicts import Verdict, evidence, figures, measures, outside, rules, steps
from rslib.verdicts.frame import number_text
from rslib.verdicts.reader import Reader, Unmeasured
from tests.helpers.corruption_records import DATA, add_corruptions, corruption_record
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
    source = evidence.FUNCTIONS.get(name, paper.claim(name).evidence)
    found = evidence.parts(Reader(run), source)
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


def test_narrow_networks_reproduce_nothing_but_sizes(frame):
    found = frame[frame.verdict == Verdict.REPRODUCED]
    assert [*found.model] == ["table1/resnet18-standard/parameters", "parameters"]
    size = of(frame, "table1/vit_small-standard/parameters")
    assert (size.ours, size.verdict) == (21_402_250, Verdict.FAILED)
    assert size.label == "the network as described"
    cell = of(frame, "table2/resnet18-adversarial/pgd_accuracy")  # within its wide interval
    assert (cell.verdict, cell.ours, cell.paper) == (Verdict.INCOMPARABLE, 50.0, 45.2)
    assert (cell.low, cell.high) == pytest.approx(wilson(5, 10))
    assert cell.why.startswith("off by +4.8, measured with other networks (width 8, paper 64; ")
    assert cell.why.endswith("PGD on 1,000 images, paper 10,000)")
    assert "learning rate 0.05 and 0.2, paper 0.1" in cell.differs
    cell = of(frame, "table2/resnet18-adversarial/clean_accuracy")
    assert (cell.ours, cell.verdict) == (70.0, Verdict.SHORT)
    assert "epochs 6 and 10, paper 50 and 100" in cell.why


def test_differences_are_paired_and_signed_as_claimed(frame):
    gain = of(frame, "robustness_gain")  # PGD leaves 1 of 10 images, and 5 after the training
    expected = estimates.paired_difference(np.arange(10) < 5, np.arange(10) < 1)
    assert (gain.ours, gain.low, gain.high) == (40.0, expected.low, expected.high)
    assert gain.verdict == Verdict.DIRECTION
    assert gain.why.startswith("0.89 times the size")
    loss = of(frame, "accuracy_loss")  # 16 of 20, and 14
    assert loss.ours == pytest.approx(-10)
    assert loss.verdict == Verdict.SHORT  # two images of twenty are no evidence
    assert loss.why.startswith("the interval holds 0 (one seed; width 8, paper 64; ")
    assert of(frame, "alternating").why == "not measured in this run"


def test_success_and_the_bound_on_it(frame):
    rows = frame[frame.model == "fgsm_success"]
    assert rows.ours.tolist() == [50.0, 75.0]  # 4 and 2 of 8 images are left
    # A weaker training makes no network harder to attack.
    assert set(rows.verdict) == {Verdict.INCOMPARABLE}
    assert "not on the side of a weaker training" in rows.why.iloc[0]


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
    assert of(frame, "abstract_iou_after").verdict == Verdict.SHORT
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
    assert of(frame, "parameters").verdict == Verdict.REPRODUCED  # 1.91 times as many
    assert of(frame, "table1/resnet18-standard/training_hours").verdict == Verdict.INCOMPARABLE
    assert of(frame, "near_zero").verdict == Verdict.FAILED  # 1 of 10
    # 19 corruptions, which are not the official files.
    assert of(frame, "abstract_corruptions").verdict == Verdict.REACHED


def test_another_data_set_compares_with_nothing(tmp_path):
    frame = verdicts.table(make_run(tmp_path))
    found = verdicts.counts(frame)
    untestable = sum(c.relation == "untestable" for c in paper.CLAIMS.values())
    assert found[Verdict.UNTESTABLE] == untestable
    assert found[Verdict.INCOMPARABLE] == sum(found.values()) - untestable - 3  # of structure
    assert of(frame, "robustness_gain").why == "measured on Shapes, not CIFAR-10"
    assert of(frame, "robustness_gain").ours == 40.0


def test_a_run_without_any_record_has_verdicts(tmp_path):
    frame = verdicts.table(Run(settings.load("cpu"), root=tmp_path, progress=False))
    assert [*frame[frame.ours.notna()].unit] == ["count", "count", "ratio"]  # parameters
    rest = frame[frame.ours.isna() & (frame.relation != "untestable")]
    untested = rest[rest.why != "not measured in this run"]
    assert {*untested.model} == {
        *("beta_is_best", "pareto_frontier", "tradeoff_genuine", "conclusion_fundamental"),
        *("practical", "conclusion_feasible"),
    }


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
        "width 8, paper 64; epochs 10, paper 100; learning rate 0.2, paper 0.1; "
        "nesterov yes, paper no; warmup epochs 2, paper 0; schedule one cycle, paper cosine"
    )
    assert "patch 4, paper 2" in told["ViT-Small, adversarial"]
    assert "steps 5, paper 10" in told["ViT-Small, adversarial"]
    paper_run = Run(settings.load("paper"), root=run.directory.parents[1])
    assert verdicts.departures(paper_run, [RESNET, ROBUST_VIT]) == {}


def test_another_attack_is_a_threat_and_fewer_images_are_not(tmp_path):
    attack = {"pgd": {"steps": 10, "n": 500}, "data": {"test_size": 2000}}
    run = Run(settings.load("paper", attack), root=tmp_path, progress=False)
    found = protocol.of(run, [RESNET], ["pgd"])
    assert found.threat == "pgd steps 10, paper 20"
    assert found.images == "PGD on 500 images, paper 10,000; 2,000 test images, paper 10,000"
    assert found.weaker == ""
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
    assert len(verdicts.values(frame)) == 8
    with pytest.raises(paper.UnknownValue, match="did you mean 'robustness_gain'"):
        verdicts.values(frame, ["robustnes_gain"])


def test_a_number_that_rounds_to_zero_has_no_sign():
    cell = {"ours": -0.0003, "low": -0.0024, "high": -0.00004, "unit": ""}
    assert number_text(cell) == "0.000 [\N{MINUS SIGN}0.002, 0.000]"
    cell = {"ours": -0.05, "low": -0.055, "high": -0.004, "unit": "ratio"}
    assert number_text(cell).startswith("\N{MINUS SIGN}0.05 [")


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
    errors = {
        name: estimates.calibration_error(run.record(name, "clean")) for name in (RESNET, VIT)
    }
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
        assert shift.score(means, name, "fog") == pytest.approx(expected.ce["fog"])


def test_shares_apart_by_newcombe():
    """Newcombe's own example: 56/70 less 48/80 has the interval 0.0524 to 0.3339."""
    found = measures.shares_apart((56, 70), (48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((20.0, 5.24, 33.39), abs=0.01)


def outside_record(run, factor, data=DATA | {"dataset": "cifar10"}):
    """The second reference's record: under noise it errs so many times as often as elsewhere."""

    def wrong(corruption, severity):
        noisy = corruption in CATEGORIES["noise"]
        return np.arange(10) < severity * (factor if noisy else 1)

    right = pd.DataFrame({"correct": np.full(10, True)})
    frame = pd.concat([corruption_record(wrong), right], axis=1)
    about = {"model": outside.NAME, "evaluation": "corruptions", "inputs": {}, "n": 10}
    about |= {"seconds": 1.0, "corrupted": data}
    about["provenance"] = {"device": DEVICE, "revision": "abc", "date": "2025-07-01T00:00:00+00:00"}
    records.write_record(outside.path(run), frame, about)


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (1, "the interval is beyond zero"),  # bad at nothing in particular: noise is worst
        (2, "the references disagree"),  # as bad at noise as ResNet-18: relative to it nothing is
        (None, "needs a second reference"),
    ],
)
def test_an_order_of_corruptions_needs_two_references_that_agree(tmp_path, factor, said):
    run = filled(tmp_path)
    if factor is not None:
        outside_record(run, factor)
    frame = verdicts.table(run)
    rows = frame[(frame.model == "noise_worst") & frame.label.str.startswith("ResNet-18")]
    assert [each.partition(", ")[2] for each in rows.label] == [
        *("plain error", "relative to our AlexNet", "relative to AutoAttack's ResNet-18"),
    ]
    expected = Verdict.DIRECTION if factor == 1 else Verdict.SHORT if factor else N
    assert rows.part_verdict.iloc[2] == expected
    judged = [
        (part.about, rules.judge(paper.claim("noise_worst"), part.estimate, RECIPE, how(part)))
        for part in parts_of(run, "noise_worst")[:3]
    ]
    whole = rules.combine(judged, "references")
    assert whole.verdict is (Verdict.REACHED if factor == 1 else N)
    assert said in whole.why


N = Verdict.INCOMPARABLE
RECIPE = verdicts.Protocol(training="epochs 10, paper 100", weaker="epochs 10, paper 100")


def how(part):
    return rules.Measured(unmeasured=part.unmeasured)


def parts_of(run, name):
    return list(evidence.parts(Reader(run), paper.claim(name).evidence))


def test_a_reference_of_other_images_is_named_and_not_used(tmp_path):
    run = filled(tmp_path)
    outside_record(run, 1, DATA | {"dataset": "cifar10", "seed": 1})
    part = parts_of(run, "noise_worst")[2]
    told = "outside and resnet18-standard were evaluated on different images"
    assert part.unmeasured == f"not comparable by this reference: {told}"
    assert np.isnan(part.estimate.value)


def test_references_and_readings_that_do_not_exist_are_errors(run):
    with pytest.raises(ValueError, match="no model 'resnet50-standard'"):
        verdicts.table(run, references=["resnet50-standard"])
    with pytest.raises(ValueError, match="resnet18-standard is no reading of the alignment loss"):
        verdicts.table(run, readings=["resnet18-standard"])
    with pytest.raises(ValueError, match="reading: Input should be"):
        verdicts.table(run, readings=["resnet18-aligned@reading=backwards"])
    with pytest.raises(records.RecordError, match=r"beta=3.0 is not in this run"):
        verdicts.table(run, readings=["resnet18-aligned@reading=standardized,beta=3.0"])


def test_the_reading_that_gains_most_at_a_bearable_cost_stands_for_the_papers(tmp_path):
    names = [f"{ALIGNED}@reading=standardized,beta={beta}" for beta in ("1.0", "10.0")]
    models = MODELS | {name: (16, 4, 1, 1) for name in names}
    run = make_run(tmp_path, profile="cpu", models=models, alignment={"variants": names})
    for name, right, iou in (
        (RESNET, 16, 0.40), (ALIGNED, 16, 0.41), (CONTROL, 16, 0.40),
        (names[0], 16, 0.55), (names[1], 12, 0.70),
    ):  # fmt: skip
        columns = {"correct": np.arange(20) < right, "iou_cnn": np.full(20, iou)}
        add(run, name, "saliency", columns)
    assert Reader(run).aligned(ALIGNED) == names[0]  # the other one costs 20 points
    assert Reader(run).aligned(ALIGNED, "swapped") == ALIGNED
    assert Reader(run, readings=[]).aligned(ALIGNED) == ALIGNED
    found = [part for part in parts_of(run, "abstract_iou_after")]
    assert found[1].label == "over control, aligned (standardized, β = 1)"
    assert found[1].estimate.value == pytest.approx(0.15)


def test_three_seeds_decide_claims_about_methods_and_two_do_not(tmp_path):
    run = make_run(tmp_path, profile="cpu", seeds=(0, 1, 2), seeded=None)
    # PGD leaves 1 of 10 images before; after, 5, 6 and 4 of them by seed.
    for seed, after in ((1, 6), (2, 4)):
        make_run(
            tmp_path, profile="cpu", seed=seed, models=OUTCOMES | {ROBUST_RESNET: (14, 9, after, 3)}
        )
    gain = of(verdicts.table(run), "robustness_gain")
    assert gain.ours == pytest.approx(40.0)
    reach = 4.302653 * 10 / 3**0.5  # Student's t with two degrees of freedom; deviation 10 points
    assert (gain.low, gain.high) == pytest.approx((40 - reach, 40 + reach), abs=1e-3)
    assert "(3 seeds; " in gain.why and gain.method == "t over 3 seeds"
    two = Run(run.settings, 0, seeds=(0, 1), root=tmp_path, progress=False)
    assert "(one seed; " in of(verdicts.table(two), "robustness_gain").why


def test_a_training_has_converged_if_it_is_long_and_flat(tmp_path):
    run = make_run(tmp_path, profile="cpu")
    path = run.model_folder(RESNET) / "model.json"
    for count, last, expected in ((30, 0.905, True), (30, 0.96, False), (20, 0.90, False)):
        rates = [0.90] * (count - 3) + [last] * 3
        history = [{"validation_accuracy": rate} for rate in rates]
        records.write_json(path, records.read_json(path) | {"history": history})
        assert protocol.of(run, [RESNET], ["clean"]).converged is expected
    assert not protocol.of(run, ["resnet18-trades"], ["clean"]).converged  # not trained


@pytest.mark.slow
def test_the_weight_of_alignment_is_judged_where_three_were_trained(tmp_path):
    names = [f"{ALIGNED}@beta={beta}" for beta in (1.0, 10.0)]
    vit = [each.replace("resnet18", "vit_small") for each in (ALIGNED, *names)]
    models = MODELS | {name: (16, 4, 1, 1) for name in (*names, *vit)}
    run = make_run(
        tmp_path,
        profile="cpu",
        models=models,
        alignment={"variants": [*names, *vit[1:]]},
        training={"aligned": {"beta": 0.1, "reading": "as_written"}},
    )
    assert of(verdicts.table(run), "beta_is_best").why.startswith("not tested: fewer than three")
    spread = np.linspace(-0.05, 0.05, 20)
    for name, iou in zip((ALIGNED, *names, *vit), (0.4, 0.5, 0.6, 0.5, 0.4, 0.3), strict=True):
        right = 10 if name == names[1] else 16  # the largest weight costs too much
        add(run, name, "saliency", {"correct": np.arange(20) < right, "iou_cnn": iou + spread})
    first, second = evidence.FUNCTIONS["beta_is_best"](Reader(run))
    assert first.label == "ResNet-18, against β = 1, as written"
    assert first.estimate.value == pytest.approx(-0.1)
    assert second.estimate.value == pytest.approx(0.1)


def test_step_times_are_read_by_the_papers_two_readings(run):
    document = {"seconds": {"resnet18": 2.0, "vit_small, patch 8": 2.6, "vit_small, patch 2": 40.0}}
    records.write_json(steps.path(run), document)
    frame = verdicts.table(run)
    found = of(frame, "training_time")
    assert found.verdict == Verdict.DIRECTION
    assert found.why.startswith("read as 16 patches, of 8 × 8 pixels: the paper's hardware")
    rows = frame[frame.model == "training_time"]
    assert rows.ours.tolist() == pytest.approx([30.0, 1900.0])
    assert steps.ratios(document["seconds"])["vit_small, patch 8"] == pytest.approx(1.3)
    steps.path(run).unlink()


def test_the_implied_reference_is_ours_over_the_papers(run):
    found = verdicts.implied_reference(run).set_index(["model", "category"])
    blur = found.loc[(RESNET, "blur")]  # of ten images 1 to 5 are wrong
    assert blur.ours == pytest.approx(0.3)
    assert blur.implied == pytest.approx(0.3 / 1.52)
