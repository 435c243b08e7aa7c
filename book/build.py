"""Build the HTML book: stage the pages and executed notebooks, and have Sphinx render them.

Sphinx executes nothing: it renders what papermill has run, and anything else is refused.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from base64 import b64decode
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import yaml

from book import BookError, comparison, editions, relabel, swap
from book.editions import Edition
from book.execute import FAILED, code_cells, problems
from rslib.run.published import PUBLISHED
from rslib.settings import SettingsError, read_yaml

PAGES = Path("book/pages")
# The API page is made from the package itself, which needs what the package needs.
NO_API = "# API\n\nThis copy was built without PyTorch. `make site` builds it with this page.\n"
GENERATED = "generated"  # folder of the pages' parts that are made when the book is staged


def pages(toc: Path) -> list[str]:
    """The pages of the book in reading order: every `file` (and the root) of a `_toc.yml`."""

    def walk(node: object) -> Iterable[str]:
        if isinstance(node, dict):
            for key, value in node.items():
                if key in ("root", "file"):
                    yield value
                else:
                    yield from walk(value)
        elif isinstance(node, list):
            for item in node:
                yield from walk(item)

    return list(walk(_yaml(toc)))


def _yaml(path: Path) -> Any:
    """A YAML file of the book's; BookError of one that cannot be read, by its name."""
    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError, SettingsError) as error:
        raise BookError(f"{path} cannot be read: {error}: take it from the repository") from None


def stage(
    executed: Path, destination: Path, *, beside: Sequence[Path] = (), root: Path = Path()
) -> list[Path]:
    """Lay the book's sources in one folder, so that page addresses do not depend on the run.

    Pages and the notebooks of the edition shown lie flat; those of others each in a folder named
    after their edition. Every page gets a line that says which edition it shows
    (:meth:`book.editions.Edition.line`), and the table of contents, ``_toc.yml``, a part for each
    other edition.

    Args:
        executed: folder with the executed notebooks of one profile and seed.
        destination: folder to make; must not exist.
        beside: the same of other editions, to be shown below.
        root: folder holding `_toc.yml` and `book/`.

    Returns:
        The pages staged, in reading order.

    Raises:
        BookError: a page is missing, or failed, or was not run to its end, or an edition's
            notebooks, tables and records are not of one run; all are listed.
    """
    shown, *others = (editions.opened(folder) for folder in (executed, *beside))
    destination.mkdir(parents=True)
    staged, refused = [], []
    for page in pages(root / "_toc.yml"):
        text = _text(page, root)
        if page == "api" and find_spec("torch") is None:
            (destination / "api.md").write_text(NO_API)
        elif text.exists():
            staged.append(_put(text, destination / f"{page}.md", shown))
        else:
            staged += _stage_notebook(page, shown, destination, refused)
    refused += _draw_shown(staged, destination)
    for edition in others:
        folder = destination / edition.name
        folder.mkdir()
        for page in (page for page in pages(root / "_toc.yml") if not _text(page, root).exists()):
            staged += _stage_notebook(page, edition, folder, refused)
        relabel.notebooks(folder, prefix=edition.name)
    for edition in (shown, *others):
        is_published = root.resolve() / PUBLISHED in edition.executed.resolve().parents
        refused += edition.disagreements(revisions=is_published)
    if refused:
        raise BookError("the book is not built:\n  " + "\n  ".join(refused) + published_hint(root))
    (destination / GENERATED).mkdir()
    (destination / GENERATED / "editions.md").write_text(comparison.page([shown, *others]))
    (destination / "_toc.yml").write_text(_contents(root / "_toc.yml", others))
    for extra in ("references.bib", "_static"):
        source = root / "book" / extra
        if source.is_dir():
            shutil.copytree(source, destination / extra)
        elif source.exists():
            shutil.copy(source, destination)
    return staged


def _stage_notebook(
    page: str, edition: Edition, folder: Path, refused: list[str]
) -> Iterable[Path]:
    """Put one notebook of an edition into a folder; what keeps it out of the book is noted."""
    notebook = edition.executed / f"{page}.ipynb"
    failed = notebook.with_suffix(FAILED)
    if notebook.exists():
        found = problems(notebook)
        refused += [f"{notebook}: {problem}" for problem in found]
        if not found:
            yield _put(notebook, folder / notebook.name, edition)
    elif failed.exists():
        refused += [f"{failed}: {problem}" for problem in problems(failed)]
    else:
        refused.append(f"{notebook}: missing: it has not been run")


def _put(source: Path, target: Path, edition: Edition) -> Path:
    """Copy a page, with the line on its edition below the title."""
    if source.suffix != ".ipynb":
        text = source.read_text().replace("](../_static/", "](_static/")  # beside it here
        target.write_text(_stamped(text, edition.line(), ""))
        return target
    notebook = nbformat.read(source, as_version=4)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    if texts:
        told = edition.line(source.stem), edition.warning(source.stem)
        texts[0].source = _stamped(texts[0].source, *told)
        cite = f":::{{dropdown}} Cite this page\n```bibtex\n{edition.citation()}\n```\n:::"
        notebook.cells.append(nbformat.v4.new_markdown_cell(cite))
    nbformat.write(notebook, target)
    return target


def _stamped(text: str, line: str, warning: str) -> str:
    """A page's text with a line of its own, and a warning or none, below the first heading."""
    block = f"\n\n:::{{div}} rslib-edition\n{line}\n:::\n\n{warning}".rstrip("\n") + "\n"
    return re.sub(r"^# .*$", lambda title: title[0] + block, text, count=1, flags=re.MULTILINE)


def _contents(toc: Path, others: Sequence[Edition]) -> str:
    """The table of contents with a part for each edition that is not the one shown first."""
    found = _yaml(toc)
    names = [page for page in pages(toc) if not _text(page, toc.parent).exists()]
    for edition in others:
        chapters = [{"file": f"{edition.name}/{name}"} for name in names]
        found["parts"].append({"caption": f"Edition {edition.name}", "chapters": chapters})
    return yaml.safe_dump(found, sort_keys=False)


def _draw_shown(staged: Sequence[Path], destination: Path) -> list[str]:
    """Write the notebooks' figures that text pages show, as ``figures/<name>.png``.

    MyST-NB pastes numbers across pages, but not figures with captions.

    Returns:
        One line for each figure that no notebook has made.
    """
    made = {}
    for notebook in (path for path in staged if path.suffix == ".ipynb"):
        for _, cell in code_cells(notebook):
            name = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
            pictures = [
                out.data["image/png"] for out in cell.outputs if "image/png" in out.get("data", {})
            ]
            if name and pictures:
                made[name] = pictures[-1]
    missing = []
    for page in (path for path in staged if path.suffix == ".md"):
        for name in re.findall(r"figures/([\w-]+)\.png", page.read_text()):
            if name in made:
                (destination / "figures").mkdir(exist_ok=True)
                (destination / "figures" / f"{name}.png").write_bytes(b64decode(made[name]))
            else:
                missing.append(f"{page.name} shows the figure {name}, which no notebook has made")
    return missing


def _text(page: str, root: Path) -> Path:
    if page == "changelog":
        return root / "CHANGELOG.md"  # readers of the repository look for it at the top
    return root / PAGES / f"{page}.md"


def published_hint(root: Path) -> str:
    """What to do where there are no notebooks to show: run them, or take a published run."""
    runs = sorted(path.parent for path in (root / PUBLISHED).glob("*/seed*/executed"))
    names = ", ".join(f"{run.parent.name} {run.name}" for run in runs) or "none"
    return f"\nRun the notebooks first (make book PROFILE=…). Published runs: {names}."


def build(executed: Path, *beside: Path, root: Path = Path(), builder: str = "html") -> Path:
    """Build the HTML book in a folder of its own; any warning of Sphinx's is an error.

    A second build over an old one would pass in silence, hence the clean start. What `_build` holds
    is replaced only once the new book is accepted.

    Args:
        executed: folder with the executed notebooks of one profile and seed.
        *beside: the same of other editions, to be shown below.
        root: folder holding `_config.yml`, `_toc.yml` and `book/`; `_build` is made in it.
        builder: Sphinx's; `singlehtml` puts all pages in one.

    Returns:
        The path of `index.html`.

    Raises:
        BookError: a notebook is missing or incomplete, an edition is mixed, or Sphinx complained.
    """
    root = root.resolve()
    made = root / "_build" / builder
    with tempfile.TemporaryDirectory(prefix="rslib-") as scratch:
        source = Path(scratch, "source")
        stage(executed, source, beside=beside, root=root)
        _render(source, Path(scratch), builder, root)
        with swap.replacing(made) as new:
            shutil.copytree(Path(scratch, "_build", builder), new, dirs_exist_ok=True)
    return made / "index.html"


def _render(source: Path, place: Path, builder: str, root: Path) -> None:
    """Have Sphinx make ``place/_build/<builder>`` of staged pages; BookError if it complains."""
    # The API page shows this package, which is not installed.
    places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [
        *(Path(sys.executable).with_name("jupyter-book"), "build", source),
        *("--config", root / "_config.yml", "--toc", source / "_toc.yml", "--path-output", place),
        *("--builder", builder, "-W", "--keep-going", "-n", "-q"),
    ]
    finished = subprocess.run(
        [str(part) for part in command], cwd=root, env=environment, check=False
    )
    if finished.returncode or not (place / "_build" / builder / "index.html").exists():
        raise BookError("Sphinx refuses the book: see its warnings above")


def site(profiles: Sequence[str] = (), *, root: Path = Path(), builder: str = "html") -> Path:
    """Build the HTML book from what is published, running nothing.

    Args:
        profiles: the editions to show; all by default, the best one first
            (:data:`book.editions.ORDER`).
        root: as of :func:`build`.
        builder: as of :func:`build`.

    Returns:
        The path of `index.html`.

    Raises:
        BookError: nothing, or not all that was asked for, is published, or the book is refused.
    """
    swap.recover_all(root / PUBLISHED)
    found = editions.published(root / PUBLISHED, profiles)
    missing = sorted({*profiles} - {each.folder.parent.name for each in found})
    if missing or not found:
        what = f"no edition {' or '.join(missing)}" if missing else "no edition"
        raise BookError(f"{what} is published in {root / PUBLISHED}.{published_hint(root)}")
    return build(*(each.executed for each in found), root=root, builder=builder)
