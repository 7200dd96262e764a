# The two commands a new user needs are `make run` and `make test`; both set up everything they use.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 8080
DATA ?= data
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where a machine forbids bytecode files, every process of the tests would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run dev-stack test test-fast soak bench check docs format lock tools clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# --- environment -------------------------------------------------------------------------------
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Thermocline needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv failed: install the venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }

.venv/.runtime: $(BIN)/python requirements.lock pyproject.toml
	@echo "Installing Thermocline into .venv ..." >&2
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --editable .
	@touch $@

.venv/.development: .venv/.runtime requirements-dev.lock
	@echo "Installing the development tools into .venv ..." >&2
	@$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

tools: ## Debian packages that `make test` and `make bench` need (nginx, aria2, chromium, ...)
	@bash tests/install-tools

# --- use ---------------------------------------------------------------------------------------
run: .venv/.runtime ## start the service: PORT=8080 DATA=data make run
	@exec $(BIN)/thermocline serve --port $(PORT) --data $(DATA)

dev-stack: .venv/.development tools ## PostgreSQL, Redis Cluster, Ceph and a Glacier for a developer, until Ctrl-C
	@exec $(BIN)/python -m thermocline.testing.servers.stack

# --- verify ------------------------------------------------------------------------------------
check: .venv/.development ## lint, types, architecture, docs
	@$(BIN)/ruff format --check --quiet . || { echo "run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/pytest -q -n 0 -m "not server" tests/docs

docs: .venv/.development ## make the pages of the reference that come from the code
	@$(BIN)/python -m tests.docs.generate

format: .venv/.development ## rewrite the sources in the project's format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

test-fast: .venv/.development ## what needs no server process and no long enumeration (at most 90 s)
	@$(BIN)/pytest -m "not server and not thorough" -n 2 --dist worksteal

test: .venv/.development tools ## everything, on real servers and real clients (at most 25 min)
	@$(BIN)/pytest -n 2 --dist worksteal --durations 15

soak: .venv/.development tools ## the same tests at full counts (hours)
	@THERMOCLINE_SOAK=1 $(BIN)/pytest -n 2 --dist worksteal --durations 15 --timeout 0

bench: .venv/.development tools ## ratios against peers, text and JSON (bench/results)
	@$(BIN)/python -m bench

lock: ## resolve the dependencies again (needs uv)
	uv pip compile --quiet --upgrade --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	uv pip compile --quiet --upgrade --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock

clean: ## remove the environment and caches, never data
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
