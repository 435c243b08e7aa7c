"""Several seeds side by side: how far a number moves when everything is trained anew.

An interval over images speaks of one set of weights. Where a run has siblings
(:attr:`rslib.run.Run.siblings`: the same settings under other seeds), every table is made once more
for each of them, and its numbers get their mean and standard deviation over seeds beside the
interval. A claim about a training method rests on those: from three seeds on, differences between
models are tested over them. Figures show the other seeds as small dots or thin lines.

Siblings may have some of the models only (the setting ``seeded``). Then the rows of those, and of
differences between them, have means and deviations; the others are of this seed alone, and captions
say so.
"""

from __future__ import annotations

import fnmatch
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from rslib.metrics.estimates import paired_p, spread
from rslib.report import labels
from rslib.store.records import NotSeeded, RecordError

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    import pandas as pd

    from rslib.run import Run

    Table = Callable[Concatenate[Run, P], pd.DataFrame]

_KEYS = ["model", "quantity"]


def others(run: Run, read: Callable[[Run], T]) -> list[T]:
    """What is read from each of a run's siblings, in the order of their seeds.

    Args:
        run: the run; one without siblings has none to read.
        read: takes one of them. Where it asks for a model that the sibling is not to have
            (:meth:`rslib.run.Run.has`), nothing is read from that one.

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
    """A model's per-image record under each of the other seeds.

    Raises:
        RecordError: see :func:`others`.
    """
    return others(run, lambda sibling: sibling.record(name, evaluated))


def summaries(run: Run, name: str) -> list[dict[str, Any]]:
    """What is known of a trained model, under each of the other seeds.

    Raises:
        RecordError: see :func:`others`.
    """
    return others(run, lambda sibling: sibling.summary(name))


def over_seeds(*, compared: str = "", joint: bool = False) -> Callable[[Table[P]], Table[P]]:
    """Make a function's table for every seed of its run, and add what they say together.

    A run of one seed gives the table as it is. With siblings its numbers and intervals are still
    this run's own, and there are these columns more: ``seeds`` (how many know the number),
    ``seed_mean`` and ``seed_std`` (of the sample, over all of them, this one included),
    ``seed_<k>`` (the number under seed k) and, from three seeds on, ``seed_p`` for differences
    between models: a paired t-test that it is 0 whatever the seed, Holm-corrected over the table.

    Left out are p-values, of which a mean is none, and counts that the protocol sets: those that
    rest on no images and are the same under every seed, such as the number of parameters.

    Of a sibling the function is asked for each of what its first list names by itself, so that rows
    are known without the models of the others. A table of which no sibling knows a row stays as it
    is.

    Args:
        compared: pattern of the quantities that are differences between models, such as
            ``"*_over_*"``; none by default.
        joint: whether each row is about all that the list names, which is then asked for as a
            whole. It need not be for p-values that are corrected over a table.
    """

    def decorate(make: Table[P]) -> Table[P]:
        @functools.wraps(make)
        def made(run: Run, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
            frame = make(run, *args, **kwargs)
            if not run.siblings:
                return frame
            frames = {run.seed: [frame]}
            for asked in _asked(inspect.signature(make).bind(run, *args, **kwargs), joint):
                for seed, found in others(run, functools.partial(_made, make, asked)):
                    frames.setdefault(seed, []).append(found)
            return _together(frame, frames, compared) if len(frames) > 1 else frame

        return made

    return decorate


def _asked(call: inspect.BoundArguments, joint: bool) -> list[dict[str, Any]]:
    """What to ask of a sibling: the arguments of a call, with each of its first list by itself."""
    call.apply_defaults()
    _, *rest = call.arguments.items()
    given = dict(rest)
    name, listed = rest[0] if rest else ("", None)
    if joint or isinstance(listed, str) or not isinstance(listed, Sequence):
        return [given]
    return [given | {name: [each]} for each in listed]


def _made(make: Table[...], asked: Mapping[str, Any], run: Run) -> tuple[int, pd.DataFrame]:
    return run.seed, make(run, **asked)


def _together(
    frame: pd.DataFrame, frames: Mapping[int, Sequence[pd.DataFrame]], compared: str
) -> pd.DataFrame:
    """A table with what all seeds say of its rows, and a caption that says so.

    ``frames`` holds, by seed, the parts of the table that it knows.
    """
    import pandas as pd

    seeds = sorted(frames)
    known = {f"seed_{seed}": _numbers_of(frames[seed]) for seed in seeds}
    rows = pd.MultiIndex.from_frame(frame[_KEYS])
    told = pd.DataFrame({key: each.reindex(rows).to_numpy() for key, each in known.items()})
    told[_left_out(frame, told)] = float("nan")
    spreads = [spread(values) for values in told.to_numpy()]
    beside = pd.DataFrame(
        {
            "seeds": pd.array([each.n or None for each in spreads], "Int64"),
            "seed_mean": [each.mean for each in spreads],
            "seed_std": [each.std for each in spreads],
            "seed_p": _tested(frame, told, compared),
        }
    ).astype({"seed_p": float})
    result = pd.concat([frame, beside, told], axis=1)
    about = frame.attrs
    own = labels.seeds_phrase([about["seed"]])
    tests = int(beside["seed_p"].notna().sum())
    result.attrs = about | {
        "stamp": about["stamp"].removesuffix(own) + _stamped(about["seed"], frames),
        "notes": [*about["notes"], *_notes(about, frames, tests)],
        "seeds": seeds,
        "sources": [
            {**source, "seed": seed} for seed in seeds for source in _sources(frames[seed])
        ],
    }
    return result


def _numbers_of(parts: Iterable[pd.DataFrame]) -> pd.Series:
    """The numbers of a table's parts by model and quantity."""
    import pandas as pd

    found = pd.concat([part.set_index(_KEYS)["ours"] for part in parts])
    return found[~found.index.duplicated()]


def _sources(parts: Iterable[pd.DataFrame]) -> list[dict[str, Any]]:
    """What a table's parts were made from; what several share, once."""
    found: list[dict[str, Any]] = []
    for part in parts:
        found += [source for source in part.attrs["sources"] if source not in found]
    return found


def _stamped(own: int, frames: Mapping[int, Sequence[pd.DataFrame]]) -> str:
    """The seeds that a table is of and, where not all rows are of all, how many are."""
    told = labels.seeds_phrase(sorted(frames))
    rows, shared = len(_rows(frames[own])), len(_shared(own, frames))
    if shared == rows:
        return told
    return f"{labels.seeds_phrase([own])} ({shared} of {labels.count(rows, 'row')}: {told})"


def _rows(parts: Iterable[pd.DataFrame]) -> set[str]:
    """The models, or pairs of them, that a table has a printed row for."""
    return {str(model) for part in parts for model in part["model"]}


def _shared(own: int, frames: Mapping[int, Sequence[pd.DataFrame]]) -> set[str]:
    """The rows that other seeds know as well."""
    known = (_rows(parts) for seed, parts in frames.items() if seed != own)
    return _rows(frames[own]).intersection(*known)


def _left_out(frame: pd.DataFrame, told: pd.DataFrame) -> pd.Series:
    counted = frame["unit"].isin(["count", "images"]) & frame["n"].isna()
    return (frame["unit"] == "p") | (counted & (told.nunique(axis=1) == 1))


def _tested(frame: pd.DataFrame, told: pd.DataFrame, compared: str) -> list[float | None]:
    """The adjusted p-value of each row that is a difference known for enough seeds."""
    from rslib.metrics import holm

    found = [
        paired_p(values) if fnmatch.fnmatchcase(quantity, compared) else None
        for quantity, values in zip(frame["quantity"], told.to_numpy(), strict=True)
    ]
    made = [p_value for p_value in found if p_value is not None]
    adjusted = iter(holm(made) if made else [])
    return [None if p_value is None else next(adjusted) for p_value in found]


def _notes(
    about: Mapping[str, Any], frames: Mapping[int, Sequence[pd.DataFrame]], tests: int
) -> list[str]:
    own = about["seed"]
    some = ", in the rows that have it" * (_shared(own, frames) != _rows(frames[own]))
    notes = [
        f"Mean ± standard deviation{some}: over {labels.seeds_phrase(sorted(frames))}, each "
        f"trained anew; all else is of seed {own}."
    ]
    if tests:
        notes.append(
            "p beside it: paired t-test over seeds that the difference is 0, with Holm's "
            f"correction over the {labels.count(tests, 'test')} of this table."
        )
    devices = {seed: _devices(parts) for seed, parts in frames.items()}
    elsewhere = {seed: names for seed, names in devices.items() if names - devices[own]}
    notes += [f"Seed {s} ran on {' and '.join(sorted(n))}." for s, n in sorted(elsewhere.items())]
    return notes


def _devices(parts: Iterable[pd.DataFrame]) -> set[str]:
    return {source["device"] for source in _sources(parts)}
