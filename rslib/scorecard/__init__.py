"""Score any image classifier on the book's axes, beside the book's own models.

::

    from rslib import settings
    from rslib.scorecard import scorecard

    card = scorecard(my_module, None, settings.load("cpu"), minutes=10, folder="scorecards/mine")

Clean accuracy, calibration, FGSM, PGD, AutoAttack, corruptions, saliency overlap, and a verdict on
whether the numbers under attack can be trusted: each with its interval on the book's own images, or
with the reason why it is not there. From a shell::

    python -m rslib scorecard timm:resnet18 --profile smoke
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from torch import nn
from tqdm import tqdm

from rslib import data as datasets
from rslib.models import count_parameters, eval_mode
from rslib.models import device as devices
from rslib.run import Run
from rslib.run.provenance import provenance
from rslib.scorecard import budget, compare, folders, sources
from rslib.scorecard.axes import Reading
from rslib.scorecard.card import Images, Model, Plan, Scorecard, ScorecardError, fields, schema
from rslib.scorecard.folders import read
from rslib.scorecard.guest import Attempt, Guest, measure, with_masks
from rslib.scorecard.sources import Source, load
from rslib.scorecard.weights import SourceError
from rslib.settings.schema import Settings
from rslib.store import records
from rslib.store.text import printable

__all__ = [
    "Scorecard",
    "ScorecardError",
    "Source",
    "SourceError",
    "fields",
    "load",
    "read",
    "schema",
    "scorecard",
]

_CHECKED = 4
_GUESSING = (
    "Clean accuracy cannot be told from guessing: the model knows nothing of these images, and "
    "what the other axes say of it means little."
)


def scorecard(
    model: nn.Module | str | Source,
    data: datasets.Dataset | None,
    settings: Settings | Run,
    *,
    n: int | None = None,
    minutes: float | None = None,
    without: Collection[str] = (),
    name: str | None = None,
    folder: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Scorecard:
    """Measure a model on every axis, and set it beside the book's own.

    What it is going to do is printed before it starts; nothing is trained.

    Args:
        model: a module that takes images (B, 3, H, W) in [0, 1] and returns logits, one a class; or
            what :func:`rslib.scorecard.sources.load` takes or returns. It is moved to the device of
            the settings, and given back in its own mode.
        data: the images; None takes the test images of the settings, of which alone there are
            records of the book's models to compare with.
        settings: from :func:`rslib.settings.load`; or a run, whose settings and seed are used.
        n: images on every axis but the clean one, instead of the profile's numbers.
        minutes: how long measuring may take; axes are shrunk or left out to fit.
        without: axes that are left out whatever the budget, such as ``["autoattack"]``.
        name: what to call it; None derives one from the model.
        folder: where to write ``scorecard.json``, ``index.html``, ``scorecard.png`` and the
            per-image records; None writes nothing. Called again for the same model, images and
            settings, after whatever end, it takes the axes from there that are finished. A file
            that no scorecard wrote there, or that was changed since, is never replaced.
        force: whether a scorecard of another model, profile, seed or data may be replaced, and a
            folder that holds other files be used.
        seed: of everything random; a run has its own.
        progress: whether to show a progress bar.

    Raises:
        SourceError: the model cannot be loaded, or its answers cannot be scored.
        ScorecardError: the budget is out of range, or the folder is not free.
        rslib.data.DataError: the images are not there.
    """
    absent = budget.check(n, minutes, without)
    run = settings if isinstance(settings, Run) else Run(settings, seed, progress=progress)
    source = model if isinstance(model, Source) else load(model, run=run, name=name)
    if name is not None:
        source = replace(source, name=name)
    folder = None if folder is None else folders.expanded(folder).absolute()
    images = run.data("test") if data is None else data
    devices.place(source.model, run.device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(eval_mode(source.model))
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rslib-")))
        few = images.subset(range(min(_CHECKED, len(images))))
        (batch,) = datasets.Batches(few, len(few), device=run.device)
        source = sources.check(source, batch.x, len(images.classes)).shown()
        told = ("kind", "reference", "architecture", "random_weights", "normalization", "notes")
        scored = Model(
            **{field: getattr(source, field) for field in told},
            parameters=count_parameters(source.model),
            digest=sources.digest(source.model),
            file=source.file and printable(source.file.name),
            file_digest=source.file and records.file_digest(source.file),
        )
        about = ("name", "split", "fingerprint", "classes")
        shown = Images(n=len(images), **{field: getattr(images, field) for field in about})
        made_by = provenance(run.device)
        place = temporary / "axes"
        if folder is not None:
            of = folders.identity(scored, shown, run.settings.profile, run.seed)
            same = sources.behavior(source.model, batch.x)
            versions = {name: made_by[name] for name in ("device", "revision", "torch")}
            work = records.key(model=same, data=shown.fingerprint, **versions)
            kept = stack.enter_context(folders.claimed(folder, of, work, force=force))
            place = place if same is None else kept
        images, masks = with_masks(run, images)
        pilot = Guest(run.settings, run.seed, temporary, source.model, images, masks)
        plan = _planned(pilot, place, n=n, minutes=minutes, absent=absent)
        chosen = budget.settings_for(run.settings, plan)
        guest = Guest(chosen, run.seed, place, source.model, images, masks)
        print(
            f"{source.name}: {source.reference}, on {images.name} {images.split}, profile "
            f"{run.settings.profile}, {devices.describe(run.device)}",
            *(f"note: {note}" for note in source.notes),
            budget.table(plan),
            sep="\n",
            flush=True,
        )
        peers = compare.find(run, images, without=source.known)
        attempts = {each.name: Attempt(reason=each.note) for each in plan.axes}
        reading = Reading(guest, attempts, peers)
        form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"  # of expected seconds
        with tqdm(total=plan.seconds, bar_format=form, disable=not progress) as bar:
            for each in plan.axes:
                bar.set_description(each.name)
                if each.n:
                    attempts[each.name] = measure(guest, each.name, each.n)
                    if progress:
                        bar.write("\n".join(reading.lines(each.name)))
                bar.update(each.seconds)
        reused = [axis for axis, each in attempts.items() if each.reused]
        if reused:
            told = ", ".join(budget.PLANNED[axis] for axis in reused)
            print(f"taken from an earlier call, of the same model, images and settings: {told}")
        axes = reading.axes()
        # Deprecations concern other packages.
        found = [each for each in caught if issubclass(each.category, UserWarning)]
        warned = [printable(each.message) for each in found]
        if axes[0].result is not None and axes[0].result.low <= axes[0].chance:
            warned.insert(0, _GUESSING)
        card = Scorecard(
            name=source.name,
            profile=run.settings.profile,
            seed=run.seed,
            confidence=run.settings.evaluation.confidence,
            model=scored,
            data=shown,
            plan=plan,
            axes=axes,
            reliability=reading.verdict(),
            comparison=peers.phrase(),
            warnings=list(dict.fromkeys(warned)),
            settings=chosen.model_dump(include={*budget.PLANNED, "data", "masks", "evaluation"}),
            provenance=made_by,
        )
        if folder is not None:
            made = {axis: each.record for axis, each in attempts.items() if each.record is not None}
            folders.write(folder, card, made)
    return card


def _planned(
    pilot: Guest, place: Path, *, n: int | None, minutes: float | None, absent: dict[str, str]
) -> Plan:
    """The plan of an earlier call for the same, or else one made by timing the model."""
    asked = {"settings": pilot.settings.model_dump(mode="json"), "masks": pilot.masks}
    key = records.key(**asked, n=n, minutes=minutes, without=sorted(absent))
    file = place / f"plan-{key}.json"
    with contextlib.suppress(records.RecordError, ValueError):
        return Plan.model_validate(records.read_json(file))
    failed = None
    if "saliency" not in absent:
        failed = measure(pilot, "saliency", min(_CHECKED, len(pilot.images))).reason
        absent = absent | ({} if failed is None else {"saliency": failed})
    explain, corrupted = (axis not in absent for axis in ("saliency", "corruptions"))
    speed = budget.measure_speed(pilot, explain=explain, corrupted=corrupted)
    plan = budget.make(pilot.settings, pilot.images, speed, n=n, minutes=minutes, absent=absent)
    if failed is None:  # what failed is tried again
        records.write_json(file, plan.model_dump(mode="json"))
    return plan
