"""A reference for corruption errors that nobody here trained, as a per-image record of a run.

It is the full-width ResNet-18 for CIFAR-10 that the authors of AutoAttack ship with their examples,
for images in [0, 1]. Whose errors a corruption error is divided by can decide which category comes
out worst (paper 3.5), so an order of categories is judged by this reference as well
(:mod:`rslib.verdicts.rules`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rslib.run.results import Results
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

NAME = "outside"
"""The model's name in its record."""

LARGEST, SMALLEST = 500, 20
"""Images that it is evaluated on at most; on another data set than its own, where it says little.

They are nested in those of the run's models, on which comparisons are then made.
"""

_FILES = ("examples", "model_test.pt")


def weights() -> Path:
    """The file of its weights, in the package pyautoattack.

    Raises:
        RecordError: the package is not there, or comes without the file.
    """
    found = find_spec("pyautoattack")
    path = Path(*(found.submodule_search_locations if found else ["pyautoattack"]), *_FILES)
    if not path.exists():
        raise RecordError(
            f"no weights of the outside reference ({path} is missing): install pyautoattack 0.2"
        )
    return path


def path(run: Results) -> Path:
    """Where its record lies, or will; RecordError where its weights are missing."""
    key = records.key(**_inputs(run))
    return run.directory / "records" / NAME / f"corruptions-{key}.parquet"


def record(run: Results) -> pd.DataFrame:
    """Its per-image record: the columns of ``corruptions``, and ``correct`` on clean images.

    Raises:
        RecordError: it has not been made with these settings.
    """
    if not path(run).exists():
        raise RecordError(
            f"no corruption errors of the outside reference ({path(run)} is missing): run notebook "
            "13, or call rslib.verdicts.outside.evaluate(run)"
        )
    return records.read_record(path(run))


def evaluate(run: Run, *, required: bool = True) -> pd.DataFrame | None:
    """Its :func:`record`, made first where it is not there.

    Without the images it cannot be made; it is then None if it is not ``required``, which is said,
    and an order of corruption errors is not judged.

    Raises:
        rslib.data.DataError: it is required, and the images are not at hand.
    """
    from rslib.data import DataError

    with run.lock(path(run)):
        if not path(run).exists():
            try:
                _make(run.under({"corruptions": {"n": _inputs(run)["attack"]["n"]}}), path(run))
            except DataError as error:
                if required:
                    raise
                print(f"The second reference was not measured: {error}")
                return None
    return record(run)


def _inputs(run: Results) -> dict[str, Any]:
    """What decides the record, for its key."""
    chosen = run.settings
    most = LARGEST if chosen.data.name == "cifar10" else SMALLEST
    given = [n for n in (chosen.corruptions.n, chosen.data.test_size, most) if n is not None]
    return {
        "evaluation": "corruptions",
        "weights": records.file_digest(weights()),
        "data": run.test_inputs,
        "attack": chosen.corruptions.model_dump(exclude_defaults=True) | {"n": min(given)},
        "batch_size": chosen.evaluation.batch_size,
    }


def _make(run: Run, path: Path) -> None:
    import torch
    from pyautoattack.examples.resnet import ResNet18

    from rslib.models import device
    from rslib.run import predictions, shards
    from rslib.run.provenance import provenance

    model = ResNet18()
    model.load_state_dict(torch.load(weights(), map_location="cpu", weights_only=True))
    images, corrupted, parts = run.evaluated_images("corruptions"), run.corrupted(), {}
    evaluator = predictions.UnderCorruptions(corrupted)

    def evaluated(model: torch.nn.Module, batch: Any, generator: torch.Generator) -> Any:
        clean = predictions.clean(model, batch, generator).columns["correct"]
        return shards.Outcome({"correct": clean} | evaluator(model, batch, generator).columns)

    parts[NAME] = path.with_suffix(".parts")
    made = shards.in_shards(
        {NAME: device.place(model, run.device)},
        images,
        evaluated,
        batch_size=run.settings.evaluation.batch_size,
        device=run.device,
        seed=run.seed,
        parts=parts,
        name="outside reference: corruptions",
        progress=run.progress,
    )
    frame, about = made[NAME]
    metadata = {
        "model": NAME,
        "evaluation": "corruptions",
        "inputs": _inputs(run),
        "profile": run.settings.profile,
        "seed": run.seed,
        "n": len(frame),
        "data": images.fingerprint,
        **about,
        "corrupted": corrupted.identity,
        "source": "pyautoattack's examples/model_test.pt, ResNet-18 of full width",
        "provenance": provenance(run.device),
    }
    records.write_record(path, frame, metadata)
    shards.discard_parts(parts[NAME])
