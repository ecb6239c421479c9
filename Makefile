# Everything runs in .venv, which is made from pyproject.toml and constraints.txt when it is needed.
#
#   make test                     all tests but the slow ones
#   make demo                     train, compare, audit and draw: runs/demo/report.html
#   make lint                     what runs before a commit: style, types, contract, structure
#
# PYTHON        the interpreter that makes .venv, 3.11 or newer
# TORCH_INDEX   address of a package index that has CPU builds of torch (PyTorch's installation page names one). Where
#               pip's own configuration knows such a build it is taken anyway; without either, pip takes the default
#               build, which on Linux brings CUDA with it.
# JOBS          processes that tests run in

PYTHON ?= python3
TORCH_INDEX ?=
JOBS ?= 2

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := test
.PHONY: venv test slow lint style types contract structure format demo clean

venv: .venv/.stamp

.venv/.stamp: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "undula needs Python 3.11 or newer, say make PYTHON=python3.12")'
	@echo "making .venv (torch first; a few minutes)"
	@$(PYTHON) -m venv .venv
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(PIP) -e '.[animation,audio,bench,datasets,dev,translation,vision]'
	@touch $@

test: venv
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

slow: venv
	$(BIN)/python -m pytest -q -m slow

lint: style types contract structure

style: venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: venv
	$(BIN)/pyright

contract: venv
	$(BIN)/lint-imports --no-logo

structure: venv
	$(BIN)/python -m pytest -q tests/structure

format: venv
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

demo: venv
	$(BIN)/undula demo --out runs/demo

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
