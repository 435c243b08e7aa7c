"""One run: settings and a seed, the folder they write to, and load-or-make access to its results.

``runs/<profile>/seed<k>/`` holds ``models``, ``records``, ``tables`` and ``executed``. Everything
in it is named by the key of what made it (:mod:`rslib.store.records`), so changed settings make new
results beside the old ones and nothing stale is ever used.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from rslib import attacks, data, models
from rslib.attacks import Report
from rslib.corruptions import ADDED, cifar10c
from rslib.corruptions.cifar10c import Corrupted
from rslib.models import determinism, device
from rslib.run import evaluation, examination, explanations, object_masks, trainer
from rslib.run.progress import from_environment
from rslib.run.provenance import provenance
from rslib.settings import PROJECT, derive
from rslib.settings.schema import AlignedTraining, Recipe, Settings
from rslib.store import locks, records
from rslib.store.records import NotSeeded, RecordError
from rslib.training import checkpoint
from rslib.training.plan import plan

if TYPE_CHECKING:
    import pandas as pd

EVALUATIONS = (
    "clean",
    "fgsm",
    "pgd",
    "autoattack",
    "smoothing",
    "corruptions",
    "added_corruptions",
    *explanations.EVALUATIONS,
)
"""What a model can be put through; an added attack is one more."""

STRICT_REPEAT = 256


class Run:
    """Settings and a seed, and everything made from them.

    Args:
        settings: from :func:`rslib.settings.load`.
        seed: of initialization, data order, augmentation and attacks; the data and its splits are
            the same for every seed.
        seeds: that tables and figures are to speak of beside this one; see :attr:`siblings`.
        further: whether this is another run's further seed, which has the models that the setting
            ``seeded`` names (:meth:`has`).
        root: folder of all runs; the environment variable ``RSLIB_RUNS`` or ``runs/`` by default.
        progress: whether long work shows progress bars.
        tell: given a line after each epoch of a training; by default what
            :func:`rslib.run.progress.from_environment` gives.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        *,
        seeds: Sequence[int] = (),
        further: bool = False,
        root: Path | None = None,
        progress: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        for each in (seed, *seeds):
            # Torch's generators take no larger one.
            whole = isinstance(each, int) and not isinstance(each, bool)
            if not whole or not 0 <= each < 2**63:
                raise ValueError(f"seed must be a whole number from 0, below 2^63, not {each!r}")
        self.settings = settings
        self.seed = seed
        self.seeds = tuple(sorted({seed, *seeds}))
        self.further = further
        self.progress = progress
        self.tell = tell or from_environment()
        self._data: dict[str, data.Dataset] = {}
        root = Path(root or os.environ.get("RSLIB_RUNS") or PROJECT / "runs")
        self.directory = root / settings.profile / f"seed{seed}"

    @functools.cached_property
    def device(self) -> torch.device:
        """The device everything of this run is computed on."""
        return device.pick(self.settings.device)

    def under(self, overrides: Mapping[str, Any]) -> Run:
        """The same run with settings laid over its own, such as ``{"data": {"name": "shapes"}}``.

        Raises:
            SettingsError: the result is not valid.
        """
        derived = Run(
            derive(self.settings, overrides),
            self.seed,
            seeds=self.seeds,
            further=self.further,
            root=self.directory.parents[1],
            progress=self.progress,
            tell=self.tell,
        )
        return derived

    @functools.cached_property
    def siblings(self) -> tuple[Run, ...]:
        """The same settings under the other seeds, for reading; each stands alone."""
        others = (seed for seed in self.seeds if seed != self.seed)
        return tuple(self._alone(seed, further=True) for seed in others)

    @property
    def followers(self) -> tuple[Run, ...]:
        """The siblings without notebooks of their own: what this run makes, it makes for them, too.

        All, where the setting ``seeded`` names the models that they have; otherwise none.
        """
        return () if self.settings.seeded is None else self.siblings

    @property
    def alone(self) -> Run:
        """This run without siblings."""
        return self._alone(self.seed, further=self.further)

    def _alone(self, seed: int, *, further: bool) -> Run:
        made = Run(
            self.settings,
            seed,
            further=further,
            root=self.directory.parents[1],
            progress=self.progress,
            tell=self.tell,
        )
        made._data = self._data  # the same whatever the seed
        return made

    # Data

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, known without any file."""
        return data.classes(self.settings.data.name)

    def data(self, split: str) -> data.Dataset:
        """The images of ``"train"``, ``"validation"`` or ``"test"``, cut to the settings' sizes."""
        if split not in self._data:
            self._data[split] = self._select(split)
        return self._data[split]

    def _select(self, split: str) -> data.Dataset:
        chosen = self.settings.data
        if split == "test":
            return self._cut(self._load("test", chosen.test_size), chosen.test_size)
        if split not in {"train", "validation"}:
            raise ValueError(f"split must be 'train', 'validation' or 'test', not {split!r}")
        wanted = chosen.train_size and chosen.train_size + chosen.validation_size
        train, validation = data.split_validation(
            self._load("train", wanted), size=chosen.validation_size
        )
        return validation if split == "validation" else self._cut(train, chosen.train_size)

    def _load(self, split: str, size: int | None) -> data.Dataset:
        chosen = self.settings.data
        if chosen.name != "shapes":
            return data.load(chosen.name, split)
        sized = {} if size is None else {"n": size}
        correlation = chosen.background_correlation
        if split == "test" and chosen.test_background_correlation is not None:
            correlation = chosen.test_background_correlation
        return data.load("shapes", split, background_correlation=correlation, **sized)

    @staticmethod
    def _cut(dataset: data.Dataset, size: int | None) -> data.Dataset:
        return dataset if size is None else data.balanced_subset(dataset, size)

    # Models

    def has(self, name: str) -> bool:
        """Whether a model belongs to this run.

        Any does, unless this is a further seed and the setting ``seeded`` names models: then those
        do, and what they need (:func:`rslib.run.trainings.seeded`).

        Raises:
            ValueError: ``seeded`` names a model that no notebook trains.
        """
        return self._models is None or name in self._models

    @functools.cached_property
    def _models(self) -> frozenset[str] | None:
        if not self.further or self.settings.seeded is None:
            return None
        from rslib.run import trainings  # which knows notebooks, and through them this module

        return frozenset(trainings.seeded(self))

    def build(self, name: str) -> nn.Module:
        """An untrained model; ``name`` is ``<architecture>-<objective>``.

        Its initial weights depend on the seed and the architecture alone, but for the teachers':
        these are to judge the others' explanations, and start from weights of their own.
        """
        planned = plan(self.settings, name)
        architecture = planned.architecture
        size = planned.size.model_dump()
        with torch.random.fork_rng():
            start = architecture if planned.half is None else f"teacher {architecture}"
            torch.manual_seed(int(records.key(seed=self.seed, initialize=start), 16))
            model = models.build(architecture, num_classes=len(self.classes), **size)
            if planned.aligned is not None:
                planned.aligned.prepare(model)
        return device.place(model, self.device)

    def trained(self, name: str) -> nn.Module:
        """The trained model, in eval mode, with the weights of its best validation epoch.

        Trains it first, or goes on with its training, where that has not been done; and under the
        further seeds that follow (:attr:`followers`).
        """
        self._ensure_trained(name)
        folder = self._model_folder(name)
        summary = self.summary(name)
        for split, fingerprint in summary["data"].items():
            if self.data(split).fingerprint != fingerprint:
                raise RecordError(
                    f"{folder} was trained on other {split} images than {self.settings.data.name} "
                    "gives now: delete that folder to train again"
                )
        parent = summary.get("parent")
        if parent and self.summary(parent)["weights"]["best"] != summary["parent_weights"]:
            raise RecordError(
                f"{folder} was trained from other weights than {parent} has now: delete that "
                "folder to train again"
            )
        model = self.build(name)
        path = folder / "best.safetensors"
        if not path.exists():
            raise RecordError(
                f"the weights of {name} are not in {folder}, only what is known of them: "
                "delete that folder to train again"
            )
        if records.file_digest(path) != summary["weights"]["best"]:
            raise RecordError(
                f"{path} is not the file its model.json describes: delete {folder} to train again"
            )
        checkpoint.load_weights(path, model)
        return model.eval()

    def summary(self, name: str) -> dict[str, Any]:
        """What is known of a trained model: history, seconds, sizes, weights' digests, provenance.

        Raises:
            NotSeeded: this is a further seed, and it is not to have this model.
            RecordError: it has not been trained with these settings.
        """
        if not self.has(name):
            raise NotSeeded(
                f"{name} is not trained under seed {self.seed}: the setting seeded names "
                f"{', '.join(self.settings.seeded or [])}"
            )
        path = self._model_folder(name) / "model.json"
        if not path.exists():
            raise RecordError(
                f"{name} has not been trained with these settings (no {path}): "
                "run notebook 01 first, or call trained()"
            )
        return records.read_json(path)

    def weights_digest(self, name: str) -> str | None:
        """The SHA-256 digest of a model's weights, or None where it is not trained here."""
        path = self._model_folder(name) / "model.json"
        return records.read_json(path)["weights"]["best"] if path.exists() else None

    def _ensure_trained(self, name: str) -> None:
        folder = self._model_folder(name)
        summary = folder / "model.json"
        with self.lock(summary, scratch=("checkpoint.*", ".*.tmp")):
            if not summary.exists():
                trainer.train(self, name, folder, self.model_inputs(name))
        for each in self.followers:
            if each.has(name):
                each._ensure_trained(name)

    def recipe(self, name: str) -> Recipe:
        """How a model is trained under these settings."""
        return plan(self.settings, name).recipe

    def model_inputs(self, name: str) -> dict[str, Any]:
        """What decides a model's weights; its key is made of it."""
        planned = plan(self.settings, name)
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
        if self.settings.weights != "fp32":
            inputs["weights"] = self.settings.weights
        if planned.masks is not None:
            inputs["masks"] = object_masks.inputs(self, self.masks_of(planned.masks))
        return inputs

    def masks_of(self, section: AlignedTraining) -> str:
        """The kind of masks that aligned training uses (:data:`rslib.run.object_masks.SOURCES`)."""
        return section.masks or object_masks.default(self)

    def _model_folder(self, name: str) -> Path:
        return self.directory / "models" / f"{name}-{records.key(**self.model_inputs(name))}"

    # Records

    def evaluate(self, name: str, evaluated: str) -> pd.DataFrame:
        """The per-image record of a model under one of :data:`EVALUATIONS` or an added attack.

        Made first where it is not there; see :mod:`rslib.run.evaluation` for the columns. With
        ``"corruptions"``, the record of added ones is made as well.
        """
        return self.evaluate_together([name], evaluated)[name]

    def evaluate_together(self, names: Sequence[str], evaluated: str) -> dict[str, pd.DataFrame]:
        """The records of several models under one evaluation, made side by side where missing.

        What the models share is then made once: of the corruptions, the corrupted images. The same
        is made of the models that further seeds have (:attr:`followers`).
        """
        for name in names:
            self._ensure_trained(name)
        paths = {name: self._record_path(name, evaluated) for name in names}
        with contextlib.ExitStack() as stack:
            # In one order whatever the models', so that two processes cannot wait for each other.
            for path in sorted(paths.values()):
                stack.enter_context(self.lock(path))
            missing = {name: path for name, path in paths.items() if not path.exists()}
            if missing:
                self._evaluate(missing, evaluated)
        dataset = self._evaluation_data(evaluated)
        frames = {}
        for name, path in paths.items():
            frames[name] = frame = self.record(name, evaluated)
            if frame.attrs["data"] != dataset.fingerprint:
                raise RecordError(
                    f"{path} was made from other images than {self.settings.data.name} gives now: "
                    "delete it to have it made again"
                )
            if "corrupted" in frame.attrs:
                self._check_origin(path, frame.attrs["corrupted"])
        if evaluated == "corruptions" and ADDED:
            self.evaluate_together(names, "added_corruptions")
        for each in self.followers:
            theirs = [name for name in names if each.has(name)]
            if theirs:
                each.evaluate_together(theirs, evaluated)
        return frames

    def corrupted(self) -> Corrupted:
        """The test images of the corruption evaluation, in all their corrupted versions."""
        chosen = self.settings.corruptions
        return cifar10c.load(
            self._evaluation_data("corruptions"), official=chosen.official, seed=chosen.seed
        )

    def _check_origin(self, path: Path, made: Mapping[str, Any]) -> None:
        now = self.corrupted().identity
        differ = [key for key in {*made, *now} if made.get(key) != now.get(key)]
        if differ:
            told = ", ".join(f"{key} {made.get(key)!r}, now {now.get(key)!r}" for key in differ)
            raise RecordError(
                f"{path} was made from other corrupted images than there are now ({told}): set "
                "corruptions.official to say which are meant, or delete it to have it made again"
            )

    def record(self, name: str, evaluated: str) -> pd.DataFrame:
        """A per-image record that is already there; needs neither model weights nor images.

        Raises:
            NotSeeded: this is a further seed, and it is not to have this model.
            RecordError: it has not been made with these settings.
        """
        path = self._record_path(name, evaluated)
        if not path.exists():
            others = sorted(p.name for p in path.parent.glob(f"{evaluated}-*.parquet"))
            beside = f" (there are, made with other settings: {', '.join(others)})" * bool(others)
            raise RecordError(
                f"no {evaluated} record of {name} under these settings: {path} is missing{beside}. "
                "Run the notebook that makes it, or call evaluate()"
            )
        return records.read_record(path)

    def reliability(self, name: str) -> dict[str, Any]:
        """Whether this model's robustness numbers can be trusted: the report, as stored.

        Made first where it is not there; see :func:`rslib.attacks.reliability` for the checks. What
        AutoAttack left is among them where its record is there and covers the images examined.

        Returns:
            The report as a document, with ``checks``, ``passed`` and the provenance.
        """
        self._ensure_trained(name)
        inputs = examination.inputs(self, name)
        return self._document(
            name,
            "reliability",
            inputs,
            lambda: examination.examine(self, self.trained(name), known=name).to_dict(),
        )

    def randomization(self, name: str) -> dict[str, Any]:
        """How a model's saliency maps change as its layers are made random, as stored.

        Made first where it is not there; see :func:`rslib.run.explanations.randomize`.
        """
        self._ensure_trained(name)
        inputs = explanations.randomization_inputs(self, name)
        return self._document(
            name, "randomization", inputs, lambda: explanations.randomize(self, name)
        )

    def _document(
        self, name: str, kind: str, inputs: Mapping[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What is known of a model that is no table of images; made first where it is not there."""
        path = self.directory / "records" / name / f"{kind}-{records.key(**inputs)}.json"
        with self.lock(path):
            if not path.exists():
                made = {"model": name, "inputs": inputs, "seed": self.seed}
                made |= {"provenance": provenance(self.device)}
                records.write_json(path, make() | made)
        return records.read_json(path)

    def examine(self, model: nn.Module) -> Report:
        """Put a model of any origin through the reliability checks, with this run's settings."""
        return examination.examine(self, model)

    def has_record(self, name: str, evaluated: str) -> bool:
        """Whether a record is there under these settings."""
        return self._record_path(name, evaluated).exists()

    def _evaluate(self, paths: Mapping[str, Path], evaluated: str) -> None:
        """Make the records of some models and put each at its path."""
        trained = {name: self.trained(name) for name in paths}
        dataset = self._evaluation_data(evaluated)
        parts = {name: path.with_suffix(".parts") for name, path in paths.items()}
        with determinism.reported() as reported:
            made = evaluation.in_shards(
                trained,
                dataset,
                self._evaluator(evaluated),
                batch_size=self.settings.evaluation.batch_size,
                device=self.device,
                seed=self.seed,
                parts=parts,
                name=f"{', '.join(paths)}: {evaluated}",
                progress=self.progress,
            )
        for name, (frame, about) in made.items():
            metadata = {
                "model": name,
                "evaluation": evaluated,
                "inputs": self._record_inputs(name, evaluated),
                "profile": self.settings.profile,
                "seed": self.seed,
                "n": len(frame),
                "data": dataset.fingerprint,
                **about,
                "provenance": provenance(self.device, reported),
            }
            if evaluated in ("corruptions", "added_corruptions"):
                metadata["corrupted"] = self.corrupted().identity
            if evaluated == "pgd" and self.settings.evaluation.tf32:
                few = data.balanced_subset(dataset, min(STRICT_REPEAT, len(dataset)))
                metadata["strict_fp32"] = evaluation.strict_repeat(
                    trained[name], few, self.settings.pgd, device=self.device, seed=self.seed
                )
            records.write_record(paths[name], frame, metadata)
            evaluation.discard_parts(parts[name])

    def _evaluator(self, evaluated: str) -> evaluation.Evaluate:
        chosen, allowed = self.settings, self.settings.evaluation.tf32
        if evaluated in explanations.EVALUATIONS:
            return explanations.evaluator(self, evaluated)
        if evaluated in attacks.ADDED:
            return evaluation.under_attack(attacks.ADDED[evaluated], chosen.pgd)
        match evaluated:
            case "clean":
                return evaluation.clean
            case "fgsm":
                return evaluation.under_fgsm(chosen.fgsm, allow_tf32=allowed)
            case "pgd":
                return evaluation.under_pgd(chosen.pgd, self._twins(), allow_tf32=allowed)
            case "autoattack":
                return evaluation.under_autoattack(
                    chosen.autoattack,
                    chosen.pgd,
                    self._twins(),
                    seed=self.seed,
                    allow_tf32=allowed,
                )
            case "smoothing":
                return evaluation.certified(chosen.smoothing, allow_tf32=allowed)
            case "corruptions":
                return evaluation.UnderCorruptions(self.corrupted())
            case "added_corruptions":
                return evaluation.UnderCorruptions(self.corrupted(), tuple(ADDED))
        raise ValueError(f"no evaluation {evaluated!r}; known: {', '.join(_evaluations())}")

    def _twins(self) -> attacks.Twins:
        chosen = self.settings.evaluation
        return attacks.Twins(chosen.batch_size if chosen.compile else None)

    def _evaluation_data(self, evaluated: str) -> data.Dataset:
        n = getattr(self._section(evaluated), "n", None)
        test = self.data("test")
        return test if n is None else data.balanced_subset(test, n)

    def _section(self, evaluated: str) -> Any:
        """The settings of an evaluation, or None where it has none."""
        named = "pgd" if evaluated in attacks.ADDED else evaluated.removeprefix("added_")
        return getattr(self.settings, named, None)

    def _record_inputs(self, name: str, evaluated: str) -> dict[str, Any]:
        chosen = self.settings
        inputs: dict[str, Any] = {
            "evaluation": evaluated,
            "weights": self.summary(name)["weights"]["best"],
            "data": chosen.data.model_dump(exclude_defaults=True, exclude={"train_size"}),
            "batch_size": chosen.evaluation.batch_size,
            "seed": self.seed,
        }
        section = self._section(evaluated)
        if section is not None:
            inputs["attack"] = section.model_dump(exclude_defaults=True)
            inputs["tf32"] = chosen.evaluation.tf32
        if evaluated == "autoattack" and chosen.autoattack.skip_broken_by_pgd:
            inputs["pgd"] = chosen.pgd.model_dump(
                exclude_defaults=True, exclude={"n", "last_iterate"}
            )
        if evaluated == "added_corruptions":
            inputs["added"] = {key: records.source_digest(each) for key, each in ADDED.items()}
        if evaluated in attacks.ADDED:
            inputs["added"] = records.source_digest(attacks.ADDED[evaluated])
        if evaluated in explanations.EVALUATIONS:
            inputs |= explanations.inputs(self, evaluated)
        return inputs

    def _record_path(self, name: str, evaluated: str) -> Path:
        if evaluated not in _evaluations():
            raise ValueError(f"no evaluation {evaluated!r}; known: {', '.join(_evaluations())}")
        made = records.key(**self._record_inputs(name, evaluated))
        return self.directory / "records" / name / f"{evaluated}-{made}.parquet"

    @contextlib.contextmanager
    def lock(self, result: Path, *, scratch: Sequence[str] | None = None) -> Iterator[None]:
        """Let one process make a result; others wait for it and then read it.

        A result that is there needs no lock, so a run can be read where nothing can be written.

        Args:
            result: a file in this run's folder, last to be written of all that belongs to it.
            scratch: patterns, in its folder, of what goes once the result is there; files in the
                middle of being written (``.tmp``) go at once, since a killed process left them.
                By default its shards, and itself half written.

        Raises:
            RecordError: it is not there and cannot be made here, or what is left cannot be removed.
        """
        patterns = scratch or (f"{result.stem}.parts", f".{result.name}.*.tmp")
        if result.exists() and not _left(result, patterns):
            yield
            return
        name = "-".join(result.relative_to(self.directory).parts[1:])
        lock = self.directory / "locks" / f"{name}.lock"
        with locks.held(lock, name, tell=self.progress):
            for path in _left(result, patterns):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield


def _left(result: Path, patterns: Sequence[str]) -> list[Path]:
    """What a killed process left of the making of a result, nobody needs, and can be removed."""
    if not os.access(result.parent, os.W_OK):
        return []
    found = [path for pattern in patterns for path in result.parent.glob(pattern)]
    return found if result.exists() else [path for path in found if path.suffix == ".tmp"]


def _evaluations() -> tuple[str, ...]:
    return (*EVALUATIONS, *attacks.ADDED)
