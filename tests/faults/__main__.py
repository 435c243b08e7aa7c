"""``python -m tests.faults``: every fault test with all its tries, and the tally."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

if __name__ == "__main__":
    # One test at a time to each worker: those that kill take minutes, most others no time.
    workers = ["-n", "2", "--dist", "load", "--maxschedchunk", "1"]
    sys.exit(pytest.main([str(HERE), "--all-faults", "-q", *workers, *sys.argv[1:]]))
