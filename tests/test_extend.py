"""The page "Extend it", followed to the letter: its blocks are run in a reader's own folder."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from rslib import attacks, corruptions, data, settings, training
from rslib.data import Batch
from rslib.run import evaluations, predictions, shards
from rslib.saliency import methods
from rslib.settings import PROJECT, SettingsError, extensions
from rslib.settings.extensions import ExtensionError
from rslib.settings.schema import PGD, Training
from rslib.store import records
from tests.helpers.tiny import TINY

pytestmark = pytest.mark.slow

REPRODUCE = (PROJECT / "book" / "pages" / "reproduce.md").read_text()
PAGE = (PROJECT / "book" / "pages" / "extend.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OWN = re.compile(r"^In `mine.py`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KINDS = ("corruption", "attack", "objective", "dataset", "saliency_method")

# What a reader would look at next; each line of its output is one thing seen.
LOOK = """
import json, sys
from pathlib import Path

from rslib import figures, settings, tables
from rslib.run import Run

tiny = json.loads(Path("tiny.json").read_text())


def say(name, value):
    print(json.dumps({name: value}))


run = Run(settings.load("smoke", tiny | {"extensions": ["mine.py"]}), progress=False)
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

run.evaluate(MODELS[0], "faithfulness")
frame = tables.faithfulness_table(run, MODELS[:1], "deletion")
say("methods", list(frame.header))
drawn = figures.faithfulness_curves(run, MODELS[:1])
say("curves", [text.get_text() for text in drawn.legends[0].get_texts()])
drawn = figures.randomization_curves(run, MODELS[:1])
say("randomization", [text.get_text() for text in drawn.legends[0].get_texts()])

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
    """A reader's folder: every block of the page that is to go into ``mine.py``, and its data."""
    root = tmp_path_factory.mktemp("reader")
    (root / "mine.py").write_text("\n\n".join(OWN.findall(PAGE)))
    (root / "digits").mkdir()
    draw = np.random.default_rng(0)
    for split, n in (("train", 120), ("test", 60)):
        images = draw.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
        np.savez(root / "digits" / f"{split}.npz", images=images, labels=np.arange(n) % 10)
    tiny = TINY | {
        "training": TINY["training"] | {"added": {"resnet18": {"epochs": 1, "batch_size": 40}}},
        "device": "cpu",
    }
    (root / "tiny.json").write_text(json.dumps(tiny))
    return root


def python(root, *arguments):
    """Run Python in a folder; what it prints, line by line."""
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "RSLIB_RUNS": str(root / "runs"),
        "RSLIB_DATA": str(root),
    }
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=root, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture(scope="module")
def seen(project):
    found = {}
    for line in python(project, "-c", LOOK):
        found |= json.loads(line)
    return found


def test_the_page_has_one_block_a_kind_of_about_twenty_lines():
    blocks = OWN.findall(PAGE)
    assert [re.search(r"^@(\w+)\(", block, re.MULTILINE)[1] for block in blocks] == [*KINDS]
    for block in blocks:
        assert len(block.splitlines()) <= 25, block


def test_what_is_added_passes_the_linter(tmp_path):
    ruff = Path(sys.executable).with_name("ruff")
    for kind, block in zip(KINDS, OWN.findall(PAGE), strict=True):
        (tmp_path / f"{kind}.py").write_text(f'"""A block of the page."""\n\n{block}')
    config = ["--config", str(PROJECT / "pyproject.toml")]
    config += ["--config", 'lint.isort.known-first-party = ["rslib"]']
    for command in (["check"], ["format", "--check"]):
        ran = subprocess.run(
            [ruff, *command, *config, "."], cwd=tmp_path, capture_output=True, text=True,
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


ASK = """
import json
from pathlib import Path

from rslib import settings
from rslib.run import Run

tiny = json.loads(Path("tiny.json").read_text())
run = Run(settings.load("smoke", tiny | {"extensions": ["mine.py"]}))
for evaluated in ("corruptions", "added_corruptions", "momentum", "faithfulness"):
    path = run.record_path("resnet18-standard", evaluated)
    print(path.name, run.has_record("resnet18-standard", evaluated))
"""


def test_records_of_the_nineteen_stay_and_those_of_the_added_follow_their_code(project, seen):
    nineteen, scanlines, momentum, faithfulness = python(project, "-c", ASK)
    assert nineteen == f"{seen['record of the nineteen']} True"
    for each in (scanlines, momentum, faithfulness):
        assert each.endswith(" True")
    path = project / "mine.py"
    text = path.read_text()
    path.write_text(text.replace("KEPT = (0.85,", "KEPT = (0.8,").replace("SIDE = 8", "SIDE = 4"))
    try:
        assert path.read_text() != text
        after = python(project, "-c", ASK)
    finally:
        path.write_text(text)
    assert after[0] == nineteen and after[2] == momentum
    assert after[1].endswith(" False") and after[3].endswith(" False")


def test_an_attack_has_a_column_in_table_2_and_keeps_its_budget(seen):
    assert seen["table2"]["Momentum, Added (%)"] == TINY["pgd"]["n"]
    largest, budget = seen["distance"]
    assert 0 < largest <= budget + 1e-5


def test_an_objective_makes_a_model(seen):
    assert seen["mixup"] == ["resnet18-standard", 1, "ResNet-18, mixup"]


def test_a_data_set_is_a_setting(seen):
    assert seen["digits"] == ["digits 80", "digits 40", "digits 60"]
    assert seen["digits record"] == 60


def test_a_saliency_method_stands_among_the_others(seen):
    assert [name for name in seen["methods"] if "added" in name] == ["Occlusion (added)"]
    assert "Occlusion (added)" in seen["curves"] and "Occlusion (added)" in seen["randomization"]


def test_cells_of_a_notebook_add_and_change_what_they_add(project, seen):
    blocks = dict(zip(KINDS, OWN.findall(PAGE), strict=True))
    key = "print(run.record_path(NAME, 'momentum').name, len(run.evaluate(NAME, 'momentum')))"
    cells = [
        "import json\nfrom pathlib import Path\nfrom rslib import settings\n"
        "from rslib.run import Run\n"
        "run = Run(settings.load('smoke', json.loads(Path('tiny.json').read_text())))\n"
        "NAME = 'resnet18-standard'",
        blocks["attack"], key,
        blocks["attack"], key,
        "STEPS = 2", key,
        blocks["corruption"],
        "run.evaluate(NAME, 'corruptions'); print(len(run.record(NAME, 'added_corruptions')))",
        blocks["objective"], "print(len(run.evaluate('resnet18-mixup', 'clean')))",
        blocks["dataset"],
        "under = run.under({'data': {'name': 'digits', 'train_size': None, 'test_size': None}})\n"
        "print(len(under.evaluate(NAME, 'clean')))",
        blocks["saliency_method"],
        "print('occlusion_infidelity' in run.evaluate(NAME, 'faithfulness'))",
    ]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, project / "own.ipynb")
    python(project, "-m", "papermill", "--no-progress-bar", "own.ipynb", "out.ipynb")
    outputs = [
        output.text
        for cell in nbformat.read(project / "out.ipynb", as_version=4).cells
        for output in cell.get("outputs", [])
        if output.get("name") == "stdout"
    ]
    said = "".join(outputs).splitlines()
    first, again, changed = said[:3]
    assert first == again != changed
    assert said[3:] == ["20", "60", "60", "True"]


def test_the_short_session_runs_as_it_stands(project):
    (look,) = [block for block in BLOCK.findall(PAGE) if "corruptions.corrupt(" in block]
    said = python(
        project, "-c", look + "print(made.dtype, tuple(made.shape), (made != images).any())"
    )
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
    said = "\n".join(python(PROJECT, "-c", text))
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


@pytest.fixture
def register():
    """Afterwards nothing is added that was not before."""
    before = {kind: dict(added) for kind, added in extensions.ADDED.items()}
    labels = dict(methods.LABELS)
    yield extensions.ADDED
    for kind, added in (*extensions.ADDED.items(), (None, methods.LABELS)):
        added.clear()
        added.update(before.get(kind, labels))


def own(**arguments):
    """A function to add."""


DECORATORS = {
    "attack": (attacks.attack, {*evaluations.EVALUATIONS, "reliability", "randomization"}),
    "corruption": (corruptions.corruption, set(corruptions.NAMES)),
    "dataset": (lambda name: data.dataset(name, classes=["a", "b"]), {"cifar10", "shapes"}),
    "objective": (training.objective, set(Training.model_fields)),
    "saliency_method": (methods.saliency_method, {*methods.LABELS, "random"}),
}


@pytest.mark.parametrize("kind", DECORATORS)
def test_a_name_that_is_taken_is_refused_and_one_function_may_come_again(kind, register):
    decorator, taken = DECORATORS[kind]
    called = kind.replace("_", " ")
    for name in taken:
        with pytest.raises(ExtensionError, match=f"{called} {name!r} already: give yours another"):
            decorator(name)
    for name in ("two words", "resnet18-own", "../own", "Own", ""):
        with pytest.raises(ExtensionError, match="must be lower case letters, digits and"):
            decorator(name)
    with pytest.raises(ExtensionError, match="needs a name: write @"):
        decorator(own)
    assert decorator("own")(own) is own and [*register[kind]] == ["own"]
    decorator("own")(own)
    with pytest.raises(ExtensionError, match="of tests.test_extend.own: give one of the two"):
        decorator("own")(python)
    with pytest.raises(ExtensionError, match="'other' is a int: decorate a function"):
        decorator("other")(3)


SMALL = "from rslib.corruptions import corruption\n\n\n@corruption({name!r})\ndef f(x): ...\n"


def test_extensions_are_imported_from_the_working_directory(tmp_path, monkeypatch, register):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "lab").mkdir()
    (tmp_path / "an_extension.py").write_text(SMALL.format(name="first"))
    (tmp_path / "lab" / "another_one.py").write_text(SMALL.format(name="second"))
    names = ["an_extension", "lab/another_one.py"]
    chosen = settings.load("smoke", {"extensions": names})
    assert [*register["corruption"]] == ["first", "second"]
    assert all(name in settings.dump(chosen) for name in names)
    held = dict(register["corruption"])
    assert settings.derive(chosen, {"pgd": {"steps": 3}}).extensions == names
    assert register["corruption"] == held  # imported once
    # A further one of either name is another's.
    (tmp_path / "lab" / "thief.py").write_text(SMALL.format(name="first"))
    with pytest.raises(SettingsError, match=r"thief.py.*'first' already, of an_extension.f: give"):
        settings.load("smoke", {"extensions": ["lab/thief.py"]})
    (tmp_path / "another_one.py").write_text("")
    with pytest.raises(SettingsError, match="another module is called 'another_one'.*: rename"):
        settings.load("smoke", {"extensions": ["another_one.py"]})


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("not_here", None, "there is no module 'not_here' in .*: give the name of a module there"),
        ("not_here.py", None, "there is no file .*not_here.py: give a path from the working"),
        ("wrong.py", "x = 1\nx.y", r"cannot be imported \(AttributeError: .*wrong.py, line 2\)"),
        (
            "bent.py",
            "def f(:",
            r"cannot be imported \(SyntaxError: .*bent.py, line 1\): correct it",
        ),
        (
            "gone.py",
            "import no_such",
            r"\(ModuleNotFoundError: No module named 'no_such'; .*line 1",
        ),
        ("leaves.py", "exit(1)", r"SystemExit: 1; .*leaves.py, line 1"),
    ],
)
def test_what_cannot_be_imported_is_refused(name, text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=f"settings.extensions: extension '{name}': .*{said}"):
        settings.load("smoke", {"extensions": [name]})
    with pytest.raises(SettingsError, match="extensions"):
        settings.load("smoke", {"extensions": name})


def test_keys_and_profiles_hold_no_extensions_unless_there_are_some():
    chosen = settings.load("smoke")
    assert "extensions" not in chosen.model_dump(exclude_defaults=True)
    assert "extensions" not in settings.dump(chosen)


# What counts of added code

CODE = """
import functools
import re
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import relu

LEVEL = 1
SIZES = {"small": [1, 2], "large": (3, 4)}
WORD = re.compile("word")
ARRAY = np.arange(3.0)
TENSOR = torch.ones(2)
UNUSED = 1


@dataclass(frozen=True)
class Scale:
    by: float = 2.0

    def of(self, x):
        return x * self.by + far(x)


SCALE = Scale()


def far(x):
    return x + LEVEL


@functools.cache
def near(k):
    return k + 1


@torch.no_grad()
def f(x, start=0, *, end=1):
    def inner(y):
        return y * SIZES["large"][0]

    return relu(SCALE.of(inner(x))) + near(1) + len(WORD.pattern) + ARRAY + TENSOR.sum()


def made(count):
    return lambda x: x + count


two, three = made(2), made(3)
"""


def digest(folder, text, name="f"):
    """The digest of a function in a module of this text, read anew."""
    path = folder / f"module{len([*folder.iterdir()])}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("under_test", path)
    sys.modules["under_test"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        return records.source_digest(getattr(module, name))
    finally:
        del sys.modules["under_test"]


@pytest.mark.parametrize(
    "change",
    [
        ("start=0", "start=1"),
        ("end=1", "end=2"),
        ("LEVEL = 1", "LEVEL = 2"),
        ("(3, 4)", "(3, 5)"),
        ('"word"', '"words"'),
        ("np.arange(3.0)", "np.arange(4.0)"),
        ("torch.ones(2)", "torch.zeros(2)"),
        ("by: float = 2.0", "by: float = 3.0"),
        ("SCALE = Scale()", "SCALE = Scale(4.0)"),
        ("x * self.by", "x / self.by"),
        ("return k + 1", "return k + 2"),
        ("return y * SIZES", "return y + SIZES"),
        ("import relu", "import gelu as relu"),
    ],
)
def test_a_change_of_what_decides_a_result_changes_the_digest(change, tmp_path):
    text = CODE.replace(*change)
    assert text != CODE
    assert digest(tmp_path, text) != digest(tmp_path, CODE)


def test_a_change_elsewhere_does_not(tmp_path):
    before = digest(tmp_path, CODE)
    assert digest(tmp_path, "# A line more.\n" + CODE.replace("UNUSED = 1", "UNUSED = 2")) == before
    assert digest(tmp_path, CODE.replace("made(3)", "made(4)")) == before


def test_two_functions_of_one_text_are_told_apart_by_their_closure(tmp_path):
    two, three = (digest(tmp_path, CODE, name) for name in ("two", "three"))
    assert two != three and digest(tmp_path, CODE, "two") == two


def test_modules_of_ones_own_count_by_their_text(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    text = "import own_helper\n\n\ndef f(x):\n    return own_helper.g(x)\n"
    digests = []
    for level in (1, 2):
        (tmp_path / "own_helper.py").write_text(
            f"def g(x):\n    return x + {level}  # {level:05}\n"
        )
        sys.modules.pop("own_helper", None)
        importlib.invalidate_caches()
        digests.append(digest(tmp_path, text))
    assert digests[0] != digests[1]


def test_a_source_that_cannot_be_read_is_refused():
    typed = {}
    exec("def f(): pass", typed)  # as at Python's prompt
    with pytest.raises(records.RecordError, match="put it in a file"):
        records.source_digest(typed["f"])


def test_a_value_that_cannot_be_told_from_another_is_refused(tmp_path):
    text = "import threading\nLOCK = threading.Lock()\n\n\ndef f(x):\n    return LOCK, x\n"
    with pytest.raises(records.RecordError, match="a lock, which cannot be told.*: make it within"):
        digest(tmp_path, text)
