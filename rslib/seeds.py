"""Several seeds side by side: how far a number moves when everything is trained anew.

An interval over images speaks of one set of weights. Where a run has siblings
(:attr:`rslib.run.Run.siblings`: the same settings under other seeds), every table is made once more
for each of them, and its numbers get their mean and standard deviation over seeds beside the
interval. A claim about a training method rests on those: from three seeds on, differences between
models are tested over them. Figures show the other seeds as small dots or thin lines.
"""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from rslib import labels
from rslib.estimates import paired_p, spread
from rslib.records import RecordError

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
        read: takes one of them.

    Raises:
        RecordError: a sibling lacks something; says what, and which seed to run.
    """
    found = []
    for sibling in run.siblings:
        try:
            found.append(read(sibling))
        except RecordError as error:
            seeds = " ".join(map(str, run.seeds))
            raise RecordError(
                f"seed {sibling.seed} is to stand beside seed {run.seed} and is not complete: "
                f"{error}. Run the same notebook with seed {sibling.seed} first (make book "
                f'PROFILE={run.settings.profile} SEEDS="{seeds}" runs all in order), or leave '
                f"{sibling.seed} out of seeds"
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


def over_seeds(*, compared: str = "") -> Callable[[Table[P]], Table[P]]:
    """Make a function's table for every seed of its run, and add what they say together.

    A run of one seed gives the table as it is. With siblings its numbers and intervals are still
    this run's own, and there are these columns more: ``seeds`` (how many know the number),
    ``seed_mean`` and ``seed_std`` (of the sample, over all of them, this one included),
    ``seed_<k>`` (the number under seed k) and, from three seeds on, ``seed_p`` for differences
    between models: a paired t-test that it is 0 whatever the seed, Holm-corrected over the table.

    Left out are p-values, of which a mean is none, and counts that the protocol sets: those that
    rest on no images and are the same under every seed, such as the number of parameters.

    Args:
        compared: pattern of the quantities that are differences between models, such as
            ``"*_over_*"``; none by default.
    """

    def decorate(make: Table[P]) -> Table[P]:
        @functools.wraps(make)
        def made(run: Run, *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:
            frame = make(run, *args, **kwargs)
            if not run.siblings:
                return frame
            rest = others(run, lambda sibling: make(sibling, *args, **kwargs))
            frames = dict(zip([each.seed for each in run.siblings], rest, strict=True))
            return _together(frame, {run.seed: frame} | frames, compared)

        return made

    return decorate


def _together(
    frame: pd.DataFrame, frames: Mapping[int, pd.DataFrame], compared: str
) -> pd.DataFrame:
    """A table with what all seeds say of its rows, and a caption that says so."""
    import pandas as pd

    seeds = sorted(frames)
    known = {
        f"seed_{seed}": frames[seed].drop_duplicates(_KEYS).set_index(_KEYS)["ours"]
        for seed in seeds
    }
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
    result.attrs = about | {
        "stamp": about["stamp"].removesuffix(labels.seeds_phrase([about["seed"]]))
        + labels.seeds_phrase(seeds),
        "notes": [*about["notes"], *_notes(about, frames, int(beside["seed_p"].notna().sum()))],
        "seeds": seeds,
        "sources": [
            {**source, "seed": seed} for seed in seeds for source in frames[seed].attrs["sources"]
        ],
    }
    return result


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


def _notes(about: Mapping[str, Any], frames: Mapping[int, pd.DataFrame], tests: int) -> list[str]:
    own = about["seed"]
    notes = [
        "Mean ± standard deviation: over "
        f"{labels.seeds_phrase(sorted(frames))}, each trained anew; all else is of seed {own}."
    ]
    if tests:
        notes.append(
            "p beside it: paired t-test over seeds that the difference is 0, with Holm's "
            f"correction over the {labels.count(tests, 'test')} of this table."
        )
    devices = {seed: _devices(frame) for seed, frame in frames.items()}
    elsewhere = {seed: names for seed, names in devices.items() if names - devices[own]}
    notes += [f"Seed {s} ran on {' and '.join(sorted(n))}." for s, n in sorted(elsewhere.items())]
    return notes


def _devices(frame: pd.DataFrame) -> set[str]:
    return {source["device"] for source in frame.attrs["sources"]}
