"""That the proof's comparison of two runs sees what differs and forgives only times and places."""

import copy
import json

import run as proof

TABLE = {
    "metadata": {
        "stamp": "profile tiny; seed 0",
        "sources": [{"key": "70052be924", "seconds": 1.5, "device": "CPU", "date": "2026-01-01"}],
    },
    "rows": [
        {"model": "resnet18-standard", "quantity": "clean_accuracy", "ours": 81.5},
        {"model": "resnet18-standard", "quantity": "training_hours", "ours": 0.25},
        {"model": "table1/resnet18-standard/training_hours", "quantity": "0", "ours": 0.25},
        {"model": "training_time", "quantity": "0", "ours": 24.0},
    ],
}


def compared(tmp_path, change):
    """What differs once one of two copies of a table has been changed."""
    folders = []
    for name, changed in (("one", False), ("other", True)):
        table = copy.deepcopy(TABLE)
        if changed:
            change(table)
        path = tmp_path / name / "tiny" / "seed0" / "tables" / "table1.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(table))
        folders.append(tmp_path / name)
    return list(proof.different(*map(proof.tables, folders)))


def test_times_and_places_are_forgiven(tmp_path):
    def change(table):
        table["metadata"]["sources"][0] |= {"seconds": 9.0, "device": "GPU", "date": "2027-01-01"}
        for row in table["rows"][1:]:
            row["ours"] = 0.5

    assert compared(tmp_path, change) == []


def test_the_last_digit_of_a_number_is_seen(tmp_path):
    def change(table):
        table["rows"][0]["ours"] = 81.50000000000001

    (told,) = compared(tmp_path, change)
    assert told == "/tiny/seed0/tables/table1.json/rows[0]/ours: 81.5, 81.50000000000001"


def test_other_weights_are_seen_by_their_key(tmp_path):
    (told,) = compared(tmp_path, lambda t: t["metadata"]["sources"][0].update(key="0" * 10))
    assert "sources[0]/key" in told


def test_a_row_and_a_table_too_many_are_seen(tmp_path):
    (told,) = compared(tmp_path, lambda t: t["rows"].append({"quantity": "ece", "ours": 0.1}))
    assert "/rows:" in told
    (tmp_path / "other" / "tiny" / "seed0" / "tables" / "table2.json").write_text("{}")
    runs = (proof.tables(tmp_path / name) for name in ("one", "other"))
    assert any("table2.json" in told for told in proof.different(*runs))
