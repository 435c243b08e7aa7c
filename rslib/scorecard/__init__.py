"""Score any image classifier on the book's axes, beside the book's own models.

::

    from rslib import settings
    from rslib.scorecard import scorecard

    card = scorecard(my_module, None, settings.load("cpu"), minutes=10, folder="scorecards/mine")

Clean accuracy, calibration, FGSM, PGD, AutoAttack, corruptions, saliency overlap, and a verdict on
whether the numbers under attack can be trusted: each with its interval, on the book's own nested
class-balanced images, or with the reason why it is not there. The same from a shell::

    python -m rslib scorecard timm:resnet18 --profile smoke

Models come from :mod:`rslib.scorecard.sources`, budgets from :mod:`rslib.scorecard.plan`, and the
document is described in :mod:`rslib.scorecard.card`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from rslib import data as datasets
from rslib.models import count_parameters, eval_mode
from rslib.models import device as devices
from rslib.run import Run
from rslib.run.provenance import provenance
from rslib.scorecard import compare, folders, masks, measure, plan, sources
from rslib.scorecard.axes import Reading
from rslib.scorecard.card import (
    Axis,
    Images,
    Model,
    Plan,
    Scorecard,
    ScorecardError,
    fields,
    schema,
)
from rslib.scorecard.folders import read
from rslib.scorecard.measure import Bench, Outcome
from rslib.scorecard.sources import Source, load
from rslib.scorecard.weights import SourceError
from rslib.settings.schema import Settings
from rslib.store import records

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
_SECTIONS = {
    "data", "fgsm", "pgd", "autoattack", "corruptions", "reliability", "masks", "evaluation"
}  # fmt: skip


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
            the settings, runs in eval mode, and is given back in its own mode.
        data: the images; None takes the test images of the settings. Others have no records of the
            book's models to be compared with.
        settings: from :func:`rslib.settings.load`; or a run, whose settings and seed are used.
        n: images on every axis but the clean one, instead of the profile's numbers.
        minutes: how long measuring may take; axes are shrunk, and in the end left out, to fit
            (:func:`rslib.scorecard.plan.make`).
        without: axes that are left out whatever the budget, such as ``["autoattack"]``.
        name: what to call it; None derives one from the model.
        folder: where to write ``scorecard.json``, ``index.html``, ``scorecard.png`` and the
            per-image records; None writes nothing.
        force: whether a folder that holds another model's scorecard, or other files, may be used.
        seed: of everything random; a run has its own.
        progress: whether to show a progress bar.

    Returns:
        The scorecard.

    Raises:
        SourceError: the model cannot be loaded, or its answers cannot be scored.
        ScorecardError: the budget is out of range, or the folder is not free.
        rslib.data.DataError: the images are not there.
    """
    plan.check_budget(n, minutes)
    unasked = plan.check_without(without)
    run = settings if isinstance(settings, Run) else Run(settings, seed, progress=progress)
    source = model if isinstance(model, Source) else load(model, run=run, name=name)
    if name is not None:
        source = replace(source, name=name)
    images = run.data("test") if data is None else data
    devices.place(source.model, run.device)
    with eval_mode(source.model), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        few = images.subset(range(min(_CHECKED, len(images))))
        (batch,) = datasets.Batches(few, len(few), device=run.device)
        source = sources.check(source, batch.x, len(images.classes))
        scored = _model(source)
        if folder is not None:
            folders.claim(Path(folder), scored, force=force)
        bench = Bench(
            source.model,
            source.name,
            images,
            run.settings,
            run.device,
            run.seed,
            masks.find(run, images),
        )
        settled = _settle(bench, n, minutes, unasked)
        bench = replace(bench, settings=plan.settings_for(run.settings, settled))
        _tell(bench, source, settled)
        outcomes = _measure(bench, settled, progress)
    shelf = compare.find(run, images, without=source.known)
    reading = Reading(bench, outcomes, shelf)
    axes = reading.axes()
    card = Scorecard(
        name=source.name,
        profile=run.settings.profile,
        seed=run.seed,
        confidence=run.settings.evaluation.confidence,
        model=scored,
        data=Images(
            name=images.name,
            split=images.split,
            n=len(images),
            fingerprint=images.fingerprint,
            classes=list(images.classes),
        ),
        plan=settled,
        axes=axes,
        reliability=reading.verdict(),
        comparison=compare.phrase(run, shelf),
        warnings=[*_cautions(axes), *_told(caught)],
        settings=bench.settings.model_dump(include=_SECTIONS),
        provenance=provenance(run.device),
    )
    if folder is not None:
        frames = {axis: each.frame for axis, each in outcomes.items() if each.frame is not None}
        folders.write(Path(folder), card, frames)
    return card


def _model(source: Source) -> Model:
    return Model(
        kind=source.kind,
        reference=source.reference,
        architecture=source.architecture,
        parameters=count_parameters(source.model),
        random_weights=source.random_weights,
        normalization=source.normalization,
        digest=sources.digest(source.model),
        file=source.file and source.file.name,
        file_digest=source.file and records.file_digest(source.file),
        notes=list(source.notes),
    )


def _settle(bench: Bench, n: int | None, minutes: float | None, unasked: dict[str, str]) -> Plan:
    """Time the model, find out what cannot be measured at all, and plan the rest."""
    absent = dict(unasked)
    if "saliency" not in absent:
        tried = measure.evaluate(bench, "saliency", min(_CHECKED, len(bench.images)), {})
        if tried.reason is not None:
            absent["saliency"] = tried.reason

    def explain(some: datasets.Dataset) -> Any:
        return measure.evaluate(bench, "saliency", len(some), {})

    explain = None if "saliency" in absent else explain
    speed = plan.measure_speed(bench.model, bench.images, bench.settings, bench.device, explain)
    return plan.make(bench.settings, bench.images, speed, n=n, minutes=minutes, absent=absent)


def _tell(bench: Bench, source: Source, settled: Plan) -> None:
    print(
        f"{source.name}: {source.reference}, on {bench.images.name} {bench.images.split}, profile "
        f"{bench.settings.profile}, {devices.describe(bench.device)}"
    )
    for note in source.notes:
        print(f"note: {note}")
    print(plan.table(settled), flush=True)


def _measure(bench: Bench, settled: Plan, progress: bool) -> dict[str, Outcome]:
    """All axes, in the order of the plan; the bar counts expected seconds."""
    outcomes: dict[str, Outcome] = {}
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=settled.seconds, bar_format=form, disable=not progress) as bar:
        for each in settled.axes:
            bar.set_description(each.name)
            if each.n:
                outcomes[each.name] = measure.evaluate(bench, each.name, each.n, outcomes)
            else:
                outcomes[each.name] = Outcome(reason=each.note)
            bar.update(each.seconds)
    return outcomes


def _cautions(axes: list[Axis]) -> list[str]:
    """What a reader must know before the numbers."""
    clean = axes[0]
    if clean.result is None or clean.result.low > clean.chance:
        return []
    return [
        "Clean accuracy cannot be told from guessing: the model knows nothing of these images, and "
        "what the other axes say of it means little."
    ]


def _told(caught: list[warnings.WarningMessage]) -> list[str]:
    """What was warned of, each once; deprecations concern other packages."""
    told = [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
    return list(dict.fromkeys(told))
