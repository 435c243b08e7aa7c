"""What tables and figures say of themselves: models, sizes, and where numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib import paper
from rslib.run.evaluations import EVALUATIONS
from rslib.settings import extensions
from rslib.settings.names import DATASETS, architecture, parts
from rslib.store.records import RecordError

if TYPE_CHECKING:
    from rslib.run import Run
    from rslib.settings.schema import PGD, Budget, Settings

_ARCHITECTURES = {**paper.ARCHITECTURES, "alexnet": "AlexNet"}
_TRAININGS = {
    "purely_adversarial": "Adversarial (every batch)",
    "trades": "TRADES",
    "noise": "Gaussian noise",
    "robust_aligned": "Adversarial and aligned",
}
_PROPER = ("TRADES", "Gaussian")
_NORMS = {"linf": "l-infinity", "l2": "l2"}


def stamp(
    run: Run,
    n: int | str | None = None,
    *,
    sources: Iterable[Mapping[str, Any]] = (),
    seeds: Sequence[int] = (),
) -> str:
    """Where numbers come from, in one line: profile, data set, device, n, seed.

    n is of test images, or a phrase that says it. The devices are those that the metadata of the
    records and models that were read name; without ``sources``, and ``seeds``, the run's own.
    """
    devices = dict.fromkeys(each["provenance"]["device"] for each in sources)
    if not devices:
        from rslib.models.device import describe

        devices = {describe(run.device): None}
    parts = [f"profile {run.settings.profile}", dataset(run), " and ".join(devices)]
    if n is not None:
        parts.append(f"n = {n:,} test images" if isinstance(n, int) else n)
    return "; ".join([*parts, seeds_phrase(seeds or [run.seed])])


def seeds_phrase(seeds: Sequence[int]) -> str:
    """Seeds in a line of text, such as ``seed 0`` or ``seeds 0, 1, 2``."""
    told = ", ".join(map(str, seeds))
    return f"seeds {told}" if len(seeds) > 1 else f"seed {told}"


def dataset(run: Run) -> str:
    """The name of the run's data set, as the book writes it."""
    return DATASETS.get(run.settings.data.name, run.settings.data.name)


def comparable(run: Run) -> bool:
    """Whether the paper's numbers speak of this data set."""
    return run.settings.data.name == "cifar10"


def model_label(run: Run, name: str) -> str:
    """A model's name as the paper writes it, and another size: ``ResNet-18 (width 16)``."""
    size = model_size(run, name)
    return f"{architecture_label(name)} ({size})" if size else architecture_label(name)


def architecture_label(name: str) -> str:
    """A model's architecture as the paper writes it, such as ``ResNet-18``."""
    return _ARCHITECTURES[architecture(name)]


def model_size(run: Run, name: str) -> str:
    """How a model's size differs from the paper's, such as ``width 16``; empty if it does not."""
    section = getattr(run.settings, architecture(name))
    chosen = section.model_dump(exclude_defaults=True, exclude={"initialization"})
    return ", ".join(f"{key} {value}" for key, value in chosen.items())


def sizes(run: Run, names: Sequence[str]) -> str:
    """The sizes that are not the paper's, such as ``ResNet-18: width 16``; empty if all are."""
    found = {architecture_label(name): model_size(run, name) for name in names}
    return "; ".join(f"{label}: {size}" for label, size in found.items() if size)


def training_label(name: str) -> str:
    """How a model was trained, as the paper's column "Training" writes it, such as ``Standard``."""
    taken = parts(name)
    label = _TRAININGS.get(taken.objective, taken.objective.replace("_", " ").capitalize())
    changes = ", ".join(_change(key, value) for key, value in taken.changes.items())
    return f"{label} ({changes})" if changes else label


def _change(setting: str, value: Any) -> str:
    match setting:
        case "beta":
            return f"β = {value:g}"
        case "share":
            return f"{100 * value:g} % of masks"
        case "masks":
            return f"{mask_label(value)} masks"
        case "reading":
            return str(value).replace("_", " ")
        case "through":
            return f"through the {str(value).replace('_', ' ')}"
        case "start":
            return f"from {training_phrase(f'-{value}')}"
    return f"{setting.replace('_', ' ')} {value}"


def mask_quality(run: Run, text: str) -> str:
    """How good the teachers' masks are that a text names, in a sentence; empty where not known."""
    try:
        about = run.priors().attrs.get("sources", {}) if "teacher's" in text else {}
    except RecordError:
        return ""
    told = [
        f"{mask_label(source)} {made['exact_iou']:.2f} (chance {made['exact_chance']:.2f})"
        for source, made in about.items()
        if "exact_iou" in made and mask_label(source) in text
    ]
    return f"IoU of masks with Shapes' exact ones: {', '.join(told)}." if told else ""


def mask_label(source: str) -> str:
    """A kind of object masks in a line of text, such as ``CNN teacher's``."""
    return {"cnn": "CNN teacher's", "vit": "ViT teacher's"}.get(source, source)


def training_phrase(name: str) -> str:
    """A model's training in a line of text, such as ``standard`` or ``TRADES``."""
    label = training_label(name)
    return label if label.startswith(_PROPER) else label[:1].lower() + label[1:]


def short_label(name: str) -> str:
    """Architecture and training in a line of text, such as ``ResNet-18, standard``."""
    return f"{architecture_label(name)}, {training_phrase(name)}"


def evaluation_label(evaluated: str) -> str:
    """An evaluation's name in a line of text, such as ``PGD`` or ``clean``."""
    return EVALUATIONS[evaluated].label if evaluated in EVALUATIONS else evaluated


def budget(chosen: Budget) -> str:
    """A perturbation budget, such as ``8/255 in l-infinity``."""
    return f"{chosen.eps}/255 in {_NORMS[getattr(chosen, 'norm', 'linf')]}"


def pgd_phrase(chosen: PGD) -> str:
    """The PGD attack with its settings, in a line of text."""
    steps, starts = count(chosen.steps, "step"), count(chosen.restarts, "start")
    return f"PGD with {steps}, {starts} and budget {budget(chosen)}"


def budgets_phrase(settings: Settings) -> str:
    """PGD at the budgets of the settings, in a line of text."""
    pgd, told = settings.pgd, ", ".join(f"{eps:g}" for eps in settings.budgets.eps)
    steps, starts = count(pgd.steps, "step"), count(pgd.restarts, "start")
    return f"PGD with {steps}, {starts} and budgets of {told}/255 in {_NORMS[pgd.norm]}"


def corruption_label(name: str) -> str:
    """A corruption's name in a table, such as ``Gaussian noise`` or ``Scratches (added)``."""
    words = name.replace("_", " ").capitalize().replace("Jpeg", "JPEG")
    return f"{words} (added)" if name in extensions.ADDED["corruption"] else words


def corrupted_phrase(identity: Mapping[str, Any]) -> str:
    """Where corrupted images come from, in words."""
    if identity["origin"] == "official":
        return "the official CIFAR-10-C files"
    name = DATASETS.get(identity["dataset"], identity["dataset"])
    return f"corruptions of {name} generated with seed {identity['seed']}, not the official files"


def images(sources: Iterable[Mapping[str, Any]]) -> str:
    """How many test images the records hold, such as ``n = 10,000 test images (PGD 1,000)``."""
    counts: dict[int, dict[str, None]] = {}
    for source in sources:
        if "evaluation" in source:
            counts.setdefault(source["n"], {})[source["evaluation"]] = None
    if not counts:
        return ""
    most, *fewer = sorted(counts, reverse=True)
    told = [f"{' and '.join(map(evaluation_label, counts[n]))} {n:,}" for n in fewer]
    return f"n = {most:,} test images" + (f" ({', '.join(told)})" if told else "")


def count(n: int, noun: str) -> str:
    """A number and its noun, such as ``1 step`` or ``20 steps``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
