"""What is traded for what, and which images pay for it (paper 4.6, 5.3): behind Figure 4.

Call these as ``tables.tradeoff_table`` and so on. The last three ask the joined per-image records
(:mod:`rslib.run.joined`) what no single table can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.metrics import holm, pareto
from rslib.metrics.estimates import (
    UNDEFINED,
    Estimate,
    accuracy,
    difference_of_means,
    proportion,
    rank_correlation,
)
from rslib.paper import Column
from rslib.report import tradeoffs
from rslib.report.frames import build, row
from rslib.report.labels import mask_label, short_label, sizes
from rslib.report.seeds import over_seeds
from rslib.run import joined
from rslib.run.outcomes import outcomes

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

CONFIDENT = 0.9
"""From this confidence on, a mistake counts as a confident one."""

# With fewer images in a group, its mean says nothing.
_FEWEST = 5
# The usual rule for the chi-squared distribution to be close.
_FEWEST_EXPECTED = 5


@over_seeds()
def tradeoff_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """All models on all axes, with what they cost to train (paper 4.6).

    Args:
        run: whose summaries and clean, PGD, corruption and saliency records are read, and
            AutoAttack's where there are any.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`.

    Raises:
        RecordError: a model or a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        left = UNDEFINED
        if run.has_record(name, "autoattack"):
            record = run.record(name, "autoattack")
            left = accuracy(record["correct"], confidence=confidence)
            sources.append(record.attrs)
        sources += [run.record(name, kind).attrs for kind in _READ]
        cells = [(axis.name, tradeoffs.measured(run, name, axis.name), axis.column)
                 for axis in tradeoffs.AXES]  # fmt: skip
        cells.insert(2, ("autoattack_accuracy", left, Column("AutoAttack Acc (%)", "%")))
        hours = Estimate(seconds(run, name) / 3600)
        cells.append(("training_hours", hours, Column("Training Time", "h")))
        rows += [row(run, "tradeoffs", name, *cell) for cell in cells]
    source = run.mask_source
    return build(
        run,
        rows,
        sources,
        title="Every model on every axis (paper 4.6)",
        notes=[
            f"IoU is of the top 30 % of the saliency with {mask_label(source)} masks. mCE is "
            "relative to the run's reference model; lower is better for it and for ECE. Training "
            "time includes that of the models that a model starts from.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="Wilson's score; bootstrap for mCE, IoU and ECE",
        unreported="",
    )


@over_seeds(joint=True)
def pareto_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """How surely each model is on the Pareto front (paper 4.6).

    Args:
        run: whose clean, PGD, corruption and saliency records are read.
        names: models, in order.

    Returns:
        One row per model and quantity: ``plane`` (accuracy and PGD accuracy) and ``all`` (the five
        axes), the share of 1,000 resamples of the test images in which no other model is at least
        as good on every axis and better on one. Facts: ``plane`` and ``all``, how many models are
        on the front of the estimates themselves.

    Raises:
        RecordError: a record has not been made.
    """
    axes = [axis.name for axis in tradeoffs.AXES]
    higher = {axis.name: axis.higher for axis in tradeoffs.AXES}
    values = tradeoffs.place(run, names, axes)
    drawn = tradeoffs.resampled(run, names, axes)
    shares, facts = {}, {}
    for kind, chosen in (("plane", tradeoffs.PLANE), ("all", axes)):
        columns, better = [axes.index(a) for a in chosen], [higher[a] for a in chosen]
        shares[kind] = pareto.membership(drawn[:, :, columns], better)
        facts[kind] = int(pareto.front(values[:, columns], better).sum())
    headers = {
        "plane": Column("On the Front of Accuracy and PGD (%)", "%"),
        "all": Column("On the Front of All Five (%)", "%"),
    }
    rows = [
        row(run, "pareto", name, kind, Estimate(100 * float(shares[kind][number])), headers[kind])
        for number, name in enumerate(names)
        for kind in shares
    ]
    return build(
        run,
        rows,
        [run.record(name, kind).attrs for name in names for kind in _READ],
        title=(
            "How often each model is on the Pareto front (paper 4.6), in percent of "
            f"{tradeoffs.RESAMPLES:,} resamples of the test images"
        ),
        notes=[
            "The five axes are accuracy, accuracy under PGD, mCE, IoU and ECE.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="",
        unreported="",
        facts=facts,
    )


@over_seeds()
def breakage_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Are the images that corruptions break those that attacks break (paper 5.3)?

    Rank correlation, among the images that are right when clean, between being right under an
    attack and the share of corrupted versions that are right; and the same among images of equal
    confidence, for an image far from the boundary resists everything.

    Args:
        run: whose clean, FGSM, PGD and corruption records are read.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Undefined where fewer
        than 5 images are right under the attack, or fewer than 5 are not. p-values are Holm's over
        all models and both attacks.

    Raises:
        RecordError: a model has no record, or lacks one of the four.
    """
    return _correlations(
        run,
        names,
        "breakage",
        {"fgsm": ("FGSM", "fgsm_correct"), "pgd": ("PGD", "pgd_correct")},
        against="corruption_right",
        given=["confidence"],
        held="Equal Confidence",
        title=(
            "Rank correlation between being right under attack and the share of corrupted versions "
            "that are right (paper 5.3), among images that are right when clean"
        ),
        note="Above 0: what attacks break, corruptions break. Equal confidence: partial "
        "correlation given the clean image's confidence.",
    )


@over_seeds()
def overlap_robustness_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Does high overlap of saliency and object go with robustness, image by image?

    Rank correlation of IoU with being right under PGD and with the share of corrupted versions that
    are right, among the images that are right when clean; and the same among images of equal
    confidence and object size, since large objects overlap with anything.

    Args:
        run: whose clean, PGD, corruption and saliency records, and the masks' priors, are read.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. p-values are Holm's
        over all models and both kinds of robustness.

    Raises:
        RecordError: a model has no record, or lacks one of them.
    """
    source = run.mask_source
    return _correlations(
        run,
        names,
        "overlap_robustness",
        {"pgd": ("PGD", "pgd_correct"), "corruptions": ("Corruptions", "corruption_right")},
        against=f"iou_{source}",
        given=["confidence", f"coverage_{source}"],
        held="Equal Confidence and Size",
        title=(
            "Rank correlation of IoU with robustness, image by image, among images that are right "
            "when clean"
        ),
        note=f"IoU is with {mask_label(source)} masks. PGD: whether the image is right under it; "
        "corruptions: the share of its corrupted versions that are right. Equal confidence and "
        "size: partial correlation given the clean image's confidence and the mask's size.",
    )


def _correlations(
    run: Run,
    names: Sequence[str],
    table: str,
    kinds: Mapping[str, tuple[str, str]],
    *,
    against: str,
    given: Sequence[str],
    held: str,
    title: str,
    note: str,
) -> pd.DataFrame:
    """A table of the plain and partial correlations of one column with others.

    ``kinds`` maps a quantity to its header and its column.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources, tests = [], [], []
    for name in names:
        read = {column for _, column in kinds.values()} | {against, *given}
        frame = joined.load(
            run, name, needs=["corruption_error", *sorted(read - {"corruption_right"})]
        )
        sources += [about for kind, about in frame.attrs["sources"].items() if kind in _ASKED]
        frame["corruption_right"] = 1 - frame["corruption_error"]
        right = frame["clean_correct"].fillna(False).astype(bool)
        for kind, (header, column) in kinds.items():
            known = frame.loc[right, [column, against, *given]].dropna().astype(float)
            plain = partial = UNDEFINED
            p_value = None
            if _both_sides(known[column]):
                one, other = known[column].to_numpy(), known[against].to_numpy()
                fixed = [known[each].to_numpy() for each in given]
                plain, _ = rank_correlation(one, other, confidence=confidence)
                partial, p_value = rank_correlation(one, other, fixed, confidence=confidence)
            rows.append(row(run, table, name, kind, plain, Column(header, "")))
            column = Column(f"{header}, {held}", "")
            rows.append(row(run, table, name, f"{kind}_partial", partial, column))
            tests.append((len(rows), name, kind, p_value))
    adjusted = _adjusted([p_value for *_, p_value in tests])
    for (at, name, kind, _), p_value in reversed(list(zip(tests, adjusted, strict=True))):
        cell = row(run, table, name, f"{kind}_p", p_value, Column("Holm's p", "p"))
        rows.insert(at, cell)
    return build(
        run,
        rows,
        sources,
        title=title,
        notes=[
            note,
            f"None where fewer than {_FEWEST} images are on one side. Holm's p, of the partial "
            "correlation, is over the whole table.",
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="Fisher's",
        unreported="",
    )


@over_seeds()
def confident_errors_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Where is a model confidently wrong?

    Args:
        run: whose clean, corruption and saliency records are read.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Of the clean images
        that the model is confident of (:data:`CONFIDENT`), the share it gets wrong, over all and in
        its worst class (with the p-value, Holm's over models, that all classes are alike); the same
        of corrupted versions at the highest severity; and how much lower its IoU is where it is
        confidently wrong than where it is confidently right. The worst class's interval is that of
        one class, not of the worst of ten: a note says so. Facts ``worst_<model>`` name classes.

    Raises:
        RecordError: a model has no record, or lacks one of them.
    """
    level, source = run.settings.evaluation.confidence, run.mask_source
    rows, sources, tests, facts = [], [], [], {}
    classes, rough = [], []
    for name in names:
        frame = joined.load(run, name, needs=["confidence", f"iou_{source}"])
        sources += [about for kind, about in frame.attrs["sources"].items() if kind in _ASKED]
        sure = frame[frame["confidence"] >= CONFIDENT]
        wrong = ~sure["clean_correct"].astype(bool)
        by_class = wrong.groupby(sure["label"]).agg(["sum", "size"])
        by_class = by_class[by_class["size"] >= _FEWEST]
        worst, p_value = UNDEFINED, None
        if len(by_class) > 1 and 0 < by_class["sum"].sum() < by_class["size"].sum():
            at = (by_class["sum"] / by_class["size"]).idxmax()
            worst = _share(*by_class.loc[at], level)
            facts[f"worst_{name.replace('-', '_')}"] = run.classes[int(at)]
            p_value, expected = _alike(by_class)
            classes.append(len(by_class))
            rough += [short_label(name)] * (expected < _FEWEST_EXPECTED)
        certainty, right = outcomes(run, name).at_severity(5)
        corrupted = ~right[certainty >= CONFIDENT]
        overlap = sure[f"iou_{source}"]
        mistaken, justified = (overlap[side].dropna().to_numpy(float) for side in (wrong, ~wrong))
        gap = UNDEFINED
        if min(len(mistaken), len(justified)) >= _FEWEST:
            gap = difference_of_means(mistaken, justified, confidence=level)
        cells = [
            ("confident", _share(len(sure), len(frame), level), "Confident (%)", "%"),
            ("wrong", _share(wrong.sum(), len(wrong), level), "Of These Wrong (%)", "%"),
            ("worst_class", worst, "In the Worst Class (%)", "%"),
            ("corrupted", Estimate(100 * corrupted.mean()) if len(corrupted) else UNDEFINED,
             "Corrupted, Wrong (%)", "%"),
            ("iou_gap", gap, "IoU, Wrong less Right", ""),
        ]  # fmt: skip
        rows += [row(run, "confident_errors", name, q, e, Column(h, u)) for q, e, h, u in cells]
        tests.append((len(rows) - 2, name, p_value))
    adjusted = _adjusted([p_value for *_, p_value in tests])
    for (at, name, _), p_value in reversed(list(zip(tests, adjusted, strict=True))):
        column = Column("Classes Alike, Holm's p", "p")
        rows.insert(at, row(run, "confident_errors", name, "classes_p", p_value, column))
    return build(
        run,
        rows,
        sources,
        title=f"Mistakes made with a confidence of {CONFIDENT:g} or more",
        notes=[
            "Corrupted: over all corruptions at severity 5; no interval, for versions of an image "
            "are not independent. Classes alike: chi-squared test that the share is the same in "
            f"every class, of those with {_FEWEST} such images or more.",
            *_cautions(classes, rough),
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="Wilson's; Welch's for IoU",
        unreported="",
        facts=facts,
    )


def seconds(run: Run, name: str) -> float:
    """What a model cost to train, with the models that it starts from."""
    summary = run.summary(name)
    parent = summary.get("parent")
    return float(summary["seconds"]) + (seconds(run, parent) if parent else 0.0)


_READ = ("clean", "pgd", "corruptions", "saliency")
_ASKED = (*_READ, "fgsm")


def _both_sides(values: pd.Series) -> bool:
    """Whether a value varies, and each side of a yes-or-no value has enough images."""
    counts = values.value_counts()
    return len(counts) > 1 and (len(counts) > 2 or counts.min() >= _FEWEST)


def _share(count: float, n: float, confidence: float) -> Estimate:
    return proportion(int(count), int(n), confidence) if n else UNDEFINED


def _alike(by_class: pd.DataFrame) -> tuple[float, float]:
    """The p-value of the chi-squared test that all classes have the same share.

    And the smallest count that it expects of a class, by which to judge it.
    """
    from scipy.stats import chi2_contingency

    table = np.stack([by_class["sum"], by_class["size"] - by_class["sum"]])
    found = chi2_contingency(table)
    return float(found.pvalue), float(found.expected_freq.min())


def _cautions(classes: Sequence[int], rough: Sequence[str]) -> list[str]:
    """What to bear in mind of worst classes, picked among so many, and of tests that are rough."""
    said = []
    if classes:
        fewest, most = min(classes), max(classes)
        many = f"{most}" if fewest == most else f"{fewest} to {most}"
        said.append(
            f"Worst class: picked as the worst of {many} classes. Its share leans high for that, "
            "and its interval, which is that of one class by itself, is too narrow."
        )
    if rough:
        said.append(
            f"The test is rough where it expects fewer than {_FEWEST_EXPECTED} images right or "
            f"wrong in a class: {'; '.join(rough)}."
        )
    return said


def _adjusted(p_values: Sequence[float | None]) -> list[Estimate]:
    """Holm's adjustment over the tests that were made."""
    made = [p for p in p_values if p is not None]
    held = iter(holm(made) if made else [])
    return [UNDEFINED if p is None else Estimate(next(held)) for p in p_values]
