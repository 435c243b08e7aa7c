"""The commands of the project: what they say of themselves, and what those of rslib do."""

import argparse
import importlib
import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from rslib import corruptions, data, settings
from rslib.__main__ import main
from rslib.data import cifar10
from rslib.run import Run
from rslib.store import records
from rslib.store.records import RecordError
from rslib.training import TrainingError

COMMANDS = [
    "rslib.__main__",
    "book.__main__",
    "rslib.store.locks",
    "benchmarks.__main__",
    "benchmarks.foreseen",
    "benchmarks.growth.__main__",
    "benchmarks.recipes",
    "benchmarks.stages",
]
SUBCOMMANDS = ["scorecard", "train", "data", "corrupt", "masks"]


@pytest.mark.parametrize("module", COMMANDS)
def test_every_argument_is_explained(module, monkeypatch, capsys):
    bare, seen = [], []
    # Its place in argparse's own classes is where parsers and their groups both have it from.
    container = argparse.ArgumentParser.__mro__[-2]
    add = container.add_argument

    def noted(self, *names, **options):
        seen.append(names)
        if not options.get("help"):
            bare.append(names)
        return add(self, *names, **options)

    monkeypatch.setattr(container, "add_argument", noted)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main()
    assert stopped.value.code == 0 and "usage:" in capsys.readouterr().out
    assert ("-h", "--help") in seen and not bare


@pytest.mark.parametrize("command", SUBCOMMANDS)
def test_each_command_is_listed_and_shows_an_example(command, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = capsys.readouterr().out.splitlines()
    assert [line for line in listed if line.startswith(f"    {command}")]
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0 and f"\n  robustsight {command} " in f"\n{told}\n"
    assert max(map(len, told.splitlines())) <= 100


def test_it_is_installed_by_this_name():
    import tomllib

    project = tomllib.loads((settings.PROJECT / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["robustsight"].partition(":")
    assert getattr(importlib.import_module(module), function) is main


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with neither runs nor data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("RSLIB_DATA", str(tmp_path / "data"))
    return tmp_path


SMALL = ["--settings", "{data: {train_size: 40, validation_size: 20, test_size: 20}}", "--quiet"]


def refusal(capsys, *arguments):
    """The one line that a command ends in when its input is bad."""
    assert main([str(each) for each in arguments]) == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith(f"robustsight {arguments[0]}: ")
    return told[0]


@pytest.mark.parametrize("command", [["train", "resnet18-standard"], ["masks"]])
def test_settings_and_extensions_reach_the_run(place, monkeypatch, command):
    given = []

    def loaded(profile, overrides):
        given.append((profile, overrides))
        raise settings.SettingsError("far enough")

    monkeypatch.setattr(settings, "load", loaded)
    assert main(command) == 2
    assert main([*command, "--extensions", "one", "--extensions", "two", "--profile", "cpu"]) == 2
    assert main([*command, "--settings", "{pgd: {steps: 5}}", "--extensions", "one"]) == 2
    assert given == [
        ("smoke", {}),
        ("cpu", {"extensions": ["one", "two"]}),
        ("smoke", {"pgd": {"steps": 5}, "extensions": ["one"]}),
    ]


def test_corrupt_takes_extensions(place, monkeypatch):
    given = []
    monkeypatch.setattr(settings, "load", lambda profile, overrides: given.append(overrides))
    command = ["corrupt", "fog", "--data", "shapes", "-n", "10", "--quiet", "--out"]
    assert main([*command, "a"]) == 0 and given == []
    assert main([*command, "b", "--extensions", "mine"]) == 0 and given == [
        {"extensions": ["mine"]}
    ]


# train


def test_train_names_a_model_that_is_not_there(place, capsys):
    told = refusal(capsys, "train", "resnet18-adversarail")
    assert "no model 'resnet18-adversarail'" in told and "adversarial" in told


def test_settings_that_are_none_are_refused_in_one_line(place, capsys):
    told = refusal(capsys, "train", "--all", "--settings", "{pgd: {stesp: 5}}")
    assert "pgd.stesp: no such setting (given 5); did you mean 'steps'?" in told
    told = refusal(capsys, "train", "--all", "--settings", "[]", "--extensions", "mine")
    assert "settings must be a mapping" in told


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (TrainingError("the loss became NaN"), 1, "robustsight train: the loss became NaN\n"),
        (RecordError("damaged: delete it"), 1, "robustsight train: damaged: delete it\n"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on at the last finished"),
    ],
)
def test_a_training_that_fails(place, monkeypatch, capsys, raised, status, said):
    def fails(run, name):
        raise raised

    monkeypatch.setattr("rslib.run.run.Run.trained", fails)
    assert main(["train", "resnet18-standard"]) == status
    assert capsys.readouterr().err.startswith(said)


# data


def test_data_that_are_not_there(place, capsys):
    assert main(["data"]) == 1
    told = capsys.readouterr().out
    assert f"data sets in {place / 'data'}" in told
    assert "CIFAR-10    CIFAR-10 is not there" in told and "RSLIB_DATA" in told
    assert "CIFAR-10-C  not there: corruptions are generated" in told
    assert "CIFAR-10H   not there" in told


def shapes_as_cifar10(split, *, root, download):
    return data.load("shapes", split, n=20)


def test_data_that_are_there(place, monkeypatch, capsys):
    monkeypatch.setattr(cifar10, "load", shapes_as_cifar10)
    corruptions.cifar10c.export(shapes_as_cifar10("test", root=None, download=False), "CIFAR-10-C")
    counts = np.ones((10_000, 10), dtype=np.int64)
    np.save("cifar10h-counts.npy", counts)
    assert main(["data", "--folder", str(place)]) == 0
    told = capsys.readouterr().out
    assert "CIFAR-10    20 training and 20 test images" in told
    assert "CIFAR-10-C  20 images a severity, generated and not the official files" in told
    assert "CIFAR-10H   choices of people for 10,000 test images" in told
    # Without its marker it passes for the official archive, which has more images.
    (place / "CIFAR-10-C" / "generated.json").unlink()
    np.save("cifar10h-counts.npy", counts - 2)
    assert main(["data", "--folder", str(place)]) == 1
    told = capsys.readouterr().out
    assert "the official archive was asked for" in told and "fetch it again" in told


def test_a_download_is_asked_for(place, monkeypatch, capsys):
    asked = []

    def load(split, *, root, download):
        asked.append((split, root, download))
        return shapes_as_cifar10(split, root=root, download=download)

    monkeypatch.setattr(cifar10, "load", load)
    assert main(["data", "--download"]) == 0
    assert asked == [("train", place / "data", True), ("test", place / "data", True)]
    assert "not there: corruptions are generated" in capsys.readouterr().out


# corrupt


def test_corrupted_arrays(place, capsys):
    command = ["corrupt", "fog", "contrast", "--severity", "1", "5", "--data", "shapes", "-n", "10"]
    assert main([*command, "--seed", "3", "--quiet", "--out", "made"]) == 0
    told = capsys.readouterr()
    assert told.out == "4 times 10 images in made\n" and told.err == ""
    clean = data.balanced_subset(data.load("shapes", "test"), 10)
    assert np.load("made/ids.npy").tolist() == clean.ids.tolist()
    assert np.load("made/labels.npy").tolist() == clean.labels.tolist()
    made = np.load("made/fog-5.npy")
    expected = corruptions.corrupt(clean.images, "fog", 5, seed=3).permute(0, 2, 3, 1).numpy()
    assert made.dtype == np.uint8 and (made == expected).all()
    assert len(list((place / "made").iterdir())) == 6
    assert "is not an empty folder" in refusal(capsys, *command, "--out", "made")


def test_corrupted_pictures_and_progress(place, capsys):
    command = ["corrupt", "fog", "--data", "shapes", "-n", "10", "--format", "png", "--out", "made"]
    assert main(command) == 0
    assert "corrupting" in capsys.readouterr().err
    clean = data.balanced_subset(data.load("shapes", "test"), 10)
    (first, *_) = sorted((place / "made" / "fog-3").iterdir())
    assert len(list(first.parent.iterdir())) == 10
    assert first.name == f"{int(clean.ids[0]):05}-{clean.classes[clean.labels[0]]}.png"
    expected = corruptions.corrupt(clean.images[:1], "fog", 3, seed=0)[0].permute(1, 2, 0)
    assert (np.asarray(Image.open(first)) == expected.numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fogg"], "no corruption 'fogg'; did you mean 'fog'?"),
        (["fog", "--severity", "6"], "severity=6 must be 1, 2, 3, 4 or 5"),
        (["fog", "--data", "shape"], "did you mean 'shapes'?"),
        (["fog"], "CIFAR-10 is not there"),
        (["fog", "--data", "shapes", "-n", "0"], "0"),
    ],
)
def test_corruptions_that_cannot_be_made(place, capsys, arguments, said):
    assert said in refusal(capsys, "corrupt", *arguments, "--out", "made")
    assert not (place / "made").exists()


# masks


def test_masks_are_written_as_masks_of_ones_own_are_read(place, capsys):
    command = ["masks", "--split", "train", "validation", "test", *SMALL]
    assert main([*command, "--out", "made"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("exact, train: 40 of 40 images have a mask; masks cover ")
    assert told[1].startswith("exact, validation: 20 of 20") and told[3] == "written to made"
    assert main([*command, "--check", "made"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("own") for line in again] == [
        line.removeprefix("exact") for line in told[:3]
    ]
    run = Run(settings.load("smoke", settings.read_yaml(SMALL[1], "")), progress=False)
    validation = run.data("validation")
    rows = torch.from_numpy(np.load("made/train.npy"))
    assert (rows[validation.ids] == validation.masks).all()
    # Half of the test images lose theirs.
    left = np.load("made/test.npy")
    left[::2] = False
    np.save("made/test.npy", left)
    assert main(["masks", "--check", "made", *SMALL]) == 0
    there = int(left[run.data("test").ids].any((1, 2)).sum())
    assert f"own, test: {there} of 20 images have a mask" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--check", "none"], "masks.own: there is no folder"),
        (["--check", "."], "holds neither a folder test nor test.npy"),
        (["--source", "own"], "settings.masks.own names no folder"),
        (["--out", "."], "--out . is not an empty folder"),
        (["--profile", "smok"], "no profile 'smok'"),
    ],
)
def test_masks_that_are_not_there(place, capsys, arguments, said):
    (place / "taken").touch()
    assert said in refusal(capsys, "masks", *arguments, *SMALL)


def test_a_teachers_masks_are_made(place, monkeypatch, capsys):
    asked = []

    def of(run, source, split):
        asked.append((source, split, run.seed))
        return torch.zeros(20, 32, 32, dtype=torch.bool)

    monkeypatch.setattr("rslib.run.object_masks.of", of)
    assert main(["masks", "--source", "cnn", "--seed", "2", *SMALL]) == 0
    assert asked == [("cnn", "test", 2)]
    assert capsys.readouterr().out == "cnn, test: none of 20 images has a mask\n"


# scorecard


def test_a_scorecards_schema_is_json(capsys):
    assert main(["scorecard", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"]


def test_older_results_are_resealed_and_editions_are_not(place, capsys):
    path = place / "runs" / "mine" / "seed0" / "tables" / "a.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"a": 1}')
    assert main(["reseal", str(place / "runs")]) == 0
    assert "1 results" in capsys.readouterr().out and records.read_json(path) == {"a": 1}
    edition = place / "book" / "published" / "cpu"
    edition.mkdir(parents=True)
    (edition / "a.json").write_text("{}")
    for folder, said in ((edition, "is published"), (place / "none", "is not there")):
        assert main(["reseal", str(folder)]) == 2
        assert said in capsys.readouterr().err
    assert (edition / "a.json").read_text() == "{}"


@pytest.mark.parametrize("seed", ["-1", "1.5", "010", "1_0", "one", "", str(2**63)])
def test_a_seed_is_a_whole_number(capsys, seed):
    with pytest.raises(SystemExit):
        main(["train", "resnet18-standard", f"--seed={seed}"])
    assert "a seed must be a whole number from 0" in capsys.readouterr().err
