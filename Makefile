SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs soak lock clean

export NO_ALBUMENTATIONS_UPDATE := 1
export HF_HUB_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0

python := .venv/bin/python
stamp := .venv/.installed

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 10

setup: $(stamp)  ## the environment, in .venv (PYTHON=... names the interpreter)

$(stamp): requirements.txt pyproject.toml .ci/setup
	@.ci/setup
	@touch $@

demo: setup  ## the whole way on this machine: runs/demo/report.html (WEIGHTS=... holds PiDiNet's)
	$(python) -m t2i_shards demo --out runs/demo $(if $(WEIGHTS),--weights $(WEIGHTS))

test: setup  ## the suite
	@$(python) -m pytest --numprocesses logical --maxprocesses 4 --no-loadscope-reorder

check: setup  ## format, lint, types
	@.venv/bin/ruff format --check --quiet .
	@.venv/bin/ruff check --quiet .
	@.venv/bin/mypy

bench: setup  ## the comparisons, as a table of ratios
	@$(python) -m tests.bench

docs: setup  ## the commands and snippets of README and docs, as written (PAGES="use.md ..." runs some)
	@$(python) -m pytest tests/test_docs.py tests/jobs/test_data_page.py
	@$(python) -m tests.docs $(PAGES)

soak: setup  ## the tests that take longer than the suite may
	@$(python) -m pytest -m soak

lock: setup  ## requirements.txt anew from requirements.in (UPGRADE=1: every version the newest)
	@.ci/uv pip compile requirements.in --output-file requirements.txt --quiet $(if $(UPGRADE),--upgrade) \
		--universal --python-version 3.11 --no-build --generate-hashes --no-emit-index-url \
		--override .ci/overrides.txt --excludes .ci/excludes.txt --custom-compile-command 'make lock'

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
