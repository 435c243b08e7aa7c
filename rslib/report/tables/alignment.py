"""What alignment changes, and whether it helps or games its metric (paper 3.4, 4.4, 4.6, 5.5).

Call these as ``tables.table4`` and so on. The control is the same training without the alignment
term (β = 0): same images, same extra epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rslib.metrics.estimates import UNDEFINED, Estimate, accuracy, mean, paired_difference
from rslib.paper import Column
from rslib.report.frames import build, row
from rslib.report.labels import mask_label, short_label, sizes
from rslib.report.seeds import over_seeds
from rslib.report.tables.saliency import mean_difference_known
from rslib.run.shortcut import shortcut_runs
from rslib.settings.names import ALIGNED, TEACHERS, baseline, control

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run


@over_seeds(compared="*_over_*")
def table4(run: Run, names: Sequence[str] = ALIGNED) -> pd.DataFrame:
    """Table 4: accuracy, IoU, alignment loss and training time of aligned models (paper 4.4).

    Beside the paper's columns: accuracy and IoU less the baseline's and less the control's.

    Args:
        run: whose models' summaries and saliency records are read.
        names: models, in order.

    Raises:
        RecordError: a model or a record has not been made.
    """
    rows, sources = [], []
    for name in names:
        cells, read = _aligned_cells(run, name)
        sources += read
        rows += [row(run, "table4", name, *cell) for cell in cells]
    source = run.mask_source
    return build(
        run,
        rows,
        sources,
        title=(
            "Table 4. Human-guided alignment (paper 4.4), "
            f"with {mask_label(source)} masks{' (proxies)' * (source in TEACHERS)}"
        ),
        notes=[
            "IoU is of the explanation, over the test images; the alignment loss (equation 12) is "
            "over the validation images, at the epoch that is kept. The control is trained alike "
            "without the alignment term (β = 0).",
            *_settings_notes(run),
            *(f"{text}." for text in [sizes(run, names)] if text),
        ],
        intervals="Wilson's score, Agresti-Min for accuracy differences, bootstrap for IoU",
        facts={"beta": run.settings.training.aligned.beta, "source": source},
    )


@over_seeds()
def variants_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Weights of the alignment loss, readings of equation 12, and the head, side by side (3.4).

    Args:
        run: whose models' summaries and saliency records are read.
        names: models, in order.

    Raises:
        RecordError: a model or a record has not been made.
    """
    return _side_by_side(
        run, names, "variants", "The alignment objective read in several ways (paper 3.4)"
    )


@over_seeds()
def shares_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Alignment with masks for a share of the training images: what masks are worth (paper 5.5).

    Args:
        run: whose models' summaries and saliency records are read.
        names: the same model with growing shares, in order.

    Raises:
        RecordError: a model or a record has not been made.
    """
    title = "Alignment with masks for a share of the training images (paper 5.5)"
    return _side_by_side(run, names, "shares", title)


def _side_by_side(run: Run, names: Sequence[str], table: str, title: str) -> pd.DataFrame:
    confidence, source = run.settings.evaluation.confidence, run.mask_source
    others = [each for each in run.mask_sources if each != source]
    rows, sources = [], []
    for name in names:
        summary, record = run.summary(name), run.record(name, "saliency")
        sources += [summary, record.attrs]
        best = summary["history"][summary["best_epoch"] - 1]
        cells: list[tuple[str, Estimate, Column]] = []
        if table == "shares":
            masked = Estimate(summary["masked_images"])
            cells.append(("masked_images", masked, Column("Masks", "images")))
        cells += [
            (
                "clean_accuracy",
                accuracy(record["correct"], confidence=confidence),
                Column("Clean Acc (%)", "%"),
            ),
            *(
                (
                    f"iou_{each}",
                    mean(record[f"iou_{each}"], confidence=confidence),
                    Column(f"IoU, {mask_label(each)}", ""),
                )
                for each in (source, *others)
            ),
        ]
        for key, header in (
            ("validation_alignment_loss", "Alignment Loss"),
            ("validation_head_iou", "IoU of Head"),
        ):
            value = Estimate(best[key]) if key in best else UNDEFINED
            cells.append((key.removeprefix("validation_"), value, Column(header, "")))
        rows += [row(run, table, name, *cell) for cell in cells]
    return build(
        run,
        rows,
        sources,
        title=title,
        notes=[
            f"Aligned to {mask_label(source)} masks. IoU is of the explanation (Grad-CAM, "
            "rollout) over the test images, the head's over the validation images. The alignment "
            "loss is each objective's own, so it compares within one reading only.",
            *_settings_notes(run),
        ],
        intervals="Wilson's score, and bootstrap for IoU",
        unreported="",
    )


@over_seeds()
def aligned_attack_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Aligned models under FGSM and PGD: 4.6 claims orthogonality and tabulates nothing.

    Args:
        run: whose clean, FGSM and PGD records are read.
        names: models, in order.

    Raises:
        RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        fgsm, pgd = run.record(name, "fgsm"), run.record(name, "pgd")
        sources += [fgsm.attrs, pgd.attrs]
        shares = {
            "clean_accuracy": (pgd["clean_correct"], "Clean Acc (%)"),
            "fgsm_accuracy": (fgsm["correct"], "FGSM Acc (%)"),
            "pgd_accuracy": (pgd["correct"], "PGD Acc (%)"),
        }
        cells = [
            (key, accuracy(right, confidence=confidence), Column(header, "%"))
            for key, (right, header) in shares.items()
        ]
        rows += [row(run, "aligned_attack", name, *cell) for cell in cells]
    return build(
        run,
        rows,
        sources,
        title="Baseline, control and aligned models under attack (paper 4.6)",
        notes=["Clean accuracy is over the images that PGD was run on."],
        unreported="",
    )


@over_seeds()
def swapped_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Objects before other backgrounds: does the model name the object (ours)?

    Args:
        run: whose records of swapped images are read.
        names: models, in order.

    Returns:
        Per model: accuracy on the images as they are, before a background of the same class and of
        another class, the gap between the last two in points, and how often the background's class
        is named, all in percent.

    Raises:
        RecordError: a record has not been made.
    """
    confidence, source = run.settings.evaluation.confidence, run.mask_source
    rows, sources = [], []
    for name in names:
        record = run.record(name, "swapped")
        sources.append(record.attrs)
        known = record.dropna(subset=["clean_correct"])
        shares = {
            "clean_correct": "As It Is (%)",
            "same_correct": "Same Class Behind (%)",
            "other_correct": "Other Class Behind (%)",
            "background": "Names the Background (%)",
        }
        cells = [
            (key, accuracy(known[key] > 0.5, confidence=confidence), Column(header, "%"))
            for key, header in shares.items()
        ]
        gap = paired_difference(
            known["same_correct"] > 0.5, known["other_correct"] > 0.5, confidence=confidence
        )
        cells.insert(3, ("gap", gap, Column("Same − Other (points)", "points")))
        rows += [row(run, "swapped", name, *cell) for cell in cells]
    return build(
        run,
        rows,
        sources,
        title="Accuracy when objects stand before other images' backgrounds",
        notes=[
            f"Objects are cut out by {mask_label(source)} masks. The gap is what the background's "
            "class is worth to the model."
        ],
        intervals="Wilson's score, and Agresti-Min for the gap",
        unreported="",
    )


@over_seeds()
def human_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Agreement with the people of CIFAR-10H (ours): distributions, not only labels.

    Args:
        run: whose records of human agreement are read.
        names: models, in order.

    Raises:
        RecordError: a record has not been made.
    """
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        record = run.record(name, "human")
        sources.append(record.attrs)
        cells = [
            (key, mean(record[key], confidence=confidence), Column(header, ""))
            for key, header in (
                ("cross_entropy", "Cross-Entropy (nats)"),
                ("people_entropy", "People's Entropy (nats)"),
                ("distance", "Total Variation"),
                ("chosen", "Share of People Who Agree"),
            )
        ]
        rows += [row(run, "human", name, *cell) for cell in cells]
    return build(
        run,
        rows,
        sources,
        title="Agreement with people's label distributions (CIFAR-10H)",
        notes=["No model can have a cross-entropy below the people's own entropy."],
        intervals="bootstrap",
        unreported="",
    )


@over_seeds(compared="over_control")
def shortcut_table(run: Run, names: Sequence[str]) -> pd.DataFrame:
    """Models that could learn the background instead of the object (ours).

    Args:
        run: see :func:`shortcut_runs`; the saliency records of those are read.
        names: models, in order.

    Returns:
        Per model: accuracy with the correlation, with it broken, the drop in points, accuracy less
        the control's on the same broken images, and IoU with the exact masks of those.

    Raises:
        RecordError: a record has not been made.
    """
    tied, broken = shortcut_runs(run)
    confidence = run.settings.evaluation.confidence
    rows, sources = [], []
    for name in names:
        with_it, without = (each.record(name, "saliency") for each in (tied, broken))
        sources += [with_it.attrs, without.attrs]
        held = [accuracy(each["correct"], confidence=confidence) for each in (with_it, without)]
        rest = broken.record(control(name), "saliency")["correct"]
        gained = paired_difference(without["correct"], rest, confidence=confidence)
        cells: list[tuple[str, Estimate, Column]] = [
            ("tied", held[0], Column("Correlated (%)", "%")),
            ("broken", held[1], Column("Broken (%)", "%")),
            ("drop", Estimate(held[0].value - held[1].value), Column("Drop (points)", "points")),
            ("over_control", gained, Column("Broken − Control (points)", "points")),
            ("iou", mean(without["iou_exact"], confidence=confidence), Column("IoU, Broken", "")),
        ]
        rows += [row(tied, "shortcut", name, *cell) for cell in cells]
    share = tied.settings.data.background_correlation
    return build(
        tied,
        rows,
        sources,
        title=(
            f"A shortcut on Shapes: the background tells the class with probability {share:g} in "
            "training, and nothing in the broken test images"
        ),
        notes=[
            "Objects, positions and colors of the two test sets are the same. The control is "
            f"{short_label(control(names[0]))}."
        ],
        intervals="Wilson's score, Agresti-Min for differences, bootstrap for IoU",
        unreported="",
        facts={"correlation": share},
    )


def _aligned_cells(run: Run, name: str) -> tuple[list[Any], list[Any]]:
    confidence, source = run.settings.evaluation.confidence, run.mask_source
    summary = run.summary(name)
    records = {each: run.record(each, "saliency") for each in (name, baseline(name), control(name))}
    own, before, without = records.values()
    best = summary["history"][summary["best_epoch"] - 1]
    iou = f"iou_{source}"
    cells = [
        ("clean_accuracy", accuracy(own["correct"], confidence=confidence), None),
        ("final_iou", mean(own[iou], confidence=confidence), None),
        ("alignment_loss", Estimate(best["validation_alignment_loss"]), None),
        ("training_hours", Estimate(summary["seconds"] / 3600), None),
    ]
    for kind, other, said in (("baseline", before, "Baseline"), ("control", without, "Control")):
        gained = paired_difference(own["correct"], other["correct"], confidence=confidence)
        cells += [
            (f"accuracy_over_{kind}", gained, Column(f"Acc − {said} (points)", "points")),
            (
                f"iou_over_{kind}",
                mean_difference_known(own[iou], other[iou], confidence),
                Column(f"IoU − {said}", ""),
            ),
        ]
    return cells, [summary, *(record.attrs for record in records.values())]


def _settings_notes(run: Run) -> list[str]:
    chosen = run.settings.training.aligned
    return [
        f"Unless a row says otherwise: α = {chosen.alpha:g}, β = {chosen.beta:g}, equation 12 "
        f"{chosen.reading.replace('_', ' ')}."
    ]
