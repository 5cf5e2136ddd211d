# Needs python3 (3.11 to 3.13), make and a package index. `make help` lists the targets.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXP := degradation-digits
LAUNCHER := local
OVERRIDES :=
RESULTS := results
EXPS := degradation,batchnorm,shortcut-scale
MINUTES :=
PORT := 8000
LOCAL := results/local
WEB :=
ALL :=

# What the environment holds for other programs decides nothing here.
export PIP_USER := 0
unexport PYTHONHOME PYTHONOPTIMIZE PYTHONWARNINGS PIP_TARGET PIP_PREFIX PIP_ROOT PIP_REQUIRE_HASHES PIP_NO_DEPS
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_TARGET UV_PREFIX UV_CONSTRAINT UV_OVERRIDE UV_EXCLUDE_NEWER UV_REQUIRE_HASHES

# uv with the user's own indexes.
UV = PY="$(PY)" .ci/uv $(BIN)/python

# `make plan | head`: that nobody reads on is no failure of what only prints.
UNREAD = test $$? = 141

# Whether a Python is one of those that the pinned versions exist for.
FITS = -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null

# A checkout that was moved is installed again, where it is now.
ifneq ($(shell cat $(VENV)/.installed 2>/dev/null),$(CURDIR))
.PHONY: $(VENV)/.installed
endif

.DEFAULT_GOAL := help
.PHONY: help setup sweep watch site campaign plan collect status measure report doctor publish verify paper test test-slurm check docs bench wandb-sync dashboard lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14
	@echo; echo 'EXP, LAUNCHER, OVERRIDES and RESULTS pass through, for example'
	@echo '  make sweep EXP=degradation LAUNCHER=slurm OVERRIDES="seed=0,1"'
	@echo '  make paper EXP=degradation-digits RESULTS=results/local'
	@echo; echo "experiments: $(basename $(notdir $(wildcard experiments/*.yaml)))" | fold -s -w 78

setup: $(VENV)/.installed ## create .venv with the pinned versions

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(BIN)/python $(FITS) || $(PY) $(FITS) || \
	  { echo "error: PY=$(PY) is no Python 3.11, 3.12 or 3.13: name one, as in make setup PY=python3.12"; exit 1; }
	@echo "setting up $(VENV) (once, 1 to 2 minutes)"
	@$(BIN)/python $(FITS) || { rm -rf $(VENV) && $(PY) -m venv $(VENV); } || { rm -rf $(VENV); \
	  echo "error: $(PY) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m uv --version 2>/dev/null | grep -q '^uv 0.13.8' || \
	  $(BIN)/python -m pip install -q --disable-pip-version-check uv==0.13.8
	@$(UV) pip sync -q -p $(BIN)/python --compile-bytecode requirements.lock
	@$(BIN)/python -m uv pip install -q -p $(BIN)/python --no-deps --no-build-isolation -e .
	@printf '%s' "$(CURDIR)" > $@

sweep: setup ## train what is missing of EXP, collect, report, say the verdicts
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --launcher $(LAUNCHER) $(OVERRIDES)

watch: setup ## the live screen of EXP while it is swept elsewhere (WEB=1: in a browser)
ifeq ($(WEB),)
	@$(BIN)/python -m resnet_repro.watch $(EXP) $(OVERRIDES)
else
	@test -f $(LOCAL)/$(EXP)/report.html || echo "the page of $(EXP) comes with its first whole seed"
	@until test -f $(LOCAL)/$(EXP)/report.html; do sleep 1; done
	$(call serve,$(LOCAL),$(EXP)/report.html?live=5)
endif

site: setup ## the results in a browser (RESULTS=results/local: yours), at localhost:PORT
	@test -f $(RESULTS)/site/index.html || { echo "error: no results in $(RESULTS)/site yet: make report"; exit 1; }
	$(call serve,$(RESULTS),site/index.html)

define serve
@echo "open localhost:$(PORT)/$(2) (Ctrl-C ends it)"
@$(BIN)/python -m http.server --bind 127.0.0.1 --directory $(1) $(PORT) >/dev/null 2>&1 || \
  { echo "error: the server has ended; if port $(PORT) is taken: make $@ PORT=..."; exit 1; }
endef

campaign: setup ## EXPS in turn, in slices of MINUTES: repeat it until all is done
	@$(BIN)/python -m resnet_repro.campaign --experiments $(EXPS) --launcher $(LAUNCHER) \
	  $(if $(MINUTES),--minutes $(MINUTES)) $(OVERRIDES)

plan: setup ## what EXP would train, and what it should cost (ALL=1: run by run)
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --plan $(if $(ALL),--all) $(OVERRIDES) || $(UNREAD)

collect: setup ## collect and report what is finished of EXP, train nothing
	@$(BIN)/python -m resnet_repro.sweep $(EXP) --collect $(OVERRIDES)

status: setup ## finished, running, missing runs of all experiments, or of EXP
	@$(BIN)/python -m resnet_repro.status $(if $(filter-out file,$(origin EXP)),$(EXP)) $(if $(ALL),--all) $(OVERRIDES) || $(UNREAD)

measure: setup ## measure what EXP asks for on the networks that were kept (keep: net); train nothing
	@$(BIN)/python -m resnet_repro.measure $(EXP) $(OVERRIDES)

report: setup ## render results/ and results/local/ anew from the collected data
	@$(BIN)/python -m resnet_repro.report

publish: setup ## for maintainers: take what was measured of EXP to results/
	@$(BIN)/python -m resnet_repro.publish $(EXP)

doctor: setup ## does this machine compute what it should
	@$(BIN)/python -m resnet_repro.doctor $(OVERRIDES)

verify: setup ## render every committed result again and compare byte for byte
	@$(BIN)/python -m resnet_repro.report --verify

paper: setup ## an article on RESULTS, or EXP of them, in RESULTS/paper/ (TeX)
	@$(BIN)/python -m resnet_repro.article $(if $(filter-out file,$(origin EXP)),$(EXP)) --results $(RESULTS)

test: setup ## the test suite (but for test-slurm)
	@$(BIN)/python -m pytest -n auto -m "not slurm"

test-slurm: setup ## the tests on a real Slurm, skipped where none is installed
	@$(BIN)/python -m pytest -m slurm -rs tests/slurm

docs: setup ## build docs/ with the results into site/, and check every link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -q --strict && echo "open site/index.html"

check: setup ## format, lint, types, import contracts
	@$(BIN)/python -m ruff format --check . && $(BIN)/python -m ruff check . && $(BIN)/python -m mypy
	@$(BIN)/python -c 'from importlinter.cli import lint_imports_command as run; run()'

bench: setup ## measure speed and overhead; writes benchmarks/results/
	@$(BIN)/python -m benchmarks

wandb-sync: setup ## upload the runs that W&B has not seen yet
	@$(BIN)/python -m resnet_repro.mirror.sync $(OVERRIDES)

dashboard: setup ## W&B workspaces and report of EXP, saved there or, without a key, as JSON
	@$(BIN)/python -m resnet_repro.dashboard $(EXP) $(OVERRIDES)

lock: setup ## resolve requirements.lock anew from pyproject.toml
	@$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 -c pins.in -q \
	  --no-annotate --no-header --no-emit-index-url --no-emit-find-links --upgrade -o requirements.lock

clean: ## remove the environment and caches; runs/ and results/ stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
