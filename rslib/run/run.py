"""One run: the results of settings and a seed, made where they are missing."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from rslib import attacks, data, models
from rslib.corruptions import cifar10c
from rslib.data import cifar10h
from rslib.models import determinism, device, memory
from rslib.run import evaluations, explanations, object_masks, predictions, shards, trainer
from rslib.run.progress import from_environment
from rslib.run.provenance import provenance
from rslib.run.results import AbstractRun
from rslib.settings import extensions
from rslib.settings.schema import Settings
from rslib.store import locks, records
from rslib.training import checkpoint
from rslib.training.plan import alignment

if TYPE_CHECKING:
    import pandas as pd


class Run(AbstractRun):
    """Settings and a seed, and everything made from them: read, or made where it is missing.

    Arguments beside those of :class:`rslib.run.results.Results` are ``progress`` (whether long work
    shows progress bars) and ``tell``, which is given a line after each epoch; by default it is
    :func:`rslib.run.progress.from_environment`.
    """

    def __init__(
        self,
        settings: Settings,
        seed: int = 0,
        *,
        progress: bool = True,
        tell: Callable[[str], None] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings, seed, **options)
        self.progress = progress
        self.tell = tell or from_environment()
        self._data: dict[str, data.Dataset] = {}

    def _like(self, settings: Settings, seed: int, **options: Any) -> Self:
        made = super()._like(settings, seed, progress=self.progress, tell=self.tell, **options)
        if settings is self.settings:
            made._data = self._data  # the same whatever the seed
        return made

    @functools.cached_property
    def device(self) -> torch.device:
        """The device everything of this run is computed on."""
        return device.pick(self.settings.device)

    def data(self, split: str) -> data.Dataset:
        """The images of ``"train"``, ``"validation"`` or ``"test"``, cut to the settings' sizes."""
        if split not in self._data:
            self._data[split] = self._select(split)
        return self._data[split]

    def _select(self, split: str) -> data.Dataset:
        chosen = self.settings.data
        if split == "test":
            return _cut(self._load("test", chosen.test_size), chosen.test_size)
        if split not in {"train", "validation"}:
            raise ValueError(f"split must be 'train', 'validation' or 'test', not {split!r}")
        wanted = chosen.train_size and chosen.train_size + chosen.validation_size
        whole = self._load("train", wanted)
        train, validation = data.split_validation(whole, size=chosen.validation_size)
        return validation if split == "validation" else _cut(train, chosen.train_size)

    def _load(self, split: str, size: int | None) -> data.Dataset:
        chosen = self.settings.data
        if chosen.name != "shapes":
            return data.load(chosen.name, split)
        options = {"background_correlation": chosen.background_correlation}
        if split == "test" and chosen.test_background_correlation is not None:
            options["background_correlation"] = chosen.test_background_correlation
        if size is not None:
            options["n"] = size
        return data.load("shapes", split, **options)

    def evaluated_images(self, evaluated: str) -> data.Dataset:
        """The test images that an evaluation is made on: class-balanced, fewer within more."""
        section = evaluations.find(evaluated).section
        n = None if section is None else getattr(getattr(self.settings, section), "n", None)
        return _cut(self.data("test"), n)

    def corrupted(self) -> cifar10c.Corrupted:
        """The test images of the corruption evaluation, in all their corrupted versions."""
        chosen = self.settings.corruptions
        clean = self.evaluated_images("corruptions")
        return cifar10c.load(clean, official=chosen.official, seed=chosen.seed)

    def build(self, name: str) -> nn.Module:
        """An untrained model; ``name`` is ``<architecture>-<objective>``.

        Initial weights depend on seed and architecture alone; teachers' masks judge the others, so
        these start from weights of their own.
        """
        planned = self.plan(name)
        architecture, aligned = planned.architecture, alignment(planned)
        start = architecture if planned.half is None else f"teacher {architecture}"
        with torch.random.fork_rng():
            torch.manual_seed(int(records.key(seed=self.seed, initialize=start), 16))
            size = planned.size.model_dump()
            model = models.build(architecture, num_classes=len(self.classes), **size)
            if aligned is not None:
                aligned.prepare(model)
        return device.place(model, self.device)

    def trained(self, name: str) -> nn.Module:
        """The trained model, in eval mode, with the weights of its best validation epoch.

        Trains it first, or goes on with its training, where that has not been done, and under the
        seeds that follow (:attr:`followers`). RecordError where it was made from something else.
        """
        self._ensure_trained(name)
        path = self.model_folder(name) / "best.safetensors"
        if (why := self._unusable(name, path)) is not None:
            raise records.RecordError(f"{why}: delete {path.parent} to train again")
        model = self.build(name)
        checkpoint.load_weights(path, model)
        return model.eval()

    def _unusable(self, name: str, path: Path) -> str | None:
        summary = self.summary(name)
        for split, fingerprint in summary["data"].items():
            if self.data(split).fingerprint != fingerprint:
                now = f"{self.settings.data.name} gives now"
                return f"{path.parent} was trained on other {split} images than {now}"
        parent = summary.get("parent")
        if parent and self.summary(parent)["weights"]["best"] != summary["parent_weights"]:
            return f"{path.parent} was trained from other weights than {parent} has now"
        if not path.exists():
            return f"the weights of {name} are not in {path.parent}, only what is known of them"
        if records.file_digest(path) != summary["weights"]["best"]:
            return f"{path} is not the file its model.json describes"
        return None

    def _ensure_trained(self, name: str) -> None:
        folder = self.model_folder(name)
        summary = folder / "model.json"
        with self.lock(summary, scratch=("checkpoint.*", ".*.tmp")):
            if not summary.exists():
                trainer.train(self, name, folder, self.model_inputs(name))
        for each in self.followers:
            if each.has(name):
                each._ensure_trained(name)

    def evaluate(self, name: str, evaluated: str) -> pd.DataFrame:
        """The per-image record of a model under an evaluation (:mod:`rslib.run.evaluations`).

        Made first where it is not there, with ``"corruptions"`` that of added ones as well; columns
        are those of :mod:`rslib.run.predictions` and :mod:`rslib.run.explanations`.
        """
        return self.evaluate_together([name], evaluated)[name]

    def evaluate_together(self, names: Sequence[str], evaluated: str) -> dict[str, pd.DataFrame]:
        """The records of several models under one evaluation, made side by side where missing.

        What they share, such as corrupted images, is made once. The same is made under the seeds
        that follow (:attr:`followers`).
        """
        if not names:
            return {}
        judges = filter(self.has, evaluations.find(evaluated).judges)
        for name in dict.fromkeys([*names, *judges]):
            self._ensure_trained(name)
        paths = {name: self.record_path(name, evaluated) for name in names}
        with contextlib.ExitStack() as stack:
            # In one order whatever the models', so that two processes cannot wait for each other.
            for path in sorted(paths.values()):
                stack.enter_context(self.lock(path))
            missing = {name: path for name, path in paths.items() if not path.exists()}
            if missing:
                self._evaluate(missing, evaluated)
        images = self.evaluated_images(evaluated)
        frames = {name: self._checked(name, evaluated, images) for name in names}
        if evaluated == "corruptions" and extensions.ADDED["corruption"]:
            self.evaluate_together(names, "added_corruptions")
        for each in self.followers:
            each.evaluate_together(list(filter(each.has, names)), evaluated)
        return frames

    def _checked(self, name: str, evaluated: str, images: data.Dataset) -> pd.DataFrame:
        """A record, if it was made from these images."""
        frame, path = self.record(name, evaluated), self.record_path(name, evaluated)
        if frame.attrs["data"] != images.fingerprint:
            raise records.RecordError(
                f"{path} was made from other images than {self.settings.data.name} gives now: "
                "delete it to have it made again"
            )
        for what, now in self._beside(evaluated).items():
            made = frame.attrs.get(what, now)
            differ = [key for key in {*made, *now} if made.get(key) != now.get(key)]
            told = ", ".join(f"{key} {made.get(key)!r}, now {now.get(key)!r}" for key in differ)
            if differ:
                called, way_out = _BESIDE[what]
                raise records.RecordError(
                    f"{path} was made from other {called} ({told}): {way_out}, or delete it to "
                    "have it made again"
                )
        return frame

    def _beside(self, evaluated: str) -> dict[str, dict[str, Any]]:
        """What, beside the images, decides a record and is in no key."""
        if evaluated in ("corruptions", "added_corruptions"):
            return {"corrupted": self.corrupted().identity}
        counts = cifar10h.find() if evaluated == "human" else None
        return {} if counts is None else {"people": {"digest": records.known_digest(counts)}}

    def _evaluate(self, paths: Mapping[str, Path], evaluated: str) -> None:
        """Make the records of some models and put each at its path."""
        trained = {name: self.trained(name) for name in paths}
        dataset = self.evaluated_images(evaluated)
        parts = {name: path.with_suffix(".parts") for name, path in paths.items()}
        with determinism.reported() as reported:
            made = shards.in_shards(
                trained,
                dataset,
                self.evaluator(evaluated),
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
                "inputs": self.record_inputs(name, evaluated),
                "profile": self.settings.profile,
                "seed": self.seed,
                "n": len(frame),
                "data": dataset.fingerprint,
                **about,
                "provenance": provenance(self.device, reported),
                **self._beside(evaluated),
            }
            if evaluated == "pgd" and self.settings.evaluation.tf32:
                metadata["strict_fp32"] = predictions.strict_repeat(self, trained[name], dataset)
            records.write_record(paths[name], frame, metadata)
            shards.discard_parts(parts[name])

    def evaluator(self, evaluated: str) -> shards.Evaluate:
        """The function that fills shards, with this run's settings, masks and device."""
        found, chosen = evaluations.find(evaluated), self.settings
        masks = found.masks
        size, tf32 = chosen.evaluation.batch_size, chosen.evaluation.tf32
        twins = attacks.Twins(size if chosen.evaluation.compile else None)

        def known(source: str = self.mask_source) -> explanations.Known:
            return explanations.Known(self.data("test"), object_masks.of(self, source, "test"))

        makers: dict[str, Callable[[], shards.Evaluate]] = {
            "clean": lambda: predictions.clean,
            "fgsm": lambda: predictions.under_fgsm(chosen.fgsm, allow_tf32=tf32),
            "pgd": lambda: predictions.under_pgd(chosen.pgd, twins, allow_tf32=tf32),
            "budgets": lambda: predictions.at_budgets(
                chosen.budgets, chosen.pgd, twins, allow_tf32=tf32
            ),
            "transfer": lambda: predictions.transferred(
                {each: self.trained(each) for each in filter(self.has, found.judges)},
                chosen.pgd,
                twins,
                allow_tf32=tf32,
            ),
            "autoattack": lambda: predictions.under_autoattack(
                chosen.autoattack, chosen.pgd, twins, seed=self.seed, allow_tf32=tf32
            ),
            "smoothing": lambda: predictions.certified(chosen.smoothing, allow_tf32=tf32),
            "corruptions": lambda: predictions.UnderCorruptions(self.corrupted()),
            "added_corruptions": lambda: predictions.UnderCorruptions(
                self.corrupted(), tuple(extensions.ADDED["corruption"])
            ),
            "saliency": lambda: explanations.overlap({s: known(s) for s in self.mask_sources}),
            "faithfulness": lambda: explanations.faithfulness(
                known(), steps=chosen.faithfulness.steps
            ),
            "attacked_saliency": lambda: explanations.under_attack(chosen.pgd, known()),
            "swapped": lambda: explanations.swapped(known()),
            "human": lambda: explanations.agreement(cifar10h.load()),
        }
        if evaluated not in makers:
            return predictions.under_attack(extensions.ADDED["attack"][evaluated], chosen.pgd)
        made = makers[evaluated]()
        return made if masks is None else memory.refusing("evaluation.batch_size", size)(made)

    def randomization(self, name: str) -> dict[str, Any]:
        """What :func:`rslib.run.explanations.randomize` finds of a model, made where missing."""
        self._ensure_trained(name)
        inputs = self.randomization_inputs(name)
        return self._made(name, inputs, lambda: explanations.randomize(self, name))

    def reliability(self, name: str) -> dict[str, Any]:
        """The document of a model's reliability report (:meth:`examine`), made where missing."""
        self._ensure_trained(name)
        inputs = self.reliability_inputs(name)
        return self._made(
            name, inputs, lambda: self.examine(self.trained(name), known=name).to_dict()
        )

    def reliability_inputs(self, name: str) -> dict[str, Any]:
        """What decides the reliability report on a model, for its key."""
        chosen = self.settings
        left = self._left_by_autoattack(name)
        return {
            "evaluation": "reliability",
            "weights": self.summary(name)["weights"]["best"],
            "data": self.test_inputs,
            "settings": chosen.reliability.model_dump(exclude_defaults=True),
            "eps": chosen.pgd.eps,
            "norm": chosen.pgd.norm,
            "autoattack": None if left is None else self.record(name, "autoattack").attrs["inputs"],
            "seed": self.seed,
        }

    def examine(self, model: nn.Module, *, known: str | None = None) -> attacks.Report:
        """Put a model of any origin through :func:`rslib.attacks.reliability`, with these settings.

        Where ``known`` names it as a model of this run, what AutoAttack left of these images is
        compared, if its record covers them.
        """
        pgd, examined = self.settings.pgd, self._examined()
        (batch,) = data.Batches(examined, len(examined), device=self.device)
        options = self.settings.reliability.model_dump(exclude={"n"})
        options |= {"eps": pgd.eps_unit, "norm": pgd.norm, "seed": self.seed}
        if known is not None:
            options["autoattack_correct"] = self._left_by_autoattack(known)
        return attacks.reliability(model, batch.x, batch.y, **options)

    def _examined(self) -> data.Dataset:
        """The test images of the verdict: class-balanced, and nested in those of the attacks."""
        test = self.data("test")
        return data.balanced_subset(test, min(self.settings.reliability.n, len(test)))

    def _left_by_autoattack(self, name: str) -> torch.Tensor | None:
        """Which of those images the model gets right under AutoAttack, where that is known."""
        pgd = self.settings.pgd
        same = self.settings.autoattack.eps == pgd.eps and pgd.norm == "linf"
        wanted = self._examined().ids.tolist()
        if not same or not self.has_record(name, "autoattack"):
            return None
        correct = self.record(name, "autoattack").set_index("image")["correct"]
        if not set(wanted) <= set(correct.index):
            return None
        return torch.from_numpy(correct.loc[wanted].to_numpy(copy=True))

    def _made(
        self, name: str, inputs: Mapping[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """A document about a model, made first where it is not there."""
        path = self.document(name, inputs)
        with self.lock(path):
            if not path.exists():
                about = {"model": name, "inputs": inputs, "seed": self.seed}
                records.write_json(path, make() | about | {"provenance": provenance(self.device)})
        return records.read_json(path)

    @contextlib.contextmanager
    def lock(self, result: Path, *, scratch: Sequence[str] | None = None) -> Iterator[None]:
        """Let one process make a result; others wait for it and then read it.

        A result that is there needs no lock, so a run can be read where nothing can be written.

        The result is a file in this run's folder, the last to be written of what belongs to it.
        ``scratch`` holds patterns, in its folder, of what goes once it is there; what a killed
        process left half written (``.tmp``) goes at once. By default its shards and itself.

        Raises:
            RecordError: it is not there and cannot be made here, or what is left cannot be removed.
        """
        patterns = scratch or (f"{result.stem}.parts", f".{result.name}.*.tmp")
        if result.exists() and not _left(result, patterns):
            yield
            return
        name = "-".join(result.relative_to(self.directory).parts[1:])
        with locks.held(self.directory / "locks" / f"{name}.lock", name, tell=self.progress):
            for path in _left(result, patterns):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield


# Of :meth:`Run._beside`: its name, and a way out.
_BESIDE = {
    "corrupted": ("corrupted images", "set corruptions.official to say which are meant"),
    "people": ("counts of people's choices", "put the file that it was made from there"),
}


def _cut(dataset: data.Dataset, size: int | None) -> data.Dataset:
    return dataset if size is None else data.balanced_subset(dataset, size)


def _left(result: Path, patterns: Sequence[str]) -> list[Path]:
    """What a killed process left of the making of a result, nobody needs, and can be removed."""
    if not os.access(result.parent, os.W_OK):
        return []
    found = [path for pattern in patterns for path in result.parent.glob(pattern)]
    return found if result.exists() else [path for path in found if path.suffix == ".tmp"]
