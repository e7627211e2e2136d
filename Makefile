# Python 3.10+ and make are all that is needed; everything else comes from PyPI into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := -p calpow.puzzle -p calpow.handler -p calpow.archiver -p calpow.client -p tests -p benchmarks
# Processes that run tests side by side.
WORKERS ?= 2

# Tests of `make check`, of `make test` and of `make test-long`; each test belongs to one of the last two.
QUICK := not server and not browser and not training and not timing and not slow and not long
WHOLE := not timing and not long and not oldest
LONG := timing or long

PYTEST := $(BIN)/python -m pytest
# Tests that share a server or trained teachers stay together on one process: tests/conftest.py names the groups.
GROUPED := -n $(WORKERS) --dist loadgroup
# Prints the output of parallel targets one after the other, where this make can.
TOGETHER := -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# The oldest torch that calpow runs on has an environment of its own, and no wheels for a newer Python.
OLDEST := .venv-oldest
# Tests for it, without what torch 2.0 itself cannot: half precision on the CPU, torch.export, compiling for Python 3.11.
# It warns of its own code.
ON_OLDEST := tests/oldest tests/e2e/test_own_models.py tests/handler/leakage --ignore tests/handler/leakage/teachers/test_ensemble.py \
  -m "not timing and not long" -k "not float16 and not exported and not compiled" -W ignore::UserWarning
OLDEST_PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.10),$(PYTHON))

.PHONY: help demo serve bench results pictures check test test-long test-oldest lint style types contracts javascript unit clean

help:
	@echo "make demo       protect a model, let an honest user and attackers query it, compare (a few minutes)"
	@echo "make serve      the same model, left running, with a page to draw on and curl lines to paste"
	@echo "make pictures   refresh docs/pictures: the charts of the evidence, and with a headless Chromium the demo's report and page"
	@echo "make bench      speed: beside an unprotected server, by stage, as everything grows, beside peers (a quarter of an hour)"
	@echo "make results    the paper's tables and figures again, into docs/results (CALPOW_TRACES: its recorded attacks)"
	@echo "make check      make lint and the unit tests, without any server: under a minute"
	@echo "make test       all tests, against real servers: ten to thirteen minutes on two cores (COVERAGE=1 measures coverage)"
	@echo "make test-long  timing tests and what takes longer; wants an otherwise idle machine"
	@echo "make test-oldest  what depends on torch, on the oldest that calpow runs on: minutes"
	@echo "make lint       ruff, mypy, and which module may import which"
	@echo "make clean      remove what the others made"

# A strict editable install links each file into build/: it is made anew when a file comes or goes.
SOURCES := $(sort $(shell find puzzle handler archiver client -name "*.py" -o -name "*.css" -o -name "*.j2"))
LISTING := $(VENV)/sources-$(shell echo $(SOURCES) | cksum | cut -d' ' -f1)

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Calpow needs Python 3.10 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(LISTING): $(BIN)/python pyproject.toml
	@echo "Installing into $(VENV): PyTorch, TorchServe and a Java runtime; a few minutes the first time."
	$(BIN)/pip install --quiet --disable-pip-version-check --config-settings editable_mode=strict -e '.[owner,fast,httpx,bench,dev]'
	@rm -f $(VENV)/sources-*
	@touch $@

demo: $(LISTING)
	$(BIN)/python -m benchmarks.demo

serve: $(LISTING)
	$(BIN)/python -m benchmarks.demo --serve

pictures: $(LISTING)
	$(BIN)/python -m benchmarks.pictures.evidence_charts
	$(BIN)/python -m benchmarks.pictures

# Speed beside an unprotected TorchServe, by stage, growing, and beside peers; wants `make demo` first and an idle machine.
bench: $(LISTING)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.added_time
	-$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.ledgers
	$(BIN)/python -m benchmarks.peers

# QUICK=1: fewer repetitions.
results: $(LISTING)
	$(BIN)/python -m benchmarks.results $(if $(QUICK),--quick)

check: $(LISTING)
	@$(MAKE) --no-print-directory $(TOGETHER) lint unit

unit: $(LISTING)
	$(PYTEST) -q -n $(WORKERS) --dist worksteal -m "$(QUICK)"

test: $(LISTING)
	$(PYTEST) $(GROUPED) -m "$(WHOLE)" $(if $(COVERAGE),--cov --cov-report=)
ifdef COVERAGE
	@echo "Coverage of the modules under 90 %, and in all:"
	@$(BIN)/coverage report --sort=cover | awk '$$NF + 0 < 90 || /^TOTAL/'
endif

test-long: $(LISTING)
	$(PYTEST) -m "$(LONG)"

$(OLDEST)/installed: pyproject.toml tests/oldest/constraints.txt
	$(OLDEST_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12) and "The oldest torch needs Python 3.10 or 3.11: make OLDEST_PYTHON=python3.11 ...")'
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	@echo "Installing the oldest torch into $(OLDEST): a minute or two, and 5 GB."
	$(OLDEST)/bin/pip install --quiet --disable-pip-version-check -c tests/oldest/constraints.txt -e '.[owner,grpc,httpx,jwt,redis]' hypothesis 'pytest<9.2' pytest-xdist
	@touch $@

test-oldest: $(LISTING) $(OLDEST)/installed
	CALPOW_NEWEST_PYTHON=$(CURDIR)/$(BIN)/python $(OLDEST)/bin/python -m pytest $(GROUPED) $(ON_OLDEST)

lint: style types contracts javascript

style: $(LISTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(LISTING)
	$(BIN)/mypy $(PACKAGES)

contracts: $(LISTING)
	$(BIN)/lint-imports --no-logo

# node and npm come from PyPI with the extra `dev`; the compiler's version is pinned in package-lock.json.
node_modules/.package-lock.json: package.json package-lock.json $(LISTING)
	PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent --no-audit --no-fund --ignore-scripts

javascript: node_modules/.package-lock.json
	$(BIN)/node node_modules/typescript/bin/tsc --project .

clean:
	rm -rf $(VENV) $(OLDEST) node_modules build dist demo *.egg-info .coverage* .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
