"""What alignment changes, and whether it helps or games its metric (paper 3.4, 4.4, 4.6, 5.5).

The control is the same training without the alignment term (β = 0): same images, same extra epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rslib.metrics.estimates import UNDEFINED, Estimate
from rslib.report.labels import mask_label, short_label
from rslib.report.seeds import over_seeds
from rslib.report.table import Table
from rslib.report.tables.saliency import mean_difference_known
from rslib.run.results import shortcut_runs
from rslib.settings.names import ALIGNED, TEACHERS, baseline, control

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@over_seeds(compared="*_over_*")
def table4(run: Run, names: Sequence[str] = ALIGNED) -> pd.DataFrame:
    """Table 4: accuracy, IoU, alignment loss and training time of aligned models (paper 4.4).

    Beside the paper's columns: accuracy and IoU less the baseline's and less the control's.
    """
    source = run.mask_source
    masks = f"{mask_label(source)} masks"
    if source in TEACHERS:
        masks += " (proxies)"
    table = Table(
        run,
        "table4",
        title=f"Table 4. Human-guided alignment (paper 4.4), with {masks}",
        notes=[
            "IoU is of the explanation, over the test images; the alignment loss (equation 12) is "
            "over the validation images, at the epoch that is kept. The control is trained alike "
            "without the alignment term (β = 0).",
            _settings_note(run),
        ],
        sizes=names,
        intervals="Wilson's score, Agresti-Min for accuracy differences, bootstrap for IoU",
        unreported="not reported",
        facts={"beta": run.settings.training.aligned.beta, "source": source},
    )
    for name in table.rows(names, lambda name: (name, baseline(name), control(name))):
        summary, own = table.read(name, "summary", "saliency")
        best = summary["history"][summary["best_epoch"] - 1]
        table.add(name, "clean_accuracy", table.accuracy(own["correct"]))
        table.add(name, "final_iou", table.mean(own[f"iou_{source}"]))
        table.add(name, "alignment_loss", Estimate(best["validation_alignment_loss"]))
        table.add(name, "training_hours", Estimate(summary["seconds"] / 3600))
        for kind, model in (("baseline", baseline(name)), ("control", control(name))):
            other, said = table.read(model, "saliency"), kind.capitalize()
            gained = table.paired_difference(own["correct"], other["correct"])
            ious = own[f"iou_{source}"], other[f"iou_{source}"]
            nearer = mean_difference_known(*ious, table.confidence)
            table.add(name, f"accuracy_over_{kind}", gained, f"Acc − {said} (points)", "points")
            table.add(name, f"iou_over_{kind}", nearer, f"IoU − {said}")
    return table.done()


@over_seeds()
def variants_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Weights of the alignment loss, readings of equation 12, and the head, side by side (3.4)."""
    title = "The alignment objective read in several ways (paper 3.4)"
    return _side_by_side(run, names, Table(run, "variants", title=title))


@over_seeds()
def shares_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Alignment with masks for a share of the training images: what masks are worth (paper 5.5).

    Rows are the same model with growing shares.
    """
    title = "Alignment with masks for a share of the training images (paper 5.5)"
    return _side_by_side(run, names, Table(run, "shares", title=title))


def _side_by_side(run: Run, names: Sequence[str], table: Table) -> pd.DataFrame:
    main = run.mask_source
    table.notes = [
        f"Aligned to {mask_label(main)} masks. IoU is of the explanation (Grad-CAM, "
        "rollout) over the test images, the head's over the validation images. The alignment "
        "loss is each objective's own, so it compares within one reading only.",
        _settings_note(run),
    ]
    table.intervals = "Wilson's score, and bootstrap for IoU"
    for name in table.rows(names):
        summary, record = table.read(name, "summary", "saliency")
        best = summary["history"][summary["best_epoch"] - 1]
        if table.name == "shares":
            masked = Estimate(summary["masked_images"])
            table.add(name, "masked_images", masked, "Masks", "images")
        correct = table.accuracy(record["correct"])
        table.add(name, "clean_accuracy", correct, "Clean Acc (%)", "%")
        for source in dict.fromkeys([main, *run.mask_sources]):
            overlap = table.mean(record[f"iou_{source}"])
            table.add(name, f"iou_{source}", overlap, f"IoU, {mask_label(source)}")
        for key, header in (("alignment_loss", "Alignment Loss"), ("head_iou", "IoU of Head")):
            value = best.get(f"validation_{key}")
            table.add(name, key, UNDEFINED if value is None else Estimate(value), header)
    return table.done()


@over_seeds()
def aligned_attack_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Aligned models under FGSM and PGD: 4.6 claims orthogonality and tabulates nothing."""
    table = Table(
        run,
        "aligned_attack",
        title="Baseline, control and aligned models under attack (paper 4.6)",
        notes=["Clean accuracy is over the images that PGD was run on."],
    )
    for name in table.rows(names):
        fgsm, pgd = table.read(name, "fgsm", "pgd")
        clean = table.accuracy(pgd["clean_correct"])
        table.add(name, "clean_accuracy", clean, "Clean Acc (%)", "%")
        table.add(name, "fgsm_accuracy", table.accuracy(fgsm["correct"]), "FGSM Acc (%)", "%")
        table.add(name, "pgd_accuracy", table.accuracy(pgd["correct"]), "PGD Acc (%)", "%")
    return table.done()


@over_seeds()
def swapped_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Objects before other backgrounds: does the model name the object (ours)?

    Per model: accuracy on the images as they are, before a background of the same class and of
    another class, the gap between the last two in points, and how often the background's class is
    named, all in percent.
    """
    table = Table(
        run,
        "swapped",
        title="Accuracy when objects stand before other images' backgrounds",
        notes=[
            f"Objects are cut out by {mask_label(run.mask_source)} masks. The gap is what "
            "the background's class is worth to the model."
        ],
        intervals="Wilson's score, and Agresti-Min for the gap",
    )
    for name in table.rows(names):
        known = table.read(name, "swapped").dropna(subset=["clean_correct"])
        columns = ("clean_correct", "same_correct", "other_correct", "background")
        right = {column: known[column] > 0.5 for column in columns}
        share = {column: table.accuracy(right[column]) for column in columns}
        gap = table.paired_difference(right["same_correct"], right["other_correct"])
        table.add(name, "clean_correct", share["clean_correct"], "As It Is (%)", "%")
        table.add(name, "same_correct", share["same_correct"], "Same Class Behind (%)", "%")
        table.add(name, "other_correct", share["other_correct"], "Other Class Behind (%)", "%")
        table.add(name, "gap", gap, "Same − Other (points)", "points")
        table.add(name, "background", share["background"], "Names the Background (%)", "%")
    return table.done()


@over_seeds()
def human_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Agreement with the people of CIFAR-10H (ours): distributions, not only labels."""
    table = Table(
        run,
        "human",
        title="Agreement with people's label distributions (CIFAR-10H)",
        notes=["No model can have a cross-entropy below the people's own entropy."],
        intervals="bootstrap",
    )
    for name in table.rows(names):
        record = table.read(name, "human")
        for key, header in (
            ("cross_entropy", "Cross-Entropy (nats)"),
            ("people_entropy", "People's Entropy (nats)"),
            ("distance", "Total Variation"),
            ("chosen", "Share of People Who Agree"),
        ):
            table.add(name, key, table.mean(record[key]), header)
    return table.done()


@over_seeds(compared="over_control")
def shortcut_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Models that could learn the background instead of the object (ours).

    Records are those of the two runs of :func:`rslib.run.results.shortcut_runs`. Per model:
    accuracy with the correlation, with it broken, the drop in points, accuracy less the control's
    on the same broken images, and IoU with the exact masks of those.
    """
    tied, broken = shortcut_runs(run)
    share = tied.settings.data.background_correlation
    table = Table(
        tied,
        "shortcut",
        title=(
            f"A shortcut on Shapes: the background tells the class with probability {share:g} in "
            "training, and nothing in the broken test images"
        ),
        notes=[
            "Objects, positions and colors of the two test sets are the same. The control is "
            f"{short_label(control(names[0]))}."
        ],
        intervals="Wilson's score, Agresti-Min for differences, bootstrap for IoU",
        facts={"correlation": share},
    )
    for name in table.rows(names, lambda name: (name, control(name))):
        with_it, without = table.read(name, "saliency"), table.read(name, "saliency", run=broken)
        held = table.accuracy(with_it["correct"]), table.accuracy(without["correct"])
        drop = Estimate(held[0].value - held[1].value)
        rest = broken.record(control(name), "saliency")
        gained = table.paired_difference(without["correct"], rest["correct"])
        table.add(name, "tied", held[0], "Correlated (%)", "%")
        table.add(name, "broken", held[1], "Broken (%)", "%")
        table.add(name, "drop", drop, "Drop (points)", "points")
        table.add(name, "over_control", gained, "Broken − Control (points)", "points")
        table.add(name, "iou", table.mean(without["iou_exact"]), "IoU, Broken")
    return table.done()


def _settings_note(run: Run) -> str:
    chosen = run.settings.training.aligned
    return (
        f"Unless a row says otherwise: α = {chosen.alpha:g}, β = {chosen.beta:g}, equation 12 "
        f"{chosen.reading.replace('_', ' ')}."
    )
