# make setup: an environment in .venv · make run: measure, publish, report · make test: everything CI checks

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test coverage chaos fuzz lint format notebooks cli-reference files-reference tutorial reference-table scoreboard sample clean

help:
	@echo "make setup            create .venv and install perfkit with everything"
	@echo "make run              measure this machine, publish thresholds.toml, write the report"
	@echo "make test             formatting, lint, types, layers, tests, notebooks"
	@echo "make coverage         the tests again, and which lines and branches no test takes (twice the time)"
	@echo "make chaos            kill writers and drainers 200 times, clients and servers 1000 times, and count"
	@echo "make fuzz             send a million broken and hostile frames, count what comes of it"
	@echo "make notebooks        run every notebook with its default parameters, in copies of their own"
	@echo "make lint | format    the first part of 'make test' | apply ruff's formatting and fixes"
	@echo "make cli-reference    write docs/reference/cli.md from the commands' help"
	@echo "make files-reference  write the tables of settings in docs/reference/files.md from the code"
	@echo "make tutorial         write docs/tutorial.md from notebooks/00_tutorial.ipynb"
	@echo "make reference-table  measure docs/reference-table.md anew (tens of minutes)"
	@echo "make scoreboard       simulate docs/reference/scoreboard.md anew (tens of minutes)"
	@echo "make sample           measure, and keep the report as reports/sample with the picture of README.md"
	@echo "make clean            remove caches and build output; keeps the lake and the reports"

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	touch $(STAMP)

setup: $(STAMP)

run: setup
	test -f perfkit.toml || $(BIN)/perfkit init
	$(BIN)/perfkit run quick

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Two at a time: most tests wait for other processes. All tests of a file in one process: they share what they measured.
PYTEST := PERFKIT_SCREENSHOTS=build/screenshots $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: lint
	$(PYTEST)

coverage: setup  # apart from 'make test': a tracer doubles the processor time and fails nothing
	$(PYTEST) --cov --cov-report=term:skip-covered

chaos: setup
	$(BIN)/python tests/chaos/harness.py --rounds 200
	$(BIN)/python tests/chaos/channel_harness.py --runs 1000

fuzz: setup
	$(BIN)/python tests/fuzz/fuzz_frames.py --frames 1000000

notebooks: setup  # a copy: what they measure with their small defaults must not end up in data/lake
	rm -rf build/notebooks build/data && mkdir -p build && cp -r notebooks build/notebooks
	$(BIN)/pytest -p no:randomly -W ignore::ResourceWarning --nbval-lax --nbval-cell-timeout 120 build/notebooks

cli-reference: setup
	$(BIN)/python -m perfkit.cli.reference > docs/reference/cli.md

files-reference: setup
	$(BIN)/python docs/make_files_reference.py

tutorial: setup
	$(BIN)/python docs/make_tutorial.py > docs/tutorial.md

reference-table: setup
	$(BIN)/python benchmarks/reference_table.py

scoreboard: setup  # a missed target ends with 1, and belongs on the page as well
	mkdir -p build
	$(BIN)/perfkit scoreboard --full --output build/scoreboard.json || test $$? -eq 1
	$(BIN)/python docs/make_scoreboard.py build/scoreboard.json

sample: setup
	$(BIN)/python benchmarks/report_sample.py

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
	find perfkit tests -name __pycache__ -type d -prune -exec rm -rf {} +
