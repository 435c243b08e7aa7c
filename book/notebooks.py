"""Source notebooks hold no outputs, except those of checked cells, which are tests.

nbval compares the outputs of cells that say ``# NBVAL_CHECK_OUTPUT`` with what a new run prints.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

from book import BookError
from book.execute import code_cells
from rslib.store import records

CHECKED = "NBVAL_CHECK_OUTPUT"


def complaints(path: Path) -> Iterator[str]:
    """What a source notebook holds that only a run should, one line each."""
    for number, cell in code_cells(path):
        checked = CHECKED in cell.source
        if cell.outputs and not checked:
            yield f"{path}: code cell {number} has stored outputs and is not checked"
        if checked and not (cell.outputs and cell.execution_count):
            yield f"{path}: code cell {number} is checked against outputs it does not have"
        if cell.execution_count is not None and not checked:
            yield f"{path}: code cell {number} has an execution count"


def mend(source: Path, executed: Path) -> None:
    """Clear a source notebook, and give its checked cells the outputs of an executed copy.

    Raises:
        BookError: a checked cell is not in the executed copy as it is in the source.
    """
    notebook = nbformat.read(source, as_version=4)
    ran = {cell.source: cell.outputs for _, cell in code_cells(executed)}
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, start=1):
        cell.execution_count, cell.outputs = None, []
        if CHECKED in cell.source:
            if cell.source not in ran:
                raise BookError(
                    f"{source}: code cell {number} is not as in {executed}: run it again"
                )
            # nbval passes over cells without a count; which one does not matter.
            cell.execution_count = 1
            cell.outputs = _joined(ran[cell.source])
    with records.atomic(source) as temporary:
        nbformat.write(notebook, str(temporary))


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs in the form that does not depend on timing: streams whole, no counts but one."""
    joined: list[Any] = []
    for output in outputs:
        if joined and output.get("name") is not None and output["name"] == joined[-1].get("name"):
            joined[-1] = {**joined[-1], "text": joined[-1]["text"] + output["text"]}
        else:
            joined.append(
                {**output, "execution_count": 1} if "execution_count" in output else output
            )
    return [type(outputs[0])(output) for output in joined]
