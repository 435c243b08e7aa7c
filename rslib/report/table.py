"""A table: made one number after the other (:class:`Table`), and kept on disk as JSON.

Its frame has one row a number, and in ``attrs`` what the caption needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics import estimates, holm
from rslib.metrics.estimates import Estimate
from rslib.report import labels
from rslib.store import records
from rslib.store.records import NotSeeded, RecordError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from rslib.run import Run


@dataclass
class Table:
    """A table in the making; all of it can also be set while it is filled.

    The functions of :mod:`rslib.metrics.estimates` are here with the run's confidence, such as
    ``table.accuracy(record["correct"])``.

    Attributes:
        title: first sentence of the caption, without its period; ``notes`` are the others.
        facts: what is told beside the numbers, by name.
        sizes: models whose sizes are told in the notes where they are not the paper's.
        same_images: whether n of the first number holds for all, not that of the sources.
        intervals: how the intervals were made; empty where there are none.
        unreported: stands for the paper's values where it has none; empty leaves out the line.
        pairs: heads the first column where rows are not about single models.
        sources: metadata of the records and models that were read.
        cells: the numbers, as rows of the frame.
    """

    run: Run
    name: str
    _: KW_ONLY
    title: str = ""
    notes: list[str] = field(default_factory=list)
    facts: dict[str, float | int | str] = field(default_factory=dict)
    sizes: Sequence[str] = ()
    same_images: bool = False
    intervals: str = "Wilson's score"
    unreported: str = ""
    pairs: str = ""
    sources: list[Mapping[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.confidence = self.run.settings.evaluation.confidence

    def __getattr__(self, name: str) -> Any:
        return partial(getattr(estimates, name), confidence=self.confidence)

    def rows(self, rows: Iterable[Any]) -> list[Any]:
        """Select the models, or groups of them, that this run has: a further seed may have some.

        Raises:
            NotSeeded: this is a further seed that has none of them.
        """
        rows = list(rows)
        found = [
            row for row in rows if all(map(self.run.has, [row] if isinstance(row, str) else row))
        ]
        if rows and not found:
            raise NotSeeded(f"seed {self.run.seed} has no row of {self.name}")
        return found

    def each(self, names: Iterable[str], *kinds: str) -> Iterator[tuple[Any, ...]]:
        """Each of :meth:`rows`, followed by the records of it that :meth:`read` reads."""
        for name in self.rows(names):
            yield name, *(self.read(name, kind) for kind in kinds)

    def read(self, name: str, *kinds: str, run: Run | None = None) -> Any:
        """Read records of a model and note them as sources.

        Kinds are evaluations, or ``"summary"`` for what is known of the training. The record of one
        kind is returned; a list where several are asked for.

        Raises:
            RecordError: one has not been made; says how to make it.
        """
        run, found = run or self.run, []
        for kind in kinds:
            read = run.summary(name) if kind == "summary" else run.record(name, kind)
            self.note(read if kind == "summary" else read.attrs)
            found.append(read)
        return found if len(found) > 1 else found[0]

    def note(self, *sources: Mapping[str, Any]) -> None:
        """Note the metadata of records or models as sources, each once."""
        self.sources += [each for each in sources if each not in self.sources]

    def add(
        self,
        model: str | tuple[str, str],
        quantity: str,
        estimate: Estimate,
        header: str | None = None,
        unit: str = "",
        *,
        label: str | None = None,
        **further: Any,
    ) -> None:
        """Add one number, beside the paper's where the paper has it.

        The row of models (a, b) is called ``<a>_vs_<b>``; what is about no model has a ``label``.
        The header is by default the paper's, with its unit. Otherwise the unit, as
        ``rslib.report.numbers.written`` knows it, is by default what the header has in
        parentheses, if that is "(%)" or "(points)". ``further`` are more or other cells of the row.
        """
        training = ""
        if not isinstance(model, str):
            a, b = model
            label, training = f"A: {labels.short_label(a)}", f"B: {labels.short_label(b)}"
            model = f"{a}_vs_{b}"
        elif label is None:
            label, training = labels.model_label(self.run, model), labels.training_label(model)
        if header is None:
            column = paper.TABLES[self.name].columns[quantity]
            header, unit = column.header, column.unit
        if not unit and (told := re.search(r"\((%|points)\)", header)):
            unit = told[1]
        reported = paper.find(self.name, model, quantity)
        reason = self._incomparable(model, quantity) if reported else ""
        cell = {
            "table": self.name,
            "model": model,
            "label": label,
            "training": training,
            "quantity": quantity,
            "header": header,
            "unit": unit,
            "paper": reported.value if reported else None,
            "ours": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "n": estimate.n,
            "method": estimate.method,
            "difference": estimate.value - reported.value if reported and not reason else None,
            "incomparable": reason,
        }
        self.cells.append(cell | further)

    def _incomparable(self, name: str, quantity: str) -> str:
        if quantity == "parameters":
            return "other size" if labels.model_size(self.run, name) else ""
        if not labels.comparable(self.run):
            return labels.dataset(self.run)
        if self.name == "table5":
            return "other reference"  # the paper does not publish the errors it divides by
        # The paper does not say what its training hours were measured on.
        return "other hardware" if quantity == "training_hours" else ""

    def holm(self, ending: str) -> None:
        """Correct the p-values of all quantities with this ending by Holm's method."""
        tests = [cell for cell in self.cells if cell["quantity"].endswith(ending)]
        for cell, p_value in zip(tests, adjusted([c["ours"] for c in tests]), strict=True):
            cell["ours"] = p_value

    def done(self) -> pd.DataFrame:
        """The frame; its ``attrs`` are what :func:`save` calls metadata.

        Raises:
            ValueError: no number was added.
        """
        if not self.cells:
            raise ValueError("a table needs at least one model")
        run, notes = self.run, list(self.notes)
        if sizes := labels.sizes(run, self.sizes):
            notes.append(f"{sizes}.")
        told = [each for cell in self.cells for each in (cell["header"], cell["label"])]
        if quality := labels.mask_quality(run, " ".join(map(str, [self.title, *notes, *told]))):
            notes.append(quality)
        if self.intervals:
            coverage = f"{100 * self.confidence:g} %"
            notes.append(f"Square brackets: {coverage} interval over images ({self.intervals}).")
        if any(each["paper"] is not None for each in self.cells):
            notes.append("The paper's values, in italics, are for full-size nets on CIFAR-10.")
        counted = self.cells[0]["n"] if self.same_images else labels.images(self.sources)
        about = {
            "table": self.name,
            "title": f"{self.title}.",
            "stamp": labels.stamp(run, counted or None, sources=self.sources),
            "notes": notes,
            "unreported": self.unreported,
            "facts": self.facts,
            "profile": run.settings.profile,
            "data": run.settings.data.name,
            "seed": run.seed,
            "confidence": self.confidence,
            "settings": settings_key(run),
            "sources": [_source(each) for each in self.sources],
        }
        if self.pairs:
            about["pairs"] = self.pairs
        return _typed(self.cells, about)


def adjusted(p_values: Sequence[float | None]) -> np.ndarray:
    """The p-values adjusted for each other by Holm's method; NaN or None is no test and stays."""
    import numpy as np

    found = np.array(p_values, float)
    made = ~np.isnan(found)
    if made.any():
        found[made] = holm(found[made])
    return found


def save(run: Run, name: str, frame: pd.DataFrame) -> Path:
    """Store a table as ``tables/<name>.json`` in the run's directory, atomically.

    The document holds ``metadata`` (the frame's ``attrs``: caption, settings, the records read,
    facts) and ``rows``, a list of objects with these keys; null stands for "none": table, model,
    label, training, quantity, header, unit, paper, ours, low, high, n, method (of the interval),
    difference (ours - paper, where the two compare) and incomparable (why they do not), and over
    several seeds those of :func:`rslib.report.seeds.fills`. Returns the file's path.
    """
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    path = run.directory / "tables" / f"{name}.json"
    records.write_json(path, {"metadata": frame.attrs, "rows": rows})
    return path


def load(run: Run, name: str) -> pd.DataFrame:
    """Read a table that :func:`save` stored.

    Raises:
        RecordError: it is missing, damaged, or was made with other settings.
    """
    path = run.directory / "tables" / f"{name}.json"
    document = records.read_json(path)
    if document["metadata"]["settings"] != settings_key(run):
        raise RecordError(
            f"{path} was made with other settings: run the notebook that makes {name} again"
        )
    return _typed(document["rows"], document["metadata"])


def identity(about: Mapping[str, Any]) -> str:
    """Hash of what a table was made from, by its metadata: settings, and keys of all sources."""
    sources = {
        json.dumps([source.get("seed"), source["model"], source["evaluation"], source["key"]])
        for source in about["sources"]
    }
    return records.key(settings=about["settings"], sources=sorted(sources))


def settings_key(run: Run) -> str:
    """Hash of those settings of a run that change its numbers, those of this seed."""
    chosen = run.settings.model_dump(exclude_defaults=True, exclude={"device", "seeded", "stages"})
    return records.key(**chosen)


def flat(name: str) -> str:
    """A name with ``_`` for all but letters and digits, as keys of :func:`values` have it."""
    return re.sub(r"[^0-9A-Za-z]", "_", name)


def _source(attrs: Mapping[str, Any]) -> dict[str, Any]:
    made = attrs["provenance"]
    return {
        "model": attrs.get("model") or attrs.get("name"),
        "evaluation": attrs.get("evaluation", "training"),
        "key": records.key(**attrs["inputs"]),
        "n": attrs.get("n"),
        "seconds": attrs["seconds"],
        "device": made["device"],
        "revision": made["revision"],
        "date": made["date"],
    }


def _typed(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    floats = ["paper", "ours", "low", "high", "difference"]
    floats += [key for key in frame if key.startswith("seed_")]
    counts = [key for key in ("n", "seeds") if key in frame]
    frame = frame.astype(dict.fromkeys(floats, float) | dict.fromkeys(counts, "Int64"))
    frame.attrs = dict(about)
    return frame
