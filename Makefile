# Needs python3 (3.11 to 3.13), make and a package index. `make help` lists the targets.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXP ?= degradation-digits
LAUNCHER ?= local
OVERRIDES ?=
EXPS ?= degradation,batchnorm,shortcut-scale
MINUTES ?=
ENGINE ?= $(if $(wildcard /proc/driver/nvidia/gpus/*),graph,eager)

# uv does not read pip's configuration: carry the user's own index over, here and now only.
UV_DEFAULT_INDEX ?= $(shell $(PY) -m pip config get global.index-url 2>/dev/null)
ifneq ($(strip $(UV_DEFAULT_INDEX)),)
export UV_DEFAULT_INDEX
endif

.DEFAULT_GOAL := help
.PHONY: help setup sweep watch campaign plan collect status report publish verify paper test test-slurm check docs bench wandb-sync lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo; echo 'EXP=<experiment>  LAUNCHER=<launcher>  OVERRIDES="key=value ..."  pass through, for example'
	@echo '  make sweep EXP=degradation LAUNCHER=slurm OVERRIDES="seed=0,1"'
	@echo; echo "experiments: $(basename $(notdir $(wildcard experiments/*.yaml)))"

setup: $(VENV)/.installed ## create .venv with the pinned versions

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once, 1 to 2 minutes)"
	@test -x $(BIN)/python || $(PY) -m venv $(VENV) || \
	  { echo "$(PY) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.8
	@$(BIN)/uv pip sync -q -p $(BIN)/python --compile-bytecode requirements.lock
	@$(BIN)/uv pip install -q -p $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

sweep: setup ## train what is missing of EXP, collect, report, print the verdicts
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --launcher $(LAUNCHER) $(OVERRIDES)

watch: setup ## the live screen of EXP while it is swept elsewhere (another terminal, a cluster)
	@$(BIN)/python -m resnet_repro.watch $(EXP) $(OVERRIDES)

campaign: setup ## EXPS one after the other, in slices of MINUTES: repeat it until all is done
	@$(BIN)/python -m resnet_repro.campaign --experiments $(EXPS) --launcher $(LAUNCHER) \
	  $(if $(MINUTES),--minutes $(MINUTES)) env.engine=$(ENGINE) $(OVERRIDES)

plan: setup ## what EXP would train, and what it should cost (ALL=1: run by run)
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --plan $(if $(ALL),--all) $(OVERRIDES)

collect: setup ## collect and report what is finished of EXP, train nothing
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --collect $(OVERRIDES)

status: setup ## finished, running and missing runs of every experiment, or of the EXP given
	@$(BIN)/python -m resnet_repro.status $(if $(filter-out file,$(origin EXP)),$(EXP)) $(if $(ALL),--all) $(OVERRIDES)

report: setup ## render results/ and results/local/ anew from the collected data
	@$(BIN)/python -m resnet_repro.report

publish: setup ## for maintainers: take what was measured here of EXP to results/, if others can make it again
	@$(BIN)/python -m resnet_repro.publish $(EXP)

verify: setup ## render every committed result again and compare byte for byte
	@$(BIN)/python -m resnet_repro.report --verify

paper: setup ## a short article on all results, or on the EXP given, in results/paper/ (needs TeX for its PDF file)
	@$(BIN)/python -m resnet_repro.article $(if $(filter-out file,$(origin EXP)),$(EXP))

test: setup ## the test suite (but for test-slurm)
	@$(BIN)/python -m pytest -n auto -m "not slurm"

test-slurm: setup ## the tests on a real Slurm on loopback (skipped, saying so, where it is not installed)
	@$(BIN)/python -m pytest -m slurm -rs tests/slurm

docs: setup ## build docs/ with the results into site/, and check every link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict && echo "open site/index.html"

check: setup ## format, lint, types, import contracts
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: setup ## measure engines, curves, overhead, start-up and report time; writes benchmarks/results/
	@$(BIN)/python -m benchmarks

wandb-sync: setup ## upload the runs that W&B has not seen yet
	@$(BIN)/wandb sync --include-online runs/wandb/*run-*

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 -c pins.in -q \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock

clean: ## remove the environment and caches; runs/ and results/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
