"""Several seeds side by side: how far a number moves when everything is trained anew.

An interval over images speaks of one set of weights. Where a run has siblings
(:attr:`rslib.run.results.Results.siblings`: the same settings under other seeds), every table is
made once more for each of them, and its numbers get their mean and standard deviation over seeds
beside the interval. A claim about a training method rests on those: from three seeds on,
differences between models are tested over them. Figures show the other seeds as small dots or thin
lines.

Siblings may have some of the models only (the setting ``seeded``). Then the rows of those, and of
differences between them, have means and deviations; the others are of this seed alone, and captions
say so.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from rslib.metrics.estimates import paired_p, spread
from rslib.report import labels
from rslib.store.records import NotSeeded, RecordError

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

    Make = Callable[Concatenate[Run, P], pd.DataFrame]

_KEYS = ["model", "quantity"]


def others(run: Run, read: Callable[[Run], T]) -> list[T]:
    """Read something from each of a run's siblings, in the order of their seeds.

    Args:
        run: the run; one without siblings has none to read.
        read: takes one of them. Where it asks for a model that the sibling is not to have
            (:meth:`rslib.run.results.Results.has`), nothing is read from that one.

    Raises:
        RecordError: a sibling lacks something; says what, and which seed to run.
    """
    found = []
    for sibling in run.siblings:
        try:
            found.append(read(sibling))
        except NotSeeded:
            continue
        except (RecordError, ValueError) as error:
            seeds = " ".join(map(str, run.seeds))
            first = (
                f"Run the notebook of seed {run.seed} that makes it for these seeds"
                if run.followers
                else f"Run the same notebook with seed {sibling.seed} first"
            )
            raise RecordError(
                f"seed {sibling.seed} is to stand beside seed {run.seed} and is not complete: "
                f"{error}. {first} (make book PROFILE={run.settings.profile} "
                f'SEEDS="{seeds}" runs all in order), or leave {sibling.seed} out of seeds'
            ) from error
    return found


def records(run: Run, name: str, evaluated: str) -> list[pd.DataFrame]:
    """A model's per-image record under each of the other seeds; see :func:`others`."""
    return others(run, lambda sibling: sibling.record(name, evaluated))


def summaries(run: Run, name: str) -> list[dict[str, Any]]:
    """What is known of a trained model under each of the other seeds; see :func:`others`."""
    return others(run, lambda sibling: sibling.summary(name))


def over_seeds(compared: str = "") -> Callable[[Make[P]], Make[P]]:
    """Make a function's table for every seed of its run, and add what they say together.

    A run of one seed gives the table as it is. With siblings its numbers and intervals are still
    this run's own, and there are these columns more: ``seeds`` (how many know the number),
    ``seed_mean`` and ``seed_std`` (of the sample, over all of them, this one included),
    ``seed_<k>`` (the number under seed k) and, from three seeds on, ``seed_p`` for differences
    between models: a paired t-test that it is 0 whatever the seed, Holm-corrected over the table.

    Left out are p-values, of which a mean is none, and counts that the protocol sets: those that
    rest on no images and are the same under every seed, such as the number of parameters.

    A sibling's table has the rows that it can have (:meth:`rslib.report.table.Table.rows`). A table
    of which no sibling knows a row stays as it is.

    Args:
        compared: pattern of the quantities that are differences between models, such as
            ``"*_over_*"``; none by default.
    """

    def decorate(make: Make[P]) -> Make[P]:
        @functools.wraps(make)
        def made(run: Run, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
            frame = make(run, *args, **kwargs)
            rest = others(run, lambda sibling: make(sibling, *args, **kwargs))
            if not rest:
                return frame
            return _together(frame, {each.attrs["seed"]: each for each in [frame, *rest]}, compared)

        return made

    return decorate


def _adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment over the tests that were made; None stands for those that were not."""
    from rslib.metrics import holm

    made = [p_value for p_value in p_values if p_value is not None]
    held = iter(holm(made) if made else [])
    return [None if p_value is None else next(held) for p_value in p_values]


def _together(
    frame: pd.DataFrame, by_seed: Mapping[int, pd.DataFrame], compared: str
) -> pd.DataFrame:
    """A table with what all seeds say of its rows, and a caption that says so."""
    import numpy as np
    import pandas as pd

    seeds = sorted(by_seed)
    rows = pd.MultiIndex.from_frame(frame[_KEYS])
    known = {seed: by_seed[seed].drop_duplicates(_KEYS).set_index(_KEYS)["ours"] for seed in seeds}
    told = pd.DataFrame({f"seed_{seed}": known[seed].reindex(rows).to_numpy() for seed in seeds})
    counted = frame["unit"].isin(["count", "images"]) & frame["n"].isna()
    told[(frame["unit"] == "p") | (counted & (told.nunique(axis=1) == 1))] = float("nan")
    spreads = [spread(values) for values in told.to_numpy()]
    p_values = [
        paired_p(values) if fnmatch.fnmatchcase(quantity, compared) else None
        for quantity, values in zip(frame["quantity"], told.to_numpy(), strict=True)
    ]
    beside = {
        "seeds": pd.array([each.n or None for each in spreads], "Int64"),
        "seed_mean": [each.mean for each in spreads],
        "seed_std": [each.std for each in spreads],
        "seed_p": np.array(_adjusted(p_values), float),
    }
    result = pd.concat([frame, pd.DataFrame(beside), told], axis=1)
    stamp, notes = _caption(frame.attrs, by_seed, tests=result["seed_p"].count())
    result.attrs = frame.attrs | {
        "stamp": stamp,
        "notes": notes,
        "seeds": seeds,
        "sources": [
            {**each, "seed": seed} for seed in seeds for each in by_seed[seed].attrs["sources"]
        ],
    }
    return result


def _caption(
    about: Mapping[str, Any], by_seed: Mapping[int, pd.DataFrame], tests: int
) -> tuple[str, list[str]]:
    """The stamp and the notes: which seeds, how many of the rows are of all, and their devices."""
    own, told = about["seed"], labels.seeds_phrase(sorted(by_seed))
    models = {seed: set(each["model"]) for seed, each in by_seed.items()}
    rows, shared = len(models[own]), len(set.intersection(*models.values()))
    stamp, some = told, ""
    if shared < rows:
        stamp = f"{labels.seeds_phrase([own])} ({shared} of {labels.count(rows, 'row')}: {told})"
        some = ", in the rows that have it"
    notes = [
        *about["notes"],
        f"Mean ± standard deviation{some}: over {told}, each trained anew; all else is of seed "
        f"{own}.",
    ]
    if tests:
        notes.append(
            "p beside it: paired t-test over seeds that the difference is 0, with Holm's "
            f"correction over the {labels.count(tests, 'test')} of this table."
        )
    devices = {
        seed: {source["device"] for source in by_seed[seed].attrs["sources"]}
        for seed in sorted(by_seed)
    }
    for seed, names in devices.items():
        if names - devices[own]:
            notes.append(f"Seed {seed} ran on {' and '.join(sorted(names))}.")
    return about["stamp"].removesuffix(labels.seeds_phrase([own])) + stamp, notes
