PYTHON ?= python3
BIN := .venv/bin

.PHONY: help mnist test format docs gpu clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r target text; \
		do printf '%-8s %s\n' "$$target" "$$text"; done

mnist: .venv/installed  ## train on the digits 3, 7 and 9; the run is in runs/379
	$(BIN)/python scripts/train_mnist.py --digits 3 7 9

test: .venv/installed-dev  ## check format, lint and types, and run the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

format: .venv/installed-dev  ## format the code and repair what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-dev  ## run the notebooks and build the documentation into site/
	$(BIN)/mkdocs build --strict

gpu: .venv/installed  ## put Aer on CUDA: the two wheels share one import name, so one replaces the other
	$(BIN)/pip uninstall -y qiskit-aer
	$(BIN)/pip install qiskit-aer-gpu

clean:  ## remove the virtual environment and the built documentation
	rm -rf .venv site

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install -q -e ".[dev]"
	touch $@
