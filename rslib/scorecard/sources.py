"""Where a model comes from: a module, timm, an import path, a file of weights, or the book itself.

=============================  =====================================================================
``timm:NAME``                  a model of timm, with random weights unless a file gives others
``package.module:factory``     what a function or class of your own returns
``FILE.safetensors``           weights, with the architecture they belong to
``resnet18-adversarial``       a model that the run has trained
=============================  =====================================================================
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import inspect
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rslib import models
from rslib.models import BUILDERS, Normalize, eval_mode
from rslib.models.checks import checked_logits, seeded_apart
from rslib.scorecard import weights as files
from rslib.scorecard.weights import SourceError, expanded
from rslib.store import records, text

if TYPE_CHECKING:
    from rslib.run import Run

TIMM = "timm:"
NORMALIZATIONS = {
    "cifar10": (models.CIFAR10_MEAN, models.CIFAR10_STD),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Means and standard deviations by the name of the data set."""

_SIZE = 32
# Of a file's name; systems allow 255 bytes, and a letter may take four.
_LONGEST = 60
# As in the reliability check of repeated logits.
_SAME_LOGITS = 1e-3


@dataclass(frozen=True)
class Source:
    """A model, of images (B, 3, H, W) in [0, 1] to logits, ready to be scored.

    ``known`` is its name in the run, if it is one of the book's; the other fields are those of
    :class:`rslib.scorecard.card.Model`.
    """

    model: nn.Module
    name: str
    kind: str
    reference: str
    architecture: str
    normalization: str = "none added"
    random_weights: bool = False
    known: str | None = None
    file: Path | None = None
    notes: tuple[str, ...] = ()

    def shown(self) -> Source:
        """The same with texts that a terminal shows as they are."""
        told = ("name", "kind", "reference", "architecture", "normalization")
        shown = {field: text.printable(getattr(self, field)) for field in told}
        return replace(self, **shown, notes=tuple(map(text.printable, self.notes)))


def load(
    reference: str | Path | nn.Module,
    *,
    run: Run,
    name: str | None = None,
    architecture: str | None = None,
    weights: str | Path | None = None,
    folder: str | Path | None = None,
    pretrained: bool = False,
    allow_pickle: bool = False,
    normalize: str | tuple[Sequence[float], Sequence[float]] | None = None,
) -> Source:
    """Find a model and make it ready.

    Args:
        reference: a module, or one of the forms that this module's text lists.
        run: gives the number of classes, the sizes of the book's architectures, the seed of random
            weights, and the book's own models.
        name: what to call it; None derives one from the reference.
        architecture: what a file of weights is put into: one of the book's (sized by the run's
            profile), ``timm:NAME`` or ``package.module:factory``.
        weights: a file of weights to put into the reference.
        folder: where an import path is looked for; None takes the current folder.
        pretrained: whether timm fetches its own weights, which needs a network.
        allow_pickle: whether :func:`rslib.scorecard.weights.read` may read a pickled file.
        normalize: a name of :data:`NORMALIZATIONS`, or (mean, std) of three numbers each, put
            before a network that expects normalized images.

    Raises:
        SourceError: it cannot be found, built or filled.
    """
    if isinstance(reference, nn.Module):
        kind = type(reference).__name__
        found = Source(reference, kind, "module", f"a {kind} in memory", kind)
    else:
        asked, into = str(reference), str(reference)
        file = Path(asked).suffix.lower() in (*files.SAFE, *files.PICKLED)
        if file and weights is not None:
            raise SourceError(f"two files of weights are given, {asked} and {weights}: give one")
        if file and architecture is None:
            forms = f"{', '.join(BUILDERS)}, timm:NAME or package.module:factory"
            raise SourceError(f"{asked} holds weights alone: name their --architecture ({forms})")
        if not file and architecture is not None:
            raise SourceError(f"--architecture goes with a file of weights, and {asked} is none")
        if file:
            weights, into = asked, architecture
        found = _build(into, run, folder, pretrained)
        if weights is not None:
            if found.known is not None:
                raise SourceError(f"{into} is a trained model of the run: it takes no weights")
            path = expanded(weights)
            tensors, notes = files.read(path, allow_pickle=allow_pickle)
            notes = (*found.notes, *notes, *files.fit(found.model, tensors, path))
            found = replace(found, random_weights=False, file=path, notes=notes)
        if file:
            called = file_name(Path(asked).stem, architecture)
            found = replace(found, name=called, kind="weights", reference=asked)
    if normalize is not None:
        found = _normalized(found, normalize)
    if found.random_weights:
        note = "RANDOM WEIGHTS: nothing was trained, and every number speaks of an untrained "
        note += "network. Give weights with --weights FILE"
        found = replace(found, notes=(note, *found.notes))
    return found if name is None else replace(found, name=name)


def check(source: Source, images: Tensor, classes: int) -> Source:
    """Run a few images, float (B, 3, H, W) in [0, 1], and refuse answers that cannot be scored.

    The source gets a note if the model's answers to the same images differ.

    Raises:
        SourceError: the model fails on such images, or does not return finite logits, one a class.
    """

    def answered() -> list[Tensor]:
        try:
            return [checked_logits(source.model, images).detach() for _ in range(2)]
        except (TypeError, ValueError) as error:
            told = text.reason(error, TypeError, ValueError)
            raise SourceError(f"{source.name} cannot be scored: {told}") from error
        except Exception as error:
            shape = ", ".join(map(str, images.shape[1:]))
            raise SourceError(
                f"{source.name} fails on images (B, {shape}) in [0, 1]: {text.reason(error)}. Wrap "
                "it in a module that takes such images, resizing them if it must"
            ) from error

    with eval_mode(source.model):
        try:
            with torch.no_grad():
                first, again = answered()
        except SourceError as error:
            first, again = answered()
            note = f"it answers only where gradients are recorded: {error}"
            source = replace(source, notes=(*source.notes, note))
    if first.shape[1] != classes:
        told = f"{source.name} returns {first.shape[1]} logits, but the data set has {classes} "
        raise SourceError(f"{told}classes: give it a head of that size, trained on them")
    scale = max(first.abs().max().item(), torch.finfo(first.dtype).tiny)
    if (first - again).abs().max().item() / scale <= _SAME_LOGITS:
        return source
    note = "the model's answers to the same images differ from one pass to the next, in eval mode: "
    note += "attacks on a randomized model are unreliable unless they average over its draws"
    return replace(source, notes=(*source.notes, note))


def digest(model: nn.Module) -> str:
    """SHA-256 (hex) of a module's printed structure and of all its weights and buffers.

    Raises:
        SourceError: the module cannot be printed, or does not give its weights.
    """
    try:
        structure, state = repr(model).encode("utf-8", "surrogatepass"), model.state_dict()
    except Exception as error:
        told = f"the {type(model).__name__} gives no structure and weights ({text.reason(error)})"
        raise SourceError(f"{told}: its repr and its state_dict must work") from error
    found = hashlib.sha256(structure)
    for name, value in state.items():
        if isinstance(value, Tensor):
            found.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
            # NumPy has no bfloat16: bytes are taken as they lie.
            plain = value.detach().cpu().contiguous().reshape(-1)
            found.update(plain.view(torch.uint8).numpy() if plain.numel() else b"")
    return found.hexdigest()


def behavior(model: nn.Module, images: Tensor) -> str | None:
    """Key of a module's weights, code and answers; None where its code cannot be told from other's.

    Answers to a few images show what neither its weights nor its code tell, such as its options.
    """
    try:
        code = sorted({records.source_digest(type(module)) for module in model.modules()})
        with eval_mode(model), torch.no_grad(), seeded_apart(0):
            answers = model(images).float().cpu().numpy().tobytes()
    except Exception:
        return None
    answered = hashlib.sha256(answers).hexdigest()
    return records.key(digest=digest(model), code=code, answers=answered)


def file_name(*parts: str) -> str:
    """A name for files: letters, digits, dots and dashes of what a model is called."""
    name = "-".join("".join(c if c.isalnum() or c in "._-@=," else "-" for c in p) for p in parts)
    return name.strip("-.")[:_LONGEST] or "model"


def _build(reference: str, run: Run, folder: str | Path | None, pretrained: bool) -> Source:
    """A model by one of the names that need no file; random weights follow the seed."""
    classes, name = len(run.classes), file_name(reference)
    architecture, dash, _ = reference.partition("-")
    own = f"inside {architecture}, CIFAR-10's mean and std"
    if architecture in BUILDERS and dash:
        try:
            run.summary(reference)
            network = run.trained(reference)
        except (records.RecordError, ValueError) as error:
            told = f"{reference} cannot be scored: {error}. (Scoring trains nothing; a published "
            told += "edition's weights are brought into the run by make restore)"
            raise SourceError(told) from error
        return Source(network, reference, "book", reference, architecture, own, known=reference)
    with torch.random.fork_rng():
        torch.manual_seed(int(records.key(seed=run.seed, scored=reference), 16))
        if reference.startswith(TIMM):
            network, notes = _timm(reference.removeprefix(TIMM), classes, pretrained)
            made = Source(network, name, "timm", reference, reference, notes=notes)
            return replace(made, random_weights=not pretrained)
        if pretrained:
            raise SourceError(f"pretrained weights are timm's to give; {reference} is not of timm")
        if reference in BUILDERS:
            size = getattr(run.settings, reference).model_dump()
            network = models.build(reference, num_classes=classes, **size)
            return Source(network, name, "book", reference, reference, own, random_weights=True)
        if ":" in reference:
            network = _imported(reference, classes, Path(folder or Path.cwd()))
            return Source(network, name, "import", reference, reference)
    close = difflib.get_close_matches(reference, BUILDERS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    raise SourceError(
        f"{reference!r} names no model.{hint} Models are timm:NAME, package.module:factory, a file "
        "of weights (.safetensors) with --architecture, or one of the book's own such as "
        f"resnet18-adversarial; the book's architectures are {', '.join(BUILDERS)}"
    )


def _near(name: str, names: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, names, n=3)) or "none"


def _timm(name: str, classes: int, pretrained: bool) -> tuple[nn.Module, tuple[str, ...]]:
    import timm

    if not timm.is_model(name):
        near = _near(name, timm.list_models())
        raise SourceError(f"timm {timm.__version__} has no model {name!r}; near it: {near}")
    try:
        about = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        plain, _, tag = name.partition(".")
        told = f"timm {timm.__version__} has no weights {tag!r} of {plain} ({text.reason(error)})"
        raise SourceError(f"{told}: ask for timm:{plain}") from error
    options = {"img_size": _SIZE} if getattr(about, "fixed_input_size", False) else {}
    try:
        network = timm.create_model(name, pretrained=pretrained, num_classes=classes, **options)
    # timm's builders, and the hub's client, raise whatever they like.
    except Exception as error:
        why = f"({text.reason(error)})"
        told = f"timm cannot build {name} for {_SIZE} x {_SIZE} images {why}: choose a model with "
        told += "a smaller patch or window"
        if pretrained:
            told = f"timm could not give {name} its pretrained weights {why}. They are fetched "
            told += "over the network; without one, name a file with --weights"
        raise SourceError(told) from error
    if not pretrained or getattr(about, "num_classes", classes) == classes:
        return network, ()
    note = f"timm's weights of {name} are for {about.num_classes} classes, so its head is new and "
    return network, (f"{note}random: only the layers before it were trained",)


def _imported(reference: str, classes: int, folder: Path) -> nn.Module:
    """What a factory of the user's returns."""
    path, _, attribute = reference.partition(":")
    folder = expanded(folder).resolve()
    if not folder.is_dir():
        raise SourceError(f"there is no folder {folder} to import {path} from: name it with --path")
    top = path.partition(".")[0]
    held = getattr(sys.modules.get(top), "__file__", None)
    here = (folder / f"{top}.py").exists() or (folder / top).is_dir()
    if held and here and folder not in Path(held).resolve().parents:
        told = f"another module {top} is already imported ({held}), so that of {folder} cannot be"
        raise SourceError(f"{told}: rename it")
    importlib.invalidate_caches()
    sys.path.insert(0, str(folder))
    try:
        found = importlib.import_module(path)
    except KeyboardInterrupt:
        raise
    # SystemExit, and whatever else a module of others' defines to get past except Exception.
    except BaseException as error:
        told = f"{path} cannot be imported ({text.reason(error)}): name one that can"
        if isinstance(error, SystemExit):
            told = f"{path} ends the program when it is imported ({text.reason(error)}): put what "
            told += 'it does beside defining the model under if __name__ == "__main__"'
        elif isinstance(error, ModuleNotFoundError):
            told = f"{path} imports {error.name}, which is not installed"
            if error.name and f"{path}.".startswith(f"{error.name}."):
                told = f"there is no module {error.name} in {folder} or among the installed "
                told += "packages: name its folder with --path"
        raise SourceError(told) from error
    finally:
        with contextlib.suppress(ValueError):  # a module may have taken it off itself
            sys.path.remove(str(folder))
    for part in attribute.split("."):
        try:
            there = hasattr(found, part)
        except Exception as error:
            told = f"{path} raises at {attribute!r} ({text.reason(error)}): name what it defines"
            raise SourceError(told) from error
        if not there:
            near = _near(part, [name for name in vars(found) if name[:1] != "_"])
            raise SourceError(f"{path} has no {attribute!r}; near it: {near}")
        found = getattr(found, part)
    if callable(found) and not isinstance(found, nn.Module):
        try:
            takes = "num_classes" in inspect.signature(found).parameters
        except (TypeError, ValueError):
            takes = False
        try:
            found = found(num_classes=classes) if takes else found()
        except KeyboardInterrupt:
            raise
        # A script that reads a command line of its own ends the program.
        except BaseException as error:
            told = f"{reference} raised {text.reason(error)}. It must do without "
            raise SourceError(f"{told}arguments, or with num_classes alone") from error
    if not isinstance(found, nn.Module):
        told = f"{reference} gave a {type(found).__name__}, not a torch.nn.Module: name a function "
        raise SourceError(f"{told}that returns one, or a class of one")
    return found


def _normalized(source: Source, normalize: str | tuple[Sequence[float], Sequence[float]]) -> Source:
    """The model behind a normalization."""
    if source.normalization != Source.normalization:
        raise SourceError(f"{source.architecture} normalizes its images itself: ask for no other")
    if isinstance(normalize, str):
        if normalize not in NORMALIZATIONS:
            there = ", ".join(NORMALIZATIONS)
            raise SourceError(f"no normalization {normalize!r}; there are: {there}")
        normalize = NORMALIZATIONS[normalize]
    mean, std = (tuple(float(value) for value in values) for values in normalize)
    if not len(mean) == len(std) == 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        told = f"mean {mean} and std {std} must be three numbers each, for images in [0, 1]"
        raise SourceError(f"{told}, and the std above 0")
    model = nn.Sequential(Normalize(mean, std), source.model)
    return replace(source, model=model, normalization=f"mean {mean}, std {std}")
