"""What is traded for what, and which images pay for it (paper 4.6, 5.3): behind Figure 4.

The last three tables ask the joined per-image records (:mod:`rslib.run.joined`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.metrics import pareto
from rslib.metrics.estimates import UNDEFINED, Estimate
from rslib.report import tradeoffs
from rslib.report.labels import mask_label, short_label
from rslib.report.seeds import fills
from rslib.report.table import Table
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
_READ = ("clean", "pgd", "corruptions", "saliency")


@fills(
    "tradeoffs",
    "Every model on every axis (paper 4.6)",
    intervals="Wilson's score; bootstrap for mCE, IoU and ECE",
)
def tradeoff_table(table: Table, names: Sequence[str]) -> None:
    """All models on all axes, AutoAttack where it was run, and the time to train (paper 4.6)."""
    run, table.sizes = table.run, names
    table.notes = [
        f"IoU is of the top 30 % of the saliency with {mask_label(run.mask_source)} masks. mCE is "
        "relative to the run's reference model; lower is better for it and for ECE. Training time "
        "includes that of the models that a model starts from."
    ]
    for name in table.rows(names):
        left = UNDEFINED
        if run.has_record(name, "autoattack"):
            left = table.accuracy(table.read(name, "autoattack")["correct"])
        table.read(name, *_READ)
        for axis in tradeoffs.AXES:
            if axis.name == "mce":
                table.add(name, "autoattack_accuracy", left, "AutoAttack Acc (%)")
            estimate = tradeoffs.measured(run, name, axis.name)
            table.add(name, axis.name, estimate, axis.header, axis.unit)
        hours = Estimate(seconds(run, name) / 3600)
        table.add(name, "training_hours", hours, "Training Time", "h")


@fills(
    "pareto",
    "How often each model is on the Pareto front (paper 4.6), in percent of "
    f"{tradeoffs.RESAMPLES:,} resamples of the test images",
    note="The five axes are accuracy, accuracy under PGD, mCE, IoU and ECE.",
    intervals="",
)
def pareto_table(table: Table, names: Sequence[str]) -> None:
    """How surely each model is on the Pareto front (paper 4.6).

    Quantities are ``plane`` (accuracy and PGD accuracy) and ``all`` (the five axes), the share of
    resamples in which no other model is at least as good on every axis and better on one. Facts of
    the same names are how many models are on the front of the estimates themselves.
    """
    run, table.sizes = table.run, names
    for name in names:
        table.read(name, *_READ)
    axes = [axis.name for axis in tradeoffs.AXES]
    values, drawn = tradeoffs.place(run, names, axes), tradeoffs.resampled(run, names, axes)
    shares = {}
    for kind, chosen in (("plane", ("clean_accuracy", "pgd_accuracy")), ("all", axes)):
        columns = [axes.index(axis) for axis in chosen]
        higher = [tradeoffs.AXES[column].higher for column in columns]
        shares[kind] = 100 * pareto.membership(drawn[:, :, columns], higher)
        table.facts[kind] = int(pareto.front(values[:, columns], higher).sum())
    for name, plane, every in zip(names, shares["plane"], shares["all"], strict=True):
        table.add(name, "plane", Estimate(float(plane)), "On the Front of Accuracy and PGD (%)")
        table.add(name, "all", Estimate(float(every)), "On the Front of All Five (%)")


@fills(
    "breakage",
    "Rank correlation between being right under attack and the share of corrupted versions that "
    "are right (paper 5.3), among images that are right when clean",
    note="Above 0: what attacks break, corruptions break. Equal confidence: partial correlation "
    "given the clean image's confidence.",
    intervals="Fisher's",
)
def breakage_table(table: Table, names: Sequence[str]) -> None:
    """Are the images that corruptions break those that attacks break (paper 5.3)?

    An image far from the boundary resists everything, so the correlation is given among images of
    equal confidence, too. Undefined where fewer than 5 images are right under the attack, or fewer
    than 5 are not.
    """
    kinds = {"fgsm": ("FGSM", "fgsm_correct"), "pgd": ("PGD", "pgd_correct")}
    _correlations(table, names, kinds, "corruption_right", ["confidence"], "Equal Confidence")


@fills(
    "overlap_robustness",
    "Rank correlation of IoU with robustness, image by image, among images that are right when "
    "clean",
    intervals="Fisher's",
)
def overlap_robustness_table(table: Table, names: Sequence[str]) -> None:
    """Does high overlap of saliency and object go with robustness, image by image?

    Large objects overlap with anything, so the correlation is given among images of equal
    confidence and object size, too.
    """
    source = table.run.mask_source
    table.notes = [
        f"IoU is with {mask_label(source)} masks. PGD: whether the image is right under it; "
        "corruptions: the share of its corrupted versions that are right. Equal confidence and "
        "size: partial correlation given the clean image's confidence and the mask's size."
    ]
    kinds = {"pgd": ("PGD", "pgd_correct"), "corruptions": ("Corruptions", "corruption_right")}
    given, held = ["confidence", f"coverage_{source}"], "Equal Confidence and Size"
    _correlations(table, names, kinds, f"iou_{source}", given, held)


def _correlations(
    table: Table,
    names: Sequence[str],
    kinds: Mapping[str, tuple[str, str]],
    against: str,
    given: Sequence[str],
    held: str,
) -> None:
    """Add plain and partial correlations; ``kinds`` has a quantity's header and column."""
    table.sizes = names
    table.notes.append(
        f"None where fewer than {_FEWEST} images are on one side. Holm's p, of the partial "
        "correlation, is over the whole table."
    )
    for name in table.rows(names):
        read = {column for _, column in kinds.values()} | {against, *given}
        frame = _joined(table, name, ["corruption_error", *sorted(read - {"corruption_right"})])
        frame["corruption_right"] = 1 - frame["corruption_error"]
        right = frame["clean_correct"].fillna(False).astype(bool)
        for kind, (header, column) in kinds.items():
            known = frame.loc[right, [column, against, *given]].dropna().astype(float)
            plain = partial = test = UNDEFINED
            counts = known[column].value_counts()
            # A value that is not yes or no has only to vary.
            if len(counts) > 2 or (len(counts) == 2 and counts.min() >= _FEWEST):
                one, other, *fixed = known.to_numpy().T
                plain, _ = table.rank_correlation(one, other)
                partial, p_value = table.rank_correlation(one, other, fixed)
                if p_value is not None:
                    test = Estimate(p_value)
            table.add(name, kind, plain, header)
            table.add(name, f"{kind}_partial", partial, f"{header}, {held}")
            table.add(name, f"{kind}_p", test, "Holm's p", "p")
    table.holm("_p")


@fills(
    "confident_errors",
    f"Mistakes made with a confidence of {CONFIDENT:g} or more",
    intervals="Wilson's; Welch's for IoU",
)
def confident_errors_table(table: Table, names: Sequence[str]) -> None:
    """Where is a model confidently wrong?

    Of the clean images that it is confident of (:data:`CONFIDENT`), the share it gets wrong, over
    all and in its worst class (with the p-value that all classes are alike); the same of corrupted
    versions at the highest severity; and how much lower its IoU is there. Facts ``worst_<model>``
    name the classes.
    """
    from scipy.stats import chi2_contingency

    run, table.sizes = table.run, names
    table.notes = [
        "Corrupted: over all corruptions at severity 5; no interval, for versions of an image are "
        "not independent. Classes alike: chi-squared test that the share is the same in every "
        f"class, of those with {_FEWEST} such images or more."
    ]
    iou, classes, rough = f"iou_{run.mask_source}", [], []
    for name in table.rows(names):
        frame = _joined(table, name, ["confidence", iou])
        sure = frame[frame["confidence"] >= CONFIDENT]
        wrong = ~sure["clean_correct"].astype(bool)
        by_class = wrong.groupby(sure["label"]).agg(["sum", "size"])
        by_class = by_class[by_class["size"] >= _FEWEST]
        worst = alike = gap = corrupted = UNDEFINED
        if len(by_class) > 1 and 0 < by_class["sum"].sum() < by_class["size"].sum():
            at = (by_class["sum"] / by_class["size"]).idxmax()
            worst = _share(table, *by_class.loc[at])
            table.facts[f"worst_{name.replace('-', '_')}"] = run.classes[int(at)]
            counts = [by_class["sum"], by_class["size"] - by_class["sum"]]
            test = chi2_contingency(np.stack(counts))
            alike = Estimate(float(test.pvalue))
            classes.append(len(by_class))
            if test.expected_freq.min() < _FEWEST_EXPECTED:
                rough.append(short_label(name))
        mistaken, justified = (sure[iou][side].dropna().to_numpy(float) for side in (wrong, ~wrong))
        if min(len(mistaken), len(justified)) >= _FEWEST:
            gap = table.difference_of_means(mistaken, justified)
        certainty, right = outcomes(run, name).at_severity(5)
        missed = ~right[certainty >= CONFIDENT]
        if len(missed):
            corrupted = Estimate(100 * missed.mean())
        mistakes = _share(table, wrong.sum(), len(wrong))
        table.add(name, "confident", _share(table, len(sure), len(frame)), "Confident (%)")
        table.add(name, "wrong", mistakes, "Of These Wrong (%)")
        table.add(name, "worst_class", worst, "In the Worst Class (%)")
        table.add(name, "classes_p", alike, "Classes Alike, Holm's p", "p")
        table.add(name, "corrupted", corrupted, "Corrupted, Wrong (%)")
        table.add(name, "iou_gap", gap, "IoU, Wrong less Right")
    table.holm("_p")
    if classes:
        fewest, most = min(classes), max(classes)
        many = f"{most}" if fewest == most else f"{fewest} to {most}"
        table.notes.append(
            f"Worst class: picked as the worst of {many} classes. Its share leans high for that, "
            "and its interval, which is that of one class by itself, is too narrow."
        )
    if rough:
        table.notes.append(
            f"The test is rough where it expects fewer than {_FEWEST_EXPECTED} images right or "
            f"wrong in a class: {'; '.join(rough)}."
        )


def seconds(run: Run, name: str) -> float:
    """What a model cost to train, with the models that it starts from."""
    summary = run.summary(name)
    parent = summary.get("parent")
    return float(summary["seconds"]) + (seconds(run, parent) if parent else 0.0)


def _joined(table: Table, name: str, needs: Sequence[str]) -> pd.DataFrame:
    frame = joined.load(table.run, name, needs=needs)
    read = frame.attrs["sources"]
    table.note(*(read[kind] for kind in read if kind in (*_READ, "fgsm")))
    return frame


def _share(table: Table, count: float, n: float) -> Estimate:
    return table.proportion(int(count), int(n)) if n else UNDEFINED
