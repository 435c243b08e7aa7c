"""Typed, strict settings: what can be set (``schema``) and how a profile is read (``loading``)."""

from rslib.settings.environment import SettingsError as SettingsError
from rslib.settings.loading import PROJECT as PROJECT
from rslib.settings.loading import check_name as check_name
from rslib.settings.loading import derive as derive
from rslib.settings.loading import dump as dump
from rslib.settings.loading import load as load
from rslib.settings.loading import merge as merge
from rslib.settings.loading import profiles as profiles
from rslib.settings.loading import read_profile as read_profile
from rslib.settings.reading import read_yaml as read_yaml
from rslib.settings.schema import Settings as Settings
