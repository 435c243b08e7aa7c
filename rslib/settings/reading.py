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


class _Rules:
    """What both of PyYAML's safe loaders, the one in C and the other, get of rules of our own."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key that stands twice; merged ones may be overridden, that is what << is for."""
        checked = self.__dict__.setdefault("checked", set())
        if id(node) not in checked:  # once, since merging adds to a node that others merge, too
            checked.add(id(node))
            seen: dict[Any, int] = {}
            for key, _ in node.value:
                found = "<<" if key.tag == _MERGE else self.construct_object(key, deep=True)
                if not isinstance(found, Hashable):
                    continue  # no key at all, which is refused as such
                if found in seen:
                    told = f"the key {found!r} stands twice, first in line {seen[found]}: keep one"
                    raise yaml.constructor.ConstructorError(None, None, told, key.start_mark)
                seen[found] = key.start_mark.line + 1
        super().flatten_mapping(node)

    def _ambiguous(self, node: yaml.ScalarNode) -> None:
        told = (
            f"{node.value} is read differently by versions of YAML: write a number in plain "
            "decimal digits, true or false, or quotes around a text"
        )
        raise yaml.constructor.ConstructorError(None, None, told, node.start_mark)

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
