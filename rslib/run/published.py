"""Published runs, in ``book/published``: open one with its own settings, and find its weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rslib.settings import PROJECT, Settings, SettingsError, load
from rslib.store import records

if TYPE_CHECKING:
    from torch import nn

    from rslib.run import Run

PUBLISHED = Path("book/published")

PARAMS = "params.yaml"
"""The file, in a published run's folder, of the profile that it was made with."""


def settings_of(folder: Path) -> Settings:
    """Read the settings of an edition's folder: its own, or today's where it has no :data:`PARAMS`.

    Raises:
        SettingsError: there is neither, it is not valid, or it names another profile.
    """
    own = folder / PARAMS
    found = load(str(own) if own.exists() else folder.name, making=False)
    if found.profile != folder.name:
        raise SettingsError(
            f"{own} is of the profile {found.profile!r}: it belongs in a folder of that name"
        )
    return found


def run_of(folder: Path, seed: int = 0) -> Run:
    """Open an edition's folder, as :func:`settings_of` does, with the other seeds it has."""
    from rslib.run import Run

    names = (each.name.removeprefix("seed") for each in folder.glob("seed*"))
    seeds = [int(name) for name in names if name.isdecimal()]
    return Run(settings_of(folder), seed, seeds=seeds, root=folder.parent, progress=False)


def profiles() -> list[str]:
    """The names of the published editions; a run that still goes on has no notebooks there."""
    return sorted({path.parents[1].name for path in (PROJECT / PUBLISHED).glob("*/seed*/executed")})


def find(profile: str, seed: int = 0, *, root: Path | None = None) -> Run:
    """Open a published edition for reading, such as ``find("cpu")``.

    ``root`` is the folder holding ``book/``; the project's by default.

    Raises:
        RecordError: it is not published or cannot be read; says what there is.
    """
    folder = (root or PROJECT) / PUBLISHED / profile
    if not (folder / f"seed{seed}").is_dir():
        there = sorted(f"{path.parent.name} {path.name}" for path in folder.parent.glob("*/seed*"))
        raise records.RecordError(
            f"no edition {profile!r} with seed {seed} is published; there are: "
            f"{', '.join(there) or 'none'}"
        )
    try:
        return run_of(folder, seed)
    except SettingsError as error:
        raise records.RecordError(f"the edition {profile!r} cannot be read: {error}") from None


def weights(run: Run, name: str) -> Path:
    """Find the file of a published model's weights, of two of a name that on the run's own images.

    Raises:
        RecordError: there is no such model, its weights are not published, or the file is not the
            one that was evaluated; says which weights there are.
    """
    folder = model_folder(run, name)
    known = folder is not None and (folder / "model.json").exists()
    if not known or not (path := folder / "best.safetensors").exists():
        which = f"the edition {run.settings.profile}, seed {run.seed}"
        why = f"{which} has only its history and records" if known else f"{which} has no such model"
        folders = {path.parent for path in (run.directory / "models").glob("*/best.safetensors")}
        names = sorted({each.name.rpartition("-")[0] for each in folders})
        there = ", ".join(each for each in names if model_folder(run, each) in folders)
        raise records.RecordError(
            f"no weights of {name!r} are published: {why}. Weights there are of: "
            f"{there or 'no model'}"
        )
    if records.file_digest(path) != records.read_json(folder / "model.json")["weights"]["best"]:
        raise records.RecordError(
            f"{path} is not the file its model.json describes: bring it back from the repository"
        )
    return path


def model_folder(run: Run, name: str) -> Path | None:
    """The folder of a model on a run's own images; None where its settings know no such model."""
    try:
        return run.model_folder(name)
    except ValueError:
        return None


def load_published(
    profile: str, name: str, *, seed: int = 0, root: Path | None = None
) -> nn.Module:
    """Load a model of a published edition, such as ``load_published("cpu", "resnet18-standard")``.

    Returns:
        The model with the weights that the edition evaluated: on the CPU, in eval mode, in float32,
        for images (B, 3, 32, 32) in [0, 1].

    Raises:
        rslib.store.records.RecordError: see :func:`find`, with its ``root``, and :func:`weights`.
    """
    from rslib.training import checkpoint

    edition = find(profile, seed, root=root)
    path = weights(edition, name)
    # Built where it is wanted, whatever device the edition's settings choose.
    model = edition.under({"device": "cpu"}).build(name)
    checkpoint.load_weights(path, model)
    return model.eval()
