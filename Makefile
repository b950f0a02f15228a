# Two commands are for everyone: `make demo` and `make test`. Each sets up what it needs first, and is quick when that
# is done. `make help` lists the rest. PYTHON names the Python to use (3.11 to 3.13).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# Make takes a space for the end of a name.
ifneq ($(words $(MAKEFILE_LIST)) $(words $(abspath $(lastword $(MAKEFILE_LIST)))),1 1)
$(error make cannot work in a directory with a space in its path ($(CURDIR), $(strip $(MAKEFILE_LIST))): move the checkout to another)
endif

# Recipes run here, wherever make was started.
ROOT := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))
BIN := .venv/bin
HERE := cd '$(ROOT)' &&

DEMO_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
MINUTES ?= 30
# `make lock UPGRADE=1` moves to the newest versions; without it a lock changes only where the project asks for it.
UPGRADE ?=

.PHONY: help
help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' '$(ROOT)/Makefile'

.PHONY: demo
demo: venv ## a real cluster on this machine, the router before it, and failures on purpose (KEEP=1, DEMO_ARGS=…)
	@$(HERE) exec $(BIN)/fairlead demo $(DEMO_ARGS)

.PHONY: test
test: check ## everything that CI runs: the same as `make check`

.PHONY: check
check: lint types layers pytest ## format, lint, types, import layers and all tests that this machine can run

.PHONY: lint
lint: venv ## ruff: format and rules
	@echo 'lint: format'
	@$(HERE) $(BIN)/ruff format --quiet --diff . || { echo 'lint: run $(BIN)/ruff format' >&2; exit 1; }
	@echo 'lint: rules'
	@$(HERE) $(BIN)/ruff check --quiet .

.PHONY: types
types: venv ## mypy, strict over all shipped packages, and over the tests
	@echo 'types: all shipped packages, and the tests'
	@$(HERE) $(BIN)/mypy
	@$(HERE) $(BIN)/mypy --explicit-package-bases tests

.PHONY: layers
layers: venv ## import-linter: who may import whom
	@echo 'layers: who may import whom'
	@$(HERE) $(BIN)/lint-imports --no-logo

.PHONY: pytest
pytest: venv ## the tests; what cannot run here says why (PYTEST_ARGS=…)
	@echo 'pytest: all tiers that this machine can run'
	@$(HERE) $(BIN)/pytest -rs $(PYTEST_ARGS)

.PHONY: venv
venv: ## .venv with the locked packages and the project, made again when a lock changed
	@'$(ROOT)/bench/setup/venv.sh'

.PHONY: lock
lock: ## the lock files again from pyproject.toml (UPGRADE=1 for the newest versions)
	@'$(ROOT)/bench/setup/lock.sh' $(if $(UPGRADE),--upgrade)

.PHONY: proto
proto: venv ## the generated code of the X Protocol's messages
	@$(HERE) $(BIN)/python -m xproto.generate

.PHONY: docs
docs: venv ## docs/states.md again from the code
	@$(HERE) $(BIN)/python -m bench.setup.state_tables

.PHONY: transparency
transparency: venv ## test suites of SQLAlchemy and aiomysql through the router and direct, compared (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.transparency $(BENCH_ARGS)

.PHONY: locust
locust: venv ## writers, readers and the CQRS sample under Locust, with Prometheus and a report (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.locust $(BENCH_ARGS)

.PHONY: bench
bench: venv ## the router's speed beside MySQL Router and HAProxy, in paired rounds (BENCH_ARGS=…, such as --quick)
	@$(HERE) exec $(BIN)/python -m bench.speed $(BENCH_ARGS)

.PHONY: bench-short
bench-short: venv ## a hundred thousand short connections: memory, descriptors and time that they leave (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.figures.short_connections $(BENCH_ARGS)

.PHONY: soak
soak: venv ## 30 minutes of load with kills, cuts, freezes, reloads and upgrades, and an account of it (MINUTES=…)
	@$(HERE) MINUTES='$(MINUTES)' exec $(BIN)/python -m bench.soak $(BENCH_ARGS)

.PHONY: bench-connections
bench-connections: venv ## new connections a second, and how long the event loop is held by them (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.speed --only new_sessions --only loop_lag --out build/bench/connections $(BENCH_ARGS)

.PHONY: bench-dns
bench-dns: venv ## our DNS server's answers a second beside Knot's and BIND's (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.peers.dns_answers $(BENCH_ARGS)

.PHONY: bench-health
bench-health: venv ## what watching nine members at rest costs (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.figures.health $(BENCH_ARGS)

.PHONY: bench-following
bench-following: venv ## how soon a role change is in the topology, with notices and by polls alone (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.figures.following $(BENCH_ARGS)

.PHONY: bench-clusters
bench-clusters: venv ## a thousand clusters in one publisher: how soon changes are answered, and at what cost (BENCH_ARGS=…)
	@$(HERE) exec $(BIN)/python -m bench.figures.clusters $(BENCH_ARGS)

.PHONY: bench-idle
bench-idle: venv ## what ten thousand idle sessions cost in memory (BENCH_ARGS=…, such as --variants fairlead,haproxy)
	@$(HERE) exec $(BIN)/python -m bench.speed --only idle_sessions --variants fairlead --out build/bench/idle $(BENCH_ARGS)

.PHONY: clean
clean: ## removes what these commands made here (caches in the home directory stay)
	@$(HERE) rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	@$(HERE) find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
