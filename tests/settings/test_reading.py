"""YAML is read one way, whatever the file: what its versions read differently is refused."""

import math

import pytest
import yaml

from rslib.settings import PROJECT, SettingsError, load, read_yaml
from rslib.settings.reading import PackageLoader

OURS = [
    path
    for pattern in ("params/*.yaml", "rslib/paper/*.yaml", "_*.yml", "CITATION.cff")
    for path in sorted(PROJECT.glob(pattern))
] + sorted((PROJECT / "book" / "published").rglob("*.yaml"))


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_our_own_files_are_read_as_ever(path):
    found = PackageLoader(path.read_text()).get_single_data()
    assert found == yaml.load(path.read_text(), yaml.CSafeLoader)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: 1\nb: 2\na: 3", 3, "'a' stands twice, first in line 1"),
        ("x:\n  pgd: {steps: 1, 'steps': 2}", 2, "'steps' stands twice"),
        ("{1: a, 0x1: b}", 1, "1 stands twice"),
        ("- {true: a}\n- {1: a, true: b}", 2, "stands twice"),
        ("<<: {a: 1}\n<<: {b: 1}", 2, "'<<' stands twice"),
        *((f"a: 1\nb: {value}", 2, value) for value in (
            "010", "-017", "08", "0o10", "0b11", "1:30", "190:20:30.15", "1_000", "1_0.5", "0x1_F",
            "yes", "No", "ON", "off", "[1, no]", "!!int 010", "!!float 1_0.0",
        )),
        ("010: a", 1, "010"),
        ("no: a", 1, "no"),
    ],
)  # fmt: skip
def test_what_would_be_dropped_or_read_otherwise_is_refused_with_its_line(text, line, word):
    with pytest.raises(SettingsError) as refused:
        read_yaml(text, "mine.yaml")
    said = str(refused.value)
    assert f"mine.yaml is not valid YAML: line {line}: " in said
    assert word.strip("[]1, ").removeprefix("!!int ").removeprefix("!!float ") in said
    with pytest.raises(yaml.YAMLError):
        PackageLoader(text).get_single_data()


def test_what_is_plain_is_read_as_yaml_1_2_does():
    text = (
        "{a: 1e3, b: -.5, c: 0x1F, d: '010', e: \"no\", f: !!str 1_0, g: TrUe, h: ~, i: +7, n: 0}"
    )
    expected = {"a": 1000.0, "b": -0.5, "c": 31, "d": "010", "e": "no", "f": "1_0", "g": "TrUe"}
    assert read_yaml(text, "it") == expected | {"h": None, "i": 7, "n": 0}
    assert math.isnan(read_yaml("[.nan]", "it")[0])
    merged = "base: &b {x: 1, y: 2}\none: &o {<<: *b, x: 3}\ntwo: {<<: *o, y: 4}\nthree: *o"
    found = read_yaml(merged, "it")
    assert found["one"] == found["three"] == {"x": 3, "y": 2} and found["two"] == {"x": 3, "y": 4}
    # Of several merged ones the first counts.
    several = "a: &a {key: 1}\nb: &b {key: 2, of b: 3}\nc: {<<: [*a, *b]}"
    assert read_yaml(several, "it")["c"] == {"key": 1, "of b": 3}
    with pytest.raises(SettingsError, match="line 1: a mapping or a list is no key"):
        read_yaml("? [a]\n: b", "it")


def test_a_profile_with_a_key_twice_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("settings:\n  pgd: {steps: 7}\n  fgsm: {eps: 4}\n  pgd: {eps: 4}\n")
    with pytest.raises(SettingsError, match=r"mine.yaml.*line 4.*'pgd' stands twice"):
        load(str(path))
