"""The patches of the mutation run fit the code as it is now; the run itself is ``make mutants``."""

import ast

import pytest

from tests.mutants.mutants import PROJECT, PatchError, _generated, _written, mutants


def test_every_patch_applies_and_names_tests_that_are_there():
    found = mutants()
    assert len(found) >= 150
    assert len({(each.file, each.change) for each in found}) == len(found)
    for each in found:
        assert each.source != (PROJECT / each.file).read_text()
        ast.parse(each.source)
        for test in each.tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (PROJECT / file).read_text(), test


@pytest.mark.parametrize("text", ["x = 3", "x = 1"])
def test_a_patch_that_does_not_fit_once_is_named(tmp_path, text):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    with pytest.raises(PatchError, match=f"a.py has . times, not once, .*{text}"):
        list(_written(f"@ a.py: tests/test_a.py\n- {text}\n+ x = 2\n", tmp_path))
    with pytest.raises(PatchError, match="patches.txt:2: no line of a patch"):
        list(_written("@ a.py: tests/test_a.py\nx = 2\n", tmp_path))


def test_patches_are_read_as_described(tmp_path):
    (tmp_path / "a.py").write_text("def f(x):\n    x = x + 1\n    return x\n")
    text = (
        "@ a.py: one two\n# a remark\n- x + 1\n+ x - 1\n! three\n- x = x + 1\n    return x\n"
        "+ return 7\n= nobody\n=  asks\n- x = x + 1\n"
    )
    first, second, third = _written(text, tmp_path)
    assert (first.line, first.tests, first.change) == (2, ("one", "two"), "x + 1 -> x - 1")
    assert second.source == "def f(x):\n    return 7\n" and second.tests == ("three",)
    assert second.harmless.split() == ["nobody", "asks"] and not first.harmless
    assert third.change == "x = x + 1 -> nothing" and third.tests == ("one", "two")


def test_generated_mutants_change_one_thing_and_stay_when_other_code_changes():
    code = (
        "def f(a, b):\n    if a < b and not a:\n        return min(a, 2 * b)\n"
        "    return f'{a + b}'\n"
    )
    all_of_it = _generated("a.py", code, 99, ("t",))
    changes = [each.change for each in all_of_it]
    assert "in f: a < b -> (a <= b)" in changes and "in f: 2 -> (5)" in changes
    assert not any("a + b" in change for change in changes)  # texts are left alone
    chosen = {each.change for each in _generated("a.py", code, 3, ("t",))}
    assert len(chosen) == 3 <= len(all_of_it)
    more = "import os\n\n\n" + code.replace("f'{a + b}'", "'ü', None")
    assert {each.change for each in _generated("a.py", more, 3, ("t",))} == chosen
