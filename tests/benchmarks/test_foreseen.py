"""What another run would take, foreseen from the stages of the published one."""

import json
from pathlib import Path

import pytest

from benchmarks import foreseen, results, stages
from rslib import settings
from rslib.run import Run
from rslib.run.published import find


@pytest.fixture(scope="module")
def timed():
    """The published run that stages were timed of, and the sum of these."""
    stored = json.loads((results.RESULTS / stages.FILE).read_text())
    return find(stored["profile"]), stored


def test_of_its_own_settings_a_run_is_foreseen_as_it_was(timed):
    run, stored = timed
    report = foreseen.collect(run, Run(run.settings, root=Path("nowhere"), progress=False))
    told = sum(row["seconds"] for row in report["rows"])
    # An evaluation of the shortcut experiment is not foreseen: it takes a second.
    was = [s for s in stored["stages"] if s["work"] == "training" or not s["shortcut"]]
    assert told == pytest.approx(sum(stage["seconds"] for stage in was))
    counted = {s["model"] for s in was if s["work"] == "training"}
    assert sum(row["count"] for row in report["rows"]) == len(was) and len(counted) > 10


def test_a_training_takes_its_arithmetic_at_the_rate_of_one_like_it(timed):
    run, _ = timed
    recipe = run.settings.training.standard.resnet18
    twice = run.under({"training": {"standard": {"resnet18": {"epochs": 2 * recipe.epochs}}}})
    section = run.settings.training.adversarial
    harder = twice.under({"training": {"adversarial": {"steps": 2 * section.steps}}})
    before, after = (
        {(r["objective"], r["architecture"]): r for r in foreseen.collect(run, each)["rows"]}
        for each in (run, harder)
    )
    ratio = (3 + section.probability * 4 * section.steps) / (
        3 + section.probability * 2 * section.steps
    )
    for column in ("seconds", "operations"):
        was, now = (rows["adversarial", "resnet18"][column] for rows in (before, after))
        assert now == pytest.approx(ratio * was)
    (shared,) = [
        path for path in (run.directory / "models").glob("resnet18-standard-*/model.json")
        if "background_correlation" not in json.loads(path.read_text())["inputs"]["data"]
    ]  # fmt: skip
    seconds = json.loads(shared.read_text())["seconds"]
    was, now = (rows["standard", "resnet18"]["seconds"] for rows in (before, after))
    assert now - was >= seconds  # and as much again as the shortcut experiment's took


def test_an_evaluation_takes_as_long_as_its_images_and_steps(timed):
    run, _ = timed
    stage = foreseen.Stage("resnet18-standard", "pgd", 10.0, 500, 7.0)
    assert foreseen.images(settings.load("paper"), stage) == 10_000
    assert foreseen.attack_passes(settings.load("paper"), stage) == 2 * 20 + 1
    assert foreseen.attack_passes(run.settings, stage) == 7.0
    kept = foreseen.Stage("resnet18-standard", "saliency", 10.0, 500, None)
    assert foreseen.images(settings.load("paper"), kept) == 500


def test_a_model_that_no_published_one_is_like_is_named(timed):
    with pytest.raises(LookupError, match="nothing published is like alexnet-adversarial"):
        foreseen._like("alexnet-adversarial", ["resnet18-standard"])


def column(cpu_seconds):
    row = {"model": "resnet18-aligned", "epochs": 50, "operations": 8e15, "seconds": 7200.0}
    device = None if cpu_seconds is None else "CPU, 2 threads"
    return {"column": [row | {"cpu_seconds": cpu_seconds}], "cpu": device}


def test_the_resnet_column_takes_its_passes_at_the_pace_of_a_cpu_s_step(timed):
    run, _ = timed
    target = Run(settings.load("paper"), root=Path("nowhere"), progress=False)
    ours = {"milliseconds": {"median": 6.0}}
    measured = {
        "machine": {"device": "CPU, 2 threads"},
        "suites": {"bf16": {"rows": [{"contenders": {"rslib": ours}}]}},
    }
    report = foreseen.collect(run, target, measured)
    standard, adversarial, aligned, control = report["column"]
    assert [row["epochs"] for row in report["column"]] == [100, 50, 50, 50]
    published = foreseen.Shelf(run).training("resnet18-standard", False)
    images = published.images
    # Three passes in 6 ms; of an attacked step (ten iterations for every second one) thirteen.
    assert standard["cpu_seconds"] == pytest.approx(100 * images * 0.006)
    assert adversarial["cpu_seconds"] == pytest.approx(50 * images * 0.006 * 13 / 3)
    assert aligned["cpu_seconds"] == control["cpu_seconds"] == pytest.approx(50 * images * 0.006)
    assert report["cpu"] == "CPU, 2 threads"
    # On the GPU it is the published training, longer.
    epochs = published.passes / 3
    assert standard["seconds"] == pytest.approx(published.seconds * 100 / epochs)
    bare = foreseen.collect(run, target)
    assert bare["cpu"] is None and bare["column"][0]["cpu_seconds"] is None
    assert bare["rows"] == report["rows"]


def test_what_is_foreseen_is_told_with_its_pace():
    row = {"work": "training", "objective": "standard", "architecture": "resnet18", "count": 2}
    report = {
        "profile": "paper",
        "of": "fast",
        "device": "a GPU",
        "rows": [
            row | {"seconds": 14_400.0, "operations": 5e15},
            row | {"work": "pgd", "objective": "", "seconds": 60.0, "operations": None},
        ],
        **column(None),
    }
    text = foreseen.markdown(report)
    assert "Foreseen, not run" in text and "about **4 hours**" in text
    assert "| training: ResNet-18, standard | 2 | 5 | 240 |" in text
    assert "| the rest | 2 |  | 1 |" in text
    (axis,) = foreseen.figure(report).axes
    assert [bar.get_width() for bar in axis.patches] == [240]
    assert "would take **2.0 hours** on one a GPU. On a CPU this is not known yet" in text
    assert "| ResNet-18, aligned | 50 | 8.0 | 2.00 | not measured yet |" in text
    slow = foreseen.markdown(report | column(36_000.0))
    assert "On a CPU, 2 threads, in bf16, they would take **10 hours**" in slow
    assert "| ResNet-18, aligned | 50 | 8.0 | 2.00 | 10.0 |" in slow


def test_what_is_stored_as_foreseen_follows_from_the_published_records(timed):
    stored = json.loads((results.RESULTS / foreseen.FILE).read_text())
    target = Run(settings.load(stored["profile"]), root=Path("nowhere"), progress=False)
    measured = json.loads(results.path(results.RESULTS).read_text())
    again = foreseen.collect(find(stored["of"]), target, measured)
    assert again["rows"] == [pytest.approx(row) for row in stored["rows"]]
    assert again["column"] == [pytest.approx(row) for row in stored["column"]]
    assert again["cpu"] == stored["cpu"]
