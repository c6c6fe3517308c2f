# Each target sets up what it needs: a virtual environment in .venv, from any Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TESTS ?= tests
# Test files run in so many processes side by side; 0: all in one, which shows what they print (ARGS=-s).
WORKERS ?= 2
SEEDS ?= 1..200
JOBS ?= 2

.PHONY: help run test lint format bench sim docs clean

help:
	@echo "make run     a server on 127.0.0.1:2181 (ARGS='...' for zabra server)"
	@echo "make test    every test (TESTS=tests/unit for a part)"
	@echo "make lint    ruff, mypy, generated files"
	@echo "make format  ruff, and write the generated files"
	@echo "make bench   Zabra and Apache ZooKeeper side by side (ARGS='...' for bench.run)"
	@echo "make sim     simulated runs of one server and of ensembles (SEEDS=1..200, JOBS=2)"

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

run: $(VENV)/.installed
	@$(BIN)/zabra server $(ARGS)

test: $(VENV)/.installed
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS) $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python dev/gen_records.py --check
	$(BIN)/python dev/gen_docs.py --check

format: $(VENV)/.installed
	$(BIN)/python dev/gen_records.py
	$(BIN)/python dev/gen_docs.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	$(BIN)/python -m bench.run $(ARGS)

sim: $(VENV)/.installed
	$(BIN)/python -m zabra.sim --jobs $(JOBS) --seeds $(SEEDS)
	$(BIN)/python -m zabra.sim --jobs $(JOBS) --ensemble --seeds $(SEEDS)

docs: $(VENV)/.installed
	$(BIN)/python dev/gen_docs.py

clean:
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache
