# Every target sets up what it needs, in .venv, and is quick the second time.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint docs clean

demo: .venv/demo.done  ## train on synthetic spoken digits
	$(BIN)/lstm-scratch demo --output demo

test: .venv/dev.done  ## run the tests
	$(BIN)/pytest

test-all: test  ## run the long tests too
	$(BIN)/pytest -m long

lint: .venv/dev.done  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/demo.done  ## draw the chapter's picture anew, by the code in the chapter
	cd docs && sed -n '/^```python/,/^```/{/^```/!p}' lstm.md | $(CURDIR)/$(BIN)/python

clean:  ## remove all that the other targets made
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache

.venv/%.done: pyproject.toml | .venv
	@echo "installing lstm-scratch[$*] and what it needs into .venv"
	$(BIN)/python -m pip install --editable ".[$*]"
	@touch $@

.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lstm-scratch needs Python 3.11 or later; name one: make PYTHON=python3.12 ..."; exit 1; }
	@echo "making a virtual environment in .venv"
	@$(PYTHON) -m venv $@ \
		|| { rm -rf $@; echo "this Python lacks venv (Debian: apt install python3-venv)"; exit 1; }
