# make demo | make test | make check      everything is set up in .venv on the first call
# make STACK=cuda demo                    the CUDA stack on a machine without a GPU (a login node); STACK=cpu: the other
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo test test-slow check format clean

demo: .venv/.ready ## toy model and data, training, evaluation, a table and plots in output/demo
	$(RUN) -m eval.demo

test: .venv/.ready ## everything but the slow tests
	$(RUN) -m pytest -q -n auto --dist loadfile -m "not slow"

test-slow: .venv/.ready ## the slow tests
	$(RUN) -m pytest -q -n auto --dist loadfile -m slow

check: .venv/.ready ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: .venv/.ready
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

.venv/.ready: requirements.txt requirements-common.txt requirements-cpu.txt requirements-dev.txt
	STACK=$(STACK) local_scripts/setup_venv.sh $(PYTHON)

clean: ## what make demo and the checks leave; your runs in output/ stay
	rm -rf output/demo .pytest_cache .mypy_cache .ruff_cache
