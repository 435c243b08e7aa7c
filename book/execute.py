"""Run one notebook, and say of an executed one whether it was run to its end."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from book import BookError
from rslib.run import progress

ANSI = re.compile(r"\x1b\[[0-9;]*m")
FAILED = ".failed.ipynb"  # a notebook as far as it got before a cell raised
RUNNING = ".running.ipynb"  # a notebook in progress; left behind only by a killed run

UNSEEN = 8
"""Levels of 255 that a color of a picture may be off by: less than an eye can tell in a chart."""

JUDGING = "13_verdicts"
"""The notebook that judges the paper's claims by the records of a run, and changes none of them."""

_MEND = "name one that is, or run it again"


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
            cell.outputs = _slimmer(without_progress(cell.outputs))
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
    from rslib.store.records import way_out

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
    code_cells(source)


def without_progress(outputs: list[dict]) -> list[dict]:
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
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            data["image/png"] = b64encode(slim(b64decode(data["image/png"]))).decode() + "\n"
    return outputs


def slim(picture: bytes) -> bytes:
    """A PNG picture in fewer bytes.

    Charts have few colors and get a palette of 256, if it meets every pixel within :data:`UNSEEN`
    levels. Photographs and maps do not, and keep all their colors; only an alpha channel that says
    nothing goes.

    Args:
        picture: a PNG file.

    Returns:
        A PNG file that is no larger.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(picture), formats=("PNG",))
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
        image = image.convert("RGB")
    found = image
    if image.mode == "RGB":
        few = image.quantize(
            256, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE
        )
        off = np.asarray(few.convert("RGB"), dtype=int) - np.asarray(image, dtype=int)
        found = few if np.abs(off).max() <= UNSEEN else image
    made = io.BytesIO()
    found.save(made, "PNG", optimize=True)
    return min(picture, made.getvalue(), key=len)


def problems(path: Path) -> list[str]:
    """What keeps an executed notebook out of the book: cells that failed or never ran.

    Args:
        path: an executed notebook.

    Returns:
        One line per problem, naming the cell (code cells are counted from 1); empty if complete.
    """
    found = []
    for number, cell in code_cells(path):
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
    for number, cell in code_cells(path):
        error = _error_output(cell)
        if error:
            traceback = ANSI.sub("", "\n".join(error["traceback"])) or error["evalue"]
            found.append(
                f"{name}: code cell {number} failed; the notebook so far: {path}\n{traceback}"
            )
    return found


def code_cells(path: Path) -> list[tuple[int, dict]]:
    """Read a notebook's code cells, each with its number from 1.

    Raises:
        BookError: the file is no valid notebook.
    """
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


def _told(error: Exception) -> str:
    return _first_line(str(error) or type(error).__name__)


def _error_output(cell: dict) -> dict | None:
    if "raises-exception" in cell.metadata.get("tags", []):
        return None  # the cell is there to show the error
    return next((out for out in cell.outputs if out.output_type == "error"), None)


def _first_line(source: str) -> str:
    return source.strip().splitlines()[0][:80]
