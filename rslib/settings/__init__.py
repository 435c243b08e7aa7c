"""Typed, strict settings: what can be set (``schema``) and how a profile is read (``loading``)."""

from rslib.settings.loading import (
    PROJECT,
    SettingsError,
    check_name,
    derive,
    dump,
    load,
    merge,
    profiles,
    read_profile,
    read_yaml,
    reference,
)
from rslib.settings.schema import Settings

__all__ = [
    "PROJECT",
    "Settings",
    "SettingsError",
    "check_name",
    "derive",
    "dump",
    "load",
    "merge",
    "profiles",
    "read_profile",
    "read_yaml",
    "reference",
]
