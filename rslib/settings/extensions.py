"""Functions of a user's own: a register of what was added, and the import of modules that add.

The decorators are :func:`rslib.corruptions.corruption`, :func:`rslib.attacks.attack`,
:func:`rslib.training.objective`, :func:`rslib.data.dataset` and
:func:`rslib.saliency.saliency_method`; they stand in a module that the setting ``extensions``
names, or in a notebook cell.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

#: What was added: kind to name to function, or to what the room makes of it.
ADDED: dict[str, dict[str, Any]] = {
    kind: {} for kind in ("attack", "corruption", "dataset", "objective", "saliency_method")
}
_SOURCES: dict[tuple[str, str], tuple[str, str]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class ExtensionError(ValueError):
    """An extension that cannot be imported, or adds what cannot be added; says what to do."""


def adding(
    kind: str,
    name: str,
    ours: Iterable[str],
    made: Callable[[Function], Any] = lambda function: function,
) -> Callable[[Function], Function]:
    """A decorator that registers a function and gives it back as it is.

    It stands in :data:`ADDED` under its kind, as what ``made`` makes of it; ``ours`` are names that
    it may not have. A function that is defined again, such as by a notebook cell that runs twice,
    replaces itself.

    Raises:
        ExtensionError: the name is of another form, or taken; or what is decorated is no function.
    """
    called = kind.replace("_", " ")
    if not isinstance(name, str):
        raise ExtensionError(f'the {called} needs a name: write @{kind}("name") above it')
    if not _NAME.fullmatch(name):
        form = "lower case letters, digits and underscores, a letter first"
        told = f"the name {name!r} of an added {called} must be {form}"
        raise ExtensionError(f"{told}: it becomes part of file names")
    taken = f"there is a {called} {name!r} already"
    if name in ours:
        raise ExtensionError(f"{taken}: give yours another name")

    def decorate(function: Function) -> Function:
        if not callable(function):
            what = type(function).__name__
            raise ExtensionError(f"the {called} {name!r} is a {what}: decorate a function")
        qualified = getattr(function, "__qualname__", type(function).__qualname__)
        source = (function.__module__, qualified)
        before = _SOURCES.get((kind, name))
        if name in ADDED[kind] and before != source:
            whose = ".".join(before) if before else "another extension"
            raise ExtensionError(f"{taken}, of {whose}: give one of the two another name")
        ADDED[kind][name] = made(function)
        _SOURCES[kind, name] = source
        return function

    return decorate


def load(names: Sequence[str]) -> None:
    """Import modules that add something; those that are imported already stay as they are.

    They are names, such as ``"mymodule"``, or paths, such as ``"lab/mine.py"``; both are looked for
    in the working directory.

    Raises:
        ExtensionError: one cannot be imported; names it, the reason and the way out.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.append(here)
    importlib.invalidate_caches()
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name).resolve())
            else:
                importlib.import_module(name)
        # A user's module may raise anything, and may call exit().
        except (Exception, SystemExit) as error:
            why = error if isinstance(error, ExtensionError) else _reason(name, error)
            raise ExtensionError(f"extension {name!r}: {why}") from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise ExtensionError(f"there is no file {path}: give a path from the working directory")
    name = path.stem
    if name in sys.modules:
        loaded = getattr(sys.modules[name], "__file__", None)
        if loaded is not None and Path(loaded).resolve() == path:
            return
        other = f"another module is called {name!r} ({loaded or 'built in'})"
        raise ExtensionError(f"{other}: rename the file")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _reason(name: str, error: BaseException) -> str:
    """Why an import failed, where, and what to do."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is not None and f"{name}.".startswith(f"{missing}."):
        return (
            f"there is no module {missing!r} in {os.getcwd()}, nor is one installed: give the name "
            "of a module there, or the path of a .py file"
        )
    if isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        *_, last = (frame for frame in frames if not frame.filename.startswith("<frozen"))
        place = f"{last.filename}, line {last.lineno}"
    return (
        f"it cannot be imported ({type(error).__name__}: {error}; {place}): correct it, or take it "
        "out of the setting extensions"
    )
