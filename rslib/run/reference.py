"""The reference model's corruption errors, as a file of the package (paper 3.5).

``rslib/corruptions/references/<profile>.json`` holds its 19 x 5 table of errors, with what it was
measured on and a digest. A score of a model that was evaluated on the same corrupted images can
then be given without the reference's weights; one that was evaluated on others is refused
(:mod:`rslib.corruptions.mce`).
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from rslib.corruptions.mce import ErrorTable
from rslib.run.outcomes import outcomes
from rslib.settings.names import REFERENCE
from rslib.store import records
from rslib.store.records import RecordError

if TYPE_CHECKING:
    from rslib.run.results import Results

FOLDER = Path(__file__).parents[1] / "corruptions" / "references"


def load(profile: str) -> ErrorTable:
    """The packaged errors of a profile's reference model.

    Raises:
        RecordError: there are none, or the file was altered; says which there are.
    """
    path = FOLDER / f"{profile}.json"
    if not path.exists():
        known = sorted(each.stem for each in FOLDER.glob("*.json"))
        close = difflib.get_close_matches(profile, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise RecordError(
            f"the package holds no reference errors for profile {profile!r} (there are: "
            f"{', '.join(known) or 'none'}).{hint} Evaluate the reference model under "
            "corruptions, as notebook 05 does"
        )
    try:
        return ErrorTable.from_document(records.read_json(path))
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: {error}") from None


def write(run: Results) -> Path:
    """Write the file of a run's profile from its record of the reference model.

    Raises:
        RecordError: the run holds no record of the reference model.
    """
    path = FOLDER / f"{run.settings.profile}.json"
    records.write_json(path, outcomes(run, REFERENCE).errors().document())
    return path
