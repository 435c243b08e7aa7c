"""Lines that long work leaves, and whoever shows them."""

import os
import subprocess
import sys

from rslib import settings
from rslib.run import Run, progress

ADDS = "from rslib.run import progress; progress.from_environment()('epoch 1/2'); print('done')"


def test_lines_of_another_process_are_shown_and_its_own_output_is_not_touched(capsys):
    with progress.shown():
        told = subprocess.run([sys.executable, "-c", ADDS], capture_output=True, text=True)
    assert told.stdout == "done\n"
    assert capsys.readouterr().err == "epoch 1/2\n"
    assert progress.VARIABLE not in os.environ


def test_the_environment_is_given_back(monkeypatch, tmp_path):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "mine"))
    with progress.shown():
        progress.from_environment()("a line")
    assert os.environ[progress.VARIABLE] == str(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_run_tells_where_it_is_told_to(monkeypatch, tmp_path):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    assert Run(settings.load("smoke"), root=tmp_path).tell is None
    file = tmp_path / "lines"
    monkeypatch.setenv(progress.VARIABLE, str(file))
    run = Run(settings.load("smoke"), root=tmp_path)
    run.tell("first")
    run.under({"pgd": {"steps": 3}}).tell("second")
    assert file.read_text() == "first\nsecond\n"


def test_lines_that_cannot_be_kept_stop_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "no" / "such" / "folder"))
    progress.from_environment()("a line")
