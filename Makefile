# Every target makes .venv first, from requirements.lock, unless it is there already.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help setup run showcase test test-slow lint types up down reset

help:
	@echo "make run        one round on the embedded default (again: the next round)"
	@echo "make showcase   one round on SmolLM2-135M, 35 to 50 minutes on 2 cores"
	@echo "make up, down   the local stack: Prefect, MLflow, workers; schedules rounds"
	@echo "make test       the tests      make test-slow   those that take minutes too"
	@echo "make lint types ruff, mypy     make setup       .venv alone"
	@echo "make reset      back to a fresh clone: deletes .rlhf/ and data/"

setup: $(INSTALLED)

# --no-deps: the lock file is the closure, and pip is to add nothing to it. Where pip offers a GPU build of
# torch, its libraries are packages of their own: then, and then only, they are fetched.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@echo "making .venv (about two minutes, 2.3 GB) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --no-deps -r requirements.lock
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install "$$(grep '^torch==' requirements.lock)"
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	@$(BIN)/rlhf run $(ARGS)

showcase: setup
	@$(BIN)/rlhf run --params infra/params/smollm2.yaml $(ARGS)

test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist loadfile $(ARGS)

test-slow: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup
	@$(BIN)/mypy

up: setup
	@$(BIN)/python -m infra.stack up $(ARGS)

down: setup
	@$(BIN)/python -m infra.stack down

reset:
	@if [ -f .rlhf/stack.json ]; then $(BIN)/python -m infra.stack down; fi
	rm -rf .rlhf data .dvc/tmp .dvc/cache .dvc/config.local
	git checkout -- data.dvc
