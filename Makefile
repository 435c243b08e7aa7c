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

# What is given is text: make expands nothing in it, and q hands it to a shell as one word.
GIVEN = PROFILE SEEDS CORES GPUS WORKERS FAN_OUT DEVICE
define literal
ifneq ($(filter command environment override,$(firstword $(origin $1))),)
override $1 := $$(value $1)
endif
endef
$(foreach each,$(GIVEN) RSLIB_RUNS RSLIB_DATA RSLIB_PARAMS RSLIB_REVISION,$(eval $(call literal,$(each))))
q = $(if $(filter $1,0 1 2 3 4 5 6 7 8 all smoke cpu fast paper wide),$1,'$(subst ','\'',$1)')
or_default = $(call q,$(or $($1),$2))

BIN  := $(VENV)/bin
DONE := $(VENV)/.installed
# A file of ours that imports nothing but Python's own library, so that it runs without $(VENV).
script = $(or $(wildcard $(BIN)/python),$(PYTHON)) $(if $(wildcard $1),-I $1,-W ignore -m $(subst /,.,$(1:.py=)))
# Refuses what cannot be meant before anything is made or deleted, and says where runs lie.
CHECK = RUNS="$$($(call script,rslib/settings/environment.py) $(foreach each,$(GIVEN),$(call q,$(each)=$($(each)))))"
RUN   = "$$RUNS"/$(call or_default,PROFILE,smoke)
EXECUTED = $(RUN)/seed$(call q,$(or $(firstword $(SEEDS)),0))/executed
# The profiles fast and paper ask for a GPU by themselves; GPUS, if given, says so for any.
ASKS  = $(if $(filter file,$(origin GPUS)),,$(if $(filter-out 0,$(GPUS)),gpus=1))
CONFIG = --config profile=$(call or_default,PROFILE,smoke) seeds=$(call or_default,SEEDS,0)
GUARD = $(BIN)/python -m rslib.store.locks --with-parent
# All editions, unless PROFILE was given: what is set above does not count.
ONE   = $(if $(filter file,$(origin PROFILE)),,$(if $(PROFILE),$(call q,$(PROFILE))))
PARALLEL = OMP_NUM_THREADS=1 $(BIN)/pytest -n $(call or_default,WORKERS,2) --dist loadfile --no-loadscope-reorder

LINT  = $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/ty check --python $(VENV) tests/typed_calls.py

.PHONY: book run check test faults mutants bench cluster slurm-test lab site pdf archive keep publish restore lock clean help
.DEFAULT_GOAL := help

book: run
	@$(CHECK) && $(GUARD) _build -- $(BIN)/python -m book build $(EXECUTED)

# Snakemake's own lock outlives a process that is killed, and then has to be removed by hand.
run: $(DONE)
	@$(CHECK) || exit; $(GUARD) $(RUN) -- $(BIN)/snakemake --nolock --cores $(call or_default,CORES,all) --resources gpu=$(call or_default,GPUS,1) --rerun-incomplete --rerun-triggers mtime input --quiet rules host $(CONFIG) $(if $(FAN_OUT),fan_out=$(call q,$(FAN_OUT))) $(ASKS) \
	|| { $(BIN)/python -m book errors $(RUN); exit 1; }

check: $(DONE)
	$(LINT)
	@$(CHECK) && $(PARALLEL) -q -m "not slow" tests

test: $(DONE)
	$(LINT)
	@$(CHECK) && $(PARALLEL) --nbval-lax notebooks tests

faults: $(DONE)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

mutants: $(DONE)
	$(BIN)/python -m tests.mutants --workers $(WORKERS) $(ONLY)

bench: $(DONE)
	@$(CHECK) && $(BIN)/python -m benchmarks --device $(call or_default,DEVICE,cpu)
	$(BIN)/python -m benchmarks.page

cluster: $(DONE)
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	@$(CHECK) || exit; $(GUARD) $(RUN) -- $(BIN)/snakemake --nolock --workflow-profile profiles/slurm $(CONFIG) fan_out=true $(ASKS) \
	|| { $(BIN)/python -m book errors $(RUN); exit 1; }
	@$(CHECK) && $(GUARD) _build -- $(BIN)/python -m book build $(EXECUTED)

slurm-test: $(DONE)
	$(BIN)/python -m pip install --quiet --editable '.[cluster]'
	$(BIN)/python tests/slurm/run.py --install

lab: $(DONE)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB) notebooks

site: $(DONE)
	$(BIN)/python -m book site $(ONE)

pdf: $(DONE)
	$(BIN)/python -m book pdf $(ONE)

# What is committed, in one file that `sha256sum --check SHA256SUMS` checks.
archive:
	@git diff --quiet HEAD || { echo "make archive packs what is committed, and there are changes that are not: commit them first"; exit 1; }
	git ls-tree -rz --name-only HEAD | xargs -0 sha256sum > SHA256SUMS
	git archive --prefix=robustsight/ --add-file=SHA256SUMS --output=robustsight.tar.gz HEAD
	rm SHA256SUMS
	@ls -l robustsight.tar.gz

keep: $(DONE)
	$(BIN)/python -m book keep $(call or_default,PROFILE,smoke)

publish: $(DONE)
	$(BIN)/python -m book publish $(call or_default,PROFILE,smoke)
	$(BIN)/python -m book reference $(call or_default,PROFILE,smoke)
	$(BIN)/python -m book readme
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m book site

restore: $(DONE)
	$(BIN)/python -m book restore $(call or_default,PROFILE,smoke)

# Only what this project makes: other files in these folders stay, and are told.
clean:
	@$(CHECK) && $(call script,book/clean.py) "$$RUNS"/smoke _build

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
