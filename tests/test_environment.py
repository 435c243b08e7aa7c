"""The exact versions, and that all who install or check take the same ones."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import rslib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = [
    Requirement(line)
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
]
EXTRAS = PROJECT["optional-dependencies"]
# Only what `make` installs is pinned.
EXTRAS_OF_MAKE = ("models", "site", "book", "dev")
NEEDS = [
    Requirement(need)
    for need in (*PROJECT["dependencies"], *(n for each in EXTRAS_OF_MAKE for n in EXTRAS[each]))
    if not need.startswith(f"{PROJECT['name']}[")
]


@pytest.mark.parametrize("need", NEEDS, ids=str)
def test_every_dependency_is_pinned_to_a_version_that_it_allows(need):
    pins = [pin for pin in PINS if canonicalize_name(pin.name) == canonicalize_name(need.name)]
    assert pins, f"{need.name} is not in constraints.txt: make lock"
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert need.specifier.contains(exact.version), f"{pin} is not {need}: make lock"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_what_decides_results_has_one_version_for_all_pythons(python):
    where = {"python_version": python, "python_full_version": f"{python}.0"}
    for name in ("numpy", "scipy", "torch", "torchvision", "timm", "pillow", "scikit-image"):
        pins = {str(p.specifier) for p in PINS if p.name == name and _holds(p, where)}
        assert len(pins) == 1


def _holds(pin, where):
    return pin.marker is None or pin.marker.evaluate(where)


def test_the_same_pins_for_conda():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert "-c constraints.txt" in listed[-1]["pip"]


def test_the_commit_hook_runs_the_ruff_that_the_tests_run():
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: hook for repo in repos for hook in repo["hooks"]}
    for name, command in (("ruff", "ruff check"), ("ruff-format", "ruff format")):
        assert hooks[name]["language"] == "system"
        assert hooks[name]["entry"].startswith(f".venv/bin/{command}")
    pin = next(pin for pin in PINS if pin.name == "ruff")
    assert Version(metadata.version("ruff")) >= Version(next(iter(pin.specifier)).version)


def test_what_is_cited_is_this_version():
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert about["version"] == about["preferred-citation"]["version"] == rslib.__version__
    assert about["date-released"].year == about["preferred-citation"]["year"]
