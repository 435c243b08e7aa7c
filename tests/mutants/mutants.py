"""Mutants: small wrong changes of rslib, each with the tests that should notice it.

Those of ``patches.txt`` are written by hand. Its lines are, by their first character:

    @ rslib/smoothing.py: tests/test_smoothing.py      a file, and its tests in the order they run
    ! tests/attacks/test_reliability.py                other tests, for the next mutant alone
    - the exact text, which the file has once          a line that starts with spaces goes on
    + what stands there instead                        without it the text goes
    = why no test can notice, or none needs to         only of a mutant that may survive
    # a remark

Those of the files in ``GENERATED`` are made from their syntax: one operator or number changed.
Which ones goes by a hash of function and statement, so that other changes of the file keep the
choice.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PATCHES = Path(__file__).with_name("patches.txt")

GENERATED = {
    "rslib/verdicts/rules.py": (16, ("tests/verdicts/test_rules.py",)),
}
"""Files that change too much to write patches for: how many mutants, and their tests."""

HARMLESS = {
    "rslib/verdicts/rules.py in _compared: high < 0 -> (high <= 0)": "intervals do not end at 0",
}
"""Generated mutants that may survive: the name that the run prints, and why."""


class PatchError(ValueError):
    """A patch that cannot be applied."""


@dataclass(frozen=True)
class Mutant:
    """One wrong change.

    Attributes:
        file: the file changed, within the project.
        line: where in it.
        change: in a line, for the reader; the mutant's name together with the file.
        source: the whole file after the change.
        tests: what should notice it.
        harmless: why it may survive; empty where it must not.
    """

    file: str
    line: int
    change: str
    source: str
    tests: tuple[str, ...]
    harmless: str = ""


def mutants(root: Path = PROJECT) -> list[Mutant]:
    """All mutants of a tree.

    Raises:
        PatchError: a patch is malformed, or its text does not stand in its file exactly once.
    """
    found = list(_written(PATCHES.read_text(), root))
    for file, (count, tests) in GENERATED.items():
        found += _generated(file, (root / file).read_text(), count, tests)
    return found


def _written(text: str, root: Path) -> Iterator[Mutant]:
    """The mutants of a text of patches."""
    file, tests, special = "", (), ()
    parts: dict[str, list[str]] = {"-": [], "+": [], "=": []}

    def made() -> Iterator[Mutant]:
        if parts["-"]:
            old, new = "\n".join(parts["-"]), "\n".join(parts["+"])
            yield _patched(root, file, old, new, special or tests, " ".join(parts["="]))
        for lines in parts.values():
            lines.clear()

    latest = ""
    for number, line in enumerate(text.splitlines(), start=1):
        kind, rest = line[:1], line[2:]
        if kind in ("", "#"):
            continue
        if kind == " ":
            parts[latest].append(line)
            continue
        if kind in "@!" or (kind == "-" and parts["-"]):
            yield from made()
            special = ()
        latest = kind
        if kind == "@":
            file, _, names = rest.partition(": ")
            tests = tuple(names.split())
        elif kind == "!":
            special = tuple(rest.split())
        elif kind in parts:
            parts[kind].append(rest)
        else:
            raise PatchError(f"{PATCHES.name}:{number}: no line of a patch: {line!r}")
    yield from made()


def _patched(
    root: Path, file: str, old: str, new: str, tests: tuple[str, ...], harmless: str
) -> Mutant:
    source = (root / file).read_text()
    times = source.count(old)
    if times != 1:
        raise PatchError(
            f"{file} has {times} times, not once, the text of the mutant {old!r} -> {new!r}: "
            f"write it anew in {PATCHES.name}"
        )
    whole, line = source.replace(old, new), source[: source.index(old)].count("\n") + 1
    return Mutant(file, line, f"{_brief(old)} -> {_brief(new)}", whole, tests, harmless)


def _brief(text: str) -> str:
    return " ".join(text.split()) or "nothing"


_COMPARED = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """The wrong versions of one node of the syntax."""
    made = copy.deepcopy(node)
    if isinstance(made, ast.Compare) and type(made.ops[0]) in _COMPARED:
        made.ops[0] = _COMPARED[type(made.ops[0])]()
        yield made
    elif isinstance(made, ast.BinOp) and type(made.op) in _COMPUTED:
        made.op = _COMPUTED[type(made.op)]()
        yield made
    elif isinstance(made, ast.BoolOp):
        made.op = ast.Or() if isinstance(made.op, ast.And) else ast.And()
        yield made
    elif isinstance(made, ast.UnaryOp) and isinstance(made.op, ast.Not | ast.USub):
        yield made.operand
    elif isinstance(made, ast.Constant) and type(made.value) in (int, float):
        made.value = 2 * made.value + 1
        yield made
    elif isinstance(made, ast.Call) and isinstance(made.func, ast.Name):
        other = {"min": "max", "max": "min", "any": "all", "all": "any"}.get(made.func.id)
        if other:
            made.func.id = other
            yield made


def _is_slack(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is float and 0 < node.value < 1e-6


def _generated(file: str, source: str, count: int, tests: tuple[str, ...]) -> list[Mutant]:
    """Mutants of a file, one operator or number changed in each."""
    tree, lines, found = ast.parse(source), source.encode().splitlines(keepends=True), []
    starts = [sum(map(len, lines[:k])) for k in range(len(lines) + 1)]
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        told = {id(part) for node in ast.walk(function) for part in ast.walk(node)
                if isinstance(node, ast.JoinedStr)}  # fmt: skip
        for node in (part for each in function.body for part in ast.walk(each)):
            # Neither texts are looked at here nor the slack that is given to rounding.
            if id(node) in told or any(_is_slack(part) for part in ast.walk(node)):
                continue
            for changed in _changes(node):
                old, new = ast.get_source_segment(source, node), f"({ast.unparse(changed)})"
                begin = starts[node.lineno - 1] + node.col_offset
                end = starts[node.end_lineno - 1] + node.end_col_offset
                whole = source.encode()
                whole = (whole[:begin] + new.encode() + whole[end:]).decode()
                change = f"in {function.name}: {_brief(old)} -> {_brief(new)}"
                made = Mutant(file, node.lineno, change, whole, tests)
                found.append((hashlib.sha256(change.encode()).digest(), made))
    unique = {made.change: (rank, made) for rank, made in found}
    chosen = [made for _, made in sorted(unique.values(), key=lambda pair: pair[0])[:count]]
    return [_excused(each) for each in sorted(chosen, key=lambda each: each.line)]


def _excused(mutant: Mutant) -> Mutant:
    reason = HARMLESS.get(f"{mutant.file} {mutant.change}", "")
    return Mutant(**vars(mutant) | {"harmless": reason})
