"""The notebook graph: what would run, in which order, and what stops it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_book import write_notebook

from rslib import book

PROJECT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [page for page in book.pages(PROJECT / "_toc.yml") if page[:2].isdigit()]


@pytest.fixture
def project(tmp_path):
    """A folder with the real Snakefile and params, and one-cell notebooks."""
    shutil.copy(PROJECT / "Snakefile", tmp_path)
    shutil.copytree(PROJECT / "params", tmp_path / "params")
    (tmp_path / "notebooks").mkdir()
    for name in NOTEBOOKS:
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    return tmp_path


def environment(project: Path) -> dict[str, str]:
    """Ours, without what a surrounding make or user sets, and with caches inside `project`."""
    outer = ("RSLIB_RUNS", "PROFILE", "SEEDS", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return kept | {"XDG_CACHE_HOME": str(project / ".cache"), "PYTHONPATH": str(PROJECT)}


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Snakemake in `project`."""
    program = Path(sys.executable).with_name("snakemake")
    return subprocess.run(
        [program, "--cores", "2", "--rerun-triggers", "mtime", "input", *arguments],
        cwd=project,
        env=environment(project),
        text=True,
        capture_output=True,
        check=False,
    )


def planned(done: subprocess.CompletedProcess) -> list[str]:
    """The outputs of a dry run in the order of its jobs."""
    assert done.returncode == 0, done.stderr
    return re.findall(r"output: (runs/\S+)", done.stdout + done.stderr)


def finish(project: Path, *outputs: str) -> None:
    """Pretend that these notebooks have been executed."""
    for output in outputs:
        (project / output).parent.mkdir(parents=True, exist_ok=True)
        (project / output).write_text("{}")


def test_two_seeds_run_every_notebook_after_what_it_needs(project):
    plan = planned(snakemake(project, "-n", "--config", "profile=cpu", "seeds=0 1"))
    for seed in (0, 1):
        folder = f"runs/cpu/seed{seed}/executed/"
        names = [Path(path).stem for path in plan if path.startswith(folder)]
        assert sorted(names) == sorted(NOTEBOOKS)
        assert names[0] == "01_experimental_setup"
    assert len(plan) == 2 * len(NOTEBOOKS)


def test_only_what_is_missing_or_stale_runs(project):
    every = planned(snakemake(project, "-n"))
    finish(project, *every)
    assert planned(snakemake(project, "-n")) == []

    newer = project / "notebooks" / "07_adversarial_robustness.ipynb"
    later = newer.stat().st_mtime + 60
    os.utime(newer, (later, later))
    again = planned(snakemake(project, "-n"))
    # Notebook 10 reads 07's records, 11 reads those of 10, and 13 and 14 read on from there.
    assert [Path(output).name[:2] for output in again[:3]] == ["07", "10", "11"]
    assert sorted(Path(output).name[:2] for output in again[3:]) == ["13", "14"]

    settings = project / "params" / "smoke.yaml"
    os.utime(settings, (later, later))
    assert sorted(planned(snakemake(project, "-n"))) == sorted(every)


def test_an_unknown_profile_is_named_with_those_there_are(project):
    done = snakemake(project, "-n", "--config", "profile=smok")
    assert done.returncode != 0
    assert re.search(r"no profile 'smok'.*cpu, fast, paper, smoke", done.stdout + done.stderr)


def test_a_failing_cell_fails_make_and_its_error_comes_last(project):
    name = "01_experimental_setup"
    write_notebook(project / "notebooks" / f"{name}.ipynb", "{}['epsilon']")
    shutil.copy(PROJECT / "Makefile", project)
    (project / "installed").touch()
    done = subprocess.run(
        # -o: whatever its date, never set up an environment from a test
        ["make", "-o", "installed", "DONE=installed", f"BIN={Path(sys.executable).parent}", "book"],
        cwd=project,
        env=environment(project),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode != 0
    *_, error, make = done.stdout.rstrip().splitlines()
    assert error == "KeyError: 'epsilon'" and make.startswith("make: ***")
    assert [path.name for path in project.glob("runs/**/*.ipynb")] == [f"{name}.failed.ipynb"]
