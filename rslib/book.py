"""From notebooks to a book: run one, check it, stage the pages, build the HTML, publish a run.

    python -m rslib.book run notebooks/06_x.ipynb OUT.ipynb --profile cpu --seed 0
    python -m rslib.book errors runs/cpu
    python -m rslib.book build runs/cpu/seed0/executed
    python -m rslib.book site
    python -m rslib.book keep wide
    python -m rslib.book publish cpu
    python -m rslib.book restore cpu

Sphinx executes nothing: it renders what papermill has run, and refuses anything else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rslib import errata, progress

if TYPE_CHECKING:
    from tqdm import tqdm

    from rslib.editions import Edition
    from rslib.sampling import Sample

ANSI = re.compile(r"\x1b\[[0-9;]*m")
FAILED = ".failed.ipynb"  # a notebook as far as it got before a cell raised
RUNNING = ".running.ipynb"  # a notebook in progress; left behind only by a killed run
PUBLISHED = Path("book/published")
GENERATED = "generated"  # folder of the pages' parts that are made when the book is staged
MAX_WEIGHTS = 25_000_000  # bytes of a weights file that may go into the repository
MAX_ALL_WEIGHTS = 100_000_000  # of all those of an edition together
MAX_EDITION = 30_000_000  # bytes of a published run beside its weights


class BookError(Exception):
    """A run or a build that cannot go on; the message says which notebook, which cell, and why."""


# --- running one notebook ---------------------------------------------------------------------


def run(source: Path, output: Path, *, profile: str, seed: int, seeds: Sequence[int] = ()) -> None:
    """Execute one notebook; `output` appears only if every cell passed.

    The kernel talks over sockets in a folder of its own rather than over TCP ports, so notebooks
    running side by side cannot collide.

    Args:
        source: notebook with a `parameters` cell holding `profile` and `seed`.
        output: where the executed copy goes. After a failure it does not exist, and
            `<output>.failed.ipynb` holds the notebook as far as it got.
        profile: name of a file in params/, or a path to one.
        seed: the run's seed.
        seeds: all that its tables and figures speak of; without any, this seed alone.

    Raises:
        BookError: what is asked for cannot be, which is found before anything is written; or a cell
            raised: the message is then the cell's own error.
    """
    _refuse(source, output, profile, seed)
    import nbformat
    import papermill
    from traitlets.config import Config

    failed, running = output.with_suffix(FAILED), output.with_suffix(RUNNING)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BookError(f"{output.parent} cannot be made ({error}): name another output") from None
    failed.unlink(missing_ok=True)
    live = sys.stderr.isatty()
    told = contextlib.nullcontext() if live else progress.shown()
    beside = {"seeds": list(seeds)} if seeds else {}
    started = time.monotonic()
    with told, tempfile.TemporaryDirectory(prefix="rslib-") as sockets:
        transport = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        try:
            notebook = papermill.execute_notebook(
                str(source),
                str(running),
                parameters={"profile": profile, "seed": seed, **beside},
                kernel_name="python3",
                progress_bar=False,
                iopub_timeout=120,  # on a busy machine a kernel may be silent for longer than 4 s
                stderr_file=sys.stderr if live else None,  # the training bars, as they move
                config=Config({"KernelManager": transport}),
            )
        except OSError as error:
            raise _unwritten(output, error) from error
        except Exception as error:
            if running.exists():
                running.replace(failed)
            detail = _errors(failed) if failed.exists() else []
            raise BookError("\n\n".join(detail) or f"{source}: {error}") from error
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = _slimmer(_without_progress(cell.outputs))
    notebook.metadata.papermill.output_path = output.name  # not where on this machine
    try:
        nbformat.write(notebook, running)
        with open(running, "rb+") as file:
            os.fsync(file.fileno())
        running.replace(output)
    except OSError as error:
        raise _unwritten(output, error) from error
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    seconds = time.monotonic() - started
    print(f"{source.stem} ({profile}, seed {seed}): {cells} cells in {seconds:.0f} s", flush=True)


def _unwritten(output: Path, error: OSError) -> BookError:
    """What to tell of a notebook that there is no room for; what there is of it goes."""
    from rslib.records import way_out

    output.with_suffix(RUNNING).unlink(missing_ok=True)
    return BookError(f"cannot write {output}: {error.strerror}. {way_out(error)}")


def _refuse(source: Path, output: Path, profile: str, seed: int) -> None:
    """Raise BookError for what would fail in the notebook, or at its end, before it is started."""
    from rslib.settings import SettingsError, read_profile

    if output.is_dir() or output.resolve() == source.resolve():
        what = "a folder" if output.is_dir() else "the notebook itself"
        raise BookError(f"the output {output} is {what}: name another file")
    if seed < 0:
        raise BookError(f"seed {seed} must be a whole number from 0: give another")
    try:
        read_profile(profile)
    except SettingsError as error:
        raise BookError(str(error)) from None
    _code_cells(source)


def _without_progress(outputs: list[dict]) -> list[dict]:
    """Drop what a terminal would have overwritten: a progress bar is kept as its last state.

    Args:
        outputs: of one cell; neighboring pieces of its standard error belong together.

    Returns:
        The outputs, with standard error joined and reduced to the lines that would remain.
    """
    kept: list[dict] = []
    for output in outputs:
        joins = kept and output.get("name") == "stderr" == kept[-1].get("name")
        if joins:
            kept[-1] = {**kept[-1], "text": kept[-1]["text"] + output["text"]}
        else:
            kept.append(output)
    for place, output in enumerate(kept):
        if output.get("name") == "stderr":
            lines = output["text"].replace("\r\n", "\n").split("\n")
            remain = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
            text = "\n".join(line for line in remain if line.strip())
            kept[place] = type(outputs[0])({**output, "text": text + "\n" * bool(text)})
    return [output for output in kept if output.get("name") != "stderr" or output["text"]]


def _slimmer(outputs: list[dict]) -> list[dict]:
    """The outputs of one cell with their pictures in fewer bytes."""
    from rslib.png import slim

    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            data["image/png"] = b64encode(slim(b64decode(data["image/png"]))).decode() + "\n"
    return outputs


# --- judging an executed notebook --------------------------------------------------------------


def problems(path: Path) -> list[str]:
    """What keeps an executed notebook out of the book: cells that failed or never ran.

    Args:
        path: an executed notebook.

    Returns:
        One line per problem, naming the cell (code cells are counted from 1); empty if complete.
    """
    found = []
    for number, cell in _code_cells(path):
        error = _error_output(cell)
        if error:
            found.append(f"code cell {number} failed: {error['ename']}: {error['evalue']}")
        elif cell.get("execution_count") is None and "".join(cell.source).strip():
            found.append(f"code cell {number} was not run: {_first_line(cell.source)}")
    return found


def failures(folder: Path) -> list[str]:
    """The errors of all notebooks under a folder whose last run failed, each with its traceback."""
    return [text for path in sorted(folder.rglob(f"*{FAILED}")) for text in _errors(path)]


def _errors(path: Path) -> list[str]:
    name = path.name.removesuffix(FAILED)
    found = []
    for number, cell in _code_cells(path):
        error = _error_output(cell)
        if error:
            traceback = ANSI.sub("", "\n".join(error["traceback"])) or error["evalue"]
            found.append(
                f"{name}: code cell {number} failed; the notebook so far: {path}\n{traceback}"
            )
    return found


def _code_cells(path: Path) -> Iterable[tuple[int, dict]]:
    import nbformat

    invalid: dict[str, Exception] = {}
    try:
        cells = nbformat.read(path, as_version=4, capture_validation_error=invalid).cells
    # What is no notebook fails in as many ways as there are other files.
    except Exception as error:
        raise BookError(f"{path} is not a notebook ({_told(error)}): {_MEND}") from None
    for error in invalid.values():
        raise BookError(f"{path} is not a valid notebook ({_told(error)}): {_MEND}")
    return list(enumerate((cell for cell in cells if cell.cell_type == "code"), start=1))


_MEND = "name one that is, or run it again"


def _told(error: Exception) -> str:
    return _first_line(str(error) or type(error).__name__)


def _error_output(cell: dict) -> dict | None:
    if "raises-exception" in cell.metadata.get("tags", []):
        return None  # the cell is there to show the error
    return next((out for out in cell.outputs if out.output_type == "error"), None)


def _first_line(source: str) -> str:
    return source.strip().splitlines()[0][:80]


# --- the book ----------------------------------------------------------------------------------


def pages(toc: Path) -> list[str]:
    """The pages of the book in reading order: every `file` (and the root) of a `_toc.yml`."""
    import yaml

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

    return list(walk(yaml.safe_load(toc.read_text())))


def stage(
    executed: Path, destination: Path, *, beside: Sequence[Path] = (), root: Path = Path()
) -> list[Path]:
    """Lay the book's sources in one folder, so that page addresses do not depend on the run.

    Pages and the notebooks of the edition shown lie flat; those of others each in a folder named
    after their edition. Every page gets a line that says which edition it shows
    (:meth:`rslib.editions.Edition.line`), and the table of contents, ``_toc.yml``, a part for each
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
    from rslib import comparison, relabel

    shown, *others = (_edition(folder) for folder in (executed, *beside))
    destination.mkdir(parents=True)
    staged, refused = [], []
    for page in pages(root / "_toc.yml"):
        text = _text(page, root)
        if text.exists():
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
        raise BookError("the book is not built:\n  " + "\n  ".join(refused) + _published_hint(root))
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


def _edition(executed: Path) -> Edition:
    """A folder of executed notebooks as an edition whose parts can be read."""
    from rslib.editions import Edition
    from rslib.records import RecordError

    found = Edition(executed)
    try:
        found.accounts, found.tables, found.errata  # noqa: B018  (read once, and kept)
    except RecordError as error:
        raise BookError(str(error)) from None
    return found


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
    import nbformat

    if source.suffix != ".ipynb":
        target.write_text(_stamped(source.read_text(), edition.line(), ""))
        return target
    notebook = nbformat.read(source, as_version=4)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    if texts:
        told = edition.line(source.stem), edition.warning(source.stem)
        texts[0].source = _stamped(texts[0].source, *told)
    nbformat.write(notebook, target)
    return target


def _stamped(text: str, line: str, warning: str) -> str:
    """A page's text with a line of its own, and a warning or none, below the first heading."""
    block = f"\n\n:::{{div}} rslib-edition\n{line}\n:::\n\n{warning}".rstrip("\n") + "\n"
    return re.sub(r"^# .*$", lambda title: title[0] + block, text, count=1, flags=re.MULTILINE)


def _contents(toc: Path, others: Sequence[Edition]) -> str:
    """The table of contents with a part for each edition that is not the one shown first."""
    import yaml

    found = yaml.safe_load(toc.read_text())
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
        for _, cell in _code_cells(notebook):
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
    return root / "book" / f"{page}.md"


def _published_hint(root: Path) -> str:
    runs = sorted(path.parent for path in (root / PUBLISHED).glob("*/seed*/executed"))
    names = ", ".join(f"{run.parent.name} {run.name}" for run in runs) or "none"
    return f"\nRun the notebooks first (make book PROFILE=…). Published runs: {names}."


def build(executed: Path, *beside: Path, root: Path = Path()) -> Path:
    """Build the HTML book on a clean `_build`; any warning of Sphinx's is an error.

    A second build over an old one would pass in silence, hence the clean start.

    Args:
        executed: folder with the executed notebooks of one profile and seed.
        *beside: the same of other editions, to be shown below.
        root: folder holding `_config.yml`, `_toc.yml` and `book/`; `_build` is made in it.

    Returns:
        The path of `index.html`.

    Raises:
        BookError: a notebook is missing or incomplete, an edition is mixed, or Sphinx complained.
    """
    root = root.resolve()
    source = root / "_build" / "source"
    # What is built already goes only once the new book's pages are all there.
    with tempfile.TemporaryDirectory(dir=root, prefix=".new-") as new:
        staged = Path(new, source.name)
        stage(executed, staged, beside=beside, root=root)
        shutil.rmtree(root / "_build", ignore_errors=True)
        source.parent.mkdir()
        staged.replace(source)
    command = [
        *(Path(sys.executable).with_name("jupyter-book"), "build", source),
        *("--config", root / "_config.yml", "--toc", source / "_toc.yml", "--path-output", root),
        *("-W", "--keep-going", "-n", "-q"),
    ]
    finished = subprocess.run([str(part) for part in command], cwd=root, check=False)
    index = root / "_build" / "html" / "index.html"
    if finished.returncode or not index.exists():
        raise BookError("Sphinx refuses the book: see its warnings above")
    return index


def site(profiles: Sequence[str] = (), *, root: Path = Path()) -> Path:
    """Build the HTML book from what is published, running nothing.

    Args:
        profiles: the editions to show; all by default, the best one first
            (:data:`rslib.editions.ORDER`).
        root: as of :func:`build`.

    Returns:
        The path of `index.html`.

    Raises:
        BookError: nothing, or not all that was asked for, is published, or the book is refused.
    """
    from rslib import editions

    found = editions.published(root / PUBLISHED, profiles)
    missing = sorted({*profiles} - {each.executed.parents[1].name for each in found})
    if missing or not found:
        what = f"no edition {' or '.join(missing)}" if missing else "no edition"
        raise BookError(f"{what} is published in {root / PUBLISHED}.{_published_hint(root)}")
    return build(*(each.executed for each in found), root=root)


def finished(profile: str, *, root: Path = Path()) -> Edition:
    """Find a finished run: its first seed under `runs/<profile>` (or `RSLIB_RUNS`).

    Args:
        profile: of the run.
        root: folder holding `runs/`.

    Raises:
        BookError: there is no such run, or one of its notebooks or tables cannot be read.
    """
    from rslib import editions

    folder = _runs(root) / _named(profile)
    found = editions.published(folder.parent, [profile])
    if not found or not any(found[0].executed.glob("*.ipynb")):
        raise BookError(f"{folder} holds no executed notebooks")
    return _edition(found[0].executed)


def publish(profile: str, *, training: bool = True, root: Path = Path()) -> Path:
    """Copy a finished run into the book, once a sample of it that is made again agrees.

    The profile as the run had it goes along (:data:`rslib.editions.PARAMS`), and so does what the
    sample gave (:mod:`rslib.sampling`).

    Args:
        profile: the run's profile. The first seed under `runs/<profile>` (or `RSLIB_RUNS`) is
            copied with its notebooks and tables; of the others that those speak of, what they were
            made from.
        training: whether the sample has a training, too.
        root: folder holding `runs/` and `book/`.

    Returns:
        The folder made, `book/published/<profile>`; an older one is replaced.

    Raises:
        BookError: there is no such run, one of its notebooks is incomplete, they are of several
            revisions of the code, notebooks, tables and records do not belong together, a record
            is damaged or is not what its name says, the run is larger than :data:`MAX_EDITION`, its
            settings are not known, or the sample does not agree.
    """
    from tqdm import tqdm

    from rslib import editions, records, settings

    try:
        edition = finished(profile, root=root)
        refused = [
            f"{path}: {problem}"
            for path in sorted(edition.executed.glob("*.ipynb"))
            for problem in problems(path)
        ]
        refused += edition.disagreements(revisions=True)
        refused += edition.misnamed()
    except (BookError, records.RecordError) as error:
        raise BookError(f"the run is not published:\n  {error}") from None
    run_folder, target = edition.folder.parent, root / PUBLISHED / profile
    if edition.settings is None:
        refused.append(
            f"the settings of {run_folder} are those of no profile there is now: write them to "
            f"{run_folder / editions.PARAMS}, in the form of a profile"
        )
    if refused:
        raise BookError("the run is not published:\n  " + "\n  ".join(refused))
    first = edition.folder
    seeds = dict.fromkeys([first, *(run_folder / f"seed{seed}" for seed in edition.seeds)])
    outdated = edition.outdated()
    if outdated:
        print(f"Left behind: {len(outdated)} models and records of other settings", flush=True)
    weights = _published_weights(seeds, outdated)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as new:
        with tqdm(desc="Publishing", unit=" files") as bar:
            for seed in seeds:
                for part in ("executed", "records", "tables", "models"):
                    shown = seed == first or part in ("records", "models")
                    if shown and (seed / part).is_dir():
                        copy = Path(new, profile, seed.name, part)
                        shutil.copytree(
                            seed / part,
                            copy,
                            ignore=functools.partial(
                                _unpublished, weights=weights, outdated=outdated
                            ),
                            copy_function=functools.partial(_published_copy, bar=bar),
                        )
        Path(new, profile, editions.PARAMS).write_text(settings.dump(edition.settings))
        _refuse_size(Path(new, profile))
        sample = _sampled(edition, training)
        records.write_json(Path(new, profile, editions.SAMPLE), sample.document())
        shutil.rmtree(target, ignore_errors=True)
        Path(new, profile).replace(target)
    return target


def keep(profile: str, *, root: Path = Path()) -> Path:
    """Copy what is finished of a run that still goes on: models, and records of them.

    Another machine goes on from there (:func:`restore`). Without notebooks it is no edition, and
    :func:`site` does not show it; :func:`publish` replaces it by one.

    Args:
        profile: of the run, whose settings are today's; all its seeds are copied.
        root: folder holding `runs/` and `book/`.

    Returns:
        The folder, `book/published/<profile>`. Files that are already there are left as they are.

    Raises:
        BookError: nothing of the run is finished, an edition of the profile is published, or a
            record is damaged.
    """
    from tqdm import tqdm

    from rslib import editions, settings

    run_folder, target = _runs(root) / _named(profile), root / PUBLISHED / profile
    if next(target.glob("*/executed"), None):
        raise BookError(f"{target} holds an edition: make publish replaces it by a finished run")
    chosen = settings.load(profile)
    seeds = sorted(run_folder.glob("seed*"))
    models = [path.parent for seed in seeds for path in seed.glob("models/*/model.json")]
    if not models:
        raise BookError(f"nothing is kept: {run_folder} holds no trained model")
    weights = _published_weights(seeds, set())
    files = [folder / "model.json" for folder in models]
    files += [path for path in weights if path.parent in models]
    files += [path for seed in seeds for path in seed.glob("records/*/*.*") if path.is_file()]
    with tqdm(desc="Keeping", unit=" files") as bar:
        for path in files:
            copy = target / path.relative_to(run_folder)
            if not copy.exists() and not path.name.startswith("."):
                copy.parent.mkdir(parents=True, exist_ok=True)
                _published_copy(str(path), str(copy), bar=bar)
    (target / editions.PARAMS).write_text(settings.dump(chosen))
    return target


def _sampled(edition: Edition, training: bool) -> Sample:
    """A sample made again that agrees; BookError where it does not."""
    from rslib import sampling

    print("Making a sample again:", flush=True)
    try:
        sample = sampling.make(edition, training=training)
    except sampling.SampleError as error:
        raise BookError(f"the run is not published: {error}") from None
    if sample.wrong:
        raise BookError(
            "the run is not published: a sample of it that was made again does not agree. Delete "
            "these records or models and run the notebooks again:\n  " + "\n  ".join(sample.wrong)
        )
    return sample


def _published_copy(source: str, target: str, *, bar: tqdm) -> None:
    """Copy a file of a run that is published; records as small as they get."""
    from rslib import records

    try:
        if source.endswith(".parquet"):
            records.pack(Path(source), Path(target))
        else:
            shutil.copy2(source, target)
    except records.RecordError as error:
        raise BookError(f"the run is not published:\n  {error}") from None
    bar.update()


def size(folder: Path) -> dict[str, int]:
    """The bytes of a published run by part (``records``, ...), weights not counted."""
    found: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            below = path.relative_to(folder).parts
            part = below[1] if len(below) > 1 else "settings and sample"
            found[part] = found.get(part, 0) + path.stat().st_size
    return found


def _refuse_size(folder: Path) -> None:
    parts = size(folder)
    if sum(parts.values()) > MAX_EDITION:
        told = ", ".join(f"{part} {count / 1e6:.1f}" for part, count in sorted(parts.items()))
        raise BookError(
            f"the run is not published: without weights it takes {sum(parts.values()) / 1e6:.1f} "
            f"MB ({told}), and an edition may take {MAX_EDITION / 1e6:.0f}: leave out variants or "
            "seeds in its profile, or evaluate on fewer images"
        )


def _named(profile: str) -> str:
    """A profile's name; BookError for what would lead out of the folders of runs."""
    from rslib.settings import SettingsError, check_name

    try:
        return check_name(profile)
    except SettingsError as error:
        raise BookError(str(error)) from None


def _runs(root: Path) -> Path:
    return root / os.environ.get("RSLIB_RUNS", "runs")


def _side_experiment(folder: Path) -> bool:
    """Whether a model is a variant, a teacher, or of the shortcut experiment.

    These are many, and no other model starts from them; their records and model.json are published.
    """
    if re.search(r"@|-teacher-", folder.name):
        return True
    about = folder / "model.json"
    data = json.loads(about.read_text())["inputs"].get("data", {}) if about.exists() else {}
    return "background_correlation" in data


def _published_weights(seeds: Iterable[Path], outdated: set[Path]) -> set[Path]:
    """The weights that go along: of main models, as many as there is room for.

    Those of the first seed come first, and among them those that scorecards stand beside. What
    there is no room for is told.
    """
    from rslib.saliency_tables import INTERPRETABILITY

    def last(path: Path) -> bool:
        return path.parent.name.rpartition("-")[0] not in INTERPRETABILITY

    found = []
    for seed in seeds:
        paths = sorted((seed / "models").glob("*/best.safetensors"))
        main = [p for p in paths if p.parent not in outdated and not _side_experiment(p.parent)]
        found += sorted(main, key=last)
    kept, room = set(), MAX_ALL_WEIGHTS
    for path in found:
        size = path.stat().st_size
        if size <= MAX_WEIGHTS and size <= room:
            kept.add(path)
            room -= size
        else:
            print(
                f"Not published: the weights in {path.parent}, {size / 1e6:.1f} MB (limits: "
                f"{MAX_WEIGHTS / 1e6:.0f} MB a file, {MAX_ALL_WEIGHTS / 1e6:.0f} MB together)"
            )
    return kept


def _unpublished(
    folder: str, names: list[str], *, weights: set[Path], outdated: set[Path]
) -> set[str]:
    drop = (".lock", ".tmp", FAILED, RUNNING)
    return {
        name
        for name in names
        if name.endswith(drop)
        or name.startswith(".")
        or Path(folder, name) in outdated
        or (name.endswith(".safetensors") and Path(folder, name) not in weights)
    }


def restore(profile: str, *, root: Path = Path()) -> Path:
    """Copy a published run back into the runs' folder, so that notebooks find what it made.

    Where its settings are not those of today's profile, it says how to go on with its own.

    Args:
        profile: of the published run.
        root: folder holding `book/` and `runs/`.

    Returns:
        The run's folder. Files that are already there are left as they are.

    Raises:
        BookError: that profile has not been published, or links lead out of what is published.
    """
    from rslib import editions

    source, target = root / PUBLISHED / _named(profile), _runs(root) / profile
    if not source.is_dir():
        raise BookError(
            f"{source} does not exist: nothing is published for profile {profile!r}; choose a "
            f"published one.{_published_hint(root)}"
        )
    paths = sorted(source.rglob("*"))
    links = [str(path) for path in paths if path.is_symlink()]
    if links:
        raise BookError(f"a published run holds no links: remove {', '.join(links)}")
    for path in paths:
        copy = target / path.relative_to(source)
        shown = "executed" in path.parts or path.name in (errata.FILE, editions.SAMPLE)
        if path.is_file() and not shown and not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    own = target / editions.PARAMS
    if own.exists() and not _same_settings(own, profile):
        print(
            f"params/{profile}.yaml has other settings by now. To go on with those of the edition, "
            f"give their file instead of the name: --profile {own}, or -p profile {own}"
        )
    return target


def _same_settings(own: Path, profile: str) -> bool:
    """Whether an edition's settings are those that its profile has now."""
    from rslib.settings import SettingsError, load

    try:
        return load(str(own)) == load(profile)
    except SettingsError:
        return False


# --- command line ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rslib.book", description="Run, check, build.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "run", help="execute one notebook; the output appears only if it passes"
    )
    one.add_argument("notebook", type=Path, help="the source, such as notebooks/06_….ipynb")
    one.add_argument("output", type=Path, help="where the executed notebook goes")
    one.add_argument("--profile", default="smoke", help="the settings, by name; default: smoke")
    one.add_argument("--seed", type=int, default=0, help="of everything random; default: 0")
    one.add_argument(
        "--seeds", type=int, nargs="*", default=[],
        help="all that tables and figures speak of, this one included; default: this one alone",
    )  # fmt: skip
    errors = commands.add_parser("errors", help="print the errors of the notebooks that failed")
    errors.add_argument("folder", type=Path, help="of a run, such as runs/smoke")
    html = commands.add_parser("build", help="build the HTML book from executed notebooks")
    html.add_argument(
        "executed", type=Path, nargs="+",
        help="folder of executed notebooks, such as runs/smoke/seed0/executed; of several the "
        "first is shown first",
    )  # fmt: skip
    shown = commands.add_parser("site", help="build the HTML book from what is published")
    shown.add_argument("profiles", nargs="*", help="the editions to show; default: all, best first")
    copy = commands.add_parser("publish", help="copy a run to book/published")
    copy.add_argument("profile", help="whose run under runs/ is copied, such as cpu")
    copy.add_argument(
        "--without-training", action="store_true",
        help="repeat no training before, only a sample of the evaluations",
    )  # fmt: skip
    kept = commands.add_parser(
        "keep", help="copy what is finished of a run that goes on to book/published"
    )
    kept.add_argument("profile", help="whose models and records are copied, such as wide")
    back = commands.add_parser("restore", help="copy a published run back into runs/")
    back.add_argument("profile", help="whose published run is copied back, such as cpu")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "run":
            run(
                chosen.notebook,
                chosen.output,
                profile=chosen.profile,
                seed=chosen.seed,
                seeds=chosen.seeds,
            )
        elif chosen.command == "errors":
            if not chosen.folder.is_dir():
                raise BookError(f"there is no folder {chosen.folder}: nothing was run in it")
            print(*failures(chosen.folder), sep="\n\n", file=sys.stderr)
        elif chosen.command == "build":
            print(f"The book: {build(*chosen.executed)}")
        elif chosen.command == "site":
            print(f"The book: {site(chosen.profiles)}")
        elif chosen.command == "keep":
            print(f"Kept: {keep(chosen.profile)}")
        elif chosen.command == "publish":
            made = publish(chosen.profile, training=not chosen.without_training)
            print(f"Published: {made}")
        else:
            print(f"Restored: {restore(chosen.profile)}")
    except BookError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
