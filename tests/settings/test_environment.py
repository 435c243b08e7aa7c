"""Variables mean the same wherever they are read, and what cannot be meant is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from rslib.settings import PROJECT, SettingsError, environment

VARIABLES = sorted(environment.FOLDERS)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_folder_is_absolute_expanded_and_unset_where_it_is_empty(tmp_path, monkeypatch, variable):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv(variable, raising=False)
    assert environment.folder(variable) is None
    given = {
        "": None,
        "below": tmp_path / "below",
        "./my runs/": tmp_path / "my runs",
        "..": tmp_path.parent,
        "~/runs": tmp_path / "home" / "runs",
        "it's $HOME *?[x]": tmp_path / "it's $HOME *?[x]",
        f"{tmp_path}//a/../b": tmp_path / "b",
    }
    for value, expected in given.items():
        monkeypatch.setenv(variable, value)
        assert environment.folder(variable) == expected, value


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("/", "root of the file system"),
        ("/../.", "root of the file system"),
        ("file", "is a file"),
        ("file/below/it", "lies below"),
        ("dangling", "a link that leads nowhere"),
        ("to-root", "root of the file system"),
        ("~nosuchuser/runs", "no user 'nosuchuser'"),
        ("a\nb", "control characters"),
        ("a\x1b[31m", "control characters"),
        (" \t", "control characters"),
        ("  ", "nothing but blanks"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch, variable, value, why):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("dangling").symlink_to("nowhere")
    Path("to-root").symlink_to("/")
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=why) as refused:
        environment.folder(variable)
    assert variable in str(refused.value) and "\x1b" not in str(refused.value)


def test_seeds_are_parsed(capsys):
    assert environment.seeds("0 1\t2") == environment.seeds([0, 1, 2]) == [0, 1, 2]
    assert environment.seeds(7) == [7] == environment.seeds("7")
    assert capsys.readouterr().err == ""
    assert environment.seeds("3 1 3") == [3, 1]
    assert "SEEDS repeats 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    ["-1", "1.5", "a", "", " ", "1,2", "1-3", "010", "1_0", "0x1", "1e1", "٣", "0 -1", str(2**63)]
    + [True, 1.0, None, [], ["a"], [0, 1.5], {0: 1}, [True]],
)
def test_what_is_no_list_of_whole_numbers_is_refused(given):
    with pytest.raises(SettingsError, match="SEEDS.*give"):
        environment.seeds(given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["PROFILE=../x"], "PROFILE"),
        (["PROFILE=$(touch x)"], "PROFILE"),
        (["SEEDS=1;2"], "SEEDS"),
        (["CORES=0"], "CORES"),
        (["CORES=1.5"], "CORES"),
        (["GPUS=-1"], "GPUS"),
        (["WORKERS=auto"], "WORKERS"),
        (["FAN_OUT=yes"], "FAN_OUT"),
        (["DEVICE=--help"], "DEVICE"),
    ],
)
def test_variables_of_make_are_checked(given, told, capsys):
    assert environment.main(given) == 2
    said = capsys.readouterr()
    assert told in said.err and said.out == ""
    fine = ["PROFILE=cpu", "SEEDS=0 1", "CORES=all", "GPUS=0", "WORKERS=2", "FAN_OUT=1", "DEVICE="]
    assert environment.main(fine) == 0


def test_the_file_needs_nothing_but_python(tmp_path):
    script = PROJECT / "rslib" / "settings" / "environment.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, "SEEDS=0"],
        cwd=tmp_path, env={"RSLIB_RUNS": "my runs"}, text=True, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}/my runs\n"
