# Every target installs what it needs. `make help` lists the targets; `.ci/run` runs `make test check`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .bench-venv
PEERS_STAMP := $(PEERS)/.installed
# One more than there are cores, because tests of several processes wait for them; each has a PostgreSQL of its own.
WORKERS = $(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')

.DEFAULT_GOAL := help
.PHONY: help install demo test programs soak check quick format lint types contracts migrations openapi dockerfile bench hardening lock sbom clean .install-program

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(STAMP) ## Build .venv from the lock file; the command is then .venv/bin/vectis-xero

$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name it with: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Run the demo on the embedded PostgreSQL and the Xero simulator (ONCE=1 exits after the last step)
	$(BIN)/vectis-xero demo $(if $(ONCE),--once)

test: $(STAMP) programs ## Run every test, in up to four processes
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

programs: ## Install Chromium and PgBouncer for the tests that use them, as root with apt-get; without them those are skipped
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || $(MAKE) --no-print-directory -s .install-program PROGRAM=chromium
	@PATH="$$PATH:/usr/sbin" command -v pgbouncer >/dev/null || $(MAKE) --no-print-directory -s .install-program PROGRAM=pgbouncer

.install-program:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "Installing $(PROGRAM) for the tests that use it..." \
	  && { timeout 120 apt-get -qq update; DEBIAN_FRONTEND=noninteractive timeout 600 apt-get -qq install --yes --no-install-recommends $(PROGRAM); } >/dev/null 2>&1 \
	  && PATH="$$PATH:/usr/sbin" command -v $(PROGRAM) >/dev/null || echo "$(PROGRAM) is not installed and could not be installed: the tests that use it will be skipped."

SOAK = SOAK_KILLS=$(or $(SOAK_KILLS),100) SOAK_STOPS=$(or $(SOAK_STOPS),50) SOAK_RESTARTS=$(or $(SOAK_RESTARTS),20) \
  SOAK_TOKEN_ROUNDS=$(or $(SOAK_TOKEN_ROUNDS),200) SOAK_TOKEN_KILLS=$(or $(SOAK_TOKEN_KILLS),50) \
  SOAK_WEBHOOK_KILLS=$(or $(SOAK_WEBHOOK_KILLS),50) \
  SOAK_MINUTES=$(or $(SOAK_MINUTES),10) SOAK_ORGANISATIONS=$(or $(SOAK_ORGANISATIONS),20) SOAK_SYNCS=$(or $(SOAK_SYNCS),240)

soak: $(STAMP) programs ## Run the long tests on two replicas, then again behind PgBouncer (SOAK_… set the repetitions)
	$(SOAK) $(BIN)/python -m pytest -q --durations=20 tests/replicas
	TEST_POOLER=transaction $(SOAK) $(BIN)/python -m pytest -q --durations=20 tests/replicas

check: quick dockerfile test ## Run everything that CI runs

quick: format lint types contracts openapi ## Run the part of check that needs no test, as the pre-commit hook does

format: $(STAMP)
	$(BIN)/ruff format --check .

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

migrations: $(STAMP) ## Check that migrations equal the models and run up, down and up again
	$(BIN)/python -m pytest -q tests/integration/test_migrations.py

openapi: $(STAMP) ## Check that openapi/openapi.json is up to date (WRITE=1 writes it)
	$(if $(WRITE),$(BIN)/vectis-xero openapi > openapi/openapi.json,$(BIN)/vectis-xero openapi | diff -u openapi/openapi.json -)

dockerfile: $(STAMP)
	$(BIN)/hadolint Dockerfile

bench: $(STAMP) $(PEERS_STAMP) ## Measure speed, each row beside a peer or a floor (QUICK=1: smaller; ONLY=webhooks,alerts: some rows)
	QUICK=$(QUICK) ONLY=$(ONLY) $(BIN)/python -m bench

# What the service is measured beside has dependencies that the service does not need.
$(PEERS_STAMP): bench/peers-requirements.txt
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r bench/peers-requirements.txt
	@touch $@

hardening: $(STAMP) ## Measure what hostile and heavy clients do to a served process, in two minutes
	$(BIN)/python -m bench.hardening

lock: $(STAMP) ## Resolve both lock files again
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra embedded --group dev --universal --python-version 3.11 --generate-hashes --no-header --no-annotate -o requirements-dev.lock

# The program is installed into an environment of its own: with what it needs it would add twenty packages to .venv.
# Its warning is about dependencies between packages, which the lock file does not tell.
sbom: $(STAMP) ## Write sbom.json: the packages of the image, with their hashes, as CycloneDX
	PYTHONWARNINGS=ignore::UserWarning $(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py requirements requirements.lock \
	  --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file sbom.json
	@$(BIN)/python -c 'import json, re, sys; \
	  listed = {part["name"] for part in json.load(open("sbom.json"))["components"]}; \
	  locked = set(re.findall(r"^([a-z0-9-]+)", open("requirements.lock").read(), re.MULTILINE)); \
	  sys.exit(f"sbom.json and requirements.lock differ in {sorted(listed ^ locked)}" if listed != locked else None)'

clean: ## Remove .venv, .bench-venv and .data
	rm -rf $(VENV) $(PEERS) .data
