"""The sentences of the notebooks that say what their tables hold, as Markdown.

A notebook hands its tables and numbers to a function here and shows what it returns
(:func:`rslib.notebook.say`), so that JupyterLab, Colab, GitHub and the book show the same words.
Tables are those of :mod:`rslib.report.tables` that have the parameter's name, such as ``table1`` or
``masks``, for ``masks_table``; ``source`` is that of the masks, ``eps`` the budget in 255ths. A
number that was not measured is called so.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.report import numbers
from rslib.report.labels import architecture_label, count, mask_label, short_label
from rslib.settings import names

if TYPE_CHECKING:
    import pandas as pd

    from rslib.corruptions.cifar10c import Corrupted
    from rslib.corruptions.mce import ErrorTable
    from rslib.metrics.shares import McNemar

UNKNOWN = "not measured"

Cell = Mapping[str, Any]
Cells = Mapping[tuple[str, str], Cell]
Sides = tuple[int, int, int]


def parameters(counts: Mapping[str, int]) -> str:
    """Compare the parameters, by architecture at the paper's sizes, with its own count (01)."""
    told = []
    for architecture, n in counts.items():
        printed = paper.value("table1", f"{architecture}-standard", "parameters").printed
        label = paper.ARCHITECTURES[architecture]
        told.append(f"{label} has {n / 1e6:.1f} million parameters (Table 1: {printed})")
    return (
        f"At the paper's own sizes {' and '.join(told)}. The paper's figure for ViT-Small is that "
        "of the 224-pixel, 1000-class model: larger patches to embed, and a larger classifier."
    )


def loss_traces(
    traces: Mapping[str, Sequence[float]], images: int, step_size: float, *, tf32: bool
) -> str:
    """Tell of PGD's loss along the steps, and of the precision of its gradients (notebook 02).

    The traces are mean losses at each step, by curve; the step size is in [0, 1] units.
    """
    flat = [label for label, trace in traces.items() if trace[-1] <= trace[0]]
    climbs = "The loss of every curve above climbs from the start to the last step"
    if flat:
        climbs = f"From the start to the last step the loss does not climb for {'; '.join(flat)}"
    precision = "Gradients are taken in full precision."
    if tf32:
        precision = "Attacks take gradients, and smoothing its votes, in TF32 where the GPU has it."
    counted = count(images, "image")
    return f"{climbs} ({counted}; steps of {255 * step_size:.1f}/255). {precision}"


def defenses(mixed_epochs: int, pure_epochs: int, *, trades: bool) -> str:
    """Tell how long adversarial training takes in its two ways, and of TRADES (notebook 02)."""
    does = "trains" if trades else "does not train"
    return (
        f"*Purely adversarial* trains for {count(pure_epochs, 'epoch')} here, alternating batches "
        f"for {count(mixed_epochs, 'epoch')}. This run {does} TRADES."
    )


def overfitting(selection: pd.DataFrame) -> str:
    """Count the robust trainings that ended below their best epoch (notebook 02)."""
    lost = _column(selection, "overfitting")
    below, told = int((lost > 0).sum()), "none ended below its best epoch."
    if below:
        most, own = short_label(lost.idxmax()), _word(below, "its", "their")
        told = f"{below} ended below {own} best epoch; the most was lost by {most} "
        told += f"({lost.max():.1f} points of robust validation accuracy)."
    return (
        f"Of {count(len(lost), 'robust training')}, {told} The best epoch is chosen on these very "
        "images, so part of any gap is luck; few epochs leave little time to overfit."
    )


def mask_agreement(masks: pd.DataFrame, agreement: Mapping[tuple[str, str], float]) -> str:
    """Tell how far masks agree, by the mean IoU of two sources', and of calibration (03)."""
    told, against = [], []
    for (one, other), iou in agreement.items():
        reached = f"a mean IoU of {_number(iou, 2)}"
        if {one, other} == set(names.TEACHERS):
            told.append(f"The two teachers' masks of the same image overlap with {reached}.")
        if one == "exact" and other in names.TEACHERS:
            against.append(f"the {mask_label(other)} reach {reached}")
    if against:
        told.append(f"Scored against the exact masks, {' and '.join(against)}.")
    else:
        none = "The data set has no exact masks"
        told.append(f"{none}, so the proxies cannot be scored against the truth here.")
    facts, kinds = masks.attrs["facts"], {"cnn_temperature": "CNN", "vit_temperature": "ViT"}
    known = [f"{_number(facts[key], 2)} for the {kinds[key]}" for key in kinds if key in facts]
    here = f" (here {' and '.join(known)})" if known else ""
    return (
        f"**How good are proxies?** {' '.join(told)}\n\n"
        "**Does calibration matter?** The paper asks for a well-calibrated model. Temperature "
        f"scaling{here} divides all logits by one number, which leaves the ranking of every map, "
        "and so every mask, as it was: calibration of this kind cannot improve a mask."
    )


def overlap_floor(masks: pd.DataFrame, source: str) -> str:
    """Tell the IoU of a random map, the image's center and the best map (notebook 03)."""
    cells = _cells(masks)
    chance, center, ceiling = (
        _said(cells.get((source, each))) for each in ("chance", "center", "ceiling")
    )
    share = cells.get((source, "coverage"))
    covered = UNKNOWN if share is None else _number(share["ours"], 2)
    return (
        f"This run's {mask_label(source)} masks cover {covered} of the image on average. On them a "
        f"random map scores {chance}, the image's center {center}, and no map can score more than "
        f"{ceiling}. Every table of overlap in this book carries these numbers."
    )


def alignment_variants(variants: pd.DataFrame, source: str) -> str:
    """Count the ways of alignment that reach a higher IoU than their control (notebook 04)."""
    iou = variants[variants.quantity == f"iou_{source}"].set_index("model")
    reached, ahead = [], []
    for name in names.ALIGNED:
        rest, label = iou.loc[names.control(name)], architecture_label(name)
        own = iou[[each.startswith(name) and each != names.control(name) for each in iou.index]]
        above = int((own.low > rest.high).sum())
        reached.append(f"{_number(rest.ours, 3)} ({label})")
        of = f"Of {count(len(own), 'variant')} of {label}, {above} {_word(above, 'has', 'have')}"
        ahead.append(f"{of} an interval wholly above the control's.")
    best = iou.loc[iou["ours"].idxmax()]
    return (
        f"The control, which is never shown a mask, reaches an IoU of {' and '.join(reached)}. "
        f"{' '.join(ahead)} The highest IoU, {_number(best.ours, 3)}, is that of {best.label}, "
        f"{best.training}."
    )


def corruption_error(ours: ErrorTable, reference: ErrorTable, corrupted: Corrupted) -> str:
    """Work through equations 14 and 15 for fog and for all 19 corruptions (notebook 05)."""
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


def baselines(
    table1: pd.DataFrame, outcome: McNemar, resnet: Mapping[str, Any], vit: Mapping[str, Any]
) -> str:
    """Compare accuracy, calibration and cost of the two baselines (notebook 06).

    Takes McNemar's test, ResNet-18 first, and both trainings' ``run.summary``, too.
    """
    cells = _cells(table1)
    right = [cells[name, "clean_accuracy"] for name in names.BASELINES]
    first, second = (cells[name, "ece"]["ours"] for name in names.BASELINES)
    calibrated = {2: "both stay", 1: "only one of the two stays", 0: "neither stays"}
    below, smaller = (first < 0.05) + (second < 0.05), "neither"
    if first != second:
        smaller = "ResNet-18" if first < second else "ViT-Small"
    seconds, sizes = (vit[key] / resnet[key] for key in ("seconds", "parameters"))
    images = f"{count(outcome.b, 'image')} {_word(outcome.b, 'is', 'are')}"
    return (
        f"**Accuracy.** ResNet-18 reaches {_measured(right[0])} and ViT-Small "
        f"{_measured(right[1])}: a gap of {_number(right[0]['ours'] - right[1]['ours'], 1)} "
        f"points, where the paper has 3.6. On the same images, {images} right for ResNet-18 alone "
        f"and {outcome.c:,} for ViT-Small alone (McNemar's test, "
        f"{numbers.quantity(outcome.p_value, 'p')}).\n\n"
        "**Calibration.** The paper finds both errors below 0.05 and ResNet-18 the better "
        f"calibrated. Here {calibrated[below]} below 0.05, and {smaller} has the smaller error.\n\n"
        f"**Cost.** ViT-Small took {seconds:.2f} times the training time of ResNet-18 (paper: "
        f'1.24) with {sizes:.1f} times its parameters (paper: "twice"). Both ratios belong to '
        "this profile's sizes and recipes; times include validation."
    )


def robustness(table2: pd.DataFrame, pgd: Iterable[pd.DataFrame], eps: float) -> str:
    """Compare standard and adversarial training under attack, by PGD's records, too (07)."""
    cells = _cells(table2)
    resnet, robust_resnet, vit, robust_vit, pure = (
        cells[name, "pgd_accuracy"] for name in (*names.ROBUSTNESS, names.PURELY_ADVERSARIAL)
    )
    gain, loss, _ = _price(cells, "resnet18")
    mixing = "as robust as the other"
    if robust_resnet["ours"] != pure["ours"]:
        more = robust_resnet["ours"] > pure["ours"]
        mixing = f"the {'more' if more else 'less'} robust of the two"
    one_step, vit_one_step = (_said(cells[name, "fgsm_success"]) for name in names.BASELINES)
    clean, attacked = (
        paper.value("table2", "resnet18-standard", f"{kind}_accuracy").value
        for kind in ("clean", "fgsm")
    )
    spared = [int((r.correct_last & ~r.correct).sum()) for r in pgd if "correct_last" in r]
    stopped = "the attack stopped on each image as soon as it succeeded"
    last = f"Last-iterate accuracy was not recorded: {stopped}."
    if spared:
        images = count(sum(spared), "more image")
        last = f"Scored by the last iterate alone, {images} would count as robust, over all models."
    return (
        f"**Standard training.** At {eps:g}/255 ResNet-18 keeps {_measured(resnet)} of "
        f"{numbers.images(resnet)} images (paper: {_said(resnet, 'paper')}), ViT-Small "
        f"{_measured(vit)} (paper: {_said(vit, 'paper')}).\n\n"
        f"**Adversarial training** brings ResNet-18 to {_measured(robust_resnet)} (paper: "
        f"{_said(robust_resnet, 'paper')}): {gain} points gained for {loss} points of clean "
        f"accuracy (paper: 45 for 8). ViT-Small reaches {_measured(robust_vit)} (paper: "
        f"{_said(robust_vit, 'paper')}).\n\n"
        "**Mixing.** Section 3.2.2 says that mixing clean and attacked batches is more robust than "
        f"attacking every batch. Here the mixed ResNet-18 is {mixing}: {_said(robust_resnet)} "
        f"against {_said(pure)}, one seed each.\n\n"
        f"**FGSM** turns {one_step} of the standard ResNet-18's correct images and {vit_one_step} "
        "of ViT-Small's. \"More than 99 %\" (4.2) contradicts the paper's own Table 2, by which it "
        f"is {paper.attack_success(clean, attacked):.1f} % for ResNet-18.\n\n"
        f"**Last iterates.** {last}"
    )


def attack_checks(reports: Mapping[str, Mapping[str, Any]], masked: str) -> str:
    """Name the models that the checks on attacks flag, and AutoAttack's gaps (notebook 07).

    Takes reports (:meth:`rslib.attacks.Report.to_dict`) by the labels of the models, and the label
    of the one whose gradients are masked on purpose.
    """
    from rslib.attacks.reliability import beside_autoattack

    sides: dict[str, list[str]] = {"beyond": [], "within": [], "unclear": []}
    largest, gaps, flagged = UNKNOWN, [], []
    for label, report in reports.items():
        if not report["passed"] and label != masked:
            flagged.append(f"{label} ({', '.join(report['failed'])})")
        for check in report["checks"]:
            if check["name"] == "autoattack":
                sides[beside_autoattack(check["evidence"])].append(label)
                gaps.append(100 * check["evidence"]["difference"])
    if gaps:
        largest = f"{_number(max(gaps), 1)} points"
    beyond, within, unclear = (_listed(found, "no model") for found in sides.values())
    return (
        f"On {count(reports[masked]['images'], 'image')} the masked model is flagged by: "
        f"{', '.join(reports[masked]['failed']) or 'nothing'}. Of the honest models the checks "
        f"flag: {_listed(flagged)}. Counted on the same images, AutoAttack clearly ends more than "
        f"six points under PGD-20 for {beyond} and stays within six for {within}; the images are "
        f"too few to tell for {unclear}. The largest gap seen is {largest}."
    )


def overlap(table3: pd.DataFrame) -> str:
    """Compare IoU with trivial baselines, between trainings and with attention (notebook 08)."""
    iou = table3[table3.quantity == "iou_mean"].set_index("model")
    ours = table3.pivot(index="model", columns="quantity", values="ours")
    floor = ours[["chance", "shuffled", "center", "average"]].max(axis=1)
    above = [short_label(name) for name in ours.index if iou.low[name] > floor[name]]
    changes = {}
    for name in names.INTERPRETABILITY:
        start = names.baseline(name)
        changes[name] = _number(iou.ours[name] - iou.ours[start], 3, signed=True)
        if not (iou.low[name] > iou.high[start] or iou.high[name] < iou.low[start]):
            changes[name] += " (the intervals meet)"
    resnet, vit = (_number(100 * ours["mass"][name], 0) for name in names.BASELINES)
    return (
        "**Compared with trivial baselines.** A random map scores "
        f"{_number(ours['chance'].iloc[0], 3)} on these masks; the image's center, the mean mask "
        "and other images' masks score what the table says. Models whose whole interval lies above "
        f"all four: {_listed(above)}.\n\n"
        f"**Adversarial training** changes the mean IoU by {changes['resnet18-adversarial']} "
        f"(ResNet-18; paper: +0.029) and {changes['vit_small-adversarial']} (ViT-Small; paper: "
        f"+0.024); **alignment** by {changes['resnet18-aligned']} (paper: +0.271) and "
        f"{changes['vit_small-aligned']} (paper: +0.269).\n\n"
        "**IoU is not the share of attention on the object.** Section 4.3 reads an IoU of 0.15 as "
        "15 % of the attention. The share of the standard models' saliency that lies inside the "
        f"mask is {resnet} % (ResNet-18) and {vit} % (ViT-Small). And 0.15 itself is what a random "
        "map scores on masks that cover 24 % of the image."
    )


def faithfulness(
    faithfulness: pd.DataFrame,
    attacked_saliency: pd.DataFrame,
    randomized: Mapping[str, float | None],
    eps: float,
) -> str:
    """Tell whether explanations are true to their model and survive an attack (notebook 08).

    ``randomized`` is, for each standard model, the rank correlation of its maps with those of the
    model with all layers random; None where it is undefined.
    """
    wide, beaten = faithfulness.pivot(index="model", columns="quantity", values="ours"), []
    for name in names.INTERPRETABILITY:
        own = "gradcam" if name.startswith("resnet18") else "rollout"
        if wide.loc[name, own] >= wide.loc[name, "random"]:
            beaten.append(short_label(name))
    stays = _column(attacked_saliency, "rank_correlation")
    most, least = stays.idxmax(), stays.idxmin()
    resnet, vit = (_number(randomized[name] or 0.0, 2) for name in names.BASELINES)
    return (
        f"Models whose own method does no better at deletion than a random map: {_listed(beaten)}. "
        "With all layers random, the maps of the standard ResNet-18 keep a rank correlation of "
        f"{resnet} with the trained model's, those of ViT-Small {vit}.\n\n"
        f"Under attack with {eps:g}/255 the explanation of {short_label(most)} stays most alike "
        f"(rank correlation {_number(stays[most], 2)}) and that of {short_label(least)} least "
        f"({_number(stays[least], 2)})."
    )


def randomization(checks: Mapping[str, Mapping[str, Any]], *, level: float = 0.75) -> str:
    """Tell which maps hardly change while a model's layers are made random (notebook 08).

    ``checks`` are what ``run.randomization`` gives, by model. A method keeps a level up to the last
    look until which every mean rank correlation is at least that.
    The default level was chosen after the checks of the published editions had been seen.
    """
    from rslib.saliency.methods import LABELS

    kept, last, none = [], [], []
    for name, check in checks.items():
        for method, steps in check["methods"].items():
            label = f"{LABELS.get(method, method)} of {short_label(name)}"
            held = list(itertools.takewhile(lambda s: (s["correlation"] or 0) >= level, steps))
            if held:
                least = min(step["correlation"] for step in held)
                of = f"{held[-1]['layers']} of {steps[-1]['layers']} layers random"
                kept.append(f"{label}, with {of}, still {_number(least, 3)} or more")
            if steps[-1]["correlation"] is None:
                none.append(label)
            else:
                last.append((abs(steps[-1]["correlation"]), steps[-1]["correlation"], label))
    told = f"No map keeps a rank correlation of {level:g} with the trained model's"
    if kept:
        told = f"Maps that keep a rank correlation of {level:g} or more with the trained model's"
        told += f": {'; '.join(kept)}. They show how attention is wired, or the image, and hardly "
        told += "what the layers have learned, so an overlap with objects says little of the model"
    if last:
        _, most, label = max(last)
        told += f". With all layers random the largest correlation is {_number(most, 2)} ({label})"
    if none:
        told += f"; all maps are constant then: {_listed(none)}"
    return f"{told}."


def alignment(table4: pd.DataFrame) -> str:
    """Compare alignment with a control that was trained as long (notebook 09)."""
    cells, overlaps, accuracies = _cells(table4), [], []
    for name in names.ALIGNED:
        label, iou = architecture_label(name), cells.get((name, "iou_over_control"))
        overlaps.append(f"{_measured(iou, signed=True)} ({label})")
        accuracies.append(f"{_measured(cells.get((name, 'accuracy_over_control')))} ({label})")
    return (
        "Against the control, which was trained as long without an alignment term, alignment "
        f"changes IoU by {' and '.join(overlaps)}, and accuracy by {' and '.join(accuracies)}. The "
        "control tells apart what alignment does and what more training does."
    )


def people(human: pd.DataFrame | None) -> str:
    """Name the model that is closest to people's choices, where they can be asked (09)."""
    if human is None:
        missing = "CIFAR-10H is not there or these are not its images"
        return f"{missing}: people are not asked in this run."
    return f"Closest to people's choices is {short_label(_column(human, 'distance').idxmin())}."


def alignment_tests(
    shortcut: pd.DataFrame, swapped: pd.DataFrame, aligned_attack: pd.DataFrame, *, aligned: str
) -> str:
    """Test alignment, ``aligned`` that of the shortcut, by metrics not trained for (09)."""
    cells, gap, robust = _cells(shortcut), _cells(swapped), _cells(aligned_attack)
    first = names.ALIGNED[0]
    standard, unaligned, ours = (
        _said(cells[name, "broken"])
        for name in (names.baseline(first), names.control(first), aligned)
    )
    gain, drop = cells[aligned, "over_control"], cells[names.baseline(first), "drop"]["ours"]
    helps = _clearly(gain, "improves", "harms", "does not clearly change")
    narrower, gained = [], []
    for name in names.ALIGNED:
        start, rest = names.baseline(name), names.control(name)
        if gap[name, "gap"]["high"] < gap[rest, "gap"]["low"]:
            narrower.append(short_label(name))
        others = [robust[each, "pgd_accuracy"]["high"] for each in (start, rest)]
        if robust[name, "pgd_accuracy"]["low"] > max(others):
            gained.append(short_label(name))
    none = "none of the aligned models"
    return (
        f"**The shortcut.** The standard model loses {_number(drop, 1)} points when the "
        f"correlation is broken and is then right on {standard} of the images, the control on "
        f"{unaligned} and the aligned model on {ours}. On the same images the aligned model less "
        f"the control is {_measured(gain)}: alignment {helps} accuracy once the background says "
        "nothing.\n\n"
        "**Backgrounds.** The gap is clearly narrower than the control's for: "
        f"{_listed(narrower, none)}.\n\n"
        "**Robustness.** Clearly more accurate under PGD than both baseline and control: "
        f"{_listed(gained, none)}."
    )


def shift(table5: pd.DataFrame) -> str:
    """Tell the order of the categories, the ratios of mCE and its two means (notebook 10)."""
    cells, (name, *_), quotients = _cells(table5), names.BASELINES, []
    standard = {each: cells[name, each]["ours"] for each in ("noise", "blur", "weather", "digital")}
    for architecture in map(names.architecture, names.BASELINES):
        robust, start = (
            paper.value("table5", f"{architecture}-{training}", "mce").value
            for training in ("adversarial", "standard")
        )
        ratio, label = _mce_ratio(cells, architecture), paper.ARCHITECTURES[architecture]
        quotients.append(f"{ratio} for {label} (paper: {robust / start:.2f})")
    mean, by_category = (_number(cells[name, q]["ours"], 3) for q in ("mce", "category_mean"))
    return (
        "**Order of the categories.** For the standard ResNet-18, "
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
    resnet, vit = (_mce_ratio(_cells(table5), each) for each in ("resnet18", "vit_small"))
    return (
        f"The ratio of mCE between adversarial and standard training is {resnet} for ResNet-18 and "
        f"{vit} for ViT-Small."
    )


def _mce_ratio(cells: Cells, architecture: str, training: str = "adversarial") -> str:
    ours, start = (cells[f"{architecture}-{each}", "mce"] for each in (training, "standard"))
    return _number(ours["ours"] / start["ours"], 2)


def shift_changes(
    corruption_difference: pd.DataFrame, changed: Mapping[tuple[str, str], tuple[int, int]]
) -> str:
    """Count the corruptions whose error adversarial training clearly changes (notebook 10).

    They are (lower, higher) by (robust model, standard model).
    """
    cells, counts, overall = _cells(corruption_difference), [], []
    for (robust, standard), (lower, higher) in changed.items():
        label, change = architecture_label(robust), cells.get((f"{robust}_vs_{standard}", "all"))
        counts.append(f"lowers the error of {label} under {lower} and raises it under {higher}")
        overall.append(f"{_measured(change)} ({label})")
    return (
        f"Of the 19 corruptions, adversarial training clearly {'; it '.join(counts)}. Over all "
        f"nineteen the error changes by {' and '.join(overall)}. Tests and intervals speak of the "
        "images, for one seed."
    )


def breaking_alike(
    agreement: pd.DataFrame, table5: pd.DataFrame, under_pgd: Mapping[str, float]
) -> str:
    """Tell whether images that PGD leaves are also robust to corruptions (notebook 10)."""
    cells, both = _cells(table5), 0
    for standard in names.BASELINES:
        robust = standard.replace("standard", "adversarial")
        fewer_errors = cells[robust, "error"]["ours"] < cells[standard, "error"]["ours"]
        both += fewer_errors and under_pgd[robust] > under_pgd[standard]
    known, more, less = _sides(agreement, "gap")
    return (
        f"In {count(known, 'model')} both groups are large enough to compare. In {more} of them "
        "the images that PGD leaves are clearly the more robust to corruptions as well, and in "
        f"{less} the less. Part of this is plain difficulty: an image far from the boundary "
        "resists everything.\n\n"
        "Across models the answer need not be the same. Of the two architectures, adversarial "
        "training gave the higher accuracy under PGD *and* the lower mean corruption error in "
        f"{both}."
    )


def tradeoffs(tradeoff: pd.DataFrame, pareto: pd.DataFrame) -> str:
    """Tell the price of robustness and the models on the Pareto fronts (notebook 11)."""
    cells, prices = _cells(tradeoff), []
    for architecture in ("resnet18", "vit_small"):
        gain, loss, ratio = _price(cells, architecture)
        prices.append(f"{gain} points under PGD for {loss} points of accuracy, {ratio}")
    often = pareto[pareto.ours > 50]
    plane = [short_label(name) for name in often[often.quantity == "plane"]["model"]]
    everything = int((often.quantity == "all").sum())
    return (
        f"**The price of robustness.** For ResNet-18, adversarial training gains {prices[0]} "
        f"(paper: 5.6:1); for ViT-Small {prices[1]}. The paper's 10:1 for alignment divides "
        "hundredths of IoU by points of accuracy and has no meaning as a price.\n\n"
        "**The fronts.** On the front of accuracy and PGD accuracy, in more than half of the "
        f"resamples: {_listed(plane, 'no model')}. On the front of all five axes: {everything} of "
        f"{count(pareto.model.nunique(), 'model')}."
    )


def breakage(breakage: pd.DataFrame, overlap_robustness: pd.DataFrame) -> str:
    """Tell whether attacks and corruptions break the same images, and of overlap (notebook 11)."""
    images, equal, agree = _correlated(breakage, "fgsm", "pgd")
    seen, alone, related = _correlated(overlap_robustness, "pgd", "corruptions")
    return (
        f"**Corruptions and attacks.** Of {count(images[0], 'comparison')} that can be made, "
        f"{images[1]} {_word(images[1], 'lies', 'lie')} clearly above zero and {images[2]} below; "
        f"at equal confidence {equal[1]} above and {equal[2]} below ({agree} significant after "
        "Holm's correction). Where they lie above, the images that one kind of perturbation breaks "
        "are, to a degree, those that the other breaks: that the two are wholly different "
        "phenomena (5.3) is not what the images say.\n\n"
        f"**Overlap and robustness.** Of {count(seen[0], 'comparison')}, {seen[1]} "
        f"{_word(seen[1], 'lies', 'lie')} clearly above zero and {seen[2]} below; among images of "
        f"equal confidence and object size {alone[1]} above and {alone[2]} below ({related} "
        "significant). What remains then is what overlap itself has to do with robustness."
    )


def _correlated(frame: pd.DataFrame, *kinds: str) -> tuple[Sides, Sides, int]:
    """The sides of the plain and partial correlations, and how many of these are significant."""
    p_values = frame[frame.quantity.isin([f"{kind}_p" for kind in kinds])].ours
    partial = _sides(frame, *(f"{kind}_partial" for kind in kinds))
    return _sides(frame, *kinds), partial, int((p_values < 0.05).sum())


def _sides(frame: pd.DataFrame, *quantities: str) -> Sides:
    """The numbers of rows with an interval: all, those clearly above zero and clearly below."""
    rows = frame[frame.quantity.isin(quantities) & frame.low.notna()]
    return len(rows), int((rows.low > 0).sum()), int((rows.high < 0).sum())


def confident_errors(table: pd.DataFrame) -> str:
    """Tell of the errors that a model is sure of, by ``tables.confident_errors_table`` (11)."""
    cells = _cells(table)
    wrong, worst, corrupted = (
        cells.get(("resnet18-standard", each)) for each in ("wrong", "worst_class", "corrupted")
    )
    told = "The standard ResNet-18 is at least 90 % sure of no clean image"
    if _known(wrong):
        told = "When the standard ResNet-18 is at least 90 % sure of a clean image, it is wrong in"
        told += f" {_measured(wrong)} of the cases"
    if _known(worst):
        worst_class = table.attrs["facts"].get("worst_resnet18_standard", UNKNOWN)
        told += f"; its worst class is {worst_class}, with {_said(worst)}"
    told += "."
    if _known(corrupted):
        told += " Of the corrupted images at severity 5 that it is as sure of, it gets"
        told += f" {_said(corrupted)} wrong."
    known, _, less = _sides(table, "iou_gap")
    return (
        f"{told} In {less} of {count(known, 'model')} where there are enough such mistakes to "
        "tell, its saliency overlaps the object clearly less where it is confidently wrong than "
        "where it is confidently right."
    )


def tradeoff_summary(tradeoff: pd.DataFrame, breakage: pd.DataFrame) -> str:
    """Tell the price of robustness, and how often attacks and corruptions agree (notebook 11)."""
    (*_, price), stamp = _price(_cells(tradeoff), "resnet18"), tradeoff.attrs["stamp"]
    made, above, _ = _sides(breakage, "fgsm_partial", "pgd_partial")
    return (
        f"{stamp[:1].upper()}{stamp[1:]}. Robustness costs accuracy at {price} for ResNet-18. On "
        f"the images, attacks and corruptions agree in {above} of {count(made, 'comparison')} at "
        "equal confidence."
    )


def _price(cells: Cells, architecture: str) -> tuple[str, str, str]:
    """Points of PGD accuracy that adversarial training gains, of accuracy it loses, their ratio."""
    robust, standard = f"{architecture}-adversarial", f"{architecture}-standard"
    gain = cells[robust, "pgd_accuracy"]["ours"] - cells[standard, "pgd_accuracy"]["ours"]
    loss = cells[standard, "clean_accuracy"]["ours"] - cells[robust, "clean_accuracy"]["ours"]
    ratio = f"{_number(gain / loss, 1)}:1" if loss > 0 else "no price: nothing was lost"
    return _number(gain, 1), _number(loss, 1), ratio


def combination(orthogonality: pd.DataFrame, source: str) -> str:
    """Tell whether alignment and adversarial training interfere (notebook 12)."""
    cells, iou, robust = _cells(orthogonality), f"iou_{source}", "alignment_robust"
    unclear = "changes robustness by less than these images can tell"
    cost = _clearly(cells["pgd", robust], "gains robustness", "costs robustness", unclear)
    gain = _clearly(cells[iou, robust], "raises", "lowers", "does not clearly change")
    meets = "interfere: the gain in overlap is {} with adversarial training"
    unclear = "do not interfere, as far as these images can tell"
    size = cells[iou, "interaction"]
    meets = _clearly(size, meets.format("larger"), meets.format("smaller"), unclear)
    alone, both, attack, attack_aligned, interaction = (
        _measured(cells[iou, effect], signed=True)
        for effect in ("alignment", robust, "attack", "attack_aligned", "interaction")
    )
    return (
        "**What the alignment term does to a robust model.** Accuracy under PGD changes by "
        f"{_measured(cells['pgd', robust])}, accuracy by {_measured(cells['clean', robust])}, "
        f"corrupted versions by {_measured(cells['corruptions', robust])}, and IoU by {both}: it "
        f"{cost} and {gain} the overlap.\n\n"
        f"**What adversarial training does to the overlap**: {attack} without the alignment term, "
        f"{attack_aligned} with it.\n\n"
        f"**Orthogonal?** Alignment brings {alone} of IoU to a standard model and {both} to an "
        f"adversarially trained one; the interaction is {interaction}. On overlap the two {meets}. "
        "On accuracy under PGD no interaction can be read off where standard models have none to "
        "lose."
    )


def combination_summary(orthogonality: pd.DataFrame, source: str, *, both: str, robust: str) -> str:
    """Compare a model that is robust and aligned with one that is robust alone (notebook 12)."""
    cells = _cells(orthogonality)
    return (
        f"{short_label(both)} against {short_label(robust)}: "
        f"{_said(cells['pgd', 'alignment_robust'])} of accuracy under PGD and "
        f"{_measured(cells[f'iou_{source}', 'alignment_robust'], signed=True)} of IoU. These "
        "intervals speak of one set of weights a model."
    )


def rule(share: float, largest: float, tolerances: Mapping[str, float], relative: float) -> str:
    """Tell the numbers of the rule of verdicts (notebook 13).

    The share is that of a claimed difference that must be found, ``largest`` how many times its
    size is said, tolerances are by unit (``"points"`` and ``""``), and ``relative`` is that of a
    quotient, as a share.
    """
    return (
        f"A difference must be at least {share:.2f} times the one claimed, so that a significant "
        f"trifle does not pass for an effect; if it is more than {largest:g} times as large, the "
        "verdict says that it does not support the number. Tolerances: "
        f"{tolerances['points']:g} point of accuracy, {tolerances['']:g} of a calibration error, "
        f"{100 * relative:.0f} % of a "
        "quotient."
    )


def verdict_counts(told: Mapping[str, Any]) -> str:
    """Count the numbers and claims by verdict, from :func:`rslib.verdicts.values` (notebook 13)."""
    return (
        "Of {verdicts_total} numbers and claims, this run has {verdicts_reproduced} reproduced, "
        "{verdicts_reached_with_another_recipe} reached with another recipe, "
        "{verdicts_same_direction} in the same direction, "
        "{verdicts_short_of_it__by_another_recipe} short of it by another recipe, "
        "{verdicts_not_reproduced} not reproduced, "
        "{verdicts_not_comparable} not comparable and "
        "{verdicts_not_testable_as_stated} not testable as stated."
    ).format_map(told)


def conclusion(told: Mapping[str, Any]) -> str:
    """Compare the findings of the paper's conclusion with ours (notebook 13)."""
    return (
        "**Robustness for accuracy.** Adversarial training changes the PGD accuracy of ResNet-18 "
        "by {verdict_conclusion_gain_ours} ({verdict_conclusion_gain}) and its clean accuracy by "
        "{verdict_conclusion_loss_ours} ({verdict_conclusion_loss}).\n\n"
        "**Alignment.** The IoU of ResNet-18 changes by: {verdict_abstract_iou_after_ours}; the "
        "paper's claim of +0.27 is *{verdict_abstract_iou_after}* "
        "({verdict_abstract_iou_after_why}).\n\n"
        "**Transfer to corruptions.** Adversarial training changes the mCE of ResNet-18 by "
        "{verdict_conclusion_transfer_resnet18_ours} ({verdict_conclusion_transfer_resnet18}) and "
        "that of ViT-Small by {verdict_conclusion_transfer_vit_small_ours} "
        "({verdict_conclusion_transfer_vit_small}).\n\n"
        "**Orthogonality.** That alignment does not change robustness: "
        "*{verdict_conclusion_orthogonal}*. A model without robustness has none to lose; the "
        "control's accuracy under each attack stands in the entry."
    ).format_map(told)


def attack_claims(told: Mapping[str, Any]) -> str:
    """Compare two of the paper's claims on attacks with ours, as :func:`conclusion` does (13)."""
    return (
        "Alternating clean and attacked batches is said to give more robust models than attacking "
        "every batch (3.2.2). Accuracy under PGD of the one less that of the other: "
        "{verdict_alternating_ours} (*{verdict_alternating}*). Success of FGSM, where the text "
        "says over 99 %: {verdict_fgsm_success_ours}."
    ).format_map(told)


def step_times(ratios: Mapping[str, float], printed: float) -> str:
    """Compare training steps of untrained networks with the paper's hours (notebook 13).

    Ratios are those of :func:`rslib.verdicts.steps.ratios`, by network; ``printed`` is Table 1's.
    """
    vits = {name.rpartition(" ")[2]: each for name, each in ratios.items() if "patch" in name}
    told = ", ".join(f"{ratio:.2f} with patches of {side}" for side, ratio in vits.items())
    nearest = min(vits, key=lambda side: abs(math.log(vits[side] / printed)))
    return (
        "How many times as long a training step of ViT-Small takes as one of ResNet-18, both "
        f"untrained and on this device: {told} pixels a side. Table 1's hours make it "
        f"{printed:.2f}, which is nearest to patches of {nearest}: "
        f"{(32 // int(nearest)) ** 2} tokens, where the text has patches of 2 and 16 of them."
    )


def implied_reference(implied: pd.DataFrame) -> str:
    """Say which errors the reference of Table 5 must have had (notebook 13).

    Takes the frame of :func:`rslib.verdicts.implied_reference`.
    """
    low, high = 100 * implied["implied"].min(), 100 * implied["implied"].max()
    own = 100 * implied["ours"].mean()
    return (
        "Our plain errors over the paper's relative ones give the errors that its reference would "
        f"have had, had its networks erred as ours do: {low:.0f} to {high:.0f} %, where our "
        f"networks err by {own:.0f} % on average. A reference that errs less than ResNet-18 is no "
        "AlexNet."
    )


def contradictions(checks: int, wrong: int) -> str:
    """Count the checks of the paper's arithmetic that find a contradiction (notebook 13)."""
    return f"Of {count(checks, 'check')}, {wrong} {_word(wrong, 'finds', 'find')} a contradiction:"


def scorecards(robust: Any, rounded: Any, images: int) -> str:
    """Compare a robust model with one that only looks robust (notebook 14).

    Takes the scorecards of the adversarially trained ResNet-18 and of the standard one behind a
    rounded input, and the number of images that both were attacked on.
    """
    pgd, autoattack, behind = (
        _scored(card.axis(axis).result)
        for card, axis in ((robust, "pgd"), (robust, "autoattack"), (rounded, "pgd"))
    )
    peers = {peer.model: peer.measure for peer in rounded.axis("pgd").compared}
    return (
        f"On {count(images, 'image')} the adversarially trained model keeps {pgd} under PGD and "
        f"{autoattack} under AutoAttack; its verdict: {_verdict(robust)}. Behind the rounded input "
        f"the standard model keeps {behind} under PGD, where without it it keeps "
        f"{_scored(peers.get('resnet18-standard'))} of the same images; its verdict: "
        f"{_verdict(rounded)}. A number under attack is worth what its verdict is worth."
    )


def _scored(measure: Any) -> str:
    return UNKNOWN if measure is None else f"{measure.value:.0f} %"


def _verdict(card: Any) -> str:
    verdict = card.reliability
    if verdict.failed:
        return f"flagged ({', '.join(verdict.failed)})"
    return "not given" if verdict.passed is None else "passed"


def _cells(frame: pd.DataFrame) -> dict[tuple[str, str], Cell]:
    """The rows of a table by model and quantity."""
    return {(cell["model"], cell["quantity"]): cell for cell in frame.to_dict("records")}


def _column(frame: pd.DataFrame, quantity: str) -> pd.Series:
    """Our numbers of one quantity by model."""
    return frame[frame.quantity == quantity].set_index("model")["ours"]


def _known(cell: Cell | None, key: str = "ours") -> bool:
    return cell is not None and not numbers.missing(cell[key])


def _said(cell: Cell | None, key: str = "ours") -> str:
    """Our number, or the paper's, with its unit."""
    return _minus(numbers.quantity(cell[key], cell["unit"])) if _known(cell, key) else UNKNOWN


def _measured(cell: Cell | None, *, signed: bool = False) -> str:
    """Our number with its unit and its interval."""
    if not _known(cell):
        return UNKNOWN
    number = _number(cell["ours"], 3, signed=True) if signed else _said(cell)
    return f"{number} {_minus(numbers.interval(cell))}".strip()


def _number(value: float, digits: int, *, signed: bool = False) -> str:
    if numbers.missing(value):
        return UNKNOWN
    # Rounded first: a number that rounds to zero has no sign.
    rounded = round(float(value), digits) + 0.0
    sign = "+" if signed and rounded > 0 else ""
    return _minus(f"{sign}{rounded:.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", numbers.MINUS)


def _clearly(cell: Cell, above: str, below: str, unclear: str) -> str:
    """The words for an interval wholly above zero, wholly below, or neither."""
    if cell["low"] > 0:
        return above
    return below if cell["high"] < 0 else unclear


def _listed(found: Sequence[str], none: str = "none") -> str:
    return "; ".join(found) or none


def _word(n: int, one: str, many: str) -> str:
    return one if n == 1 else many
