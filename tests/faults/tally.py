"""How many faults were tried, by kind, and what became of the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

NAME = "tally"  # of the property that carries a test's count to whoever prints it


@dataclass
class Tally:
    """What happened under one kind of fault.

    Attributes:
        kind: what was done to what.
        tries: how often.
        lost: results that were missing or unreadable afterwards, or files half written.
        wrong: results that differ from those of a run that nothing happened to.
        faults: what was seen, for the message of the test that fails.
    """

    kind: str
    tries: int = 0
    lost: int = 0
    wrong: int = 0
    faults: tuple[str, ...] = ()

    def add(self, where: str, *, lost: Sequence[str] = (), wrong: Sequence[str] = ()) -> None:
        """Count one try, and what it lost or changed."""
        self.tries += 1
        self.lost += len(lost)
        self.wrong += len(wrong)
        self.faults += tuple(f"{where}: {each}" for each in (*lost, *wrong))

    def property(self) -> tuple[str, dict]:
        """The count as a property of the test."""
        return NAME, asdict(self)


def table(counts: Iterable[dict]) -> str:
    """The counts as text, one line a kind, and their sum."""
    rows: dict[str, list[int]] = {}
    for count in counts:
        row = rows.setdefault(count["kind"], [0, 0, 0])
        for place, column in enumerate(("tries", "lost", "wrong")):
            row[place] += count[column]
    rows = dict(sorted(rows.items()))
    rows["all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    width = max(len(kind) for kind in rows)
    lines = [f"{'':{width}}  tries  lost  wrong"]
    lines += [
        f"{kind:{width}}  {n:5}  {lost:4}  {wrong:5}" for kind, (n, lost, wrong) in rows.items()
    ]
    return "\n".join(lines)
