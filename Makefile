# `make` lists what can be made.  Each target makes the virtual environment that it needs:
# .venv with the first Python from 3.11 on that is found, .venv-3.13 where there is one.

VERSIONS := 3.11 3.12 3.13 3.14
# A shim of pyenv may be on the PATH and yet fail, so each one is asked; then pyenv's own.
PYTHON ?= $(shell \
	for python in $(VERSIONS:%=python%) python3 "$$(pyenv root 2>/dev/null)"/versions/3.1[1-9]*/bin/python3; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; \
	done)
PYTHON_313 ?= $(shell \
	for python in python3.13 "$$(pyenv root 2>/dev/null)"/versions/3.13*/bin/python3.13; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null && { echo "$$python"; break; }; \
	done)

# Bytecode is kept, whatever the surroundings say: else each program that tests start compiles it.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
VENV_313 := .venv-3.13
BIN := $(VENV)/bin
# 109, 124, 910, 911: they ask for what the signature of a protocol forbids; 127 advertises a fork of httpx;
# 114, 128: they do not see a `task_status` that is passed on.
ASYNC_RULES := --enable=ASYNC --disable=ASYNC109,ASYNC114,ASYNC124,ASYNC127,ASYNC128,ASYNC910,ASYNC911

.PHONY: help
help:
	@echo 'make demo   the agent at work on a real app, step by step'
	@echo 'make run    an agent for use; options in ARGS="--port 8080 ..."'
	@echo 'make test   all checks: format, lint, types, docs, tests on Python 3.11 and 3.13'
	@echo 'make quick  what has changed: format, lint, types; and the quick tests on one Python'
	@echo 'make lint   format, lint and types alone'
	@echo 'make docs   the documentation, as HTML in docs/_build/html'
	@echo 'make mutations  whether the tests notice each named way to break the code: some minutes'
	@echo 'make clean  removes all that was made'

.PHONY: demo
demo: $(VENV)/demo
	$(BIN)/python -u examples/demo.py

.PHONY: run
run: $(VENV)/demo
	$(BIN)/smartmob-agent $(ARGS)

# Two at a time, so that no core rests; the output of each comes whole, when it has ended.  Most
# tests wait for programs to start and to end, so each run of them has two at a time, too.
PYTEST := -m pytest --numprocesses=2 --dist=worksteal
.PHONY: test
test:
	@echo 'Running all checks, the longest first; each is shown when it has ended.'
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-first lint docs test-3.13

.PHONY: test-first
test-first: $(VENV)/tests
	$(BIN)/python $(PYTEST) --cov --cov-report=term-missing --cov-fail-under=100

# Where there are two runs, both explore some of the 500 orders of tasks of each scenario, so many
# that both end at about the same time.
.PHONY: test-3.13
ifeq ($(filter-out $(PYTHON),$(PYTHON_313)),)
test-3.13:
	@echo 'No Python 3.13 beside $(PYTHON): its run of the tests is left out.'
else
test-first: export SMARTMOB_SCHEDULES ?= 200
test-3.13: export SMARTMOB_SCHEDULES ?= 300
test-3.13: export SMARTMOB_FIRST_SEED ?= 200
test-3.13: $(VENV_313)/tests
	$(VENV_313)/bin/python $(PYTEST) -p no:cacheprovider -m 'not one_python'
endif

# What differs from the last commit, or the last commit itself where nothing does.
CHANGED = $(or $(shell git diff --name-only --diff-filter=d HEAD -- '*.py'; \
	git ls-files --others --exclude-standard '*.py'), \
	$(shell git diff --name-only --diff-filter=d HEAD~1 HEAD -- '*.py'))
.PHONY: quick
quick: $(VENV)/tests
	$(if $(CHANGED),$(BIN)/ruff format --check $(CHANGED))
	$(if $(CHANGED),$(BIN)/ruff check $(CHANGED))
	$(if $(CHANGED),$(BIN)/flake8-async $(ASYNC_RULES) $(CHANGED))
	$(BIN)/mypy
	$(BIN)/python $(PYTEST) -q -m 'not slow' --ignore=tests/e2e --ignore=tests/determinism

.PHONY: mutations
mutations: $(VENV)/tests
	$(BIN)/python -m tests.mutations

.PHONY: lint
lint: $(VENV)/tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	git grep -lE 'async|await|trio' -- '*.py' | xargs -P 2 -n 32 $(BIN)/flake8-async $(ASYNC_RULES)
	$(BIN)/mypy
	$(BIN)/mypy examples/*.py
	cd examples/embedding && ../../$(BIN)/mypy --config-file ../../pyproject.toml *.py
	cd docs && ../$(BIN)/mypy --config-file ../pyproject.toml *.py

.PHONY: docs
docs: $(VENV)/tests
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

.PHONY: clean
clean:
	rm -rf $(VENV) $(VENV_313) docs/_build build dist .coverage .coverage.* .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's Python makes no environment with pip unless a package of its own is installed;
# the pip of the system can put one in.
define MAKE_VENV
	$(1) -m venv $(2) || { \
		rm -rf $(2) && $(1) -m venv --without-pip $(2) \
		&& $(1) -m pip --python $(2)/bin/python install --quiet pip; }
	$(2)/bin/python --version
endef

$(VENV)/bin/python:
	$(if $(PYTHON),,$(error no Python 3.11 or newer found))
	$(call MAKE_VENV,$(PYTHON),$(VENV))

$(VENV_313)/bin/python:
	$(call MAKE_VENV,$(PYTHON_313),$(VENV_313))

# Installed again when what it needs has changed.
%/tests: pyproject.toml | %/bin/python
	$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[tests,lint,docs]'
	@touch $@

%/demo: pyproject.toml | %/bin/python
	$*/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@
