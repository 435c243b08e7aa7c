"""Typed, strict settings. The defaults are the paper's protocol; a profile lists what differs.

``load("cpu")`` reads ``params/cpu.yaml`` and lays it over the defaults; ``overrides`` go on top.
What can be set is in :mod:`rslib.schema`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rslib.schema import Settings as Settings

PROJECT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class SettingsError(ValueError):
    """A profile or an override that cannot be used; the message says which key and why."""


def load(profile: str = "paper", overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read a profile and lay overrides over it.

    Args:
        profile: name of a file in ``params/`` without its ending, or the path of a YAML file of
            the same form (``profile:`` and ``settings:``).
        overrides: nested mapping with the layout of :class:`Settings`, such as
            ``{"pgd": {"steps": 50}}``.

    Returns:
        The validated, immutable settings.

    Raises:
        SettingsError: unknown profile or key, wrong type, value out of range; the message names
            the key, what was given, what is allowed, and the nearest valid name.
    """
    name, chosen = _read_profile(profile)
    if overrides is not None and not isinstance(overrides, Mapping):
        raise SettingsError(
            f"settings must be a mapping such as {{pgd: {{steps: 50}}}}, not {overrides!r}"
        )
    merged = _merge(_merge(Settings().model_dump(), chosen | {"profile": name}), overrides or {})
    if merged["profile"] != name:
        raise SettingsError(
            f"settings.profile: {merged['profile']!r} contradicts profile {name!r}; "
            "give the profile outside settings"
        )
    return _validated(name, merged)


def derive(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Settings with others laid over them, as :func:`load` lays them over a profile.

    Raises:
        SettingsError: see :func:`load`.
    """
    return _validated(settings.profile, _merge(settings.model_dump(), overrides))


def _validated(name: str, merged: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**merged)
    except ValidationError as error:
        problems = "\n".join(f"  {line}" for line in _explain(error))
        raise SettingsError(f"profile {name!r} with the settings given:\n{problems}") from None


def profiles() -> dict[str, Path]:
    """The profiles on offer: name to file."""
    return {path.stem: path for path in sorted(_params_folder().glob("*.yaml"))}


def reference() -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted key, the paper's value, description) for every leaf of the settings."""
    yield from _leaves(Settings(), "")


def _params_folder() -> Path:
    return Path(os.environ.get("RSLIB_PARAMS") or PROJECT / "params")


def _read_profile(profile: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(profile, str) or not profile:
        raise SettingsError(f"profile must be a name such as 'smoke', not {profile!r}")
    path = Path(profile)
    if path.suffix not in {".yaml", ".yml"}:
        known = profiles()
        if profile not in known:
            raise SettingsError(
                f"no profile {profile!r} in {_params_folder()}{_nearest(profile, known)}"
            )
        path = known[profile]
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise SettingsError(f"no profile file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict) or set(content) - {"profile", "settings"}:
        raise SettingsError(f"{path} must hold exactly 'profile:' and 'settings:' at its top level")
    name, chosen = content.get("profile", path.stem), content.get("settings") or {}
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SettingsError(
            f"{path}: profile {name!r} must be letters, digits, '.', '_' or '-': "
            "it names the run directory"
        )
    if not isinstance(chosen, dict):
        raise SettingsError(f"{path}: settings must be a mapping, not {chosen!r}")
    return name, chosen


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if nested else value
    return merged


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        *parents, last = problem["loc"] or ("settings",)
        key, given = ".".join(map(str, problem["loc"])) or "settings", problem["input"]
        if problem["type"] == "extra_forbidden":
            valid = list(_section_at(parents).model_fields)
            yield f"{key}: no such setting (given {given!r}){_nearest(str(last), valid)}"
            continue
        hint = ""
        if isinstance(given, str) and re.fullmatch(r"[-+\d.]+([/eE][-+\d.]+)?", given):
            hint = "; YAML reads 8/255 and 1e-3 as text: write budgets as 8 and numbers as 1.0e-3"
        allowed = problem["msg"].removeprefix("Value error, ")
        # A check on a whole section speaks for itself: what was given is the section.
        told = "" if isinstance(given, Mapping) else f" (given {given!r})"
        yield f"{key}: {allowed[0].lower()}{allowed[1:]}{told}{hint}"


def _section_at(parents: list[str | int]) -> type[BaseModel]:
    section: type[BaseModel] = Settings
    for name in parents:
        section = type(section.model_fields[str(name)].default)
    return section


def _nearest(name: str, valid: Any) -> str:
    valid = list(valid)
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" Valid: {', '.join(valid)}"


def _leaves(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, field.description or ""
