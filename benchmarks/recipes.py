"""Recipes beside each other on the narrow nets of profile cpu, each trained until it can be used.

    python -m benchmarks.recipes

A group has one net, one set of images and equally many epochs; its recipes differ in one thing from
its first one. Each is trained with three seeds on one thread and scored, by its last weights, on
the same withheld images. No recipe costs more than a few percent above another of its group; the
processor's seconds stand beside each. A training that is finished has a file of its own and is not
repeated, so the command can be stopped and given again, and groups can be measured side by side.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmarks import results
from benchmarks.harness import machine
from rslib import data, settings, training
from rslib.metrics import estimates
from rslib.metrics.estimates import Estimate
from rslib.report import style
from rslib.run import Run, trainer
from rslib.settings.plan import plan
from rslib.settings.schema import Recipe
from rslib.store import records
from rslib.training import Objective, loop
from rslib.training.objectives import Step
from rslib.training.plan import objective as objective_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILE = "recipes.json"
SEEDS = (0, 1, 2)
MISSING = "not measured yet"
COLUMNS = ("recipe", "accuracy, %", "difference, points", "verdict", "seed by seed", "seconds")


@dataclass(frozen=True)
class Group:
    """Recipes that are compared with the first of them.

    Attributes:
        title: for table and figure.
        architecture: which net.
        net: its size.
        images: settings of the images.
        recipe: what all have in common.
        arms: by name, what each lays over ``recipe`` or ``net``, or the ``average`` of the weights
            that is scored in their place; the others are compared with the first.
        note: what a reader must know of them.
    """

    title: str
    architecture: str
    net: Mapping[str, Any]
    images: Mapping[str, Any]
    recipe: Mapping[str, Any]
    arms: Mapping[str, Mapping[str, Any]]
    note: str

    @property
    def reference(self) -> str:
        """The recipe that the others are compared with."""
        return next(iter(self.arms))


_CIFAR = {"name": "cifar10", "validation_size": 5_000}
_AUGMENTED = {"randaugment": 2, "randaugment_magnitude": 9, "mixup": 0.8, "cutmix": 1.0}
GROUPS = {
    "vit_small": Group(
        "ViT (width 48, depth 4, patch 4) on CIFAR-10",
        "vit_small",
        {"dim": 48, "depth": 4, "heads": 3, "patch": 4},
        _CIFAR,
        {
            "epochs": 10, "batch_size": 128, "optimizer": "muon", "learning_rate": 3e-3,
            "adamw_learning_rate": 1e-3, "weight_decay": 0.05, "schedule": "one_cycle",
            "warmup_epochs": 2.0, "clip_norm": 1.0,
        },
        {
            "Muon": {},
            "AdamW": {"recipe": {"optimizer": "adamw", "learning_rate": 2e-3}},
            "Muon, augmented, all batches mixed": {"recipe": _AUGMENTED},
            "Muon, augmented, half of the batches mixed": {
                "recipe": {**_AUGMENTED, "mixed_share": 0.5}
            },
        },
        "Muon at 3e-3 (1e-3 for what it leaves to AdamW), AdamW at 2e-3; flips and crops. "
        "Augmented: RandAugment of two operations, strength 9; mixed: mixup 0.8 or CutMix 1.0.",
    ),
    "resnet18": Group(
        "ResNet-18 (width 8) on CIFAR-10",
        "resnet18",
        {"width": 8},
        _CIFAR,
        {
            "epochs": 10, "batch_size": 128, "learning_rate": 0.2, "nesterov": True,
            "schedule": "one_cycle", "warmup_epochs": 2.0,
        },
        {
            "timm's initial weights": {"net": {"initialization": "timm"}},
            "PyTorch's initial weights": {"net": {"initialization": "pytorch"}},
        },
        "SGD at 0.2; flips and crops.",
    ),
    # The shortcut experiment as profile fast trains it: 30 epochs of 8 steps.
    "averaging": Group(
        "ResNet-18 (width 8) on Shapes, 240 steps",
        "resnet18",
        {"width": 8},
        {
            "name": "shapes", "train_size": 4_000, "validation_size": 1_000,
            "background_correlation": 0.95,
        },
        {
            "epochs": 30, "batch_size": 512, "learning_rate": 0.4, "nesterov": True,
            "schedule": "one_cycle", "warmup_epochs": 6.0,
        },
        {
            "no averaging": {},
            "averaged at 0.998 with warm-up": {"average": {"ema_decay": 0.998}},
            "averaged at 0.998 without warm-up": {
                "average": {"ema_decay": 0.998, "ema_warmup": False}
            },
        },
        "One training a seed, three readings of its weights: so long an average is kept beside the "
        "training here, since rslib refuses it.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """One training.

    Attributes:
        group: key of :data:`GROUPS`.
        arm: key of its arms.
        seed: of weights, order and draws.
    """

    group: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """The name of its file."""
        words = "".join(letter if letter.isalnum() else " " for letter in self.arm.lower())
        return f"{self.group}-{'-'.join(words.split())}-seed{self.seed}"


VARIANTS = tuple(
    Variant(key, arm, seed) for seed in SEEDS for key, group in GROUPS.items() for arm in group.arms
)
"""All trainings, one of each recipe first."""


def described(variant: Variant) -> dict[str, Any]:
    """A variant as a document: all that decides its result."""
    group = GROUPS[variant.group]
    arm = group.arms[variant.arm]
    return {
        "group": variant.group,
        "arm": variant.arm,
        "seed": variant.seed,
        "images": dict(group.images),
        "net": {**group.net, **arm.get("net", {})},
        "recipe": {**group.recipe, **arm.get("recipe", {})},
        "average": arm.get("average"),
    }


def run_of(variant: Variant) -> Run:
    """The run whose settings are a variant's; only its data, net and plan are used."""
    told, architecture = described(variant), GROUPS[variant.group].architecture
    overrides = {
        "device": "cpu",
        "data": told["images"],
        architecture: told["net"],
        "training": {"standard": {architecture: told["recipe"]}},
    }
    return Run(settings.load("paper", overrides), variant.seed, root=Path("."), progress=False)


class Averaging:
    """An objective that keeps an average of the weights after each step, of any length.

    ``fit`` keeps it the same way, but refuses one that is too long for the training.
    """

    def __init__(self, objective: Objective, model: nn.Module, average: Mapping[str, Any]) -> None:
        self.objective, self.model = objective, model
        self.average = loop.average_of(model, Recipe(**average))
        self.started = False

    def __call__(self, forward: nn.Module, *given: Any) -> Step:
        """A step; the weights found are those that the last one left."""
        if self.started:
            self.average.update_parameters(self.model)
        self.started = True
        return self.objective(forward, *given)

    def finished(self) -> nn.Module:
        """The average, that of the last step included."""
        self.average.update_parameters(self.model)
        return self.average.module.eval()


def measure(variant: Variant) -> dict[str, Any]:
    """Train a variant and score it on withheld images.

    Returns:
        A JSON document: the variant, images, steps, seconds of the processor and history of its
        training, and which withheld images its last weights (or their average) have right.
    """
    run, name = run_of(variant), f"{GROUPS[variant.group].architecture}-standard"
    planned, model = plan(run.settings, name), run.build(name)
    train = trainer.batches(run.data("train"), planned.recipe, device=run.device, seed=run.seed)
    withheld = data.Batches(run.data("validation"), 250, channels_last=True)
    average, objective = described(variant)["average"], objective_of(planned)
    if average:
        objective = Averaging(objective, model, average)
    with tempfile.TemporaryDirectory(prefix="rslib-") as folder:
        started = time.process_time()
        state = training.fit(
            model, objective, train, lambda _: {"validation_accuracy": 0.0}, planned.recipe,
            seed=run.seed, checkpoint_path=Path(folder, "c.safetensors"), key="", progress=False,
        )  # fmt: skip
        seconds = time.process_time() - started
    return {
        "variant": described(variant),
        "images": len(train.dataset),
        "steps": planned.recipe.epochs * len(train),
        "processor_seconds": seconds,
        "train_loss": [row["train_loss"] for row in state.history],
        "right": packed(_right(objective.finished() if average else model, withheld)),
    }


@torch.inference_mode()
def _right(model: nn.Module, batches: data.Batches) -> np.ndarray:
    return torch.cat([model(batch.x).argmax(1) == batch.y for batch in batches]).numpy()


def packed(correct: np.ndarray) -> dict[str, Any]:
    """Which images are right, bool (N,), as JSON-compatible values."""
    return {"n": len(correct), "bits": np.packbits(correct).tobytes().hex()}


def _unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    bits = np.frombuffer(bytes.fromhex(packed["bits"]), np.uint8)
    return np.unpackbits(bits, count=packed["n"]).astype(bool)


def finished(variant: Variant, folder: Path) -> dict[str, Any] | None:
    """A variant's document, or None where it has none or one of other settings."""
    path = folder / "recipes" / f"{variant.name}.json"
    document = records.read_json(path) if path.exists() else None
    return document if document and document["variant"] == described(variant) else None


def collect(folder: Path) -> dict[str, Any]:
    """The report of all that is finished in a folder."""
    found = {variant: finished(variant, folder) for variant in VARIANTS}
    return {
        "machine": machine(("torch", "torchvision", "timm")),
        "rows": summarize([document for document in found.values() if document]),
    }


def summarize(documents: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each recipe: what its trainings gave, seed by seed, and its differences.

    A difference is an accuracy less the first recipe's of the same seed, on the same images.
    """
    known = {
        (each["variant"]["group"], each["variant"]["arm"], each["variant"]["seed"]): each
        for each in documents
    }
    rows = []
    for key, group in GROUPS.items():
        for arm in group.arms:
            there = [seed for seed in SEEDS if (key, arm, seed) in known]
            trained = [known[key, arm, seed] for seed in there]
            row = {
                "group": key,
                "arm": arm,
                "seeds": there,
                "images": [each["images"] for each in trained],
                "steps": [each["steps"] for each in trained],
                "seconds": [each["processor_seconds"] for each in trained],
                "accuracy": [100 * float(_unpacked(each["right"]).mean()) for each in trained],
                "differences": [],
            }
            for seed, each in zip(there, trained, strict=True):
                first = known.get((key, group.reference, seed))
                if arm != group.reference and first:
                    pair = _unpacked(each["right"]), _unpacked(first["right"])
                    gap = estimates.paired_difference(*pair)
                    row["differences"].append(
                        {"seed": seed, "value": gap.value, "low": gap.low, "high": gap.high}
                    )
            rows.append(row)
    return rows


def over_seeds(row: Mapping[str, Any]) -> Estimate | None:
    """A recipe's mean difference with its 95 % t-interval over seeds; None for fewer than three."""
    from scipy.stats import t

    values = [each["value"] for each in row["differences"]]
    found = estimates.spread(values)
    if found.n < estimates.FEWEST_SEEDS:
        return None
    reach = float(t.ppf(0.975, found.n - 1)) * found.std / math.sqrt(found.n)
    return Estimate(found.mean, found.mean - reach, found.mean + reach, None, "t over seeds")


def markdown(report: Mapping[str, Any]) -> str:
    """The report as tables, one a group, for the book."""
    lines = [
        f"Every recipe was trained with seeds {', '.join(map(str, SEEDS))}, on one thread "
        f"({report['machine']['device']}), and scored on withheld images by its last weights. "
        "Accuracy is mean ± standard deviation over seeds. A difference is from the table's first "
        "recipe: its mean with the 95 % t-interval over seeds, which decides; then seed by seed "
        "with the 95 % interval over images. Seconds are the processor's for one training.",
    ]
    for key, group in GROUPS.items():
        rows = [row for row in report["rows"] if row["group"] == key]
        lines += ["", f"**{group.title}{_size(rows)}.** {group.note}", ""]
        lines.append(f"| {' | '.join(COLUMNS)} |")
        lines.append("| --- | ---: | ---: | --- | --- | ---: |")
        for row in rows:
            cells = {"recipe": row["arm"], **_cells(row)}
            lines.append(f"| {' | '.join(cells.get(column, '') for column in COLUMNS)} |")
    return "\n".join(lines) + "\n"


def _size(rows: Sequence[Mapping[str, Any]]) -> str:
    """The training's size in words; empty where nothing is measured."""
    sizes = [pair for row in rows for pair in zip(row["images"], row["steps"], strict=True)]
    return f": {sizes[0][0]:,} training images, {sizes[0][1]:,} steps" if sizes else ""


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    if not row["seeds"]:
        return {"accuracy, %": MISSING}
    gap = over_seeds(row)
    few = [f"seed {seed} {MISSING}" for seed in SEEDS if seed not in row["seeds"]]
    told = [_signed(each["value"], each["low"], each["high"]) for each in row["differences"]]
    cells = {
        "accuracy, %": _mean(row["accuracy"]),
        "seed by seed": "; ".join(told + few),
        "seconds": f"{sum(row['seconds']) / len(row['seconds']):,.0f}",
    }
    if gap is not None:
        cells["difference, points"] = _signed(gap.value, gap.low, gap.high)
        cells["verdict"] = "not told apart"
        if gap.low > 0 or gap.high < 0:
            cells["verdict"] = "better" if gap.low > 0 else "worse"
    return cells


def _mean(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.1f}"
    found = estimates.spread(values)
    return f"{found.mean:.1f} ± {found.std:.1f}"


def _signed(value: float, low: float, high: float) -> str:
    return f"{_points(value)} [{_points(low)}, {_points(high)}]"


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _drawn(report: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The recipes that have a difference, by group."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        if row["differences"]:
            found.setdefault(row["group"], []).append(row)
    return found


def _middle(row: Mapping[str, Any]) -> float:
    return float(np.mean([each["value"] for each in row["differences"]]))


def describe(report: Mapping[str, Any]) -> str:
    """The figure in words, for its alternative text; empty where there is nothing to draw."""
    drawn = [row for rows in _drawn(report).values() for row in rows]
    told = [f"{row['arm']} {_points(_middle(row))}" for row in drawn]
    return f"Mean differences in points: {'; '.join(told)}." if told else ""


@style.styled
def figure(report: Mapping[str, Any]) -> Figure:
    """Each recipe's difference from its group's first one, by seed and on the mean."""
    groups = _drawn(report)
    drawn, axes = style.canvas(
        [[key] for key in groups],
        height=0.8 * len(groups) + 0.4 * sum(len(rows) for rows in groups.values()),
        footer="Circles: one seed, with its 95 % interval over images. Diamonds: mean over seeds.",
        height_ratios=[len(rows) + 1 for rows in groups.values()],
    )
    for key, rows in groups.items():
        axis, shade = axes[key], style.color(GROUPS[key].architecture)
        for place, row in enumerate(rows):
            for number, each in enumerate(row["differences"]):
                reach = [[each["value"] - each["low"]], [each["high"] - each["value"]]]
                axis.errorbar(
                    each["value"], place + 0.15 * number, xerr=reach, fmt="o",
                    color=style.tint(shade), markersize=3,
                )  # fmt: skip
            axis.plot(_middle(row), place - 0.15, "D", color=shade)
            axis.annotate(
                _points(_middle(row)), (_middle(row), place - 0.15), xytext=(0, 6),
                textcoords="offset points", ha="center", fontsize=8, color=shade,
            )  # fmt: skip
        axis.set_yticks(range(len(rows)), [row["arm"] for row in rows])
        axis.set_ylim(len(rows) - 0.4, -0.8)
        axis.axvline(0, color=style.GREY, linewidth=0.8)
        axis.grid(True, axis="x")
        axis.set_title(GROUPS[key].title)
        axis.set_xlabel(f"Accuracy less that of: {GROUPS[key].reference} (points)")
    return drawn


def main() -> None:
    """Measure what is missing, one file a training, and write recipes.json and recipes.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder of the results")
    parser.add_argument(
        "--groups", nargs="+", choices=GROUPS, default=list(GROUPS),
        help="which comparisons to measure; default: all",
    )  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    for variant in VARIANTS:
        if variant.group not in options.groups or finished(variant, options.out):
            continue
        document = measure(variant)
        records.write_json(options.out / "recipes" / f"{variant.name}.json", document)
        right = 100 * _unpacked(document["right"]).mean()
        print(f"{variant.name}: {right:.1f} %, {document['processor_seconds']:.0f} s", flush=True)
        report = collect(options.out)
        records.write_json(options.out / FILE, report)
        with records.atomic((options.out / FILE).with_suffix(".md")) as file:
            file.write_text(markdown(report))


if __name__ == "__main__":
    main()
