# Partywall. `make demo` shows it, `make up` runs it, `make test` proves it; each does its own set-up.
SHELL := /bin/bash
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-$(shell cat requirements/dev.lock requirements/nodeps.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)

.PHONY: setup demo up test test-long check bench bench-peers knockouts clean lock

setup: $(STAMP)

$(STAMP):
	@scripts/setup $(PY) $(VENV) $@

demo: setup
	@$(BIN)/python -m demo $(if $(FULL),--full)

up: setup
	@$(BIN)/partywall up --loopback-tools

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=src $(BIN)/lint-imports

test: check
	@$(BIN)/python -m pytest -m "not long"

test-long: check
	@$(BIN)/python -m pytest

knockouts: setup
	@$(BIN)/python -m knockouts

bench: setup
	@for name in decide store ledger gateway footprint doors; do $(BIN)/python -m bench.$$name || exit 1; done

bench-peers: setup
	@scripts/peers $(PY)
	@$(BIN)/python -m bench.peers

lock: setup
	@scripts/lock $(BIN)

clean:
	rm -rf $(VENV) .cache
