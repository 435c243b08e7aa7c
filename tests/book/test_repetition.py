"""Two runs held against each other: what is the same, what an interval explains, and what not."""

import copy

import pytest

from book import repetition
from book.__main__ import main
from rslib.store import records

ROWS = [
    {"model": "resnet18-standard", "quantity": "clean_accuracy", "ours": 81.5, "low": 80.0,
     "high": 83.0, "n": 100},
    {"model": "resnet18-standard", "quantity": "training_hours", "ours": 0.25, "low": None,
     "high": None, "n": None},
    {"model": "resnet18-standard", "quantity": "parameters", "ours": 11, "low": None,
     "high": None, "n": None},
]  # fmt: skip
VERDICTS = [
    {"model": "table1/resnet18-standard/clean_accuracy", "quantity": "0", "ours": 81.5,
     "low": 80.0, "high": 83.0, "n": 100, "verdict": "same direction"},
    {"model": "table1/resnet18-standard/training_hours", "quantity": "0", "ours": 0.25,
     "low": None, "high": None, "n": None, "verdict": "not comparable"},
]  # fmt: skip


@pytest.fixture
def compared(tmp_path):
    """Compare a run with a copy of it in which something was changed."""

    def compare(change):
        tables = {"table1": copy.deepcopy(ROWS), "verdicts": copy.deepcopy(VERDICTS)}
        write(tmp_path / "original", tables)
        change(tables)
        write(tmp_path / "repeated", tables)
        return repetition.compare(tmp_path / "repeated", tmp_path / "original")

    return compare


def write(folder, tables):
    (folder / "tables").mkdir(parents=True)
    for name, rows in tables.items():
        records.write_json(folder / "tables" / f"{name}.json", {"metadata": {}, "rows": rows})


def test_times_may_differ(compared):
    def change(tables):
        tables["table1"][1]["ours"] = tables["verdicts"][1]["ours"] = 9.0

    found = compared(change)
    assert found.same and (found.tables, found.rows) == (2, 3)
    assert "the same to the last digit    3" in str(found)


@pytest.mark.parametrize(("ours", "low", "within"), [
    (81.5, 80.1, True),  # the same number with another interval
    (82.9, 81.4, True),
    (82.9, 81.6, False),  # the repetition's interval does not hold the original's number
    (83.1, 80.0, False),
])  # fmt: skip
def test_a_difference_lies_within_both_intervals_or_beyond(compared, ours, low, within):
    def change(tables):
        tables["table1"][0] |= {"ours": ours, "low": low, "high": 90.0}

    found = compared(change)
    assert not found.same
    (difference,) = found.differences
    assert difference.within is within
    assert ("table1 resnet18-standard clean_accuracy" in str(found)) is not within


def test_a_number_without_an_interval_has_to_be_the_same(compared):
    found = compared(lambda tables: tables["table1"][2].update(ours=12))
    assert str(found.differences[0]) == (
        "table1 resnet18-standard parameters: 12 here, 11 there"
    )  # fmt: skip
    assert not found.differences[0].within


def test_another_verdict_is_beyond_whatever_the_number(compared):
    found = compared(lambda tables: tables["verdicts"][0].update(verdict="not reproduced"))
    assert "81.5 [80, 83], not reproduced here, 81.5 [80, 83], same direction there" in str(found)
    assert not found.differences[0].within


def test_rows_and_tables_in_one_run_alone_are_named(compared):
    def change(tables):
        del tables["table1"][0]
        tables["table2"] = tables.pop("verdicts")

    found = compared(change)
    assert found.alone == ("table2", "verdicts")
    assert "table1 resnet18-standard clean_accuracy: no such row here, 81.5 [80, 83] there" in str(
        found
    )


def test_many_differences_are_counted_and_the_first_shown(compared):
    def change(tables):
        tables["table1"] += [ROWS[0] | {"model": f"model{k}"} for k in range(25)]

    text = str(compared(change))
    assert text.count("no such row there") == 20 and text.endswith("- and 5 more")


def test_the_published_run_repeats_itself(capsys):
    folder = repetition._published(repetition.Path("runs/cpu/seed0"))
    assert main(["repeat", str(folder)]) == 0
    assert "beyond, or in one run alone   0" in capsys.readouterr().out


def test_folders_without_tables_and_files_that_are_none_are_refused(tmp_path, capsys):
    assert main(["repeat", str(tmp_path), str(tmp_path)]) == 2
    assert "holds no tables: name the folder of a run" in capsys.readouterr().err
    write(tmp_path, {"table1": [{"other": 1}]})
    assert main(["repeat", str(tmp_path), str(tmp_path)]) == 2
    assert "table1.json is no table of a run" in capsys.readouterr().err
