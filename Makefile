# Everything runs from here: `make demo` and `make test` need only Python 3.11 or newer, make and a package index.
#
#   make demo     install, and let the embedded model answer
#   make test     install with the test tools, and run the tests
#   make check    format, lint, types, floors and tests
#   make format   rewrite the files as `make check` wants them
#   make soak     the property tests with fifty times the examples, and the long runs (hours)
#   make clean    remove the environment and the caches
#
#   PYTHON=python3.12     the interpreter of the environment (default: the first of python3.11 … python3 that is new enough)
#   TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu'     which torch to install, and from where
#   TESTS=tests/unit/ops ARGS='-x -k scan'     what `make test` runs, and further words for pytest
#   WORKERS=2     processes that run tests side by side, each with one thread; 0: this one alone

.DEFAULT_GOAL := help
SHELL := /bin/sh
.PHONY: help demo test check format-check lint types floors format soak clean install install-dev

VENV ?= .venv
TORCH ?= torch==2.13.0
TESTS ?= tests
ARGS ?=
WORKERS ?= 2

BIN := $(VENV)/bin
# Silenced: setuptools' notes for packagers. Errors still show.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check

help:
	@sed -n 's/^#   \(make .*\)/\1/p' Makefile

# ---------------------------------------------------------------------------------------------------------------------
# The environment. The stamps make repeated calls instant; they age when pyproject.toml changes.

$(BIN)/pip:
	@for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	    if [ "$$candidate" = "$(PYTHON)" ]; then echo "PYTHON=$(PYTHON) is not Python 3.11 or newer." >&2; exit 1; fi; \
	done; \
	if [ -z "$$found" ]; then echo "No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	echo "Creating $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	@if ! $(BIN)/python -c 'from importlib.metadata import version; version("torch")' 2>/dev/null; then \
	    echo "Installing $(TORCH) (the one large download)"; $(PIP) $(TORCH); \
	fi
	@echo "Installing gemwright"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.installed
	@echo "Installing the test tools"
	@$(PIP) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# ---------------------------------------------------------------------------------------------------------------------
# The jobs

demo: install
	@echo
	@echo '$$ gemwright inspect'
	@$(BIN)/gemwright inspect
	@echo
	@echo '$$ gemwright generate --chat "Please write this in French: The dog is black."'
	@$(BIN)/gemwright generate --chat "Please write this in French: The dog is black."
	@echo
	@echo '$$ gemwright generate --chat "How many hearts are there?" --image gemwright/recipes/demo.png'
	@$(BIN)/gemwright generate --chat "How many hearts are there?" --image gemwright/recipes/demo.png
	@echo
	@echo "To talk to it: $(BIN)/gemwright chat"

test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS) $(ARGS)

format-check: install-dev
	$(BIN)/ruff format --check --diff .

lint: install-dev
	$(BIN)/ruff check .

types: install-dev
	$(BIN)/pyright

floors: install-dev
	$(BIN)/lint-imports --no-logo

check: format-check lint types floors test

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

soak: install-dev
	GEMWRIGHT_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(TESTS) $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .hypothesis .ruff_cache .import_linter_cache build dist *.egg-info
	find gemwright tests -name __pycache__ -type d -prune -exec rm -rf {} +
