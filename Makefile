# make book          run every notebook, build the HTML book     PROFILE=smoke|cpu|fast|paper SEEDS="0 1 2"
# make run           run every notebook, without building the book    GPUS=5 FAN_OUT=1: five models at a time share a GPU;
#                    GPUS=1: one notebook at a time has it, also in a profile of your own
# make check         lint, floors, and the unit tests that take seconds      WORKERS=2
# make test          lint, notebooks as tests, unit tests             WORKERS=2, files side by side
# make faults        kill, fill, damage and lock on purpose, many times, and say what was lost
# make mutants       break rslib in small ways, many times, and say what no test noticed   WORKERS=2, ONLY="mce pgd"
# make bench         time rslib beside public peers, write the book's page on speed     CIFAR-10 needed; DEVICE=cuda on a GPU
# make cluster       make book as jobs of a SLURM cluster, one a model               PROFILE=paper
# make slurm-test    prove that on a SLURM of this machine's own                   root, Debian's packages
# make lab           open the notebooks in JupyterLab
# make site          build the book from all that is published, running nothing    PROFILE=cpu for one alone
# make pdf           print one edition from what is published, with Chromium        PROFILE=cpu
# make archive       source, editions and weights with their checksums in one file, for Zenodo
# make keep          copy what is finished of a run that still goes on into the book  PROFILE=wide
# make publish       put a finished run into the book, README and pages             PROFILE=cpu
# make restore       copy a published run back into runs/, to go on from it         PROFILE=cpu
# make lock          write constraints.txt anew: the newest versions that pyproject.toml allows
# make clean         remove the built book and the smoke run (environment and other runs stay)
# make help          this text

PYTHON  ?= python3
PROFILE ?= smoke
SEEDS   ?= 0
CORES   ?= all
GPUS    ?= 1
WORKERS ?= 2
DEVICE  ?= cpu
LAB     ?=
VENV    ?= .venv
# The exact versions to install; LOCK= takes the newest that pyproject.toml allows.
LOCK    ?= constraints.txt
# TORCH=cpu installs PyTorch without GPU libraries, from the package index that TORCH_INDEX names.
TORCH   ?=
TORCH_INDEX ?=
RUNS    := $(or $(RSLIB_RUNS),runs)

BIN  := $(VENV)/bin
DONE := $(VENV)/.installed
SEED  = $(firstword $(SEEDS))
# The profiles fast and paper ask for a GPU by themselves; GPUS, if given, says so for any.
ASKS  = $(if $(filter file,$(origin GPUS)),,$(if $(filter-out 0,$(GPUS)),gpus=1))

LINT  = $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/ty check --python $(VENV) tests/typed_calls.py

.PHONY: book run check test faults mutants bench cluster slurm-test lab site pdf archive keep publish restore lock clean help
.DEFAULT_GOAL := help

book: run
	$(BIN)/python -m rslib.store.locks _build -- $(BIN)/python -m book build $(RUNS)/$(PROFILE)/seed$(SEED)/executed

# Snakemake's own lock outlives a process that is killed, and then has to be removed by hand.
run: $(DONE)
	$(BIN)/python -m rslib.store.locks $(RUNS)/$(PROFILE) -- $(BIN)/snakemake --nolock --cores $(CORES) --resources gpu=$(GPUS) --rerun-incomplete --rerun-triggers mtime input --quiet rules host --config profile=$(PROFILE) seeds="$(SEEDS)" $(if $(FAN_OUT),fan_out=$(FAN_OUT)) $(ASKS) \
	|| { $(BIN)/python -m book errors $(RUNS)/$(PROFILE); exit 1; }

check: $(DONE)
	$(LINT)
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow" tests

test: $(DONE)
	$(LINT)
	OMP_NUM_THREADS=1 $(BIN)/pytest --nbval-lax -n $(WORKERS) --dist loadfile --no-loadscope-reorder notebooks tests

faults: $(DONE)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

mutants: $(DONE)
	$(BIN)/python -m tests.mutants --workers $(WORKERS) $(ONLY)

bench: $(DONE)
	$(BIN)/python -m benchmarks --device $(DEVICE)
	$(BIN)/python -m benchmarks.page

cluster: $(DONE)
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	$(BIN)/python -m rslib.store.locks $(RUNS)/$(PROFILE) -- $(BIN)/snakemake --nolock --workflow-profile profiles/slurm --config profile=$(PROFILE) seeds="$(SEEDS)" fan_out=true $(ASKS) \
	|| { $(BIN)/python -m book errors $(RUNS)/$(PROFILE); exit 1; }
	$(BIN)/python -m rslib.store.locks _build -- $(BIN)/python -m book build $(RUNS)/$(PROFILE)/seed$(SEED)/executed

slurm-test: $(DONE)
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	$(BIN)/python tests/slurm/run.py --install

lab: $(DONE)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks

# All editions, unless PROFILE was given: what is set above does not count.
site: $(DONE)
	$(BIN)/python -m book site $(if $(filter file,$(origin PROFILE)),,$(PROFILE))

pdf: $(DONE)
	$(BIN)/python -m book pdf $(if $(filter file,$(origin PROFILE)),,$(PROFILE))

# What is committed, in one file that `sha256sum --check SHA256SUMS` checks.
archive:
	@git diff --quiet HEAD || { echo "make archive packs what is committed, and there are changes that are not: commit them first"; exit 1; }
	git ls-tree -rz --name-only HEAD | xargs -0 sha256sum > SHA256SUMS
	git archive --prefix=robustsight/ --add-file=SHA256SUMS --output=robustsight.tar.gz HEAD
	rm SHA256SUMS
	@ls -l robustsight.tar.gz

keep: $(DONE)
	$(BIN)/python -m book keep $(PROFILE)

publish: $(DONE)
	$(BIN)/python -m book publish $(PROFILE)
	$(BIN)/python -m book reference $(PROFILE)
	$(BIN)/python -m book readme
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m book site

restore: $(DONE)
	$(BIN)/python -m book restore $(PROFILE)

clean:
	rm -rf _build $(RUNS)/smoke

help:
	@sed -n '/^#/!q; s/^# //p' $(firstword $(MAKEFILE_LIST))

lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra book --extra dev \
	    --no-header --no-annotate --output-file constraints.new pyproject.toml
	sed "s/ ; sys_platform != 'win32'$$//" constraints.new > constraints.txt
	rm -rf constraints.new $(VENV)-lock

# What pip is told beside the project's own needs.
PINS = $(addprefix --constraint ,$(LOCK))

$(DONE): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 11) else f"RobustSight needs Python 3.11 or newer, and $(PYTHON) is {v[0]}.{v[1]}: name another one, as in  make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH) $(shell uname -s),cpu Linux)
	@echo "Installing PyTorch for CPUs alone into $(VENV)"
	@$(BIN)/python -m pip install --quiet $(addprefix --extra-index-url ,$(TORCH_INDEX)) $(PINS) \
	    $(or $(shell sed -n 's/^\(torch\(vision\)\?==[^ ;]*\).*/\1+cpu/p' $(LOCK) /dev/null),torch torchvision) \
	|| { echo "TORCH=cpu needs the package index of PyTorch's CPU builds: name it, as in  make TORCH=cpu TORCH_INDEX=https://… $(MAKECMDGOALS)  (pytorch.org, Get Started, CPU, shows its address)"; exit 1; }
	@echo "Installing the rest: about 3 GB in all, some minutes, once"
else
	@echo "Installing into $(VENV): about 6.5 GB, several minutes, once (TORCH=cpu leaves out the GPU libraries)"
endif
	$(BIN)/python -m pip install --quiet $(PINS) --editable '.[book,dev]'
	@touch $@
