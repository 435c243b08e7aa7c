"""A folder is replaced whole or not at all, whenever the work is interrupted."""

import os
import subprocess
import sys

import pytest

from book import BookError, swap
from rslib.settings import PROJECT


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "published" / "cpu"
    folder.mkdir(parents=True)
    (folder / "old").write_text("whole")
    return folder


def contents(target):
    """The names beside a folder, and those in it."""
    beside = sorted(path.name for path in target.parent.iterdir())
    return beside, sorted(path.name for path in target.iterdir())


def test_a_folder_is_replaced_once_it_is_whole(target):
    with swap.replacing(target) as new:
        (new / "fresh").write_text("whole")
        assert (target / "old").read_text() == "whole"
    assert contents(target) == (["cpu"], ["fresh"])


@pytest.mark.parametrize("error", [BookError("no"), KeyboardInterrupt(), OSError(28, "No space")])
def test_what_fails_leaves_the_old_one_and_nothing_else(target, error):
    with pytest.raises((BookError, KeyboardInterrupt)):
        with swap.replacing(target) as new:
            (new / "half").touch()
            raise error
    assert contents(target) == (["cpu"], ["old"])


KILLED = """
import os, signal, sys
from pathlib import Path
from book import swap

target, step, count = Path(sys.argv[1]), int(sys.argv[2]), 0

def hook(event, arguments):
    global count
    changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
    opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
    if (changes or opened) and str(target.parent) in str(arguments[0]):
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

sys.addaudithook(hook)
with swap.replacing(target) as new:
    (new / "fresh").mkdir()
    (new / "fresh" / "part").write_text("whole")
"""


def test_killed_at_any_step_the_next_call_finds_one_whole_folder(target):
    """The old one or the new one, and nothing of ours beside it."""
    seen, killed = set(), True
    stranger = target.parent / ".new-cpu-mine"
    stranger.mkdir()
    (stranger / "diary").touch()
    for step in range(40):
        command = [sys.executable, "-c", KILLED, str(target), str(step)]
        killed = subprocess.run(command, cwd=PROJECT, check=False).returncode == -9
        swap.recover_all(target.parent)
        found = tuple(sorted(path.name for path in target.iterdir()))
        assert found in (("old",), ("fresh",)), step
        if found == ("fresh",):
            assert (target / "fresh" / "part").read_text() == "whole"
        seen.add(found)
        if not killed:
            break
    assert not killed and seen == {("old",), ("fresh",)}
    assert contents(target)[0] == [".new-cpu-mine", "cpu"] and os.listdir(stranger) == ["diary"]
