"""The page "Extend it", followed to the letter: its blocks are run in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rslib import corruptions
from rslib.data import Batch
from rslib.run import predictions, shards
from rslib.settings import PROJECT
from rslib.settings.schema import PGD
from rslib.store import records
from tests.helpers.tiny import TINY

REPRODUCE = (PROJECT / "book" / "pages" / "reproduce.md").read_text()
PAGE = (PROJECT / "book" / "pages" / "extend.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = re.compile(r"^At the end of `([^`]+)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = ("corruptions", "attacks", "training", "data")

# What a reader would look at next; each line of its output is one thing seen.
LOOK = """
import json, sys
from pathlib import Path

from rslib import figures, settings, tables
from rslib.run import Run

tiny = json.loads(Path("tiny.json").read_text())


def say(name, value):
    print(json.dumps({name: value}))


run = Run(settings.load("smoke", tiny), progress=False)
MODELS = ["resnet18-standard", "alexnet-standard"]
for name in MODELS:
    run.evaluate(name, "clean")
run.evaluate_together(MODELS, "corruptions")
before = run.record_path(MODELS[0], "corruptions").name
say("record of the nineteen", before)
frame = tables.table5(run, MODELS[:1])
say("table5", dict(zip(frame.header, frame.ours)))
say("table5 html", tables.show(frame)._repr_html_())
frame = tables.corruption_table(run, MODELS[:1])
say("corruption_table", dict(zip(frame.header, frame.ours)))
drawn = figures.corruption_heat_map(run, MODELS[:1])
say("heat map", [t.get_text() for t in drawn.axes[0].get_yticklabels()])

for evaluation in ("fgsm", "pgd", "momentum"):
    run.evaluate(MODELS[0], evaluation)
frame = tables.table2(run, MODELS[:1])
say("table2", dict(zip(frame.header, frame.n.tolist())))
record = run.record(MODELS[0], "momentum")
say("distance", [float(record.distance.max()), run.settings.pgd.eps_unit])

more = run.under({"extra_models": ["resnet18-mixup"]})
more.evaluate("resnet18-mixup", "clean")
summary = more.summary("resnet18-mixup")
say("mixup", [summary["parent"], len(summary["history"]), tables.short_label("resnet18-mixup")])

digits = run.under({"data": {"name": "digits", "train_size": None, "test_size": None}})
splits = [digits.data(split) for split in ("train", "validation", "test")]
say("digits", [f"{split.name} {len(split)}" for split in splits])
frame = digits.evaluate(MODELS[0], "clean")
say("digits record", len(frame))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the package with every block of the page at the end of the file it names."""
    root = tmp_path_factory.mktemp("reader")
    for part in ("rslib", "params"):
        shutil.copytree(PROJECT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, block in ENDS.findall(PAGE):
        with (root / path).open("a") as file:
            file.write("\n" + block)
    (root / "digits").mkdir()
    draw = np.random.default_rng(0)
    for split, n in (("train", 120), ("test", 60)):
        images = draw.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(root / "digits" / f"{split}.npz", images=images, labels=np.arange(n) % 10)
    tiny = TINY | {
        "training": TINY["training"] | {"added": {"resnet18": {"epochs": 1, "batch_size": 40}}},
        "device": "cpu",
    }
    (root / "tiny.json").write_text(json.dumps(tiny))
    return root


def python(root, text):
    """Run Python in the copy; what it prints, line by line."""
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "RSLIB_RUNS": str(root / "runs"),
        "RSLIB_DATA": str(root),
    }
    ran = subprocess.run(
        [sys.executable, "-c", text],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def seen(project):
    found = {}
    for line in python(project, LOOK):
        found |= json.loads(line)
    return found


def test_the_page_has_one_file_a_kind_of_about_twenty_lines():
    assert [path for path, _ in ENDS.findall(PAGE)] == [f"rslib/{k}/added.py" for k in KINDS]
    for path, block in ENDS.findall(PAGE):
        assert len(block.splitlines()) <= 25, path


def test_what_is_added_passes_the_linter(project):
    ruff = Path(sys.executable).with_name("ruff")
    files = [f"rslib/{kind}/added.py" for kind in KINDS]
    config = ["--config", str(PROJECT / "pyproject.toml")]
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [ruff, *command, *config, *files], cwd=project, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_corruption_stands_in_table_5_and_enters_no_mean(seen):
    assert "Scanlines (added)" in seen["table5"]
    assert "Scanlines (added)" in seen["table5 html"]
    assert seen["heat map"][-1] == "Scanlines (added)" and len(seen["heat map"]) == 20
    by_corruption = seen["corruption_table"]
    assert by_corruption["Scanlines (added)"] == pytest.approx(seen["table5"]["Scanlines (added)"])
    nineteen = [ratio for header, ratio in by_corruption.items() if "added" not in header]
    assert len(nineteen) == 19
    assert seen["table5"]["mCE"] == pytest.approx(np.mean(nineteen))


def test_records_of_the_nineteen_stay_and_those_of_the_added_follow_their_code(project, seen):
    ask = (
        "import json; from pathlib import Path; from rslib import settings; "
        "from rslib.run import Run; "
        "run = Run(settings.load('smoke', json.loads(Path('tiny.json').read_text()))); "
        "[print(run.record_path('resnet18-standard', e).name, "
        "run.has_record('resnet18-standard', e)) "
        "for e in ('corruptions', 'added_corruptions', 'momentum')]"
    )
    nineteen, scanlines, momentum = python(project, ask)
    assert nineteen == f"{seen['record of the nineteen']} True"
    assert scanlines.endswith(" True") and momentum.endswith(" True")
    path = project / "rslib" / "corruptions" / "added.py"
    text = path.read_text()
    path.write_text(text.replace("KEPT = (0.85,", "KEPT = (0.8,"))
    try:
        assert path.read_text() != text
        after = python(project, ask)
    finally:
        path.write_text(text)
    assert after[0] == nineteen and after[2] == momentum
    assert after[1].endswith(" False")


def test_an_attack_has_a_column_in_table_2_and_keeps_its_budget(seen):
    assert seen["table2"]["Momentum, Added (%)"] == TINY["pgd"]["n"]
    largest, budget = seen["distance"]
    assert 0 < largest <= budget + 1e-5


def test_an_objective_makes_a_model(seen):
    assert seen["mixup"] == ["resnet18-standard", 1, "ResNet-18, mixup"]


def test_a_data_set_is_a_setting(seen):
    assert seen["digits"] == ["digits 80", "digits 40", "digits 60"]
    assert seen["digits record"] == 60


def test_the_short_session_runs_as_it_stands(project):
    (look,) = [block for block in BLOCK.findall(PAGE) if "corruptions.corrupt(" in block]
    said = python(project, look + "print(made.dtype, tuple(made.shape), (made != images).any())")
    assert said == ["torch.uint8 (8, 3, 32, 32) tensor(True)"]


def test_commands_name_files_that_are_there():
    named = set(re.findall(r"(?:notebooks|rslib|params)/[\w./]+\w", PAGE))
    assert named
    for path in named:
        assert (PROJECT / path).exists(), path


def test_the_sessions_of_the_page_on_reproducing_run_as_they_stand():
    # Of the two runs compared there, only the published one is everywhere.
    text = "\n".join(BLOCK.findall(REPRODUCE)).replace(
        "runs/cpu/seed0", "book/published/cpu/./seed0"
    )
    said = "\n".join(python(PROJECT, text))
    assert re.search(r"\d+ models: \d+\.\d hours", said)
    assert "pgd_accuracy" in said and "correct_adversarial" in said


# What is refused


def test_a_corruption_that_returns_other_images_is_refused(monkeypatch):
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    monkeypatch.setitem(corruptions.ADDED, "floats", lambda images, severity, draws: images / 2)
    with pytest.raises(TypeError, match="'floats' returned torch.float32"):
        corruptions.corrupt(images, "floats", 1, seed=0)
    with pytest.raises(ValueError, match="did you mean 'floats'"):
        corruptions.corrupt(images, "float", 1, seed=0)


def test_an_attack_outside_its_budget_is_refused():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    batch = Batch(torch.full((2, 3, 32, 32), 0.5), torch.zeros(2, dtype=torch.int64), None, None)

    def shift(by):
        return lambda model, x, y, *, eps, generator: x + by * eps

    judged = predictions.under_attack(shift(1), PGD(eps=8))(model, batch, None)
    assert judged.columns["distance"].tolist() == pytest.approx([8 / 255] * 2)
    with pytest.raises(shards.EvaluationError, match="left its threat model"):
        predictions.under_attack(shift(1.1), PGD(eps=8))(model, batch, None)


def test_a_source_that_cannot_be_read_is_refused():
    typed = {}
    exec("def f(): pass", typed)  # as at Python's prompt
    with pytest.raises(records.RecordError, match="put it in a file"):
        records.source_digest(typed["f"])
    assert records.source_digest(code_of) == records.source_digest(python)


def code_of():
    """In this file, as is everything else here."""
