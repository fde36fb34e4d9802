# make demo | make test | make check      the first call creates .venv
# make STACK=cuda demo                    installs the CUDA stack on a machine without a GPU (a login node); STACK=cpu the CPU stack
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo test test-slow check format clean

demo: .venv/.ready ## toy models and data, training, evaluation, tables and plots in output/demo
	$(RUN) -m eval.demo

test: .venv/.ready ## all tests except the slow ones
	$(RUN) -m pytest -q -n auto --dist loadfile -m "not slow"

test-slow: .venv/.ready ## the slow tests
	$(RUN) -m pytest -q -n auto --dist loadfile -m slow

check: .venv/.ready ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: .venv/.ready ## fixes what ruff can fix
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

.venv/.ready: requirements.txt requirements-common.txt requirements-cpu.txt requirements-dev.txt
	STACK=$(STACK) local_scripts/setup_venv.sh $(PYTHON)

clean: ## removes the demo's output and the checkers' caches; other runs in output/ are kept
	rm -rf output/demo .pytest_cache .mypy_cache .ruff_cache
