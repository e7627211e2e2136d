# Python 3.10+ and make are all that is needed; everything else comes from PyPI into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOMS := -p calpow.puzzle -p calpow.handler -p calpow.archiver -p calpow.client

.PHONY: help demo serve test lint clean

help:
	@echo "make demo   protect a model, let an honest user and attackers query it, compare (a few minutes)"
	@echo "make serve  the same model, left running, with a page to draw on and curl lines to paste"
	@echo "make test   the whole test suite, against real servers"
	@echo "make lint   ruff and mypy"
	@echo "make clean  remove what the others made"

# A strict editable install links each file into build/: it is made anew when a file comes or goes.
SOURCES := $(sort $(shell find puzzle handler archiver client -name "*.py"))
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

test: $(LISTING)
	$(BIN)/python -m pytest

lint: $(LISTING)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(ROOMS) -p tests -p benchmarks

clean:
	rm -rf $(VENV) build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
