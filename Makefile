# `make demo` and `make test` do all of their own set-up: a virtual environment in $(VENV), the package, then the job.
PYTHON ?= python3
VENV ?= .venv
# Which tests `make test` runs; all of them: make test MARKERS=""
MARKERS ?= not slow
# How many processes share them, file by file.
WORKERS ?= 2
PYTEST_ARGS ?=
DEMO_ARGS ?=

BIN := $(VENV)/bin
# One stamp a kind of installation: a second call installs again only when the package's facts have changed.
FACTS := setup.cfg pyproject.toml sgt_hf/__init__.py
INSTALLED := $(VENV)/.installed
INSTALLED_FOR_TESTS := $(VENV)/.installed-test

.PHONY: demo test lint types setup clean

demo: $(INSTALLED)
	$(BIN)/python benchmarks/eraser.py $(DEMO_ARGS)

test: export HF_HUB_OFFLINE := 1
# Tensors of tests are tiny: threads cost more than they save, and their number changes the rounding.
test: export OMP_NUM_THREADS := 1
test: lint types
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "$(MARKERS)" $(PYTEST_ARGS)

lint: $(INSTALLED_FOR_TESTS)
	$(BIN)/ruff check .

types: $(INSTALLED_FOR_TESTS)
	$(BIN)/mypy

# The environment of `make test`, and nothing else.
setup: $(INSTALLED_FOR_TESTS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$@ -m pip install --upgrade pip

$(INSTALLED): $(FACTS) | $(BIN)/python
	$(BIN)/python -m pip install -e .
	touch $@

$(INSTALLED_FOR_TESTS): $(FACTS) | $(BIN)/python
	$(BIN)/python -m pip install -e '.[test]'
	touch $@ $(INSTALLED)
