"""The calls of every notebook: a run from its parameters, and prose with the numbers in it."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rslib import verdicts
from rslib.report import glued, labels, table
from rslib.run import Run
from rslib.run.provenance import provenance
from rslib.settings import SettingsError, load
from rslib.settings.environment import seeds as whole_numbers
from rslib.settings.nearest import nearest

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import Markdown

PARAMETERS = ("profile", "settings", "seed", "seeds")


def start(
    profile: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    seeds: Sequence[int] = (),
) -> Run:
    """Turn a notebook's parameters into a run, and say what it is.

    Args:
        profile: name of a profile in ``params/``, or the path of a YAML file of that form.
        settings: laid over the profile, such as ``{"pgd": {"steps": 50}}``.
        seed: of everything random.
        seeds: all that tables and figures speak of, such as ``[0, 1, 2]``. The others' notebooks
            must have been run, unless the setting ``seeded`` names their models: made here.

    Raises:
        rslib.settings.SettingsError: an unknown parameter, profile, or setting.
    """
    for name in _injected_names():
        if name not in PARAMETERS:
            raise SettingsError(
                f"the notebooks have no parameter {name!r}{nearest(name, PARAMETERS)} They take "
                f"{', '.join(PARAMETERS)}; everything else goes into settings, as in "
                "-y '{settings: {pgd: {steps: 50}}}'"
            )
    if not isinstance(seeds, list | tuple):
        raise SettingsError(f"seeds must be a list, not {seeds!r}, as in -y '{{seeds: [0, 1, 2]}}'")
    seeds = whole_numbers(list(seeds), "seeds") if seeds else seeds
    run = Run(load(profile, settings), seed, seeds=seeds)
    made = mark(run)
    beside = f" of {labels.seeds_phrase(run.seeds)}" if run.siblings else ""
    print(
        f"profile {run.settings.profile}, data {run.settings.data.name}, seed {seed}{beside}, "
        f"{made['device']}\n"
        f"revision {made['revision']}, torch {made['torch']}, {made['date'][:10]}"
    )
    glued.put(glued.MARK, json.dumps(made))
    return run


def mark(run: Run) -> dict[str, Any]:
    """A notebook's account of its run, for pages and for later comparison: settings are a key."""
    made = provenance(run.device)
    return {
        "profile": run.settings.profile,
        "settings": table.settings_key(run),
        "data": run.settings.data.name,
        "limits": verdicts.limits(run),
        "seed": run.seed,
        "seeds": list(run.seeds),
        **{key: made[key] for key in ("device", "revision", "date", "torch")},
    }


def say(text: str, *tables: pd.DataFrame) -> Markdown:
    """Show sentences as a cell's last value; ``text`` is Markdown from :mod:`rslib.report.prose`.

    The sources of the tables that they cite are stored unseen, so that the book can refuse
    sentences of other tables (:class:`book.editions.Account`).
    """
    from IPython.display import Markdown

    for each in tables:
        glue({f"{each.attrs['table']}_made_of": table.identity(each.attrs)})
    return Markdown(text)


def glue(values: Mapping[str, Any]) -> None:
    """Store numbers and strings under their names, for pages of the book to cite."""
    for name, value in values.items():
        # As Python's own numbers: NumPy's do not take a format in prose.
        glued.put(name, repr(value.item() if hasattr(value, "item") else value))


def _injected_names() -> list[str]:
    """Names assigned by the cell that papermill injects, which opens with "# Parameters"."""
    from IPython import get_ipython

    shell = get_ipython()
    history: list[str] = shell.user_ns.get("In", []) if shell else []
    injected = "".join(f"{cell}\n" for cell in history if cell.startswith("# Parameters"))
    assigned = [each for each in ast.parse(injected).body if isinstance(each, ast.Assign)]
    return [t.id for each in assigned for t in each.targets if isinstance(t, ast.Name)]
