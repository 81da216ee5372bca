# `make demo` and `make test` are the whole set-up on a machine with Python 3.11 or later and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint types imports check docs lock clean install

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
	cat requirements/model.txt >> requirements/all.lock
	rm -r $(VENV)/lock

clean:
	rm -rf $(VENV) dist build

docs: install
	$(BIN)/python scripts/reference.py
