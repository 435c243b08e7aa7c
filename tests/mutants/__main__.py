"""``python -m tests.mutants [WORD …]``: break rslib in small ways and see if its tests notice.

Each mutant (:mod:`tests.mutants.mutants`) is tried in a copy of the tree, by a forked process that
has the packages imported already; its tests end at the first failure. First all those tests run on
the code as it is: they must pass. Words choose mutants whose file or change holds one of them. The
exit status is 0 if at least 95 % were killed and no survivor lacks a reason.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.mutants import PROJECT, Mutant, mutants

WANTED = 0.95
# Imported once, before any fork: all that rslib and its tests take from elsewhere.
PACKAGES = (
    "torch torchvision timm captum.attr captum.metrics scipy.stats scipy.optimize pandas "
    "pyarrow.parquet statsmodels.stats.proportion statsmodels.stats.contingency_tables "
    "statsmodels.stats.multitest pytest hypothesis pydantic safetensors.torch skimage.filters "
    "filelock jinja2 tqdm yaml pyautoattack torchattacks foolbox pytorch_grad_cam"
).split()
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "--tb=line", "-W", "ignore::DeprecationWarning"]


@dataclass
class Job:
    """Tests under way in a process of their own, on a tree of their own."""

    tests: tuple[str, ...]
    tree: Path
    limit: float
    mutant: Mutant | None = None
    pid: int = 0
    started: float = 0.0
    seconds: float = 0.0
    outcome: str = ""

    @property
    def output(self) -> Path:
        """What the tests printed."""
        return self.tree.with_suffix(".txt")

    def start(self, number: int) -> None:
        """Fork."""
        if self.mutant:
            target = self.tree / self.mutant.file
            target.write_text(self.mutant.source)
            # A time of its own, by which Python tells bytecode of another mutant.
            os.utime(target, (number, number))
        sys.stdout.flush()
        self.started = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            _tests(self)

    def ended(self) -> bool:
        """True once the process is gone; notes how it ended."""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        self.seconds = time.monotonic() - self.started
        if not done and self.seconds < self.limit:
            return False
        if not done:
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.outcome = f"out of time ({self.limit:.0f} s)"
        else:
            code = os.waitstatus_to_exitcode(status)
            # Of pytest: 0 passed, 1 failed, 2 interrupted, as by an error of an import.
            self.outcome = {0: "passed", 1: "failed", 2: "failed"}.get(code, f"status {code}")
            if code < 0:
                self.outcome = "failed"
        if self.mutant:
            shutil.copy2(PROJECT / self.mutant.file, self.tree / self.mutant.file)
        return True


def _tests(job: Job) -> None:
    """Run the tests of a job on its tree and end this process."""
    code = 3
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        handle = os.open(job.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1), os.dup2(handle, 2)
        os.chdir(job.tree)
        here = {"", str(PROJECT), os.getcwd()}
        sys.path[:] = [str(job.tree), *(each for each in sys.path if each not in here)]
        os.environ |= {"PYTHONPATH": str(job.tree), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        for name in [each for each in sys.modules if each.split(".")[0] == "tests"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        import pytest

        scratch = f"--basetemp={job.tree}.tmp"  # temporary folders that no other job clears
        code = int(pytest.main([*OPTIONS, scratch, *job.tests]))
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def _copied(place: Path) -> Path:
    """A copy of what tests read: code copied, the rest as links."""
    place.mkdir()
    hidden = shutil.ignore_patterns("__pycache__")
    for each in PROJECT.iterdir():
        if each.name in ("rslib", "tests"):
            shutil.copytree(each, place / each.name, ignore=hidden)
        elif not each.name.startswith(".") and each.name not in ("runs", "_build"):
            (place / each.name).symlink_to(each)
    return place


def _all(jobs: Sequence[Job], trees: Sequence[Path], tell: Callable[[int, Job], None]) -> None:
    """Run jobs, one a tree at a time."""
    waiting, free, running = list(enumerate(jobs, start=1)), list(trees), {}
    try:
        while waiting or running:
            while waiting and free:
                number, job = waiting.pop(0)
                job.tree = free.pop()
                job.start(number)
                running[number] = job
            time.sleep(0.02)
            for number in [number for number, job in running.items() if job.ended()]:
                free.append(running[number].tree)
                tell(number, running.pop(number))
    finally:
        for job in running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", help="of the files or changes to try; all by default")
    parser.add_argument("--workers", type=int, default=2, help="mutants at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    given = parser.parse_args(arguments)
    chosen = [
        each
        for each in mutants()
        if not given.words or any(word in f"{each.file} {each.change}" for word in given.words)
    ]
    if given.list:
        print(*(f"{each.file}:{each.line} {each.change}" for each in chosen), sep="\n")
        return 0
    # Stopped like by Ctrl-C, so that no tests go on alone.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in PACKAGES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [_copied(Path(folder, f"tree{k}")) for k in range(given.workers)]
        return _judged(chosen, trees)


def _judged(chosen: Sequence[Mutant], trees: Sequence[Path]) -> int:
    began, seconds = time.monotonic(), {}

    def sound(number: int, job: Job) -> None:
        if job.outcome != "passed":
            print(job.output.read_text())
            sys.exit(f"{job.tests[0]} on the code as it is: {job.outcome}. Mend that first")
        seconds[job.tests[0]] = job.seconds

    files = dict.fromkeys(test for each in chosen for test in each.tests)
    print(f"{len(chosen)} mutants; first {len(files)} files of tests on the code as it is")
    _all([Job((test,), trees[0], 900) for test in files], trees, sound)
    print(f"all pass: {sum(seconds.values()):.0f} s", flush=True)

    survivors: list[Mutant] = []
    late = 0

    def told(number: int, job: Job) -> None:
        nonlocal late
        mutant = job.mutant
        if job.outcome.startswith("status"):
            print(job.output.read_text())
            sys.exit(f"{mutant.file}:{mutant.line} {mutant.change}: pytest's {job.outcome}")
        survived = job.outcome == "passed"
        late += job.outcome.startswith("out of time")
        if survived:
            survivors.append(mutant)
        how = "SURVIVED" if survived else "killed"
        if job.outcome.startswith("out of time"):
            how = f"killed, {job.outcome}"
        place = f"{mutant.file}:{mutant.line}"
        at = f"{number:3}/{len(chosen)} {job.seconds:5.1f} s"
        print(f"{at}  {how}  {place}  {mutant.change}", flush=True)

    limits = [60 + 5 * sum(seconds[test] for test in each.tests) for each in chosen]
    jobs = [Job(m.tests, trees[0], limit, m) for m, limit in zip(chosen, limits, strict=True)]
    _all(jobs, trees, told)
    killed = len(chosen) - len(survivors)
    minutes = (time.monotonic() - began) / 60
    share = killed / max(1, len(chosen))
    print(f"\n{killed} of {len(chosen)} mutants killed ({share:.1%}), {late} of them by the clock")
    print(f"in {minutes:.0f} minutes")
    for each in survivors:
        print(f"survived: {each.file}:{each.line}  {each.change}")
        print(f"          {each.harmless or 'no reason is known: write a test that notices it'}")
    unexplained = [each for each in survivors if not each.harmless]
    return int(bool(unexplained) or killed < WANTED * len(chosen))


if __name__ == "__main__":
    sys.exit(main())
