# One command each, for people and for CI. A newcomer needs Python 3.11 or newer and make, nothing else.
#   make run ARGS="--config other.toml"    make test ARGS="-k gates"    make PYTHON=python3.13 test

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --no-input
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes

# Other people's clients of the real exchange, each with requirements of its own.
CLIENTS := ccxt python-binance sdk

# What a person's own pip settings must not change about this virtual environment.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_USER := 0
# What the lock files name as their origin.
export UV_CUSTOM_COMPILE_COMMAND := make lock

.DEFAULT_GOAL := help
.PHONY: help run demo test drill-kill check conformance simulate simulate-bugs bench bench-memory docs lock conformance-lock \
  clean
.DELETE_ON_ERROR:
.NOTPARALLEL:

help: ## List what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Start the engine: paper mode unless config.toml says otherwise, JSON log lines
	@exec $(BIN)/quantum-trader run $(ARGS)

demo: $(VENV)/.run ## See opens, blocks, a rotation, a BSC close and a kill in two minutes, on play money
	@exec $(BIN)/quantum-trader demo $(ARGS)

test: $(VENV)/.dev ## Run the tests
	@$(BIN)/python -m pytest $(ARGS)

drill-kill: $(VENV)/.dev ## Kill the engine under load KILLS times (200) and see that nothing is lost or doubled
	@KILLS=$(or $(KILLS),200) $(BIN)/python -m pytest tests/drills/test_crash.py -k again_and_again -s -n 0 $(ARGS)

check: $(VENV)/.dev ## Check style, formatting, types and the direction of imports
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

conformance: $(VENV)/.dev $(CLIENTS:%=.venv-conformance-%/.ready) ## Let other clients trade on the embedded exchange
	@$(BIN)/python -m pytest --numprocesses=0 tests/conformance/check_clients.py $(ARGS)

bench: $(VENV)/.dev $(CLIENTS:%=.venv-conformance-%/.ready) ## Measure beside a naive engine, a C floor and other clients (QUICK=1)
	@$(BIN)/python bench/run.py $(if $(QUICK),--quick) $(ARGS)

bench-memory: $(VENV)/.dev ## Let many plans through and watch the memory (PLANS=1000000)
	@$(BIN)/python bench/memory.py --plans $(or $(PLANS),1000000) $(ARGS)

simulate: $(VENV)/.dev ## Run the whole engine by seed, with faults (SEEDS=100 PLANS=500 JOBS=2; SEED=7 TRACE=1)
	@PYTHONPATH=tests $(BIN)/python -m simulation.run --plans $(or $(PLANS),500) --first $(or $(FIRST),1) $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100)) \
	  $(if $(JOBS),--jobs $(JOBS)) $(if $(TRACE),--trace) $(ARGS)

simulate-bugs: $(VENV)/.dev ## Plant known bugs one by one, and show which seed finds each (BUGS="name name")
	@PYTHONPATH=tests $(BIN)/python -m simulation.run --first $(or $(FIRST),1) --bugs $(BUGS)

docs: $(VENV)/.dev ## Rewrite what is generated from the code: config.toml, docs/reasons.md
	@$(BIN)/python scripts/reference.py

lock: $(VENV)/.dev ## Rewrite requirements/*.txt from pyproject.toml (ARGS=--upgrade for newest versions)
	@$(COMPILE) $(ARGS) pyproject.toml --all-extras --group dev --output-file requirements/dev.txt
	@$(COMPILE) --no-annotate pyproject.toml --all-extras --constraint requirements/dev.txt --output-file requirements/runtime.txt
	@$(COMPILE) --no-annotate --group build --constraint requirements/dev.txt --output-file requirements/build.txt

conformance-lock: $(VENV)/.dev
	@for client in $(CLIENTS); do UV_CUSTOM_COMPILE_COMMAND='make conformance-lock' $(COMPILE) $(ARGS) --no-annotate \
	  requirements/conformance-$$client.in --output-file requirements/conformance-$$client.txt; done

clean: ## Remove the virtual environment and all caches; the engine's state stays
	@rm -rf $(VENV) .venv-conformance-* dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: newer than all they were made from, or made anew.
$(VENV)/.run: $(BIN)/python pyproject.toml requirements/runtime.txt requirements/build.txt
	@echo 'Installing what the engine needs into $(VENV) ...'
	@$(PIP) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml requirements/dev.txt
	@echo 'Installing what development needs into $(VENV) ...'
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

# One for each client: they install packages of the same name over each other.
.venv-conformance-%/.ready: requirements/conformance-%.txt $(BIN)/python
	@echo 'Installing $* into .venv-conformance-$* ...'
	@$(PYTHON) -m venv --clear .venv-conformance-$*
	@.venv-conformance-$*/bin/python -m pip install --quiet --no-input --require-hashes -r $<
	@touch $@

$(BIN)/python:
	$(if $(shell $(PYTHON) -c 'import sys; print("new" if sys.version_info >= (3, 11) else "")' 2>/dev/null),,\
	  $(error Python 3.11 or newer is needed, and '$(PYTHON)' is not one. Name one: make PYTHON=python3.13 $(MAKECMDGOALS)))
	$(if $(shell $(PYTHON) -c 'import ensurepip; print("has pip")' 2>/dev/null),,\
	  $(error '$(PYTHON)' comes without pip. Install its venv package (Debian: python3-venv) or name another: make PYTHON=... $(MAKECMDGOALS)))
	@$(PYTHON) -m venv --clear $(VENV)
