"""The sentences of the notebooks that say what their tables hold, as Markdown.

A notebook hands its tables and numbers to a function here and shows what it returns
(:func:`rslib.notebook.say`), so that JupyterLab, Colab, GitHub and the book show the same words.
Tables are those of :mod:`rslib.report.tables`. A number that was not measured is called so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.report import labels, numbers
from rslib.settings.names import ALIGNED, INTERPRETABILITY, TEACHERS, baseline, control

if TYPE_CHECKING:
    import pandas as pd

    from rslib.corruptions.cifar10c import Corrupted
    from rslib.corruptions.mce import ErrorTable
    from rslib.metrics.shares import McNemar

UNKNOWN = "not measured"

Cell = Mapping[str, Any]

_ARCHITECTURES = ("resnet18", "vit_small")


# --- 01 to 05: the setup and the methods --------------------------------------------------------


def parameters(counts: Mapping[str, int]) -> str:
    """Compare the sizes of the two architectures with those that the paper prints (notebook 01).

    Args:
        counts: architecture to number of parameters, at the paper's own sizes.
    """
    told = []
    for architecture, count in counts.items():
        printed = paper.value("table1", f"{architecture}-standard", "parameters").printed
        label = paper.ARCHITECTURES[architecture]
        told.append(f"{label} has {count / 1e6:.1f} million parameters (Table 1: {printed})")
    return (
        f"At the paper's own sizes {' and '.join(told)}. The paper's figure for ViT-Small is that "
        "of the 224-pixel, 1000-class model: larger patches to embed, and a larger classifier."
    )


def loss_traces(
    traces: Mapping[str, Sequence[float]], images: int, step_size: float, *, tf32: bool
) -> str:
    """Tell of PGD's loss along the steps, and of the precision of its gradients (notebook 02).

    Args:
        traces: the loss at each step, by curve.
        images: that each curve is the mean of.
        step_size: of PGD, in [0, 1] units.
        tf32: whether gradients may be taken in TF32.
    """
    flat = [label for label, trace in traces.items() if trace[-1] <= trace[0]]
    if flat:
        climbs = f"From the start to the last step the loss does not climb for {'; '.join(flat)}"
    else:
        climbs = "The loss of every curve above climbs from the start to the last step"
    precision = "Gradients are taken in full precision."
    if tf32:
        precision = "Attacks take gradients, and smoothing its votes, in TF32 where the GPU has it."
    counted = labels.count(images, "image")
    return f"{climbs} ({counted}; steps of {255 * step_size:.1f}/255). {precision}"


def defenses(mixed_epochs: int, pure_epochs: int, *, trades: bool) -> str:
    """Tell how long adversarial training takes in its two ways, and of TRADES (notebook 02)."""
    does = "trains" if trades else "does not train"
    return (
        f"*Purely adversarial* trains for {labels.count(pure_epochs, 'epoch')} here, alternating "
        f"batches for {labels.count(mixed_epochs, 'epoch')}. This run {does} TRADES."
    )


def overfitting(selection: pd.DataFrame) -> str:
    """Count the robust trainings that ended below their best epoch (notebook 02)."""
    lost = selection[selection.quantity == "overfitting"].set_index("model")["ours"]
    below = int((lost > 0).sum())
    trained = labels.count(len(lost), "robust training")
    told = f"Of {trained}, none ended below its best epoch."
    if below:
        worst = lost.idxmax()
        told = (
            f"Of {trained}, {below} ended below {_own(below)} best epoch; the most was lost by "
            f"{labels.short_label(worst)} ({lost[worst]:.1f} points of robust validation accuracy)."
        )
    return (
        f"{told} The best epoch is chosen on these very images, so part of any gap is luck; few "
        "epochs leave little time to overfit."
    )


def mask_agreement(masks: pd.DataFrame, agreement: Mapping[tuple[str, str], float]) -> str:
    """Tell how far the sources of masks agree, and what calibration changes (notebook 03).

    Args:
        masks: of ``tables.masks_table``.
        agreement: two sources to the mean IoU of their masks of the same images.
    """
    told = []
    for (one, other), iou in agreement.items():
        if {one, other} == set(TEACHERS):
            between = "The two teachers' masks of the same image overlap with a mean IoU of"
            told.append(f"{between} {_number(iou, 2)}.")
    against = [
        f"the {labels.mask_label(other)} reach a mean IoU of {_number(iou, 2)}"
        for (one, other), iou in agreement.items()
        if one == "exact" and other in TEACHERS
    ]
    if against:
        told.append(f"Scored against the exact masks, {' and '.join(against)}.")
    else:
        told.append(
            "The data set has no exact masks, so the proxies cannot be scored against the truth "
            "here."
        )
    facts = masks.attrs["facts"]
    temperatures = [
        f"{_number(facts[f'{source}_temperature'], 2)} for the {name}"
        for source, name in (("cnn", "CNN"), ("vit", "ViT"))
        if f"{source}_temperature" in facts
    ]
    here = f" (here {' and '.join(temperatures)})" if temperatures else ""
    return (
        f"**How good are proxies?** {' '.join(told)}\n\n"
        "**Does calibration matter?** The paper asks for a well-calibrated model. Temperature "
        f"scaling{here} divides all logits by one number, which leaves the ranking of every map, "
        "and so every mask, as it was: calibration of this kind cannot improve a mask."
    )


def overlap_floor(masks: pd.DataFrame, source: str) -> str:
    """Tell the IoU of a random map, the image's center and the best map (notebook 03)."""
    cells = _cells(masks)
    share, chance, center, ceiling = (
        cells.get((source, quantity)) for quantity in ("coverage", "chance", "center", "ceiling")
    )
    covered = UNKNOWN if share is None else _number(share["ours"], 2)
    return (
        f"This run's {labels.mask_label(source)} masks cover {covered} of the image on average. "
        f"On them a random map scores {_said(chance)}, the image's center {_said(center)}, and no "
        f"map can score more than {_said(ceiling)}. Every table of overlap in this book carries "
        "these numbers."
    )


def alignment_variants(variants: pd.DataFrame, source: str) -> str:
    """Count the ways of alignment that reach a higher IoU than their control (notebook 04).

    Args:
        variants: of ``tables.variants_table``.
        source: of the masks that IoU is measured with.
    """
    iou = variants[variants.quantity == f"iou_{source}"].set_index("model")
    reached, ahead = [], []
    for name in ALIGNED:
        rest, label = iou.loc[control(name)], labels.architecture_label(name)
        own = iou[[each.startswith(name) and each != control(name) for each in iou.index]]
        above = int((own.low > rest.high).sum())
        reached.append(f"{_number(rest.ours, 3)} ({label})")
        ahead.append(
            f"Of {labels.count(len(own), 'variant')} of {label}, {above} {_has(above)} an interval "
            "wholly above the control's."
        )
    best = iou.loc[iou["ours"].idxmax()]
    return (
        f"The control, which is never shown a mask, reaches an IoU of {' and '.join(reached)}. "
        f"{' '.join(ahead)} The highest IoU, {_number(best.ours, 3)}, is that of {best.label}, "
        f"{best.training}."
    )


def corruption_error(ours: ErrorTable, reference: ErrorTable, corrupted: Corrupted) -> str:
    """Work through equations 14 and 15 for fog and for all 19 corruptions (notebook 05).

    Args:
        ours: the errors of a model.
        reference: the errors that they are divided by.
        corrupted: the images that both were measured on.
    """
    from rslib.corruptions import ALL19, mce

    score = mce.score(ours, reference, names=ALL19)
    itself = mce.score(reference, reference, names=ALL19).mce
    fog, fog_reference = (sum(table.errors["fog"]) / 5 for table in (ours, reference))
    return (
        f"{fog:.3f} / {fog_reference:.3f} = {score.ce['fog']:.3f} for fog, and {score.mce:.3f} in "
        f"the mean over all 19 ({len(corrupted.clean):,} {corrupted.origin} images a cell). The "
        f"reference against itself is {itself:.3f} by construction. The digest of its table is "
        f"{reference.digest[:10]}; a score that was divided by other errors carries another one."
    )


# --- 06 and 07: baselines and attacks -----------------------------------------------------------


def baselines(
    table1: pd.DataFrame, outcome: McNemar, resnet: Mapping[str, Any], vit: Mapping[str, Any]
) -> str:
    """Compare accuracy, calibration and cost of the two baselines (notebook 06).

    Args:
        table1: of ``tables.table1``.
        outcome: of McNemar's test, ResNet-18 first.
        resnet: summary of its training (``run.summary``).
        vit: the same of ViT-Small.
    """
    cells = _cells(table1)
    right = [cells[f"{each}-standard", "clean_accuracy"] for each in _ARCHITECTURES]
    errors = [cells[f"{each}-standard", "ece"]["ours"] for each in _ARCHITECTURES]
    gap = right[0]["ours"] - right[1]["ours"]
    calibrated = {2: "both stay", 1: "only one of the two stays", 0: "neither stays"}
    below = sum(error < 0.05 for error in errors)
    smaller = "neither has the smaller error"
    if errors[0] != errors[1]:
        first = errors[0] < errors[1]
        smaller = f"{'ResNet-18' if first else 'ViT-Small'} has the smaller error"
    ratios = {key: vit[key] / resnet[key] for key in ("seconds", "parameters")}
    return (
        f"**Accuracy.** ResNet-18 reaches {_measured(right[0])} and ViT-Small "
        f"{_measured(right[1])}: a gap of {_number(gap, 1)} points, where the paper has 3.6. On "
        f"the same images, {_are(outcome.b)} right for ResNet-18 alone and {outcome.c:,} for "
        f"ViT-Small alone (McNemar's test, {numbers.quantity(outcome.p_value, 'p')}).\n\n"
        "**Calibration.** The paper finds both errors below 0.05 and ResNet-18 the better "
        f"calibrated. Here {calibrated[below]} below 0.05, and {smaller}.\n\n"
        f"**Cost.** ViT-Small took {ratios['seconds']:.2f} times the training time of ResNet-18 "
        f'(paper: 1.24) with {ratios["parameters"]:.1f} times its parameters (paper: "twice"). '
        "Both ratios belong to this profile's sizes and recipes; times include validation."
    )


def robustness(table2: pd.DataFrame, pgd: Iterable[pd.DataFrame], eps: float) -> str:
    """Compare standard and adversarial training under attack (notebook 07).

    Args:
        table2: of ``tables.table2``.
        pgd: the PGD record of each model in it.
        eps: the budget, in 255ths.
    """
    cells = _cells(table2)
    resnet, vit, robust_resnet, robust_vit, pure = (
        cells[name, "pgd_accuracy"]
        for name in (
            "resnet18-standard",
            "vit_small-standard",
            "resnet18-adversarial",
            "vit_small-adversarial",
            "resnet18-purely_adversarial",
        )
    )
    clean, robust_clean = (
        cells[f"resnet18-{training}", "clean_accuracy"]["ours"]
        for training in ("standard", "adversarial")
    )
    if robust_resnet["ours"] == pure["ours"]:
        mixing = "as robust as the other"
    else:
        more = robust_resnet["ours"] > pure["ours"]
        mixing = f"the {'more' if more else 'less'} robust of the two"
    one_step = [cells[f"{each}-standard", "fgsm_success"] for each in _ARCHITECTURES]
    printed = [
        paper.value("table2", "resnet18-standard", column).value
        for column in ("clean_accuracy", "fgsm_accuracy")
    ]
    return "\n\n".join(
        [
            f"**Standard training.** At {eps:g}/255 ResNet-18 keeps {_measured(resnet)} of "
            f"{numbers.images(resnet)} images (paper: {_reported(resnet)}), ViT-Small "
            f"{_measured(vit)} (paper: {_reported(vit)}).",
            f"**Adversarial training** brings ResNet-18 to {_measured(robust_resnet)} (paper: "
            f"{_reported(robust_resnet)}): {_number(robust_resnet['ours'] - resnet['ours'], 1)} "
            f"points gained for {_number(clean - robust_clean, 1)} points of clean accuracy "
            f"(paper: 45 for 8). ViT-Small reaches {_measured(robust_vit)} (paper: "
            f"{_reported(robust_vit)}).",
            "**Mixing.** Section 3.2.2 says that mixing clean and attacked batches is more robust "
            f"than attacking every batch. Here the mixed ResNet-18 is {mixing}: "
            f"{_said(robust_resnet)} against {_said(pure)}, one seed each.",
            f"**FGSM** turns {_said(one_step[0])} of the standard ResNet-18's correct images and "
            f'{_said(one_step[1])} of ViT-Small\'s. "More than 99 %" (4.2) contradicts the '
            f"paper's own Table 2, by which it is {paper.attack_success(*printed):.1f} % for "
            "ResNet-18.",
            f"**Last iterates.** {_last_iterates(pgd)}",
        ]
    )


def _last_iterates(pgd: Iterable[pd.DataFrame]) -> str:
    followed = [record for record in pgd if "correct_last" in record]
    if not followed:
        return (
            "Last-iterate accuracy was not recorded: the attack stopped on each image as soon as "
            "it succeeded."
        )
    spared = sum(int((record.correct_last & ~record.correct).sum()) for record in followed)
    return (
        f"Scored by the last iterate alone, {labels.count(spared, 'more image')} would count as "
        "robust, over all models."
    )


def attack_checks(reports: Mapping[str, Mapping[str, Any]], masked: str) -> str:
    """Name the models that the checks on attacks flag, and AutoAttack's gaps (notebook 07).

    Args:
        reports: label of a model to its report (:meth:`rslib.attacks.Report.to_dict`).
        masked: the label of the model whose gradients are masked on purpose.
    """
    from rslib.attacks.reliability import beside_autoattack

    flagged = [
        f"{label} ({', '.join(report['failed'])})"
        for label, report in reports.items()
        if not report["passed"] and label != masked
    ]
    sides: dict[str, list[str]] = {"beyond": [], "within": [], "unclear": []}
    gaps = []
    for label, report in reports.items():
        for check in report["checks"]:
            if check["name"] == "autoattack":
                sides[beside_autoattack(check["evidence"])].append(label)
                gaps.append(100 * check["evidence"]["difference"])
    beyond, within, unclear = ("; ".join(found) or "no model" for found in sides.values())
    largest = f"{_number(max(gaps), 1)} points" if gaps else UNKNOWN
    return (
        f"On {labels.count(reports[masked]['images'], 'image')} the masked model is flagged by: "
        f"{', '.join(reports[masked]['failed']) or 'nothing'}. Of the honest models the checks "
        f"flag: {'; '.join(flagged) or 'none'}. Counted on the same images, AutoAttack clearly "
        f"ends more than six points under PGD-20 for {beyond} and stays within six for {within}; "
        f"the images are too few to tell for {unclear}. The largest gap seen is {largest}."
    )


# --- 08 and 09: saliency and alignment ----------------------------------------------------------


def overlap(table3: pd.DataFrame) -> str:
    """Compare IoU with trivial baselines, between trainings and with attention (notebook 08)."""
    rows, low, high = (
        table3.pivot(index="model", columns="quantity", values=values)
        for values in ("ours", "low", "high")
    )
    floor = rows[["chance", "shuffled", "center", "average"]].max(axis=1)
    above = [labels.short_label(name) for name in rows.index if low["iou_mean"][name] > floor[name]]
    changes = {}
    for architecture in _ARCHITECTURES:
        start = f"{architecture}-standard"
        for name in (f"{architecture}-adversarial", f"{architecture}-aligned"):
            change = _signed(rows["iou_mean"][name] - rows["iou_mean"][start], 3)
            higher = low["iou_mean"][name] > high["iou_mean"][start]
            lower = high["iou_mean"][name] < low["iou_mean"][start]
            changes[name] = change if higher or lower else f"{change} (the intervals meet)"
    mass = rows["mass"]
    return (
        "**Compared with trivial baselines.** A random map scores "
        f"{_number(rows['chance'].iloc[0], 3)} on these masks; the image's center, the mean mask "
        "and other images' masks score what the table says. Models whose whole interval lies above "
        f"all four: {'; '.join(above) or 'none'}.\n\n"
        f"**Adversarial training** changes the mean IoU by {changes['resnet18-adversarial']} "
        f"(ResNet-18; paper: +0.029) and {changes['vit_small-adversarial']} (ViT-Small; paper: "
        f"+0.024); **alignment** by {changes['resnet18-aligned']} (paper: +0.271) and "
        f"{changes['vit_small-aligned']} (paper: +0.269).\n\n"
        "**IoU is not the share of attention on the object.** Section 4.3 reads an IoU of 0.15 as "
        "15 % of the attention. The share of the standard models' saliency that lies inside the "
        f"mask is {_number(100 * mass['resnet18-standard'], 0)} % (ResNet-18) and "
        f"{_number(100 * mass['vit_small-standard'], 0)} % (ViT-Small). And 0.15 itself is what a "
        "random map scores on masks that cover 24 % of the image."
    )


def faithfulness(
    deletion: pd.DataFrame,
    attacked: pd.DataFrame,
    randomized: Mapping[str, float | None],
    eps: float,
) -> str:
    """Tell whether explanations are true to their model and survive an attack (notebook 08).

    Args:
        deletion: of ``tables.faithfulness_table``.
        attacked: of ``tables.attacked_saliency_table``.
        randomized: the standard models, to the rank correlation of their maps with those of the
            model with all layers random; None where it is undefined.
        eps: the budget of the attack, in 255ths.
    """
    wide = deletion.pivot(index="model", columns="quantity", values="ours")
    beaten = []
    for name in INTERPRETABILITY:
        own = "gradcam" if name.startswith("resnet18") else "rollout"
        if wide.loc[name, own] >= wide.loc[name, "random"]:
            beaten.append(labels.short_label(name))
    stays = attacked[attacked.quantity == "rank_correlation"].set_index("model")["ours"]
    resnet, vit = (_number(randomized[f"{each}-standard"] or 0.0, 2) for each in _ARCHITECTURES)
    most, least = stays.idxmax(), stays.idxmin()
    return (
        "Models whose own method does no better at deletion than a random map: "
        f"{'; '.join(beaten) or 'none'}. With all layers random, the maps of the standard "
        f"ResNet-18 keep a rank correlation of {resnet} with the trained model's, those of "
        f"ViT-Small {vit}.\n\nUnder attack with {eps:g}/255 the explanation of "
        f"{labels.short_label(most)} stays most alike (rank correlation "
        f"{_number(stays[most], 2)}) and that of {labels.short_label(least)} least "
        f"({_number(stays[least], 2)})."
    )


def alignment(table4: pd.DataFrame) -> str:
    """Compare alignment with a control that was trained as long (notebook 09)."""
    cells = _cells(table4)
    overlaps, accuracies = [], []
    for name in ALIGNED:
        label = labels.architecture_label(name)
        overlaps.append(
            f"{_measured(cells.get((name, 'iou_over_control')), signed=True)} ({label})"
        )
        accuracies.append(f"{_measured(cells.get((name, 'accuracy_over_control')))} ({label})")
    return (
        "Against the control, which was trained as long without an alignment term, alignment "
        f"changes IoU by {' and '.join(overlaps)}, and accuracy by {' and '.join(accuracies)}. The "
        "control tells apart what alignment does and what more training does."
    )


def people(human: pd.DataFrame | None) -> str:
    """Name the model whose probabilities are closest to people's choices (notebook 09).

    Args:
        human: of ``tables.human_table``; None where people cannot be asked.
    """
    if human is None:
        return (
            "CIFAR-10H is not there or these are not its images: people are not asked in this run."
        )
    near = human[human.quantity == "distance"].set_index("model")["ours"]
    return f"Closest to people's choices is {labels.short_label(near.idxmin())}."


def alignment_tests(
    shortcut: pd.DataFrame,
    swapped: pd.DataFrame,
    attack: pd.DataFrame,
    *,
    aligned: str,
) -> str:
    """Tell of three tests of alignment by other metrics than the one trained for (notebook 09).

    Args:
        shortcut: of ``tables.shortcut_table``.
        swapped: of ``tables.swapped_table``.
        attack: of ``tables.aligned_attack_table``.
        aligned: the aligned model of the shortcut experiment.
    """
    cells = _cells(shortcut)
    standard, unaligned = baseline(ALIGNED[0]), control(ALIGNED[0])
    gain = cells[aligned, "over_control"]
    helps = "does not clearly change"
    if gain["low"] > 0:
        helps = "improves"
    if gain["high"] < 0:
        helps = "harms"
    gap, robust = _cells(swapped), _cells(attack)
    narrower = [
        labels.short_label(name)
        for name in ALIGNED
        if gap[name, "gap"]["high"] < gap[control(name), "gap"]["low"]
    ]
    gained = []
    for name in ALIGNED:
        others = [
            robust[other, "pgd_accuracy"]["high"] for other in (baseline(name), control(name))
        ]
        if robust[name, "pgd_accuracy"]["low"] > max(others):
            gained.append(labels.short_label(name))
    none = "none of the aligned models"
    return (
        f"**The shortcut.** The standard model loses {_number(cells[standard, 'drop']['ours'], 1)} "
        "points when the correlation is broken and is then right on "
        f"{_said(cells[standard, 'broken'])} of the images, the control on "
        f"{_said(cells[unaligned, 'broken'])} and the aligned model on "
        f"{_said(cells[aligned, 'broken'])}. On the same images the aligned model less the control "
        f"is {_measured(gain)}: alignment {helps} accuracy once the background says nothing.\n\n"
        "**Backgrounds.** The gap is clearly narrower than the control's for: "
        f"{'; '.join(narrower) or none}.\n\n"
        "**Robustness.** Clearly more accurate under PGD than both baseline and control: "
        f"{'; '.join(gained) or none}."
    )


# --- 10: distribution shift ---------------------------------------------------------------------


def shift(table5: pd.DataFrame) -> str:
    """Tell the order of the categories, the ratios of mCE and its two means (notebook 10)."""
    cells = _cells(table5)
    standard = {
        category: cells["resnet18-standard", category]["ours"]
        for category in ("noise", "blur", "weather", "digital")
    }
    quotients = []
    for architecture in _ARCHITECTURES:
        printed = [
            paper.value("table5", f"{architecture}-{training}", "mce").value
            for training in ("adversarial", "standard")
        ]
        quotients.append(
            f"{_mce_ratio(cells, architecture)} for {paper.ARCHITECTURES[architecture]} (paper: "
            f"{printed[0] / printed[1]:.2f})"
        )
    mean, by_category = (
        _number(cells["resnet18-standard", quantity]["ours"], 3)
        for quantity in ("mce", "category_mean")
    )
    return (
        f"**Order of the categories.** For the standard ResNet-18, "
        f"{max(standard, key=standard.get)} is the worst category relative to the reference and "
        f"{min(standard, key=standard.get)} the best (paper: noise and digital).\n\n"
        "**Does adversarial training help?** In the ratio of mCE, adversarial over standard, the "
        "reference matters only through the weight it gives to each corruption: "
        f"{' and '.join(quotients)}. Below 1, it helps. Training on noise, which needs no attack, "
        f"gives {_mce_ratio(cells, 'resnet18', 'noise')} for ResNet-18.\n\n"
        "**Two means.** The paper's mCE column equals the mean of its four category means. "
        "Equation 14 is the mean over corruptions, and categories do not hold equally many: "
        f"{mean} against {by_category} for the standard ResNet-18."
    )


def shift_summary(table5: pd.DataFrame) -> str:
    """Tell the ratio of mCE between adversarial and standard training (notebook 10)."""
    cells = _cells(table5)
    return (
        "The ratio of mCE between adversarial and standard training is "
        f"{_mce_ratio(cells, 'resnet18')} for ResNet-18 and {_mce_ratio(cells, 'vit_small')} for "
        "ViT-Small."
    )


def _mce_ratio(
    cells: Mapping[tuple[str, str], Cell], architecture: str, training: str = "adversarial"
) -> str:
    ours, start = (
        cells[f"{architecture}-{each}", "mce"]["ours"] for each in (training, "standard")
    )
    return _number(ours / start, 2)


def shift_changes(
    difference: pd.DataFrame, changed: Mapping[tuple[str, str], tuple[int, int]]
) -> str:
    """Count the corruptions whose error adversarial training clearly changes (notebook 10).

    Args:
        difference: of ``tables.corruption_difference_table``.
        changed: (robust model, standard model) to the corruptions whose error is clearly lower and
            clearly higher.
    """
    cells = _cells(difference)
    counts, overall = [], []
    for (robust, standard), (lower, higher) in changed.items():
        label = labels.architecture_label(robust)
        counts.append(f"lowers the error of {label} under {lower} and raises it under {higher}")
        change = _measured(cells.get((f"{robust}_vs_{standard}", "all")))
        overall.append(f"{change} ({label})")
    return (
        f"Of the 19 corruptions, adversarial training clearly {'; it '.join(counts)}. Over all "
        f"nineteen the error changes by {' and '.join(overall)}. Tests and intervals speak of the "
        "images, for one seed."
    )


def breaking_alike(
    agreement: pd.DataFrame, table5: pd.DataFrame, under_pgd: Mapping[str, float]
) -> str:
    """Tell whether images that PGD leaves are also robust to corruptions (notebook 10).

    Args:
        agreement: of ``tables.agreement_table``.
        table5: of ``tables.table5``.
        under_pgd: model to its accuracy under PGD.
    """
    gaps = agreement[(agreement.quantity == "gap") & agreement.low.notna()]
    cells = _cells(table5)
    both = 0
    for architecture in _ARCHITECTURES:
        robust, standard = f"{architecture}-adversarial", f"{architecture}-standard"
        fewer_errors = cells[robust, "error"]["ours"] < cells[standard, "error"]["ours"]
        both += fewer_errors and under_pgd[robust] > under_pgd[standard]
    return (
        f"In {labels.count(len(gaps), 'model')} both groups are large enough to compare. In "
        f"{int((gaps.low > 0).sum())} of them the images that PGD leaves are clearly the more "
        f"robust to corruptions as well, and in {int((gaps.high < 0).sum())} the less. Part of "
        "this is plain difficulty: an image far from the boundary resists everything.\n\n"
        "Across models the answer need not be the same. Of the two architectures, adversarial "
        "training gave the higher accuracy under PGD *and* the lower mean corruption error in "
        f"{both}."
    )


# --- 11 and 12: trade-offs ----------------------------------------------------------------------


def tradeoffs(table: pd.DataFrame, pareto: pd.DataFrame) -> str:
    """Tell the price of robustness and the models on the Pareto fronts (notebook 11).

    Args:
        table: of ``tables.tradeoff_table``.
        pareto: of ``tables.pareto_table``.
    """
    cells = _cells(table)
    prices = []
    for architecture in _ARCHITECTURES:
        gain, loss = _price(cells, architecture)
        prices.append(
            f"{_number(gain, 1)} points under PGD for {_number(loss, 1)} points of accuracy, "
            f"{_ratio(gain, loss)}"
        )
    often = pareto[pareto.ours > 50]
    plane = [labels.short_label(name) for name in often[often.quantity == "plane"]["model"]]
    everything = int((often.quantity == "all").sum())
    return (
        f"**The price of robustness.** For ResNet-18, adversarial training gains {prices[0]} "
        f"(paper: 5.6:1); for ViT-Small {prices[1]}. The paper's 10:1 for alignment divides "
        "hundredths of IoU by points of accuracy and has no meaning as a price.\n\n"
        "**The fronts.** On the front of accuracy and PGD accuracy, in more than half of the "
        f"resamples: {'; '.join(plane) or 'no model'}. On the front of all five axes: {everything} "
        f"of {labels.count(pareto.model.nunique(), 'model')}."
    )


def breakage(broken: pd.DataFrame, overlapping: pd.DataFrame) -> str:
    """Tell whether attacks and corruptions break the same images, and of overlap (notebook 11).

    Args:
        broken: of ``tables.breakage_table``.
        overlapping: of ``tables.overlap_robustness_table``.
    """
    images, equal = (_sides(broken, ("fgsm", "pgd"), suffix) for suffix in ("", "_partial"))
    seen, alone = (
        _sides(overlapping, ("pgd", "corruptions"), suffix) for suffix in ("", "_partial")
    )
    agree = _significant(broken, ("fgsm", "pgd"))
    related = _significant(overlapping, ("pgd", "corruptions"))
    return (
        f"**Corruptions and attacks.** Of {labels.count(images[0], 'comparison')} that can be "
        f"made, {images[1]} {_lies(images[1])} clearly above zero and {images[2]} below; at equal "
        f"confidence {equal[1]} above and {equal[2]} below ({agree} significant after Holm's "
        "correction). Where they lie above, the images that one kind of perturbation breaks are, "
        "to a degree, those that the other breaks: that the two are wholly different phenomena "
        "(5.3) is not what the images say.\n\n"
        f"**Overlap and robustness.** Of {labels.count(seen[0], 'comparison')}, {seen[1]} "
        f"{_lies(seen[1])} clearly above zero and {seen[2]} below; among images of equal "
        f"confidence and object size {alone[1]} above and {alone[2]} below ({related} "
        "significant). What remains then is what overlap itself has to do with robustness."
    )


def _sides(frame: pd.DataFrame, kinds: Sequence[str], suffix: str) -> tuple[int, int, int]:
    """Count the correlations: all, those clearly above zero and those clearly below."""
    rows = frame[frame.quantity.isin([kind + suffix for kind in kinds]) & frame.low.notna()]
    return len(rows), int((rows.low > 0).sum()), int((rows.high < 0).sum())


def _significant(frame: pd.DataFrame, kinds: Sequence[str]) -> int:
    return int((frame[frame.quantity.isin([f"{kind}_p" for kind in kinds])].ours < 0.05).sum())


def confident_errors(table: pd.DataFrame) -> str:
    """Tell of the errors that a model is sure of (notebook 11).

    Args:
        table: of ``tables.confident_errors_table``.
    """
    name = "resnet18-standard"
    cells, facts = _cells(table), table.attrs["facts"]
    wrong, worst, corrupted = (
        cells.get((name, quantity)) for quantity in ("wrong", "worst_class", "corrupted")
    )
    gaps = table[(table.quantity == "iou_gap") & table.low.notna()]
    surely = "When the standard ResNet-18 is at least 90 % sure of a clean image, it is wrong in"
    if _known(wrong):
        told = f"{surely} {_measured(wrong)} of the cases"
    else:
        told = "The standard ResNet-18 is at least 90 % sure of no clean image"
    if _known(worst):
        told += f"; its worst class is {facts.get('worst_resnet18_standard', UNKNOWN)}, with "
        told += _said(worst)
    told += "."
    if _known(corrupted):
        told += (
            " Of the corrupted images at severity 5 that it is as sure of, it gets "
            f"{_said(corrupted)} wrong."
        )
    return (
        f"{told} In {int((gaps.high < 0).sum())} of {labels.count(len(gaps), 'model')} where there "
        "are enough such mistakes to tell, its saliency overlaps the object clearly less where it "
        "is confidently wrong than where it is confidently right."
    )


def tradeoff_summary(table: pd.DataFrame, broken: pd.DataFrame) -> str:
    """Tell the price of robustness, and how often attacks and corruptions agree (notebook 11)."""
    gain, loss = _price(_cells(table), "resnet18")
    made, above, _ = _sides(broken, ("fgsm", "pgd"), "_partial")
    stamp = table.attrs["stamp"]
    return (
        f"{stamp[:1].upper()}{stamp[1:]}. Robustness costs accuracy at {_ratio(gain, loss)} for "
        f"ResNet-18. On the images, attacks and corruptions agree in {above} of "
        f"{labels.count(made, 'comparison')} at equal confidence."
    )


def _price(cells: Mapping[tuple[str, str], Cell], architecture: str) -> tuple[float, float]:
    """Points of PGD accuracy that adversarial training gains, and of accuracy that it loses."""
    robust, standard = f"{architecture}-adversarial", f"{architecture}-standard"
    gain = cells[robust, "pgd_accuracy"]["ours"] - cells[standard, "pgd_accuracy"]["ours"]
    loss = cells[standard, "clean_accuracy"]["ours"] - cells[robust, "clean_accuracy"]["ours"]
    return gain, loss


def _ratio(gain: float, loss: float) -> str:
    return f"{_number(gain / loss, 1)}:1" if loss > 0 else "no price: nothing was lost"


def combination(square: pd.DataFrame, source: str) -> str:
    """Tell whether alignment and adversarial training interfere (notebook 12).

    Args:
        square: of ``tables.orthogonality_table``.
        source: of the masks that IoU is measured with.
    """
    cells, iou = _cells(square), f"iou_{source}"
    pgd, overlap = cells["pgd", "alignment_robust"], cells[iou, "alignment_robust"]
    interaction = cells[iou, "interaction"]
    cost = "changes robustness by less than these images can tell"
    if pgd["high"] < 0:
        cost = "costs robustness"
    if pgd["low"] > 0:
        cost = "gains robustness"
    gain = "does not clearly change"
    if overlap["low"] > 0:
        gain = "raises"
    if overlap["high"] < 0:
        gain = "lowers"
    meets = "do not interfere, as far as these images can tell"
    if interaction["high"] < 0:
        meets = "interfere: the gain in overlap is smaller with adversarial training"
    if interaction["low"] > 0:
        meets = "interfere: the gain in overlap is larger with adversarial training"
    of_iou = {
        effect: _measured(cells[iou, effect], signed=True)
        for effect in ("alignment", "alignment_robust", "attack", "attack_aligned", "interaction")
    }
    return (
        "**What the alignment term does to a robust model.** Accuracy under PGD changes by "
        f"{_measured(pgd)}, accuracy by {_measured(cells['clean', 'alignment_robust'])}, corrupted "
        f"versions by {_measured(cells['corruptions', 'alignment_robust'])}, and IoU by "
        f"{of_iou['alignment_robust']}: it {cost} and {gain} the overlap.\n\n"
        f"**What adversarial training does to the overlap**: {of_iou['attack']} without the "
        f"alignment term, {of_iou['attack_aligned']} with it.\n\n"
        f"**Orthogonal?** Alignment brings {of_iou['alignment']} of IoU to a standard model and "
        f"{of_iou['alignment_robust']} to an adversarially trained one; the interaction is "
        f"{of_iou['interaction']}. On overlap the two {meets}. On accuracy under PGD no "
        "interaction can be read off where standard models have none to lose."
    )


def combination_summary(square: pd.DataFrame, source: str, *, both: str, robust: str) -> str:
    """Compare the model that is robust and aligned with the one that is robust alone (notebook 12).

    Args:
        square: of ``tables.orthogonality_table``.
        source: of the masks that IoU is measured with.
        both: the model that is robust and aligned.
        robust: the model that is robust alone.
    """
    cells = _cells(square)
    return (
        f"{labels.short_label(both)} against {labels.short_label(robust)}: "
        f"{_said(cells['pgd', 'alignment_robust'])} of accuracy under PGD and "
        f"{_measured(cells[f'iou_{source}', 'alignment_robust'], signed=True)} of IoU. These "
        "intervals speak of one set of weights a model."
    )


# --- 13 and 14: verdicts and scorecards ---------------------------------------------------------


def rule(share: float, tolerances: Mapping[str, float], relative: float) -> str:
    """Tell the numbers of the rule of verdicts (notebook 13).

    Args:
        share: of a claimed difference that must be found.
        tolerances: by unit, ``"points"`` and ``""``.
        relative: tolerance of a quotient, as a share.
    """
    return (
        f"A difference must be at least {share:.2f} times the one claimed, so that a significant "
        f"trifle does not pass for an effect. Tolerances: {tolerances['points']:g} point of "
        f"accuracy, {tolerances['']:g} of a calibration error, {100 * relative:.0f} % of a "
        "quotient."
    )


def verdict_counts(told: Mapping[str, Any]) -> str:
    """Count the numbers and claims by verdict (notebook 13).

    Args:
        told: of :func:`rslib.verdicts.values`.
    """
    return (
        f"Of {told['verdicts_total']} numbers and claims, this run has "
        f"{told['verdicts_reproduced']} reproduced, "
        f"{told['verdicts_reached_with_another_recipe']} reached with another recipe, "
        f"{told['verdicts_same_direction']} in the same direction, "
        f"{told['verdicts_not_reproduced']} not reproduced, "
        f"{told['verdicts_not_comparable']} not comparable and "
        f"{told['verdicts_not_testable_as_stated']} not testable as stated."
    )


def conclusion(told: Mapping[str, Any]) -> str:
    """Compare the findings of the paper's conclusion with ours (notebook 13).

    Args:
        told: of :func:`rslib.verdicts.values`, with the claims cited here.
    """
    return (
        "**Robustness for accuracy.** Adversarial training changes the PGD accuracy of ResNet-18 "
        f"by {_judged(told, 'conclusion_gain')} and its clean accuracy by "
        f"{_judged(told, 'conclusion_loss')}.\n\n"
        "**Alignment.** The IoU of ResNet-18 changes by: "
        f"{told['verdict_abstract_iou_after_ours']}; the paper's claim of +0.27 is "
        f"*{told['verdict_abstract_iou_after']}* ({told['verdict_abstract_iou_after_why']}).\n\n"
        "**Transfer to corruptions.** Adversarial training changes the mCE of ResNet-18 by "
        f"{_judged(told, 'conclusion_transfer_resnet18')} and that of ViT-Small by "
        f"{_judged(told, 'conclusion_transfer_vit_small')}.\n\n"
        "**Orthogonality.** That alignment does not change robustness: "
        f"*{told['verdict_conclusion_orthogonal']}*. A model without robustness has none to lose; "
        "the control's accuracy under each attack stands in the entry."
    )


def attack_claims(told: Mapping[str, Any]) -> str:
    """Compare two of the paper's claims on attacks with ours (notebook 13).

    Args:
        told: of :func:`rslib.verdicts.values`, with the claims cited here.
    """
    return (
        "Alternating clean and attacked batches is said to give more robust models than attacking "
        "every batch (3.2.2). Accuracy under PGD of the one less that of the other: "
        f"{told['verdict_alternating_ours']} (*{told['verdict_alternating']}*). Success of FGSM, "
        f"where the text says over 99 %: {told['verdict_fgsm_success_ours']}."
    )


def contradictions(checks: int, wrong: int) -> str:
    """Count the checks of the paper's arithmetic that find a contradiction (notebook 13)."""
    finds = "finds" if wrong == 1 else "find"
    return f"Of {labels.count(checks, 'check')}, {wrong} {finds} a contradiction:"


def _judged(told: Mapping[str, Any], claim: str) -> str:
    return f"{told[f'verdict_{claim}_ours']} ({told[f'verdict_{claim}']})"


def scorecards(robust: Any, rounded: Any, images: int) -> str:
    """Compare a robust model with one that only looks robust (notebook 14).

    Args:
        robust: the scorecard of the adversarially trained ResNet-18.
        rounded: that of the standard ResNet-18 behind a rounded input.
        images: that both were attacked on.
    """
    pgd, autoattack = (_scored(robust, axis) for axis in ("pgd", "autoattack"))
    standard = UNKNOWN
    for peer in rounded.axis("pgd").compared:
        if peer.model == "resnet18-standard":
            standard = f"{peer.measure.value:.0f} %"
    return (
        f"On {labels.count(images, 'image')} the adversarially trained model keeps {pgd} under PGD "
        f"and {autoattack} under AutoAttack; its verdict: {_verdict(robust)}. Behind the rounded "
        f"input the standard model keeps {_scored(rounded, 'pgd')} under PGD, where without it it "
        f"keeps {standard} of the same images; its verdict: {_verdict(rounded)}. A number under "
        "attack is worth what its verdict is worth."
    )


def _scored(card: Any, axis: str) -> str:
    result = card.axis(axis).result
    return UNKNOWN if result is None else f"{result.value:.0f} %"


def _verdict(card: Any) -> str:
    verdict = card.reliability
    if verdict.failed:
        return f"flagged ({', '.join(verdict.failed)})"
    return "not given" if verdict.passed is None else "passed"


# --- numbers and grammar ------------------------------------------------------------------------


def _cells(frame: pd.DataFrame) -> dict[tuple[str, str], Cell]:
    """The rows of a table by model and quantity."""
    return {(cell["model"], cell["quantity"]): cell for cell in frame.to_dict("records")}


def _known(cell: Cell | None) -> bool:
    return cell is not None and not numbers.missing(cell["ours"])


def _said(cell: Cell | None) -> str:
    """Our number with its unit."""
    return _minus(numbers.quantity(cell["ours"], cell["unit"])) if _known(cell) else UNKNOWN


def _reported(cell: Cell) -> str:
    return UNKNOWN if numbers.missing(cell["paper"]) else numbers.quantity(cell["paper"], "%")


def _measured(cell: Cell | None, *, signed: bool = False) -> str:
    """Our number with its unit and its interval."""
    if not _known(cell):
        return UNKNOWN
    number = _signed(cell["ours"], 3) if signed else _said(cell)
    return f"{number} {_minus(numbers.interval(cell))}".strip()


def _number(value: float, digits: int) -> str:
    if numbers.missing(value):
        return UNKNOWN
    # Rounded first: a number that rounds to zero has no sign.
    return _minus(f"{round(float(value), digits) + 0.0:.{digits}f}")


def _signed(value: float, digits: int) -> str:
    text = _number(value, digits)
    return f"+{text}" if round(float(value), digits) > 0 else text


def _minus(text: str) -> str:
    return text.replace("-", numbers.MINUS)


def _own(n: int) -> str:
    return "its" if n == 1 else "their"


def _has(n: int) -> str:
    return "has" if n == 1 else "have"


def _lies(n: int) -> str:
    return "lies" if n == 1 else "lie"


def _are(n: int) -> str:
    return f"{labels.count(n, 'image')} {'is' if n == 1 else 'are'}"
