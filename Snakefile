"""The notebook graph: who needs whom, one rule per notebook.

    snakemake --cores all                                         the smoke run
    snakemake --cores all --config profile=cpu seeds="0 1 2"      another profile, three seeds
    snakemake --cores all --config profile=cpu fan_out=true       one job a model, then the notebooks
    snakemake --workflow-profile profiles/slurm --config profile=paper seeds="0 1 2" fan_out=true
                                                                  the same on a cluster

Where a profile names the models that further seeds have (the setting seeded), the notebooks of the
first seed alone are run. They evaluate those models under every seed; each further seed's copy is
trained by a job of its own.

Only what is missing or older than its inputs runs. What a notebook trains and records is kept under
keys of its own (rslib.store.records), so that a notebook run again reuses whatever is still valid.
"""

import dataclasses
import functools
import json
import os
import sys
from pathlib import Path

from rslib.settings import SettingsError, check_name, environment, read_profile

# notebook: the notebooks whose models and records it reads
NEEDS = {
    "01_experimental_setup": [],
    "02_attacks_and_defences": ["01_experimental_setup"],
    "03_interpretability": ["01_experimental_setup"],
    "04_human_guided_alignment": ["03_interpretability"],
    "05_distribution_shift": ["01_experimental_setup"],
    "06_baseline_performance": ["01_experimental_setup"],
    "07_adversarial_robustness": ["02_attacks_and_defences", "04_human_guided_alignment"],
    "08_interpretability_analysis": ["02_attacks_and_defences", "04_human_guided_alignment"],
    "09_alignment_results": ["04_human_guided_alignment"],
    "10_distribution_shift_robustness": ["05_distribution_shift", "07_adversarial_robustness"],
    "11_trade_offs": ["08_interpretability_analysis", "10_distribution_shift_robustness"],
    "12_robust_and_aligned": ["02_attacks_and_defences", "04_human_guided_alignment"],
    "13_verdicts": ["06_baseline_performance", "09_alignment_results", "11_trade_offs",
                    "12_robust_and_aligned"],
    "14_score_your_own_model": ["11_trade_offs"],
}
# These train; on a cluster they may take long.
TRAINS = {
    "01_experimental_setup",
    "02_attacks_and_defences",
    "03_interpretability",
    "04_human_guided_alignment",
    "09_alignment_results",
    "12_robust_and_aligned",
}
# While these run nothing else can, so they take every core. For the others, two notebooks side by
# side on a core each are done sooner than one after the other on both.
ALONE = {"01_experimental_setup"}


def near(variable, usual):
    """A folder that a variable names, from here where it lies below; jobs are handed it whole."""
    folder, here = environment.folder(variable), Path.cwd()
    if folder is None:
        return usual
    if {"{", "}"} & {*str(folder)}:
        told = "holds braces, which are wildcards to Snakemake: name a folder without"
        raise SettingsError(f"{variable}={folder} {told}")
    os.environ[variable] = str(folder)
    return str(folder.relative_to(here) if here in folder.parents else folder)


def flag(name):
    """A value of --config that says yes or no."""
    given = config.get(name, False)
    if given not in (0, 1, "0", "1", "true", "false"):
        raise SettingsError(f"{name} must be true or false, not {given!r}: give one of them")
    return given in (1, "1", "true")


try:
    PROFILE = check_name(config.get("profile", "smoke"))
    SEEDS = [str(seed) for seed in environment.seeds(config.get("seeds", 0), "seeds")]
    RUNS, PARAMS = near("RSLIB_RUNS", "runs"), Path(near("RSLIB_PARAMS", "params"))
    FAN_OUT = flag("fan_out")
    GPUS = environment.whole(config.get("gpus", int(PROFILE in ("fast", "paper"))), "gpus")
except SettingsError as error:
    raise WorkflowError(str(error)) from None
EXECUTED = f"{RUNS}/{PROFILE}/seed{{seed}}/executed"
TRAINED = f"{RUNS}/{PROFILE}/seed{{seed}}/trained"
# A cluster has no number of cores, and in its jobs it would be that of the node: what wants all
# there are asks for so many there.
CORES = (not workflow.remote_exec and workflow.resource_settings.cores) or 8

if not Path(PARAMS, f"{PROFILE}.yaml").is_file():
    known = ", ".join(sorted(path.stem for path in PARAMS.glob("*.yaml")))
    raise WorkflowError(f"there is no profile {PROFILE!r} ({PARAMS}/{PROFILE}.yaml); there are: {known}")



def following():
    """The seeds without notebooks of their own: all but the first, if the profile names their models."""
    if len(SEEDS) == 1:
        return []
    _, chosen = read_profile(str(PARAMS / f"{PROFILE}.yaml"))
    return SEEDS[1:] if chosen.get("seeded") is not None else []


FOLLOWING = following()


wildcard_constraints:
    seed=r"\d+",


rule all:
    input:
        expand(
            f"{EXECUTED}/{{notebook}}.ipynb",
            notebook=NEEDS,
            seed=[seed for seed in SEEDS if seed not in FOLLOWING],
        ),


@functools.cache
def trainings(seed):
    """The training jobs of a seed by their keys (rslib.run.jobs); none where the notebooks train."""
    if not FAN_OUT and seed not in FOLLOWING:
        return {}
    # A cluster's job goes by the list of the process that submitted it, which also spares it the
    # seconds that importing rslib takes.
    handed = Path(".snakemake", "fan_out", f"{PROFILE}-{seed}.json")
    if workflow.remote_exec and handed.exists():
        return json.loads(handed.read_text())
    from rslib import settings
    from rslib.run import Run
    from rslib.run.jobs import training_jobs
    from rslib.store import records

    jobs = training_jobs(Run(settings.load(PROFILE), int(seed), further=seed in FOLLOWING))
    found = {key: dataclasses.asdict(job) for key, job in jobs.items()}
    if not workflow.dryrun:
        records.write_json(handed, found)
    return found


def training(wildcards):
    """The training job that a rule's wildcards name."""
    return trainings(wildcards.seed)[wildcards.model]


# With fan_out=true every model is trained by a job of its own before the notebook that asks for it,
# and without it those of the further seeds that have no notebooks.
# Whether a model is done is for rslib to say, by its key: the files made here only tell Snakemake
# that it has been asked, so that nothing trained is ever deleted or trained again on its account.
rule train:
    input:
        lambda wildcards: [
            f"{TRAINED}/{each}".format(seed=wildcards.seed) for each in training(wildcards)["needs"]
        ],
    output:
        touch(f"{TRAINED}/{{model}}"),
    params:
        python=sys.executable,
        profile=PROFILE,
        name=lambda wildcards: training(wildcards)["name"],
        shortcut=lambda wildcards: "--shortcut" if training(wildcards)["shortcut"] else "",
    threads: 1
    resources:
        mem_mb=8000,
        runtime=24 * 60,
        gpu=GPUS,
    shell:
        "{params.python:q} -m rslib train {params.name:q} --profile {params.profile}"
        " --seed {wildcards.seed} {params.shortcut}"


def trained(notebook):
    """An input function: what must be trained before a notebook, if jobs of their own do that."""
    return lambda wildcards: [
        f"{TRAINED}/{key}".format(seed=seed)
        for seed in speaks_of(wildcards)
        if seed == wildcards.seed or seed in FOLLOWING
        for key, job in trainings(seed).items()
        if job["notebook"] == notebook
    ]


def speaks_of(wildcards):
    """The seeds that a notebook's tables and figures are of: the first seed's are of all."""
    return SEEDS if wildcards.seed == SEEDS[0] else [wildcards.seed]


def siblings(notebook):
    """An input function: the same notebook of the other seeds that it speaks of and that have it."""
    return lambda wildcards: expand(
        f"{EXECUTED}/{notebook}.ipynb",
        seed=[s for s in speaks_of(wildcards) if s != wildcards.seed and s not in FOLLOWING],
    )


for notebook, needs in NEEDS.items():

    rule:
        name:
            notebook
        input:
            notebook=f"notebooks/{notebook}.ipynb",
            settings=str(PARAMS / f"{PROFILE}.yaml"),
            code=sorted(map(str, (*Path("rslib").rglob("*.py"), *Path("rslib").rglob("*.yaml")))),
            needs=[f"{EXECUTED}/{needed}.ipynb" for needed in needs],
            models=trained(notebook),
            siblings=siblings(notebook),
        output:
            f"{EXECUTED}/{notebook}.ipynb",
        params:
            python=sys.executable,
            profile=PROFILE,
            seeds=speaks_of,
        threads: CORES if notebook in ALONE and not FAN_OUT else 1
        resources:
            mem_mb=8000,
            runtime=24 * 60 if notebook in TRAINS else 4 * 60,
            gpu=GPUS,
        shell:
            "{params.python:q} -m book run {input.notebook} {output:q}"
            " --profile {params.profile} --seed {wildcards.seed} --seeds {params.seeds}"
