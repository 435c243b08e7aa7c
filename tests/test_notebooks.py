"""What every source notebook has to keep; nbval and the records check what they compute."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from book import BookError, notebooks
from book.__main__ import main
from rslib import notebook, settings
from rslib.report.table import identity
from rslib.settings import PROJECT, SettingsError

SOURCES = sorted((PROJECT / "notebooks").glob("*.ipynb"))
DEFAULTS = {"profile": "smoke", "settings": {}, "seed": 0, "seeds": []}


def code(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


@pytest.fixture(params=SOURCES, ids=lambda path: path.stem)
def source(request):
    return request.param


def test_there_are_notebooks():
    assert len(SOURCES) >= 4


def test_the_parameters_cell_is_the_agreed_one(source):
    cells = [c for c in code(source) if "parameters" in c.metadata.get("tags", [])]
    assert len(cells) == 1
    # Only what installs the project on Colab may stand before it.
    assert cells[0] == next(c for c in code(source) if "colab" not in c.metadata.get("tags", []))
    found = {}
    for statement in ast.parse(cells[0].source).body:
        found[statement.targets[0].id] = ast.literal_eval(statement.value)
    assert found == DEFAULTS
    assert tuple(found) == notebook.PARAMETERS


def test_the_parameters_are_what_a_profile_file_holds():
    for path in settings.profiles().values():
        import yaml

        assert set(yaml.safe_load(path.read_text())) <= set(notebook.PARAMETERS)


def test_the_next_cell_starts_the_run(source):
    assert "notebook.start(profile, settings, seed, seeds)" in code(source)[1].source


def test_notebooks_are_thin(source):
    cells = code(source)
    assert len(cells) <= 22
    assert sum(len(c.source.splitlines()) for c in cells) <= 160
    for cell in cells:
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef, ast.Lambda}


def sentences(source):
    """Yield what a cell makes of words, which belongs in :mod:`rslib.report.prose`.

    Text that depends on a condition; text with numbers put into it, and whole sentences, unless
    they are printed.
    """
    tree = ast.parse(source)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printed = {
        inner
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "print"
        for inner in ast.walk(call)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp):
            parts = [node.body, node.orelse]
        elif isinstance(node, ast.BoolOp):
            parts = node.values
        else:
            parts = []
        if any(_is_text(part) for part in parts):
            yield ast.unparse(node)
        if node in printed:
            continue
        if isinstance(node, ast.JoinedStr):
            words = " ".join(part.value for part in node.values if isinstance(part, ast.Constant))
            if len(re.findall(r"[A-Za-z]{2,}", words)) >= 3:
                yield ast.unparse(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if len(node.value.split()) >= 5:
                yield node.value


def _is_text(node):
    """Whether a node is a string with letters in it."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    texts = [part.value for part in parts if isinstance(part, ast.Constant)]
    return any(isinstance(text, str) and re.search("[A-Za-z]", text) for text in texts)


def test_sentences_are_made_elsewhere(source):
    found = {cell.id: list(sentences(cell.source)) for cell in code(source)}
    assert not any(found.values()), found


@pytest.mark.parametrize(
    "cell",
    [
        '"passed" if good else "flagged"',
        '", ".join(found) or "none of them"',
        'f"It gains {gain:.1f} points of accuracy."',
        'text = "People are not asked in this run."',
    ],
)
def test_a_cell_that_makes_sentences_is_found(cell):
    assert list(sentences(cell))


def test_a_cell_may_print_facts_and_name_things():
    facts = 'print(f"{n} checks of the arithmetic, {wrong} contradictions")'
    assert not list(sentences(f'{facts}\ntables.save(run, f"overlap_{{kind}}", frame)'))


def test_numbers_are_shown_where_there_is_no_book(source):
    texts = [c for c in nbformat.read(source, as_version=4).cells if c.cell_type == "markdown"]
    assert not [cell.id for cell in texts if "{glue" in cell.source]


def test_values_are_stored_for_pages_that_cite_them_alone(source):
    pages = "".join(path.read_text() for path in (PROJECT / "book" / "pages").glob("*.md"))
    glues = any("notebook.glue(" in cell.source for cell in code(source))
    assert glues == (f"{{glue:text}}`{source.name}::" in pages)


def test_sentences_are_shown_without_their_code(source):
    for cell in code(source):
        if cell.source.splitlines()[-1].startswith("notebook.say("):
            known = "tables.save(" in cell.source or "remove-input" in cell.metadata["tags"]
            assert known


def test_what_is_said_names_the_tables_it_is_of(monkeypatch):
    stored = {}
    monkeypatch.setattr("rslib.report.glued.put", stored.__setitem__)
    table = pd.DataFrame()
    table.attrs = {"table": "table9", "settings": "key", "sources": []}
    shown = notebook.say("**Three** of 4.", table)
    assert shown.data == "**Three** of 4." and "**Three** of 4." in str(shown._repr_markdown_())
    assert stored == {"table9_made_of": repr(identity(table.attrs))}


def test_sources_hold_only_checked_outputs(source):
    assert list(notebooks.complaints(source)) == []


def test_every_picture_has_a_caption_and_a_description(source):
    for cell in code(source):
        if "figures." in cell.source and "import" not in cell.source:
            shown = cell.metadata["mystnb"]
            assert len(shown["image"]["alt"]) > 40
            assert shown["figure"]["name"].startswith("fig-")
            assert len(shown["figure"]["caption"]) > 40


def test_labels_are_unique():
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for path in SOURCES
        for cell in code(path)
        if "mystnb" in cell.metadata
    ]
    assert len(names) == len(set(names))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "profile smoke, data shapes, seed 0"),
        (["-p", "profile", "cpu", "-p", "seed", "3"], "profile cpu, data cifar10, seed 3"),
        (["-f", str(PROJECT / "params" / "paper.yaml")], "profile paper, data cifar10, seed 0"),
        (["-y", "{settings: {data: {name: cifar10}}}"], "profile smoke, data cifar10, seed 0"),
        (["-y", "{seeds: [0, 1, 2]}"], "profile smoke, data shapes, seed 0 of seeds 0, 1, 2"),
    ],
    ids=["none", "-p", "-f", "-y", "seeds"],
)
def test_papermill_takes_parameters_in_every_form(tmp_path, options, said):
    opening = nbformat.read(SOURCES[0], as_version=4)
    starts = [cell for cell in opening.cells if cell.cell_type == "code"][:2]
    opening.cells = starts
    nbformat.write(opening, tmp_path / "opening.ipynb")
    command = [sys.executable, "-m", "papermill", "opening.ipynb", "out.ipynb", *options]
    ran = subprocess.run(
        [*command, "--no-progress-bar"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ran.returncode == 0, ran.stderr
    last = code(tmp_path / "out.ipynb")[-1]
    assert last.outputs[0]["text"].startswith(said)


@pytest.mark.slow
def test_a_mistyped_parameter_stops_papermill_and_names_the_nearest(tmp_path):
    (path,) = (p for p in SOURCES if p.name.startswith("06_"))
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb")]
    ran = subprocess.run(
        [*command, "-p", "profle", "smoke", "--no-progress-bar"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode != 0
    assert "no parameter 'profle'; did you mean 'profile'?" in ran.stderr


@pytest.mark.slow
def test_a_bad_setting_stops_papermill_and_names_the_nearest(tmp_path):
    (path,) = (p for p in SOURCES if p.name.startswith("07_"))
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb")]
    ran = subprocess.run(
        [*command, "-y", "{settings: {pgd: {stesp: 50}}}", "--no-progress-bar"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert ran.returncode != 0
    assert "pgd.stesp: no such setting (given 50); did you mean 'steps'?" in ran.stderr


def test_injected_names_are_read_from_papermills_cell(monkeypatch):
    class Shell:
        user_ns = {"In": ["", "profile = 1", "# Parameters\nprofle = 'x'\nseed = 1\n", "x = 2"]}

    monkeypatch.setattr("IPython.get_ipython", lambda: Shell)
    assert notebook._injected_names() == ["profle", "seed"]
    with pytest.raises(SettingsError, match="did you mean 'profile'"):
        notebook.start("smoke")


def executed_copy(tmp_path, text, outputs):
    cell = nbformat.v4.new_code_cell(text, execution_count=3, outputs=outputs)
    path = tmp_path / "executed" / "n.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    return path


def test_mending_keeps_checked_outputs_and_clears_the_rest(tmp_path):
    pieces = [nbformat.v4.new_output("stream", text=text) for text in ("1", "\n")]
    stream = nbformat.v4.new_output("stream", text="1\n")
    checked = f"# {notebooks.CHECKED}\nprint(1)"
    source = tmp_path / "n.ipynb"
    cells = [
        nbformat.v4.new_code_cell(checked),
        nbformat.v4.new_code_cell("print(2)", execution_count=1, outputs=[stream]),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
    assert len(list(notebooks.complaints(source))) == 3
    notebooks.mend(source, executed_copy(tmp_path, checked, pieces))
    assert list(notebooks.complaints(source)) == []
    assert [cell.outputs for cell in code(source)] == [[stream], []]
    assert [cell.execution_count for cell in code(source)] == [1, None]
    with pytest.raises(BookError, match="is not as in"):
        notebooks.mend(source, executed_copy(tmp_path, checked + "  # edited", [stream]))


def test_a_dirty_notebook_is_refused(tmp_path, capsys):
    source = tmp_path / "n.ipynb"
    cell = nbformat.v4.new_code_cell("print(2)", execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    assert main(["check-notebooks", str(source)]) == 1
    assert "has an execution count" in capsys.readouterr().err


def test_paths_of_the_machine_stay_out_of_sources(source):
    text = Path(source).read_text()
    assert "/home/" not in text
    assert "/root/" not in text
