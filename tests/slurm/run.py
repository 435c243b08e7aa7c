"""Proof that the book runs on SLURM: two seeds, a job a model, two jobs killed, the same tables.

    python tests/slurm/run.py --install            tiny.yaml: the smoke profile, much shortened
    python tests/slurm/run.py --profile smoke      any profile of params/, whole
    python tests/slurm/run.py --folder /tmp/proof  keep runs and logs there

Started are munge and SLURM's daemons on this machine only (cluster.py). The Snakefile runs under
profiles/slurm, unchanged. While a model trains its process is killed, and while a notebook runs its
job is canceled: both must be submitted again and finish. Then Snakemake runs the same without
SLURM, and every number of every table must be the same, bit for bit, but for times and devices.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cluster
import yaml

from rslib import settings
from rslib.run import Run
from rslib.run.jobs import slug, training_jobs

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
sys.path.insert(0, str(PROJECT))  # book/ is not installed

from book.repetition import is_time  # noqa: E402

SEEDS = (0, 1)
# Not decided by settings and seed: when, where and how fast something was made.
CIRCUMSTANCES = ("seconds", "device", "revision", "date")


class ProofError(Exception):
    """What was to be proven does not hold."""


def prepare(folder: Path, profile: str) -> None:
    """Copy the project as it is now, with the settings of the trial among its profiles."""
    if any(folder.iterdir()):
        raise ProofError(f"{folder} is not empty: name another folder, or a new one")
    shutil.copy(PROJECT / "Snakefile", folder)
    for name in ("profiles", "notebooks", "params", "rslib", "book"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("published"))
    base = yaml.safe_load((folder / "params" / "smoke.yaml").read_text())["settings"]
    merged = settings.merge(base, yaml.safe_load((HERE / "tiny.yaml").read_text()))
    made = {"profile": "tiny", "settings": merged}
    (folder / "params" / "tiny.yaml").write_text(yaml.safe_dump(made))
    os.environ["RSLIB_PARAMS"] = str(folder / "params")
    os.environ["PYTHONPATH"] = str(folder)
    settings.load(profile)


def snakemake(folder: Path, runs: str, *arguments: str, log: Path, environment: dict[str, str]):
    """Start Snakemake in a project; its output goes to a log."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            env=environment | {"RSLIB_RUNS": str(folder / runs)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


# --- killing jobs at work ----------------------------------------------------------------------


def training(runs: Path) -> tuple[str, int, Path] | None:
    """A model that has finished an epoch and goes on, who trains it (a process), and its folder."""
    for checkpoint in runs.glob("*/seed*/models/*/checkpoint.safetensors"):
        name = checkpoint.parent.name.rpartition("-")[0]
        seed = checkpoint.parents[2].name.removeprefix("seed")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode().split("\0")
                ours = words[1:4] == ["-m", "rslib", "train"] and words[4] == name
                if ours and words[words.index("--seed") + 1] == seed:
                    return f"{name}, seed {seed}", int(process.name), checkpoint.parent
    return None


def executing(environment: dict[str, str]) -> tuple[str, str] | None:
    """A notebook that a job is executing, and the job."""
    queue = subprocess.run(
        ["squeue", "--noheader", "--states=RUNNING", "--format=%i|%k"],
        env=environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    for line in queue.stdout.split():
        job, _, comment = line.partition("|")
        if re.match(r"rule_\d\d_", comment):
            return comment, job
    return None


def kill_two(process: subprocess.Popen, runs: Path, environment: dict[str, str]) -> list[str]:
    """Kill one training and cancel one notebook's job; returns what was done when all has ended."""
    done = []
    while process.poll() is None:
        if not done and (found := training(runs)):
            name, process_id, folder = found
            os.kill(process_id, signal.SIGKILL)
            time.sleep(1)  # for the kernel to have done so
            if not (folder / "model.json").exists():  # otherwise it was done, only not gone
                done.append(f"killed the training of {name}")
        elif len(done) == 1 and (found := executing(environment)):
            time.sleep(5)  # in the midst of it
            subprocess.run(["scancel", found[1]], env=environment, check=True)
            done.append(f"canceled the job of {found[0]}")
        time.sleep(0.2)
    return done


def ended(environment: dict[str, str]) -> collections.Counter[str]:
    """How many jobs of the cluster ended in which state."""
    queue = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%T"],
        env=environment, text=True, capture_output=True, check=True,
    )  # fmt: skip
    return collections.Counter(queue.stdout.split())


# --- comparing two runs ------------------------------------------------------------------------


def tables(runs: Path) -> dict[str, object]:
    """Every table of a run, without what tells when, where and how fast it was made."""
    return {
        str(path.relative_to(runs)): without_circumstances(json.loads(path.read_text()))
        for path in sorted(runs.glob("*/seed*/tables/*.json"))
    }


def without_circumstances(document: object) -> object:
    """A document without provenance, and without rows of times."""
    if isinstance(document, dict):
        return {
            key: without_circumstances(value)
            for key, value in document.items()
            if key not in CIRCUMSTANCES
        }
    if isinstance(document, list):
        return [without_circumstances(each) for each in document if not is_time(each)]
    return document


def different(one: object, other: object, at: str = "") -> Iterator[str]:
    """Where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from different(one.get(key), other.get(key), f"{at}/{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            yield from different(a, b, f"{at}[{place}]")
    elif one != other:
        yield f"{at}: {one!r}, {other!r}"


def models(runs: Path, profile: str, seed: int) -> set[str]:
    """The trained models of a run, written as the keys of its jobs are."""
    found = (runs / profile / f"seed{seed}" / "models").glob("*/model.json")
    return {slug(path.parent.name) for path in found}


# --- the proof ---------------------------------------------------------------------------------


def prove(folder: Path, profile: str, cpus: int, memory: int) -> None:
    """Run the book on SLURM and without it, and compare.

    Raises:
        ProofError: a run failed, a kill was not survived, or the runs differ.
    """
    prepare(folder, profile)
    seeds = f"seeds={' '.join(map(str, SEEDS))}"
    asked = {seed: training_jobs(Run(settings.load(profile), seed)) for seed in SEEDS}
    daemons = Path(tempfile.mkdtemp(prefix="rslib-slurm-"))
    daemons.chmod(0o755)
    try:
        with cluster.started(daemons, cpus=cpus, memory=memory) as environment:
            print(f"SLURM is up: {cpus} CPUs, {memory} MB; log: {folder / 'slurm.log'}", flush=True)
            began = time.monotonic()
            process = snakemake(
                folder, "slurm", "--workflow-profile", "profiles/slurm", "--max-threads", "1",
                "--slurm-init-seconds-before-status-checks", "5", "--slurm-no-account",
                "--slurm-status-command", "squeue",  # there is no database of jobs here
                "--config", f"profile={profile}", seeds, "fan_out=true",
                log=folder / "slurm.log", environment=environment,
            )  # fmt: skip
            try:
                done = kill_two(process, folder / "slurm", environment)
            finally:
                if process.poll() is None:
                    process.kill()  # asked kindly, it would wait for what is running
                    process.wait()
            states = ended(environment)
    finally:
        shutil.rmtree(daemons, ignore_errors=True)
    if process.returncode:
        raise ProofError(f"Snakemake failed on SLURM: see {folder / 'slurm.log'}")
    print(f"on SLURM: {(time.monotonic() - began) / 60:.0f} minutes; jobs: {dict(states)}")
    again = (folder / "slurm.log").read_text().count("Trying to restart job")
    print(f"{' and '.join(done)}; jobs submitted again: {again}", flush=True)
    if len(done) != 2 or again < 2:
        raise ProofError("two jobs were to be killed and submitted again")

    began = time.monotonic()
    process = snakemake(
        folder, "local", "--cores", str(cpus), "--max-threads", "1", "--resources", "gpu=1",
        "--rerun-triggers", "mtime", "input", "--rerun-incomplete", "--retries", "2",
        "--config", f"profile={profile}", seeds,
        log=folder / "local.log", environment=dict(os.environ),
    )  # fmt: skip
    if process.wait():
        raise ProofError(f"Snakemake failed without SLURM: see {folder / 'local.log'}")
    print(f"without SLURM: {(time.monotonic() - began) / 60:.0f} minutes", flush=True)

    for seed, jobs in asked.items():
        for runs in ("slurm", "local"):
            there = models(folder / runs, profile, seed)
            if there != set(jobs):
                raise ProofError(
                    f"{runs}, seed {seed}: trained and not foreseen {sorted(there - set(jobs))}, "
                    f"foreseen and not trained {sorted(set(jobs) - there)}"
                )
        print(f"seed {seed}: {len(jobs)} models, those foreseen and no other, in both runs")
    on_slurm, local = tables(folder / "slurm"), tables(folder / "local")
    differ = list(different(on_slurm, local))
    if differ or not local:
        raise ProofError("the tables differ:\n  " + "\n  ".join(differ[:20]))
    print(f"{len(local)} tables of {len(SEEDS)} seeds, the same in both runs")


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", default="tiny", help="of params/, or tiny; default tiny")
    parser.add_argument("--install", action="store_true", help="install Debian's SLURM first")
    parser.add_argument("--folder", type=Path, help="new, for runs and logs; default: temporary")
    parser.add_argument("--cpus", type=int, default=os.cpu_count(), help="of the node; default all")
    parser.add_argument("--memory", type=int, help="of the node, in MB; default all of it")
    chosen = parser.parse_args()
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    # SIGTERM, too, must unwind: the daemons are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if chosen.install:
            cluster.install()
        with contextlib.ExitStack() as stack:
            folder = chosen.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            prove(folder.resolve(), chosen.profile, chosen.cpus, chosen.memory or pages - 512)
    except (cluster.ClusterError, ProofError) as error:
        print(error, file=sys.stderr)
        return 1
    print("proven")
    return 0


if __name__ == "__main__":
    sys.exit(main())
