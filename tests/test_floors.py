"""The floors of the house: imports only go down, in no circle (contracts in pyproject.toml)."""

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

    rooms = {path.stem for path in (PROJECT / "rslib").iterdir() if not path.name.startswith("_")}
    assert len(rooms) <= 16
    for room in (*rooms, "tables", "figures"):
        assert room in dir(rslib)
        assert getattr(rslib, room).__name__.startswith("rslib.")
    with pytest.raises(AttributeError, match="no attribute 'attaks'"):
        _ = rslib.attaks
