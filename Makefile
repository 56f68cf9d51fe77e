# Every target sets up .venv by itself; a second time that takes no time, until pyproject.toml or constraints.txt change.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs
ZARR3 := .venv/zarr3
MOTO := .venv/moto

# Path of a volume for the tests that need real data; they are skipped without it.
FIB25 ?=
# Anything here runs the slow tests too.
SLOW ?=
# Processes that run test modules side by side; each loads PyTorch, so more of them need more memory.
JOBS ?= 2

# Code on pages has shorter lines, so that it fits the column.
AS_ON_PAGES := --isolated --target-version py311 --line-length 85 $(wildcard *.md docs/*.md docs/*/*.md)

.DEFAULT_GOAL := help
.PHONY: help demo browser test test-zarr3 audit lint format docs bench test-benchmarks clean

help:
	@echo "make demo    train a small network on made-up data, and segment with it"
	@echo "make test    run the tests; SLOW=1 adds the slow ones, FIB25=path/to/fib25.zarr those on real data"
	@echo "make test-zarr3  run the tests of arrays and of a training with version 3 of zarr, without gunpowder"
	@echo "make browser install Chromium for the tests of pages, where apt-get can"
	@echo "make lint    check style and types"
	@echo "make audit   look up known vulnerabilities of all packages in constraints.txt"
	@echo "make format  rewrite the code in the project's style"
	@echo "make docs    build the documentation into docs/_build/html, and run its examples"
	@echo "make bench   test the benchmarks, and compare times with those of plain code"
	@echo "make clean   remove .venv and all caches"

# PyTorch comes first and alone, so that pip settles on its build before anything else asks for it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	touch $@

demo: $(STAMP)
	$(BIN)/dacapo demo

test: $(STAMP) $(MOTO)/.installed
	$(BIN)/python -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile) \
		$(if $(SLOW),,-m "not slow") $(if $(FIB25),--fib25=$(FIB25))

# A server of S3 for tests, in a folder of its own because it needs other versions of some packages.
$(MOTO)/.installed: .ci/moto.txt $(STAMP)
	rm -rf $(MOTO)
	$(BIN)/python -m pip install --quiet --no-deps --target $(MOTO) -r .ci/moto.txt
	touch $@

# Gunpowder, which needs version 2, keeps the pin in pyproject.toml. Version 3 lies in a folder that goes before it.
$(ZARR3)/.installed: .ci/zarr3.txt $(STAMP)
	rm -rf $(ZARR3)
	$(BIN)/python -m pip install --quiet --no-deps --target $(ZARR3) -r .ci/zarr3.txt
	touch $@

# The test that is left out reads arrays with funlib.persistence, which needs version 2 too.
test-zarr3: $(ZARR3)/.installed
	PYTHONPATH=$(CURDIR)/$(ZARR3):$$PYTHONPATH $(BIN)/python -c 'import zarr; assert zarr.__version__.startswith("3."), zarr'
	PYTHONPATH=$(CURDIR)/$(ZARR3):$$PYTHONPATH $(BIN)/python -m pytest \
		--deselect tests/unit/test_arrays_zarr.py::test_created_arrays_read_elsewhere \
		tests/unit/test_arrays_zarr.py tests/unit/test_reading.py tests/unit/test_array_store.py \
		tests/unit/test_stored_chunks.py tests/operations/test_convert.py tests/operations/test_without_gunpowder.py

# The tests of pages are skipped without a browser, which is no Python package; where it cannot be installed, so be it.
browser:
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then \
		echo "a browser is installed"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium \
			|| echo "chromium could not be installed; the tests of pages are skipped"; \
	else \
		echo "no browser and no apt-get as root; the tests of pages are skipped"; \
	fi

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ruff format --check $(AS_ON_PAGES)
	$(BIN)/mypy --strict dacapo

# Rules of bandit are among those of ruff, see pyproject.toml. A package that cannot be looked up is an error: by default it would
# only be listed as skipped, although all of them may be.
audit: .venv/audit/.installed
	.venv/audit/bin/pip-audit --strict --no-deps --progress-spinner off -r constraints.txt

.venv/audit/.installed:
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet pip-audit
	touch $@

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/ruff format $(AS_ON_PAGES)

# The pages land in docs/_build/html. A warning is an error, and so is a reference that leads nowhere.
docs: $(DOCS_STAMP)
	$(BIN)/python docs/draw.py --check
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	$(BIN)/python -m pytest --doctest-modules --doctest-glob='*.md' dacapo README.md $(wildcard docs/*.md docs/*/*.md)
	$(BIN)/python docs/run_notebooks.py --iterations 8 --output docs/_build/notebooks

test-benchmarks: $(STAMP)
	$(BIN)/python -m pytest benchmarks/tests

# The tests of the benchmarks come first: a figure of a benchmark that measures something else is worth nothing.
bench: test-benchmarks
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf .venv docs/_build docs/_generated .mypy_cache .pytest_cache .ruff_cache .hypothesis
