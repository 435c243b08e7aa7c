"""How a table is kept: one row a number, what its caption needs in ``frame.attrs``, JSON on disk.

:mod:`rslib.report.tables` fills such frames, :mod:`rslib.report.rendering` prints them, and
:func:`values` hands their numbers to the prose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.metrics.estimates import Estimate
from rslib.report import labels, numbers
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


def row(
    run: Run,
    table: str,
    name: str,
    quantity: str,
    estimate: Estimate,
    column: paper.Column | None = None,
    *,
    labeled: str | None = None,
) -> dict[str, Any]:
    """One number of a table, beside the paper's where the paper has it.

    Args:
        run: the run.
        table: such as ``"table2"``.
        name: of the model.
        quantity: such as ``"pgd_accuracy"``.
        estimate: our number.
        column: header and unit; by default the paper's column of that table.
        labeled: what the row is called where it is not about a model.
    """
    column = column or paper.TABLES[table].columns[quantity]
    reported = paper.find(table, name, quantity)
    reason = _incomparable(run, table, name, quantity) if reported else ""
    return {
        "table": table,
        "model": name,
        "label": labels.model_label(run, name) if labeled is None else labeled,
        "training": labels.training_label(name) if labeled is None else "",
        "quantity": quantity,
        "header": column.header,
        "unit": column.unit,
        "paper": reported.value if reported else None,
        "ours": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "method": estimate.method,
        "difference": estimate.value - reported.value if reported and not reason else None,
        "incomparable": reason,
    }


def build(
    run: Run,
    rows: Sequence[Mapping[str, Any]],
    sources: Iterable[Mapping[str, Any]],
    *,
    title: str,
    notes: Iterable[str],
    same_images: bool = False,
    intervals: str = "Wilson's score",
    unreported: str = "not reported",
    facts: Mapping[str, float | int | str] | None = None,
) -> pd.DataFrame:
    """A table from its rows.

    Args:
        run: the run.
        rows: of :func:`row`, all of one table.
        sources: metadata of the records and models that were read.
        title: first sentence of the caption.
        notes: its other sentences.
        same_images: whether all numbers are about the images of the first, rather than about all
            that ``sources`` hold.
        intervals: how the intervals were made; empty where there are none.
        unreported: stands for the paper's values where it has none for a model; empty leaves out
            the line.
        facts: what :func:`values` tells beside the numbers, by name.

    Returns:
        The frame; its ``attrs`` are what :func:`save` calls metadata.

    Raises:
        ValueError: no rows.
    """
    if not rows:
        raise ValueError("a table needs at least one model")
    confidence = run.settings.evaluation.confidence
    notes = list(notes)
    if intervals:
        notes.append(f"Square brackets: {100 * confidence:g} % interval over images ({intervals}).")
    if any(each["paper"] is not None for each in rows):
        notes.append("The paper's values, in italics, are for full-size nets on CIFAR-10.")
    sources = list(sources)
    counted = rows[0]["n"] if same_images else labels.images(sources)
    about = {
        "table": rows[0]["table"],
        "title": f"{title}.",
        "stamp": labels.stamp(run, counted or None, sources=sources),
        "notes": notes,
        "unreported": unreported,
        "facts": dict(facts or {}),
        "profile": run.settings.profile,
        "data": run.settings.data.name,
        "seed": run.seed,
        "confidence": confidence,
        "settings": settings_key(run),
        "sources": [_source(s) for s in sources],
    }
    return _typed(rows, about)


def save(run: Run, name: str, frame: pd.DataFrame) -> Path:
    """Store a table as ``tables/<name>.json`` in the run's directory, atomically.

    The document holds ``metadata`` (caption, profile, data set, devices, seed, hash of the
    settings, the records read, facts) and ``rows``, a list of objects with these keys; null stands
    for "none":

    table, model, label, training, quantity, header, unit, paper, ours, low, high, n, method (of the
    interval), difference (ours - paper, where the two compare) and incomparable (why they do not).

    A table over several seeds has ``seeds`` in its metadata, and in its rows the keys of
    :func:`rslib.report.seeds.over_seeds`.

    Returns:
        The file's path.
    """
    rows = [
        {key: None if numbers.missing(value) else _plain(value) for key, value in each.items()}
        for each in frame.to_dict("records")
    ]
    path = _path(run, name)
    records.write_json(path, {"metadata": frame.attrs, "rows": rows})
    return path


def load(run: Run, name: str) -> pd.DataFrame:
    """Read a table that :func:`save` stored.

    Raises:
        RecordError: it is missing, damaged, or was made with other settings.
    """
    path = _path(run, name)
    document = records.read_json(path)
    if document["metadata"]["settings"] != settings_key(run):
        raise RecordError(
            f"{path} was made with other settings: run the notebook that makes {name} again"
        )
    return _typed(document["rows"], document["metadata"])


def values(frame: pd.DataFrame) -> dict[str, float | int | str]:
    """A table's numbers under flat names, for the prose.

    Returns:
        For each model and quantity, with the stem ``<table>_<model>_<quantity>`` such as
        ``table2_resnet18_standard_pgd_accuracy`` (``-`` becomes ``_``): the stem itself (float);
        ``_low``, ``_high`` (float) and ``_n`` (int) where it has them; ``_paper`` (float) where the
        paper reports it; and as text ``_text`` (value with unit), ``_interval`` ("[90.6, 91.7]"),
        ``_versus`` ("-3.6 points" or "not comparable (Shapes)"). For the table: ``<table>_stamp``
        (profile, data, device, n, seed), ``<table>_made_of`` (:func:`identity`), and its own facts,
        such as ``autoattack_label``. With several seeds also ``_seed_mean`` and ``_seed_std``
        (float) and ``_seeds`` ("90.9 ± 0.4").
    """
    table = frame.attrs["table"]
    found: dict[str, float | int | str] = {
        f"{table}_stamp": frame.attrs["stamp"],
        f"{table}_made_of": identity(frame.attrs),
    }
    found |= {f"{table}_{name}": fact for name, fact in frame.attrs["facts"].items()}
    for each in frame.to_dict("records"):
        if numbers.missing(each["ours"]):
            continue  # undefined: prose cannot cite it
        stem = f"{table}_{flat(each['model'])}_{each['quantity']}"
        found[stem] = float(each["ours"])
        for key in ("low", "high", "paper"):
            if not numbers.missing(each[key]):
                found[f"{stem}_{key}"] = float(each[key])
        if not numbers.missing(each["n"]):
            found[f"{stem}_n"] = int(each["n"])
        found[f"{stem}_text"] = numbers.quantity(each["ours"], each["unit"])
        found[f"{stem}_interval"] = numbers.interval(each) or "no interval"
        found[f"{stem}_versus"] = numbers.versus(each, spelled=True)
        if numbers.spread(each):
            found |= {f"{stem}_{key}": float(each[key]) for key in ("seed_mean", "seed_std")}
            found[f"{stem}_seeds"] = numbers.spread(each)
    return found


def identity(about: Mapping[str, Any]) -> str:
    """Hash of what a table was made from: the settings, and the keys of all records and models.

    Args:
        about: the table's metadata, a frame's ``attrs`` or the stored ones.
    """
    sources = {
        json.dumps([source.get("seed"), source["model"], source["evaluation"], source["key"]])
        for source in about["sources"]
    }
    return records.key(settings=about["settings"], sources=sorted(sources))


def settings_key(run: Run) -> str:
    """Hash of a run's settings: what tables and notebooks are told apart by.

    Left out are the device, which models further seeds have, and in which order models are trained:
    none changes a number of this seed, and what a table was made from tells the seeds
    (:func:`identity`).
    """
    chosen = run.settings.model_dump(exclude_defaults=True, exclude={"device", "seeded", "stages"})
    return records.key(**chosen)


def flat(name: str) -> str:
    """A name with ``_`` for all but letters and digits, as keys of :func:`values` have it."""
    return re.sub(r"[^0-9A-Za-z]", "_", name)


def _incomparable(run: Run, table: str, name: str, quantity: str) -> str:
    if quantity == "parameters":
        return "other size" if labels.model_size(run, name) else ""
    if not labels.comparable(run):
        return labels.dataset(run)
    if table == "table5":
        return "other reference"  # the paper does not publish the errors it divides by
    # The paper does not say what its training hours were measured on.
    return "other hardware" if quantity == "training_hours" else ""


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
    numbers = ["paper", "ours", "low", "high", "difference"]
    numbers += [key for key in frame if key.startswith("seed_")]
    counts = [key for key in ("n", "seeds") if key in frame]
    frame = frame.astype(dict.fromkeys(numbers, float) | dict.fromkeys(counts, "Int64"))
    frame.attrs = dict(about)
    return frame


def _path(run: Run, name: str) -> Path:
    return run.directory / "tables" / f"{name}.json"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
