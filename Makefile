# Every target sets up .venv by itself; a second time that takes no time, until pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

# Path of a volume for the tests that need real data; they are skipped without it.
FIB25 ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs bench clean

help:
	@echo "make demo    train a small network on made-up data, and segment with it"
	@echo "make test    run the tests; FIB25=path/to/fib25.zarr adds those on real data"
	@echo "make lint    check style and types"
	@echo "make format  rewrite the code in the project's style"
	@echo "make docs    run every example in the documentation"
	@echo "make bench   run the benchmarks"
	@echo "make clean   remove .venv and all caches"

# PyTorch comes first and alone, so that pip settles on its build before anything else asks for it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/dacapo demo

test: $(STAMP)
	$(BIN)/python -m pytest $(if $(FIB25),--fib25 $(FIB25))

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict dacapo

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	$(BIN)/python -m pytest --doctest-modules --doctest-glob='*.md' dacapo README.md $(wildcard docs/*.md)

bench: $(STAMP)
	@set -e; for script in $(sort $(wildcard benchmarks/*.py)); do echo "$$script"; $(BIN)/python "$$script"; done

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
