"""One run: settings and a seed, the folder they write to, and load-or-make access to its results.

``runs/<profile>/seed<k>/`` holds ``models``, ``records``, ``tables`` and ``executed``. Everything
in it is named by the key of what made it (:mod:`rslib.records`), so changed settings make new
results beside the old ones and nothing stale is ever used.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from rslib import data, device, evaluation, models, records, training
from rslib.records import RecordError
from rslib.settings import PROJECT, Recipe, Settings
from rslib.training import checkpoint

if TYPE_CHECKING:
    import pandas as pd

EVALUATIONS = ("clean", "fgsm", "pgd")
STRICT_REPEAT = 256


class Run:
    """Settings and a seed, and everything made from them.

    Args:
        settings: from :func:`rslib.settings.load`.
        seed: of initialization, data order, augmentation and attacks; the data and its splits are
            the same for every seed.
        root: folder of all runs; the environment variable ``RSLIB_RUNS`` or ``runs/`` by default.
        progress: whether long work shows progress bars.
    """

    def __init__(
        self, settings: Settings, seed: int = 0, *, root: Path | None = None, progress: bool = True
    ) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed must be a whole number from 0, not {seed!r}")
        self.settings = settings
        self.seed = seed
        self.progress = progress
        self._data: dict[str, data.Dataset] = {}
        root = Path(root or os.environ.get("RSLIB_RUNS") or PROJECT / "runs")
        self.directory = root / settings.profile / f"seed{seed}"

    @functools.cached_property
    def device(self) -> torch.device:
        """The device everything of this run is computed on."""
        return device.pick(self.settings.device)

    # Data

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
        if chosen.name == "cifar10":
            return data.load("cifar10", split)
        sized = {} if size is None else {"n": size}
        return data.load(
            "shapes", split, background_correlation=chosen.background_correlation, **sized
        )

    @staticmethod
    def _cut(dataset: data.Dataset, size: int | None) -> data.Dataset:
        return dataset if size is None else data.balanced_subset(dataset, size)

    # Models

    def build(self, name: str) -> nn.Module:
        """An untrained model; ``name`` is ``<architecture>-<objective>``.

        Its initial weights depend on the seed and the architecture alone.
        """
        architecture, _ = _split(name)
        size = getattr(self.settings, architecture).model_dump()
        with torch.random.fork_rng():
            torch.manual_seed(int(records.key(seed=self.seed, initialize=architecture), 16))
            model = models.build(architecture, **size)
        return device.place(model, self.device)

    def trained(self, name: str) -> nn.Module:
        """The trained model, in eval mode, with the weights of its best validation epoch.

        Trains it first, or goes on with its training, where that has not been done.
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
            RecordError: it has not been trained with these settings.
        """
        path = self._model_folder(name) / "model.json"
        if not path.exists():
            raise RecordError(
                f"{name} has not been trained with these settings (no {path}): "
                "run notebook 01 first, or call trained()"
            )
        return records.read_json(path)

    def _ensure_trained(self, name: str) -> None:
        folder = self._model_folder(name)
        with self._lock(folder):
            if not (folder / "model.json").exists():
                self._train(name, folder)

    def _train(self, name: str, folder: Path) -> None:
        architecture, objective = _split(name)
        recipe = self.recipe(name)
        model = self.build(name)
        augment = data.Augment(flip=recipe.flip, padding=recipe.padding)
        state = training.fit(
            model,
            training.Standard(label_smoothing=recipe.label_smoothing),
            data.Batches(
                self.data("train"),
                recipe.batch_size,
                device=self.device,
                shuffle=True,
                augment=augment,
                seed=self.seed,
                channels_last=True,
            ),
            data.Batches(
                self.data("validation"),
                self.settings.evaluation.batch_size,
                device=self.device,
                channels_last=True,
            ),
            recipe,
            seed=self.seed,
            checkpoint_path=folder / "checkpoint.safetensors",
            key=folder.name.rpartition("-")[2],
            name=name,
            progress=self.progress,
        )
        weights = {"best": state.best, "last": checkpoint.weights_of(model)}
        digests = {}
        for kind, tensors in weights.items():
            path = folder / f"{kind}.safetensors"
            checkpoint.save_weights(path, tensors, {"model": name, "kind": kind})
            digests[kind] = records.file_digest(path)
        accuracies = [row["validation_accuracy"] for row in state.history]
        # Written last: its presence is what says that the training is complete.
        records.write_json(
            folder / "model.json",
            {
                "name": name,
                "architecture": architecture,
                "objective": objective,
                "inputs": self._model_inputs(name),
                "recipe": recipe.model_dump(),
                "seed": self.seed,
                "data": {split: self.data(split).fingerprint for split in ("train", "validation")},
                "train_images": len(self.data("train")),
                "weights": digests,
                "parameters": models.count_parameters(model),
                "best_epoch": accuracies.index(max(accuracies)) + 1,
                "seconds": sum(row["seconds"] for row in state.history),
                "history": state.history,
                "provenance": records.provenance(self.device),
            },
        )
        (folder / "checkpoint.safetensors").unlink()
        (folder / "checkpoint.json").unlink(missing_ok=True)

    def recipe(self, name: str) -> Recipe:
        """How a model is trained under these settings."""
        architecture, objective = _split(name)
        return getattr(getattr(self.settings.training, objective), architecture)

    def _model_inputs(self, name: str) -> dict[str, Any]:
        architecture, _ = _split(name)
        chosen = self.settings.data.model_dump(exclude_defaults=True, exclude={"test_size"})
        return {
            "model": name,
            "architecture": getattr(self.settings, architecture).model_dump(exclude_defaults=True),
            "recipe": self.recipe(name).model_dump(exclude_defaults=True),
            "data": chosen,
            "seed": self.seed,
        }

    def _model_folder(self, name: str) -> Path:
        return self.directory / "models" / f"{name}-{records.key(**self._model_inputs(name))}"

    # Records

    def evaluate(self, name: str, evaluated: str) -> pd.DataFrame:
        """The per-image record of a model under ``"clean"``, ``"fgsm"`` or ``"pgd"``.

        Made first where it is not there; see :mod:`rslib.evaluation` for the columns.
        """
        self._ensure_trained(name)
        path = self._record_path(name, evaluated)
        with self._lock(path):
            if not path.exists():
                self._evaluate(name, evaluated, path)
        frame = self.record(name, evaluated)
        dataset = self._evaluation_data(evaluated)
        if frame.attrs["data"] != dataset.fingerprint:
            raise RecordError(
                f"{path} was made from other images than {self.settings.data.name} gives now: "
                "delete it to have it made again"
            )
        return frame

    def record(self, name: str, evaluated: str) -> pd.DataFrame:
        """A per-image record that is already there; needs neither model weights nor images.

        Raises:
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

    def _evaluate(self, name: str, evaluated: str, path: Path) -> None:
        model = self.trained(name)
        dataset = self._evaluation_data(evaluated)
        parts = path.with_suffix(".parts")
        frame, seconds = evaluation.in_shards(
            model,
            dataset,
            self._evaluator(evaluated),
            batch_size=self.settings.evaluation.batch_size,
            device=self.device,
            seed=self.seed,
            parts=parts,
            name=f"{name} {evaluated}",
            progress=self.progress,
        )
        metadata = {
            "model": name,
            "evaluation": evaluated,
            "inputs": self._record_inputs(name, evaluated),
            "profile": self.settings.profile,
            "seed": self.seed,
            "n": len(frame),
            "data": dataset.fingerprint,
            "seconds": seconds,
            "provenance": records.provenance(self.device),
        }
        if evaluated == "pgd" and self.settings.evaluation.tf32:
            few = data.balanced_subset(dataset, min(STRICT_REPEAT, len(dataset)))
            metadata["strict_fp32"] = evaluation.strict_repeat(
                model, few, self.settings.pgd, device=self.device, seed=self.seed
            )
        records.write_record(path, frame, metadata)
        evaluation.discard_parts(parts)

    def _evaluator(self, evaluated: str) -> evaluation.Evaluate:
        chosen = self.settings
        return {
            "clean": evaluation.clean,
            "fgsm": evaluation.under_fgsm(chosen.fgsm),
            "pgd": evaluation.under_pgd(chosen.pgd, allow_tf32=chosen.evaluation.tf32),
        }[evaluated]

    def _evaluation_data(self, evaluated: str) -> data.Dataset:
        n = None if evaluated == "clean" else getattr(self.settings, evaluated).n
        test = self.data("test")
        return test if n is None else data.balanced_subset(test, n)

    def _record_inputs(self, name: str, evaluated: str) -> dict[str, Any]:
        chosen = self.settings
        inputs: dict[str, Any] = {
            "evaluation": evaluated,
            "weights": self.summary(name)["weights"]["best"],
            "data": chosen.data.model_dump(exclude_defaults=True, exclude={"train_size"}),
            "batch_size": chosen.evaluation.batch_size,
            "seed": self.seed,
        }
        if evaluated != "clean":
            inputs["attack"] = getattr(chosen, evaluated).model_dump(exclude_defaults=True)
            inputs["tf32"] = chosen.evaluation.tf32
        return inputs

    def _record_path(self, name: str, evaluated: str) -> Path:
        if evaluated not in EVALUATIONS:
            raise ValueError(f"no evaluation {evaluated!r}; known: {', '.join(EVALUATIONS)}")
        made = records.key(**self._record_inputs(name, evaluated))
        return self.directory / "records" / name / f"{evaluated}-{made}.parquet"

    @contextlib.contextmanager
    def _lock(self, path: Path) -> Iterator[None]:
        """Let one process make a result; others wait for it and then read it."""
        lock = self.directory / "locks" / f"{path.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        waiting = FileLock(lock)
        try:
            waiting.acquire(timeout=0)
        except Timeout:
            if self.progress:
                print(f"waiting: another run is making {path.name} ({lock} is held)")
            waiting.acquire()
        try:
            yield
        finally:
            waiting.release()


def _split(name: str) -> tuple[str, str]:
    architecture, _, objective = name.partition("-")
    known = tuple(training_objectives())
    if architecture not in models.BUILDERS or objective not in known:
        raise ValueError(
            f"no model {name!r}: names are <architecture>-<objective> with architectures "
            f"{', '.join(models.BUILDERS)} and objectives {', '.join(known)}"
        )
    return architecture, objective


def training_objectives() -> list[str]:
    """Names of the training objectives that the settings know."""
    return list(type(Settings().training).model_fields)
