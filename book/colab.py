"""What the first cell of a notebook runs on Colab: the project's packages, and its folder.

It runs in the kernel before anything else does, so it needs only Python.
"""

import importlib
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def pins() -> list[str]:
    """The lock's lines, without those of packages that this process has imported already.

    Another version of these would lie on the disk while the old one goes on in memory.
    """
    owners = packages_distributions()
    running = {
        re.sub("[-_.]+", "-", owner).lower()
        for module in {name.partition(".")[0] for name in sys.modules}
        for owner in owners.get(module, ())
    }
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [
        line for line in lines if re.match("[A-Za-z0-9-]+", line).group().lower() not in running
    ]


def install() -> None:
    """Install the project into this environment and go to its notebooks."""
    lock = ROOT / "colab.txt"
    lock.write_text("\n".join(pins()))
    told = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(lock)]
    subprocess.run([*told, "--editable", f"{ROOT}[models]"], check=True)
    # A process that runs already does not look for packages that were linked since.
    sys.path.insert(0, str(ROOT))
    importlib.invalidate_caches()
    os.chdir(ROOT / "notebooks")


if __name__ == "__main__":
    install()
