"""Saliency drawn: masks, maps over images, and what overlap means (paper 3.3, 4.3).

Call these as ``figures.saliency_grid`` and so on. Curves and bars are drawn from records; only the
pictures of maps take the maps themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rslib import paper
from rslib.metrics.estimates import mean
from rslib.report import labels, seeds, style
from rslib.report.style import CYCLE, DASHES, GREY, PAPER
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
    for title, each in masks.items():
        if len(each) != n:
            raise ValueError(f"{title}: {len(each)} masks for {n} images: one each is needed")
    places = [[f"{row} {column}" for column in range(n)] for row in range(len(masks))]
    figure, axes = style.canvas(places, height=len(masks) * style.WIDTH / (n + 1.2), footer=footer)
    for row, (title, each) in enumerate(masks.items()):
        for column in range(n):
            axis = axes[f"{row} {column}"]
            _picture(axis, images[column])
            if each[column].any():
                _outline(axis, each[column])
            else:
                axis.text(0.5, 0.5, "refused", color="white", ha="center", va="center", fontsize=7,
                          transform=axis.transAxes, backgroundcolor="#00000099")  # fmt: skip
        axes[f"{row} 0"].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=8.5)
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
    for title, each in maps.items():
        if len(each) != n:
            raise ValueError(f"{title}: {len(each)} maps for {n} images: one each is needed")
    rows = ["image", *maps]
    places = [[f"{row} {column}" for column in range(n)] for row in range(len(rows))]
    figure, axes = style.canvas(
        places, height=len(rows) * (style.WIDTH / (n + 1.6) + 0.16), footer=footer
    )
    for row, title in enumerate(rows):
        overlap = None
        if title in maps and masks is not None:
            known = masks.flatten(1).any(1)
            overlap = np.full(n, np.nan)
            if known.any():
                overlap[known.numpy()] = iou(maps[title][known], masks[known]).numpy()
        for column in range(n):
            axis = axes[f"{row} {column}"]
            _picture(axis, images[column])
            if title in maps:
                _heat(axis, maps[title][column])
            if masks is not None and masks[column].any():
                _outline(axis, masks[column])
            if overlap is not None and not np.isnan(overlap[column]):
                axis.set_title(f"{overlap[column]:.2f}", fontsize=7.5, loc="center", pad=2)
            elif row == 0 and titles is not None:
                axis.set_title(titles[column], fontsize=7.5, loc="center", pad=2)
        name = "" if title == "image" else title
        axes[f"{row} 0"].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
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
    figure, axes = style.canvas(
        [["chance"]], height=2.6, footer=labels.stamp(run, len(priors), sources=[priors.attrs])
    )
    axis = axes["chance"]
    share = np.linspace(0.001, 1, 400)
    kept = top + share * (1 - top)
    axis.plot(share, top * share / kept, color="black", label="random map")
    axis.plot(share, np.minimum(share, top) / np.maximum(share, top), color=GREY, ls="--",
              label="best possible")  # fmt: skip
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
        reported = paper.value("table3", name, "iou_mean").value
        axis.axhline(reported, color=style.color(name), ls=":", linewidth=1)
        axis.annotate(
            f"paper, {labels.short_label(name)}: {reported}", (0.995, reported), ha="right",
            va=side, fontsize=7.5, xycoords=("axes fraction", "data"),
            color=style.color(name),
        )  # fmt: skip
    axis.set(xlabel="Object's share of the image", ylabel="IoU of the top 30 %", xlim=(0, 1),
             ylim=(0, 1.02))  # fmt: skip
    axis.grid(True)
    style.legend(figure, axis.get_legend_handles_labels()[0])
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
    figure, axes = style.canvas(
        [["iou"]],
        height=0.34 * len(names) + 0.7,
        footer=style.footer(
            run, names, [each.attrs for each in records.values()], others="small dots"
        ),
    )
    axis = axes["iou"]
    for place, (name, record) in enumerate(records.items()):
        shade = style.color(name)
        found = mean(record[f"iou_{source}"], confidence=confidence)
        mixed = mean(record[f"shuffled_{source}"], confidence=confidence)
        axis.barh(place, found.value, 0.6, color=style.tint(shade), edgecolor=shade)
        if found.low is not None:
            axis.errorbar(found.value, place, xerr=style.reach(found), fmt="none", ecolor="black",
                          elinewidth=1.1, capsize=2)  # fmt: skip
        axis.plot(mixed.value, place, "|", color="black", markersize=11, markeredgewidth=1.6)
        rest = [each[f"iou_{source}"].mean() for each in seeds.records(run, name, "saliency")]
        style.dots(axis, rest, [place + 0.17] * len(rest), shade)
        axis.annotate(f"{found.value:.3f}", (found.high or found.value, place), (4, 0), va="center",
                      textcoords="offset points", fontsize=8)  # fmt: skip
        reported = style.paper_value(run, "table3", name, "iou_mean")
        if reported is not None:
            axis.plot(reported, place, **PAPER)
    levels = {"chance": f"chance_{source}_30", "center": f"center_{source}",
              "mean mask": f"average_{source}", "best possible": f"ceiling_{source}"}  # fmt: skip
    lines = []
    for (label, column), dashes in zip(levels.items(), (":", "--", "-.", "-"), strict=True):
        value = float(np.nanmean(priors[column]))
        axis.axvline(value, color=GREY, ls=dashes, linewidth=1)
        lines.append(style.line(f"{label} {value:.2f}", color=GREY, ls=dashes))
    axis.set_yticks(range(len(names)), [labels.short_label(name) for name in names])
    axis.invert_yaxis()
    axis.set_xlabel(f"Mean IoU with {labels.mask_label(source)} masks")
    axis.set_xlim(0, 1.06 * axis.get_xlim()[1])
    mixed_mark = style.line("other images' masks", color="black", marker="|", ls="")
    style.legend(figure, [*lines, mixed_mark, *style.paper_handle(run)])
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
    families = list(dict.fromkeys(labels.architecture_label(name) for name in names))
    records = {name: run.record(name, "saliency") for name in names}
    figure, axes = style.canvas(
        [families],
        height=2.5,
        footer=style.footer(
            run, names, [each.attrs for each in records.values()], others="thin lines"
        ),
    )
    percents = [f"{100 * top:02.0f}" for top in TOPS]
    share = [100 * top for top in TOPS]
    for family in families:
        axis = axes[family]
        chance = [np.nanmean(priors[f"chance_{source}_{percent}"]) for percent in percents]
        axis.plot(share, chance, color=GREY, ls=":", marker="", label="random map")
        for name in names:
            if labels.architecture_label(name) == family:
                curve = [np.nanmean(records[name][f"iou_{source}_{p}"]) for p in percents]
                label = labels.training_phrase(name)
                look = style.training_look(name)
                axis.plot(share, curve, marker=".", label=label, **look)
                for rest in seeds.records(run, name, "saliency"):
                    curve = [np.nanmean(rest[f"iou_{source}_{p}"]) for p in percents]
                    axis.plot(share, curve, **look | style.THIN)
        axis.axvline(30, color="#BBBBBB", linewidth=0.8)
        axis.set(title=family, xlabel="Pixels kept (%)", ylabel="Mean IoU", ylim=(0, None))
        axis.grid(True)
    handles = {h.get_label(): h for a in axes.values() for h in a.get_legend_handles_labels()[0]}
    style.legend(figure, list(handles.values()))
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
    columns = 3
    places = _grid([*names], columns)
    figure, axes = style.canvas(
        places,
        height=1.75 * len(places),
        footer=style.footer(
            run, names, [each.attrs for each in records.values()], others="thin lines"
        ),
    )
    _blank(axes)
    steps = run.settings.faithfulness.steps
    share = 100 * np.arange(steps + 1) / steps
    for name, record in records.items():
        axis, rest = axes[name], seeds.records(run, name, "faithfulness")
        for number, method in enumerate((*LABELS, "random")):
            found = [f"{method}_{kind}_{k}" for k in range(steps + 1)]
            if found[0] in record:
                look = {"color": GREY, "ls": ":"} if method == "random" else {
                    "color": CYCLE[number % len(CYCLE)], "ls": DASHES[number % len(DASHES)]
                }  # fmt: skip
                label = LABELS.get(method, "Random map")
                axis.plot(share, record[found].mean(), label=label, **look)
                for each in rest:
                    axis.plot(share, each[found].mean(), **look | style.THIN)
        axis.set_title(labels.short_label(name), fontsize=8.5)
        axis.set(ylim=(0, 1), xlim=(0, 100))
        axis.grid(True)
    verb = "replaced" if kind == "deletion" else "inserted"
    _outer(axes, places, f"Pixels {verb} (%)", "Probability")
    handles = {h.get_label(): h for a in axes.values() for h in a.get_legend_handles_labels()[0]}
    style.legend(figure, list(handles.values()))
    return figure


@style.styled
def randomization_curves(run: Run, names: Sequence[str]) -> Figure:
    """How like the trained model's maps stay as layers are made random, the last first.

    Args:
        run: whose randomization checks are read, or made.
        names: models, one panel each.
    """
    checks = {name: run.randomization(name) for name in names}
    places = _grid([*names], 3)
    n = next(iter(checks.values()))["n"]
    stamp = labels.stamp(run, n, sources=list(checks.values()))
    sizes = labels.sizes(run, names)
    figure, axes = style.canvas(places, height=1.75 * len(places), footer=f"{stamp}\n{sizes}")
    _blank(axes)
    for name, check in checks.items():
        for number, (method, steps) in enumerate(check["methods"].items()):
            defined = [
                (s["layers"], s["correlation"]) for s in steps if s["correlation"] is not None
            ]
            axes[name].plot(
                [0, *(layer for layer, _ in defined)],
                [1, *(value for _, value in defined)],
                marker=".",
                color=CYCLE[[*LABELS].index(method) % len(CYCLE)],
                ls=DASHES[number % len(DASHES)],
                label=LABELS[method],
            )
        axes[name].axhline(0, color="#BBBBBB", linewidth=0.8)
        axes[name].set_title(labels.short_label(name), fontsize=8.5)
        axes[name].set(ylim=(-0.6, 1.05))
        axes[name].grid(True)
    _outer(axes, places, "Layers made random", "Rank correlation")
    handles = {h.get_label(): h for a in axes.values() for h in a.get_legend_handles_labels()[0]}
    style.legend(figure, list(handles.values()))
    return figure


def _grid(names: list[str], columns: int) -> list[list[str]]:
    """Names in rows, the last filled up with places to leave empty."""
    rows = [names[start : start + columns] for start in range(0, len(names), columns)]
    columns = len(rows[0])
    filled = [*rows[-1], *(f"blank {k}" for k in range(columns - len(rows[-1])))]
    return [*rows[:-1], filled]


def _outer(axes: Mapping[str, Axes], places: list[list[str]], below: str, beside: str) -> None:
    """Label the last panel of each column and the first of each row."""
    for column in range(len(places[0])):
        named = [row[column] for row in places if not row[column].startswith("blank ")]
        axes[named[-1]].set_xlabel(below)
    for row in places:
        axes[row[0]].set_ylabel(beside)


def _blank(axes: Mapping[str, Axes]) -> None:
    for name, axis in axes.items():
        if name.startswith("blank "):
            axis.set_axis_off()


def _picture(axis: Axes, image: torch.Tensor) -> None:
    axis.imshow(image.permute(1, 2, 0).numpy())
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _heat(axis: Axes, values: torch.Tensor) -> None:
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else values * 0
    axis.imshow(scaled.numpy(), cmap="inferno", vmin=0, vmax=1, alpha=0.6,
                interpolation="bilinear")  # fmt: skip


def _outline(axis: Axes, mask: torch.Tensor) -> None:
    axis.contour(mask.float().numpy(), levels=[0.5], colors=[_OUTLINE], linewidths=0.9)
