"""What corruptions do to accuracy and calibration (paper 3.5, 4.5): Table 5 and what is behind it.

Call these as ``tables.table5`` and so on. Every number is made from per-image records. The paper's
corruption errors are divided by those of a reference model that it does not publish; here the
reference is trained in the same run and its errors are measured on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES, TEST15, mce
from rslib.metrics.estimates import (
    UNDEFINED,
    Estimate,
    accuracy,
    confidence_error,
    difference_of_means,
    mean_difference,
    on_images,
)
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.labels import corrupted_phrase, corruption_label, short_label, sizes
from rslib.report.seeds import over_seeds
from rslib.run.outcomes import Outcomes, added, added_outcomes, outcomes
from rslib.settings.names import REFERENCE, ROBUSTNESS

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

# With fewer images in a group, its mean says nothing.
_FEWEST = 5


@over_seeds()
def table5(
    run: Run, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE
) -> pd.DataFrame:
    """Table 5: corruption errors relative to the reference, by category and mean (paper 4.5).

    The paper's mCE column equals the mean of its four categories; equation 14 is the mean over
    corruptions. Both are shown, over all 19 corruptions, with the mean over the benchmark's 15.
    Added corruptions have a column each and enter no mean.

    Args:
        run: whose clean and corruption records are read; nothing is computed.
        names: models, in order.
        reference: the model whose errors count as 1.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Its facts are the
        reference's digest and mean error (``reference_digest``, ``reference_error``) and where the
        corrupted images come from (``origin``).

    Raises:
        RecordError: a record has not been made.
        rslib.corruptions.mce.ReferenceMismatch: the reference saw other images.
    """
    base = outcomes(run, reference)
    divisor, rows, sources = base.errors(), [], _sources(run, reference)
    extra = added(run, [*names, reference])
    for name in names:
        found = outcomes(run, name)
        sources += _sources(run, name)
        errors = found.errors()
        every, common = (mce.score(errors, divisor, names=s) for s in (ALL19, TEST15))
        spread, spread15 = (_interval(run, found, base, s) for s in (ALL19, TEST15))
        n = len(found.images)
        estimates = [
            *((c, _ratio(every.categories[c], spread.categories[c], n), None) for c in CATEGORIES),
            ("mce", _ratio(every.mce, spread.mce, n), None),
            (
                "category_mean",
                _ratio(every.category_mean, spread.category_mean, n),
                Column("Mean of Categories", "ratio"),
            ),
            (
                "mce_test15",
                _ratio(common.mce, spread15.mce, n),
                Column("mCE, 15 Corruptions", "ratio"),
            ),
            (
                "relative_mce",
                _ratio(every.relative_mce, spread.relative_mce, n),
                Column("Relative mCE", "ratio"),
            ),
            ("error", _percent(every.error, spread.error, n), Column("Mean Error (%)", "%")),
            *(
                (corruption, ratio, Column(corruption_label(corruption), "ratio"))
                for corruption, ratio in _added_ratios(run, name, reference, extra).items()
            ),
        ]
        rows += [row(run, "table5", name, *each) for each in estimates]
    return build(
        run,
        rows,
        sources,
        title=(
            "Table 5. Corruption error relative to the reference model (paper 4.5), over "
            f"{len(ALL19)} corruptions at 5 severities: {corrupted_phrase(base.data)}"
        ),
        notes=[
            f"Reference: {short_label(reference)}, trained in this run, with a mean error of "
            f"{100 * _mean_error(divisor):.1f} % on the same images ({100 * divisor.clean:.1f} % "
            f"clean); digest {divisor.digest[:10]}. "
            "1 is the reference's error, and lower is better.",
            "mCE is the mean over corruptions (equation 14). The paper's column equals the mean of "
            "its four categories. Relative mCE counts the increase over the clean error. Mean "
            "error is not divided by anything.",
            *["Added corruptions enter none of the means."] * bool(extra),
            *(f"{text}." for text in [sizes(run, [*names, reference])] if text),
        ],
        same_images=True,
        intervals="bootstrap over images, drawn for model and reference together",
        facts={
            "reference_digest": divisor.digest,
            "reference_error": 100 * _mean_error(divisor),
            "origin": base.data["origin"],
        },
    )


@over_seeds()
def corruption_table(
    run: Run, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE
) -> pd.DataFrame:
    """The corruption error of each corruption (paper 3.5, equation 15), relative to the reference.

    Args:
        run: whose clean and corruption records are read; nothing is computed.
        names: models, in order.
        reference: the model whose errors count as 1.

    Returns:
        One row per model and corruption; see :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a record has not been made.
    """
    base = outcomes(run, reference)
    divisor, rows, sources = base.errors(), [], _sources(run, reference)
    extra = added(run, [*names, reference])
    for name in names:
        found = outcomes(run, name)
        sources += _sources(run, name)
        score, spread = (
            mce.score(found.errors(), divisor, names=ALL19),
            _interval(run, found, base, ALL19),
        )
        ratios = {c: _ratio(score.ce[c], spread.ce[c], len(found.images)) for c in ALL19}
        ratios |= _added_ratios(run, name, reference, extra)
        for corruption, ratio in ratios.items():
            column = Column(corruption_label(corruption), "ratio")
            rows.append(row(run, "corruption", name, corruption, ratio, column))
    return build(
        run,
        rows,
        sources,
        title=(
            f"Corruption error relative to {short_label(reference)}, corruption by corruption "
            f"(paper 3.5): {corrupted_phrase(base.data)}"
        ),
        notes=[],
        same_images=True,
        intervals="bootstrap over images",
        unreported="",
    )


@over_seeds()
def severity_table(run: Run, names: Sequence[str] = ROBUSTNESS) -> pd.DataFrame:
    """Accuracy and calibration error by severity, over all corruptions (paper 4.1, 4.5).

    Args:
        run: whose clean and corruption records are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Quantities are
        ``accuracy_0`` (clean) to ``accuracy_5``, in percent, and ``ece_1`` to ``ece_5``.

    Raises:
        RecordError: a record has not been made.
    """
    confidence, bins = run.settings.evaluation.confidence, run.settings.evaluation.ece_bins
    rows, sources = [], []
    for name in names:
        found = outcomes(run, name)
        sources += _sources(run, name)
        clean = accuracy(~found.clean_wrong, confidence=confidence)
        rows.append(row(run, "severity", name, "accuracy_0", clean, Column("Acc, Clean (%)", "%")))
        for severity in SEVERITIES:
            wrong = [rows[SEVERITIES.index(severity)] for rows in found.wrong.values()]
            right = 1 - np.mean(wrong, axis=0)
            estimate = mean_difference(100 * right, np.zeros_like(right), confidence=confidence)
            header = Column(f"Acc, Severity {severity} (%)", "%")
            rows.append(row(run, "severity", name, f"accuracy_{severity}", estimate, header))
        for severity in SEVERITIES:
            estimate = confidence_error(
                *found.at_severity(severity), bins=bins, confidence=confidence
            )
            header = Column(f"ECE, Severity {severity}", "")
            rows.append(row(run, "severity", name, f"ece_{severity}", estimate, header))
    return build(
        run,
        rows,
        sources,
        title=(
            "Accuracy and expected calibration error by severity, over all corruptions: "
            f"{corrupted_phrase(found.data)}"
        ),
        notes=[
            f"ECE in {bins} equally wide bins of confidence, over the 19 corrupted versions of "
            "each image taken as images of their own, which makes its intervals too narrow."
        ],
        same_images=True,
        intervals="Wilson's score for clean accuracy, bootstrap otherwise",
        unreported="",
    )


@over_seeds(compared="all")
def corruption_difference_table(run: Run, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """How a model's errors differ from another's, corruption by corruption (paper 4.5).

    Args:
        run: whose corruption records are read; nothing is computed.
        pairs: models A and B.

    Returns:
        One row per pair and corruption, and ``"all"`` (the nineteen); see
        :func:`rslib.report.frames.save`. Values are A's error less B's in points, over all
        severities: below 0, A is the more robust.

    Raises:
        RecordError: a record has not been made.
    """
    confidence, rows, sources = run.settings.evaluation.confidence, [], {}
    extra = added(run, [name for pair in pairs for name in pair])
    for a, b in pairs:
        first, second = outcomes(run, a), outcomes(run, b)
        sources |= {a: _sources(run, a)[0], b: _sources(run, b)[0]}
        pair = {
            "model": f"{a}_vs_{b}",
            "label": f"A: {short_label(a)}",
            "training": f"B: {short_label(b)}",
        }
        gaps = {name: (first.wrong[name].mean(0), second.wrong[name].mean(0)) for name in ALL19}
        if extra:
            more = added_outcomes(run, a).wrong, added_outcomes(run, b).wrong
            gaps |= {name: (more[0][name].mean(0), more[1][name].mean(0)) for name in extra}
        gaps["all"] = (first.share_wrong(), second.share_wrong())
        for name, (ours, theirs) in gaps.items():
            estimate = mean_difference(100 * ours, 100 * theirs, confidence=confidence)
            column = Column(corruption_label(name), "points")
            found = row(run, "corruption_difference", a, name, estimate, column)
            rows.append(found | pair)
    frame = build(
        run,
        rows,
        sources.values(),
        title="Error of A less error of B under each corruption, over all severities (paper 4.5)",
        notes=[
            "Below 0, A is the more robust.",
            *(f"{text}." for text in [sizes(run, list(sources))] if text),
        ],
        same_images=True,
        intervals="bootstrap over images, paired",
        unreported="",
    )
    frame.attrs["pairs"] = "Models A and B"
    return frame


@over_seeds()
def agreement_table(run: Run, names: Sequence[str] = ROBUSTNESS) -> pd.DataFrame:
    """Whether corruptions break the images that attacks break (paper 5.3).

    Among the images that are right when clean, those that PGD leaves are compared with those that
    it breaks: in what share of its 95 corrupted versions is an image of each group still right?

    Args:
        run: whose clean, PGD and corruption records are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. A model with fewer
        than 5 images in one of the groups has only their numbers; its facts ``compared`` counts the
        rest.

    Raises:
        RecordError: a record has not been made.
    """
    confidence, rows, sources, compared = run.settings.evaluation.confidence, [], [], 0
    for name in names:
        found, pgd = outcomes(run, name), run.record(name, "pgd")
        sources += [*_sources(run, name), pgd.attrs]
        common = np.isin(found.images, pgd["image"])
        attacked = on_images(pgd, found.images[common])
        right = attacked["clean_correct"].to_numpy(bool)
        stays = attacked["correct"].to_numpy(bool)[right]
        share = 100 * (1 - found.share_wrong()[common][right])
        left, broken = share[stays], share[~stays]
        estimates = [
            ("left", Estimate(len(left), n=len(share)), Column("Left by PGD", "images")),
            ("broken", Estimate(len(broken), n=len(share)), Column("Broken by PGD", "images")),
        ]
        means = (UNDEFINED, UNDEFINED)
        gap = UNDEFINED
        if min(len(left), len(broken)) >= _FEWEST:
            compared += 1
            means = (Estimate(float(left.mean())), Estimate(float(broken.mean())))
            gap = difference_of_means(left, broken, confidence=confidence)
        estimates += [
            ("left_right", means[0], Column("Versions Right, Left (%)", "%")),
            ("broken_right", means[1], Column("Versions Right, Broken (%)", "%")),
            ("gap", gap, Column("Difference (points)", "points")),
        ]
        rows += [row(run, "agreement", name, *each) for each in estimates]
    return build(
        run,
        rows,
        sources,
        title=(
            "Corrupted versions that are still right, for images that PGD leaves and images that "
            "it breaks (paper 5.3), among those that are right when clean"
        ),
        notes=[
            f"No comparison where one of the groups has fewer than {_FEWEST} images.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="Welch's",
        unreported="",
        facts={"compared": compared},
    )


def _sources(run: Run, name: str) -> list[dict]:
    return [run.record(name, "corruptions").attrs, run.record(name, "clean").attrs]


def _added_ratios(run: Run, name: str, reference: str, extra: Sequence[str]) -> dict[str, Estimate]:
    """The corruption errors of added corruptions, relative to the reference."""
    if not extra:
        return {}
    found, base = added_outcomes(run, name), added_outcomes(run, reference)
    ce = mce.score(found.errors(), base.errors(), names=extra).ce
    ends = _interval(run, found, base, extra).ce
    return {each: _ratio(ce[each], ends[each], len(found.images)) for each in extra}


def _interval(run: Run, found: Outcomes, base: Outcomes, names: Sequence[str]) -> mce.Interval:
    return mce.interval(
        found.wrong,
        base.wrong,
        clean_wrong=found.clean_wrong,
        reference_clean_wrong=base.clean_wrong,
        names=names,
        confidence=run.settings.evaluation.confidence,
    )


def _mean_error(table: mce.ErrorTable) -> float:
    return float(np.mean([table.errors[name] for name in ALL19]))


def _ratio(value: float | None, ends: tuple[float, float] | None, n: int) -> Estimate:
    if value is None:
        return UNDEFINED
    low, high = ends or (None, None)
    return Estimate(value, low, high, n, "bootstrap" if ends else "")


def _percent(value: float, ends: tuple[float, float], n: int) -> Estimate:
    return Estimate(100 * value, 100 * ends[0], 100 * ends[1], n, "bootstrap")
