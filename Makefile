# make demo | test | test-all | check | docs | bench      (PYTHON=python3.12 VENV=… to choose)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Keeps BLAS-free XLA programs and test workers from fighting over the cores.
PYTEST := $(BIN)/python -m pytest

.PHONY: demo test test-all check format docs bench clean

demo: $(VENV)/.installed
	$(BIN)/optoscope demo

# Nearly all of the time goes into compiling: without most of XLA's optimizations it is a third less.
test: $(VENV)/.installed-dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST) -n 2 -m "not slow"

# The slow ones too, and everything compiled as users have it.
test-all: $(VENV)/.installed-dev
	$(PYTEST) -n 2

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/inner_loop.py
	$(BIN)/python benchmarks/meta_training.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "optoscope needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): about a minute, once."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing with test and development tools into $(VENV): about a minute, once."
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
