"""Text of others as a terminal may show it."""

import pytest

from rslib.store.text import printable, reason


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("resnet18 × 2 – α", "resnet18 × 2 – α"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\rb\nc\x85", r"a\rb\nc\x85"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("a\udcffb\u2028\U000e0041", r"a\udcffb\u2028\U000e0041"),
        ("\x9b31m\x07", r"\x9b31m\x07"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(given, shown):
    assert printable(given) == shown


def test_a_reason_is_one_line_with_the_kind_of_error():
    assert reason(KeyError("layer")) == "KeyError: 'layer'"
    assert reason(AssertionError()) == "AssertionError: no message"
    assert reason(ValueError("a\n  b"), ValueError) == "a b"
    assert reason(ValueError(), ValueError) == "ValueError: no message"
    assert len(reason(RuntimeError("x" * 10_000))) < 700

    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    assert reason(Mute()) == "Mute: no message"
