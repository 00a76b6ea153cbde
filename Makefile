# Needs Python 3.11 to 3.13 and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
BUILD := $(CURDIR)/build
# a pip of the interpreter's own saves the seconds that one in .venv takes
INSTALL_UV = { $(PYTHON) -m venv --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install --quiet uv 2>/dev/null; } \
	|| { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet uv; }
SITE_CONFIG := website/mkdocs.yml
# the simulated company has a home of its own, so that the default one stays free for your data
SIMULATED := USER_ENGAGEMENT_HOME=$${USER_ENGAGEMENT_HOME:-$(CURDIR)/.user_engagement/simulated}

# compiled modules are kept even where the shell forbids it: every process would compile all packages anew
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install lock run dev test test-fast test-long test-all docs screenshots lint lint-python lint-sql clean
.DEFAULT_GOAL := help

help:  ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

install: .venv/dev  ## Create .venv with everything for development

# one environment for all targets: `make run` installs half of it, `make test` adds the rest
.venv/run: requirements-run.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=python3.12")'
	test -x $(BIN)/uv || $(INSTALL_UV)
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet -r requirements-run.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	touch $@

.venv/dev: .venv/run requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet -r requirements.lock
	touch $@

# the run-time lock includes the extras that a deployment may use, and has the same versions
lock:  ## Update requirements.lock and requirements-run.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --extra dev -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url --extra postgresql --extra snowflake --extra snowplow -c requirements.lock -o requirements-run.lock pyproject.toml

run: .venv/run  ## Simulate a company and run the pipeline on it
	$(SIMULATED) $(BIN)/user-engagement run --advance

dev: .venv/run  ## Start Dagster's UI and the dashboard
	$(SIMULATED) $(BIN)/user-engagement dev

test: install lint  ## Run the linters and the tests of every day
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-long: install  ## Run the tests that `make test` leaves out because they take minutes each
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --long

test-all: install lint  ## Run the linters and all variants of the tests
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --exhaustive

test-fast: install  ## Run only the quick tests (no process, no pipeline), in parallel
	$(BIN)/python -m pytest -m "not slow" -n auto

# dbt opens a warehouse to find out what it has: here an empty one, never that of a home
docs: install  ## Build the documentation as a site, with the pages of dbt: build/site/index.html
	rm -rf $(BUILD)/dbt $(BUILD)/site
	mkdir -p $(BUILD)/dbt
	USER_ENGAGEMENT_HOME=$(BUILD)/dbt $(BIN)/dbt docs generate --quiet --static --empty-catalog --target-path $(BUILD)/dbt/target --project-dir user_engagement_dbt --profiles-dir user_engagement_dbt
	NO_MKDOCS_2_WARNING=1 DBT_SITE=$(BUILD)/dbt/target/static_index.html $(BIN)/mkdocs build --config-file $(SITE_CONFIG) --site-dir $(BUILD)/site

screenshots: install  ## Take pictures of every page of the simulated company's dashboard for the documentation
	$(SIMULATED) sh -c '$(BIN)/python -m user_engagement_tests.support.screenshots "$$USER_ENGAGEMENT_HOME" docs/images'

lint: install  ## Run the linters
	$(MAKE) --no-print-directory -j 2 lint-python lint-sql

lint-python:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

lint-sql:
	mkdir -p .user_engagement
	$(BIN)/sqlfluff lint --disable-progress-bar user_engagement_dbt/models user_engagement_dbt/tests

clean:  ## Remove the environment, the home and all caches
	rm -rf .venv .user_engagement .pytest_cache .ruff_cache .hypothesis build *.egg-info user_engagement_dbt/target user_engagement_dbt/logs
