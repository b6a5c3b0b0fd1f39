# make demo | install | test | test-all | test-oldest | check | docs | gallery | results RUN=… | bench | bench-compare REV=… | bench-growth
# make check-accelerator (PYTHON=python3.12 VENV=… to choose)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What is imported is compiled then, once: pip would compile all that it installs, on one core.
export PIP_COMPILE ?= 0
PYTEST := $(BIN)/python -m pytest
# As many test workers as there are cores, each with 8 GB of memory; of more than eight, some would
# have nothing to do.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2); \
  m=$$(awk '/^MemAvailable/ {print int($$2 / 8e6)}' /proc/meminfo 2>/dev/null || echo 2); \
  n=$$((n > m ? m : n)); echo $$((n < 2 ? 2 : n > 8 ? 8 : n)))
# A file's tests share fixtures and compiled programs: all of them go to one worker.
SPREAD = -n $(WORKERS) --dist loadfile

.PHONY: demo install test test-all test-oldest check check-accelerator format docs gallery results bench bench-compare bench-growth clean

demo: $(VENV)/.installed
	$(BIN)/optoscope demo

# Everything that the other targets need, at once.
install: $(VENV)/.installed-all

# Nearly all of the time goes into compiling: without most of XLA's optimizations it is half. What
# depends on them most, the loops of STAR and MLP optimizers, is tested as users have it too.
test: $(VENV)/.installed-dev
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST) $(SPREAD) -m "not slow"
	$(PYTEST) $(SPREAD) -m "not slow" $(OPTIMIZED)

OPTIMIZED := tests/core/test_programs.py tests/optimizers/test_sums_of_squares.py \
  tests/optimizers/test_exponential.py tests/optimizers/test_mlp.py

# The slow ones too, and everything compiled as users have it.
test-all: $(VENV)/.installed-dev
	$(PYTEST) $(SPREAD)

# With the oldest versions of everything that pyproject.toml allows, in an environment of its own.
OLDEST_VENV ?= .venv-oldest
OLDEST := tests/core tests/test_errors.py tests/training/test_train.py tests/optimizers/test_files.py \
  tests/optimizers/test_contract.py tests/meta/test_contract.py tests/bench/test_evaluate.py \
  tests/analysis/noise/test_covariance.py tests/report/test_figures.py tests/cli/test_errors.py
test-oldest:
	$(PYTHON) -m venv $(OLDEST_VENV)
	$(PYTHON) .ci/oldest.py >$(OLDEST_VENV)/requirements.txt
	$(OLDEST_VENV)/bin/python -m pip install --quiet --requirement $(OLDEST_VENV)/requirements.txt
	$(OLDEST_VENV)/bin/python -m pip install --quiet --no-deps --editable .
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(OLDEST_VENV)/bin/python -m pytest $(SPREAD) -m "not slow" $(OLDEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A paper's page of results, from a finished run of `optoscope reproduce`: make results RUN=runs/B;
# beside a run at another scale, with OPTIONS="--beside docs/results/verdicts/A-laptop.json".
results: $(VENV)/.installed
	@test -n "$(RUN)" || { echo "Say which run: make results RUN=runs/A"; exit 2; }
	$(BIN)/python -m optoscope.report.results "$(RUN)" --earlier docs/results/earlier-verdicts.json $(OPTIONS)

# The six inspected pairs of docs/gallery, each in a minute or a few; what is finished is kept.
gallery: $(VENV)/.installed
	$(BIN)/python docs/gallery/make_gallery.py $(OPTIONS)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The library's speeds beside their references; for less: OPTIONS="--rounds 3 --only star-step"
bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/suite.py $(OPTIONS)

# The same at another revision and at the present one, taking turns: make bench-compare REV=main~3
bench-compare: $(VENV)/.installed-dev
	@test -n "$(REV)" || { echo "Say which revision: make bench-compare REV=main~3"; exit 2; }
	$(BIN)/python benchmarks/compare.py "$(REV)" $(OPTIONS)

# Time against parameters, particles and devices, with the figure of docs/guide/speed.md.
bench-growth: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/growth.py $(OPTIONS)

# For a machine with one accelerator and a Python that has JAX's build for it: that JAX is used, and
# only what is missing beside it is installed. Nothing is where it can all be imported already.
ACCELERATOR_VENV ?= .venv-accelerator
check-accelerator:
	@if PYTHONPATH="src:$$PYTHONPATH" $(PYTHON) -c 'import optoscope.meta, orbax.checkpoint' \
	    2>/dev/null; then python=$(PYTHON); else \
	  echo "Installing what is missing into $(ACCELERATOR_VENV)."; \
	  $(PYTHON) -m venv --system-site-packages $(ACCELERATOR_VENV) && \
	  $(ACCELERATOR_VENV)/bin/python -m pip install --quiet --editable . || \
	    { echo "Without a network, have PYTHONPATH show the packages of pyproject.toml."; exit 2; }; \
	  python=$(ACCELERATOR_VENV)/bin/python; fi; \
	$$python benchmarks/check_accelerator.py $(OPTIONS)

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

$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs]'
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev $(VENV)/.installed-docs

clean:
	rm -rf $(VENV) $(OLDEST_VENV) site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
