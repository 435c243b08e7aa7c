"""What a run did otherwise than the paper, as far as some models and evaluations are concerned.

The defaults of :mod:`rslib.settings.schema` are the paper's protocol. What changes no number does
not count, nor does the precision of the training, which the paper does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rslib.metrics.estimates import ROBUST_ACCURACY
from rslib.report import labels
from rslib.settings.names import ARCHITECTURES, ROBUSTNESS, parts
from rslib.settings.plan import plan
from rslib.settings.schema import Settings
from rslib.store.records import RecordError

if TYPE_CHECKING:
    from rslib.run import Run

_IMMATERIAL = {"compile", "precision", "validation_images", "initialization"}
# What an attack may do to an image; its other settings say how many images there are.
_THREAT = ("eps", "norm", "steps", "step_ratio", "restarts", "random_start")
_SECTIONS = ("fgsm", "pgd", "corruptions", "swapped", "faithfulness")
# Data settings of which the paper has all: what they count, and how many those are (3.1.1).
_IMAGES = {"test_size": ("test images", 10_000), "train_size": ("training images", 50_000)}
# A training is weaker with less of these, or more of those.
_LESS = ("epochs", "steps", "beta", "share", "width", "dim", "depth", "heads")
_MORE = ("batch_size", "patch")

CONVERGED = 0.25
"""The share of the paper's epochs after which a training may count as converged."""

FLAT = 0.01
"""And what it may still gain: the mean validation accuracy of the last tenth of its epochs, two at
least, over the mean of the tenth before."""

# Of each setting that differs, ours and the paper's, over several models.
_Pairs = dict[str, dict[tuple[Any, Any], None]]


@dataclass(frozen=True)
class Protocol:
    """What differs from the paper's protocol, value beside value; each is empty where nothing does.

    What is ``weaker`` is also in ``sizes``, ``training`` or ``images``.
    """

    data: str = ""
    sizes: str = ""  # of the networks
    threat: str = ""  # of the attacks
    training: str = ""  # of the recipes
    images: str = ""  # how many, in training and evaluation
    weaker: str = ""  # fewer epochs, steps or images, less β, narrower networks
    converged: bool = False  # whether all trainings had come to their end all the same

    @property
    def differs(self) -> str:
        """All that differs, for a reader; empty under the paper's protocol."""
        return "; ".join(filter(None, (self.sizes, self.threat, self.training, self.images)))

    @property
    def brief(self) -> str:
        """The same in a line, to stand behind a reason: of the training what makes it weaker."""
        told = dict.fromkeys([self.weaker or self.sizes, self.threat])
        if self.training and self.training != self.weaker:
            told[f"{'otherwise ' if self.weaker else ''}another recipe"] = None
        told |= dict.fromkeys(each for each in self.images.split("; ") if each not in self.weaker)
        return "; ".join(filter(None, told))


def of(
    run: Run, models: Iterable[str], evaluations: Iterable[str], *, generated: bool = False
) -> Protocol:
    """Compare a run with the paper's protocol, for a number about some models.

    What these were trained from counts, too. The number was read from ``evaluations``
    (:data:`rslib.run.evaluations.EVALUATIONS`); ``generated``: not of the official corrupted files.
    """
    models, chosen, paper = list(models), run.settings, Settings()
    threat, images = [], []
    for section in sorted({*evaluations} & {*_SECTIONS}):
        found = _differences(getattr(chosen, section), getattr(paper, section))
        threat += [f"{section} {_beside(key, [found[key]])}" for key in _THREAT if key in found]
        ours, usual = found.get("n", (None, None))
        if ours is not None:
            all_of = f"{usual:,} by default" if usual else "paper 10,000"
            images.append(f"{labels.evaluation_label(section)} on {ours:,} images, {all_of}")
    if generated:
        images.append("generated corruptions, paper the official files")
    fewer = []
    for key, (told, whole) in _IMAGES.items():
        if ours := _differences(chosen.data, paper.data).get(key, (None,))[0]:
            fewer.append(f"{ours:,} {told}, paper {whole:,}")
    sizes, training = _differing(chosen, models)
    weaker = {key: pairs for key, pairs in (sizes | training).items() if _weaker(key, pairs)}
    return Protocol(
        data="" if labels.comparable(run) else labels.dataset(run),
        sizes=_told(sizes),
        threat="; ".join(threat),
        training=_told(training),
        images="; ".join(images + fewer),
        weaker="; ".join(filter(None, [_told(weaker), *(x for x in fewer if "training" in x)])),
        converged=bool(models) and all(_converged(run, name) for name in models),
    )


def departures(run: Run, models: Iterable[str]) -> dict[str, str]:
    """How each model differs from the paper's, by its label; models that do not are left out."""
    found = {}
    for name in models:
        differs = of(run, [name], ())
        if told := "; ".join(filter(None, (differs.sizes, differs.training))):
            found[labels.short_label(name)] = told
    return found


def limits(run: Run) -> list[str]:
    """What keeps a run's numbers from being those of the paper's protocol, in sentences."""
    found, chosen = of(run, ROBUSTNESS, ("fgsm", "pgd")), run.settings
    sizes = labels.sizes(run, ROBUSTNESS)
    told = []
    if found.data:
        told.append(f"Its pictures are synthetic ({found.data}), not CIFAR-10.")
    if sizes:
        told.append(f"Its networks are not of the paper's size ({sizes}).")
    if found.training:
        told.append("They are trained by another recipe than the paper's.")
    if found.threat:
        told.append(f"They are attacked otherwise than in the paper ({found.threat}).")
    cut = [getattr(section, "n", None) for _, section in chosen]
    if chosen.data.test_size is not None or any(n is not None for n in cut):
        told.append("Where n is less than the test set, it is a class-balanced subset.")
    if chosen.evaluation.tf32:
        told.append(
            "On a GPU that has it, attacks and the votes of smoothing are computed in TF32; what "
            "an attack has done is judged in full precision."
        )
    if run.followers:
        beside = labels.seeds_phrase([each.seed for each in run.followers])
        some = "; ".join(map(labels.short_label, chosen.seeded or []))
        told.append(f"Of {beside} there are only some models ({some}) and what they need.")
    return told


def _differing(chosen: Settings, models: Iterable[str]) -> tuple[_Pairs, _Pairs]:
    """What differs in the sizes of models, and in their training and what they start from."""
    sizes: _Pairs = {}
    training: _Pairs = {}
    for name in _lineages(chosen, models):
        ours, theirs = plan(chosen, name), plan(Settings(), _as_in_paper(name))
        for pairs, one, other in (
            (sizes, ours.size, theirs.size),
            (training, ours.recipe, theirs.recipe),
            (training, ours.section, theirs.section),
        ):
            for key, pair in _differences(one, other).items():
                if key not in (*_IMMATERIAL, *ARCHITECTURES):
                    pairs.setdefault(key, {})[pair] = None
    return sizes, training


def _lineages(chosen: Settings, models: Iterable[str]) -> list[str]:
    """Models with all that they were trained from, each once."""
    found: dict[str, None] = {}
    for name in models:
        lineage: str | None = name
        while lineage is not None:
            found[lineage] = None
            lineage = plan(chosen, lineage).parent
    return list(found)


def _as_in_paper(name: str) -> str:
    """The paper's model that one of ours stands for; a control (β = 0) stands for itself."""
    plain = name.partition("@")[0]
    return f"{plain}@beta=0.0" if parts(name).changes.get("beta") == 0 else plain


def _weaker(key: str, pairs: Iterable[tuple[Any, Any]]) -> bool:
    """True if one of ours makes a training weaker than the paper's."""
    known = [(ours, theirs) for ours, theirs in pairs if None not in (ours, theirs)]
    if key in _LESS:
        return any(ours < theirs for ours, theirs in known)
    return key in _MORE and any(ours > theirs for ours, theirs in known)


def _converged(run: Run, name: str) -> bool:
    """True if a training, and each that it started from, gained nothing more (:data:`FLAT`)."""
    for each in _lineages(run.settings, [name]):
        try:
            history = run.summary(each)["history"]
        except (RecordError, ValueError):
            return False
        whole = plan(Settings(), _as_in_paper(each)).recipe.epochs
        rates = [epoch.get(ROBUST_ACCURACY, epoch["validation_accuracy"]) for epoch in history]
        last = max(2, len(rates) // 10)
        if len(rates) < max(CONVERGED * whole, 2 * last):
            return False
        if fmean(rates[-last:]) - fmean(rates[-2 * last : -last]) > FLAT:
            return False
    return True


def _told(pairs: Mapping[str, Iterable[tuple[Any, Any]]]) -> str:
    return "; ".join(_beside(key, list(each)) for key, each in pairs.items())


def _beside(key: str, pairs: Sequence[tuple[Any, Any]]) -> str:
    """Values of a setting beside the paper's: ``epochs 8 and 4, paper 100 and 50``."""
    ours, theirs = ([_value(pair[k]) for pair in pairs] for k in (0, 1))
    if len({*theirs}) == 1:
        theirs = theirs[:1]
    return f"{key.replace('_', ' ')} {' and '.join(ours)}, paper {' and '.join(theirs)}"


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value).replace("_", " ")


def _differences(
    ours: Iterable[tuple[str, Any]], theirs: Iterable[tuple[str, Any]]
) -> dict[str, tuple[Any, Any]]:
    """Ours and theirs of the settings in which the two differ; None where one has not got it."""
    mine, paper = dict(ours), dict(theirs)
    pairs = {key: (mine.get(key), paper.get(key)) for key in {**mine, **paper}}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
