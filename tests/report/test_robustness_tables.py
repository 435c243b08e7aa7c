"""AutoAttack, smoothing and paired tests against outcomes counted by hand."""

import math

import pandas as pd
import pytest

from rslib.metrics import estimates
from rslib.report import numbers, tables
from rslib.store import records
from rslib.store.records import RecordError
from tests.helpers.known_run import (
    DEVICE,
    FEW,
    RESNET,
    ROBUST_RESNET,
    ROBUST_VIT,
    VIT,
    WARNING,
    add_record,
    budgets_record,
    make_run,
    pick,
    transfer_record,
    wilson,
)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, profile="cpu", autoattack={"batch_size": 100})


@pytest.fixture
def shapes_run(tmp_path):
    return make_run(tmp_path / "shapes", profile="smoke")


def rewrite(run, name, kind, change, about=None):
    """Change a record on disk, and its metadata."""
    path = run.record_path(name, kind)
    frame = records.read_record(path)
    changed = change(frame)
    metadata = frame.attrs | {"n": len(changed)} | (about or {})
    records.write_record(path, changed, metadata)


def test_autoattack_counts_after_every_stage_on_the_same_images(run):
    frame = tables.autoattack_table(run)
    # 8 images, of which 1 is wrong clean; PGD leaves images 0 to 4; APGD-CE breaks 2 of the 7,
    # APGD-T one more, Square another.
    right = {
        "clean_accuracy": 7,
        "pgd_accuracy": 5,
        "autoattack_accuracy": 3,
        "after_apgd_ce": 5,
        "after_apgd_t": 4,
        "after_fab_t": 4,
        "after_square": 3,
    }
    for quantity, count in right.items():
        row = pick(frame, ROBUST_RESNET, quantity)
        assert (row["ours"], row["n"]) == (pytest.approx(100 * count / 8), 8)
        assert (row["low"], row["high"]) == pytest.approx(wilson(count, 8))
        assert math.isnan(row["paper"])
    assert list(frame[frame.model == VIT].quantity) == [
        "clean_accuracy",
        "pgd_accuracy",
        "autoattack_accuracy",
        "pgd_gap",
        *list(right)[3:],
    ]


def test_the_gap_to_pgd_is_paired(run):
    row = pick(tables.autoattack_table(run), ROBUST_RESNET, "pgd_gap")
    # PGD leaves images 3 and 4, which AutoAttack breaks, and no image the other way round.
    assert row["ours"] == pytest.approx(25)
    spread = 1.959963984540054 * math.sqrt(2 + 1 - 4 / 10) / 10
    assert (row["low"], row["high"]) == pytest.approx((20 - 100 * spread, 20 + 100 * spread))
    assert row["unit"] == "points" and row["method"] == "Agresti-Min"


def test_stage_of_pgd_is_shown_where_it_was_used(tmp_path):
    run = make_run(tmp_path, autoattack={"skip_broken_by_pgd": True})
    frame = tables.autoattack_table(run, [VIT])
    headers = list(frame.header)
    assert headers[4:] == [
        "After PGD, Cumulative (%)",
        "After APGD-CE, Cumulative (%)",
        "After APGD-T, Cumulative (%)",
        "After FAB-T, Cumulative (%)",
        "After Square, Cumulative (%)",
    ]
    assert pick(frame, VIT, "after_pgd")["ours"] == pytest.approx(87.5)


def test_attacks_by_themselves_have_columns_of_their_own(tmp_path):
    run = make_run(tmp_path, autoattack={"individual": True})
    record = run.record(VIT, "autoattack")
    record["alone_apgd-ce"] = [False, True, True, False, False, False, False, False]
    about = record.attrs
    record.attrs = {}
    records.write_record(run.record_path(VIT, "autoattack"), record, about)
    frame = tables.autoattack_table(run, [VIT])
    row = pick(frame, VIT, "alone_apgd_ce")
    assert row["ours"] == pytest.approx(25) and row["header"] == "APGD-CE, Individual (%)"
    assert "Individual: under that attack by itself." in tables.show(frame).caption


def test_autoattack_caption_says_what_ran(run):
    frame = tables.autoattack_table(run)
    shown = tables.show(frame)
    for text in (shown.caption, repr(shown).replace("\n", " ")):
        for part in (
            "promises (3.2.1) and never tabulates",
            "8/255 in l-infinity",
            "PGD with 20 steps, 1 start",
            "AutoAttack (standard); pyautoattack 0.2.0, in batches of 100",
            "Cumulative: the accuracy",
            "n = 8 test images; seed 0",
            DEVICE,
            f"ResNet-18, adversarial: {WARNING}",
            "fresh forward pass: ResNet-18, adversarial: 2 images.",
        ):
            assert part in text
    assert "vit" not in shown.caption.lower()  # raised no warning
    markup = shown._repr_html_()
    assert markup.count("<i>none reported</i>") == 4
    assert "&lt;after&gt;" in markup and "<after>" not in markup
    quiet = tables.autoattack_table(run, [VIT])
    assert "raised no warning" in tables.show(quiet).caption
    assert "fresh forward pass" not in tables.show(quiet).caption


def test_autoattack_says_where_budgets_differ(tmp_path):
    run = make_run(tmp_path, profile="cpu", pgd={"eps": 4})
    notes = tables.autoattack_table(run, [VIT]).attrs["notes"]
    assert any("4/255 in l-infinity: its columns do not compare" in note for note in notes)


def test_autoattack_tells_what_ran_and_what_its_checks_found(run, shapes_run):
    frame = tables.autoattack_table(run)
    assert pick(frame, ROBUST_RESNET, "autoattack_accuracy")["ours"] == pytest.approx(37.5)
    assert numbers.value(pick(frame, ROBUST_RESNET, "pgd_gap")) == "+25.0"
    facts = frame.attrs["facts"]
    assert all(type(value) in (int, float, str) for value in facts.values())
    assert facts["resnet18_adversarial_flags"] == WARNING
    assert facts["vit_small_standard_flags"] == "none"
    assert facts["resnet18_adversarial_mismatches"] == 2
    assert facts["flag_count"] == 1
    assert facts["label"] == "AutoAttack (standard)"
    assert facts["package"] == "pyautoattack 0.2.0"
    assert "n = 8 test images" in frame.attrs["stamp"]
    other = tables.autoattack_table(shapes_run)
    assert facts.keys() == other.attrs["facts"].keys()
    assert frame["quantity"].equals(other["quantity"])


def test_pgd_on_too_few_images_is_named(run):
    rewrite(run, VIT, "pgd", lambda frame: frame[frame.image < 4])
    with pytest.raises(ValueError, match="pgd record of vit_small-standard holds 4 images") as e:
        tables.autoattack_table(run)
    assert "lacks 4 of the 8" in str(e.value)


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (tables.autoattack_table, "autoattack"),
        (tables.smoothing_table, "smoothing"),
        (tables.smoothing_table, "clean"),
    ],
)
def test_missing_records_are_named(run, table, kind):
    run.record_path(ROBUST_VIT, kind).unlink()
    with pytest.raises(RecordError, match=f"no {kind} record of {ROBUST_VIT}"):
        table(run)


def test_smoothing_counts_what_is_certified(run):
    frame = tables.smoothing_table(run, [ROBUST_RESNET])
    # Of 8 images 6 are certified right, at radii 0.1, 0.25, 0.3, 0.5 and twice the ceiling.
    for quantity, count in (
        ("clean_accuracy", 7),
        ("certified_0", 6),
        ("certified_025", 5),
        ("certified_05", 3),
        ("certified_ceiling", 2),
        ("abstained", 1),
    ):
        row = pick(frame, ROBUST_RESNET, quantity)
        assert (row["ours"], row["n"]) == (pytest.approx(100 * count / 8), 8)
        assert (row["low"], row["high"]) == pytest.approx(wilson(count, 8))
    row = pick(frame, ROBUST_RESNET, "mean_radius")
    # The wrong answer's radius of 0.3 does not count.
    assert row["ours"] == pytest.approx((0.1 + 0.25 + 0.3 + 0.5 + 2 * 0.615816) / 8, abs=1e-5)
    assert row["low"] < row["ours"] < row["high"] and row["method"] == "bootstrap"


def test_smoothing_caption_keeps_l2_from_l_infinity(run):
    shown = tables.show(tables.smoothing_table(run))
    for part in (
        "standard deviation 0.25",
        "100 votes to choose a class and 1,000 to certify",
        "at most 0.001",
        "cannot certify a radius above 0.616",
        "0.616/√3072 = 2.8/255 in l-infinity: never compare",
        "l2",
        "n = 8 test images",
    ):
        assert part in shown.caption
    assert shown._repr_html_().count("<i>none reported</i>") == 4
    assert "Certified at Ceiling 0.616 (%)" in repr(shown)


def test_radii_above_the_ceiling_have_no_interval(tmp_path):
    run = make_run(tmp_path, smoothing={"samples": 100, "alpha": 0.001})
    frame = tables.smoothing_table(run, [VIT])
    # 100 votes: 0.25 * the normal quantile of 0.001 ** 0.01 = 0.375.
    assert pick(frame, VIT, "certified_ceiling")["header"] == "Certified at Ceiling 0.375 (%)"
    row = pick(frame, VIT, "certified_05")
    assert row["ours"] == 0 and math.isnan(row["low"]) and row["n"] == 8
    facts = frame.attrs["facts"]
    assert facts["ceiling"] == pytest.approx(0.375, abs=5e-4)
    assert facts["samples"] == 100


def test_a_model_that_certifies_nothing_has_a_mean_radius_without_interval(run):
    rewrite(run, VIT, "smoothing", lambda f: f.assign(correct=False, radius=0.0, prediction=-1))
    frame = tables.smoothing_table(run, [VIT])
    row = pick(frame, VIT, "mean_radius")
    assert row["ours"] == 0 and math.isnan(row["low"])
    assert pick(frame, VIT, "abstained")["ours"] == 100


def test_smoothing_tells_its_settings_and_is_alike_in_every_profile(run, shapes_run):
    frame, other = tables.smoothing_table(run), tables.smoothing_table(shapes_run)
    facts = frame.attrs["facts"]
    assert all(type(value) in (int, float, str) for value in facts.values())
    assert facts["ceiling_linf"] == pytest.approx(2.833, abs=5e-4)
    assert pick(frame, ROBUST_RESNET, "certified_025")["ours"] == pytest.approx(62.5)
    assert numbers.value(pick(frame, ROBUST_RESNET, "mean_radius")) == "0.298"
    assert facts.keys() == other.attrs["facts"].keys()
    assert frame["quantity"].equals(other["quantity"])


def test_mcnemar_by_hand(run):
    pairs = [(ROBUST_RESNET, RESNET), (ROBUST_RESNET, ROBUST_VIT)]
    frame = tables.mcnemar_table(run, pairs)
    first, second = (f"{a}_vs_{b}" for a, b in pairs)
    # Under PGD images 0 to 4 stay right against image 0 alone, and against images 0 to 2.
    assert (pick(frame, first, "only_a")["ours"], pick(frame, first, "only_b")["ours"]) == (4, 0)
    assert pick(frame, first, "difference")["ours"] == pytest.approx(40)
    assert pick(frame, first, "p")["ours"] == pytest.approx(2 / 2**4)
    assert pick(frame, second, "p")["ours"] == pytest.approx(2 / 2**2)
    assert pick(frame, first, "p_holm")["ours"] == pytest.approx(4 / 2**4)
    assert pick(frame, second, "p_holm")["ours"] == pytest.approx(2 / 2**2)
    assert set(frame.n) == {10}
    assert numbers.quantity(pick(frame, first, "p")["ours"], "p") == "p = 0.125"
    assert numbers.value(pick(frame, first, "only_a")) == "4"
    assert frame.attrs["facts"]["comparisons"] == 2


def test_mcnemar_joins_images_by_their_number(run):
    rewrite(run, RESNET, "pgd", lambda frame: frame.iloc[::-1])
    row = pick(
        tables.mcnemar_table(run, [(ROBUST_RESNET, RESNET)]), f"{ROBUST_RESNET}_vs_{RESNET}", "p"
    )
    assert row["ours"] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("evaluated", "said"),
    [
        ("clean", "right when clean"),
        ("fgsm", "FGSM with budget 8/255"),
        ("autoattack", "AutoAttack with budget 8/255"),
        ("smoothing", "noise of standard deviation 0.25"),
    ],
)
def test_mcnemar_takes_every_evaluation(run, evaluated, said):
    frame = tables.mcnemar_table(run, [(ROBUST_RESNET, VIT)], evaluated)
    shown = tables.show(frame)
    assert said in shown.caption and "Holm's correction is over the 1 comparison" in shown.caption
    assert "not of training methods" in shown.caption
    text = repr(shown)
    assert "A: ResNet-18, adversarial" in text and "B: ViT-Small, standard" in text
    assert "Models A and B" in text and "reported" not in text
    assert "<i>paper</i>" not in shown._repr_html_()
    assert "ResNet-18: width 8" in shown.caption


def test_mcnemar_refuses_what_it_cannot_compare(run):
    with pytest.raises(ValueError, match="paired with itself"):
        tables.mcnemar_table(run, [(VIT, VIT)])
    with pytest.raises(ValueError, match="at least one pair"):
        tables.mcnemar_table(run, [])
    run.record_path(VIT, "fgsm").unlink()
    with pytest.raises(RecordError, match="no fgsm record of vit_small-standard"):
        tables.mcnemar_table(run, [(RESNET, VIT)], "fgsm")


@pytest.mark.parametrize("name", ["autoattack", "smoothing", "mcnemar_pgd"])
def test_saved_tables_come_back(run, name):
    frame = {
        "autoattack": lambda: tables.autoattack_table(run),
        "smoothing": lambda: tables.smoothing_table(run),
        "mcnemar_pgd": lambda: tables.mcnemar_table(run, [(ROBUST_RESNET, RESNET), (RESNET, VIT)]),
    }[name]()
    tables.save(run, name, frame)
    back = tables.load(run, name)
    pd.testing.assert_frame_equal(back, frame)
    assert back.attrs == frame.attrs
    assert repr(tables.show(back)) == repr(tables.show(frame))


def test_everything_is_escaped(run):
    evil = "<script>alert('x')</script>&"
    for frame in (
        tables.autoattack_table(run),
        tables.smoothing_table(run),
        tables.mcnemar_table(run, [(ROBUST_RESNET, RESNET)]),
    ):
        for column in ("label", "training", "header"):
            frame[column] = evil
        frame.attrs["unreported"] = frame.attrs["unreported"] and evil
        markup = tables.show(frame, caption=evil)._repr_html_()
        assert "<script" not in markup
        assert markup.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;") >= 8


def test_a_paired_difference_of_equals_keeps_its_uncertainty():
    found = estimates.paired_difference([True] * 6, [True] * 6)
    assert found.value == 0
    # Half an image in each of the two cells where they could differ: 1.96 sqrt(1) / 8.
    assert (found.low, found.high) == pytest.approx((-24.4995, 24.4995), abs=1e-3)
    one_sided = estimates.paired_difference([True] * 4, [False] * 4)
    assert one_sided.value == one_sided.high == 100


def test_images_are_taken_in_the_order_asked_for(run):
    found = estimates.on_images(run.record(VIT, "clean"), FEW)
    assert list(found["image"]) == FEW


def test_autoattack_is_carried_over_to_the_images_of_pgd(run, tmp_path):
    frame = tables.autoattack_estimate_table(run, [ROBUST_RESNET])
    # PGD leaves 5 of its 10 images, and 5 of AutoAttack's 8, of which AutoAttack leaves 3.
    for quantity, value, n in (
        ("autoattack_accuracy", 37.5, 8),
        ("pgd_accuracy", 62.5, 8),
        ("pgd_all_accuracy", 50, 10),
        ("pgd_gap", 25, 8),
        ("autoattack_estimate", 25, 10),
    ):
        row = pick(frame, ROBUST_RESNET, quantity)
        assert (row["ours"], row["n"]) == (pytest.approx(value), n)
    assert row["low"] < 25 < row["high"] and row["method"] == "MOVER"
    assert frame.attrs["facts"] == {"resnet18_adversarial_pgd_n": 10}
    for overrides in ({"pgd": {"eps": 4}}, {"autoattack": {"eps": 4}}):
        other = make_run(tmp_path / str(overrides), profile="cpu", **overrides)
        frame = tables.autoattack_estimate_table(other, [VIT])
        assert math.isnan(pick(frame, VIT, "autoattack_estimate")["ours"])
        assert "nothing can be carried over" in tables.show(frame).caption


CURVE = {1: (14, 12), 2: (8, 5), 8: (6, 0)}


@pytest.fixture
def budgets(tmp_path):
    run = make_run(tmp_path, profile="cpu", budgets={"eps": [*CURVE]})
    for name in (RESNET, ROBUST_RESNET, VIT, ROBUST_VIT):
        add_record(run, name, "budgets", budgets_record(CURVE))
    return run


def test_budgets_have_a_column_each_and_pairs_their_difference(budgets):
    add_record(budgets, VIT, "budgets", budgets_record(CURVE | {2: (8, 9)}))
    frame = tables.budgets_table(budgets, [RESNET, VIT, (VIT, RESNET)])
    headers = ["Clean", "PGD, 1/255", "PGD, 2/255", "PGD, 8/255"]
    assert list(frame[frame.model == RESNET].header) == headers
    for quantity, count in (("clean_correct", 16), ("pgd_1", 12), ("pgd_2", 5), ("pgd_8", 0)):
        row = pick(frame, RESNET, quantity)
        assert row["ours"] == pytest.approx(5 * count)
        assert (row["low"], row["high"]) == pytest.approx(wilson(count, 20), abs=1e-9)
    gap = pick(frame, f"{VIT}_vs_{RESNET}", "pgd_2")
    assert (gap["ours"], gap["unit"], gap["method"]) == (pytest.approx(20), "points", "Agresti-Min")
    shown = tables.show(frame)
    assert "budgets of 1, 2, 8/255 in l-infinity" in shown.caption
    assert "cannot rise" in shown.caption and "20 steps" in shown.caption
    assert "n = 20 test images" in shown.caption and "+20.0" in repr(shown)


def test_the_budget_of_the_papers_fgsm_lies_on_the_line_between_two(budgets):
    # 31.2 %: accuracies are 80, 70, 40 and 30 % at 0, 1, 2 and 8; 28.7 % is not reached.
    frame = tables.fgsm_budgets_table(budgets)
    row = pick(frame, RESNET, "budget")
    assert row["ours"] == pytest.approx(2 + 6 * (40 - 31.2) / 10) and row["unit"] == "ratio"
    assert math.isnan(row["low"])  # the interval's upper end does not fall so far
    assert pick(frame, RESNET, "paper_fgsm")["ours"] == 31.2
    assert math.isnan(pick(frame, VIT, "budget")["ours"])
    robust = pick(frame, ROBUST_RESNET, "budget")  # 72.4 %
    assert robust["ours"] == pytest.approx((80 - 72.4) / 10)
    assert math.isnan(robust["low"])  # the interval's lower end is below it without an attack
    add_record(budgets, RESNET, "budgets", budgets_record({2: (8, 5), 8: (0, 0)}))
    row = pick(tables.fgsm_budgets_table(budgets, [RESNET]), RESNET, "budget")
    (clean, _), (low, high), (_, end) = wilson(16, 20), wilson(8, 20), wilson(0, 20)
    assert row["low"] == pytest.approx(2 * (clean - 31.2) / (clean - low))
    assert row["high"] == pytest.approx(2 + 6 * (high - 31.2) / (high - end))
    assert "hypothesis" in tables.show(frame).caption
    assert "other images" not in tables.show(frame).caption


def test_transfer_counts_what_both_get_right(tmp_path):
    run = make_run(tmp_path, profile="cpu", models={RESNET: (16, 4, 1, 2), VIT: (15, 2, 0, 0)})
    run.has = {RESNET, VIT}.__contains__
    add_record(run, RESNET, "transfer", transfer_record({RESNET: (0, 2), VIT: (3, 6)}))
    add_record(run, VIT, "transfer", transfer_record({RESNET: (8, 9), VIT: (0, 2)}))
    frame = tables.transfer_table(run, [RESNET, VIT])
    # Itself: 6 of 8 turn. The ViT: images 3 to 7 are right for both, of which 3 to 5 stay so.
    for name, judge, turned, n in ((RESNET, RESNET, 75, 8), (RESNET, VIT, 40, 5)):
        row = pick(frame, name, f"to_{judge.replace('-', '_')}")
        assert (row["ours"], row["n"]) == (pytest.approx(turned), n)
        assert (row["low"], row["high"]) == pytest.approx(wilson(n * turned // 100, n))
    # No image is right for both.
    assert math.isnan(pick(frame, VIT, "to_resnet18_standard")["ours"])
    facts = frame.attrs["facts"]
    assert facts["resnet18_standard_vit_small_standard_left_out"] == 5
    assert facts["vit_small_standard_resnet18_standard_left_out"] == 10
    caption = tables.show(frame).caption
    assert "ResNet-18, standard: 2, 5; ViT-Small, standard: 10, 2" in caption
    assert "PGD with 20 steps" in caption
