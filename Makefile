# make run     trains the whole course and shows what came of it
# make test    checks everything
# make down    ends the servers that `make run` left up

PYTHON ?= python3.11
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
CODE := flows tasks model

.DEFAULT_GOAL := help
.PHONY: help install run test lint types unit test-others bench-data bench-lineage bench-training bench-kills down clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED)  ## the virtual environment in .venv, from requirements.lock

# The stamp is written last, so an interrupted installation is done again.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "Pedigree needs Python 3.11. Install it, or name it: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

run: $(INSTALLED)  ## text in, PPO-aligned model out; servers stay up
	@$(BIN)/pedigree run $(ARGS)

down: $(INSTALLED)  ## end the servers
	@$(BIN)/pedigree down

test: lint types unit  ## everything: style, layers, types, tests on real servers

lint: $(INSTALLED)  ## style and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: $(INSTALLED)  ## the type checker
	$(BIN)/mypy

# Browser tests want Debian's chromium; without it they are skipped and say so.
unit: $(INSTALLED)  ## unit, fault and end-to-end tests, on WORKERS processes (default 2)
	@if test "$$(id -u)" = 0 && test -f /etc/debian_version && ! command -v chromium >/dev/null; then \
		echo "Installing chromium for the browser tests …"; \
		{ apt-get -qq update && apt-get -qq install -y chromium; } >/dev/null 2>&1 || \
			echo "chromium could not be installed; the browser tests will be skipped." >&2; fi
	$(BIN)/python -m pytest -q -n $(WORKERS) $(ARGS)

# Too much for `make test`: each program is installed once, in an environment of its own below the folder of state.
test-others: $(INSTALLED)  ## models under lm-evaluation-harness, and SmolLM2 beside transformers
	$(BIN)/python -m pytest -q tests/benchmarks/training/test_harness.py tests/benchmarks/training/test_smollm2.py $(ARGS)

bench-data: $(INSTALLED)  ## speed, memory and accuracy of the data stages, beside other programs
	$(BIN)/python -m tests.benchmarks.data.bench_data $(ARGS)

bench-lineage: $(INSTALLED)  ## seconds and memory of questions about lineage, on 10,000 records and 10 million documents
	$(BIN)/python -m tests.benchmarks.lineage.bench_lineage --overhead $(ARGS)

bench-kills: $(INSTALLED)  ## every training stage killed twenty times at random moments: the same bytes?
	$(BIN)/python -m tests.benchmarks.training.bench_kills $(ARGS)

bench-training: $(INSTALLED)  ## speed, memory and learning of training steps, beside other programs
	$(BIN)/python -m tests.benchmarks.training.bench_training $(ARGS)

clean: down  ## delete .pedigree: every model, record and log
	rm -rf .pedigree
