"""The report of :func:`rslib.attacks.reliability`: its checks as data, as text and as a table."""

import html
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Check:
    """One check: passed if nothing suspicious was seen, the numbers behind that, its meaning.

    Shares in the evidence are of all images unless their name says otherwise.
    """

    name: str
    passed: bool
    evidence: dict[str, Any]
    meaning: str


@dataclass(frozen=True)
class Report:
    """All checks made, in order, on one model's accuracy under PGD-20, at every iterate.

    ``eps`` is in [0, 1] units, ``images`` their number, accuracies are shares of them.
    """

    checks: tuple[Check, ...]
    eps: float
    norm: str
    images: int
    clean_accuracy: float
    pgd_accuracy: float

    @property
    def passed(self) -> bool:
        """True if every check passed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the checks that did not pass."""
        return tuple(check.name for check in self.checks if not check.passed)

    def __getitem__(self, name: str) -> Check:
        made = {check.name: check for check in self.checks}
        if name not in made:
            raise KeyError(f"{name}: the checks made are {', '.join(made)}")
        return made[name]

    def __iter__(self) -> Iterator[Check]:
        return iter(self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-compatible values."""
        values = {"passed": self.passed, "failed": list(self.failed)} | asdict(self)
        del values["checks"]
        return values | {"checks": [asdict(check) for check in self.checks]}

    def summary(self) -> str:
        """The report as lines of text."""
        verdict, setting = self._heading()
        lines = [f"{verdict}  ({setting})"]
        for check in self.checks:
            mark = "ok  " if check.passed else "FAIL"
            lines.append(f"{mark}  {check.name:<13} {check.meaning}")
            if not check.passed:
                lines.append(f"{'':21}{json.dumps(check.evidence)}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The report as a table, for notebooks."""
        rows = "".join(
            f"<tr><td>{'✓' if check.passed else '✗'}</td><td>{html.escape(check.name)}</td>"
            f'<td style="text-align:left">{html.escape(check.meaning)}</td>'
            f'<td style="text-align:left"><code>{html.escape(_brief(check.evidence))}</code></td>'
            "</tr>"
            for check in self.checks
        )
        heading = "<tr><th></th><th>check</th><th>meaning</th><th>evidence</th></tr>"
        verdict, setting = self._heading()
        caption = html.escape(f"{verdict} ({setting})")
        return f"<table><caption>{caption}</caption>{heading}{rows}</table>"

    def _heading(self) -> tuple[str, str]:
        verdict = f"Nothing suspicious in {len(self.checks)} checks"
        if not self.passed:
            verdict = f"Not to be trusted as it stands: {', '.join(self.failed)}"
        budget = f"{self.eps * 255:.3g}/255" if self.norm == "linf" else f"{self.eps:.3g}"
        return verdict, (
            f"{self.norm}, eps {budget}, {self.images} images, clean {self.clean_accuracy:.1%}, "
            f"PGD-20 {self.pgd_accuracy:.1%}"
        )


def _brief(evidence: dict[str, Any]) -> str:
    def number(value: Any) -> str:
        if isinstance(value, list):
            return "[" + ", ".join(number(item) for item in value) + "]"
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {number(value)}" for name, value in evidence.items())
