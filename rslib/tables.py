"""The paper's tables, filled from a run's records: our value and its interval under the paper's.

A table is a long DataFrame, one row a number, with what its caption needs in ``frame.attrs``; it is
what :func:`save` stores, :func:`show` prints in the paper's shape and :func:`values` hands to the
prose. Numbers are in the paper's units (:mod:`rslib.paper`): accuracies in percent.

Intervals are over images. They speak of these weights, not of the training method: that would take
several seeds.
"""

from __future__ import annotations

import html
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rslib import paper, records
from rslib.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

BASELINES = ("resnet18-standard", "vit_small-standard")
"""The models of 4.1, in the paper's order."""

DATASETS = {"cifar10": "CIFAR-10", "shapes": "Shapes"}
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
_DIFFERENCE = "difference"

_EXTRA_COLUMNS = {
    "ece_mass": paper.Column("ECE, Equal Mass", ""),
    "fgsm_success": paper.Column("FGSM Success (%)", "%"),
    "pgd_last_accuracy": paper.Column("PGD, Last Step (%)", "%"),
}
_ARCHITECTURES = {**paper.ARCHITECTURES, "alexnet": "AlexNet"}
_RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, in one unit.

    Attributes:
        value: the number.
        low: lower end of its interval, or None where it has none.
        high: upper end.
        n: images it rests on, or None where it is not about images.
        method: how the interval was made, ``"Wilson"`` or ``"bootstrap"``.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    method: str = ""


# Numbers from records


def accuracy(correct: Iterable[bool], *, confidence: float = 0.95) -> Estimate:
    """The share of images that are right, in percent, with its Wilson interval.

    Args:
        correct: (n,) right or wrong, per image.
        confidence: coverage of the interval.
    """
    correct = np.asarray(correct, dtype=bool)
    return _proportion(int(correct.sum()), len(correct), confidence)


def attack_success(record: pd.DataFrame, *, confidence: float = 0.95) -> Estimate:
    """The share of correctly classified images that an attack turns, in percent (paper 4.2).

    It equals 1 - attacked accuracy / clean accuracy on the same images, which is how the paper's
    Table 2 computes it. Given the images that are right when clean, it is a proportion, so its
    interval is Wilson's; a bootstrap would give an attack that never failed no uncertainty at all.

    Args:
        record: of an attack, with ``clean_correct`` and ``correct``.
        confidence: coverage of the interval.

    Returns:
        The estimate; its n counts the images that are right when clean.

    Raises:
        RecordError: no image is right when clean.
    """
    right = record["clean_correct"].to_numpy(bool)
    if not right.any():
        raise RecordError(
            f"attack success is undefined: the model of this {len(record)}-image record is right "
            "on none of them when clean. Train it longer, or attack more images"
        )
    held = int(record["correct"].to_numpy(bool)[right].sum())
    return _proportion(int(right.sum()) - held, int(right.sum()), confidence)


def calibration_error(
    record: pd.DataFrame, *, bins: int = 15, binning: str = "width", confidence: float = 0.95
) -> Estimate:
    """Expected calibration error of a clean record (paper 4.1), with a bootstrap interval.

    Resampled calibration errors lie above the estimate (bins get noisier), so their percentiles are
    moved down by their mean excess; the interval then surrounds the estimate. It says how far the
    estimate moves from one sample of images to another; the estimate itself leans high, by about
    the same excess, so even a perfectly calibrated model does not measure 0.

    Args:
        record: with the class probabilities p0, p1, ... and ``label``.
        bins: number of bins of confidence.
        binning: ``"width"`` (bins equally wide) or ``"mass"`` (bins with equally many images).
        confidence: coverage of the interval.
    """
    from scipy.stats import bootstrap

    from rslib.metrics import expected_calibration_error

    probabilities, label = _probabilities(record), record["label"].to_numpy()
    estimate = expected_calibration_error(probabilities, label, bins=bins, binning=binning)
    # With each image's bin fixed, a resample costs one count: bins need not be cut again.
    certainty, right = probabilities.max(1), probabilities.argmax(1) == label
    gap, place = certainty - right, _bins(certainty, bins, binning)

    def error(drawn: np.ndarray) -> float:
        return float(np.abs(np.bincount(place[drawn], weights=gap[drawn])).sum() / len(drawn))

    result = bootstrap(
        (np.arange(len(gap)),),
        error,
        vectorized=False,
        batch=100,
        n_resamples=_RESAMPLES,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    low, high = result.confidence_interval
    excess = float(result.bootstrap_distribution.mean()) - estimate
    return Estimate(
        estimate,
        max(0.0, min(estimate, float(low) - excess)),
        min(1.0, max(estimate, float(high) - excess)),
        len(record),
        "bootstrap",
    )


def reliability(
    record: pd.DataFrame, *, bins: int = 15, binning: str = "width", confidence: float = 0.95
) -> pd.DataFrame:
    """What a reliability diagram shows: accuracy against confidence, bin by bin (paper 4.1).

    Args:
        record: a clean record.
        bins: number of bins of confidence.
        binning: ``"width"`` or ``"mass"``.
        confidence: coverage of the intervals.

    Returns:
        One row per bin that holds an image: n, mean confidence, accuracy, and the ends low and high
        of its Wilson interval; all but n as fractions. The calibration error is the mean of
        ``|accuracy - confidence|`` weighted by n.
    """
    import pandas as pd

    probabilities = _probabilities(record)
    certainty = probabilities.max(1)
    right = probabilities.argmax(1) == record["label"].to_numpy()
    place = _bins(certainty, bins, binning)
    rows = []
    for number in np.unique(place):
        inside = place == number
        found = accuracy(right[inside], confidence=confidence)
        rows.append(
            {
                "n": int(inside.sum()),
                "confidence": float(certainty[inside].mean()),
                "accuracy": found.value / 100,
                "low": found.low / 100,
                "high": found.high / 100,
            }
        )
    return pd.DataFrame(rows)


def _proportion(count: int, n: int, confidence: float) -> Estimate:
    from rslib.metrics import accuracy_interval

    low, high = accuracy_interval(count, n, confidence=confidence)
    return Estimate(100 * count / n, 100 * low, 100 * high, n, "Wilson")


def _probabilities(record: pd.DataFrame) -> np.ndarray:
    classes = [c for c in record.columns if c[:1] == "p" and c[1:].isdigit()]
    return record[sorted(classes, key=lambda c: int(c[1:]))].to_numpy(float)


def _bins(certainty: np.ndarray, bins: int, binning: str) -> np.ndarray:
    """The bin of each image, (n,), cut as rslib.metrics cuts them."""
    if binning == "width":
        return np.searchsorted(np.linspace(0, 1, bins + 1), certainty, side="right") - 1
    if binning == "mass":
        order = np.argsort(certainty, kind="stable")
        place = np.empty(len(order), dtype=int)
        for number, part in enumerate(np.array_split(order, bins)):
            place[part] = number
        return place
    raise ValueError(f"binning={binning!r} is unknown: use 'width' or 'mass'")


# The tables


def table1(run: Run, names: Sequence[str] = BASELINES) -> pd.DataFrame:
    """Table 1: clean accuracy, calibration, training time and size of the baselines (paper 4.1).

    The bins of the calibration error are not stated in the paper; equally wide ones are read, and
    bins of equal mass are given beside them.

    Args:
        run: whose records and models' summaries are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`save`.

    Raises:
        RecordError: a model or a record has not been made; says how to make it.
    """
    confidence, bins = run.settings.evaluation.confidence, run.settings.evaluation.ece_bins
    rows, sources = [], []
    for name in names:
        record, summary = run.record(name, "clean"), run.summary(name)
        sources += [summary, record.attrs]
        found = {
            "clean_accuracy": accuracy(record["correct"], confidence=confidence),
            "ece": calibration_error(record, bins=bins, confidence=confidence),
            "ece_mass": calibration_error(record, bins=bins, binning="mass", confidence=confidence),
            "training_hours": Estimate(summary["seconds"] / 3600),
            "parameters": Estimate(summary["parameters"]),
        }
        rows += [_row(run, "table1", name, quantity, e) for quantity, e in found.items()]
    return _frame(
        run,
        "table1",
        rows,
        sources,
        title="Baseline performance on clean images (paper 4.1)",
        notes=[
            f"ECE: expected calibration error in {bins} bins of confidence, equally wide or with "
            "equally many images."
        ],
    )


def table2(run: Run, names: Sequence[str] = BASELINES) -> pd.DataFrame:
    """Table 2: accuracy on clean images, under FGSM and under PGD (paper 4.2).

    Clean accuracy is over all test images; each attack's accuracy and success over the images it
    was run on. Two columns are ours: the success of FGSM, of which the text says over 99 % while
    the paper's own accuracies give 67 to 69 %, and accuracy at PGD's last iterate, which is what
    other libraries report.

    Args:
        run: whose records are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`save`.

    Raises:
        RecordError: a record has not been made; says how to make it.
    """
    chosen = run.settings
    confidence = chosen.evaluation.confidence
    rows, sources = [], []
    for name in names:
        clean, fgsm, pgd = (run.record(name, kind) for kind in ("clean", "fgsm", "pgd"))
        sources += [clean.attrs, fgsm.attrs, pgd.attrs]
        found = {
            "clean_accuracy": accuracy(clean["correct"], confidence=confidence),
            "fgsm_accuracy": accuracy(fgsm["correct"], confidence=confidence),
            "pgd_accuracy": accuracy(pgd["correct"], confidence=confidence),
            "attack_success": attack_success(pgd, confidence=confidence),
            "pgd_last_accuracy": accuracy(pgd["correct_last"], confidence=confidence),
            "fgsm_success": attack_success(fgsm, confidence=confidence),
        }
        rows += [_row(run, "table2", name, quantity, e) for quantity, e in found.items()]
    norm = {"linf": "l-infinity", "l2": "l2"}[chosen.pgd.norm]
    return _frame(
        run,
        "table2",
        rows,
        sources,
        title=(
            f"Accuracy under attack (paper 4.2): FGSM with budget {chosen.fgsm.eps}/255 in "
            f"l-infinity, PGD with {_count(chosen.pgd.steps, 'step')}, "
            f"{_count(chosen.pgd.restarts, 'start')} and budget {chosen.pgd.eps}/255 in {norm}"
        ),
        notes=[
            "Under PGD an image counts as right only if it is right when clean and at every "
            "iterate. Attack success is PGD's, among the images that are right when clean."
        ],
    )


def save(run: Run, name: str, frame: pd.DataFrame) -> Path:
    """Store a table as ``tables/<name>.json`` in the run's directory, atomically.

    The document holds ``metadata`` (caption, profile, data set, devices, seed, hash of the
    settings, the records read) and ``rows``, a list of objects with these keys; null stands for
    "none":

    table, model, label, training, quantity, header, unit, paper, ours, low, high, n, method (of the
    interval), difference (ours - paper, where the two compare) and incomparable (why they do not).

    Returns:
        The file's path.
    """
    rows = [
        {key: None if _missing(value) else _plain(value) for key, value in row.items()}
        for row in frame.to_dict("records")
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
    if document["metadata"]["settings"] != _settings_key(run):
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
        (profile, data, device, n, seed).
    """
    found: dict[str, float | int | str] = {f"{frame.attrs['table']}_stamp": frame.attrs["stamp"]}
    for row in frame.to_dict("records"):
        stem = f"{row['table']}_{row['model']}_{row['quantity']}".replace("-", "_")
        found[stem] = float(row["ours"])
        for key in ("low", "high", "paper"):
            if not _missing(row[key]):
                found[f"{stem}_{key}"] = float(row[key])
        if not _missing(row["n"]):
            found[f"{stem}_n"] = int(row["n"])
        found[f"{stem}_text"] = _quantity(row["ours"], row["unit"])
        found[f"{stem}_interval"] = _interval(row) or "no interval"
        found[f"{stem}_versus"] = _versus(row, spelled=True)
    return found


# What tables and figures say of themselves


def stamp(
    run: Run,
    n: int | str | None = None,
    *,
    sources: Iterable[Mapping[str, Any]] = (),
) -> str:
    """Where numbers come from, in one line: profile, data set, device, n, seed.

    Args:
        run: the run.
        n: test images, or a phrase that says it; None leaves it out.
        sources: metadata of the records and models that the numbers were read from: the devices
            named are theirs. Without any, it is the run's own device.
    """
    devices = {s["provenance"]["device"]: None for s in sources}
    if not devices:
        from rslib.device import describe

        devices = {describe(run.device): None}
    parts = [f"profile {run.settings.profile}", dataset(run), " and ".join(devices)]
    if n is not None:
        parts.append(f"n = {n:,} test images" if isinstance(n, int) else n)
    return "; ".join([*parts, f"seed {run.seed}"])


def dataset(run: Run) -> str:
    """The name of the run's data set, as the book writes it."""
    return DATASETS.get(run.settings.data.name, run.settings.data.name)


def comparable(run: Run) -> bool:
    """Whether the paper's numbers speak of this data set."""
    return run.settings.data.name == "cifar10"


def model_label(run: Run, name: str) -> str:
    """A model's name as the paper writes it, with its size where that differs from the paper's.

    Such as ``ResNet-18`` or ``ResNet-18 (width 16)``.
    """
    size = model_size(run, name)
    return f"{architecture_label(name)} ({size})" if size else architecture_label(name)


def architecture_label(name: str) -> str:
    """A model's architecture as the paper writes it, such as ``ResNet-18``."""
    return _ARCHITECTURES[_architecture(name)]


def model_size(run: Run, name: str) -> str:
    """How a model's size differs from the paper's, such as ``width 16``; empty if it does not."""
    chosen = getattr(run.settings, _architecture(name)).model_dump(exclude_defaults=True)
    return ", ".join(f"{key} {value}" for key, value in chosen.items())


def training_label(name: str) -> str:
    """How a model was trained, as the paper's column "Training" writes it, such as ``Standard``."""
    return name.partition("-")[2].replace("_", " ").capitalize()


def images(sources: Iterable[Mapping[str, Any]]) -> str:
    """How many test images the records hold, such as ``n = 10,000 test images (PGD 1,000)``."""
    counts: dict[int, dict[str, None]] = {}
    for source in sources:
        if "evaluation" in source:
            counts.setdefault(source["n"], {})[source["evaluation"]] = None
    if not counts:
        return ""
    most = max(counts)
    fewer = [
        f"{' and '.join(_evaluation(kind) for kind in kinds)} {n:,}"
        for n, kinds in sorted(counts.items(), reverse=True)
        if n != most
    ]
    return f"n = {most:,} test images" + (f" ({', '.join(fewer)})" if fewer else "")


def _evaluation(kind: str) -> str:
    return kind if kind == "clean" else kind.upper()


def _architecture(name: str) -> str:
    return name.partition("-")[0]


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


# Building and storing frames


def _row(run: Run, table: str, name: str, quantity: str, estimate: Estimate) -> dict[str, Any]:
    column = paper.TABLES[table].columns.get(quantity) or _EXTRA_COLUMNS[quantity]
    reported = paper.find(table, name, quantity)
    reason = _incomparable(run, name, quantity) if reported else ""
    return {
        "table": table,
        "model": name,
        "label": model_label(run, name),
        "training": training_label(name),
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


def _incomparable(run: Run, name: str, quantity: str) -> str:
    if quantity == "parameters":
        return "other size" if model_size(run, name) else ""
    if not comparable(run):
        return dataset(run)
    # The paper does not say what its training hours were measured on.
    return "other hardware" if quantity == "training_hours" else ""


def _frame(
    run: Run,
    table: str,
    rows: list[dict[str, Any]],
    sources: list[Mapping[str, Any]],
    *,
    title: str,
    notes: list[str],
) -> pd.DataFrame:
    methods = {row["method"] for row in rows} - {""}
    level = f"{100 * run.settings.evaluation.confidence:g} % interval over images"
    how = "Wilson's score, and bootstrap for ECE" if len(methods) == 2 else "Wilson's score"
    about = {
        "table": table,
        "title": f"{paper.TABLES[table].label}. {title}.",
        "stamp": stamp(run, images(sources) or None, sources=sources),
        "notes": [
            *notes,
            f"Square brackets: {level} ({how}).",
            "The paper's values, in italics, are for full-size nets on CIFAR-10.",
        ],
        "profile": run.settings.profile,
        "data": run.settings.data.name,
        "seed": run.seed,
        "confidence": run.settings.evaluation.confidence,
        "settings": _settings_key(run),
        "sources": [_source(s) for s in sources],
    }
    return _typed(rows, about)


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


def _typed(rows: list[dict[str, Any]], about: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame(rows)
    numbers = ["paper", "ours", "low", "high", "difference"]
    frame = frame.astype(dict.fromkeys(numbers, float) | {"n": "Int64"})
    frame.attrs = dict(about)
    return frame


def _settings_key(run: Run) -> str:
    return records.key(**run.settings.model_dump(exclude_defaults=True, exclude={"device"}))


def _path(run: Run, name: str) -> Path:
    return run.directory / "tables" / f"{name}.json"


def _missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


# Printing


def show(frame: pd.DataFrame, *, caption: str | None = None) -> Shown:
    """A table in the paper's shape: per model the paper's values, ours, their difference, and n.

    Args:
        frame: of :func:`table1`, :func:`table2` or :func:`load`.
        caption: instead of the table's own.

    Returns:
        What a notebook displays as HTML, and a terminal as text.
    """
    own = " ".join([frame.attrs["title"], f"{_sentence(frame.attrs['stamp'])}."])
    own = " ".join([own, *frame.attrs["notes"]])
    groups = []
    for _, rows in frame.groupby("model", sort=False):
        cells = rows.to_dict("records")
        training = cells[0]["training"] if frame.attrs["table"] != "table1" else ""
        groups.append(_Group(cells[0]["label"], training, cells))
    return Shown(own if caption is None else caption, tuple(groups))


@dataclass(frozen=True)
class _Group:
    """The rows of one model."""

    label: str
    training: str
    cells: list[dict[str, Any]]


@dataclass(frozen=True)
class Shown:
    """A table ready to display; see :func:`show`."""

    caption: str
    groups: tuple[_Group, ...]

    def _repr_html_(self) -> str:
        heads = "".join(
            f'<th scope="col" style="{_HEAD}">{html.escape(cell["header"])}</th>'
            for cell in self.groups[0].cells
        )
        bodies = "".join(map(_body, self.groups))
        return (
            f'<div style="{_FRAME}"><table class="dataframe rslib-table" style="{_TABLE}">'
            f'<caption style="{_CAPTION}"><div style="{_STICKY}">{html.escape(self.caption)}</div>'
            f'</caption><thead><tr style="{_CLEAR}">'
            f'<th scope="col" style="{_HEAD};text-align:left">Model</th>'
            f'<th scope="col" style="{_HEAD}"><span style="{_UNSEEN}">Value</span></th>'
            f"{heads}</tr></thead>{bodies}</table></div>"
        )

    def __repr__(self) -> str:
        import textwrap

        heads = ["Model", " ", *(cell["header"] for cell in self.groups[0].cells)]
        blocks = [_lines(group) for group in self.groups]
        widths = [max(map(len, column)) for column in zip(heads, *_fixed(blocks), strict=True)]
        text = [_join(heads, widths)]
        for block in blocks:
            text += ["", *(_join(line, widths) for line in block)]
        return "\n".join([*textwrap.wrap(self.caption, 100), "", *text])


# Colours are left to the page, so that the table follows its light and dark themes.
_RULE = "1px solid rgba(128,128,128,.6)"
_CLEAR = "background:none"
_FRAME = "overflow-x:auto;width:100%;container-type:inline-size"
_TABLE = (
    "border-collapse:collapse;width:auto;margin:0;font-size:.85em;line-height:1.35;"
    "font-variant-numeric:tabular-nums"
)
_CAPTION = "caption-side:top;text-align:left;padding:0 0 8px"
# On a narrow screen the table scrolls sideways and its caption stays, wrapped to the screen.
_STICKY = "position:sticky;left:0;width:100cqw"
_HEAD = f"{_CLEAR};text-align:right;vertical-align:bottom;padding:3px 6px;border-bottom:{_RULE}"
_SIDE = f"{_CLEAR};text-align:left;vertical-align:top;font-weight:normal;padding:2px 6px"
_CELL = f"{_CLEAR};text-align:right;vertical-align:top;padding:2px 6px;white-space:nowrap"
_SMALL = "font-size:.85em"
_UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


def _body(group: _Group) -> str:
    label, _, size = group.label.partition(" (")
    name = f'<span style="white-space:nowrap">{html.escape(label)}</span>'
    name += f'<br><span style="{_SMALL}">{html.escape(f"({size}")}</span>' if size else ""
    training = f"<br>{html.escape(group.training)}" if group.training else ""
    head = f'<th scope="rowgroup" rowspan="4" style="{_SIDE};min-width:6.5em">'
    ours = []
    for cell in group.cells:
        interval = f'<br><span style="{_SMALL}">{html.escape(_interval(cell))}</span>'
        ours.append(_cell(f"<b>{html.escape(_number(cell))}</b>{interval * bool(_interval(cell))}"))
    reported = [_cell(f"<i>{html.escape(_reported(cell))}</i>") for cell in group.cells]
    counts = [_cell(html.escape(_images(cell)), _SMALL) for cell in group.cells]
    row = f'<tr style="{_CLEAR}">'
    rows = [
        f"{row}{head}{name}{training}</th>{_side('<i>paper</i>')}{''.join(reported)}</tr>",
        f"{row}{_side('<b>ours</b>')}{''.join(ours)}</tr>",
        f"{row}{_side(_DIFFERENCE)}{_differences(group.cells)}</tr>",
        f"{row}{_side('n', _SMALL)}{''.join(counts)}</tr>",
    ]
    return f'<tbody style="border-bottom:{_RULE}">{"".join(rows)}</tbody>'


def _lines(group: _Group) -> list[list[str]]:
    """A model's rows as text cells; an empty cell lets the one before it run on."""
    cells, differences = group.cells, []
    for (reason, text), same in _alike(cells):
        differences += [text, *["" if reason else text] * (len(same) - 1)]
    label, _, size = group.label.partition(" (")
    names = [part for part in (label, group.training, size and f"({size}") if part]
    names += [" "] * (5 - len(names))
    return [
        [names[0], "paper", *map(_reported, cells)],
        [names[1], "ours", *map(_number, cells)],
        [names[2], " ", *(_interval(cell) or " " for cell in cells)],
        [names[3], _DIFFERENCE, *differences],
        [names[4], "n", *map(_images, cells)],
    ]


def _fixed(blocks: list[list[list[str]]]) -> Iterator[list[str]]:
    """Lines to size columns by: a cell that runs on must not widen its first column."""
    for line in itertools.chain.from_iterable(blocks):
        after = [*line[1:], " "]
        yield ["" if following == "" else cell for cell, following in zip(line, after, strict=True)]


def _join(line: list[str], widths: list[int]) -> str:
    text, place = "", 0
    for cell, width in zip(line, widths, strict=True):
        text = text if cell == "" else text.ljust(place) + cell
        place += width + 2
    return text.rstrip()


def _side(content: str, style: str = "") -> str:
    return f'<th scope="row" style="{_SIDE};{style}">{content}</th>'


def _cell(content: str, style: str = "", span: int = 1) -> str:
    wide = f' colspan="{span}"' if span > 1 else ""
    return f'<td{wide} style="{_CELL};{style}">{content}</td>'


def _differences(cells: list[dict[str, Any]]) -> str:
    """Cells of differences; neighbors that cannot be compared for one reason share a cell."""
    found = []
    for (reason, text), same in _alike(cells):
        if reason:
            lines = (
                html.escape(text).replace(" (", "<br>(") if len(same) == 1 else html.escape(text)
            )
            style = _SMALL if len(same) == 1 else f"{_SMALL};text-align:left"
            found.append(_cell(lines, style, len(same)))
        else:
            found += [_cell(html.escape(text))] * len(same)
    return "".join(found)


def _alike(cells: list[dict[str, Any]]) -> list[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """Runs of neighboring cells with the same (reason not to compare, text of the difference)."""
    runs = itertools.groupby(cells, lambda cell: (cell["incomparable"], _versus(cell)))
    return [(alike, list(run)) for alike, run in runs]


def _number(cell: Mapping[str, Any]) -> str:
    return _format(cell["ours"], cell["unit"])


def _reported(cell: Mapping[str, Any]) -> str:
    return NONE if _missing(cell["paper"]) else _format(cell["paper"], cell["unit"])


def _images(cell: Mapping[str, Any]) -> str:
    return NONE if _missing(cell["n"]) else f"{cell['n']:,}"


def _interval(cell: Mapping[str, Any]) -> str:
    if _missing(cell["low"]):
        return ""
    low, high = (_format(cell[end], cell["unit"]) for end in ("low", "high"))
    return f"[{low}, {high}]"


def _versus(cell: Mapping[str, Any], *, spelled: bool = False) -> str:
    """Our value less the paper's, or why they do not compare."""
    if cell["incomparable"]:
        return f"not comparable ({cell['incomparable']})"
    if _missing(cell["difference"]):
        return "not reported by the paper" if spelled else NONE
    sign = MINUS if cell["difference"] < 0 else "+"
    size = _format(abs(cell["difference"]), cell["unit"])
    return f"{sign}{size}" + (" points" if spelled and cell["unit"] == "%" else "")


def _quantity(value: float, unit: str) -> str:
    return f"{_format(value, unit)} %" if unit == "%" else _format(value, unit)


def _format(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:.1f}"
    if unit == "h":
        return _duration(value)
    if unit == "count":
        return _thousands(value)
    return f"{value:.3f}"


def _duration(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f} h"
    return f"{hours * 60:.0f} min" if hours * 60 >= 2 else f"{hours * 3600:.0f} s"


def _thousands(count: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            digits = max(0, 2 - int(math.log10(count / size)))
            return f"{count / size:.{min(digits, 1)}f} {letter}"
    return f"{count:.0f}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
