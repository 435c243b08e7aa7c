"""Several seeds side by side: how far a number moves when everything is trained anew.

An interval over images speaks of one set of weights; a claim about a training method rests on
seeds. Siblings of a run (:attr:`rslib.run.results.Results.siblings`) may have some models only.
"""

from __future__ import annotations

import fnmatch
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from rslib.metrics.estimates import paired_p, spread
from rslib.report import labels
from rslib.report.table import Table, adjusted
from rslib.store.records import NotSeeded, RecordError

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

    Make = Callable[Concatenate[Run, P], pd.DataFrame]

_KEYS = ["model", "quantity"]


def others(run: Run, read: Callable[[Run], T]) -> list[T]:
    """Read something from each sibling of a run that is to have it, in the order of their seeds.

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
            first = f"Run the same notebook with seed {sibling.seed} first"
            if run.followers:
                first = f"Run the notebook of seed {run.seed} that makes it for these seeds"
            raise RecordError(
                f"seed {sibling.seed} is to stand beside seed {run.seed} and is not complete: "
                f"{error}. {first} (make book PROFILE={run.settings.profile} "
                f'SEEDS="{" ".join(map(str, run.seeds))}" runs all in order), or leave '
                f"{sibling.seed} out of seeds"
            ) from error
    return found


def records(run: Run, name: str, evaluated: str) -> list[pd.DataFrame]:
    """A model's per-image record under each of the other seeds; see :func:`others`."""
    return others(run, lambda sibling: sibling.record(name, evaluated))


def summaries(run: Run, name: str) -> list[dict[str, Any]]:
    """What is known of a trained model under each of the other seeds; see :func:`others`."""
    return others(run, lambda sibling: sibling.summary(name))


def fills(
    name: str, title: str = "", note: str = "", *, compared: str = "", **about: Any
) -> Callable[[Callable[Concatenate[Table, P], None]], Make[P]]:
    """Make of a function that fills a table one that makes it, given a run, over the run's seeds.

    All but ``note``, the first of the notes, and ``compared`` are what
    :class:`rslib.report.table.Table` takes; the function can also set it.

    Numbers and intervals are this run's own. Where a sibling has rows of the table, there are these
    columns more: ``seeds`` (how many know the number), ``seed_mean`` and ``seed_std`` (of the
    sample, over all of them, this one included), ``seed_<k>`` (the number under seed k) and, from
    three seeds on, ``seed_p`` for the quantities that match ``compared``, such as ``"*_over_*"``,
    which are differences between models: a paired t-test that it is 0, Holm-corrected over the
    table. p-values have no mean, and neither have counts that the protocol sets, such as of
    parameters: those that rest on no images and are the same under every seed.
    """

    def decorate(fill: Callable[Concatenate[Table, P], None]) -> Make[P]:
        @functools.wraps(fill)
        def make(run: Run, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
            def of(run: Run) -> pd.DataFrame:
                table = Table(run, name, title=title, notes=[note] if note else [], **about)
                fill(table, *args, **kwargs)
                return table.done()

            frame = of(run)
            by_seed = {each.attrs["seed"]: each for each in [frame, *others(run, of)]}
            return _together(frame, by_seed, compared) if len(by_seed) > 1 else frame

        taken = [*inspect.signature(fill).parameters.values()]
        taken[0] = taken[0].replace(name="run", annotation="Run")
        make.__signature__ = inspect.Signature(taken, return_annotation="pd.DataFrame")
        return make

    return decorate


def _together(
    frame: pd.DataFrame, by_seed: Mapping[int, pd.DataFrame], compared: str
) -> pd.DataFrame:
    """A table with what all seeds say of its rows, and a caption that says so."""
    import pandas as pd

    seeds = sorted(by_seed)
    rows = pd.MultiIndex.from_frame(frame[_KEYS])
    known = {seed: by_seed[seed].drop_duplicates(_KEYS).set_index(_KEYS)["ours"] for seed in seeds}
    told = pd.DataFrame({f"seed_{seed}": known[seed].reindex(rows).to_numpy() for seed in seeds})
    counted = frame["unit"].isin(["count", "images"]) & frame["n"].isna()
    told[(frame["unit"] == "p") | (counted & (told.nunique(axis=1) == 1))] = float("nan")
    beside = pd.DataFrame(map(spread, told.to_numpy())).add_prefix("seed_")
    beside.insert(0, "seeds", beside.pop("seed_n").astype("Int64").replace(0, pd.NA))
    beside["seed_p"] = adjusted(
        [
            paired_p(values) if fnmatch.fnmatchcase(quantity, compared) else None
            for quantity, values in zip(frame["quantity"], told.to_numpy(), strict=True)
        ]
    )
    result = pd.concat([frame, beside, told], axis=1)
    result.attrs = frame.attrs | _caption(frame.attrs, by_seed, tests=result["seed_p"].count())
    result.attrs["seeds"] = seeds
    result.attrs["sources"] = [
        {**each, "seed": seed} for seed in seeds for each in by_seed[seed].attrs["sources"]
    ]
    return result


def _caption(
    about: Mapping[str, Any], by_seed: Mapping[int, pd.DataFrame], tests: int
) -> dict[str, Any]:
    """The stamp and the notes: which seeds, how many of the rows are of all, and their devices."""
    own, told, some = about["seed"], labels.seeds_phrase(sorted(by_seed)), ""
    models = {seed: set(each["model"]) for seed, each in by_seed.items()}
    rows, shared = len(models[own]), len(set.intersection(*models.values()))
    stamp = about["stamp"].removesuffix(labels.seeds_phrase([own]))
    if shared < rows:
        stamp += f"{labels.seeds_phrase([own])} ({shared} of {labels.count(rows, 'row')}: {told})"
        some = ", in the rows that have it"
    else:
        stamp += told
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
    own_devices = {source["device"] for source in about["sources"]}
    for seed, frame in sorted(by_seed.items()):
        devices = {source["device"] for source in frame.attrs["sources"]}
        if devices - own_devices:
            notes.append(f"Seed {seed} ran on {' and '.join(sorted(devices))}.")
    return {"stamp": stamp, "notes": notes}
