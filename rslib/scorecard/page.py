"""A scorecard as one page: self-contained HTML, in the light or dark of whoever reads it.

The template is ``page.html``, where a user's text is escaped.
"""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rslib.report import labels, numbers
from rslib.store.text import printable

if TYPE_CHECKING:
    from jinja2 import Template
    from pydantic import BaseModel


def page(card: BaseModel, picture: bytes) -> str:
    """The whole page; it needs no other file and no network."""
    return body(card, picture, whole=True)


def body(card: BaseModel, picture: bytes | None = None, *, whole: bool = False) -> str:
    """The page's content, for a page of its own or a notebook's output; user's text is escaped.

    A PNG file as ``picture`` is put below the axes. A ``whole`` page needs nothing around it.
    """
    model, verdict = card.model, card.reliability
    made = card.provenance | {
        "model digest": model.digest,
        "weights file": f"{model.file} ({model.file_digest})" if model.file else "",
        "data fingerprint": card.data.fingerprint,
        "schema version": card.schema_version,
    }
    values = []
    for axis in card.axes:
        known = axis.result and numbers.quantity(axis.result.value, axis.unit)
        values.append(f"{axis.title} {known or 'not available'}")
    return _template().render(
        card=card,
        whole=whole,
        picture=None if picture is None else base64.b64encode(picture).decode(),
        # The picture in words, for those who do not see it.
        spoken=f"Scorecard of {card.name} beside the book's own models: {'; '.join(values)}",
        model=", ".join(dict.fromkeys([model.reference, model.architecture])),
        dataset=_dataset(card),
        verdict=f"Verdict: {judged(verdict)}",
        interval_head=f"{card.confidence:.0%} interval",
        peers={each.model: each.label for axis in card.axes for each in axis.compared},
        took={axis.name: axis.seconds for axis in card.axes} | {"reliability": verdict.seconds},
        provenance=made,
        dash=numbers.NONE,
    )


def text(card: BaseModel) -> str:
    """The scorecard for a terminal."""
    lines = [f"{card.name} ({card.model.reference}) on {_dataset(card)}, profile {card.profile}"]
    lines += [*map(line, card.axes), verdict_line(card.reliability)]
    return "\n".join(map(printable, lines))


_WIDTH = 26  # of the longest title


def line(axis: BaseModel) -> str:
    """An axis as a line of text."""
    told = f"not available: {axis.reason}"
    if axis.result is not None:
        value = numbers.quantity(axis.result.value, axis.unit)
        told = f"{value:>7} {_interval(axis.result, axis.unit):<16} n = {axis.result.n:,}"
    return printable(f"{axis.title:<{_WIDTH}}  {told}")


def verdict_line(verdict: BaseModel) -> str:
    """The verdict as a line of text."""
    return printable(f"{'Reliability':<{_WIDTH}}  {judged(verdict)}")


def _shown(value: Any) -> Any:
    """Text without what turns the direction of reading."""
    return printable(value) if type(value) is str else value


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    loader = FileSystemLoader(Path(__file__).parent)
    made = Environment(loader=loader, autoescape=True, finalize=_shown, **options)
    made.filters |= {"quantity": numbers.quantity, "written": numbers.written}
    made.filters |= {"interval": _interval, "gap": _gap}
    made.filters["evidence"] = lambda evidence: json.dumps(_short(evidence))
    return made.get_template("page.html")


def judged(verdict: BaseModel) -> str:
    """The verdict in a sentence."""
    if verdict.passed is None:
        return f"not available: {verdict.reason}"
    if verdict.passed:
        return f"nothing suspicious in {len(verdict.checks)} checks on {verdict.n} images."
    failed = ", ".join(verdict.failed)
    return f"FLAGGED: {failed}. The numbers under attack are not to be trusted as they stand."


def _dataset(card: BaseModel) -> str:
    return labels.DATASETS.get(card.data.name, card.data.name)


def _interval(measure: BaseModel, unit: str) -> str:
    return numbers.interval({"low": measure.low, "high": measure.high, "unit": unit})


def _gap(measure: BaseModel | None, unit: str) -> list[str]:
    """The lines of a difference: signed, with its interval below."""
    if measure is None:
        return []
    digits = 1 if unit == "%" else 3
    values = [each for each in (measure.value, measure.low, measure.high) if each is not None]
    value, *ends = (f"{each:+.{digits}f}".replace("-", numbers.MINUS) for each in values)
    return [value, f"[{', '.join(ends)}]"] if len(ends) == 2 else [value]


def _short(value: Any) -> Any:
    """Evidence with three significant digits."""
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value
