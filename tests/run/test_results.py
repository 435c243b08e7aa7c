"""Results are read without torch, and what settings decide is worked out once."""

import subprocess
import sys

import pytest

from rslib.run import Results, Run
from rslib.settings import load
from rslib.store import records
from rslib.store.records import RecordError
from tests.helpers.known_run import ROBUST_RESNET, make_run

NAME = "resnet18-standard"

READ = """
import sys
from pathlib import Path
from rslib.run import Results
from rslib.run.published import PUBLISHED, settings_of
folder = Path(sys.argv[1]) / PUBLISHED / "cpu"
run = Results(settings_of(folder), root=folder.parent)
assert len(run.record("resnet18-standard", "saliency")) == len(run.priors())
assert run.summary("resnet18-aligned")["parent"] == "resnet18-standard"
assert run.under({"data": {"name": "shapes"}}).mask_source == "exact"
assert run.has_record("resnet18-adversarial", "autoattack")
assert "torch" not in sys.modules
"""


def test_a_published_run_is_read_without_torch():
    from rslib.settings import PROJECT

    subprocess.run([sys.executable, "-c", READ, str(PROJECT)], check=True)


def test_results_are_those_of_a_run(tmp_path):
    run = make_run(tmp_path)
    read = Results(run.settings, run.seed, root=tmp_path)
    assert read.model_inputs(ROBUST_RESNET) == run.model_inputs(ROBUST_RESNET)
    assert read.summary(ROBUST_RESNET) == run.summary(ROBUST_RESNET)
    assert read.record(ROBUST_RESNET, "pgd").equals(run.record(ROBUST_RESNET, "pgd"))
    with pytest.raises(RecordError, match="run notebook 03"):
        read.priors()
    with pytest.raises(RecordError, match="randomization-.* is missing"):
        read.randomization(NAME)


def test_plans_and_keys_are_worked_out_once_and_a_changed_summary_is_read_again(
    tmp_path, monkeypatch
):
    run = make_run(tmp_path)
    path = run.record_path(NAME, "pgd")
    assert run.plan(NAME) is run.plan(NAME)
    with monkeypatch.context() as patch:
        patch.setattr(records, "key", lambda **inputs: pytest.fail("worked out again"))
        patch.setattr(records, "read_json", lambda path: pytest.fail("read again"))
        assert run.record_path(NAME, "pgd") == path
    changed = run.summary(NAME) | {"weights": {"best": "other"}}
    records.write_json(run.model_folder(NAME) / "model.json", changed)
    assert run.summary(NAME)["weights"] == {"best": "other"}
    assert run.record_path(NAME, "pgd") != path


def test_siblings_are_results_of_the_same_kind(tmp_path):
    settings = load("smoke", {"seeded": [NAME]})
    for kind in (Results, Run):
        run = kind(settings, 0, seeds=[1, 2], root=tmp_path)
        assert [each.seed for each in run.siblings] == [1, 2]
        assert all(type(each) is kind and each.further for each in run.siblings)
        assert run.followers == run.siblings and not run.alone.siblings
        assert run.siblings[0].has(NAME) and not run.siblings[0].has("resnet18-adversarial")
