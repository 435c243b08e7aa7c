"""Under attack: Table 2, and what the paper promises and omits (paper 3.2, 4.2).

The paper names AutoAttack among its attacks (3.2.1) and randomized smoothing among its defenses
(3.2.2), and tabulates neither; it compares models on the same images without a test.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.attacks import ADDED
from rslib.metrics import mcnemar
from rslib.metrics.estimates import UNDEFINED, Estimate, accuracy, on_images
from rslib.report.labels import (
    budget,
    budgets_phrase,
    comparable,
    count,
    evaluation_label,
    pgd_phrase,
    short_label,
)
from rslib.report.seeds import fills
from rslib.report.table import Table, flat
from rslib.settings.names import ROBUSTNESS
from rslib.settings.schema import Settings

if TYPE_CHECKING:
    import pandas as pd

MONOTONE = (
    "An image that PGD breaks within a budget is broken within every larger one and not attacked "
    "again, so the curves are the worst case over the budgets up to each and cannot rise."
)

STAGES = {each.lower(): each for each in ("APGD-CE", "APGD-T", "APGD-DLR", "FAB", "FAB-T")}
STAGES |= {"known": "PGD", "square": "Square"}
"""What can break an image in AutoAttack, as the table heads it."""

RADII = {"certified_0": 0.0, "certified_025": 0.25, "certified_05": 0.5}
"""The l2 radii of the smoothing table, in [0, 1] pixel units."""

# A certified l2 ball holds an l-infinity ball that is smaller by the square root of this.
PIXEL_VALUES = 3 * 32 * 32


@fills(
    "table2",
    note="Under PGD an image counts as right only if it is right when clean and at every iterate. "
    "Attack success is PGD's, among the images that are right when clean.",
    unreported="not reported",
)
def table2(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """Table 2: accuracy on clean images, under FGSM and under PGD (paper 4.2).

    Two columns are ours: the success of FGSM, of which the text says over 99 % while the paper's
    own accuracies give 67 to 69 %, and accuracy at PGD's last iterate, which other libraries
    report. An added attack (:func:`rslib.attacks.attack`) has a column where all these
    models were evaluated under it.
    """
    run, chosen = table.run, table.run.settings
    attacks = f"FGSM with budget {budget(chosen.fgsm)}, {pgd_phrase(chosen.pgd)}"
    table.title = f"Table 2. Accuracy under attack (paper 4.2): {attacks}"
    names = table.rows(names)
    added = [each for each in ADDED if all(run.has_record(name, each) for name in names)]
    for name, clean, fgsm, pgd in table.each(names, "clean", "fgsm", "pgd"):
        table.add(name, "clean_accuracy", table.accuracy(clean["correct"]))
        table.add(name, "fgsm_accuracy", table.accuracy(fgsm["correct"]))
        table.add(name, "pgd_accuracy", table.accuracy(pgd["correct"]))
        table.add(name, "attack_success", table.attack_success(pgd))
        if "correct_last" in pgd:
            last = table.accuracy(pgd["correct_last"])
            table.add(name, "pgd_last_accuracy", last, "PGD, Last Step (%)")
        table.add(name, "fgsm_success", table.attack_success(fgsm), "FGSM Success (%)")
        for each in added:
            under = table.accuracy(table.read(name, each)["correct"])
            header = f"{each.replace('_', ' ').capitalize()}, Added (%)"
            table.add(name, f"{each}_accuracy", under, header)


@fills(
    "autoattack",
    same_images=True,
    intervals="Wilson's score, and Agresti and Min's for the paired difference",
    unreported="none reported",
)
def autoattack_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """AutoAttack beside PGD on the same images, and what each of its stages leaves (paper 3.2.1).

    A PGD accuracy well above AutoAttack's on the same images overstates robustness. Facts are what
    ran (``label``, ``package``), how many warnings its own checks raised (``flag_count``), and per
    model their text (``<model>_flags``) and the number of images that a fresh forward pass judged
    otherwise (``<model>_mismatches``).
    """
    chosen, told = table.run.settings, {}
    table.title = (
        "AutoAttack, which the paper promises (3.2.1) and never tabulates: accuracy with budget "
        f"{budget(chosen.autoattack)}, beside {pgd_phrase(chosen.pgd)}"
    )
    for name, record, clean, pgd in table.each(names, "autoattack", "clean", "pgd"):
        clean, pgd = (on_images(each, record["image"])["correct"] for each in (clean, pgd))
        gap = table.paired_difference(pgd, record["correct"])
        found = table.accuracy(record["correct"])
        table.add(name, "clean_accuracy", table.accuracy(clean), "Clean Acc (%)")
        table.add(name, "pgd_accuracy", table.accuracy(pgd), "PGD Acc (%)")
        table.add(name, "autoattack_accuracy", found, "AutoAttack Acc (%)")
        table.add(name, "pgd_gap", gap, "PGD − AutoAttack (points)")
        told[name] = record.attrs["notes"]
        # Position 0 is "wrong when clean", which the first column shows.
        stages = list(enumerate(told[name]["stages"]))[1:]
        if not chosen.autoattack.skip_broken_by_pgd:
            stages = [(place, stage) for place, stage in stages if stage != "known"]
        for place, stage in stages:
            left = table.accuracy((record["broken_by"] < 0) | (record["broken_by"] > place))
            quantity = f"after_{flat('pgd' if stage == 'known' else stage)}"
            table.add(name, quantity, left, f"After {STAGES.get(stage, stage)}, Cumulative (%)")
        for _, stage in stages:
            if f"alone_{stage}" in record:
                alone = table.accuracy(record[f"alone_{stage}"])
                header = f"{STAGES.get(stage, stage)}, Individual (%)"
                table.add(name, f"alone_{flat(stage)}", alone, header)
    _tell(table, told)


@fills(
    "autoattack_estimate",
    note="The last column is PGD's accuracy on all of its images less the gap between the two "
    "attacks on AutoAttack's (the difference estimator; its derivation is in the method notes).",
    intervals="Wilson's score, Agresti and Min's for the gap, and MOVER for the estimate",
    unreported="none reported",
)
def autoattack_estimate_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """AutoAttack's accuracy on its few images, and what PGD's on all makes of it (paper 3.2.1).

    Facts are per model PGD's images (``<model>_pgd_n``).
    """
    chosen = table.run.settings
    table.title = (
        f"AutoAttack with budget {budget(chosen.autoattack)}, on its own images and carried over "
        "to all images of PGD"
    )
    same = budget(chosen.pgd) == budget(chosen.autoattack)
    if not same:
        table.notes.append(
            f"PGD's budget is {budget(chosen.pgd)}: nothing can be carried over between the two."
        )
    for name, record, pgd in table.each(names, "autoattack", "pgd"):
        few, dear = on_images(pgd, record["image"])["correct"], record["correct"]
        gap = table.paired_difference(few, dear)
        carried = table.extended(pgd["correct"], few, dear) if same else UNDEFINED
        table.add(name, "autoattack_accuracy", table.accuracy(dear), "AutoAttack, Its Images (%)")
        table.add(name, "pgd_accuracy", table.accuracy(few), "PGD, Same Images (%)")
        table.add(name, "pgd_all_accuracy", table.accuracy(pgd["correct"]), "PGD, All Images (%)")
        table.add(name, "pgd_gap", gap, "PGD − AutoAttack (points)")
        table.add(name, "autoattack_estimate", carried, "AutoAttack, Carried Over (%)")
        table.facts[f"{flat(name)}_pgd_n"] = len(pgd)


@fills(
    "budgets",
    same_images=True,
    intervals="Wilson's score, and Agresti and Min's for differences",
    unreported="none reported",
)
def budgets_table(table: Table, names: Sequence[Any] = ROBUSTNESS) -> None:
    """Accuracy under PGD at each budget of the settings (paper 3.2.1, which has 8/255 alone).

    A pair of models in place of a name is a row of the first's accuracies less the second's.
    """
    table.title = f"Accuracy against the budget: {budgets_phrase(table.run.settings)}"
    table.notes = [MONOTONE]
    names = table.rows(names)
    table.sizes = [each for each in names if isinstance(each, str)]
    for name in names:
        pair = (name,) if isinstance(name, str) else name
        first, *second = (table.read(each, "budgets") for each in pair)
        for column in ("clean_correct", *_budgets(first, "pgd").values()):
            header = f"PGD, {column.removeprefix('pgd_')}/255" if "pgd" in column else "Clean"
            found, unit = table.accuracy(first[column]), "%"
            if second:
                other = on_images(second[0], first["image"])[column]
                found, unit = table.paired_difference(first[column], other), "points"
            table.add(name, flat(column), found, header, unit)


@fills(
    "fgsm_budgets",
    same_images=True,
    intervals="Wilson's score; for a budget, where the ends of the accuracies' intervals cross",
    unreported="not reported",
)
def fgsm_budgets_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """The budget at which FGSM's accuracy falls to the paper's (Table 2), between those measured.

    It is undefined where the accuracy does not fall to it within the budgets of the settings, or
    lies below it without an attack. The paper says 8/255 (3.2.1).
    """
    table.title = "The budget at which FGSM leaves the accuracy that the paper's Table 2 has"
    table.notes = [
        "A budget is interpolated on a straight line between those measured, in 255ths; the paper "
        "says 8. A hypothesis, which no record can settle: 8/255 on images that were divided by "
        "a standard deviation of about 0.25 is 2/255 on images in [0, 1].",
    ]
    if not comparable(table.run):
        table.notes.append("The paper's accuracies are of other images than these.")
    for name, record in table.each(names, "budgets"):
        level = paper.value("table2", name, "fgsm_accuracy").value
        table.add(name, "clean_accuracy", table.accuracy(record["clean_correct"]), "Clean (%)")
        for eps, column in _budgets(record, "fgsm").items():
            header = f"FGSM, {eps:g}/255"
            table.add(name, flat(column), table.accuracy(record[column]), header, "%")
        table.add(name, "paper_fgsm", Estimate(level), "The Paper's FGSM Acc", "%")
        header = "Budget Where Ours Falls to It (255ths)"
        table.add(name, "budget", fgsm_budget(record, level, table.confidence), header, "ratio")


def fgsm_budget(record: pd.DataFrame, level: float, confidence: float) -> Estimate:
    """The budget, in 255ths, at which accuracy under FGSM first falls to a level in percent.

    The record is of ``"budgets"``. Accuracy is taken for a straight line between the budgets. The
    ends are where the ends of its interval fall to the level, and there are none unless both do;
    ``UNDEFINED`` where accuracy does not, or starts below.
    """
    columns = _budgets(record, "fgsm")
    kinds = ("clean_correct", *columns.values())
    found = [accuracy(record[column], confidence=confidence) for column in kinds]
    value, low, high = (
        _first_at([0.0, *columns], [getattr(each, end) for each in found], level)
        for end in ("value", "low", "high")
    )
    if value is None:
        return UNDEFINED
    if low is None or high is None:
        low = high = None
    return Estimate(value, low, high, len(record), "Wilson")


def _first_at(places: Sequence[float], heights: Sequence[float], level: float) -> float | None:
    """Where a line through points, starting above a level, first comes down to it."""
    points = list(zip(places, heights, strict=True))
    for (left, above), (right, below) in itertools.pairwise(points):
        if above > level >= below:
            return left + (right - left) * (above - level) / (above - below)
    return None


def _budgets(record: pd.DataFrame, attack: str) -> dict[float, str]:
    """The budgets of a record in 255ths, rising, each with its column."""
    columns = [each for each in record if each.startswith(f"{attack}_")]
    return {float(each.removeprefix(f"{attack}_")): each for each in columns}


def budget_curve(record: pd.DataFrame, attack: str) -> tuple[list[float], list[float]]:
    """Budgets in 255ths, 0 first, and accuracies as fractions of a record of ``"budgets"``."""
    columns = _budgets(record, attack)
    shares = [float(record[each].mean()) for each in ("clean_correct", *columns.values())]
    return [0.0, *columns], shares


@fills(
    "transfer",
    same_images=True,
    intervals="Wilson's score, over the images right for both when clean",
    unreported="none reported",
)
def transfer_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """Images that PGD makes on one model, shown to another: how many turn (ours).

    Rows are the models attacked, columns those that judge. Only images count that both get right
    when clean. On the diagonal a model judges its own: the white-box attack, scored by its last
    iterate. Facts are the images left out, ``<model>_<judge>_left_out``.
    """
    run, names = table.run, table.rows(names)
    table.title = (
        "Attacks transferred: last iterates made on the model of the row by "
        f"{pgd_phrase(run.settings.pgd)}, judged by the model of the column"
    )
    told = []
    for name, record in table.each(names, "transfer"):
        left_out = []
        for judge in names:
            both = record["clean_correct"] & record[f"clean_correct_{judge}"]
            still = both & record[f"correct_{judge}"]
            seen = record.assign(clean_correct=both, correct=still)
            turned = table.attack_success(seen) if both.any() else UNDEFINED
            table.add(name, f"to_{flat(judge)}", turned, f"Turned, {short_label(judge)} (%)")
            left_out.append(int((~both).sum()))
            table.facts[f"{flat(name)}_{flat(judge)}_left_out"] = left_out[-1]
        told.append(f"{short_label(name)}: {', '.join(map(str, left_out))}")
    table.notes = [
        "Only images that both models get right when clean count. Wrong from the start for one of "
        f"the two, and left out, in the order of the columns: {'; '.join(told)}. On the diagonal "
        "a model judges its own images, the white-box attack by its last iterate."
    ]


def _tell(table: Table, told: Mapping[str, Mapping[str, Any]]) -> None:
    """Say what ran and what AutoAttack's own checks found, in facts and notes."""
    facts, settings, raised, odd = table.facts, table.run.settings, [], []
    for name, each in told.items():
        flags, n = "; ".join(each["flags"]), int(each["mismatches"])
        facts[f"{flat(name)}_flags"], facts[f"{flat(name)}_mismatches"] = flags or "none", n
        if flags:
            raised.append(f"{short_label(name)}: {flags}")
        if n:
            odd.append(f"{short_label(name)}: {count(n, 'image')}")
    for key in ("label", "package"):
        facts[key] = " and ".join(dict.fromkeys(each[key] for each in told.values()))
    facts["flag_count"] = sum(len(each["flags"]) for each in told.values())
    chosen, pgd = settings.autoattack, budget(settings.pgd)
    table.notes = [
        f"What ran: {facts['label']}; {facts['package']}, in batches of {chosen.batch_size}.",
        "All columns are about the same images. Cumulative: the accuracy that this stage and "
        "those before it leave, since each tries only the images that are left.",
    ]
    if chosen.individual:
        table.notes[-1] += " Individual: under that attack by itself."
    if pgd != budget(chosen):
        table.notes.append(f"PGD's budget is {pgd}: its columns do not compare with AutoAttack's.")
    if raised:
        table.notes.append(f"Warnings of AutoAttack's own checks: {'. '.join(raised)}.")
    else:
        table.notes.append("AutoAttack's own checks raised no warning.")
    if odd:
        table.notes.append(f"Judged otherwise by a fresh forward pass: {'; '.join(odd)}.")


@fills(
    "smoothing",
    note="Radii are l2 lengths in units of the image range. At radius 0 certified accuracy is the "
    "accuracy of the smoothed classifier, abstentions counted as wrong; the mean radius counts "
    "wrong answers and abstentions as 0.",
    same_images=True,
    intervals="Wilson's score, and bootstrap for the mean radius",
    unreported="none reported",
)
def smoothing_table(table: Table, names: Sequence[str] = ROBUSTNESS) -> None:
    """What randomized smoothing certifies (paper 3.2.2, which reports no result of it).

    Facts are the settings (``sigma``, ``n0``, ``samples``, ``alpha``), the largest radius that they
    can certify (``ceiling``), and what that guarantees in l-infinity, in 255ths
    (``ceiling_linf``).
    """
    from rslib.smoothing import largest_radius

    chosen = table.run.settings.smoothing
    sigma, n0, samples, alpha = chosen.sigma, chosen.selection_samples, chosen.samples, chosen.alpha
    ceiling = largest_radius(samples, sigma=sigma, alpha=alpha)
    linf = 255 * ceiling / PIXEL_VALUES**0.5
    table.facts = {"sigma": sigma, "n0": n0, "samples": samples, "alpha": alpha}
    table.facts |= {"ceiling": ceiling, "ceiling_linf": linf}
    table.title = (
        "Certified accuracy by randomized smoothing, which the paper describes (3.2.2) and never "
        f"tabulates: noise of standard deviation {sigma:g}, {n0:,} votes to choose a class and "
        f"{samples:,} to certify it, each certificate wrong with probability at most {alpha:g}"
    )
    table.notes += [
        f"These votes cannot certify a radius above {ceiling:.3f}, however robust the model is.",
        f"An l2 radius of {ceiling:.3f} guarantees only {ceiling:.3f}/√{PIXEL_VALUES} = "
        f"{linf:.1f}/255 in l-infinity: never compare these columns with accuracies under "
        "l-infinity attacks.",
    ]
    for name, record, clean in table.each(names, "smoothing", "clean"):
        plain = table.accuracy(on_images(clean, record["image"])["correct"])
        table.add(name, "clean_accuracy", plain, "Clean Acc, Unsmoothed (%)")
        for quantity, radius in RADII.items():
            certified = table.certified_accuracy(record, radius)
            if radius > ceiling:
                # Zero by construction: no sampling could have made it otherwise.
                certified = Estimate(0.0, n=certified.n)
            table.add(name, quantity, certified, f"Certified at {radius:g} (%)")
        most = table.certified_accuracy(record, ceiling)
        table.add(name, "certified_ceiling", most, f"Certified at Ceiling {ceiling:.3f} (%)")
        table.add(name, "abstained", table.accuracy(record["prediction"] < 0), "Abstained (%)")
        table.add(name, "mean_radius", table.mean_radius(record), "Mean Radius")


@fills(
    "mcnemar",
    compared="difference",
    intervals="Agresti and Min's for the paired difference",
    pairs="Models A and B",
)
def mcnemar_table(table: Table, pairs: Sequence[tuple[str, str]], evaluated: str = "pgd") -> None:
    """McNemar's exact test between models on the same images (paper 4.2 compares without one).

    Pairs of models A and B are one family for Holm's correction; their rows are ``<A>_vs_<B>`` of a
    table ``mcnemar_<evaluated>``. ``evaluated`` is one of ``rslib.run.evaluations.EVALUATIONS``;
    under ``"smoothing"`` an abstention is wrong.

    Raises:
        ValueError: there is no pair, or one is of a model with itself.
    """
    if not pairs:
        raise ValueError("pairs is empty: a comparison needs at least one pair of models")
    table.name = f"mcnemar_{evaluated}"
    when = _compared(table.run.settings, evaluated)
    table.title = f"McNemar's exact test on the same images (right {when})"
    table.notes = [
        "The paper compares models without a test. Holm's correction is over the "
        f"{count(len(pairs), 'comparison')} of this table. The test speaks of these weights, not "
        "of training methods."
    ]
    table.facts["comparisons"] = len(pairs)
    table.sizes = [name for pair in pairs for name in pair]
    for pair in table.rows(pairs):
        a, b = pair
        if a == b:
            raise ValueError(f"{a} is paired with itself: a comparison needs two models")
        first, second = table.read(a, evaluated), table.read(b, evaluated)
        right = first["correct"], on_images(second, first["image"])["correct"]
        gap, test = table.paired_difference(*right), mcnemar(*(each.to_numpy() for each in right))
        p_value = Estimate(test.p_value, n=gap.n)
        table.add(pair, "only_a", Estimate(test.b, n=gap.n), "Only A Right", "images")
        table.add(pair, "only_b", Estimate(test.c, n=gap.n), "Only B Right", "images")
        table.add(pair, "difference", gap, "A − B (points)")
        table.add(pair, "p", p_value, "p, Exact", "p")
        table.add(pair, "p_holm", p_value, "p, Holm", "p")
    table.holm("p_holm")


def _compared(chosen: Settings, evaluated: str) -> str:
    under = f"under {evaluation_label(evaluated)}"
    match evaluated:
        case "clean":
            return "when clean"
        case "smoothing":
            noise = f"noise of standard deviation {chosen.smoothing.sigma:g}"
            return f"after randomized smoothing with {noise}"
        case "pgd":
            return f"under {pgd_phrase(chosen.pgd)}"
        case "fgsm" | "autoattack":
            return f"{under} with budget {budget(getattr(chosen, evaluated))}"
    return under
