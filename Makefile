# Every target works from a fresh clone with Python 3.11 or newer, make and git.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; \
	done)
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow lint format demo bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv and install hdsynth into it, with the tools for development

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "hdsynth needs Python 3.11 or newer: make PYTHON=/path/to/python3"; exit 1; }
	@echo "==> .venv: Python environment from $(PYTHON)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@echo "==> .venv: installing hdsynth and what it needs (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

test: $(READY) ## Run the tests, without the slow ones
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(READY) ## Run all tests, slow ones included
	$(BIN)/python -m pytest -m ''

lint: $(READY) ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## Sort imports and format the code
	$(BIN)/ruff check --select I --fix .
	$(BIN)/ruff format .

demo: $(READY) ## Draw a small dataset, re-arrange and render it, and make a preview: demo-out/
	$(BIN)/hdsynth demo --out demo-out

bench: $(READY) ## Run every benchmark that takes minutes (docs/results.md has those that train)
	@for file in $(filter-out bench/ablation.py bench/paper_tables.py bench/refine.py,$(wildcard bench/*.py)); do echo "==> $$file"; $(BIN)/python $$file || exit 1; done

clean: ## Remove build leftovers, caches and demo-out/ (keeps .venv)
	rm -rf build dist demo-out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
