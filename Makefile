# make test   all checks, on every Python from 3.11 on that is here (.ci/run calls it)
# make demo   the agent at work on a real app
# make run    an agent for use
# Each of them makes the virtual environment that it needs.

PYTHON ?= $(firstword $(foreach v,python3.11 python3.12 python3,$(shell $(v) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null && echo $(v))))
VENV := .venv
BIN := $(VENV)/bin
# 109, 124, 910, 911: they ask for what the signature of a protocol forbids; 127 advertises a fork of httpx.
ASYNC_RULES := --enable=ASYNC --disable=ASYNC109,ASYNC124,ASYNC127,ASYNC910,ASYNC911

.PHONY: lint
lint: $(VENV)/tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/flake8-async $(ASYNC_RULES) $$(git ls-files 'smartmob_agent/*.py' 'tests/*.py' 'examples/*.py' 'bench/*.py')
	$(BIN)/mypy

$(VENV)/bin/python:
	$(if $(PYTHON),,$(error no Python 3.11 or newer found on the PATH))
	$(PYTHON) -m venv $(VENV)

$(VENV)/tests: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[tests,lint,docs]'
	touch $@
