"""What each ingredient of a recipe brings in equal training time, on narrow nets and CIFAR-10.

    python -m benchmarks.recipes --minutes 2 --out benchmarks/results

Each variant is a plain recipe with one thing changed. What the plain recipe costs an image is
measured once, and all variants of its group get as many images, seen as many times, as fit into the
minutes: of processor time, which a busy machine stretches less than the clock's. No ingredient here
costs more than a few percent; the seconds that each took are kept. All variants of a group are
scored on the same withheld images. A variant that is finished has a file of its own and is not
trained again, so the command can be stopped and given again.

One training a variant says nothing about the method where seeds differ as much: the plain recipes
are trained with further seeds, and a difference inside that spread is not told from luck.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import machine
from benchmarks.subjects import trained
from rslib import data, estimates, records, settings, trainer, training
from rslib.attacks import run_pgd
from rslib.estimates import Estimate
from rslib.run import Run
from rslib.settings import PROJECT
from rslib.training.plan import plan
from rslib.training.resampling import resampled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = PROJECT / "benchmarks" / "results"
FILE = "recipes.json"
EPOCHS = 4
BATCH = 64
WITHHELD = {"standard": 5_000, "adversarial": 2_000}
"""Images that variants are scored on; the adversarial ones start from a net that saw the others."""

ATTACKED = 1_000
NETS = {"resnet18": {"width": 16}, "vit_small": {"dim": 96, "depth": 4, "heads": 3}}


@dataclass(frozen=True)
class Group:
    """Variants that are compared with one plain recipe.

    Attributes:
        title: for table and figure.
        model: whose recipe it is.
        recipe: what all have in common, as settings.
        attack: the same for the settings of adversarial training.
        patch: of the transformer.
    """

    title: str
    model: str
    recipe: Mapping[str, Any]
    attack: Mapping[str, Any] = field(default_factory=dict)
    patch: int = 4


@dataclass(frozen=True)
class Variant:
    """One recipe of a group.

    Attributes:
        group: key of :data:`GROUPS`.
        ingredient: what differs from the plain recipe, in words; empty for the plain one.
        recipe: the same as settings.
        attack: the same for the settings of adversarial training.
        pretrained: patch of the net that it starts from, trained in half of the time.
        seed: of weights, order and draws.
    """

    group: str
    ingredient: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    attack: Mapping[str, Any] = field(default_factory=dict)
    pretrained: int | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of its file."""
        words = self.ingredient or "plain"
        told = "".join(letter if letter.isalnum() else "-" for letter in words.lower())
        return f"{self.group}-{told}-seed{self.seed}"


_ADAMW = {
    "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0,
}  # fmt: skip
GROUPS = {
    "resnet18": Group("ResNet-18 (width 16), clean accuracy", "resnet18-standard", {}),
    "vit_small": Group("ViT (width 96, patch 4), clean accuracy", "vit_small-standard", _ADAMW),
    "patch2": Group("ViT (width 96, patch 2), clean accuracy", "vit_small-standard", _ADAMW, {}, 2),
    "adversarial": Group(
        "ResNet-18 (width 16), adversarial fine-tuning, accuracy under PGD-20",
        "resnet18-adversarial",
        {"learning_rate": 0.05},
        {"steps": 5},
    ),
}
_WARM_UP = {"warmup_epochs": 1.0}
_ONE_CYCLE = {"schedule": "one_cycle", "warmup_epochs": 1.5}
_EMA = {"ema_decay": 0.97}
_MIXED = {"mixup": 0.8, "cutmix": 1.0}
_RANDAUGMENT = {"randaugment": 2, "randaugment_magnitude": 9}
VARIANTS = (
    Variant("adversarial"),
    Variant("adversarial", "weight averaging", _EMA),
    Variant("resnet18"),
    Variant("resnet18", "one cycle", _ONE_CYCLE),
    Variant("resnet18", "mixup and CutMix", _MIXED),
    Variant("vit_small"),
    Variant("vit_small", "warm-up", _WARM_UP),
    Variant("vit_small", "SGD as in the paper", {
        "optimizer": "sgd", "learning_rate": 0.001, "weight_decay": 5e-4, "clip_norm": None,
    }),
    Variant("vit_small", "mixup and CutMix", _MIXED),
    Variant("vit_small", "RandAugment", _RANDAUGMENT),
    Variant("patch2"),
    Variant("patch2", "pre-trained at patch 4", pretrained=4),
    Variant("resnet18", seed=1),
    Variant("resnet18", "weight averaging", _EMA),
    Variant("resnet18", "RandAugment", _RANDAUGMENT),
    Variant("resnet18", "warm-up, Nesterov", {"nesterov": True, **_WARM_UP}),
    Variant("adversarial", "warm-up of the budget", attack={"budget_warmup_epochs": 2.0}),
    Variant("vit_small", "drop path", {"drop_path": 0.1}),
    Variant("vit_small", seed=1),
    Variant("resnet18", "label smoothing", {"label_smoothing": 0.1}),
    Variant("resnet18", "random erasing", {"erasing": 0.25}),
    Variant("adversarial", "one cycle", _ONE_CYCLE),
    Variant("adversarial", seed=1),
    Variant("vit_small", "weight averaging", _EMA),
    Variant("vit_small", "one cycle", _ONE_CYCLE),
    Variant("vit_small", "label smoothing", {"label_smoothing": 0.1}),
    Variant("vit_small", "random erasing", {"erasing": 0.25}),
)  # fmt: skip
"""What is trained, the most telling first: whoever stops early has those."""


def run_of(variant: Variant, root: Path, *, patch: int | None = None) -> Run:
    """The run whose settings are a variant's; only its data, nets and plans are used."""
    group = GROUPS[variant.group]
    architecture, _, objective = group.model.partition("-")
    recipe = {"epochs": EPOCHS, "batch_size": BATCH, **group.recipe, **variant.recipe}
    overrides = {
        "device": "cpu",
        "data": {"validation_size": WITHHELD[objective]},
        "resnet18": NETS["resnet18"],
        "vit_small": {**NETS["vit_small"], "patch": patch or group.patch},
        "training": {objective: {architecture: recipe, **group.attack, **variant.attack}},
    }
    chosen = settings.load("paper", overrides)
    return Run(chosen, variant.seed, root=root, progress=False)


def fitted(run: Run, model: nn.Module, name: str, images: data.Dataset, epochs: int) -> float:
    """Train a model in place, with a recipe cut to some epochs; returns the processor's seconds."""
    planned = plan(run.settings, name)
    recipe = planned.recipe.model_copy(update={"epochs": epochs})
    if planned.recipe.drop_path:
        trainer.models.set_drop_path(model, planned.recipe.drop_path)
    batches = trainer.batches(images, recipe, device=run.device, seed=run.seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        training.fit(
            model, planned.objective, batches, lambda _: {"validation_accuracy": 0.0}, recipe,
            seed=run.seed, checkpoint_path=Path(folder) / "c.safetensors", key="", progress=False,
        )  # fmt: skip
        return time.process_time() - started


def cost(group: str, patch: int, folder: Path) -> float:
    """Processor seconds of a group's plain recipe for one image once, measured once and kept."""
    path = folder / f"cost-{group}-patch{patch}.json"
    if not path.exists():
        # The coin of adversarial training decides a short run's cost, so both sides are measured.
        sides = (0.0, 1.0) if "adversarial" in GROUPS[group].model else (None,)
        found = [_cost(group, patch, folder, side) for side in sides]
        records.write_json(path, {"seconds": sum(found) / len(found)})
    return records.read_json(path)["seconds"]


def _cost(group: str, patch: int, folder: Path, probability: float | None) -> float:
    attack = {} if probability is None else {"probability": probability}
    run, name = run_of(Variant(group, attack=attack), folder, patch=patch), GROUPS[group].model
    images = data.balanced_subset(run.data("train"), 4 * BATCH)
    fitted(run, run.build(name), name, data.balanced_subset(images, BATCH), 1)
    return min(fitted(run, run.build(name), name, images, 1) for _ in range(3)) / len(images)


def trained_for(
    variant: Variant,
    seconds: float,
    folder: Path,
    *,
    patch: int | None = None,
    start: nn.Module | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """A variant's net after so many seconds, with the facts of its training."""
    patch = patch or GROUPS[variant.group].patch
    run, name = run_of(variant, folder, patch=patch), GROUPS[variant.group].model
    price = cost(variant.group, patch, folder)
    size = min(int(seconds / (price * EPOCHS)), len(run.data("train")))
    images = data.balanced_subset(run.data("train"), size)
    model = run.build(name)
    if start is not None:
        model.load_state_dict(model.state_dict() | resampled(start.state_dict(), model))
    spent = fitted(run, model, name, images, EPOCHS)
    return model, {
        "patch": patch,
        "images": len(images),
        "epochs": EPOCHS,
        "steps": EPOCHS * -(-len(images) // BATCH),
        "processor_seconds": spent,
    }


def measure(variant: Variant, seconds: float, folder: Path) -> dict[str, Any]:
    """Train a variant and score it on withheld images.

    Args:
        variant: which one.
        seconds: of training, by the processor's clock.
        folder: where the costs are kept.

    Returns:
        A JSON document: the variant, its trainings, and for each score which images were right.
    """
    start, stages, left = None, [], seconds
    if "adversarial" in GROUPS[variant.group].model:
        start = trained("resnet18-standard")
    if variant.pretrained is not None:
        left = seconds / 2
        start, facts = trained_for(variant, left, folder, patch=variant.pretrained)
        stages.append(facts)
    model, facts = trained_for(variant, left, folder, start=start)
    stages.append(facts)
    run = run_of(variant, folder)
    scores = {"clean": _packed(_clean(model, run.data("validation")))}
    if "adversarial" in GROUPS[variant.group].model:
        few = data.balanced_subset(run.data("validation"), ATTACKED)
        scores["pgd"] = _packed(_robust(model, few, run))
    return {"variant": described(variant), "seconds": seconds, "stages": stages, "scores": scores}


def described(variant: Variant) -> dict[str, Any]:
    """A variant as a document: its settings, its group's and the sizes they are used at."""
    group = GROUPS[variant.group]
    architecture = group.model.partition("-")[0]
    return {
        "group": variant.group,
        "ingredient": variant.ingredient,
        "seed": variant.seed,
        "pretrained": variant.pretrained,
        "recipe": {"epochs": EPOCHS, "batch_size": BATCH, **group.recipe, **variant.recipe},
        "attack": {**group.attack, **variant.attack},
        "net": {
            **NETS[architecture],
            **({"patch": group.patch} if architecture != "resnet18" else {}),
        },
    }


@torch.inference_mode()
def _clean(model: nn.Module, images: data.Dataset) -> np.ndarray:
    batches = data.Batches(images, 250, channels_last=True)
    return torch.cat([model(batch.x).argmax(1) == batch.y for batch in batches]).numpy()


def _robust(model: nn.Module, images: data.Dataset, run: Run) -> np.ndarray:
    chosen, generator = run.settings.pgd, torch.Generator().manual_seed(0)
    fooled = [
        run_pgd(
            model, batch.x, batch.y, eps=chosen.eps_unit, step_size=chosen.step_size,
            num_steps=chosen.steps, generator=generator,
        ).fooled
        for batch in data.Batches(images, 250, channels_last=True)
    ]  # fmt: skip
    return ~torch.cat(fooled).numpy()


def _packed(correct: np.ndarray) -> dict[str, Any]:
    return {"n": len(correct), "right": np.packbits(correct).tobytes().hex()}


def _unpacked(score: Mapping[str, Any]) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex(score["right"]), np.uint8)
    return np.unpackbits(packed, count=score["n"]).astype(bool)


def summarize(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table: each variant's accuracies, and its difference from the plain recipe.

    A difference is of the group's own score (accuracy under attack for adversarial training), on
    the same images, with its interval; the plain recipe's of the same seed is the reference.
    """
    plain = {
        each["variant"]["group"]: each
        for each in documents
        if not each["variant"]["ingredient"] and each["variant"]["seed"] == 0
    }
    rows = []
    for each in documents:
        group = each["variant"]["group"]
        kind = "pgd" if "pgd" in each["scores"] else "clean"
        right = {name: _unpacked(score) for name, score in each["scores"].items()}
        row = {
            "group": group,
            "ingredient": each["variant"]["ingredient"],
            "seed": each["variant"]["seed"],
            "score": kind,
            "images": [stage["images"] for stage in each["stages"]],
            "processor_seconds": sum(stage["processor_seconds"] for stage in each["stages"]),
            "difference": None,
        }
        for name, values in right.items():
            row[name] = _numbers(estimates.accuracy(values))
        if group in plain and each is not plain[group]:
            other = _unpacked(plain[group]["scores"][kind])
            row["difference"] = _numbers(estimates.paired_difference(right[kind], other))
        rows.append(row)
    return rows


def _numbers(found: Estimate) -> dict[str, Any]:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}


def collect(folder: Path, seconds: float) -> dict[str, Any]:
    """The report of all variants that are finished in a folder."""
    parts = [folder / "recipes" / f"{variant.name}.json" for variant in VARIANTS]
    documents = [records.read_json(path) for path in parts if path.exists()]
    return {
        "machine": machine(("torch", "torchvision", "timm")),
        "seconds": seconds,
        "missing": [path.stem for path in parts if not path.exists()],
        "rows": summarize(documents),
        "variants": [each["variant"] | {"stages": each["stages"]} for each in documents],
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The report as tables, one a group, for the book."""
    lines = [
        f"Each variant was trained for {report['seconds']:.0f} s of one processor core "
        f"({report['machine']['device']}); images are the training images that took, each seen "
        f"{EPOCHS} times. Square brackets: 95 % intervals over withheld images, of one training "
        "each. Rows of another seed show how far two trainings of one recipe lie apart: where a "
        "difference is not larger, or its interval holds 0, nothing is told.",
    ]
    for key, group in GROUPS.items():
        rows = [row for row in report["rows"] if row["group"] == key]
        if not rows:
            continue
        attacked = rows[0]["score"] == "pgd"
        lines += [
            "",
            f"**{group.title}**",
            "",
            f"| recipe | images | clean, % | {'PGD-20, % | ' * attacked}difference, points |",
            f"| --- | ---: | ---: | {'---: | ' * attacked}---: |",
        ]
        for row in rows:
            cells = [_label(row), " + ".join(f"{n:,}" for n in row["images"])]
            cells += [_told(row[score]) for score in ("clean", "pgd") if score in row]
            cells.append(_told(row["difference"], signed=True) if row["difference"] else "")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _label(row: Mapping[str, Any]) -> str:
    seed = f" (seed {row['seed']})" if row["seed"] else ""
    return (f"with {row['ingredient']}" if row["ingredient"] else "plain") + seed


def _told(number: Mapping[str, Any], *, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    return f"{number['value']:{form}} [{number['low']:{form}}, {number['high']:{form}}]"


def figure(report: Mapping[str, Any]) -> Figure:
    """Each variant's difference from its group's plain recipe, with its interval."""
    from rslib import _style

    groups = {
        key: [row for row in report["rows"] if row["group"] == key and row["difference"]]
        for key in GROUPS
    }
    groups = {key: rows for key, rows in groups.items() if rows}

    @_style.styled
    def draw() -> Figure:
        drawn, axes = _style.canvas(
            [[key] for key in groups],
            height=0.45 * len(groups) + 0.21 * sum(len(rows) + 1 for rows in groups.values()),
            footer=(
                f"CIFAR-10; {report['seconds']:.0f} s each on one core of a "
                f"{report['machine']['device']}\nHollow: the plain recipe with another seed. "
                "Lines: 95 % intervals over images."
            ),
            height_ratios=[len(rows) + 1 for rows in groups.values()],
        )
        for key, rows in groups.items():
            axis, shade = axes[key], _style.color(GROUPS[key].model)
            for place, row in enumerate(reversed(rows)):
                found = row["difference"]
                reach = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
                axis.errorbar(
                    found["value"], place, xerr=reach, fmt="o", color=shade,
                    markerfacecolor=shade if row["ingredient"] else "white",
                )  # fmt: skip
            axis.set_yticks(range(len(rows)), [_label(row) for row in reversed(rows)])
            axis.set_ylim(-0.6, len(rows) - 0.4)
            axis.axvline(0, color=_style.GREY, linewidth=0.8)
            axis.grid(True, axis="x")
            axis.set_title(GROUPS[key].title)
        last = axes[list(groups)[-1]]
        last.set_xlabel("Difference from the plain recipe (points)")
        return drawn

    return draw()


def main() -> None:
    """Measure what is missing, one file a variant, and write recipes.json and recipes.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, each variant")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument(
        "--groups", nargs="+", choices=GROUPS, default=list(GROUPS),
        help="which comparisons to measure; default: all",
    )  # fmt: skip
    options = parser.parse_args()
    torch.set_num_threads(1)
    seconds = 60 * options.minutes
    for variant in VARIANTS:
        path = options.out / "recipes" / f"{variant.name}.json"
        if variant.group not in options.groups:
            continue
        if path.exists():
            known = records.read_json(path)
            if (known["variant"], known["seconds"]) == (described(variant), seconds):
                continue
        started = time.perf_counter()
        records.write_json(path, measure(variant, seconds, path.parent))
        print(f"{variant.name}: {time.perf_counter() - started:.0f} s", flush=True)
        report = collect(options.out, seconds)
        records.write_json(options.out / FILE, report)
        with records.atomic((options.out / FILE).with_suffix(".md")) as file:
            file.write_text(markdown(report))


if __name__ == "__main__":
    main()
