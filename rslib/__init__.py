"""RobustSight's helper package: everything the notebooks call.

Import the modules you need (``from rslib import attacks, data, models``); this file stays empty so
that a kernel starts quickly.
"""

__version__ = "0.1.0"
