PYTHON ?= python3
BIN := .venv/bin

.PHONY: mnist test gpu clean

mnist: .venv/installed  ## train on the digits 3, 7 and 9; prolong or repeat with scripts/train_mnist.py
	$(BIN)/python scripts/train_mnist.py --digits 3 7 9

test: .venv/installed-dev  ## lint, types, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

gpu: .venv/installed  ## Aer on CUDA: the two wheels share one import name, so one replaces the other
	$(BIN)/pip uninstall -y qiskit-aer
	$(BIN)/pip install qiskit-aer-gpu

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -e ".[dev]"
	touch $@

clean:
	rm -rf .venv
