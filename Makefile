# Everything a contributor types. Needs python3 (>= 3.11), its venv module, and make; the rest is put into .venv.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
BENCH = --runs $(or $(RUNS),$(if $(QUICK),1,5)) $(if $(QUICK),--quick) $(if $(PUBLISH),--publish) $(foreach row,$(ONLY),--only $(row))
STAMP := .venv/.ready
# Every server that a test starts would compile all that it imports anew, which is half of its start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup serve test lint check format docs docs-serve screenshots bench bench-peers bench-10m kill9 hostile-run fuzz machine powercut sim sim-mutants sim-hashes pins

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv with pinned dependencies and .venv/bin/aq

$(STAMP): pyproject.toml requirements/tools.txt requirements/all.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "aq needs Python 3.11 or newer; %s is %s.%s. Try: make $(MAKECMDGOALS) PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]))'
	@echo "Setting up .venv with what requirements/ pins: once, about a minute" >&2
	@$(PYTHON) -m venv --clear .venv || { echo "aq needs Python's venv module (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/all.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

serve: $(STAMP) ## start a development server on 127.0.0.1:8080 with SQLite in ./aq.db
	@exec $(BIN)/aq serve --dev

test: $(STAMP) ## run every test
	@$(BIN)/pytest --numprocesses auto --dist loadfile --max-worker-restart 0

lint: $(STAMP) ## formatting, ruff, mypy --strict, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

check: lint test ## what CI runs: lint, then test

format: $(STAMP) ## let ruff format and mend what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(STAMP) ## build the documentation into site/
	@$(BIN)/python -m tools.docs

docs-serve: $(STAMP) ## show the documentation on 127.0.0.1:8000, built anew as its pages change
	@exec $(BIN)/zensical serve

screenshots: $(STAMP) ## every page of the dashboard as PNG files in docs/screenshots/ (needs Chromium, as its tests do)
	@$(BIN)/python -m tests.dashboard.screenshots

bench: $(STAMP) ## measure every row of the table beside its ceiling (12 minutes; RUNS=5 ONLY=drain QUICK=1 PUBLISH=1)
	@$(BIN)/python -m benchmarks $(BENCH)

bench-peers: $(STAMP) ## ours beside BullMQ, beanstalkd, Dramatiq, bunqueue, graphile-worker, put into .bench/ (10 minutes; ONLY=bunqueue)
	@$(BIN)/python -m benchmarks.peers $(BENCH)

bench-10m: $(STAMP) ## ten million tasks in a backlog, beside ten thousand (half an hour, 10 GB of disk)
	@$(BIN)/python -m benchmarks $(BENCH) --only backlog --backlog 10000 --backlog 10000000 --name backlog-10m

kill9: $(STAMP) ## end the server KILLS=200 times under load and judge every promise (a few minutes)
	@$(BIN)/python -m benchmarks.kill9 --kills $(or $(KILLS),200)

fuzz: $(STAMP) ## 100,000 mutated requests of every route against a server (some minutes; REQUESTS=1000 SEED=2)
	@$(BIN)/python -m benchmarks.fuzz --requests $(or $(REQUESTS),100000) --seed $(or $(SEED),1)

hostile-run: $(STAMP) ## how late healthy tasks start while 100 receivers do harm (two minutes)
	@$(BIN)/python -m benchmarks.hostile

machine: $(STAMP) ## run EXAMPLES (300) random programs against the engine and its model (SEED repeats a run)
	@$(BIN)/python -m tests.engine --examples $(or $(EXAMPLES),300) $(addprefix --seed ,$(SEED))

sim: $(STAMP) ## run SEEDS (500) simulated worlds from FIRST (0) on, in JOBS (2) processes
	@$(BIN)/python -m aq.sim --seeds $(or $(SEEDS),500) --first $(or $(FIRST),0) --jobs $(or $(JOBS),2)

sim-mutants: $(STAMP) ## plant each known fault into the engine: the simulator must find it within SEEDS (500)
	@$(BIN)/python -m tests.sim.mutants --seeds $(or $(SEEDS),500) --jobs $(or $(JOBS),2) $(if $(ONLY),--only "$(ONLY)")

sim-hashes: $(STAMP) ## compare the hashes of SEEDS (50) worlds on PYTHONS="python3.11 python3.13" that have the dependencies
	@$(BIN)/python -m tests.sim.hashes --seeds $(or $(SEEDS),50) $(addprefix --python ,$(or $(PYTHONS),$(BIN)/python))

powercut: $(STAMP) ## cut the power under real SQLite: CUTS (10,000) of the storage, WORLDS (1,000) of the engine, SEED (1)
	@$(BIN)/python -m tests.powercut --cuts $(or $(CUTS),10000) --worlds $(or $(WORLDS),1000) --seed $(or $(SEED),1)

pins: $(STAMP) ## compile requirements/*.txt anew from pyproject.toml
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra otel --group dev pyproject.toml -o requirements/all.txt --custom-compile-command "make pins"
	@$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --extra otel --constraint requirements/all.txt pyproject.toml -o requirements/run.txt --custom-compile-command "make pins"
	@echo 'uv>=0.9' | $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 - -o requirements/tools.txt --custom-compile-command "make pins"
