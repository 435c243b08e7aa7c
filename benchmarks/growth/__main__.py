"""Measure how time and memory grow, and write growth.json, growth.md and growth.svg."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import harness
from benchmarks.growth import describe, figure, markdown, plan
from benchmarks.growth.report import assemble
from rslib.store import records

PACKAGES = ("torch", "timm", "numpy", "pyautoattack")


def main() -> None:
    """Measure what is missing, then write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--quick", action="store_true", help="one round, a quarter of the images")
    options = parser.parse_args()
    series = [plan.lighter(each) if options.quick else each for each in plan.SERIES]
    rounds = 1 if options.quick else plan.ROUNDS
    machine = harness.machine(PACKAGES)
    finished = options.out / "growth.cells.json"
    measured = plan.measured(
        series, rounds, finished, machine, progress=lambda line: print(line, flush=True)
    )
    report = assemble(series, measured, machine, quick=options.quick)
    records.write_json(options.out / "growth.json", report)
    text = markdown(report)
    for name, content in (("growth.md", text), ("growth.txt", describe(report) + "\n")):
        with records.atomic(options.out / name) as path:
            path.write_text(content)
    with records.atomic(options.out / "growth.svg") as path:
        figure(report).savefig(path, format="svg")
    finished.unlink()
    print(text)


if __name__ == "__main__":
    main()
