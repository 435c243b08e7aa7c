"""RobustSight's helper package: everything the notebooks call.

Import the modules you need (``from rslib import attacks, data, models``); this file stays empty so
that a kernel starts quickly.
"""

from importlib.metadata import version

__version__ = version("robustsight")
