"""The smoke run's numbers, within tolerances: what must come out whatever the machine."""

import pytest

from rslib import settings
from rslib.run import Run

pytestmark = pytest.mark.slow

MODELS = ("resnet18-standard", "vit_small-standard")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(settings.load("smoke"), root=tmp_path_factory.mktemp("runs"), progress=False)


def accuracy(run, name, evaluation):
    return run.evaluate(name, evaluation)["correct"].mean()


def test_tiny_nets_learn_shapes(run):
    assert accuracy(run, "resnet18-standard", "clean") > 0.95
    assert accuracy(run, "vit_small-standard", "clean") > 0.6


@pytest.mark.parametrize("name", MODELS)
def test_attacks_are_ordered_by_strength(run, name):
    clean, fgsm, pgd = (accuracy(run, name, kind) for kind in ("clean", "fgsm", "pgd"))
    assert pgd < fgsm + 0.05 < clean
    assert pgd < 0.15


@pytest.mark.parametrize("name", MODELS)
def test_records_join_and_hold_the_threat_model(run, name):
    clean = run.evaluate(name, "clean").set_index("image")
    for kind in ("fgsm", "pgd"):
        record = run.evaluate(name, kind).set_index("image")
        budget = getattr(run.settings, kind).eps_unit
        assert record["distance"].max() <= budget + 1e-5
        assert (record["label"] == clean["label"].loc[record.index]).all()
        agree = record["clean_correct"] == clean["correct"].loc[record.index]
        assert agree.mean() > 0.99  # another batch may round a tie differently


def test_pgd_is_class_balanced(run):
    record = run.evaluate(MODELS[0], "pgd")
    assert len(record) == run.settings.pgd.n
    assert record["label"].value_counts().nunique() == 1


def test_adversarial_training_trades_clean_accuracy_for_robustness(run):
    standard, adversarial = "resnet18-standard", "resnet18-adversarial"
    assert accuracy(run, adversarial, "pgd") > accuracy(run, standard, "pgd") + 0.15
    # Shapes are so plain that it may cost nothing; it must not come out as a gain.
    assert accuracy(run, adversarial, "clean") <= accuracy(run, standard, "clean")


@pytest.mark.parametrize("name", (*MODELS, "resnet18-adversarial"))
def test_honest_models_raise_no_flag(run, name):
    run.evaluate(name, "autoattack")
    assert run.reliability(name)["failed"] == []


def test_a_model_trained_on_noise_is_certified_further(run):
    standard, noise = (
        run.evaluate(name, "smoothing") for name in ("resnet18-standard", "resnet18-noise")
    )
    assert noise["radius"].mean() > standard["radius"].mean() + 0.1


def test_alignment_moves_the_explanation_onto_the_objects(run):
    """On exact masks: above the baseline, the control, and all that means nothing (paper 4.4)."""
    from rslib.report import tables
    from rslib.run import object_masks

    aligned, others = "resnet18-aligned", ["resnet18-standard", "resnet18-aligned@beta=0.0"]
    object_masks.priors(run)
    for name in (aligned, *others):
        run.evaluate(name, "saliency")
    frame = tables.table3(run, [aligned, *others]).set_index(["model", "quantity"])
    low = frame.loc[(aligned, "iou_mean"), "low"]
    for name in others:
        assert low > frame.loc[(name, "iou_mean"), "high"]
    for level in ("chance", "shuffled", "center", "average"):
        assert low > frame.loc[(aligned, level), "high"]
    assert frame.loc[(aligned, "iou_mean"), "n"] == run.settings.data.test_size
    assert accuracy(run, aligned, "saliency") > 0.95
