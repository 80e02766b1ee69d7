# Everything here does its own set-up: Python >= 3.11, git and make are enough. `make` alone lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
# Two is what the machines of our CI have; the control plane is shared between the workers.
TEST_WORKERS ?= 2
PYTEST_FLAGS ?=
# Anything but nothing: `make demo` on a real control plane.
REAL ?=
CODE := reconcile controllers examples tests benchmarks docs

say = @printf '\033[1m── %s\033[0m\n' "$(1)" >&2

.PHONY: help demo test lint types imports docs pytest long bench fmt system-deps clean

help:
	@printf '%s\n' \
	  'make demo         our Job controller on the embedded cluster (first time: a minute, then 15 seconds)' \
	  'make demo REAL=1  the same on a real control plane (first time: about 8 minutes, then 1)' \
	  'make test         every check and every test, as in CI (first time: about 20 minutes, then 10)' \
	  'make docs         the documentation, into docs/_build/html (half a minute)' \
	  'make bench        the benchmarks beside their peers, into benchmarks/results (15 minutes)' \
	  'make fmt          format, and fix what the linter can fix' \
	  'make long         the documented long runs (hours)' \
	  'sudo make system-deps   containerd, runc, CNI plugins, busybox: what real nodes need (optional)' \
	  'make clean        remove the virtual environment and what was built'

# ── set-up ────────────────────────────────────────────────────────────────────────────────────────────────────────
# Stamps: done again only when pyproject.toml or constraints.txt change.
$(VENV)/.python:
	$(call say,virtual environment in $(VENV) (a few seconds))
	@python=""; \
	for candidate in "$${PYTHON:-}" python3 python3.13 python3.12 python3.11; do \
	  [[ -n "$$candidate" ]] || continue; \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python="$$candidate"; break; fi; \
	done; \
	if [[ -z "$$python" ]]; then \
	  echo "Reconcile needs Python 3.11 or newer; found: $$(python3 --version 2>&1 || true)." >&2; \
	  echo "Install one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; \
	fi; \
	"$$python" -m venv $(VENV) || { echo "python3 -m venv failed: on Debian and Ubuntu install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --upgrade pip
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	$(call say,Reconcile and what it needs into $(VENV) (about half a minute))
	@$(BIN)/python -m pip install --quiet -c constraints.txt --build-constraint constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(call say,development tools into $(VENV) (about half a minute))
	@$(BIN)/python -m pip install --quiet -c constraints.txt --build-constraint constraints.txt --group dev
	@touch $@

system-deps:
	@./.ci/system-deps

# ── the two commands of the README ────────────────────────────────────────────────────────────────────────────────
demo: $(VENV)/.installed
ifeq ($(REAL),)
	$(call say,demo: Jobs on the embedded cluster (15 seconds))
	@$(BIN)/reconcile demo
else
	$(call say,demo: Jobs on a real control plane (about a minute; the first time its binaries are built: 7 minutes more))
	@$(BIN)/reconcile demo --real
endif

# In order of price, so that a failure shows early.
test: $(VENV)/.tools
	@$(MAKE) lint
	@$(MAKE) imports
	@$(MAKE) types
	@$(MAKE) docs
	@$(MAKE) pytest
	$(call say,all passed)

lint: $(VENV)/.tools
	$(call say,ruff (seconds))
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)

imports: $(VENV)/.tools
	$(call say,import-linter: the floors of the house (seconds))
	@$(BIN)/lint-imports --no-logo

types: $(VENV)/.tools
	$(call say,mypy --strict and pyright (about a minute))
	@$(BIN)/mypy
	@$(BIN)/mypy tests/typing examples
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

docs: $(VENV)/.tools
	$(call say,documentation (half a minute))
	@$(BIN)/sphinx-build -W --keep-going -n -q -b html docs docs/_build/html

pytest: $(VENV)/.tools
	$(call say,the control planes that the tests use (the first time they are built: 7 minutes, and 4 for a second release))
	@# Here, and not in the first test that needs it: a build counts against that test's time limit. Where it cannot
	@# be built the tests are skipped, in CI they fail.
	@$(BIN)/reconcile envtest build etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet >/dev/null \
	  || [[ "$${CI:-}" != true ]]
	@$(BIN)/reconcile envtest build --release 1.36.3 etcd kube-apiserver >/dev/null || [[ "$${CI:-}" != true ]]
	$(call say,pytest (about 8 minutes))
	@$(BIN)/pytest -n $(TEST_WORKERS) -m 'not long' $(PYTEST_FLAGS)

long: $(VENV)/.tools
	$(call say,the long runs (hours))
	@$(BIN)/pytest -m long --timeout 0 $(PYTEST_FLAGS)

# ── the rest ──────────────────────────────────────────────────────────────────────────────────────────────────────
bench: $(VENV)/.installed
	$(call say,benchmarks beside their peers (about 15 minutes))
	@for bench in import workqueue watch_bulk sync; do $(BIN)/python benchmarks/bench_$$bench.py; done
	@$(BIN)/python benchmarks/report.py

fmt: $(VENV)/.tools
	@$(BIN)/ruff check --fix $(CODE) || true
	@$(BIN)/ruff format $(CODE)

clean:
	@rm -rf $(VENV) docs/_build build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
