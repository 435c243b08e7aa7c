"""Published editions that are damaged: the site is refused in words that name the file."""

import functools
import json
import shutil

import nbformat
import pandas as pd
import pytest

from book import build
from book.__main__ import main
from rslib import settings
from rslib.run.published import PARAMS, PUBLISHED
from rslib.store import records
from tests.faults.refusals import contents, refused
from tests.helpers.books import mini_book

TABLE = {
    "metadata": {"table": "table1", "settings": "k", "seed": 0, "sources": [], "facts": {}},
    "rows": [],
}
NOTEBOOK, TABLES = "seed0/executed/01_one.ipynb", "seed0/tables/table1.json"
ERRATA, SAMPLE = "seed0/errata.yaml", "sample.json"
MODEL = f"seed0/models/resnet18-standard-{records.key()}/model.json"
RECORD = f"seed0/records/resnet18-standard/clean-{records.key()}.parquet"

DAMAGE = {
    NOTEBOOK: ["", "{", "[]", "null", "3", '{"cells": []}', '{"cells": 3, "metadata": {}}', "\x00"],
    TABLES: [
        "", "{", "[]", "null", "{}", '{"metadata": 3}', '{"metadata": {"sources": 3}}',
        '{"metadata": {"table": "t", "seed": 0, "sources": [3]}, "rows": []}',
        '{"metadata": {"table": "t", "seed": "x", "sources": []}, "rows": []}',
        '{"metadata": {"table": "t", "seed": 0, "sources": []}, "rows": {}}',
    ],
    MODEL: ["", "[]", "{}", '{"name": 3}', '{"name": "x", "inputs": []}'],
    RECORD: ["", "PAR1", "{}"],
    ERRATA: ["[", "3", "- 3", "- text: x", "- {pages: [01_one], text: a, text: b}", "a: 010",
             "- {pages: 3, text: x}", "- {pages: [09_none], text: x}"],
    SAMPLE: ["", "[]", "{}", '{"evaluations": 3}', '{"evaluations": [{}], "left_out": {}}'],
    PARAMS: ["[", "3", "settings: {pgd: {steps: x}}", "profile: other", "pgd: {}", "a: 1\na: 2",
             "settings: {extra_models: [nothing]}"],
}  # fmt: skip


@pytest.fixture
def site(tmp_path):
    """The root of a book with one small edition that has one of everything."""
    root = tmp_path / "root"
    root.mkdir()
    executed = mini_book(root)
    edition = root / PUBLISHED / "cpu"
    shutil.move(executed, edition / "seed0" / "executed")
    notebook = nbformat.read(edition / NOTEBOOK, as_version=4)
    notebook.metadata["papermill"] = {"parameters": {"profile": "cpu", "seed": 0}}
    nbformat.write(notebook, edition / NOTEBOOK)
    records.write_json(edition / TABLES, TABLE)
    about = {"name": "resnet18-standard", "inputs": {}, "weights": {"best": "x"}, "seconds": 1.0}
    records.write_json(edition / MODEL, about)
    frame, told = pd.DataFrame({"image": range(3)}), {"evaluation": "clean", "seconds": 1.0}
    records.write_record(edition / RECORD, frame, told)
    (edition / ERRATA).write_text("- {pages: [01_one], text: The noise was wrong.}\n")
    made = {"device": "CPU", "revision": "abc", "date": "2025-07-01"}
    sample = {"evaluations": [], "training": None, "left_out": {}, "provenance": made}
    records.write_json(edition / SAMPLE, sample)
    (edition / PARAMS).write_text(settings.dump(settings.load("cpu")))
    return root


def staged(site, folder):
    """Lay the sources of the book: all of a build but Sphinx."""
    shown = site / PUBLISHED / "cpu" / "seed0" / "executed"
    build.stage(shown, folder, root=site)


def test_a_whole_edition_and_stray_files_are_no_obstacle(site, tmp_path):
    staged(site, tmp_path / "before")
    edition = site / PUBLISHED / "cpu"
    for stray in ("notes.txt", "seed0/notes.txt", "seed0/models/notes.txt", "seedling/notes.txt",
                  "seed0/records/notes.txt", "seed0/tables/notes.txt", "seed0/executed/notes.txt",
                  "../notes.txt", ".new-cpu-x/seed0/notes.txt"):  # fmt: skip
        (edition / stray).parent.mkdir(parents=True, exist_ok=True)
        (edition / stray).write_text("mine")
    staged(site, tmp_path / "after")
    before, after = (tmp_path / name for name in ("before", "after"))
    names = [{path.relative_to(each) for path in contents(each)} for each in (before, after)]
    assert names[0] == names[1]
    assert (before / "intro.md").read_text() == (after / "intro.md").read_text()


@pytest.mark.parametrize("damaged", DAMAGE)
def test_a_damaged_file_is_named_with_the_reason_and_the_way_out(site, tmp_path, tally, damaged):
    count, path = tally("refused: published editions"), site / PUBLISHED / "cpu" / damaged
    whole = path.read_bytes()
    cut = whole[: len(whole) // 2] if damaged != PARAMS else b"profile: ["
    for number, content in enumerate([*map(str.encode, DAMAGE[damaged]), cut, b"\xff\xfe"]):
        path.write_bytes(content)
        stage = functools.partial(staged, site, tmp_path / "elsewhere" / str(number))
        refused(stage, names=[path.name], wrote=site)
        count.add(f"{damaged}: {content[:30]!r}")
    path.unlink()
    path.mkdir()
    refused(lambda: staged(site, tmp_path / "folder"), names=[path.name], wrote=site)
    count.add(f"{damaged}: a folder")


def test_the_command_says_it_in_words(site, capsys, monkeypatch):
    monkeypatch.chdir(site)
    (site / PUBLISHED / "cpu" / TABLES).write_text(json.dumps(TABLE)[:-9])
    before = contents(site)
    assert main(["site"]) == 1
    said = capsys.readouterr().err
    assert "table1.json" in said and "damaged" in said and "Traceback" not in said
    assert contents(site) == before
    records.write_json(site / PUBLISHED / "cpu" / TABLES, TABLE)
    (site / "_toc.yml").write_text("root: intro\nroot: other\n")
    assert main(["site"]) == 1
    assert "_toc.yml" in (said := capsys.readouterr().err) and "stands twice" in said
