"""How settings are read: the defaults, a profile that lists what differs, and overrides on top."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from rslib.settings import cast, environment, extensions
from rslib.settings.environment import NAME, SettingsError
from rslib.settings.nearest import nearest
from rslib.settings.reading import read_yaml
from rslib.settings.schema import Settings

PROJECT = Path(__file__).resolve().parents[2]


def load(
    profile: str = "paper", overrides: Mapping[str, Any] | None = None, *, making: bool = True
) -> Settings:
    """Read a profile and lay overrides over it, to validated, immutable settings.

    Args:
        profile: name of a file in ``params/`` without its ending, or the path of a YAML file of
            the same form (``profile:`` and ``settings:``).
        overrides: nested mapping with the layout of :class:`Settings`, such as
            ``{"pgd": {"steps": 50}}``.
        making: whether something is to be made, for which the folder ``masks.own`` must be there;
            what was made elsewhere is read without.

    Raises:
        SettingsError: unknown profile or key, wrong type, value out of range; names the key, what
            was given, what is allowed, and the nearest valid name.
    """
    name, chosen = read_profile(profile)
    below = merge(Settings().model_dump(), chosen | {"profile": name})
    return _validated(name, below, {} if overrides is None else overrides, making)


def derive(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Settings with others laid over them, as :func:`load` does over a profile; raises the same."""
    found = _validated(settings.profile, settings.model_dump(), overrides, False)
    if found.masks.own != settings.masks.own:
        _refuse(found.profile, _own_masks(found))
    return found


def _validated(
    name: str, below: Mapping[str, Any], overrides: Mapping[str, Any], making: bool
) -> Settings:
    if not isinstance(overrides, Mapping):
        told = f"a mapping such as {{pgd: {{steps: 50}}}}, not {_shown(overrides)}"
        raise SettingsError(f"settings must be {told}")
    merged = merge(below, overrides)
    if merged["profile"] != name:
        told = f"{_shown(merged['profile'])} contradicts profile {name!r}"
        raise SettingsError(f"settings.profile: {told}; give the profile outside settings")
    # First: a data set may be one that they add. Validation refuses what is no list of names.
    modules = merged["extensions"]
    if isinstance(modules, list) and all(isinstance(each, str) for each in modules):
        try:
            extensions.load(modules)
        except extensions.ExtensionError as error:
            raise SettingsError(f"settings.extensions: {error}") from error
    try:
        found = Settings.model_validate(merged)
    except ValidationError as error:
        _refuse(name, _explain(error))
    _refuse(name, [*cast.unplanned(found), *(_own_masks(found) if making else ())])
    return found


def _refuse(name: str, problems: Iterable[str]) -> None:
    """Raise SettingsError for what is wrong with settings, if anything is."""
    if told := "\n".join(f"  {line}" for line in problems):
        raise SettingsError(f"profile {name!r} with the settings given:\n{told}")


def _own_masks(settings: Settings) -> Iterator[str]:
    """What is wrong with the folder of a user's own masks."""
    own = settings.masks.own
    if own is not None:
        try:
            folder = Path(environment.expanded(own)).resolve()
            why = "" if folder.is_dir() else f"there is no folder {folder}; give one that is there"
        except (OSError, ValueError, RuntimeError) as error:
            why = f"{error}: name a folder"
        if why:
            yield f"masks.own: {why} (given {_shown(own)})"


def dump(settings: Settings) -> str:
    """A profile's file with these settings, for :func:`load`: what differs from the defaults."""
    chosen = _differing(settings, Settings(profile=settings.profile))
    content = {"profile": settings.profile, "settings": chosen}
    return yaml.safe_dump(content, sort_keys=False, width=100)


def profiles() -> dict[str, Path]:
    """The profiles on offer: name to file."""
    return {path.stem: path for path in sorted(_params_folder().glob("*.yaml"))}


def _params_folder() -> Path:
    return environment.folder("RSLIB_PARAMS") or PROJECT / "params"


def check_name(name: Any, where: str = "") -> str:
    """A profile's name, which is also that of a folder.

    Raises:
        SettingsError: it could lead out of its folder; ``where`` opens the message.
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise SettingsError(
            f"{where}profile {_shown(name)} must be up to 100 letters, digits, '.', '_' or '-', a "
            "letter or digit first: it names the run directory"
        )
    return name


def read_profile(profile: str) -> tuple[str, dict[str, Any]]:
    """A profile's name and the settings it lists, which are not checked yet.

    Raises:
        SettingsError: there is none, or the file is not of a profile's form (see :func:`load`).
    """
    known = profiles()
    offered = ", ".join(known)
    if not isinstance(profile, str) or not profile:
        told = f"profile must be a name such as 'smoke', not {_shown(profile)}"
        raise SettingsError(f"{told}; there are: {offered}")
    path = known.get(profile, Path(profile))
    if path.suffix not in {".yaml", ".yml"}:
        told = f"no profile {profile!r} in {_params_folder()}{nearest(profile, known)}"
        raise SettingsError(f"{told} Valid: {offered}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        told = f"no profile file {path}; give a path that is there, or one of {offered}"
        raise SettingsError(told) from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid YAML: {error}. Save it as UTF-8") from None
    # A folder of that name, a name too long, a zero byte in it.
    except (OSError, ValueError) as error:
        told = f"profile {_shown(profile)} cannot be read ({error}); give the path of a YAML file"
        raise SettingsError(told) from None
    content = read_yaml(text, str(path))
    held = None
    if not isinstance(content, dict):
        held = "nothing" if content is None else _shown(content)
    elif extra := [key for key in content if key not in ("profile", "settings")]:
        held = ", ".join(map(_shown, extra[:5]))
    if held:
        raise SettingsError(
            f"{path} holds {held}; only 'profile:' and 'settings:' may stand at its top level; put "
            "what you set under the latter"
        )
    name = check_name(content.get("profile", path.stem), f"{path}: ")
    chosen = content.get("settings")
    if not isinstance(chosen, dict | None):
        raise SettingsError(f"{path}: settings must be a mapping, not {_shown(chosen)}")
    return name, chosen or {}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another; neither changes."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        nested = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if nested else value
    return merged


def _differing(section: BaseModel, default: BaseModel) -> dict[str, Any]:
    """The fields of a section that differ from another's; a place has defaults of its own."""
    found = {}
    for name, value in section:
        usual = getattr(default, name)
        if value != usual:
            found[name] = _differing(value, usual) if isinstance(value, BaseModel) else value
    return found


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        *parents, last = problem["loc"] or ("settings",)
        key, given = ".".join(map(str, (*parents, last))), problem["input"]
        if problem["type"] == "extra_forbidden":
            section: BaseModel = Settings()
            for name in parents:
                section = getattr(section, str(name))
            valid = type(section).model_fields
            hint = f"{nearest(last, valid)} Valid: {', '.join(valid)}"
            yield f"{key}: no such setting (given {_shown(given)}){hint}"
            continue
        hint = ""
        if isinstance(given, str) and re.fullmatch(r"[-+\d.]+([/eE][-+\d.]+)?", given):
            hint = "; YAML reads 8/255 and 1e-3 as text: write budgets as 8 and numbers as 1.0e-3"
        allowed = problem["msg"].removeprefix("Value error, ")
        # A check on a whole section speaks for itself: what was given is the section.
        told = "" if isinstance(given, Mapping) else f" (given {_shown(given)})"
        yield f"{key}: {allowed[0].lower()}{allowed[1:]}{told}{hint}"


def _shown(value: Any) -> str:
    """What was given, cut where it is long: YAML's references can make a few lines endless."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 200, 200
    try:
        return short.repr(value)
    except ValueError:  # Python writes out no whole number of thousands of digits
        return "a number of too many digits"
