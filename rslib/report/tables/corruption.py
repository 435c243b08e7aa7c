"""What corruptions do to accuracy and calibration (paper 3.5, 4.5): Table 5 and what is behind it.

The paper's corruption errors are divided by those of a reference model that it does not publish;
here the reference is trained in the same run and its errors are measured on the same images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib.corruptions import ALL19, CATEGORIES, SEVERITIES, TEST15
from rslib.metrics import holm
from rslib.metrics.bootstrap import sign_flips
from rslib.metrics.estimates import UNDEFINED, Estimate, on_images
from rslib.report.labels import corrupted_phrase, corruption_label, short_label
from rslib.report.seeds import fills
from rslib.report.table import Table
from rslib.report.tradeoffs import ratio, relative
from rslib.run.outcomes import Outcomes, added, added_outcomes, outcomes
from rslib.settings.names import REFERENCE, ROBUSTNESS

if TYPE_CHECKING:
    from rslib.run import Run

# With fewer images in a group, its mean says nothing.
_FEWEST = 5


@fills(
    "table5",
    same_images=True,
    intervals="bootstrap over images, drawn for model and reference together",
    unreported="not reported",
)
def table5(table: Table, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE) -> None:
    """Table 5: corruption errors relative to the reference, by category and mean (paper 4.5).

    The paper's mCE column equals the mean of its four categories; equation 14 is the mean over
    corruptions. Both are shown, over all 19 corruptions, with the mean over the benchmark's 15.
    Added corruptions have a column each. Facts are the reference's digest and mean error
    (``reference_digest``, ``reference_error``), and ``origin``, of the corrupted images.

    Raises:
        rslib.corruptions.mce.ReferenceMismatch: the reference saw other images.
    """
    run, table.sizes = table.run, [*names, reference]
    base = _outcomes(table, reference)
    divisor, origin = base.errors(), corrupted_phrase(base.data)
    error = 100 * float(np.mean([divisor.errors[name] for name in ALL19]))
    table.title = (
        "Table 5. Corruption error relative to the reference model (paper 4.5), over "
        f"{len(ALL19)} corruptions at 5 severities: {origin}"
    )
    table.notes = [
        f"Reference: {short_label(reference)}, trained in this run, with a mean error of "
        f"{error:.1f} % on the same images ({100 * divisor.clean:.1f} % clean); digest "
        f"{divisor.digest[:10]}. 1 is the reference's error, and lower is better.",
        "mCE is the mean over corruptions (equation 14). The paper's column equals the mean of "
        "its four categories. Relative mCE counts the increase over the clean error. Mean "
        "error is not divided by anything.",
    ]
    table.facts = {"reference_digest": divisor.digest, "reference_error": error}
    table.facts["origin"] = base.data["origin"]
    names = table.rows(names)
    extra = added(run, [*names, reference])
    if extra:
        table.notes.append("Added corruptions enter none of the means.")
    for name in names:
        found = _outcomes(table, name)
        score, ends = relative(found, base, ALL19, table.confidence)
        score15, ends15 = relative(found, base, TEST15, table.confidence)
        n = len(found.images)
        for category in CATEGORIES:
            each = ratio(score.categories[category], ends.categories[category], n)
            table.add(name, category, each)
        for quantity, value, interval, header in (
            ("mce", score.mce, ends.mce, None),
            ("category_mean", score.category_mean, ends.category_mean, "Mean of Categories"),
            ("mce_test15", score15.mce, ends15.mce, "mCE, 15 Corruptions"),
            ("relative_mce", score.relative_mce, ends.relative_mce, "Relative mCE"),
        ):
            table.add(name, quantity, ratio(value, interval, n), header, "ratio")
        low, high = ends.error
        wrong = Estimate(100 * score.error, 100 * low, 100 * high, n, "bootstrap")
        table.add(name, "error", wrong, "Mean Error (%)")
        if extra:
            _add_errors(table, added_outcomes(run, name), added_outcomes(run, reference), extra)


@fills("corruption", same_images=True, intervals="bootstrap over images")
def corruption_table(
    table: Table, names: Sequence[str] = ROBUSTNESS, *, reference: str = REFERENCE
) -> None:
    """The corruption error of each corruption, relative to the reference's (3.5, equation 15)."""
    run, base = table.run, _outcomes(table, reference)
    table.title = f"Corruption error relative to {short_label(reference)}, corruption by corruption"
    table.title += f" (paper 3.5): {corrupted_phrase(base.data)}"
    names = table.rows(names)
    extra = added(run, [*names, reference])
    for name in names:
        _add_errors(table, _outcomes(table, name), base, ALL19)
        if extra:
            _add_errors(table, added_outcomes(run, name), added_outcomes(run, reference), extra)


@fills(
    "severity", same_images=True, intervals="Wilson's score for clean accuracy, bootstrap otherwise"
)
def severity_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """Accuracy and calibration error by severity, over all corruptions (paper 4.1, 4.5)."""
    bins = table.run.settings.evaluation.ece_bins
    table.notes = [
        f"ECE in {bins} equally wide bins of confidence, over the 19 corrupted versions of each "
        "image taken as images of their own, which makes its intervals too narrow."
    ]
    for name in table.rows(names):
        found = _outcomes(table, name)
        table.add(name, "accuracy_0", table.accuracy(~found.clean_wrong), "Acc, Clean (%)")
        for row, severity in enumerate(SEVERITIES):
            right = 100 * (1 - np.mean([wrong[row] for wrong in found.wrong.values()], axis=0))
            header = f"Acc, Severity {severity} (%)"
            table.add(name, f"accuracy_{severity}", table.mean(right), header)
        for severity in SEVERITIES:
            error = table.confidence_error(*found.at_severity(severity), bins=bins)
            table.add(name, f"ece_{severity}", error, f"ECE, Severity {severity}")
    over = f"over all corruptions: {corrupted_phrase(found.data)}"
    table.title = f"Accuracy and expected calibration error by severity, {over}"


@fills(
    "corruption_difference",
    "Error of A less error of B under each corruption, over all severities (paper 4.5)",
    note="Below 0, A is the more robust.",
    compared="all",
    same_images=True,
    intervals="bootstrap over images, paired",
    pairs="Models A and B",
)
def corruption_difference_table(table: Table, pairs: Sequence[tuple[str, str]]) -> None:
    """A's error less B's by corruption, and under ``"all"`` nineteen, in points (paper 4.5)."""
    run, table.sizes = table.run, [name for pair in pairs for name in pair]
    pairs = table.rows(pairs)
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    extra, errors = added(run, names), {}
    for name in names:
        table.read(name, "corruptions")
        found = outcomes(run, name)
        wrong = {corruption: found.wrong[corruption] for corruption in ALL19}
        if extra:
            wrong |= added_outcomes(run, name).wrong
        errors[name] = {corruption: 100 * rows.mean(0) for corruption, rows in wrong.items()}
        errors[name]["all"] = 100 * found.share_wrong()
    for pair in pairs:
        first, second = (errors[name] for name in pair)
        for corruption, error in first.items():
            gap = table.mean_difference(error, second[corruption])
            table.add(pair, corruption, gap, corruption_label(corruption), "points")


def clearly_changed(run: Run, a: str, b: str) -> tuple[int, int]:
    """Count the corruptions under which model a's error is clearly (lower, higher) than model b's.

    Nineteen intervals of 95 % would find about one difference where there is none. Here each
    corruption has a paired test over images, and Holm's method corrects the nineteen together.
    """
    first, second = outcomes(run, a).wrong, outcomes(run, b).wrong
    # How many of an image's five versions each gets wrong: whole numbers, so sums are exact.
    gaps = np.stack([first[c].sum(0) - second[c].sum(0) for c in ALL19], axis=1)
    clear = np.array(holm(sign_flips(gaps))) < 1 - run.settings.evaluation.confidence
    means = gaps.mean(0)
    return int((clear & (means < 0)).sum()), int((clear & (means > 0)).sum())


@fills(
    "agreement",
    "Corrupted versions that are still right, for images that PGD leaves and images that it breaks "
    "(paper 5.3), among those that are right when clean",
    intervals="Welch's",
)
def agreement_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """Do corruptions break the images that attacks break (paper 5.3)?

    In what share of its 95 corrupted versions is an image of each group still right? A model with
    fewer than 5 images in one of the groups has only their numbers; the fact ``compared`` counts
    the other models.
    """
    table.notes = [f"No comparison where one of the groups has fewer than {_FEWEST} images."]
    table.sizes, table.facts["compared"] = names, 0
    for name in table.rows(names):
        found, pgd = _outcomes(table, name), table.read(name, "pgd")
        common = np.isin(found.images, pgd["image"])
        attacked = on_images(pgd, found.images[common])
        right = attacked["clean_correct"].to_numpy(bool)
        stays = attacked["correct"].to_numpy(bool)[right]
        share = 100 * (1 - found.share_wrong()[common][right])
        left, broken, n = share[stays], share[~stays], len(share)
        left_right = broken_right = gap = UNDEFINED
        if min(len(left), len(broken)) >= _FEWEST:
            table.facts["compared"] += 1
            left_right, broken_right = Estimate(float(left.mean())), Estimate(float(broken.mean()))
            gap = table.difference_of_means(left, broken)
        table.add(name, "left", Estimate(len(left), n=n), "Left by PGD", "images")
        table.add(name, "broken", Estimate(len(broken), n=n), "Broken by PGD", "images")
        table.add(name, "left_right", left_right, "Versions Right, Left (%)")
        table.add(name, "broken_right", broken_right, "Versions Right, Broken (%)")
        table.add(name, "gap", gap, "Difference (points)")


def _outcomes(table: Table, name: str) -> Outcomes:
    return Outcomes.from_records(*table.read(name, "corruptions", "clean"))


def _add_errors(table: Table, found: Outcomes, base: Outcomes, names: Sequence[str]) -> None:
    """Add a model's error under each corruption, relative to the reference."""
    score, ends = relative(found, base, names, table.confidence)
    for each in names:
        error = ratio(score.ce[each], ends.ce[each], len(found.images))
        table.add(found.model, each, error, corruption_label(each), "ratio")
