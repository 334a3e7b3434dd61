# Each target sets up .venv first (Python 3.10 or newer; `make PYTHON=python3.12 test` names another interpreter).
PYTHON ?= python3
export PYTHON
BIN := .venv/bin
ENGINES := target/engines/venv/bin

# Without bytecode dbt takes twice as long to start; some machines switch it off.
unexport PYTHONDONTWRITEBYTECODE PIP_NO_COMPILE
# dbt otherwise reports its use to its makers, and waits for them where there is no network.
export DBT_SEND_ANONYMOUS_USAGE_STATS := false

# Where the demo is built: an option of dbt and of pit-join, what sets up their environment, and the folder of files.
# make demo-postgres and make demo-spark name others.
DEMO_ON :=
DEMO_SETUP := setup
DEMO_FOLDER := $(or $(DBT_TARGET_PATH),target)
DEMO_OUTPUT := $(DEMO_FOLDER)/flight_delay.parquet
DEMO_SET := --spine flight_spine --service flight_delay_v1
# The demo's data end on that day; so do its ages.
DEMO_TIME := 2013-03-10 18:00
DEMO_VIEWS := aircraft_facts,aircraft_last_leg,carrier_daily_delay,carrier_landings,route_history
DEMO_FLIGHT := --entity origin=JFK --entity dest=TPA --entity carrier=B6 --entity tailnum=N283JB

.PHONY: help demo demo-postgres demo-spark test test-rest test-long test-browser test-engines quick newest lowest lint ruff mypy sqlfluff files words strict-parse docs docs-check bench soak clean distclean setup engines
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

demo: $(DEMO_SETUP) ## build the example project, its training set and its online store
	$(BIN)/dbt build --profiles-dir profiles $(DEMO_ON)
	$(BIN)/pit-join build-training-set $(DEMO_SET) --output $(DEMO_OUTPUT) $(DEMO_ON)
	$(BIN)/pit-join views $(DEMO_ON)
	$(BIN)/pit-join export --as-of '$(DEMO_TIME)' $(DEMO_ON)
	$(BIN)/pit-join get --service flight_delay_v1 --now '$(DEMO_TIME)' $(DEMO_FLIGHT) $(DEMO_ON)
	$(BIN)/pit-join verify --all $(DEMO_ON)
	$(BIN)/pit-join monitor --now '$(DEMO_TIME)' --select $(DEMO_VIEWS) $(DEMO_ON)
	$(BIN)/pit-join report --training-set $(DEMO_OUTPUT) --output $(DEMO_FOLDER)/features.html $(DEMO_ON)

# The set on DuckDB, too: it must be the one of another engine, in the folder target/$(1).
define SAME_ON_DUCKDB
	$(BIN)/dbt build --profiles-dir profiles --exclude-resource-type test unit_test
	$(BIN)/pit-join build-training-set $(DEMO_SET) --output $(DEMO_OUTPUT)
	$(BIN)/pit-join diff --tolerance 1e-12 $(DEMO_OUTPUT) target/$(1)/flight_delay.parquet
endef

demo-postgres: setup ## make demo on PostgreSQL, and fail if its training set is not that of DuckDB
	DBT_TARGET_PATH=target/postgres $(BIN)/python scripts/with_postgres.py $(MAKE) demo DEMO_ON='--target postgres'
	$(call SAME_ON_DUCKDB,postgres)

# What a build leaves that is stopped halfway would be in the way of the next. Java looks the name of the machine up otherwise.
demo-spark: BIN := $(ENGINES)
demo-spark: engines ## make demo on Spark, and fail if its training set is not that of DuckDB (apt-get install openjdk-17-jre-headless)
	rm -rf target/spark
	DBT_TARGET_PATH=target/spark SPARK_LOCAL_IP=127.0.0.1 \
	    $(MAKE) demo DEMO_ON='--target spark' DEMO_SETUP=engines BIN=$(BIN)
	$(call SAME_ON_DUCKDB,spark)

PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test: setup ## run the tests but those that take long, with few generated cases
	$(PYTEST) -m 'not rest'

test-rest: setup ## run the tests that take long: kills, full disks, whole examples and pages
	$(PYTEST) -m rest

test-long: setup ## run all tests, with all generated cases
	TESTS=long $(PYTEST)

test-browser: setup ## run the tests of the page of pit-join report in Chromium (apt-get install chromium)
	@$(BIN)/python -c 'import playwright' 2>/dev/null || \
	    $(BIN)/python -m pip install -qq --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[browser]'
	$(PYTEST) tests/browser

test-engines: engines ## run macros, commands and the demo on Spark, in an environment of its own (apt-get install openjdk-17-jre-headless)
	$(ENGINES)/python -m pytest -p no:cacheprovider -q tests/engines

quick: setup ## run the tests that take a moment
	$(PYTEST) -m 'not (dbt or redis or kill or slow or rest)'

newest: ## run tests of the wheel with the newest versions that pyproject.toml allows
	sh scripts/leg.sh newest

lowest: ## run tests of the wheel with the lowest versions that pyproject.toml allows
	sh scripts/leg.sh lowest

lint: ruff mypy sqlfluff files words strict-parse ## ruff, mypy, sqlfluff, files, words, strict dbt parse; with --jobs side by side

ruff: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

mypy: setup
	$(BIN)/mypy

sqlfluff: setup
	$(BIN)/sqlfluff lint models

files: setup
	$(BIN)/python scripts/check_files.py

words: setup
	$(BIN)/python scripts/check_words.py

strict-parse: setup
	$(BIN)/python scripts/strict_parse.py

docs: setup ## generate docs/cli.md, docs/macros.md and CONTRIBUTING.md's table of wings
	$(BIN)/python scripts/make_docs.py

docs-check: setup ## fail if a generated page is stale
	$(BIN)/python scripts/make_docs.py --check

bench: setup ## measure against other ways to do the same
	$(BIN)/python benchmarks/run.py

soak: setup ## serve and export side by side for ten minutes, and hold all answers, memory and descriptors
	$(BIN)/python benchmarks/soak.py

clean: ## remove what the other targets made, except .venv
	rm -rf target logs dist build online warehouse.duckdb warehouse.duckdb.wal
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache

distclean: clean ## clean, and remove .venv
	rm -rf .venv

setup:
	@sh scripts/setup.sh

engines:
	@sh scripts/engines.sh
