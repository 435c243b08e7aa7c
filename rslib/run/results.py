"""What settings and a seed have made: models' summaries and per-image records, for reading.

They lie in ``runs/<profile>/seed<k>/``, each named by the key of what made it
(:mod:`rslib.store.records`), so changed settings make new results beside the old ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rslib.run import evaluations
from rslib.settings import PROJECT, cast, derive, environment, extensions
from rslib.settings.names import MASK_SOURCES, TEACHERS
from rslib.settings.plan import Plan, plan
from rslib.settings.schema import Recipe, Settings
from rslib.store import records

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

    from rslib.data import Dataset


class Results:
    """Settings and a seed, and the results that are there; nothing is computed, and no torch used.

    Args:
        settings: from :func:`rslib.settings.load`.
        seed: of all that is random but the data and its splits.
        seeds: that tables and figures are to speak of beside this one (:attr:`siblings`).
        further: whether these are another run's further seed (:meth:`has`).
        root: folder of all runs; the environment variable ``RSLIB_RUNS`` or ``runs/`` by default.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        further: bool = False,
        root: Path | None = None,
    ) -> None:
        for each in (seed, *seeds):
            # Torch's generators take no larger one. True is no seed, though it is an int.
            if type(each) is not int or not 0 <= each < 2**63:
                raise ValueError(f"seed must be a whole number from 0, below 2^63, not {each!r}")
        self.settings = settings
        self.seed = seed
        self.seeds = tuple(sorted({seed, *seeds}))
        self.further = further
        root = Path(root or environment.folder("RSLIB_RUNS") or PROJECT / "runs")
        self.directory = root / settings.profile / f"seed{seed}"
        self._known: dict[Any, Any] = {}

    def under(self, overrides: Mapping[str, Any]) -> Self:
        """The same with settings laid over its own, such as ``{"data": {"name": "shapes"}}``."""
        settings = derive(self.settings, overrides)
        return self._like(settings, self.seed, seeds=self.seeds, further=self.further)

    @functools.cached_property
    def siblings(self) -> tuple[Self, ...]:
        """The same settings under the other seeds, for reading; each stands alone."""
        others = (seed for seed in self.seeds if seed != self.seed)
        return tuple(self._like(self.settings, seed, further=True) for seed in others)

    @property
    def followers(self) -> tuple[Self, ...]:
        """The siblings whose models this run makes, too: all, where the setting ``seeded`` is."""
        return () if self.settings.seeded is None else self.siblings

    @property
    def alone(self) -> Self:
        """These results without siblings."""
        return self._like(self.settings, self.seed, further=self.further)

    def _like(self, settings: Settings, seed: int, **options: Any) -> Self:
        return type(self)(settings, seed, root=self.directory.parents[1], **options)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, known without any file."""
        from rslib import data  # which imports torch

        return data.classes(self.settings.data.name)

    # Models

    def has(self, name: str) -> bool:
        """Whether a model belongs here: of a further seed only what :func:`cast.seeded` lists."""
        if not self.further or self.settings.seeded is None:
            return True
        return name in self._remembered("seeded", lambda: cast.seeded(self.settings))

    def plan(self, name: str) -> Plan:
        """How a model is trained under these settings; ValueError of a name they do not know."""
        return self._remembered(("plan", name), lambda: plan(self.settings, name))

    def recipe(self, name: str) -> Recipe:
        """The optimizer, schedule and epochs of a model's training."""
        return self.plan(name).recipe

    def model_inputs(self, name: str) -> dict[str, Any]:
        """What decides a model's weights; its key is made of it."""
        planned = self.plan(name)
        inputs = {
            "model": name,
            "architecture": planned.size.model_dump(exclude_defaults=True),
            "recipe": planned.recipe.inputs(planned.architecture),
            "data": self.settings.data.model_dump(
                exclude_defaults=True, exclude={"test_size", "test_background_correlation"}
            ),
            "seed": self.seed,
        }
        if planned.parent is not None:
            inputs["objective"] = planned.inputs
            inputs["parent"] = self.model_inputs(planned.parent)
            added = extensions.ADDED["objective"].get(planned.objective)
            if added is not None:
                inputs["objective"]["added"] = records.source_digest(added)
        if self.settings.weights != "fp32":
            inputs["weights"] = self.settings.weights
        if planned.masks is not None:
            inputs["masks"] = self.mask_inputs(cast.mask_source(self.settings, planned.masks))
        return inputs

    def model_folder(self, name: str) -> Path:
        """Where a model lies, or will."""
        key = self._remembered(("model", name), lambda: records.key(**self.model_inputs(name)))
        return self.directory / "models" / f"{name}-{key}"

    def summary(self, name: str) -> dict[str, Any]:
        """What is known of a trained model: history, seconds, sizes, weights' digests, provenance.

        Raises:
            NotSeeded: this is a further seed, and it is not to have this model.
            RecordError: it has not been trained with these settings.
        """
        if not self.has(name):
            raise records.NotSeeded(
                f"{name} is not trained under seed {self.seed}: the setting seeded names "
                f"{', '.join(self.settings.seeded or [])}"
            )
        path = self.model_folder(name) / "model.json"
        if not path.exists():
            raise records.RecordError(
                f"{name} has not been trained with these settings (no {path}): "
                "run notebook 01 first, or call trained()"
            )
        written = path.stat()
        version = (written.st_ino, written.st_mtime_ns, written.st_size)
        return self._remembered(("summary", path, version), lambda: records.read_json(path))

    def weights_digest(self, name: str) -> str | None:
        """The SHA-256 digest of a model's weights, or None where it is not trained here."""
        path = self.model_folder(name) / "model.json"
        return records.read_json(path)["weights"]["best"] if path.exists() else None

    # Object masks

    @property
    def mask_sources(self) -> tuple[str, ...]:
        """The kinds of masks that the images have or can be given, the most trustworthy first."""
        return cast.mask_sources(self.settings)

    @property
    def mask_source(self) -> str:
        """The kind that is used where one must be chosen: what models are aligned to."""
        return cast.mask_source(self.settings)

    def mask_inputs(self, source: str) -> dict[str, Any]:
        """What decides the masks of a source, for the keys of what is made with them.

        Raises:
            rslib.saliency.MaskError: there is no such source, or no file of your own.
        """
        if source not in MASK_SOURCES:
            raise _mask_error(f"no masks {source!r}; there are: {', '.join(MASK_SOURCES)}")
        found: dict[str, Any] = {"source": source}
        if source in TEACHERS:
            chosen = self.settings.masks
            found["teacher"] = self.model_inputs(TEACHERS[source])
            found["masks"] = chosen.model_dump(exclude_defaults=True, exclude={"own", "sources"})
        if source == "own":
            folder = self.own_masks()
            kept = [file for file in folder.rglob("*") if file.suffix in {".png", ".npy"}]
            files = sorted(file for file in kept if file.is_file())
            if not files:
                raise _mask_error(
                    f"{folder} holds no mask, neither PNG files nor NumPy arrays: set masks.own to "
                    "a folder that holds train and test"
                )
            digests = {str(file.relative_to(folder)): records.file_digest(file) for file in files}
            found["digest"] = records.key(files=digests)
        return found

    def own_masks(self) -> Path:
        """The folder of a user's own masks; MaskError where ``masks.own`` names none."""
        if not self.settings.masks.own:
            raise _mask_error(
                "masks of your own are asked for, but settings.masks.own names no folder: give one "
                "that holds train and test, each a folder of PNG files or train.npy and test.npy"
            )
        return Path(self.settings.masks.own).expanduser()

    @property
    def priors_inputs(self) -> dict[str, Any]:
        """What decides the record of the masks' priors, for its key."""
        return {
            "evaluation": "priors",
            "data": self.test_inputs,
            "masks": {source: self.mask_inputs(source) for source in self.mask_sources},
        }

    @property
    def priors_path(self) -> Path:
        """Where the record of the masks' priors lies, or will."""
        key = self._remembered("priors", lambda: records.key(**self.priors_inputs))
        return self.directory / "records" / "masks" / f"priors-{key}.parquet"

    def priors(self) -> pd.DataFrame:
        """The record of :func:`rslib.run.object_masks.priors`; RecordError where there is none."""
        path = self.priors_path
        if not path.exists():
            why = f"no record of the masks' priors under these settings ({path})"
            raise records.RecordError(f"{why}: run notebook 03 first")
        return records.read_record(path)

    # Records

    @property
    def test_inputs(self) -> dict[str, Any]:
        """What decides the test images, for the keys of what is made of them."""
        return self.settings.data.model_dump(exclude_defaults=True, exclude={"train_size"})

    def record_inputs(self, name: str, evaluated: str) -> dict[str, Any]:
        """What decides a record; its key is made of it."""
        evaluation, chosen = evaluations.find(evaluated), self.settings
        inputs: dict[str, Any] = {
            "evaluation": evaluated,
            "weights": self.summary(name)["weights"]["best"],
            "data": self.test_inputs,
            "batch_size": chosen.evaluation.batch_size,
            "seed": self.seed,
        }
        if evaluation.section is not None:
            section = getattr(chosen, evaluation.section)
            inputs["attack"] = section.model_dump(exclude_defaults=True)
            inputs["tf32"] = chosen.evaluation.tf32
        if evaluation.masks is not None:
            sources = self.mask_sources if evaluation.masks == "all" else (self.mask_source,)
            inputs["masks"] = {source: self.mask_inputs(source) for source in sources}
        if evaluation.inputs is not None:
            inputs |= evaluation.inputs(chosen)
        if evaluation.judges:
            judges = filter(self.has, evaluation.judges)
            inputs["judges"] = {each: self.summary(each)["weights"]["best"] for each in judges}
        return inputs

    def record_path(self, name: str, evaluated: str) -> Path:
        """Where a record of a trained model (:meth:`summary`) lies, or will.

        Raises:
            ValueError: there is no such evaluation.
        """
        evaluations.find(evaluated)
        weights = self.summary(name)["weights"]["best"]
        key = self._remembered(
            ("record", name, evaluated, weights),
            lambda: records.key(**self.record_inputs(name, evaluated)),
        )
        return self.directory / "records" / name / f"{evaluated}-{key}.parquet"

    def record(self, name: str, evaluated: str) -> pd.DataFrame:
        """A per-image record that is already there; needs neither model weights nor images.

        Raises:
            RecordError: it has not been made with these settings, or the model (:meth:`summary`).
        """
        path = self.record_path(name, evaluated)
        if not path.exists():
            others = ", ".join(sorted(p.name for p in path.parent.glob(f"{evaluated}-*.parquet")))
            beside = f" (there are, made with other settings: {others})" if others else ""
            raise records.RecordError(
                f"no {evaluated} record of {name} under these settings: {path} is missing{beside}. "
                "Run the notebook that makes it, or call evaluate()"
            )
        return records.read_record(path)

    def has_record(self, name: str, evaluated: str) -> bool:
        """Whether a record is there under these settings, as :meth:`record` needs it."""
        return self.record_path(name, evaluated).exists()

    def randomization(self, name: str) -> dict[str, Any]:
        """How a model's saliency maps change as its layers are made random, as stored."""
        return records.read_json(self.document(name, self.randomization_inputs(name)))

    def randomization_inputs(self, name: str) -> dict[str, Any]:
        """What decides the randomization check of a model, for its key."""
        return {
            "evaluation": "randomization",
            "weights": self.summary(name)["weights"]["best"],
            "data": self.test_inputs,
            "n": self.settings.faithfulness.randomized_n,
            "seed": self.seed,
        } | evaluations.added_methods(self.settings)

    def document(self, name: str, inputs: Mapping[str, Any]) -> Path:
        """Where a document about a model lies, or will, such as its reliability report."""
        file = f"{inputs['evaluation']}-{records.key(**inputs)}.json"
        return self.directory / "records" / name / file

    def _remembered(self, what: Any, make: Callable[[], Any]) -> Any:
        """A value that stays, unless files of one's own or added functions may change meanwhile."""
        if self.settings.masks.own is not None or any(extensions.ADDED.values()):
            return make()
        if what not in self._known:
            self._known[what] = make()
        return self._known[what]


class AbstractRun(Results):
    """What a module that makes a part of a run may use of :class:`rslib.run.run.Run`."""

    device: torch.device
    progress: bool
    tell: Callable[[str], None] | None
    data: Callable[[str], Dataset]
    build: Callable[[str], nn.Module]
    trained: Callable[[str], nn.Module]
    lock: Callable[[Path], AbstractContextManager[None]]


AnyRun = TypeVar("AnyRun", bound=Results)


def shortcut_runs(run: AnyRun) -> tuple[AnyRun, AnyRun]:
    """The shortcut experiment's runs (ours): Shapes whose backgrounds give the class away, or not.

    The models of both are the same, trained with the correlation; in the second, backgrounds of the
    test images do not follow the class.
    """
    chosen = run.settings.alignment
    shapes = {
        "name": "shapes",
        "train_size": chosen.shortcut_images,
        "validation_size": chosen.shortcut_images // 8,
        "test_size": chosen.shortcut_images // 4,
        "background_correlation": chosen.shortcut_correlation,
    }
    tied = run.under({"data": shapes, "masks": {"sources": ["exact"], "own": None}})
    return tied, tied.under({"data": {"test_background_correlation": 0.0}})


def on_shapes(run: AnyRun) -> AnyRun:
    """The same on Shapes, whose exact masks judge a teacher's; the run itself where it is there."""
    if run.settings.data.name == "shapes":
        return run
    n = run.settings.alignment.shortcut_images
    shapes = {"name": "shapes", "train_size": n, "validation_size": n // 8, "test_size": n // 4}
    return run.under({"data": shapes, "masks": {"sources": list(TEACHERS), "own": None}})


def _mask_error(why: str) -> Exception:
    from rslib.saliency import MaskError  # which imports torch

    return MaskError(why)
