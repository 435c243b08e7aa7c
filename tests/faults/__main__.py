"""``python -m tests.faults``: every fault test with all its tries, and the tally."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

if __name__ == "__main__":
    options = ["--all-faults", "-n", "2", "--dist", "load", "--maxschedchunk", "1", "-q", *sys.argv[1:]]
    sys.exit(pytest.main([str(HERE), *options]))
