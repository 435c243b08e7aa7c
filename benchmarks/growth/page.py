"""The report as a page of the book: text and tables, the figure, and the figure in words.

Every number is read from the report.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.growth.imagenet import KINDS, PEAKS
from benchmarks.growth.report import find
from benchmarks.growth.work import NARROW, Work
from rslib.report import style
from rslib.report.numbers import MINUS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AXES = {
    "images": "images",
    "models": "models together",
    "samples": "noise samples an image",
    "side": "side of an image, pixels",
    "classes": "classes",
    "batch": "images a batch",
}
"""What grows, in the order of the page."""

WORKLOADS = {
    "clean": "Clean",
    "pgd": "PGD",
    "autoattack": "AutoAttack",
    "smoothing": "Smoothing",
    "votes": "Smoothing, copies a pass",
    "corruptions": "Corruptions",
    "saliency": "Saliency",
}

NETS = {
    "resnet18": "ResNet-18, narrow",
    "vit_small": "ViT, narrow",
    "resnet50": "ResNet-50",
    "vit_small_patch16_224": "ViT-S/16",
}

_LOOKS = {
    "clean": (style.BLUE, "o"),
    "pgd": (style.VERMILION, "s"),
    "autoattack": (style.SKY, "P"),
    "smoothing": (style.GREEN, "^"),
    "votes": (style.GREEN, "^"),
    "corruptions": (style.ORANGE, "D"),
    "saliency": (style.PURPLE, "v"),
}

Report = Mapping[str, Any]


def markdown(report: Report) -> str:
    """The section for the book: how time grows, how memory grows, ImageNet's scale.

    Args:
        report: of :func:`benchmarks.growth.report.assemble`.

    Returns:
        Markdown that starts with a heading of level 2.
    """
    about = report["projection"]
    heading = f"### Projection: {about['images']:,} images of {about['side']} pixels"
    parts = [
        "## How time and memory grow",
        _intro(report),
        _times(report),
        _together(report),
        "### Memory",
        _memory_text(report),
        _memory_table(report),
        heading,
        _projection_text(report),
        _passes_table(report),
        _projection_table(report),
        "What the projection assumes:",
        _assumptions(report),
        _checks_table(report),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def describe(report: Report) -> str:
    """The figure in words, for its alternative text."""
    sentences = []
    for axis, words in AXES.items():
        found = [
            f"{_workload(each)} {_number(each['time']['value'])}"
            for each in report["series"]
            if each["axis"] == axis
        ]
        if found:
            sentences.append(f"over {words}: {', '.join(found)}")
    return (
        "Small multiples on logarithmic scales. Fitted exponents of the time "
        f"{'; '.join(sentences)}. Below, highest memory over images, images a batch and the side: "
        f"it {_findings(report)}."
    )


@style.styled
def figure(report: Report) -> Figure:
    """Seconds over each size, then highest memory over three of them, with fitted exponents.

    Args:
        report: of :func:`benchmarks.growth.report.assemble`.
    """
    places = [
        ["images", "models", "samples"],
        ["side", "classes", "batch"],
        ["memory images", "memory batch", "memory side"],
    ]
    drawn, axes = style.canvas(places, height=7.6, footer=_footer(report))
    for place, axis in axes.items():
        kind, _, size = place.rpartition(" ")
        series = [each for each in report["series"] if each["axis"] == size]
        _panel(axis, series, memory=bool(kind))
        axis.set_xlabel(AXES[size].capitalize())
        if size == "images" and kind:
            _data_line(axis, series)
    axes["images"].set_ylabel("Seconds")
    axes["side"].set_ylabel("Seconds")
    axes["memory images"].set_ylabel("Highest memory, MB")
    return drawn


def _panel(axis: Axes, series: Sequence[Mapping[str, Any]], *, memory: bool) -> None:
    key, unit = ("peak_median", 1e6) if memory else ("median", 1.0)
    lowest, highest = np.inf, 0.0
    names = []
    for each in series:
        exponent = each["memory"]["exponent"] if memory else each["time"]["value"]
        if exponent is None:
            continue
        color, marker = _LOOKS[each["kind"]]
        usual = each["net"] == NARROW[0] and not _many(each)
        look = {"color": color, "markerfacecolor": color if usual else "white"}
        sizes = np.asarray(each["sizes"], float)
        values = np.asarray([cell[key] for cell in each["cells"]]) / unit
        axis.plot(sizes, values, marker, markersize=4.5, label=_workload(each), **look)
        # The line of this slope through the middle of the points.
        height = np.log(values).mean() - exponent * np.log(sizes).mean()
        fitted = np.exp(height) * sizes**exponent
        axis.plot(sizes, fitted, "-" if usual else "--", color=color, linewidth=1.1)
        lowest, highest = min(lowest, *values, *fitted), max(highest, *values, *fitted)
        names.append((f"{_workload(each)} {_number(exponent)}", marker, look))
    axis.set(xscale="log", yscale="log")
    ticks = _apart(sorted({size for each in series for size in each["sizes"]}))
    axis.set_xticks(ticks, [f"{size:,}" for size in ticks])
    axis.minorticks_off()
    axis.grid(True)
    _name(axis, names, lowest, highest)


def _name(
    axis: Axes, names: Sequence[tuple[str, str, Mapping[str, Any]]], lowest: float, highest: float
) -> None:
    """Write each line's name and slope above the points, and make room for them."""
    step = 0.085
    decades = max(1.0, math.log10(highest / lowest)) / (0.92 - step * len(names))
    axis.set_ylim(lowest / 10 ** (0.05 * decades), lowest * 10**decades)
    for place, (text, marker, look) in enumerate(names):
        height = 0.95 - step * place
        axis.plot(
            0.05, height, marker, transform=axis.transAxes, markersize=4.5, label="_key", **look
        )
        axis.text(0.09, height, text, transform=axis.transAxes, va="center", fontsize=7.5)


def _data_line(axis: Axes, series: Sequence[Mapping[str, Any]]) -> None:
    """What the images themselves take, where it reaches into the panel."""
    an_image = series[0]["cells"][-1]["data"] / series[0]["cells"][-1]["images"]
    sizes = sorted({size for each in series for size in each["sizes"]})
    held = [size * an_image / 1e6 for size in sizes]
    low, high = axis.get_ylim()
    axis.plot(sizes, held, ":", color=style.GREY, zorder=1, label="the images")
    axis.set_ylim(min(low, held[-1] / 4), high)
    axis.text(
        0.97, 0.03, "dotted: the images", transform=axis.transAxes, ha="right", va="bottom",
        fontsize=7.5, color=style.GREY,
    )  # fmt: skip


def _apart(ticks: Sequence[int]) -> list[int]:
    """Those of the ticks whose labels do not meet on a log scale."""
    kept = list(ticks[:1])
    for tick in ticks[1:]:
        if math.log(tick / kept[-1]) > 0.2 * math.log(ticks[-1] / ticks[0]):
            kept.append(tick)
    return kept


def _footer(report: Report) -> str:
    quick = "; a try with few images" if report["quick"] else ""
    return (
        f"{_machine(report)}; {_rounds(report)}{quick}. Numbers beside names are fitted exponents."
        "\nDashed lines and hollow marks: the narrow ViT, or many classes; the others are of a "
        "narrow ResNet-18."
    )


def _machine(report: Report) -> str:
    about = report["machine"]
    torch = about["versions"].get("torch", "unknown")
    return (
        f"{about['device']} ({about['processor']}, {about['vector_instructions']}), torch {torch}"
    )


def _intro(report: Report) -> str:
    quick = " **This is a try with a quarter of the images.**" * report["quick"]
    percent = f"{100 * report['confidence']:.0f} %"
    return (
        f"Measured on {_machine(report)}.{quick} A cell is one workload of rslib at one size, in a "
        f"process of its own; seconds are {_rounds(report)}. Nets are "
        "untrained and narrow, images are random, and every image is attacked to the last step. "
        f"Exponents are fitted on a log-log scale to all rounds, with {percent} intervals; "
        "*operations* is the exponent of the floating-point operations counted in the nets. Where "
        "the measured exponent is smaller, part of the time is spent once, whatever the size; the "
        "exponent between the two largest sizes leaves more of that behind."
    )


def _times(report: Report) -> str:
    order = list(AXES)
    rows = [
        [
            AXES[each["axis"]],
            _workload(each),
            ", ".join(f"{size:,}" for size in each["sizes"]),
            ", ".join(_digits(cell["median"], 2) for cell in each["cells"]),
            _interval(each["time"]),
            _number(each["time"]["last"]),
            _number(each["operations"]),
        ]
        for each in sorted(report["series"], key=lambda each: order.index(each["axis"]))
    ]
    heads = ["What grows", "Workload", "Sizes", "Seconds", "Exponent", "Two largest", "Operations"]
    return _table(heads, rows, "lllrrrr")


def _together(report: Report) -> str:
    found = [each for each in report["series"] if each["axis"] == "models"]
    if not found:
        return ""
    (each,) = found
    first, last = each["cells"][0], each["cells"][-1]
    ratio = last["median"] / first["median"]
    return (
        "Corrupted images are made once for all models that are evaluated together: "
        f"{last['size']} models take {ratio:.1f} times as long as {first['size']}."
    )


def _memory_text(report: Report) -> str:
    batch = [each for each in report["series"] if each["axis"] == "batch"]
    grown = "; ".join(
        f"{_workload(each)} from {_bytes(each['cells'][0]['peak_median'])} at "
        f"{each['sizes'][0]} to {_bytes(each['cells'][-1]['peak_median'])} at {each['sizes'][-1]}"
        for each in batch
    )
    over = f" With the images a batch it does grow: {grown}." if batch else ""
    return (
        "Highest memory is that of the cell's process over what it held before the images were "
        "there (nets and libraries). *Beyond* is what one more image of the data set adds, "
        "beside its own pixels and mask, with its interval; *in flight* is what one more image of "
        "a batch adds (for smoothing, one more noisy copy in a pass).\n\n"
        f"Highest memory {_findings(report)}.{over}"
    )


def _findings(report: Report) -> str:
    """Which workloads' memory grows with the data set, and how."""
    words = {
        "less": "is bounded by the batch, so that an image of the data set adds less than its own "
        "size beside itself, for",
        "more": "grows with the data set by more than the images' own size for",
        "open": "grows by an amount that this run does not settle (the interval holds the image's "
        "own size) for",
    }
    groups = []
    for growth, phrase in words.items():
        names = [_workload(each) for each in report["memory"] if each["growth"] == growth]
        if names:
            groups.append(f"{phrase} {_listed(names)}")
    return "; it ".join(groups)


def _memory_table(report: Report) -> str:
    words = {"less": "less than an image", "more": "more than an image", "open": "not settled"}
    rows = []
    for each in report["memory"]:
        low, value, high = (_bytes(each["beyond"][end]) for end in ("low", "value", "high"))
        rows.append(
            [
                _workload(each),
                _bytes(each["data"]),
                _bytes(each["rows"]),
                f"{value} [{low}, {high}]",
                "" if each["in_flight"] is None else _bytes(each["in_flight"]),
                "" if each["share"] is None else f"{_number(100 * each['share'], 1)} %",
                words[each["growth"]],
            ]
        )
    heads = [
        "Workload",
        "An image",
        "Its row",
        "Beyond",
        "In flight",
        "Beyond / in flight",
        "Beyond itself",
    ]
    return _table(heads, rows, "lrrrrrl")


def _projection_text(report: Report) -> str:
    about = report["projection"]
    return (
        f"**A projection, not a measurement.** What {about['images']:,} images of {about['side']} "
        f"pixels and {about['classes']:,} classes would take under the paper's protocol, here and "
        "on one H100. A pass of each net at that size was measured in this run, on a few images; "
        "all else follows from counts."
    )


def _passes_table(report: Report) -> str:
    rows = []
    for net, about in report["projection"]["nets"].items():
        for kind, each in about["passes"].items():
            low, value, high = (_digits(1e3 * each[end], 3) for end in ("low", "seconds", "high"))
            rows.append(
                [
                    NETS[net],
                    kind,
                    _digits(each["flop"] / 1e9, 3),
                    f"{value} [{low}, {high}]",
                    _digits(each["rate"] / 1e9, 3),
                    _bytes(each["in_flight"]),
                ]
            )
    heads = [
        "Net",
        "Pass",
        "GFLOP an image",
        "ms an image [all rounds]",
        "GFLOP/s here",
        "In flight",
    ]
    return _table(heads, rows, "llrrrr")


def _projection_table(report: Report) -> str:
    rows = []
    for net, about in report["projection"]["nets"].items():
        for kind, each in about["workloads"].items():
            rows.append(
                [
                    NETS[net],
                    WORKLOADS[kind],
                    f"{each['forward']:,} + {each['gradient']:,}",
                    _digits(each["flop"] / 1e15, 2),
                    _duration(each["here"]),
                    " to ".join(map(_duration, each["h100"].values())),
                ]
            )
    precisions = " to ".join(PRECISIONS)
    heads = [
        "Net",
        "Workload",
        "Passes an image (forward + gradient)",
        "PFLOP",
        "This machine, projected",
        f"One H100, projected ({precisions})",
    ]
    return _table(heads, rows, "llrrrr")


PRECISIONS = ("TF32", "fp32")
"""Of an H100, in the order of the projection's table."""


def _assumptions(report: Report) -> str:
    about = report["projection"]
    nets = about["nets"].items()
    memory = _listed(f"{_bytes(each['memory'])} for {NETS[net]}" for net, each in nets)
    sources = "; ".join(f"{NETS[net]}: {each['source']}" for net, each in nets)
    faster = {net: each["rates"]["TF32"] / each["passes"]["gradient"]["rate"] for net, each in nets}
    rates = _listed(
        f"{each['rates']['TF32'] / 1e12:.0f} TFLOP/s for {NETS[net]} ({faster[net]:,.0f} times "
        "what this machine was measured to reach)"
        for net, each in nets
    )
    items = [
        "Time is proportional to the images. The table below has the measured exponent of each "
        "workload, and by which factor its interval would change the time if it held up to "
        f"{about['images']:,} images.",
        "Every image is attacked to the end. Images that an attack fools leave it, so for nets "
        "that are not robust AutoAttack takes a fraction of this.",
        "The nets' passes are all that takes time. The table below says how much of the measured "
        f"time of a narrow net they explain; an image's pass of {_costlier(report)} costs "
        "that many times as much, so that the rest, such as drawing noise, weighs less.",
        "Corrupted versions are read from somewhere at no cost: rslib makes them at "
        f"{Work('corruptions').side} pixels only.",
        "With TF32 an H100 reaches a share of the effective bf16 rate of a published training, "
        f"that of their peaks, {PEAKS['TF32']:.0f} and {PEAKS['bf16']:.0f} TFLOP/s: {rates}. "
        f"In strict fp32, in which rslib judges outcomes, its peak is {PEAKS['fp32']:.0f} "
        f"TFLOP/s, which gives the longer time. Sources: {sources}.",
        f"Memory for a batch of {about['batch']} images in flight, with all images "
        f"({_bytes(about['data'])} as 8-bit pixels) held beside it: {memory}.",
    ]
    return "\n".join(f"- {item}" for item in items)


def _costlier(report: Report) -> str:
    """How many times the operations of the narrow net's pass the large nets' take."""
    forward = {each["net"]: each["flop"] for each in report["bare"] if each["kind"] == "forward"}
    narrow = forward.pop(NARROW[0])
    return _listed(f"{NETS[net]} ({flop / narrow:,.0f})" for net, flop in forward.items())


def _checks_table(report: Report) -> str:
    rows = []
    for kind in KINDS:
        check = report["checks"][kind]
        counted, wanted = (
            " + ".join(f"{check[which][each]:,.6g}" for each in ("forward", "gradient"))
            for which in ("counted", "expected")
        )
        series = None if kind == "autoattack" else find(report, "images", kind)
        rows.append(
            [
                WORKLOADS[kind],
                counted,
                wanted,
                f"{100 * check['explained']:.0f} %",
                "not measured" if series is None else _interval(series["time"]),
                "" if series is None else _factors(series, report["projection"]["images"]),
            ]
        )
    heads = [
        "Workload",
        "Passes counted",
        "Passes expected",
        "Time explained",
        "Exponent in images",
        "Factor",
    ]
    return _table(heads, rows, "lrrrrr")


def _factors(series: Mapping[str, Any], images: int) -> str:
    """What the interval of an exponent, instead of 1, would do from the largest size measured."""
    more = images / series["sizes"][-1]
    return " to ".join(f"{more ** (series['time'][end] - 1):.2f}" for end in ("low", "high"))


def _workload(series: Mapping[str, Any]) -> str:
    """What a series, or the memory of one, is called."""
    extra = [WORKLOADS[series["kind"]]]
    if series.get("net", NARROW[0]) != NARROW[0]:
        extra.append("ViT")
    if _many(series):
        extra.append(f"{series.get('fixed', series)['classes']:,} classes")
    return ", ".join(extra)


def _many(series: Mapping[str, Any]) -> bool:
    """Whether its nets tell other than the usual number of classes apart throughout."""
    usual = Work(series["kind"]).classes
    return series.get("fixed", series).get("classes", usual) != usual


def _number(value: float, digits: int = 2) -> str:
    # Adding 0 takes the sign from a number that rounds to it.
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)


def _digits(value: float, digits: int) -> str:
    """A number to so many digits that count, never with an exponent."""
    return f"{float(f'{value:.{digits}g}'):,.10g}"


def _interval(found: Mapping[str, float]) -> str:
    value, low, high = (_number(found[end]) for end in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _rounds(report: Report) -> str:
    count = report["rounds"]
    return "those of one round" if count == 1 else f"medians of {count} rounds"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _bytes(value: float) -> str:
    size, sign = abs(value), MINUS * (value < 0)
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{sign}{_digits(size / unit, 3)} {name}"
    return f"{sign}{size:.0f} B"


def _duration(seconds: float) -> str:
    for unit, name in ((365.25 * 86400, "years"), (86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{_digits(seconds / unit, 2)} {name}"
    return f"{_digits(seconds, 2)} s"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> str:
    rule = ["---:" if side == "r" else "---" for side in sides]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))
