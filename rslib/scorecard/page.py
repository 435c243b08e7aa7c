"""A scorecard as one page: self-contained HTML, in the light or dark of whoever reads it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from rslib.report import labels, numbers
from rslib.scorecard.card import Measure, Scorecard, Verdict

_DASH = numbers.NONE

_STYLE = """
.rslib-scorecard{line-height:1.45;max-width:62rem}
.rslib-scorecard h1,.rslib-scorecard h2{line-height:1.2;overflow-wrap:anywhere}
.rslib-scorecard h2{font-size:1.15em;margin:1.6em 0 .5em}
.rslib-scorecard p{margin:.4em 0;overflow-wrap:anywhere}
.rslib-scorecard .scroll{overflow-x:auto}
.rslib-scorecard table{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums}
.rslib-scorecard th,.rslib-scorecard td{padding:.25em .6em;text-align:right;vertical-align:top;
 border-bottom:1px solid rgba(128,128,128,.35);background:none}
.rslib-scorecard td{white-space:nowrap}
.rslib-scorecard td.text{white-space:normal;min-width:7em}
.rslib-scorecard th{font-weight:600}
.rslib-scorecard .text{text-align:left}
.rslib-scorecard .small{font-size:.88em;opacity:.85}
.rslib-scorecard .note{border-left:.3em solid #D55E00;padding-left:.7em}
.rslib-scorecard .passed{border-left:.3em solid #009E73;padding-left:.7em}
.rslib-scorecard img{max-width:100%;height:auto;background:#fff;border-radius:4px}
.rslib-scorecard :is(h1,h2,h3){color:inherit}
.rslib-scorecard code{overflow-wrap:anywhere}
.rslib-scorecard summary{cursor:pointer;font-weight:600}
.rslib-scorecard details{margin:.6em 0}
"""

_PAGE_STYLE = """
:root{color-scheme:light dark}
body{font-family:system-ui,sans-serif;margin:1.2rem auto;padding:0 1rem;max-width:62rem;
 background:Canvas;color:CanvasText}
"""


def page(card: Scorecard, picture: bytes) -> str:
    """The whole page; it needs no other file and no network.

    Args:
        card: the scorecard.
        picture: a PNG file.
    """
    title = html.escape(f"{card.name}: scorecard")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_PAGE_STYLE}</style></head>\n"
        f"<body>{body(card, picture)}</body></html>\n"
    )


def body(card: Scorecard, picture: bytes | None = None) -> str:
    """The page's content, for a page of its own or a notebook's output; user's text is escaped.

    Args:
        card: the scorecard.
        picture: a PNG file, put below the axes; None leaves it out.
    """
    shown = ""
    if picture is not None:
        encoded = base64.b64encode(picture).decode()
        shown = (
            f'<p><img alt="{html.escape(_spoken(card))}" src="data:image/png;base64,{encoded}"></p>'
        )
    return (
        f'<style>{_STYLE}</style><div class="rslib-scorecard"><h1>{_text(card.name)}</h1>'
        f"{_lead(card)}{_axes(card)}{shown}{_compared(card)}{_verdict(card.reliability)}"
        f"{_details(card)}{_plan(card)}{_reading(card)}{_provenance(card)}</div>"
    )


def text(card: Scorecard) -> str:
    """The scorecard for a terminal."""
    lines = [f"{card.name} ({card.model.reference}) on {_dataset(card)}, profile {card.profile}"]
    width = max(len(axis.title) for axis in card.axes)
    for axis in card.axes:
        if axis.result is None:
            lines.append(f"{axis.title:<{width}}  not available: {axis.reason}")
            continue
        value = _value(axis.result, axis.unit)
        lines.append(f"{axis.title:<{width}}  {value:>7} {_interval(axis.result, axis.unit):<16} "
                     f"n = {axis.result.n:,}")  # fmt: skip
    return "\n".join([*lines, f"{'Reliability':<{width}}  {_judged(card.reliability)}"])


def _lead(card: Scorecard) -> str:
    model = card.model
    what = dict.fromkeys([model.reference, model.architecture])
    about = (
        f"{_text(', '.join(what))}; {model.parameters:,} parameters, "
        f"normalization {_text(model.normalization)}. Scored on {_text(_dataset(card))} "
        f"({_text(card.data.split)}, {card.data.n:,} images), profile {_text(card.profile)}, seed "
        f"{card.seed}."
    )
    notes = "".join(f'<p class="note">{_text(n)}</p>' for n in [*model.notes, *card.warnings])
    mark = "passed" if card.reliability.passed else "note"
    return f'<p>{about}</p>{notes}<p class="{mark}">{_text(_judged(card.reliability))}</p>'


def _axes(card: Scorecard) -> str:
    rows = []
    for axis in card.axes:
        protocol = f'<span class="small">{_text(axis.protocol)}</span>'
        if axis.result is None:
            reason = f'<td class="text" colspan="4">not available: {_text(axis.reason or "")}</td>'
            rows.append([_left(f"{_text(axis.title)}<br>{protocol}"), reason])
            continue
        chance = _DASH if axis.chance is None else numbers.written(axis.chance, axis.unit)
        rows.append(
            [
                _left(f"{_text(axis.title)}<br>{protocol}"),
                _cell(f"<b>{_value(axis.result, axis.unit)}</b>"),
                _cell(_interval(axis.result, axis.unit) or _DASH),
                _cell(f"{axis.result.n:,}"),
                _cell(chance),
            ]
        )
    heads = ["Axis", "Result", f"{card.confidence:.0%} interval", "Images", "By chance"]
    return f"<h2>Axes</h2>{_table(heads, rows)}"


def _compared(card: Scorecard) -> str:
    axes = [axis for axis in card.axes if axis.compared]
    told = f"<h2>Beside the book's own models</h2><p>{_text(card.comparison)}</p>"
    if not axes:
        return told
    names = list(dict.fromkeys(each.model for axis in axes for each in axis.compared))
    verdicts = {each.model: each for each in card.reliability.compared}
    own = [_left(f"<b>{_text(card.name)}</b>")]
    own += [_cell(f"<b>{_value(axis.result, axis.unit)}</b>") for axis in axes if axis.result]
    rows = [[*own, _cell(_mark(card.reliability.passed))]]
    for name in names:
        cells, label = [], name
        for axis in axes:
            found = next((each for each in axis.compared if each.model == name), None)
            if found is None:
                cells.append(_cell(_DASH))
                continue
            label = found.label
            gap = "" if found.difference is None else _gap(found.difference, axis.unit)
            cells.append(
                _cell(f'{_value(found.measure, axis.unit)}<br><span class="small">{gap}</span>')
            )
        verdict = verdicts.get(name)
        rows.append([_left(_text(label)), *cells, _cell(_mark(verdict and verdict.passed))])
    heads = ["Model", *(axis.title for axis in axes), "Verdict"]
    small = (
        '<p class="small">Below each value: this model less that one, on the images that both were '
        "measured on, with its paired interval.</p>"
    )
    return f"{told}{_table(heads, rows)}{small}"


def _verdict(verdict: Verdict) -> str:
    told = f"<h2>Can the numbers under attack be trusted?</h2><p>{_text(_judged(verdict))}</p>"
    rows = [
        [
            _left(_mark(check.passed)),
            _left(_text(check.name)),
            _left(_text(check.meaning)),
            _left(f'<code class="small">{_text(json.dumps(_short(check.evidence)))}</code>'),
        ]
        for check in verdict.checks
    ]
    if not rows:
        return told
    table = _table(["", "Check", "What it says", "Evidence"], rows)
    opened = "" if verdict.passed else " open"
    return f"{told}<details{opened}><summary>All checks</summary>{table}</details>"


def _details(card: Scorecard) -> str:
    rows = [
        [
            _left(_text(axis.title)),
            _left(_text(each.title)),
            _cell(_value(each.measure, each.unit)),
            _cell(_interval(each.measure, each.unit) or _DASH),
        ]
        for axis in card.axes
        for each in axis.details
    ]
    if not rows:
        return ""
    table = _table(["Axis", "Quantity", "Value", "Interval"], rows)
    return f"<details><summary>Further numbers</summary>{table}</details>"


def _plan(card: Scorecard) -> str:
    seconds = {axis.name: axis.seconds for axis in card.axes}
    seconds["reliability"] = card.reliability.seconds
    rows = [
        [
            _left(each.name),
            _cell(f"{each.n:,}" if each.n else _DASH),
            _cell(f"{each.seconds:.0f} s" if each.n else _DASH),
            _cell(_DASH if seconds[each.name] is None else f"{seconds[each.name]:.0f} s"),
            _left(f'<span class="small">{_text(each.note)}</span>'),
        ]
        for each in card.plan.axes
    ]
    heads = ["Axis", "Images", "Expected", "Took", "Note"]
    summary = f"Plan: {_text(card.plan.budget)}"
    return f"<details><summary>{summary}</summary>{_table(heads, rows)}</details>"


def _reading(card: Scorecard) -> str:
    return (
        "<details><summary>How to read this</summary>"
        "<p>Accuracies are shares of images classified right; an image that is wrong to begin with "
        "counts as wrong under attack, and under PGD it must be right at every iterate. Intervals "
        "are over images and speak of these weights, not of how another training would differ. "
        "Calibration error is the mean gap between confidence and accuracy. The error under "
        "corruptions is the mean over 19 corruptions at 5 severities; mCE divides it by a "
        "reference model's. IoU is the overlap of a saliency map's top pixels with an object mask, "
        "and means nothing without the level of a random map beside it. A verdict that passes says "
        "that nothing suspicious was seen, not that the model is robust.</p></details>"
    )


def _provenance(card: Scorecard) -> str:
    made = card.provenance | {
        "model digest": card.model.digest,
        "weights file": f"{card.model.file} ({card.model.file_digest})" if card.model.file else "",
        "data fingerprint": card.data.fingerprint,
        "schema version": card.schema_version,
    }
    rows = [
        [_left(_text(key)), _left(f"<code>{_text(str(value))}</code>")]
        for key, value in made.items()
        if value
    ]
    table = _table(["", ""], rows)
    return f"<details><summary>Where this comes from</summary>{table}</details>"


def _judged(verdict: Verdict) -> str:
    """The verdict in a sentence."""
    if verdict.passed is None:
        return f"No verdict on the numbers under attack: {verdict.reason}"
    if verdict.passed:
        return f"Verdict: nothing suspicious in {len(verdict.checks)} checks on {verdict.n} images."
    return (
        f"Verdict: FLAGGED. The numbers under attack are not to be trusted as they stand; failed: "
        f"{', '.join(verdict.failed)}."
    )


def _spoken(card: Scorecard) -> str:
    """The picture in words, for those who do not see it."""
    values = [
        f"{axis.title} {_value(axis.result, axis.unit)}"
        if axis.result
        else f"{axis.title} not available"
        for axis in card.axes
    ]
    return f"Scorecard of {card.name} beside the book's own models: {'; '.join(values)}"


def _dataset(card: Scorecard) -> str:
    return labels.DATASETS.get(card.data.name, card.data.name)


def _value(measure: Measure, unit: str) -> str:
    written = numbers.written(measure.value, unit)
    return f"{written} %" if unit == "%" else written


def _interval(measure: Measure, unit: str) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f"[{numbers.written(measure.low, unit)}, {numbers.written(measure.high, unit)}]"


def _gap(measure: Measure, unit: str) -> str:
    """A difference, signed, with its interval below."""

    def signed(value: float) -> str:
        digits = 1 if unit == "%" else 3
        return f"{value:+.{digits}f}".replace("-", numbers.MINUS)

    if measure.low is None or measure.high is None:
        return signed(measure.value)
    return f"{signed(measure.value)}<br>[{signed(measure.low)}, {signed(measure.high)}]"


def _short(value: Any) -> Any:
    """Evidence with three significant digits."""
    if isinstance(value, float):
        return float(f"{value:.3g}")
    if isinstance(value, list):
        return [_short(each) for each in value]
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return value


def _mark(passed: bool | None) -> str:
    return _DASH if passed is None else "passed" if passed else "<b>FLAGGED</b>"


def _text(value: str) -> str:
    return html.escape(value)


def _cell(content: str) -> str:
    return f"<td>{content}</td>"


def _left(content: str) -> str:
    return f'<td class="text">{content}</td>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table from escaped cells; it scrolls sideways where the screen is narrow."""
    head = "".join(
        f'<th scope="col"{" class=text" if k == 0 else ""}>{html.escape(each)}</th>'
        for k, each in enumerate(heads)
    )
    lines = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>{lines}</table></div>'
