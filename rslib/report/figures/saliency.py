"""Saliency and alignment drawn: masks, maps, what overlap means (paper 3.3, 3.4, 4.3, 4.4, 5.5).

Curves and bars are drawn from records; only the pictures of maps take the maps themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib import paper
from rslib.metrics import pareto
from rslib.metrics.estimates import accuracy, mean
from rslib.report import labels, numbers, seeds, style
from rslib.report.tables.alignment import shares_table
from rslib.saliency.methods import LABELS
from rslib.settings.names import INTERPRETABILITY, TOPS, baseline

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

_DYNAMICS = {
    "validation_iou": "IoU",
    "validation_accuracy": "Accuracy (%)",
    "validation_alignment_loss": "Alignment loss",
    "validation_loss": "Cross-entropy",
}
_OUTLINE = {"levels": [0.5], "colors": ["#00E5FF"], "linewidths": 0.9}


@style.styled
def mask_sheet(
    images: torch.Tensor, masks: Mapping[str, torch.Tensor], *, footer: str = ""
) -> Figure:
    """A contact sheet of images with the outlines of their masks, one row a source (paper 3.4.1).

    Images are uint8 (N, 3, H, W), masks bool (N, H, W) by title; an empty mask was refused.

    Raises:
        ValueError: a source has another number of masks.
    """
    height = style.WIDTH / (len(images) + 1.2)
    figure, axes = _sheet(images, masks, "masks", height, footer)
    for title, row in axes.items():
        for axis, mask in zip(row, masks[title], strict=True):
            if mask.any():
                axis.contour(mask.float().numpy(), **_OUTLINE)
            else:
                look = {"ha": "center", "va": "center", "fontsize": 7, "color": "white"}
                look |= {"transform": axis.transAxes, "backgroundcolor": "#00000099"}
                axis.text(0.5, 0.5, "refused", **look)
    return figure


@style.styled
def saliency_grid(
    images: torch.Tensor,
    maps: Mapping[str, torch.Tensor],
    masks: torch.Tensor | None = None,
    *,
    titles: Sequence[str] | None = None,
    footer: str = "",
) -> Figure:
    """Figure 3: maps over images, one row a model, with outlines of masks and each IoU (paper 4.3).

    Images are uint8 (N, 3, H, W), maps float (N, H, W) by the title of their row; colors run from a
    map's least to its largest value. Masks, bool (N, H, W), are drawn as outlines, with the IoU of
    each map above it. The N titles stand above the images.

    Raises:
        ValueError: a row has another number of maps.
    """
    from rslib.saliency import iou

    # The first row, which has no title, is the images alone.
    height = style.WIDTH / (len(images) + 1.6) + 0.16
    figure, axes = _sheet(images, {"": images, **maps}, "maps", height, footer, size=8)
    for title, row in axes.items():
        for column, axis in enumerate(row):
            said, masked = "", masks is not None and masks[column].any()
            if masked:
                axis.contour(masks[column].float().numpy(), **_OUTLINE)
            if title:
                heat = maps[title][column]
                axis.imshow(heat.numpy(), cmap="inferno", alpha=0.6, interpolation="bilinear")
                if masked:
                    said = numbers.written(iou(heat[None], masks[column][None]).item(), "ratio")
            elif titles is not None:
                said = titles[column]
            axis.set_title(said, fontsize=7.5, loc="center", pad=2)
    return figure


@style.styled
def chance_curve(run: Run, *, top: float = 0.30) -> Figure:
    """The IoU that a random map scores, by the mask's share of the image (paper 3.3.3).

    The line is t m / (t + (1 - t) m) for the top share t and masks of share m; marks on it are our
    masks' mean sizes. Dotted lines are the paper's baselines, whose masks' sizes it does not give.
    """
    priors = run.priors()
    stamp = labels.stamp(run, len(priors), sources=[priors.attrs])
    figure, axes = style.canvas([["chance"]], height=2.6, footer=stamp, grid="both")
    axis = axes["chance"]
    share = np.linspace(0.001, 1, 400)
    best = np.minimum(share, top) / np.maximum(share, top)
    axis.plot(share, top * share / (top + share * (1 - top)), color="black", label="random map")
    axis.plot(share, best, color=style.GREY, ls="--", label="best possible")
    for number, source in enumerate(priors.attrs["sources"]):
        at = (np.nanmean(priors[of]) for of in (f"coverage_{source}", f"chance_{source}_30"))
        look = {"color": style.numbered_look(number)["color"], "zorder": 3}
        axis.plot(*at, "os^D"[number], label=f"{labels.mask_label(source)} masks", **look)
    for name, side in (("resnet18-standard", "bottom"), ("vit_small-standard", "top")):
        reported, shade = paper.value("table3", name, "iou_mean").value, style.color(name)
        axis.axhline(reported, color=shade, ls=":", linewidth=1)
        told = f"paper, {labels.short_label(name)}: {reported}"
        look = {"ha": "right", "va": side, "fontsize": 7.5, "color": shade}
        axis.annotate(told, (0.995, reported), xycoords=("axes fraction", "data"), **look)
    axis.set(xlabel="Object's share of the image", ylabel="IoU of the top 30 %")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    return style.legend(figure)


@style.styled
def overlap_bars(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> Figure:
    """Mean IoU by model, beside trivial baselines and the best possible (paper 4.3)."""
    source = source or run.mask_source
    confidence, priors = run.settings.evaluation.confidence, run.priors()
    records = {name: run.record(name, "saliency") for name in names}
    footer = style.footer(run, names, records.values(), others="small dots", masks=source)
    figure, axes = style.canvas([["iou"]], height=0.34 * len(names) + 0.7, footer=footer)
    axis = axes["iou"]
    for place, (name, record) in enumerate(records.items()):
        shade = style.color(name)
        found = mean(record[f"iou_{source}"], confidence=confidence)
        axis.barh(place, found.value, 0.6, color=style.tint(shade), edgecolor=shade)
        style.point(axis, found, place, fmt="none", ecolor="black", elinewidth=1.1, capsize=2)
        mixed = record[f"shuffled_{source}"].mean()
        axis.plot(mixed, place, "|", color="black", markersize=11, markeredgewidth=1.6)
        rest = [each[f"iou_{source}"].mean() for each in seeds.records(run, name, "saliency")]
        style.dots(axis, rest, place + 0.17, shade)
        text, end = numbers.written(found.value, ""), found.high or found.value
        style.note(axis, text, (end, place), (4, 0), va="center", fontsize=8)
        reported = style.paper_value(run, "table3", name, "iou_mean")
        if reported is not None:
            axis.plot(reported, place, **style.PAPER)
    lines = []
    for label, column, dashes in (
        ("chance", f"chance_{source}_30", ":"),
        ("center", f"center_{source}", "--"),
        ("mean mask", f"average_{source}", "-."),
        ("best possible", f"ceiling_{source}", "-"),
    ):
        value = float(np.nanmean(priors[column]))
        axis.axvline(value, color=style.GREY, ls=dashes, linewidth=1)
        label = f"{label} {numbers.written(value, 'ratio')}"
        lines.append(style.line(label, color=style.GREY, ls=dashes))
    axis.set_yticks(range(len(names)), [labels.short_label(name) for name in names])
    axis.invert_yaxis()
    axis.set_xlabel(f"Mean IoU with {labels.mask_label(source)} masks")
    axis.set_xlim(0, 1.06 * axis.get_xlim()[1])
    lines.append(style.line("other images' masks", color="black", marker="|", ls=""))
    return style.legend(figure, [*lines, *style.paper_handle(run)])


@style.styled
def overlap_curve(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> Figure:
    """IoU against the share of pixels kept (paper 3.3.3 keeps 30 %), one panel an architecture."""
    source = source or run.mask_source
    percents = [100 * top for top in TOPS]
    kept = [f"{source}_{percent:02.0f}" for percent in percents]
    columns = [f"iou_{each}" for each in kept]
    chance = run.priors()[[f"chance_{each}" for each in kept]].mean()
    records = {name: run.record(name, "saliency") for name in names}
    families = list(dict.fromkeys(map(labels.architecture_label, names)))
    footer = style.footer(run, names, records.values(), others="thin lines")
    figure, axes = style.canvas([families], height=2.5, footer=footer, grid="both")
    for family, axis in axes.items():
        axis.plot(percents, chance, color=style.GREY, ls=":", marker="", label="random map")
        axis.set(title=family, xlabel="Pixels kept (%)", ylabel="Mean IoU")
    for name, record in records.items():
        axis, look = axes[labels.architecture_label(name)], style.training_look(name)
        label = labels.training_phrase(name)
        axis.plot(percents, record[columns].mean(), marker=".", label=label, **look)
        for rest in seeds.records(run, name, "saliency"):
            axis.plot(percents, rest[columns].mean(), **look | style.THIN)
    for axis in axes.values():
        axis.axvline(30, color="#BBBBBB", linewidth=0.8)
        axis.set_ylim(bottom=0)
    return style.legend(figure)


@style.styled
def faithfulness_curves(run: Run, names: Sequence[str], kind: str = "deletion") -> Figure:
    """The class's probability as the most salient pixels vanish or appear, method by method.

    One panel a model; the kind is ``"deletion"`` or ``"insertion"``.
    """
    records = {name: run.record(name, "faithfulness") for name in names}
    footer = style.footer(run, names, records.values(), others="thin lines")
    verb = "replaced" if kind == "deletion" else "inserted"
    figure, axes = _by_model(names, footer, f"Pixels {verb} (%)", "Probability")
    steps = run.settings.faithfulness.steps
    share = 100 * np.arange(steps + 1) / steps
    looks = {method: style.numbered_look(number) for number, method in enumerate(LABELS)}
    looks["random"] = {"color": style.GREY, "linestyle": ":"}
    for name, record in records.items():
        axis, rest = axes[name], seeds.records(run, name, "faithfulness")
        for method, look in looks.items():
            columns = [f"{method}_{kind}_{step}" for step in range(steps + 1)]
            if columns[0] in record:
                label = LABELS.get(method, "Random map")
                axis.plot(share, record[columns].mean(), label=label, **look)
                for each in rest:
                    axis.plot(share, each[columns].mean(), **look | style.THIN)
        axis.set(ylim=(0, 1), xlim=(0, 100))
    return style.legend(figure)


@style.styled
def randomization_curves(run: Run, names: Sequence[str]) -> Figure:
    """Likeness of maps to the trained model's as layers are made random, the last first.

    One panel a model; checks that are not there are made.
    """
    checks = {name: run.randomization(name) for name in names}
    n = next(iter(checks.values()))["n"]
    footer = f"{labels.stamp(run, n, sources=checks.values())}\n{labels.sizes(run, names)}"
    figure, axes = _by_model(names, footer, "Layers made random", "Rank correlation")
    for name, check in checks.items():
        axis = axes[name]
        for number, (method, steps) in enumerate(check["methods"].items()):
            known = [step for step in steps if step["correlation"] is not None]
            layers, likeness = ([step[key] for step in known] for key in ("layers", "correlation"))
            look = style.numbered_look(number)
            look["color"] = style.numbered_look([*LABELS].index(method))["color"]
            look |= {"marker": ".", "label": LABELS[method]}
            axis.plot([0, *layers], [1, *likeness], **look)
        axis.axhline(0, color="#BBBBBB", linewidth=0.8)
        axis.set_ylim(-0.6, 1.05)
    return style.legend(figure)


@style.styled
def alignment_dynamics(run: Run, names: Sequence[str]) -> Figure:
    """IoU, accuracy and both losses over the epochs of alignment (paper 4.4 describes them)."""
    summaries = {name: run.summary(name) for name in names}
    keys = list(_DYNAMICS)
    footer = style.footer(run, names, summaries.values(), others="thin lines")
    figure, axes = style.canvas([keys[:2], keys[2:]], height=3.6, footer=footer, grid="both")
    for number, (name, summary) in enumerate(summaries.items()):
        look = style.numbered_look(number) | {"color": style.color(name)}
        rest, label = seeds.summaries(run, name), labels.short_label(name)
        for key, axis in axes.items():
            style.history(axis, summary, key, marker=".", label=label, **look)
            for each in rest:
                style.history(axis, each, key, **look | style.THIN)
    for key, axis in axes.items():
        axis.set_title(_DYNAMICS[key])
        style.whole_numbers(axis)
    for key in keys[2:]:
        axes[key].set_xlabel("Epoch of alignment")
    return style.legend(figure)


@style.styled
def alignment_plane(run: Run, names: Sequence[str]) -> Figure:
    """Accuracy against IoU for variants of alignment, and the baselines of each (paper 4.4)."""
    families = list(dict.fromkeys(map(baseline, names)))
    confidence, overlap = run.settings.evaluation.confidence, f"iou_{run.mask_source}"
    records = {name: run.record(name, "saliency") for name in (*families, *names)}
    footer = style.footer(run, names, records.values(), others="small dots", masks=run.mask_source)
    figure, axes = style.canvas([families], height=2.9, footer=footer, grid="both")
    for family, axis in axes.items():
        shown = [family, *(name for name in names if baseline(name) == family)]
        for shade, name in zip(style.CYCLE * len(shown), shown, strict=False):
            x = mean(records[name][overlap], confidence=confidence)
            y = accuracy(records[name]["correct"], confidence=confidence)
            label = labels.training_label(name).removeprefix("Aligned ").strip("()")
            look = {"color": shade, "label": label, "fmt": "o" if name == family else "^"}
            style.point(axis, x, y, elinewidth=1, capsize=0, **look)
            overlaps = [rest[overlap].mean() for rest in seeds.records(run, name, "saliency")]
            style.dots(axis, overlaps, style.accuracies(run, name, "saliency"), shade)
        axis.set(title=labels.architecture_label(family), xlabel="Mean IoU")
        axis.set_ylabel("Clean accuracy (%)")
        axis.legend(fontsize=7, loc="best")
    return figure


@style.styled
def alignment_front(run: Run, names: Sequence[str]) -> Figure:
    """IoU against accuracy over weights, readings and epochs of alignment (paper 3.4.1).

    Colors are weights, squares equation 12 as written, circles its standardized reading; the number
    beside a mark is that of epochs. The line is the Pareto front of each architecture's estimates.
    """
    overlap, confidence = f"iou_{run.mask_source}", run.settings.evaluation.confidence
    records = {name: run.record(name, "saliency") for name in names}
    planned = {name: run.plan(name) for name in names}
    footer = style.footer(run, names, records.values(), masks=run.mask_source)
    families = list(dict.fromkeys(map(baseline, names)))
    figure, axes = style.canvas([families], height=2.9, footer=footer, grid="both")
    weights = sorted({each.section.beta for each in planned.values()})
    shades = dict(zip(weights, style.CYCLE * len(weights), strict=False))
    for family, axis in axes.items():
        shown = [name for name in names if baseline(name) == family]
        for name in shown:
            x = mean(records[name][overlap], confidence=confidence)
            y = accuracy(records[name]["correct"], confidence=confidence)
            section, epochs = planned[name].section, planned[name].recipe.epochs
            mark = "s" if section.reading == "as_written" else "o"
            look = {"color": shades[section.beta], "elinewidth": 1, "capsize": 0}
            style.point(axis, x, y, fmt=mark, **look)
            axis.annotate(
                epochs, (x.value, y.value), (4, 4), textcoords="offset points", fontsize=7
            )
        pairs = [records[name][[overlap, "correct"]].mean() for name in shown]
        values = np.array(pairs, float) * [1, 100]
        best = values[pareto.front(values, [True, True])]
        axis.plot(*best[np.argsort(best[:, 0])].T, color=style.GREY, ls="--", lw=1, zorder=0)
        axis.set(title=labels.architecture_label(family), xlabel="Mean IoU")
        axis.set_ylabel("Clean accuracy (%)")
    handles = [style.line(f"β = {weight:g}", color=shades[weight]) for weight in weights]
    return style.legend(figure, handles)


@style.styled
def masks_needed(run: Run, names: Sequence[str]) -> Figure:
    """IoU and accuracy of a model against its number of training images with a mask (paper 5.5)."""
    frame, overlap = shares_table(run, names), f"iou_{run.mask_source}"
    start = run.record(baseline(names[0]), "saliency")
    footer = style.footer(run, names, frame, others="thin lines")
    figure, axes = style.canvas([["iou", "accuracy"]], height=2.4, footer=footer, grid="both")
    known = style.cells(frame, names, "masked_images")["ours"].to_numpy(float)
    for axis, quantity, title, level in (
        (axes["iou"], overlap, "Mean IoU", start[overlap].mean()),
        (axes["accuracy"], "clean_accuracy", "Clean accuracy (%)", 100 * start["correct"].mean()),
    ):
        found = style.cells(frame, names, quantity)
        axis.errorbar(known, *style.intervals(found), marker="o", color=style.PURPLE)
        axis.plot(known, style.other_seeds(run, found), color=style.PURPLE, **style.THIN)
        axis.axhline(level, color=style.GREY, ls=":", label="baseline, no masks")
        axis.set(xscale="log", xlabel="Training images with a mask", title=title)
        axis.legend()
    return figure


def _by_model(
    names: Sequence[str], footer: str, below: str, beside: str
) -> tuple[Figure, dict[str, Axes]]:
    """A panel a model, three a row; the lowest of each column and the first of each row labeled."""
    places = style.in_rows(names, 3)
    figure, axes = style.canvas(places, height=1.75 * len(places), footer=footer, grid="both")
    for name, axis in axes.items():
        axis.set_title(labels.short_label(name), fontsize=8.5)
    for column in zip(*places, strict=True):
        axes[[name for name in column if name != "."][-1]].set_xlabel(below)
    for row in places:
        axes[row[0]].set_ylabel(beside)
    return figure, axes


def _sheet(
    images: torch.Tensor,
    rows: Mapping[str, torch.Tensor],
    noun: str,
    height: float,
    footer: str,
    size: float = 8.5,
) -> tuple[Figure, dict[str, list[Axes]]]:
    """The images once for each row, titled at the left, and the axes that they are in by title."""
    places = {title: [f"{title} {column}" for column in range(len(images))] for title in rows}
    for title, each in rows.items():
        if len(each) != len(images):
            counts = f"{len(each)} {noun} for {len(images)} images"
            raise ValueError(f"{title}: {counts}: one each is needed")
    figure, axes = style.canvas([*places.values()], height=height * len(rows), footer=footer)
    for title, row in places.items():
        for place, image in zip(row, images, strict=True):
            head = title if place == row[0] else ""
            style.picture(axes[place], image.permute(1, 2, 0).numpy(), head, size)
    return figure, {title: [axes[place] for place in row] for title, row in places.items()}
