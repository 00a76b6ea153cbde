# Needs Python 3.11 to 3.13 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: install run test test-all test-fast lint dev clean

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --compile-bytecode -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

run: install
	$(BIN)/user-engagement simulate
	$(BIN)/user-engagement run

dev: install
	$(BIN)/user-engagement dev

test: install lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-all: install lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --exhaustive

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	mkdir -p .user_engagement
	$(BIN)/sqlfluff lint --disable-progress-bar user_engagement_dbt/models user_engagement_dbt/tests

clean:
	rm -rf .venv .user_engagement .pytest_cache .ruff_cache .hypothesis build *.egg-info user_engagement_dbt/target user_engagement_dbt/logs
