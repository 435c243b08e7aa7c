"""What the commands of the project say of themselves."""

import argparse
import importlib
import sys

import pytest

COMMANDS = [
    "rslib.__main__",
    "book.__main__",
    "rslib.store.locks",
    "benchmarks.__main__",
    "benchmarks.foreseen",
    "benchmarks.growth.__main__",
    "benchmarks.recipes",
    "benchmarks.stages",
]


@pytest.mark.parametrize("module", COMMANDS)
def test_every_argument_is_explained(module, monkeypatch, capsys):
    bare, seen = [], []
    # Its place in argparse's own classes is where parsers and their groups both have it from.
    container = argparse.ArgumentParser.__mro__[-2]
    add = container.add_argument

    def noted(self, *names, **options):
        seen.append(names)
        if not options.get("help"):
            bare.append(names)
        return add(self, *names, **options)

    monkeypatch.setattr(container, "add_argument", noted)
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stopped:
        importlib.import_module(module).main()
    assert stopped.value.code == 0 and "usage:" in capsys.readouterr().out
    assert ("-h", "--help") in seen and not bare
