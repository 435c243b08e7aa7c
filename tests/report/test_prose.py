"""The sentences of the notebooks, on numbers known by hand and on the published editions."""

import json
import math
import types

import pandas as pd
import pytest

from rslib import metrics, tables
from rslib.report import prose
from rslib.settings import PROJECT
from tests.helpers.known_run import make_run

RESNET, VIT = "resnet18-standard", "vit_small-standard"
ROBUST_RESNET, ROBUST_VIT = "resnet18-adversarial", "vit_small-adversarial"
ALIGNED_RESNET, ALIGNED_VIT = "resnet18-aligned", "vit_small-aligned"
CONTROL_RESNET, CONTROL_VIT = "resnet18-aligned@beta=0.0", "vit_small-aligned@beta=0.0"


def table(rows, unit="", **attrs):
    """A table of (model, quantity) to a value, or to (value, low, high)."""
    made = []
    for (model, quantity), found in rows.items():
        ours, low, high = found if isinstance(found, tuple) else (found, math.nan, math.nan)
        cell = {"model": model, "quantity": quantity, "ours": ours, "low": low, "high": high}
        made.append(
            cell | {"unit": unit, "n": 100, "paper": math.nan, "label": model, "training": "T"}
        )
    frame = pd.DataFrame(made)
    frame.attrs = {"facts": {}, "stamp": "profile smoke; seed 0", **attrs}
    return frame


@pytest.fixture
def run(tmp_path):
    names = [RESNET, VIT, ROBUST_RESNET, ROBUST_VIT, "resnet18-purely_adversarial"]
    outcomes = [(16, 4, 1, 2), (15, 2, 0, 0), (14, 7, 5, 6), (13, 6, 3, 3), (12, 6, 5, 5)]
    return make_run(tmp_path, models=dict(zip(names, outcomes, strict=True)))


def test_parameters_stand_beside_the_papers():
    told = prose.parameters({"resnet18": 11_173_962, "vit_small": 21_342_346})
    assert "ResNet-18 has 11.2 million parameters (Table 1: 11.2M)" in told
    assert "ViT-Small has 21.3 million parameters (Table 1: 22.1M)" in told


def test_a_loss_that_climbs_and_one_that_does_not():
    climbing = {"a": [1.0, 2.0], "b": [0.5, 0.6]}
    told = prose.loss_traces(climbing, 60, 0.8 / 255, tf32=False)
    assert told.startswith("The loss of every curve above climbs from the start to the last step")
    assert "(60 images; steps of 0.8/255). Gradients are taken in full precision." in told
    told = prose.loss_traces(climbing | {"c": [2.0, 2.0]}, 1, 0.8 / 255, tf32=True)
    assert "the loss does not climb for c (1 image;" in told
    assert "in TF32 where the GPU has it." in told


@pytest.mark.parametrize(("trades", "said"), [(True, "trains TRADES"), (False, "not train TRADES")])
def test_how_long_defenses_train(trades, said):
    told = prose.defenses(2, 1, trades=trades)
    assert "trains for 1 epoch here, alternating batches for 2 epochs" in told
    assert said in told


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ((0.0, -1.0), "Of 2 robust trainings, none ended below its best epoch."),
        ((0.0, 1.44), "1 ended below its best epoch; the most was lost by ViT-Small, adversarial"),
        ((3.0, 1.0), "2 ended below their best epoch; the most was lost by ResNet-18"),
        ((3.0, 1.0), "(3.0 points of robust validation accuracy)"),
    ],
)
def test_robust_overfitting(lost, said):
    rows = dict(
        zip([(ROBUST_RESNET, "overfitting"), (ROBUST_VIT, "overfitting")], lost, strict=True)
    )
    assert said in prose.overfitting(table(rows))


def test_masks_with_and_without_the_truth():
    masks = table(
        {("cnn", "coverage"): 0.321, ("cnn", "chance"): 0.1756, ("cnn", "center"): math.nan},
        facts={"cnn_temperature": 1.004, "vit_temperature": 0.836},
    )
    told = prose.mask_agreement(masks, {("cnn", "vit"): 0.5})
    assert "overlap with a mean IoU of 0.50. The data set has no exact masks" in told
    assert "(here 1.00 for the CNN and 0.84 for the ViT)" in told
    exact = {("exact", "cnn"): 0.61, ("exact", "vit"): 0.42, ("cnn", "vit"): 0.5}
    told = prose.mask_agreement(table({("exact", "coverage"): 0.2}), exact)
    assert (
        "Scored against the exact masks, the CNN teacher's reach a mean IoU of 0.61 and the ViT "
        "teacher's reach a mean IoU of 0.42." in told
    )
    assert "Temperature scaling divides" in told
    told = prose.overlap_floor(masks, "cnn")
    assert "CNN teacher's masks cover 0.32 of the image" in told
    assert "a random map scores 0.176, the image's center not measured" in told


def test_variants_of_alignment_are_counted_against_their_control():
    rows = {
        (CONTROL_RESNET, "iou_cnn"): (0.30, 0.29, 0.31),
        (ALIGNED_RESNET, "iou_cnn"): (0.31, 0.30, 0.32),
        ("resnet18-aligned@beta=1.0", "iou_cnn"): (0.40, 0.39, 0.41),
        (CONTROL_VIT, "iou_cnn"): (0.20, 0.19, 0.21),
        (ALIGNED_VIT, "iou_cnn"): (0.25, 0.24, 0.26),
        (ALIGNED_VIT, "iou_vit"): (0.9, 0.8, 1.0),
    }
    told = prose.alignment_variants(table(rows), "cnn")
    assert "reaches an IoU of 0.300 (ResNet-18) and 0.200 (ViT-Small)" in told
    assert "Of 2 variants of ResNet-18, 1 has an interval wholly above the control's." in told
    assert "Of 1 variant of ViT-Small, 1 has an interval" in told
    assert "The highest IoU, 0.400, is that of resnet18-aligned@beta=1.0, T." in told


def test_the_corruption_error_is_worked_through():
    from rslib.corruptions import ALL19
    from rslib.corruptions.mce import ErrorTable

    ours, reference = (
        ErrorTable("a", {name: (share,) * 5 for name in ALL19}, 0.1, {"n": 1})
        for share in (0.3, 0.6)
    )
    images = types.SimpleNamespace(clean=range(2000), origin="generated")
    told = prose.corruption_error(ours, reference, images)
    assert told.startswith("0.300 / 0.600 = 0.500 for fog, and 0.500 in the mean over all 19")
    assert "(2,000 generated images a cell). The reference against itself is 1.000" in told
    assert reference.digest[:10] in told


def test_baselines(run):
    summary = {"seconds": 10.0, "parameters": 100}
    outcome = metrics.mcnemar([True] * 3 + [False], [False] * 3 + [True])
    told = prose.baselines(
        tables.table1(run), outcome, summary, {"seconds": 12.4, "parameters": 190}
    )
    # 16 and 15 of 20 images.
    assert "ResNet-18 reaches 80.0 % [58.4, 91.9] and ViT-Small 75.0 %" in told
    assert "a gap of 5.0 points, where the paper has 3.6" in told
    assert "3 images are right for ResNet-18 alone and 1 for ViT-Small alone" in told
    assert f"(McNemar's test, p = {outcome.p_value:.3f})" in told
    assert "1.24 times the training time of ResNet-18" in told and "1.9 times its" in told


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ((0.01, 0.02), "Here both stay below 0.05, and ResNet-18 has the smaller error."),
        ((0.09, 0.02), "Here only one of the two stays below 0.05, and ViT-Small has the smaller"),
        ((0.09, 0.09), "Here neither stays below 0.05, and neither has the smaller error."),
    ],
)
def test_calibration_of_baselines(errors, said):
    rows = {(name, "clean_accuracy"): (50.0, 40.0, 60.0) for name in (RESNET, VIT)}
    rows |= dict(zip([(RESNET, "ece"), (VIT, "ece")], errors, strict=True))
    took = {"seconds": 1.0, "parameters": 1}
    outcome = types.SimpleNamespace(b=1, c=0, p_value=1e-9)
    told = prose.baselines(table(rows, "%"), outcome, took, took)
    assert said in told
    assert "1 image is right for ResNet-18 alone and 0 for" in told and "p < 0.001)" in told


def test_robustness(run):
    frame = tables.table2(run, [*tables.ROBUSTNESS, "resnet18-purely_adversarial"])
    pgd = [run.record(name, "pgd") for name in (RESNET, ROBUST_RESNET)]
    told = prose.robustness(frame, pgd, 8)
    # 1 of 10 and 5 of 10 images under PGD, 16 and 14 of 20 clean ones.
    assert "At 8/255 ResNet-18 keeps 10.0 % [1.8, 40.4] of 10 images (paper: 0.1 %)" in told
    assert "brings ResNet-18 to 50.0 %" in told
    assert "40.0 points gained for 10.0 points of clean accuracy (paper: 45 for 8)" in told
    assert "the mixed ResNet-18 is as robust as the other: 50.0 % against 50.0 %" in told
    assert "by which it is 67.1 % for ResNet-18" in told
    assert "2 more images would count as robust, over all models." in told
    unfollowed = [record.drop(columns="correct_last") for record in pgd]
    told = prose.robustness(frame, unfollowed, 8)
    assert "Last-iterate accuracy was not recorded" in told


@pytest.mark.parametrize(("pure", "said"), [(20.0, "the more robust"), (60.0, "the less robust")])
def test_mixing_clean_and_attacked_batches(run, pure, said):
    frame = tables.table2(run, [*tables.ROBUSTNESS, "resnet18-purely_adversarial"])
    changed = (frame.model == "resnet18-purely_adversarial") & (frame.quantity == "pgd_accuracy")
    frame.loc[changed, "ours"] = pure
    assert f"the mixed ResNet-18 is {said} of the two: 50.0 % against {pure} %" in prose.robustness(
        frame, [], 8
    )


def report(*failed, evidence=None):
    checks = [] if evidence is None else [{"name": "autoattack", "evidence": evidence}]
    return {"images": 1, "passed": not failed, "failed": list(failed), "checks": checks}


def test_checks_of_attacks():
    def gap(difference, low, high):
        return {"difference": difference, "tolerance": 0.06, "interval": (low, high)}

    reports = {
        "A": report(evidence=gap(0.01, 0.0, 0.02)),
        "B": report("autoattack", evidence=gap(0.2, 0.1, 0.3)),
        "C": report(evidence=gap(0.05, 0.0, 0.1)),
        "M": report("budget", "steps"),
    }
    told = prose.attack_checks(reports, "M")
    assert told.startswith("On 1 image the masked model is flagged by: budget, steps.")
    assert "Of the honest models the checks flag: B (autoattack)." in told
    assert "for B and stays within six for A; the images are too few to tell for C." in told
    assert told.endswith("The largest gap seen is 20.0 points.")
    told = prose.attack_checks({"A": report(), "M": report()}, "M")
    assert "flagged by: nothing. Of the honest models the checks flag: none." in told
    assert "for no model and stays within six for no model" in told
    assert told.endswith("The largest gap seen is not measured.")


def test_overlap_beside_what_is_trivial():
    iou = {
        RESNET: (0.20, 0.19, 0.21),
        ROBUST_RESNET: (0.21, 0.205, 0.22),
        ALIGNED_RESNET: (0.40, 0.39, 0.41),
        VIT: (0.20, 0.19, 0.21),
        ROBUST_VIT: (0.15, 0.14, 0.16),
        ALIGNED_VIT: (0.30, 0.29, 0.31),
    }
    rows = {(name, "iou_mean"): found for name, found in iou.items()}
    rows |= {(name, "chance"): 0.1756 for name in iou}
    rows |= {(name, "average"): 0.35 for name in iou}
    rows |= {(name, kind): 0.2 for name in iou for kind in ("shuffled", "center", "mass")}
    told = prose.overlap(table(rows))
    assert "A random map scores 0.176 on these masks" in told
    assert "lies above all four: ResNet-18, aligned.\n" in told
    assert "changes the mean IoU by +0.010 (the intervals meet) (ResNet-18" in told
    assert "and −0.050 (ViT-Small" in told and "alignment** by +0.200 (paper" in told
    assert "inside the mask is 20 % (ResNet-18) and 20 % (ViT-Small)" in told
    rows |= {(name, "average"): 0.9 for name in iou}
    assert "lies above all four: none." in prose.overlap(table(rows))


def test_faithfulness():
    rows = {(name, "random"): 0.3 for name in tables.INTERPRETABILITY}
    rows |= {
        (name, "gradcam" if name.startswith("resnet18") else "rollout"): 0.2
        for name in tables.INTERPRETABILITY
    }
    attacked = table({(RESNET, "rank_correlation"): 0.25, (VIT, "rank_correlation"): 0.75})
    left = {RESNET: -0.001, VIT: None}
    told = prose.faithfulness(table(rows), attacked, left, 8)
    assert "no better at deletion than a random map: none." in told
    assert (
        "keep a rank correlation of 0.00 with the trained model's, those of ViT-Small 0.00" in told
    )
    assert "with 8/255 the explanation of ViT-Small, standard stays most alike" in told
    assert "(rank correlation 0.75) and that of ResNet-18, standard least (0.25)" in told
    told = prose.faithfulness(table(rows | {(VIT, "rollout"): 0.4}), attacked, left, 8)
    assert "than a random map: ViT-Small, standard." in told


def test_alignment_against_its_control():
    rows = {
        (ALIGNED_RESNET, "iou_over_control"): (0.0025, 0.002, 0.003),
        (ALIGNED_VIT, "iou_over_control"): (-0.0041, -0.005, -0.003),
    }
    told = prose.alignment(table(rows))
    assert "IoU by +0.003 [0.002, 0.003] (ResNet-18) and −0.004 [−0.005, −0.003] (ViT-" in told
    assert "accuracy by not measured (ResNet-18) and not measured (ViT-Small)" in told


def test_people():
    assert "people are not asked in this run" in prose.people(None)
    human = table({(RESNET, "distance"): 0.2, (VIT, "distance"): 0.1, (VIT, "other"): 0.0})
    assert prose.people(human) == "Closest to people's choices is ViT-Small, standard."


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((0.4, -0.2, 1.0), "does not clearly change"),
        ((2.0, 1.0, 3.0), "improves"),
        ((-2.0, -3.0, -1.0), "harms"),
    ],
)
def test_alignment_by_other_metrics(gain, said):
    shared = "resnet18-aligned@beta=1.0"
    shortcut = {
        (RESNET, "drop"): 5.5,
        (RESNET, "broken"): 94.0,
        (CONTROL_RESNET, "broken"): 94.6,
        (shared, "broken"): 95.0,
        (shared, "over_control"): gain,
    }
    names = {
        ALIGNED_RESNET: (20.0, 19.0, 21.0),
        ALIGNED_VIT: (30.0, 29.0, 31.0),
        CONTROL_RESNET: (25.0, 24.0, 26.0),
        CONTROL_VIT: (28.0, 25.0, 30.0),
        RESNET: (10.0, 9.0, 11.0),
        VIT: (28.0, 25.0, 28.5),
    }
    swapped = {(name, "gap"): found for name, found in names.items()}
    attack = {(name, "pgd_accuracy"): found for name, found in names.items()}
    told = prose.alignment_tests(
        table(shortcut, "%"), table(swapped), table(attack), aligned=shared
    )
    assert "loses 5.5 points" in told and "the control on 94.6 %" in told
    assert f"alignment {said} accuracy once" in told
    assert "narrower than the control's for: ResNet-18, aligned." in told
    assert "than both baseline and control: none of the aligned models." in told
    attack[ALIGNED_VIT, "pgd_accuracy"] = (40.0, 39.0, 41.0)
    told = prose.alignment_tests(
        table(shortcut, "%"), table(swapped), table(attack), aligned=shared
    )
    assert "than both baseline and control: ViT-Small, aligned." in told


def shift_table():
    rows = {(RESNET, kind): value for kind, value in CATEGORIES.items()}
    for name, mce, error in (
        (RESNET, 0.8, 30.0),
        (ROBUST_RESNET, 0.6, 20.0),
        (VIT, 1.0, 40.0),
        (ROBUST_VIT, 1.1, 50.0),
        ("resnet18-noise", 1.0, 30.0),
    ):
        rows |= {(name, "mce"): mce, (name, "error"): error}
    return table(rows | {(RESNET, "category_mean"): 0.81})


CATEGORIES = {"noise": 0.9, "blur": 0.7, "weather": 0.6, "digital": 0.5}


def test_distribution_shift():
    told = prose.shift(shift_table())
    assert "noise is the worst category relative to the reference and digital the best" in told
    assert "0.75 for ResNet-18 (paper: 0.92) and 1.10 for ViT-Small (paper: 0.96)" in told
    assert "gives 1.25 for ResNet-18" in told and "0.800 against 0.810" in told
    told = prose.shift_summary(shift_table())
    assert told.endswith("is 0.75 for ResNet-18 and 1.10 for ViT-Small.")


def test_changes_by_corruption():
    changed = {(ROBUST_RESNET, RESNET): (6, 9), (ROBUST_VIT, VIT): (0, 1)}
    rows = {(f"{ROBUST_RESNET}_vs_{RESNET}", "all"): (-0.55, -1.0, 0.2)}
    told = prose.shift_changes(table(rows, "points"), changed)
    assert "clearly lowers the error of ResNet-18 under 6 and raises it under 9; it lowers" in told
    assert "changes by −0.6 points [−1.0, +0.2] (ResNet-18) and not measured (ViT-Small)" in told


def test_whether_attacks_and_corruptions_break_the_same_images():
    gaps = {
        (RESNET, "gap"): (5.0, 1.0, 9.0),
        (VIT, "gap"): (-5.0, -9.0, -1.0),
        (ROBUST_VIT, "gap"): math.nan,
    }
    under_pgd = {RESNET: 0.1, ROBUST_RESNET: 0.5, VIT: 0.1, ROBUST_VIT: 0.5}
    told = prose.breaking_alike(table(gaps), shift_table(), under_pgd)
    assert told.startswith("In 2 models both groups") and "In 1 of them the images" in told
    assert "as well, and in 1 the less." in told
    assert told.endswith("lower mean corruption error in 1.")  # not ViT-Small: more errors
    one = {key: gaps[key] for key in ((RESNET, "gap"),)}
    assert prose.breaking_alike(table(one), shift_table(), under_pgd).startswith("In 1 model both")


def tradeoff_rows(lost=10.0):
    rows = {}
    for name, clean, pgd in (
        (RESNET, 90.0, 1.0),
        (ROBUST_RESNET, 90.0 - lost, 41.0),
        (VIT, 80.0, 0.0),
        (ROBUST_VIT, 60.0, 30.0),
    ):
        rows |= {(name, "clean_accuracy"): clean, (name, "pgd_accuracy"): pgd}
    return rows


def test_tradeoffs():
    pareto = table({(RESNET, "plane"): 100.0, (RESNET, "all"): 77.0, (VIT, "plane"): 50.0})
    told = prose.tradeoffs(table(tradeoff_rows()), pareto)
    assert "gains 40.0 points under PGD for 10.0 points of accuracy, 4.0:1 (paper: 5.6:1)" in told
    assert "for ViT-Small 30.0 points under PGD for 20.0 points of accuracy, 1.5:1." in told
    assert (
        "of the resamples: ResNet-18, standard. On the front of all five axes: 1 of 2 models"
        in (told)
    )
    nowhere = table({(RESNET, "plane"): 10.0, (RESNET, "all"): 10.0})
    told = prose.tradeoffs(table(tradeoff_rows(lost=0.0)), nowhere)
    assert "no price: nothing was lost" in told
    assert "resamples: no model. On the front of all five axes: 0 of 1 model." in told


def correlations(kinds):
    rows = {}
    for kind in kinds:
        rows |= {
            (RESNET, kind): (0.3, 0.2, 0.4),
            (RESNET, f"{kind}_partial"): (-0.3, -0.4, -0.2),
            (RESNET, f"{kind}_p"): 0.001,
            (VIT, kind): math.nan,
        }
    return rows


def test_breakage_and_the_summary_of_trade_offs():
    broken = table(correlations(("fgsm", "pgd")))
    told = prose.breakage(broken, table(correlations(("pgd",))))
    assert "Of 2 comparisons that can be made, 2 lie clearly above zero and 0 below" in told
    assert "equal confidence 0 above and 2 below (2 significant after Holm's" in told
    assert "Of 1 comparison, 1 lies clearly above zero and 0 below; among" in told
    told = prose.tradeoff_summary(table(tradeoff_rows()), broken)
    assert told.startswith("Profile smoke; seed 0. Robustness costs accuracy at 4.0:1")
    assert "agree in 0 of 2 comparisons at equal confidence" in told


def test_confident_errors():
    rows = {
        (RESNET, "wrong"): (3.01, 2.6, 3.5),
        (RESNET, "worst_class"): 13.5,
        (RESNET, "corrupted"): 24.0,
        (RESNET, "iou_gap"): (-0.1, -0.2, -0.05),
        (VIT, "iou_gap"): math.nan,
    }
    frame = table(rows, "%", facts={"worst_resnet18_standard": "cat"})
    told = prose.confident_errors(frame)
    assert "it is wrong in 3.0 % [2.6, 3.5] of the cases; its worst class is cat, with 13.5 %." in (
        told
    )
    assert "it gets 24.0 % wrong. In 1 of 1 model where" in told
    told = prose.confident_errors(table({(RESNET, "wrong"): math.nan}))
    assert told.startswith(
        "The standard ResNet-18 is at least 90 % sure of no clean image. In 0 of"
    )


@pytest.mark.parametrize(
    ("pgd", "overlap", "interaction", "said"),
    [
        (
            (0, -1, 1),
            (0, -1, 1),
            (0, -1, 1),
            "less than these images can tell and does not clearly",
        ),
        ((-2, -3, -1), (2, 1, 3), (0, -1, 1), "it costs robustness and raises the overlap"),
        ((2, 1, 3), (-2, -3, -1), (0, -1, 1), "it gains robustness and lowers the overlap"),
        ((0, -1, 1), (0, -1, 1), (0, -1, 1), "the two do not interfere, as far as these images"),
        ((0, -1, 1), (0, -1, 1), (2, 1, 3), "the gain in overlap is larger with adversarial"),
        ((0, -1, 1), (0, -1, 1), (-2, -3, -1), "the gain in overlap is smaller with adversarial"),
    ],
)
def test_combination(pgd, overlap, interaction, said):
    rows = {
        ("pgd", "alignment_robust"): pgd,
        ("clean", "alignment_robust"): (1, 0, 2),
        ("corruptions", "alignment_robust"): (1, 0, 2),
        ("iou_cnn", "alignment_robust"): overlap,
        ("iou_cnn", "interaction"): interaction,
    }
    effects = ("alignment", "attack", "attack_aligned")
    rows |= {("iou_cnn", effect): (0.0525, 0.05, 0.055) for effect in effects}
    frame = table({key: tuple(map(float, cell)) for key, cell in rows.items()})
    told = prose.combination(frame, "cnn")
    assert said in told
    assert "Alignment brings +0.052 [0.050, 0.055] of IoU to a standard model" in told
    both = {"both": "resnet18-robust_aligned", "robust": ROBUST_RESNET}
    told = prose.combination_summary(frame, "cnn", **both)
    assert told.startswith("ResNet-18, adversarial and aligned against ResNet-18, adversarial: ")


CLAIMS = (
    *("conclusion_gain", "conclusion_loss", "conclusion_orthogonal", "abstract_iou_after"),
    *("conclusion_transfer_resnet18", "conclusion_transfer_vit_small"),
    *("alternating", "fgsm_success"),
)


def test_verdicts():
    told = {"verdicts_total": 21}
    for n, verdict in enumerate(
        (
            "reproduced",
            "reached_with_another_recipe",
            "same_direction",
            "short_of_it__by_another_recipe",
            "not_reproduced",
            "not_comparable",
            "not_testable_as_stated",
        ),
        start=1,
    ):
        told[f"verdicts_{verdict}"] = n
    counted = prose.verdict_counts(told)
    assert counted.startswith("Of 21 numbers and claims, this run has 1 reproduced, 2 reached")
    assert counted.endswith("6 not comparable and 7 not testable as stated.")
    for claim in CLAIMS:
        told |= {
            f"verdict_{claim}": "same direction",
            f"verdict_{claim}_ours": f"ours of {claim}",
            f"verdict_{claim}_why": "why",
        }
    concluded = prose.conclusion(told)
    assert "by ours of conclusion_gain (same direction) and its clean accuracy" in concluded
    assert "+0.27 is *same direction* (why)" in concluded
    assert prose.attack_claims(told).endswith("over 99 %: ours of fgsm_success.")


def test_the_rule_and_the_arithmetic():
    told = prose.rule(0.25, 3.0, {"points": 1.0, "": 0.01}, 0.05)
    assert "at least 0.25 times the one claimed" in told
    assert "more than 3 times as large" in told
    assert "1 point of accuracy, 0.01 of a calibration error, 5 % of a quotient" in told
    assert prose.contradictions(20, 1) == "Of 20 checks, 1 finds a contradiction:"
    assert prose.contradictions(20, 3) == "Of 20 checks, 3 find a contradiction:"


def test_what_hours_and_mce_imply():
    ratios = {"resnet18": 1.0, "vit_small, patch 8": 1.31, "vit_small, patch 2": 21.6}
    told = prose.step_times(ratios, 1.24)
    assert "1.31 with patches of 8, 21.60 with patches of 2 pixels" in told
    assert "nearest to patches of 8: 16 tokens" in told
    implied = pd.DataFrame({"ours": [0.4, 0.2], "implied": [0.24, 0.1]})
    assert "10 to 24 %, where our networks err by 30 %" in prose.implied_reference(implied)


def card(pgd, *, passed, failed=(), standard=None):
    def axis(name):
        value = {"pgd": pgd, "autoattack": None}[name]
        result = None if value is None else types.SimpleNamespace(value=value)
        peers = [] if standard is None else [types.SimpleNamespace(model=RESNET, measure=standard)]
        return types.SimpleNamespace(result=result, compared=peers)

    verdict = types.SimpleNamespace(passed=passed, failed=list(failed))
    return types.SimpleNamespace(axis=axis, reliability=verdict)


def test_scorecards():
    robust = card(41.6, passed=True)
    rounded = card(80.0, passed=False, failed=["budget"], standard=types.SimpleNamespace(value=0.0))
    told = prose.scorecards(robust, rounded, 40)
    assert "On 40 images the adversarially trained model keeps 42 % under PGD and not meas" in told
    assert "its verdict: passed." in told and "its verdict: flagged (budget)." in told
    assert "keeps 80 % under PGD, where without it it keeps 0 % of the same images" in told
    told = prose.scorecards(card(1.0, passed=None), card(1.0, passed=True), 1)
    assert "its verdict: not given." in told and "keeps not measured of the same" in told


def test_maps_that_stay_while_layers_become_random():
    steps = [(2, 0.99), (4, 0.8), (6, 0.9), (8, -0.4)]
    looks = [{"layers": k, "correlation": c, "degenerate": 0} for k, c in steps]
    constant = [{"layers": 4, "correlation": 0.1}, {"layers": 8, "correlation": None}]
    checks = {"vit_small-standard": {"n": 4, "methods": {"rollout": looks, "gradcam": constant}}}
    told = prose.randomization(checks)
    assert (
        "Attention rollout of ViT-Small, standard, with 6 of 8 layers random, still 0.800" in told
    )
    assert "Grad-CAM of ViT-Small, standard, with" not in told
    assert "the largest correlation is \N{MINUS SIGN}0.40" in told
    assert told.endswith("all maps are constant then: Grad-CAM of ViT-Small, standard.")
    # A look below the level ends it, whatever comes later.
    assert "with 2 of 8 layers random, still 0.990" in prose.randomization(checks, level=0.85)
    assert prose.randomization(checks, level=1.0).startswith("No map keeps")


def published(edition, name):
    path = PROJECT / "book" / "published" / edition / "seed0" / "tables" / f"{name}.json"
    document = json.loads(path.read_text())
    frame = pd.DataFrame(document["rows"])
    frame.attrs = document["metadata"]
    return frame


@pytest.mark.parametrize("edition", ["cpu", "fast"])
@pytest.mark.parametrize(
    ("sentences", "names"),
    [
        (prose.overfitting, ["selection"]),
        (lambda masks: prose.overlap_floor(masks, "cnn"), ["masks"]),
        (lambda variants: prose.alignment_variants(variants, "cnn"), ["variants"]),
        (lambda table2: prose.robustness(table2, [], 8), ["table2"]),
        (prose.overlap, ["table3"]),
        (prose.alignment, ["table4"]),
        (prose.shift, ["table5"]),
        (prose.tradeoffs, ["tradeoffs", "pareto"]),
        (prose.breakage, ["breakage", "overlap_robustness"]),
        (prose.confident_errors, ["confident_errors"]),
        (prose.tradeoff_summary, ["tradeoffs", "breakage"]),
        (lambda square: prose.combination(square, "cnn"), ["orthogonality"]),
    ],
)
def test_published_tables_are_told_in_whole_sentences(edition, sentences, names):
    told = sentences(*(published(edition, name) for name in names))
    for paragraph in told.split("\n\n"):
        assert paragraph.endswith(".")
    for broken in ("nan", "None", "{", "  ", " -", "not measured"):
        assert broken not in told
