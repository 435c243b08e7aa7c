"""The notebook graph: who needs whom, one rule per notebook.

    snakemake --cores all                                         the smoke run
    snakemake --cores all --config profile=cpu seeds="0 1 2"      another profile, three seeds
    snakemake --executor slurm --jobs 8 --config profile=paper    the same on a cluster

Only what is missing or older than its inputs runs. What a notebook trains and records is kept under
keys of its own (rslib.records), so that a notebook run again reuses whatever is still valid.
"""

import os
import re
import sys
from pathlib import Path

# notebook: the notebooks whose models and records it reads
NEEDS = {
    "01_experimental_setup": [],
    "02_attacks_and_defences": ["01_experimental_setup"],
    "03_interpretability": ["01_experimental_setup"],
    "04_human_guided_alignment": ["03_interpretability"],
    "05_distribution_shift": ["01_experimental_setup"],
    "06_baseline_performance": ["01_experimental_setup"],
    "07_adversarial_robustness": ["02_attacks_and_defences"],
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

PROFILE = str(config.get("profile", "smoke"))
SEEDS = re.findall(r"\d+", str(config.get("seeds", 0)))
RUNS = os.environ.get("RSLIB_RUNS", "runs")
EXECUTED = f"{RUNS}/{PROFILE}/seed{{seed}}/executed"
ON_GPU = PROFILE in ("fast", "paper")

if not Path(f"params/{PROFILE}.yaml").is_file():
    known = ", ".join(sorted(path.stem for path in Path("params").glob("*.yaml")))
    raise WorkflowError(f"there is no profile {PROFILE!r} (params/{PROFILE}.yaml); there are: {known}")


wildcard_constraints:
    seed=r"\d+",


rule all:
    input:
        expand(f"{EXECUTED}/{{notebook}}.ipynb", notebook=NEEDS, seed=SEEDS),


for notebook, needs in NEEDS.items():

    rule:
        name:
            notebook
        input:
            notebook=f"notebooks/{notebook}.ipynb",
            settings=f"params/{PROFILE}.yaml",
            code=sorted(str(path) for path in Path("rslib").rglob("*.py") if path.name != "book.py"),
            needs=[f"{EXECUTED}/{needed}.ipynb" for needed in needs],
        output:
            f"{EXECUTED}/{notebook}.ipynb",
        params:
            python=sys.executable,
            profile=PROFILE,
        threads: workflow.cores if notebook in ALONE else 1
        resources:
            mem_mb=8000,
            runtime=24 * 60 if notebook in TRAINS else 4 * 60,
            gpu=1 if ON_GPU else 0,
        shell:
            "{params.python} -m rslib.book run {input.notebook} {output}"
            " --profile {params.profile} --seed {wildcards.seed}"
