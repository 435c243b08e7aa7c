"""A sample of a run made again: what agrees, what is refused, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from book import BookError, comparison, editions, publish, sample
from book.__main__ import main
from book.editions import Edition
from rslib import settings
from rslib.report import table, tables
from rslib.run import Run
from rslib.run.published import PARAMS, model_folder, run_of
from rslib.store import records
from tests.helpers.books import write_notebook
from tests.helpers.tiny import TINY

NAME = "resnet18-standard"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run with a table, records of three evaluations, and an executed notebook."""
    root = tmp_path_factory.mktemp("runs")
    run = Run(settings.load("smoke", TINY), 0, root=root, progress=False)
    for kind in ("clean", "fgsm", "pgd", "corruptions"):
        run.evaluate(NAME, kind)
    tables.save(run, "table2", tables.table2(run, [NAME]))
    write_notebook(run.directory / "executed" / "01_one.ipynb", "1", executed=True)
    (run.directory.parent / PARAMS).write_text(settings.dump(run.settings))
    return run


@pytest.fixture
def run(finished, monkeypatch):
    """The same with a small sample, which leaves shards over."""
    monkeypatch.setattr(sample, "IMAGES", 20)
    return finished


def edition(run):
    return Edition(run.directory / "executed")


def make(run, **given):
    return sample.make(edition(run), progress=False, **given)


@pytest.fixture
def altered(run):
    """Alter a stored record for the length of a test."""
    kept = {}

    def alter(kind, change):
        path = run.record_path(NAME, kind)
        kept[path] = path.read_bytes()
        frame = records.read_record(path)
        about = frame.attrs
        change(frame)
        records.write_record(path, frame, about)

    yield alter
    for path, content in kept.items():
        path.write_bytes(content)


def test_what_is_made_again_in_the_records_shards_agrees(run, capsys):
    found = make(run)
    assert found.wrong == [] and found.left_out == {}
    # Two shards of 16 images; of the attack's 20 the second is cut short.
    told = {each.evaluation: (each.model, each.n, each.agreeing) for each in found.evaluations}
    assert told == {
        "clean": (NAME, 32, 32),
        "fgsm": (NAME, 32, 32),
        "pgd": (NAME, 20, 20),
        "corruptions": (NAME, 20, 20),
    }
    assert all(each.allowed == 0 for each in found.evaluations)
    assert found.training.model == NAME and found.training.same_weights
    assert len(found.training.loss) == sample.EPOCHS
    assert "pgd of resnet18-standard: 20 of 20 images agree" in capsys.readouterr().out


def test_outcomes_that_differ_are_named(run, altered):
    altered("pgd", lambda frame: frame.update({"prediction": frame.prediction[:2] + 1}))
    found = make(run, training=False)
    assert found.wrong == [
        f"pgd of {NAME}: 18 of 20 images agree (others differ in prediction; 0 may)"
    ]
    assert found.left_out == {"training": "not asked for"} and found.training is None


def test_where_versions_differ_few_images_may(run, altered):
    def elsewhere(frame):
        frame.attrs["provenance"]["torch"] = "1.0"
        frame.update({"prediction": frame.prediction[:1] + 1})

    altered("pgd", elsewhere)
    (pgd,) = (each for each in make(run, training=False).evaluations if each.evaluation == "pgd")
    assert (pgd.agreeing, pgd.allowed, pgd.holds) == (19, 1, True)


def test_numbers_agree_within_a_tolerance_and_verdicts_do_not():
    stored = pd.DataFrame(
        {"image": [5, 3, 9], "correct": [True, False, True], "votes": [1000, 10, 10],
         "iou": np.float32([0.5, np.nan, 0.2])}
    )  # fmt: skip
    made = stored[stored.image != 5].reset_index(drop=True)
    assert sample.compare(stored, made) == (2, ())
    assert sample.compare(stored, made.assign(iou=np.float32([np.nan, 0.205]))) == (2, ())
    assert sample.compare(stored, made.assign(iou=np.float32([0.1, 0.2]))) == (1, ("iou",))
    assert sample.compare(stored, made.assign(correct=True)) == (1, ("correct",))
    assert sample.compare(stored, stored.assign(votes=[1009, 10, 10])) == (3, ())
    assert sample.compare(stored, stored.assign(votes=[1011, 10, 10])) == (2, ("votes",))
    assert sample.compare(stored, made.drop(columns="votes")) == (0, ("votes",))


def test_a_training_that_comes_out_otherwise_is_refused(run):
    path = model_folder(run, NAME) / "model.json"
    about = records.read_json(path)
    changed = records.read_json(path)
    changed["history"][1]["validation_accuracy"] += 0.2
    records.write_json(path, changed)
    try:
        (line,) = make(run).wrong
    finally:
        records.write_json(path, about)
    assert line.startswith(f"training of {NAME}: validation accuracy")


def test_a_training_on_another_device_is_left_out(run):
    path = model_folder(run, NAME) / "model.json"
    about = records.read_json(path)
    elsewhere = about["provenance"] | {"device": "NVIDIA H200"}
    records.write_json(path, about | {"provenance": elsewhere})
    try:
        found = make(run)
    finally:
        records.write_json(path, about)
    assert found.training is None
    assert found.left_out["training"].startswith("made on NVIDIA H200, and this is CPU")


def test_without_weights_nothing_can_be_made_again(run):
    path = model_folder(run, NAME) / "best.safetensors"
    path.rename(path.with_suffix(".away"))
    try:
        with pytest.raises(sample.SampleError, match="nothing of .* can be made again"):
            make(run)
    finally:
        path.with_suffix(".away").rename(path)


def test_the_command_line_tells_what_does_not_agree(run, altered, monkeypatch, capsys):
    monkeypatch.setenv("RSLIB_RUNS", str(run.directory.parents[1]))
    assert main(["sample", "smoke", "--without-training"]) == 0
    assert capsys.readouterr().out.endswith("all agrees\n")
    altered("clean", lambda frame: frame.update({"prediction": frame.prediction[:1] + 1}))
    assert main(["sample", "smoke", "--without-training"]) == 1
    assert "clean of resnet18-standard: 31 of 32" in capsys.readouterr().out
    assert main(["sample", "fast"]) == 2
    assert "holds no executed notebooks" in capsys.readouterr().err


def test_a_run_is_published_with_its_sample_and_refused_without(
    run, altered, tmp_path, monkeypatch
):
    monkeypatch.setenv("RSLIB_RUNS", str(run.directory.parents[1]))
    target = publish.publish("smoke", training=False, root=tmp_path)
    assert settings.load(str(target / PARAMS)) == run.settings
    published = Edition(target / "seed0" / "executed")
    assert [each["agreeing"] for each in published.sample["evaluations"]] == [32, 32, 20, 20]
    page = comparison.page([published])
    assert "pgd of resnet18-standard: 20 of 20 images agree" in page
    assert "training was left out: not asked for" in page
    assert table.settings_key(run_of(target)) == table.settings_key(run)

    altered("pgd", lambda frame: frame.update({"prediction": frame.prediction[:2] + 1}))
    with pytest.raises(BookError, match=r"(?s)does not agree.*pgd of resnet18-standard: 18"):
        publish.publish("smoke", training=False, root=tmp_path)
    assert published.sample == records.read_json(target / editions.SAMPLE)
