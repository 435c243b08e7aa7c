"""The one reader of YAML: plain data as YAML 1.2 has it; what versions read otherwise is refused.

PyYAML reads YAML 1.1, in which ``010`` is 8, ``1:30`` is 90, ``1_000`` a number and ``no`` false,
and of two equal keys the last wins unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from rslib.settings.environment import SettingsError

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_AMBIGUOUS = re.compile(
    r"[-+]?0[0-9_]+|[-+]?0[bo][0-9_]+|[-+]?0x[0-9a-fA-F]*_[0-9a-fA-F_]*"  # bases, and 0x1_F
    r"|[-+][0]x[0-9a-fA-F_]+"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"  # sexagesimal
    r"|[-+]?(?=[0-9.]*[0-9])[0-9.]*_[0-9._]*(?:[eE][-+]?[0-9]+)?"  # 1_000
    r"|(?i:yes|no|on|off)"
)
_MERGE, _AMBIGUOUS_TAG = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:ambiguous"


def _refuse(why: str, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(None, None, why, node.start_mark)


class _Rules:
    """What both of PyYAML's safe loaders, the one in C and the other, get of rules of our own."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge what ``<<`` names, own keys before it; a key that stands twice is refused."""
        done = self.__dict__.setdefault("flattened", set())
        if id(node) in done:  # others merge it, too
            return
        done.add(id(node))
        own: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            found = "<<" if key.tag == _MERGE else self.construct_object(key, deep=True)
            if not isinstance(found, Hashable):
                _refuse("a mapping or a list is no key", key)
            if found in own:
                first = own[found][0].start_mark.line + 1
                _refuse(f"the key {found!r} stands twice, first in line {first}: keep one", key)
            own[found] = key, value
            if key.tag == _MERGE:
                for each in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    if not isinstance(each, yaml.MappingNode):
                        _refuse("<< merges a mapping or a list of mappings", each)
                    self.flatten_mapping(each)
                    for pair in each.value:
                        merged.setdefault(self.construct_object(pair[0], deep=True), pair)
        kept = {name: pair for name, pair in own.items() if pair[0].tag != _MERGE}
        node.value = list((merged | kept).values())

    def _ambiguous(self, node: yaml.ScalarNode) -> None:
        told = (
            f"{node.value} is read differently by versions of YAML: write a number in plain "
            "decimal digits, true or false, or quotes around a text"
        )
        _refuse(told, node)

    def _int(self, node: yaml.ScalarNode) -> int:
        value = self.construct_scalar(node)
        if not _INT.fullmatch(value):
            self._ambiguous(node)
        return int(value, 16 if "x" in value else 10)

    def _float(self, node: yaml.ScalarNode) -> float:
        value = self.construct_scalar(node)
        if not _FLOAT.fullmatch(value) and not _INFINITE.fullmatch(value):
            self._ambiguous(node)
        return float(value.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _loader(base: type) -> type:
    made = type("Loader", (_Rules, base), {"yaml_implicit_resolvers": {}})
    core = {
        "null": r"~|null|Null|NULL|",
        "bool": r"true|True|TRUE|false|False|FALSE",
        "merge": "<<",
    }
    rules = [("ambiguous", _AMBIGUOUS), ("int", _INT), ("float", _FLOAT), ("float", _INFINITE)]
    rules += [(name, re.compile(form)) for name, form in core.items()]
    for name, form in rules:
        whole = re.compile(f"(?:{form.pattern})\\Z")
        made.add_implicit_resolver(f"tag:yaml.org,2002:{name}", whole, None)
    dates = "tag:yaml.org,2002:timestamp"
    usual = yaml.SafeLoader.yaml_implicit_resolvers["2"]
    made.add_implicit_resolver(dates, dict(usual)[dates], list("0123456789"))
    for name, construct in (("int", _Rules._int), ("float", _Rules._float)):
        made.add_constructor(f"tag:yaml.org,2002:{name}", construct)
    made.add_constructor(_AMBIGUOUS_TAG, _Rules._ambiguous)
    return made


Loader = _loader(yaml.SafeLoader)
"""Of anyone's files: nested too deeply for Python, they raise an error and no more."""

PackageLoader = _loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader))
"""Of the package's own files: where PyYAML was built with libyaml, seven times as fast."""


def read_yaml(text: str, what: str) -> Any:
    """Plain data from YAML; nothing in it is run.

    Raises:
        SettingsError: it is not valid, asks for more than plain data, has a key twice, or a value
            that versions of YAML read differently; ``what`` names it, and the line is told.
    """
    try:
        return Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(filter(None, [error.context, error.problem]))
        why = f"line {mark.line + 1}: {why}" if mark else why
    # Beside its own errors the reader passes on those of dates, numbers, tags and deep nesting.
    except Exception as error:
        why = str(error) or type(error).__name__
    told = f"{what} is not valid YAML: {why}. Write it as in {{pgd: {{steps: 50}}}}"
    raise SettingsError(told) from None
