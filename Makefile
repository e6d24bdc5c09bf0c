# make demo     see it work, on a fresh clone
# make test     everything that must hold: installs, fetches real servers, runs all tests
# make check    the fast part: format, lint, layers, types, unit tests
# make clients  other packages' clients over BalancedTransport, in an environment of their own
# make faults   the share of calls that fails while one of five instances is ill, beside other packages
# make matrix   unit, property and contract tests on every Python that is installed here

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest
# A worker that has nothing left takes over half of what another one still has.
BOTH := -n 2 --dist worksteal
# Tests against real servers wait for them most of the time, so that more workers than cores pay.
FOUR := -n 4 --dist worksteal
STAMP := $(VENV)/.installed
EXTRAS := all

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint fmt unit matrix bench soak clients faults mutation servers sim-report clean

help:
	@sed -n 's/^# make/make/p' Makefile

install: $(STAMP)

$(STAMP): pyproject.toml scripts/make_venv.sh
	@PYTHON="$(PYTHON)" bash scripts/make_venv.sh $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable ".[$(EXTRAS)]" --group dev
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/trimtab demo

servers:
	@bash scripts/ensure_registries.sh

check: $(STAMP) lint unit

lint: $(STAMP)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache > build-layers.log 2>&1 || (cat build-layers.log; exit 1); rm -f build-layers.log
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pyright --warnings

unit: $(STAMP)
	@$(PYTEST) -m "not soak" tests/unit tests/property -q $(BOTH)

# All tests but the minutes-long ones; coverage of what runs in the tests' own process.
test: $(STAMP) lint servers
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage erase
	@REQUIRE_REGISTRIES=1 $(PYTEST) -m "not soak" $(FOUR) --cov --cov-report= --ignore tests/bench tests
	@$(BIN)/coverage report --format=total --fail-under=95 > /dev/null || ($(BIN)/coverage report --fail-under=95; exit 1)
	@$(BIN)/coverage report --fail-under=100 --include='sdk/trimtab/pool/*,sdk/trimtab/strategies/*,sdk/trimtab/health/*,sdk/trimtab/calls/*' > /dev/null \
	  || ($(BIN)/coverage report --fail-under=100 --include='sdk/trimtab/pool/*,sdk/trimtab/strategies/*,sdk/trimtab/health/*,sdk/trimtab/calls/*'; exit 1)
	@echo "coverage: $$($(BIN)/coverage report --format=total) % with branches"

# Each in its own environment, and the unit tests on the lowest versions of the dependencies.
matrix: $(STAMP) servers
	@REQUIRE_REGISTRIES=1 $(BIN)/python scripts/matrix.py $(MATRIX)

soak: $(STAMP) servers
	@REQUIRE_REGISTRIES=1 $(PYTEST) -m soak -n 0 -s --timeout 900 tests

clients: $(STAMP)
	@$(PYTEST) -m soak -n 0 -s --timeout 900 tests/e2e/test_clients_of_others.py

faults: $(STAMP)
	@$$(bash scripts/clients_venv.sh) tests/clients/fault_table.py --check

bench: $(STAMP)
	@$(PYTEST) tests/bench -p no:randomly --benchmark-enable --benchmark-only --timeout 600 --benchmark-timer time.process_time \
	  --benchmark-columns=median,iqr,ops --benchmark-sort=fullname --benchmark-warmup=on -q

# Half an hour: small changes to the decisions, and how many of them tests notice.
mutation: $(STAMP)
	@$(BIN)/python scripts/mutation.py

sim-report: $(STAMP)
	@$(BIN)/python -m trimtab_sim.report.committed simulator/REPORT.md

fmt: $(STAMP)
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

clean:
	rm -rf $(VENV) $(VENV)-* build dist .coverage .coverage.* .hypothesis .mypy_cache .ruff_cache .pytest_cache
