"""Tables the paper promises and omits: AutoAttack, randomized smoothing, and paired tests.

The paper names AutoAttack among its attacks (3.2.1) and randomized smoothing among its defenses
(3.2.2), and tabulates neither; it compares models on the same images without a test. Call these as
``tables.autoattack_table`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib.metrics.estimates import (
    Estimate,
    accuracy,
    certified_accuracy,
    mean_radius,
    on_images,
    paired_difference,
)
from rslib.paper import Column
from rslib.report.frames import build, flat, row
from rslib.report.labels import budget, count, evaluation_label, pgd_phrase, short_label, sizes
from rslib.report.seeds import over_seeds
from rslib.settings.names import ROBUSTNESS

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

STAGES = {
    "known": "PGD",
    "apgd-ce": "APGD-CE",
    "apgd-t": "APGD-T",
    "apgd-dlr": "APGD-DLR",
    "fab": "FAB",
    "fab-t": "FAB-T",
    "square": "Square",
}
"""What can break an image in AutoAttack, as the table heads it."""

RADII = {"certified_0": 0.0, "certified_025": 0.25, "certified_05": 0.5}
"""The l2 radii of the smoothing table, in [0, 1] pixel units."""

# A certified l2 ball holds an l-infinity ball that is smaller by the square root of this.
PIXEL_VALUES = 3 * 32 * 32


@over_seeds()
def autoattack_table(run: Run, names: Sequence[str] = ROBUSTNESS) -> pd.DataFrame:
    """AutoAttack beside PGD on the same images, and what each of its stages leaves (paper 3.2.1).

    The paper names AutoAttack among its three attacks and reports no result of it. A PGD accuracy
    well above AutoAttack's on the same images overstates robustness, so their difference stands
    beside them. Columns are cumulative, since each stage tries only the images that are left, or
    individual where ``autoattack.individual`` asked for each attack by itself; headers say which.

    Args:
        run: whose clean, PGD and AutoAttack records are read; nothing is computed.
        names: models, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Its facts are what ran
        (``label``, ``package``), how many warnings its own checks raised (``flag_count``), and per
        model their text (``<model>_flags``, "none" where there is none) and the number of images
        that a fresh forward pass judged otherwise (``<model>_mismatches``).

    Raises:
        RecordError: a record has not been made, or PGD was run on fewer images than AutoAttack.
    """
    chosen = run.settings
    confidence = chosen.evaluation.confidence
    rows, sources, facts, flags = [], [], {}, {}
    for name in names:
        record = run.record(name, "autoattack")
        kinds = {kind: run.record(name, kind) for kind in ("clean", "pgd")}
        sources += [record.attrs, *(other.attrs for other in kinds.values())]
        right = {kind: on_images(r, record["image"])["correct"] for kind, r in kinds.items()}
        gap = paired_difference(right["pgd"], record["correct"], confidence=confidence)
        # Position 0 is "wrong when clean", which the first column shows.
        stages = list(enumerate(record.attrs["notes"]["stages"]))[1:]
        if not chosen.autoattack.skip_broken_by_pgd:
            stages = [(place, stage) for place, stage in stages if stage != "known"]
        found = [
            ("clean_accuracy", right["clean"], "Clean Acc (%)"),
            ("pgd_accuracy", right["pgd"], "PGD Acc (%)"),
            ("autoattack_accuracy", record["correct"], "AutoAttack Acc (%)"),
            *_cumulative(record["broken_by"], stages),
            *_individual(record, stages),
        ]
        estimates = [
            (quantity, accuracy(correct, confidence=confidence), Column(header, "%"))
            for quantity, correct, header in found
        ]
        estimates.insert(3, ("pgd_gap", gap, Column("PGD − AutoAttack (points)", "points")))
        rows += [row(run, "autoattack", name, *each) for each in estimates]
        notes = record.attrs["notes"]
        flags[name] = notes["flags"]
        facts[f"{flat(name)}_flags"] = "; ".join(notes["flags"]) or "none"
        facts[f"{flat(name)}_mismatches"] = int(notes["mismatches"])
    ran = [source["notes"] for source in sources if source["evaluation"] == "autoattack"]
    facts["label"] = " and ".join(dict.fromkeys(notes["label"] for notes in ran))
    facts["package"] = " and ".join(dict.fromkeys(notes["package"] for notes in ran))
    facts["flag_count"] = sum(map(len, flags.values()))
    return build(
        run,
        rows,
        sources,
        title=(
            "AutoAttack, which the paper promises (3.2.1) and never tabulates: accuracy with "
            f"budget {budget(chosen.autoattack)}, beside {pgd_phrase(chosen.pgd)}"
        ),
        notes=[
            f"What ran: {facts['label']}; {facts['package']}, in batches of "
            f"{chosen.autoattack.batch_size}.",
            "All columns are about the same images. Cumulative: the accuracy that this stage and "
            "those before it leave, since each tries only the images that are left."
            + " Individual: under that attack by itself."
            * chosen.autoattack.individual,
            *_budgets_differ(run),
            *_warnings(flags),
            *_mismatches(facts, names),
        ],
        same_images=True,
        intervals="Wilson's score, and Agresti and Min's for the paired difference",
        unreported="none reported",
        facts=facts,
    )


@over_seeds()
def smoothing_table(run: Run, names: Sequence[str] = ROBUSTNESS) -> pd.DataFrame:
    """What randomized smoothing certifies (paper 3.2.2, which reports no result of it).

    Args:
        run: whose clean and smoothing records are read; nothing is computed.
        names: base classifiers, in order.

    Returns:
        One row per model and quantity; see :func:`rslib.report.frames.save`. Its facts are the
        settings (``sigma``, ``n0``, ``samples``, ``alpha``), the largest radius that they can
        certify (``ceiling``), and what that guarantees in l-infinity, in 255ths (``ceiling_linf``).

    Raises:
        RecordError: a record has not been made; says how to make it.
    """
    from rslib.smoothing import largest_radius

    chosen, confidence = run.settings.smoothing, run.settings.evaluation.confidence
    ceiling = largest_radius(chosen.samples, sigma=chosen.sigma, alpha=chosen.alpha)
    facts = {
        "sigma": chosen.sigma,
        "n0": chosen.selection_samples,
        "samples": chosen.samples,
        "alpha": chosen.alpha,
        "ceiling": ceiling,
        "ceiling_linf": 255 * ceiling / PIXEL_VALUES**0.5,
    }
    rows, sources = [], []
    for name in names:
        record, clean = run.record(name, "smoothing"), run.record(name, "clean")
        sources += [record.attrs, clean.attrs]
        plain = on_images(clean, record["image"])["correct"]
        found = [
            ("clean_accuracy", accuracy(plain, confidence=confidence), "Clean Acc, Unsmoothed (%)"),
            *_certified(record, ceiling, confidence),
            (
                "abstained",
                accuracy(record["prediction"] < 0, confidence=confidence),
                "Abstained (%)",
            ),
        ]
        rows += [
            row(run, "smoothing", name, quantity, estimate, Column(header, "%"))
            for quantity, estimate, header in found
        ]
        radius = mean_radius(record, confidence=confidence)
        rows.append(row(run, "smoothing", name, "mean_radius", radius, Column("Mean Radius", "")))
    return build(
        run,
        rows,
        sources,
        title=(
            "Certified accuracy by randomized smoothing, which the paper describes (3.2.2) and "
            f"never tabulates: noise of standard deviation {chosen.sigma:g}, "
            f"{chosen.selection_samples:,} votes to choose a class and {chosen.samples:,} to "
            f"certify it, each certificate wrong with probability at most {chosen.alpha:g}"
        ),
        notes=[
            "Radii are l2 lengths in units of the image range. At radius 0 certified accuracy is "
            "the accuracy of the smoothed classifier, abstentions counted as wrong; the mean "
            "radius counts wrong answers and abstentions as 0.",
            f"These votes cannot certify a radius above {ceiling:.3f}, however robust the model "
            "is.",
            f"An l2 radius of {ceiling:.3f} guarantees only {ceiling:.3f}/√{PIXEL_VALUES} = "
            f"{facts['ceiling_linf']:.1f}/255 in l-infinity: never compare these columns with "
            "accuracies under l-infinity attacks.",
        ],
        same_images=True,
        intervals="Wilson's score, and bootstrap for the mean radius",
        unreported="none reported",
        facts=facts,
    )


@over_seeds(compared="difference")
def mcnemar_table(
    run: Run, pairs: Sequence[tuple[str, str]], evaluated: str = "pgd"
) -> pd.DataFrame:
    """McNemar's exact test between models on the same images (paper 4.2 compares without one).

    It speaks of these weights: a claim about training methods needs several seeds, over which the
    differences are tested where a run has them (:mod:`rslib.report.seeds`).

    Args:
        run: whose records are read; nothing is computed.
        pairs: models A and B, pair by pair; all pairs are one family for Holm's correction.
        evaluated: one of ``rslib.run.evaluations.EVALUATIONS``. Under ``"smoothing"`` an abstention
            is wrong.

    Returns:
        One row per pair and quantity; see :func:`rslib.report.frames.save`. The table is called
        ``mcnemar_<evaluated>``, the "model" of a row ``<A>_vs_<B>``, and its quantities are
        ``only_a`` and ``only_b`` (images that only one gets right), ``difference`` (A's accuracy
        less B's, in points), ``p`` and ``p_holm``.

    Raises:
        RecordError: a record has not been made; says how to make it.
        ValueError: there is no pair, or one is of a model with itself.
    """
    from rslib.metrics import holm, mcnemar

    table, confidence = f"mcnemar_{evaluated}", run.settings.evaluation.confidence
    if not pairs:
        raise ValueError("pairs is empty: a comparison needs at least one pair of models")
    tests, sources = [], {}
    for a, b in pairs:
        if a == b:
            raise ValueError(f"{a} is paired with itself: a comparison needs two models")
        first, second = run.record(a, evaluated), run.record(b, evaluated)
        sources |= {a: first.attrs, b: second.attrs}
        right = first["correct"], on_images(second, first["image"])["correct"]
        gap = paired_difference(*right, confidence=confidence)
        tests.append((a, b, mcnemar(*(r.to_numpy() for r in right)), gap))
    adjusted = holm([test.p_value for _, _, test, _ in tests])
    rows = []
    for (a, b, test, gap), p_holm in zip(tests, adjusted, strict=True):
        pair = {
            "model": f"{a}_vs_{b}",
            "label": f"A: {short_label(a)}",
            "training": f"B: {short_label(b)}",
        }
        rows += [
            row(run, table, a, quantity, estimate, Column(header, unit)) | pair
            for quantity, estimate, header, unit in (
                ("only_a", Estimate(test.b, n=gap.n), "Only A Right", "images"),
                ("only_b", Estimate(test.c, n=gap.n), "Only B Right", "images"),
                ("difference", gap, "A − B (points)", "points"),
                ("p", Estimate(test.p_value, n=gap.n), "p, Exact", "p"),
                ("p_holm", Estimate(p_holm, n=gap.n), "p, Holm", "p"),
            )
        ]
    frame = build(
        run,
        rows,
        sources.values(),
        title=f"McNemar's exact test on the same images ({_compared(run, evaluated)})",
        notes=[
            "The paper compares models without a test. "
            f"Holm's correction is over the {count(len(tests), 'comparison')} of this table. The "
            "test speaks of these weights, not of training methods.",
            *(f"{text}." for text in [sizes(run, list(sources))] if text),
        ],
        intervals="Agresti and Min's for the paired difference",
        unreported="",
        facts={"comparisons": len(tests)},
    )
    frame.attrs["pairs"] = "Models A and B"
    return frame


def _cumulative(
    broken_by: pd.Series, stages: Sequence[tuple[int, str]]
) -> list[tuple[str, pd.Series, str]]:
    """Quantity, images still right after each stage, and header."""
    return [
        (
            f"after_{flat('pgd' if stage == 'known' else stage)}",
            (broken_by < 0) | (broken_by > place),
            f"After {STAGES.get(stage, stage)}, Cumulative (%)",
        )
        for place, stage in stages
    ]


def _individual(
    record: pd.DataFrame, stages: Sequence[tuple[int, str]]
) -> list[tuple[str, pd.Series, str]]:
    """Quantity, images still right under each attack by itself, and header."""
    return [
        (
            f"alone_{flat(stage)}",
            record[f"alone_{stage}"],
            f"{STAGES.get(stage, stage)}, Individual (%)",
        )
        for _, stage in stages
        if f"alone_{stage}" in record
    ]


def _certified(
    record: pd.DataFrame, ceiling: float, confidence: float
) -> list[tuple[str, Estimate, str]]:
    found = []
    for quantity, radius in (RADII | {"certified_ceiling": ceiling}).items():
        estimate = certified_accuracy(record, radius, confidence=confidence)
        if radius > ceiling:
            # Zero by construction: no sampling could have made it otherwise.
            estimate = Estimate(0.0, n=estimate.n)
        header = f"Certified at {radius:g} (%)"
        if quantity == "certified_ceiling":
            header = f"Certified at Ceiling {radius:.3f} (%)"
        found.append((quantity, estimate, header))
    return found


def _budgets_differ(run: Run) -> list[str]:
    pgd, autoattack = budget(run.settings.pgd), budget(run.settings.autoattack)
    if pgd == autoattack:
        return []
    return [f"PGD's budget is {pgd}: its columns do not compare with AutoAttack's."]


def _warnings(flags: Mapping[str, Sequence[str]]) -> list[str]:
    raised = [f"{short_label(name)}: {'; '.join(texts)}" for name, texts in flags.items() if texts]
    if not raised:
        return ["AutoAttack's own checks raised no warning."]
    return [f"Warnings of AutoAttack's own checks: {'. '.join(raised)}."]


def _mismatches(facts: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    odd = {name: facts[f"{flat(name)}_mismatches"] for name in names}
    told = [f"{short_label(name)}: {count(n, 'image')}" for name, n in odd.items() if n]
    if not told:
        return []
    return [f"Judged otherwise by a fresh forward pass: {'; '.join(told)}."]


def _compared(run: Run, evaluated: str) -> str:
    chosen = run.settings
    return {
        "clean": "right when clean",
        "fgsm": f"right under FGSM with budget {budget(chosen.fgsm)}",
        "pgd": f"right under {pgd_phrase(chosen.pgd)}",
        "autoattack": f"right under AutoAttack with budget {budget(chosen.autoattack)}",
        "smoothing": "right after randomized smoothing with noise of standard deviation "
        f"{chosen.smoothing.sigma:g}",
    }.get(evaluated, f"right under {evaluation_label(evaluated)}")
