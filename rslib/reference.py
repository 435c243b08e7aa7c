"""The reference model's corruption errors, as a file of the package (paper 3.5).

    python -m rslib.reference cpu

reads a published run's records of the reference model and writes its 19 x 5 table of errors to
``rslib/corruptions/references/<profile>.json``, with what it was measured on and a digest. A score
of a model that was evaluated on the same corrupted images can then be given without the reference's
weights; one that was evaluated on others is refused (:mod:`rslib.corruptions.mce`).
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from rslib import records
from rslib.corruptions.mce import ErrorTable
from rslib.records import RecordError

FOLDER = Path(__file__).parent / "corruptions" / "references"


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


def write(profile: str) -> Path:
    """Write the file from the published run of a profile.

    Raises:
        RecordError: the run holds no record of the reference model.
    """
    from rslib.corruption_tables import REFERENCE, outcomes
    from rslib.readme import published

    path = FOLDER / f"{profile}.json"
    records.write_json(path, outcomes(published(profile), REFERENCE).errors().document())
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rslib.reference", description=__doc__)
    parser.add_argument("profile", help="a published profile, such as cpu")
    try:
        print(write(parser.parse_args(arguments).profile))
    except RecordError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
