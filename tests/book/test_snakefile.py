"""The notebook graph: what would run, in which order, and what stops it."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from book import build
from rslib import settings
from rslib.run import Run
from rslib.run.jobs import training_jobs
from rslib.settings import PROJECT
from tests.helpers.books import write_notebook

NOTEBOOKS = [page for page in build.pages(PROJECT / "_toc.yml") if page[:2].isdigit()]


@pytest.fixture
def project(tmp_path):
    """A folder with the real Snakefile and params, and one-cell notebooks."""
    shutil.copy(PROJECT / "Snakefile", tmp_path)
    shutil.copytree(PROJECT / "params", tmp_path / "params")
    shutil.copytree(PROJECT / "profiles", tmp_path / "profiles")
    (tmp_path / "notebooks").mkdir()
    for name in NOTEBOOKS:
        (tmp_path / "notebooks" / f"{name}.ipynb").write_text("{}")
    return tmp_path


def environment(project: Path) -> dict[str, str]:
    """Ours, without what a surrounding make or user sets, and with caches inside `project`."""
    outer = ("RSLIB_RUNS", "RSLIB_PARAMS", "PROFILE", "SEEDS", "GPUS", "FAN_OUT")
    outer += ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return kept | {"XDG_CACHE_HOME": str(project / ".cache"), "PYTHONPATH": str(PROJECT)}


def snakemake(project: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """Snakemake in `project`, with variables of the environment."""
    program = Path(sys.executable).with_name("snakemake")
    return subprocess.run(
        [program, "--cores", "2", "--rerun-triggers", "mtime", "input", *arguments],
        cwd=project,
        env=environment(project) | variables,
        text=True,
        capture_output=True,
        check=False,
    )


def jobs(done: subprocess.CompletedProcess) -> list[dict[str, str]]:
    """What a dry run says of its jobs, in their order: the rule's name, its threads, and so on."""
    assert done.returncode == 0, done.stdout + done.stderr
    found = []
    for text in re.split(r"^(?:local)?rule ", done.stdout + done.stderr, flags=re.M)[1:]:
        name, *lines = text.splitlines()
        pairs = (re.fullmatch(r" {4}(\w+): (.*)", line) for line in lines)
        found.append({"rule": name.rstrip(":")} | {p[1]: p[2] for p in pairs if p})
    return found


def planned(done: subprocess.CompletedProcess) -> list[str]:
    """The outputs of a dry run in the order of its jobs."""
    assert done.returncode == 0, done.stderr
    return re.findall(r"output: (runs/\S+)", done.stdout + done.stderr)


def finish(project: Path, *outputs: str) -> None:
    """Pretend that these notebooks have been executed."""
    for output in outputs:
        (project / output).parent.mkdir(parents=True, exist_ok=True)
        (project / output).write_text("{}")


def test_two_seeds_run_every_notebook_after_what_it_needs(project):
    plan = planned(snakemake(project, "-n", "--config", "profile=fast", "seeds=0 1"))
    for seed in (0, 1):
        folder = f"runs/fast/seed{seed}/executed/"
        names = [Path(path).stem for path in plan if path.startswith(folder)]
        assert sorted(names) == sorted(NOTEBOOKS)
        assert names[0] == "01_experimental_setup"
    assert len(plan) == 2 * len(NOTEBOOKS)
    # The first seed's tables speak of all seeds.
    for name in NOTEBOOKS:
        first, second = (plan.index(f"runs/fast/seed{k}/executed/{name}.ipynb") for k in (0, 1))
        assert second < first


def waiting(project: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """The jobs of a dry run by their outputs, each of which waits for jobs before it alone."""
    made: dict[str, dict[str, str]] = {}
    for job in jobs(snakemake(project, "-n", "--printshellcmds", *arguments)):
        assert set(re.findall(r"runs/\S+?(?=,|$)", job.get("input", ""))) <= set(made), job["rule"]
        made[job.get("output", "")] = job
    return made


def test_seeds_that_follow_have_trainings_and_the_first_seeds_notebooks_wait_for_them(project):
    config = ("--config", "profile=cpu", "seeds=0 1 2")
    made = waiting(project, *config)
    notebooks = {path for path in made if path.endswith(".ipynb")}
    assert notebooks == {f"runs/cpu/seed0/executed/{name}.ipynb" for name in NOTEBOOKS}
    for seed in (1, 2):
        expected = training_jobs(Run(settings.load("cpu"), seed, further=True))
        folder = f"runs/cpu/seed{seed}/trained/"
        trained = {path.removeprefix(folder) for path in made if path.startswith(folder)}
        assert trained == set(expected)
        for key, job in expected.items():
            notebook = made[f"runs/cpu/seed0/executed/{job.notebook}.ipynb"]
            assert f"{folder}{key}" in notebook["input"]
    assert not any(path.startswith("runs/cpu/seed0/trained/") for path in made)

    # What is done stays done, and without a list every seed has notebooks again.
    finish(project, *filter(None, made))
    assert planned(snakemake(project, "-n", *config)) == []
    mine = yaml.safe_load((project / "params" / "cpu.yaml").read_text())
    del mine["settings"]["seeded"]
    (project / "params" / "cpu.yaml").write_text(yaml.safe_dump(mine))
    names = [Path(path).stem for path in waiting(project, *config) if "seed1" in path]
    assert sorted(names) == sorted(NOTEBOOKS)


def test_fanned_out_the_first_seed_trains_all_and_the_others_what_they_have(project):
    made = waiting(project, "--config", "profile=cpu", "seeds=3 1", "fan_out=true")
    for seed, further in ((3, False), (1, True)):
        expected = training_jobs(Run(settings.load("cpu"), seed, further=further))
        folder = f"runs/cpu/seed{seed}/trained/"
        trained = {path.removeprefix(folder) for path in made if path.startswith(folder)}
        assert trained == set(expected)
    assert not any(path.startswith("runs/cpu/seed1/executed") for path in made)


def test_only_what_is_missing_or_stale_runs(project):
    every = planned(snakemake(project, "-n"))
    finish(project, *every)
    assert planned(snakemake(project, "-n")) == []

    newer = project / "notebooks" / "07_adversarial_robustness.ipynb"
    later = newer.stat().st_mtime + 60
    os.utime(newer, (later, later))
    again = planned(snakemake(project, "-n"))
    # Notebook 10 reads 07's records, 11 reads those of 10, and 13 and 14 read on from there.
    assert [Path(output).name[:2] for output in again[:3]] == ["07", "10", "11"]
    assert sorted(Path(output).name[:2] for output in again[3:]) == ["13", "14"]

    settings = project / "params" / "smoke.yaml"
    os.utime(settings, (later, later))
    assert sorted(planned(snakemake(project, "-n"))) == sorted(every)


def test_what_makes_pages_makes_no_notebook_stale_and_what_makes_results_does(project):
    makers = [
        project / "book" / "build.py",
        project / "rslib" / "attacks" / "pgd.py",
        project / "rslib" / "paper" / "claims.yaml",
    ]
    for maker in makers:
        maker.parent.mkdir(parents=True)
        maker.write_text("")
    every = planned(snakemake(project, "-n"))
    finish(project, *every)
    for maker, stale in zip(makers, ([], every, every), strict=True):
        maker.write_text("# a comment\n")
        later, before = ((project / every[0]).stat().st_mtime + away for away in (60, -60))
        os.utime(maker, (later, later))
        assert sorted(planned(snakemake(project, "-n"))) == sorted(stale)
        os.utime(maker, (before, before))


def test_an_unknown_profile_is_named_with_those_there_are(project):
    done = snakemake(project, "-n", "--config", "profile=smok")
    assert done.returncode != 0
    assert re.search(r"no profile 'smok'.*cpu, fast, paper, smoke", done.stdout + done.stderr)


def test_a_failing_cell_fails_make_and_its_error_comes_last(project):
    name = "01_experimental_setup"
    write_notebook(project / "notebooks" / f"{name}.ipynb", "{}['epsilon']")
    shutil.copy(PROJECT / "Makefile", project)
    (project / "installed").touch()
    done = subprocess.run(
        # -o: whatever its date, never set up an environment from a test
        ["make", "-o", "installed", "DONE=installed", f"BIN={Path(sys.executable).parent}", "book"],
        cwd=project,
        env=environment(project),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode != 0
    *_, error, make = done.stdout.rstrip().splitlines()
    assert error == "KeyError: 'epsilon'" and make.startswith("make: ***")
    assert [path.name for path in project.glob("runs/**/*.ipynb")] == [f"{name}.failed.ipynb"]


@pytest.mark.parametrize("target", ["book", "cluster"])
@pytest.mark.parametrize(
    ("given", "asks"),
    [(["GPUS=1"], True), (["GPUS=5", "FAN_OUT=1"], True), (["GPUS=0"], False), ([], False)],
)
def test_make_asks_for_a_gpu_where_it_is_told_how_many_there_are(project, target, given, asks):
    shutil.copy(PROJECT / "Makefile", project)
    done = subprocess.run(
        ["make", "-n", "-o", "installed", "DONE=installed", target, "PROFILE=mine", *given],
        cwd=project, env=environment(project), text=True, capture_output=True, check=True,
    )  # fmt: skip
    (command,) = (line for line in done.stdout.splitlines() if "/snakemake " in line)
    config = command.partition("--config ")[2].split()
    assert ("gpus=1" in config) == asks
    pool = re.search(r"--resources gpu=(\d+)", command)
    assert (pool is None) == (target == "cluster")
    if given and pool:
        assert given[0] == f"GPUS={pool[1]}"


def test_fanned_out_each_model_is_a_job_and_notebooks_wait_for_theirs(project):
    config = ("--config", "profile=fast", "seeds=0 1", "fan_out=true")
    done = snakemake(project, "-n", "--printshellcmds", *config)
    plan, made = jobs(done), set()
    for job in plan:
        assert set(re.findall(r"runs/\S+?(?=,|$)", job.get("input", ""))) <= made, job["rule"]
        made.add(job.get("output", ""))
    of = {job.get("output"): job for job in plan}
    for seed in (0, 1):
        expected = training_jobs(Run(settings.load("fast"), seed))
        folder = f"runs/fast/seed{seed}/trained/"
        trained = {path.removeprefix(folder) for path in made if path.startswith(folder)}
        assert trained == set(expected)
        for notebook in NOTEBOOKS:
            job = of[f"runs/fast/seed{seed}/executed/{notebook}.ipynb"]
            waits = {each for each in expected if f"{folder}{each}" in job["input"]}
            assert waits == {key for key, each in expected.items() if each.notebook == notebook}

    commands = re.findall(r"-m rslib train (.*?)\s*$", done.stdout + done.stderr, flags=re.M)
    assert len(commands) == len(set(commands)) == 2 * len(expected)
    variant = "resnet18-aligned@beta=0.0 --profile fast --seed 1"
    assert variant in commands and f"{variant} --shortcut" in commands


def test_nothing_is_trained_again_because_code_or_settings_have_a_new_date(project):
    folder = "runs/smoke/seed0"
    trained = training_jobs(Run(settings.load("smoke")))
    finish(project, *(f"{folder}/trained/{key}" for key in trained))
    finish(project, *(f"{folder}/executed/{notebook}.ipynb" for notebook in NOTEBOOKS))
    later = (project / "Snakefile").stat().st_mtime + 60
    os.utime(project / "params" / "smoke.yaml", (later, later))
    again = planned(snakemake(project, "-n", "--config", "fan_out=true"))
    assert sorted(Path(output).stem for output in again) == sorted(NOTEBOOKS)


def test_a_cluster_job_goes_by_the_list_of_the_process_that_submitted_it(project):
    """Among other things because importing rslib twice more would cost each job its seconds."""
    handed = project / ".snakemake" / "fan_out" / "smoke-0.json"
    job = {"name": "resnet18-handed", "notebook": NOTEBOOKS[0], "shortcut": False, "needs": []}
    handed.parent.mkdir(parents=True)
    handed.write_text(json.dumps({"handed": job}))
    remote = ("--mode", "remote", "--nolock", "--target-jobs", "train:seed=0,model=handed")
    done = snakemake(project, "--config", "fan_out=true", *remote)
    assert done.returncode != 0
    assert "no model 'resnet18-handed'" in done.stdout + done.stderr


def test_settings_may_lie_elsewhere_and_ask_for_gpus(project):
    (project / "params").rename(project / "others")
    shutil.copy(project / "others" / "cpu.yaml", project / "others" / "mine.yaml")
    for config, gpus in ((["profile=mine", "gpus=2"], 2), (["profile=paper"], 1)):
        done = snakemake(project, "-n", "--config", *config, RSLIB_PARAMS="others")
        for job in jobs(done):
            assert job["rule"] == "all" or f"gpu={gpus}" in job["resources"]


def test_the_slurm_profile_says_only_what_snakemake_and_its_plugin_know():
    """Without the plugin: its own options are told by their prefix, ours by Snakemake's help."""
    profile = yaml.safe_load((PROJECT / "profiles" / "slurm" / "config.yaml").read_text())
    assert profile["executor"] == "slurm"
    program = Path(sys.executable).with_name("snakemake")
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--([\w-]+)", told))
    assert {key for key in profile if not key.startswith("slurm-")} <= known
    assert {"mem_mb", "runtime"} <= set(profile["default-resources"])


@pytest.mark.skipif(
    importlib.util.find_spec("snakemake_executor_plugin_slurm") is None,
    reason="needs the extra: cluster",
)
def test_the_slurm_profile_submits_what_the_rules_ask_for(project, tmp_path):
    """To a cluster that writes down how it is called and takes no job."""
    commands, calls = tmp_path / "bin", tmp_path / "calls"
    commands.mkdir()
    for name in ("sbatch", "squeue", "sacct", "sinfo", "scontrol", "sacctmgr"):
        script = commands / name
        script.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n[ {name} != sbatch ]\n')
        script.chmod(0o755)
    cluster = {"PATH": f"{commands}:{os.environ['PATH']}"}
    profile = ["--workflow-profile", "profiles/slurm", "--retries", "0"]
    profile += ["--slurm-init-seconds-before-status-checks", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *profile, "--config", "profile=paper"],
        cwd=project, env=environment(project) | cluster, text=True, capture_output=True,
    )  # fmt: skip
    assert done.returncode != 0 and "sbatch failed" in done.stdout + done.stderr
    (call,) = (line for line in calls.read_text().splitlines() if line.startswith("sbatch"))
    asked = ("--comment rule_01_experimental_setup", "--mem 8000", "-t 1440", "--gpus=1")
    for each in (*asked, "--cpus-per-task=8", "--job-name robustsight"):
        assert each in call


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("seeds=-1", "whole number"), ("seeds=1.5", "1.5"), ("seeds=a", "'a'"), ("seeds=1-2", "1-"),
        ("gpus=x", "gpus"), ("fan_out=2", "fan_out"), ("profile=../cpu", "names the run directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_stops_snakemake_before_anything_runs(project, config, told):
    done = snakemake(project, "-n", "--config", config)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr
    assert not (project / "runs").exists()


def test_seeds_that_repeat_are_told(project):
    done = snakemake(project, "-n", "--config", "seeds=1 1", RSLIB_RUNS="")
    assert "seeds repeats 1" in done.stderr
    assert {path.split("/")[2] for path in planned(done)} == {"seed1"}


MADE = ("seed0/executed/01.ipynb", "seed0/models/resnet18-standard-0123456789/model.json")
BAIT = ["$(shell touch bait)", "$(touch bait)", "`touch bait`", "';touch bait;'", '";touch bait;"']


def make(project, *arguments, **variables):
    """Make with the project's Makefile and without an environment to install."""
    settled = ["-o", "installed", "DONE=installed", f"BIN={Path(sys.executable).parent}"]
    return subprocess.run(
        ["make", *settled, *arguments],
        cwd=project, env=environment(project) | variables, text=True, capture_output=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "runs", ["my runs", "my runs/", "it's $HOME", 'a "b" *?[c]', "`touch bait`", "link", "", "~/x"]
)
def test_make_clean_removes_what_is_ours_and_nothing_else(project, runs):
    shutil.copy(PROJECT / "Makefile", project)
    (project / "home").mkdir()
    (project / "there").mkdir()
    (project / "link").symlink_to("there")
    folder = project / (runs.replace("~", "home") or "runs")
    for name in (*MADE, "seed0/photo.jpg", "mine.txt"):
        (folder / "smoke" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "smoke" / name).touch()
    strangers = [project / name for name in ("my/a", "smoke/a", "runs/a", "it/a", "_build/mine")]
    for path in (*strangers, project / "_build" / "html" / "index.html"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = make(project, "clean", RSLIB_RUNS=runs, HOME=str(project / "home"))
    assert done.returncode == 0, done.stderr
    assert "mine.txt" in done.stdout and "photo.jpg" in done.stdout
    left = {str(p.relative_to(folder / "smoke")) for p in (folder / "smoke").rglob("*")}
    assert left == {"seed0", "seed0/photo.jpg", "mine.txt"}
    assert all(path.exists() for path in strangers) and not (project / "_build" / "html").exists()
    assert not list(project.rglob("bait"))


@pytest.mark.parametrize("target", ["run", "book", "keep", "restore"])
def test_make_runs_nothing_of_what_it_is_given(project, target):
    shutil.copy(PROJECT / "Makefile", project)
    for bait in BAIT[:: 1 if target == "run" else 3]:
        for given in ([f"PROFILE={bait}"], ["PROFILE=cpu", f"SEEDS={bait}", f"CORES={bait}"]):
            if target in ("keep", "restore") and len(given) > 1:
                continue
            done = make(project, "-i", target, *given)
            assert "must be" in done.stderr, done.stderr
    assert not list(project.rglob("bait")) and not (project / "runs").exists()
