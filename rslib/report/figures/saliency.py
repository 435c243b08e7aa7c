"""Saliency drawn: masks, maps over images, and what overlap means (paper 3.3, 4.3).

Curves and bars are drawn from records; only the pictures of maps take the maps themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib import paper
from rslib.metrics.estimates import mean
from rslib.report import labels, marks, numbers, seeds, style
from rslib.report.style import CYCLE, GREY, PAPER
from rslib.saliency.methods import LABELS
from rslib.settings.names import INTERPRETABILITY, TOPS

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from rslib.run import Run

_OUTLINE = "#00E5FF"


@style.styled
def mask_sheet(
    images: torch.Tensor, masks: Mapping[str, torch.Tensor], *, footer: str = ""
) -> Figure:
    """A contact sheet of images with the outlines of their masks, one row a source (paper 3.4.1).

    Args:
        images: uint8 (N, 3, H, W).
        masks: by title of the row, bool (N, H, W); an empty mask was refused.
        footer: last line, such as :func:`rslib.report.labels.stamp`.

    Raises:
        ValueError: a source has another number of masks.
    """
    n = len(images)
    _check_counts(n, masks, "masks")
    height = len(masks) * style.WIDTH / (n + 1.2)
    figure, axes = style.canvas(_sheet(len(masks), n), height=height, footer=footer)
    for row, (title, each) in enumerate(masks.items()):
        for column in range(n):
            axis = axes[f"{row} {column}"]
            marks.picture(axis, images[column].permute(1, 2, 0).numpy())
            if each[column].any():
                _outline(axis, each[column])
            else:
                axis.text(0.5, 0.5, "refused", color="white", ha="center", va="center", fontsize=7,
                          transform=axis.transAxes, backgroundcolor="#00000099")  # fmt: skip
        marks.row_title(axes[f"{row} 0"], title, 8.5)
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

    Args:
        images: uint8 (N, 3, H, W).
        maps: by title of the row, float (N, H, W); colors run from a map's least to its largest
            value.
        masks: bool (N, H, W), drawn as outlines, with the IoU of each map above it; None for none.
        titles: N titles above the images.
        footer: last line.

    Raises:
        ValueError: a row has another number of maps.
    """
    from rslib.saliency import iou

    n = len(images)
    _check_counts(n, maps, "maps")
    rows = 1 + len(maps)
    height = rows * (style.WIDTH / (n + 1.6) + 0.16)
    figure, axes = style.canvas(_sheet(rows, n), height=height, footer=footer)
    for (row, column), axis in np.ndenumerate(np.reshape(list(axes.values()), (rows, n))):
        marks.picture(axis, images[column].permute(1, 2, 0).numpy())
        if row == 0 and titles is not None:
            axis.set_title(titles[column], fontsize=7.5, loc="center", pad=2)
        if masks is not None and masks[column].any():
            _outline(axis, masks[column])
    for row, (title, each) in enumerate(maps.items(), start=1):
        marks.row_title(axes[f"{row} 0"], title, 8)
        for column in range(n):
            axis, known = axes[f"{row} {column}"], masks is not None and masks[column].any()
            _heat(axis, each[column])
            if known:
                overlap = iou(each[column][None], masks[column][None]).item()
                axis.set_title(numbers.written(overlap, "ratio"), fontsize=7.5, loc="center", pad=2)
    return figure


@style.styled
def chance_curve(run: Run, *, top: float = 0.30) -> Figure:
    """The IoU that a random map scores, by the mask's share of the image (paper 3.3.3).

    The line is t m / (t + (1 - t) m) for the top share t and masks of share m; marks on it are our
    masks' mean sizes. Dotted lines are the paper's baselines, whose masks' sizes it does not give.

    Args:
        run: whose record of the masks' priors is read.
        top: share of the pixels kept.

    Raises:
        rslib.store.records.RecordError: the record has not been made.
    """
    priors = run.priors()
    stamp = labels.stamp(run, len(priors), sources=[priors.attrs])
    figure, axes = style.canvas([["chance"]], height=2.6, footer=stamp, grid="both")
    axis = axes["chance"]
    share = np.linspace(0.001, 1, 400)
    best = np.minimum(share, top) / np.maximum(share, top)
    axis.plot(share, top * share / (top + share * (1 - top)), color="black", label="random map")
    axis.plot(share, best, color=GREY, ls="--", label="best possible")
    for number, source in enumerate(priors.attrs["sources"]):
        axis.plot(
            np.nanmean(priors[f"coverage_{source}"]),
            np.nanmean(priors[f"chance_{source}_30"]),
            "os^D"[number],
            color=CYCLE[number % len(CYCLE)],
            label=f"{labels.mask_label(source)} masks",
            zorder=3,
        )
    for name, side in (("resnet18-standard", "bottom"), ("vit_small-standard", "top")):
        reported, shade = paper.value("table3", name, "iou_mean").value, style.color(name)
        axis.axhline(reported, color=shade, ls=":", linewidth=1)
        axis.annotate(
            f"paper, {labels.short_label(name)}: {reported}", (0.995, reported), ha="right",
            va=side, fontsize=7.5, xycoords=("axes fraction", "data"), color=shade,
        )  # fmt: skip
    axis.set(xlabel="Object's share of the image", ylabel="IoU of the top 30 %")
    axis.set(xlim=(0, 1), ylim=(0, 1.02))
    style.legend(figure, style.labeled([axis]))
    return figure


@style.styled
def overlap_bars(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> Figure:
    """Mean IoU by model, beside what means nothing and the best possible (paper 4.3).

    Args:
        run: whose saliency records are read.
        names: models, in order.
        source: of the masks; None takes those that models are aligned to.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    source = source or run.mask_source
    confidence, priors = run.settings.evaluation.confidence, run.priors()
    records = {name: run.record(name, "saliency") for name in names}
    footer = style.footer(run, names, records.values(), others="small dots")
    figure, axes = style.canvas([["iou"]], height=0.34 * len(names) + 0.7, footer=footer)
    axis = axes["iou"]
    for place, (name, record) in enumerate(records.items()):
        shade = style.color(name)
        found = mean(record[f"iou_{source}"], confidence=confidence)
        axis.barh(place, found.value, 0.6, color=style.tint(shade), edgecolor=shade)
        marks.point(axis, found, place, fmt="none", ecolor="black", elinewidth=1.1, capsize=2)
        mixed = mean(record[f"shuffled_{source}"], confidence=confidence).value
        axis.plot(mixed, place, "|", color="black", markersize=11, markeredgewidth=1.6)
        rest = [each[f"iou_{source}"].mean() for each in seeds.records(run, name, "saliency")]
        marks.dots(axis, rest, place + 0.17, shade)
        text, end = numbers.written(found.value, ""), found.high or found.value
        marks.note(axis, text, (end, place), (4, 0), va="center", fontsize=8)
        reported = style.paper_value(run, "table3", name, "iou_mean")
        if reported is not None:
            axis.plot(reported, place, **PAPER)
    lines = []
    for label, column, dashes in (
        ("chance", f"chance_{source}_30", ":"),
        ("center", f"center_{source}", "--"),
        ("mean mask", f"average_{source}", "-."),
        ("best possible", f"ceiling_{source}", "-"),
    ):
        value = float(np.nanmean(priors[column]))
        axis.axvline(value, color=GREY, ls=dashes, linewidth=1)
        lines.append(
            style.line(f"{label} {numbers.written(value, 'ratio')}", color=GREY, ls=dashes)
        )
    axis.set_yticks(range(len(names)), [labels.short_label(name) for name in names])
    axis.invert_yaxis()
    axis.set_xlabel(f"Mean IoU with {labels.mask_label(source)} masks")
    axis.set_xlim(0, 1.06 * axis.get_xlim()[1])
    lines.append(style.line("other images' masks", color="black", marker="|", ls=""))
    style.legend(figure, [*lines, *style.paper_handle(run)])
    return figure


@style.styled
def overlap_curve(
    run: Run, names: Sequence[str] = INTERPRETABILITY, *, source: str | None = None
) -> Figure:
    """IoU against the share of pixels kept (paper 3.3.3 keeps 30 %), one panel an architecture.

    Args:
        run: whose saliency records are read.
        names: models, in order.
        source: of the masks; None takes those that models are aligned to.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    source = source or run.mask_source
    priors = run.priors()
    records = {name: run.record(name, "saliency") for name in names}
    families = list(dict.fromkeys(map(labels.architecture_label, names)))
    footer = style.footer(run, names, records.values(), others="thin lines")
    figure, axes = style.canvas([families], height=2.5, footer=footer, grid="both")
    percents = [100 * top for top in TOPS]
    columns = [f"iou_{source}_{percent:02.0f}" for percent in percents]
    chance = priors[[f"chance_{source}_{percent:02.0f}" for percent in percents]].mean()
    for family, axis in axes.items():
        axis.plot(percents, chance, color=GREY, ls=":", marker="", label="random map")
        axis.set(title=family, xlabel="Pixels kept (%)", ylabel="Mean IoU")
    for name, record in records.items():
        axis, look = axes[labels.architecture_label(name)], style.training_look(name)
        label = labels.training_phrase(name)
        axis.plot(percents, record[columns].mean(), marker=".", label=label, **look)
        for rest in seeds.records(run, name, "saliency"):
            axis.plot(percents, rest[columns].mean(), **look | marks.THIN)
    for axis in axes.values():
        axis.axvline(30, color="#BBBBBB", linewidth=0.8)
        axis.set_ylim(bottom=0)
    style.legend(figure, style.labeled(axes.values()))
    return figure


@style.styled
def faithfulness_curves(run: Run, names: Sequence[str], kind: str = "deletion") -> Figure:
    """The class's probability as the most salient pixels vanish or appear, method by method.

    Args:
        run: whose faithfulness records are read.
        names: models, one panel each.
        kind: ``"deletion"`` or ``"insertion"``.

    Raises:
        rslib.store.records.RecordError: a record has not been made.
    """
    records = {name: run.record(name, "faithfulness") for name in names}
    places = style.in_rows(names, 3)
    footer = style.footer(run, names, records.values(), others="thin lines")
    figure, axes = style.canvas(places, height=1.75 * len(places), footer=footer, grid="both")
    steps = run.settings.faithfulness.steps
    share = 100 * np.arange(steps + 1) / steps
    looks = {method: style.numbered_look(number) for number, method in enumerate(LABELS)}
    looks["random"] = {"color": GREY, "linestyle": ":"}
    for name, record in records.items():
        axis, rest = axes[name], seeds.records(run, name, "faithfulness")
        for method, look in looks.items():
            columns = [f"{method}_{kind}_{step}" for step in range(steps + 1)]
            if columns[0] in record:
                label = LABELS.get(method, "Random map")
                axis.plot(share, record[columns].mean(), label=label, **look)
                for each in rest:
                    axis.plot(share, each[columns].mean(), **look | marks.THIN)
        axis.set_title(labels.short_label(name), fontsize=8.5)
        axis.set(ylim=(0, 1), xlim=(0, 100))
    verb = "replaced" if kind == "deletion" else "inserted"
    marks.outer_labels(axes, places, f"Pixels {verb} (%)", "Probability")
    style.legend(figure, style.labeled(axes.values()))
    return figure


@style.styled
def randomization_curves(run: Run, names: Sequence[str]) -> Figure:
    """Likeness of maps to the trained model's as layers are made random, the last first.

    One panel a model; checks that are not there are made.
    """
    checks = {name: run.randomization(name) for name in names}
    n = next(iter(checks.values()))["n"]
    stamp = labels.stamp(run, n, sources=list(checks.values()))
    places = style.in_rows(names, 3)
    footer = f"{stamp}\n{labels.sizes(run, names)}"
    figure, axes = style.canvas(places, height=1.75 * len(places), footer=footer, grid="both")
    for name, check in checks.items():
        axis = axes[name]
        for number, (method, steps) in enumerate(check["methods"].items()):
            known = [step for step in steps if step["correlation"] is not None]
            look = style.numbered_look(number)
            look["color"] = style.numbered_look([*LABELS].index(method))["color"]
            axis.plot(
                [0, *(step["layers"] for step in known)],
                [1, *(step["correlation"] for step in known)],
                marker=".", label=LABELS[method], **look,
            )  # fmt: skip
        axis.axhline(0, color="#BBBBBB", linewidth=0.8)
        axis.set_title(labels.short_label(name), fontsize=8.5)
        axis.set_ylim(-0.6, 1.05)
    marks.outer_labels(axes, places, "Layers made random", "Rank correlation")
    style.legend(figure, style.labeled(axes.values()))
    return figure


def _check_counts(n: int, given: Mapping[str, torch.Tensor], noun: str) -> None:
    for title, each in given.items():
        if len(each) != n:
            raise ValueError(f"{title}: {len(each)} {noun} for {n} images: one each is needed")


def _sheet(rows: int, columns: int) -> list[list[str]]:
    return [[f"{row} {column}" for column in range(columns)] for row in range(rows)]


def _heat(axis: Axes, values: torch.Tensor) -> None:
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else values * 0
    axis.imshow(scaled.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=0.6,
                interpolation="bilinear")  # fmt: skip


def _outline(axis: Axes, mask: torch.Tensor) -> None:
    axis.contour(mask.float().numpy(), levels=[0.5], colors=[_OUTLINE], linewidths=0.9)
