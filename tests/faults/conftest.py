"""How many tries are made, disks that can be filled, and the tally at the end."""

import contextlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.tally import NAME, Tally, table


def pytest_addoption(parser):
    parser.addoption("--all-faults", action="store_true", help="every try, not a few of each kind")


def pytest_terminal_summary(terminalreporter):
    reports = [report for group in terminalreporter.stats.values() for report in group]
    done = [report for report in reports if getattr(report, "when", None) == "teardown"]
    counts = [value for report in done for name, value in report.user_properties if name == NAME]
    if counts:
        terminalreporter.section("what was tried, and what became of it")
        terminalreporter.line(table(counts))


@pytest.fixture(scope="session")
def every(request) -> bool:
    """Whether all tries are made."""
    return bool(request.config.getoption("--all-faults", default=False))


@pytest.fixture
def chance(request) -> random.Random:
    """What decides moments: the same in every run of a test, another in every test."""
    return random.Random(request.node.nodeid.rpartition("/")[2])


@pytest.fixture
def tally(request):
    """Start the count of a kind; it is kept whatever the test's outcome."""

    def start(kind: str) -> Tally:
        counted.append(Tally(kind))
        return counted[-1]

    counted: list[Tally] = []
    yield start
    request.node.user_properties += [each.property() for each in counted]


@pytest.fixture
def mounted(tmp_path):
    """Mount something for the length of a test, or skip it where that is not permitted."""
    done = []

    def mount(folder: Path, *options: str) -> Path:
        folder.mkdir(exist_ok=True)
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root on Linux can mount a disk of its own")
        tried = subprocess.run(
            ["mount", *options, str(folder)], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"nothing can be mounted here: {tried.stderr.strip()}")
        done.append(folder)
        return folder

    yield mount
    for folder in reversed(done):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(mounted, tmp_path):
    """Make a disk of a few megabytes in memory."""

    def make(megabytes: int) -> Path:
        size = f"size={megabytes}m"
        return mounted(tmp_path / "disk", "-t", "tmpfs", "-o", size, "tmpfs")

    return make


@pytest.fixture
def read_only(mounted):
    """Make a folder one that nothing can be written to; permissions do not stop root."""

    @contextlib.contextmanager
    def lock(folder: Path):
        if os.geteuid() == 0:
            mounted(folder, "--bind", str(folder))
            subprocess.run(
                ["mount", "-o", "remount,ro,bind", str(folder)], check=True, capture_output=True
            )
            yield
            return
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        before = {path: path.stat().st_mode for path in folders}
        for path in folders:
            path.chmod(0o555)
        try:
            yield
        finally:
            for path, mode in before.items():
                path.chmod(mode)

    return lock
