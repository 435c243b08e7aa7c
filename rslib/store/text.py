"""Text of others, such as names of models and files, as it may be shown."""

from __future__ import annotations

import re

_LONGEST = 600  # characters of a message

# Control characters, and those of Unicode that are invisible or turn the direction of reading.
_HIDDEN = re.compile(
    "[\0-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: object) -> str:
    r"""A text on one line, with each character that a terminal would obey written as ``\x1b``."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], str(text))


def reason(error: BaseException, *plain: type[BaseException]) -> str:
    """An error's kind and message on one line; of the ``plain`` kinds the message alone."""
    try:
        told = printable(" ".join(str(error).split()))
    except Exception:  # a message of others' can fail, too
        told = ""
    told = told if len(told) <= _LONGEST else f"{told[:_LONGEST]}…"
    if told and isinstance(error, plain):
        return told
    return f"{printable(type(error).__name__)}: {told or 'no message'}"
