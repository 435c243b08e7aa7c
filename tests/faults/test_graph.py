"""The notebook graph killed with everything it has started, and run again by the same command."""

import os
import shutil
import subprocess
import sys
import time
import uuid

import psutil
import pytest
import yaml

from book import execute
from rslib import settings
from rslib.run import Run
from rslib.settings import PROJECT
from tests.faults import jobs
from tests.faults.victims import differing, missing, torn, unfinished
from tests.helpers.books import write_notebook
from tests.helpers.tiny import TINY

FIRST, SECOND, THIRD = "01_experimental_setup", "05_distribution_shift", "06_baseline_performance"
START = "from rslib import notebook\nrun = notebook.start(profile, settings, seed)"


class Graph:
    """A project with the real Snakefile and a profile of seconds, whose processes carry a mark."""

    def __init__(self, folder, notebooks):
        self.folder, self.notebooks, self.mark = folder, notebooks, uuid.uuid4().hex
        self.process = None
        shutil.copytree(PROJECT / "notebooks", folder / "notebooks")
        shutil.copy(PROJECT / "Snakefile", folder)
        (folder / "params").mkdir()
        profile = yaml.safe_load((PROJECT / "params" / "smoke.yaml").read_text())
        profile["profile"] = "tiny"
        for sizes in (TINY, jobs.SIZES):
            profile["settings"] = settings.merge(profile["settings"], sizes)
        self.profile = folder / "params" / "tiny.yaml"
        self.profile.write_text(yaml.safe_dump(profile))
        self.log = folder / "log"

    @property
    def root(self):
        return self.folder / "runs" / "tiny" / "seed0"

    def start(self):
        """Start what ``make run`` starts, for some of the notebooks."""
        run = (PROJECT / "Makefile").read_text().partition("\nrun: ")[2].partition("\n\n")[0]
        guard, nolock = "$(GUARD) $(RUN) -- $(BIN)/snakemake", "--nolock"
        triggers = "--rerun-incomplete --rerun-triggers mtime input"
        assert all(part in run for part in (guard, nolock, triggers)), run
        programs = os.path.dirname(sys.executable)
        command = [
            sys.executable,
            "-m",
            "rslib.store.locks",
            "runs/tiny",
            "--",
            f"{programs}/snakemake",
        ]
        # One core, since weights are the same bit for bit under the same number of threads only.
        command += [nolock, "--cores", "1", *triggers.split(), "--config", "profile=tiny", "--"]
        command += [f"runs/tiny/seed0/executed/{name}.ipynb" for name in self.notebooks]
        kept = {k: v for k, v in os.environ.items() if k not in ("RSLIB_RUNS", "MAKEFLAGS")}
        ours = {
            "RSLIB_MARK": self.mark,
            "RSLIB_PARAMS": str(self.folder / "params"),
            "RSLIB_RUNS": "runs",
            "XDG_CACHE_HOME": str(self.folder / ".cache"),
            "PYTHONPATH": str(PROJECT),
        }
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=kept | ours, stdout=log, stderr=subprocess.STDOUT
            )

    def finish(self):
        """Start it, and let it come to its end."""
        self.start()
        assert self.process.wait(1200) == 0, self.log.read_text()

    def kill(self):
        """Kill every process that carries the mark: kernels are in sessions of their own."""
        while marked := [each for each in psutil.process_iter() if self._is_ours(each)]:
            for each in marked:
                each.kill()
            psutil.wait_procs(marked, timeout=10)
        if self.process:
            self.process.wait()

    def _is_ours(self, process):
        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get("RSLIB_MARK") == self.mark
            )
        except psutil.Error:
            return False

    def problems(self):
        """What keeps the executed notebooks out of the book, and places they should not name."""
        found = []
        for name in self.notebooks:
            path = self.root / "executed" / f"{name}.ipynb"
            found += execute.problems(path) if path.exists() else [f"{path.name} is missing"]
            if path.exists() and str(self.folder) in path.read_text():
                found.append(f"{path.name} names the folder it was run in")
        return found


def write_short(graph):
    """Put notebooks of two cells in the place of the real ones."""
    cells = {FIRST: f"run.trained({jobs.NAME!r});", SECOND: f"run.evaluate({jobs.NAME!r}, 'pgd');"}
    for name, work in cells.items():
        write_notebook(graph.folder / "notebooks" / f"{name}.ipynb", START, work)


@pytest.fixture
def graph(tmp_path):
    """Make a project in a folder; whatever it has started ends with the test."""
    made = []

    def make(name, notebooks):
        (tmp_path / name).mkdir()
        made.append(Graph(tmp_path / name, notebooks))
        return made[-1]

    yield make
    for each in made:
        each.kill()


def judge(count, whole, killed):
    """Compare what was made after kills with what was made without."""
    lost, wrong = killed.problems(), []
    for folder in ("models", "records", "masks"):
        if (whole / folder).exists():
            lost += missing(whole / folder, killed.root / folder)
            lost += unfinished(killed.root / folder)
            wrong += differing(whole / folder, killed.root / folder)
    left = sorted(path.name for path in (killed.root / "executed").iterdir())
    wrong += [f"{name} is left over" for name in left if name.count(".") > 1]
    count.add("afterwards", lost=lost, wrong=wrong)
    assert not count.faults, "\n".join(count.faults)


def test_a_killed_graph_goes_on(graph, tmp_path, chance, tally):
    killed, count = graph("killed", [SECOND]), tally("killed: make book")
    write_short(killed)
    run = Run(settings.load(str(killed.profile)), root=tmp_path / "whole", progress=False)
    run.evaluate(jobs.NAME, "pgd")
    killed.start()
    deadline = time.monotonic() + 600
    while not list(killed.root.glob("models/*/checkpoint.json")):
        assert killed.process.poll() is None and time.monotonic() < deadline, killed.log.read_text()
        time.sleep(0.01)
    time.sleep(chance.uniform(0, 1))
    killed.kill()
    count.add("killed as it trained", lost=torn(killed.root / "models"))
    killed.finish()
    judge(count, run.directory, killed)


def test_a_graph_killed_over_and_over_goes_on(graph, chance, tally, every):
    if not every:
        pytest.skip("twenty kills of real notebooks: make faults")
    whole, killed = (graph(name, [FIRST, SECOND, THIRD]) for name in ("whole", "killed"))
    count = tally("killed: make book")
    started = time.monotonic()
    whole.finish()
    seconds = time.monotonic() - started
    assert not whole.problems()
    for _ in range(20):
        after = chance.uniform(0, seconds)
        killed.start()
        time.sleep(after)
        killed.kill()
        count.add(f"killed after {after:.1f} s", lost=torn(killed.root / "models"))
    killed.finish()
    judge(count, whole.root, killed)
