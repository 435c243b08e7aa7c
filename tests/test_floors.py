"""The floors of the house: imports only go down, in no circle (contracts in pyproject.toml)."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rslib.settings import PROJECT

LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder):
    """Check the contracts on a copy of the project's packages."""
    return subprocess.run(
        [LINT, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def house(tmp_path):
    for package in ("rslib", "book", "benchmarks"):
        shutil.copytree(
            PROJECT / package,
            tmp_path / package,
            ignore=lambda _, names: [
                name for name in names if "." in name and not name.endswith(".py")
            ],
        )
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("metrics/estimates.py", "from rslib.store import records"),
        ("saliency/maps.py", "from rslib.attacks import pgd"),
        ("run/outcomes.py", "from rslib.report import labels"),
        ("store/records.py", "if TYPE_CHECKING:\n    from rslib.run.run import Run"),
        ("report/labels.py", "import book.build"),
        ("run/results.py", "if TYPE_CHECKING:\n    from rslib.run.run import Run"),
        ("run/provenance.py", "def run():\n    from rslib.run import trainer"),
        ("report/labels.py", "from rslib.run.run import Run"),
    ],
)
def test_an_import_that_goes_up_or_in_a_circle_is_found(house, module, line):
    assert lint(house).returncode == 0
    path = house / "rslib" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    found = lint(house)
    assert found.returncode == 1
    module = module.removesuffix(".py").replace("/", ".")
    assert f"rslib.{module}" in found.stdout or "made acyclic" in found.stdout


def test_labels_are_read_without_torch():
    script = "import sys; import rslib.report.labels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_room_is_reached_by_its_name():
    import rslib

    there = (PROJECT / "rslib").iterdir()
    rooms = {each.stem for each in there if each.suffix in ("", ".py") and each.name[0] != "_"}
    assert len(rooms) <= 16
    for room in (*rooms, "tables", "figures"):
        assert room in dir(rslib)
        assert getattr(rslib, room).__name__.startswith("rslib.")
    with pytest.raises(AttributeError, match="no attribute 'attaks'"):
        _ = rslib.attaks


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "tests").rglob("test_*.py")), ids=lambda path: path.stem
)
def test_tests_use_what_other_rooms_and_files_offer(path):
    """No test imports another, and none uses a private name of a room that is not its own."""
    own = path.relative_to(PROJECT / "tests").parts[0].removeprefix("test_").removesuffix(".py")
    origin, wrong = {}, []
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith("tests.") and ".test_" in node.module:
                wrong.append(f"imports {node.module}")
            for name in node.names:
                origin[name.asname or name.name] = f"{node.module}.{name.name}"
                if _private(name.name) and node.module.startswith(("rslib.", "book.")):
                    wrong += [] if f".{own}" in f".{node.module}" else [f"imports {name.name}"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            home = origin.get(node.value.id, "")
            ours = home.startswith(("rslib.", "book.", "benchmarks."))
            if (
                ours
                and _private(node.attr)
                and not {own, own.removesuffix("s")} & {*home.split(".")}
            ):
                wrong.append(f"uses {home}.{node.attr}")
    assert not wrong


def _private(name):
    return name.startswith("_") and not name.startswith("__")
