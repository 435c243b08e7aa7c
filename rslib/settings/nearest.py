"""The known name that a mistyped one is nearest to, for error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of a sentence that refuses a name: ``"; did you mean 'fog'?"``, or ``"."`` if far.

    The caller goes on with what there is::

        f"no corruption {name!r}{nearest(name, NAMES)} There are: {', '.join(NAMES)}"
    """
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else "."
