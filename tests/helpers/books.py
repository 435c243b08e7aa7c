"""Notebooks and books of a few lines, for the tests of what runs and builds them."""

import shutil
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from book import sample
from rslib.settings import PROJECT


def write_notebook(path: Path, *sources: str, executed: bool = False) -> Path:
    """A notebook with a title, a parameters cell and the given code cells."""
    parameters = new_code_cell('profile = "smoke"\nsettings = {}\nseed = 0')
    parameters.metadata["tags"] = ["parameters"]
    code = [parameters, *map(new_code_cell, sources)]
    for count, cell in enumerate(code, start=1):
        cell.execution_count = count if executed else None
    notebook = new_notebook(
        cells=[new_markdown_cell(f"# {path.stem}\n\n$\\epsilon = 8/255$"), *code]
    )
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def mini_book(root: Path) -> Path:
    """A book of one page and one notebook in `root`; returns the folder of executed notebooks."""
    shutil.copytree(PROJECT / "book" / "_static", root / "book" / "_static")
    shutil.copy(PROJECT / "_config.yml", root)
    shutil.copy(PROJECT / "book" / "references.bib", root / "book")
    (root / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n  - file: 01_one\n")
    (root / "book" / "pages").mkdir()
    (root / "book" / "pages" / "intro.md").write_text(
        "# Intro\n\n$$a^2 = b$$\n\n{cite}`madry2017`\n\n```{bibliography}\n```\n"
    )
    executed = root / "runs" / "executed"
    write_notebook(executed / "01_one.ipynb", "answer = 42", executed=True)
    return executed


def nothing_again(monkeypatch):
    """Have runs published of which nothing could be made again, such as those of stand-in files."""
    provenance = {"device": "CPU", "revision": "abc", "date": "2025-07-01"}
    made = sample.Sample((), None, {"training": "a stand-in"}, provenance)
    monkeypatch.setattr(sample, "make", lambda edition, training: made)
