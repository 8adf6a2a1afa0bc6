# Needs Python >= 3.11 and make; everything else is put into .venv* and .peers inside this folder.

.DEFAULT_GOAL := help
.PHONY: help demo test check interop bench conformance fuzz soak spec clean dev

PYTHON ?=
PIN := .venv/bin/python .ci/peers.py

# Downloads are kept inside the folder too, unless the caller has a better place for them.
export PIP_CACHE_DIR ?= $(CURDIR)/.peers/cache/pip
export npm_config_cache ?= $(CURDIR)/.peers/cache/npm
export PYRIGHT_PYTHON_CACHE_DIR ?= $(CURDIR)/.peers/cache/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS = 1

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: dev ## four servers behind one endpoint, until Ctrl-C; ONCE=1: one call, then exit
	@$(PIN) py-git node
	@.venv/bin/python demo/demo.py $(if $(ONCE),--once)

test: ## the test suite on every CPython from 3.11 up that is found here
	@.ci/test

check: dev ## lint, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/pyright

interop: dev ## real clients, hosts and servers of others against ours; ONLY=codex: only some
	@$(PIN) py-git mcp2 mcp1 node browser hosts
	@.venv/bin/python tests/interop/run.py $(if $(ONLY),--only "$(ONLY)")

bench: dev ## measure beside others, half an hour; QUICK=1: a short look, ONLY="http echo": some
	@$(PIN) mcp2 mcp2-3.11 mcp1 fastmcp translate node compiled
	@.venv/bin/python bench/run.py $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

conformance: dev ## the official conformance suite against our server and client
	@$(PIN) node
	@.venv/bin/python tests/conformance/run.py

fuzz: dev ## 200,000 messages and a million HTTP requests, most of them wrong; COUNT=, REQUESTS=: fewer
	@.venv/bin/python tests/fuzz/run.py --messages $(or $(COUNT),200000) --requests $(or $(REQUESTS),1000000)

soak: dev ## clients by the thousand: memory comes back when they are gone, and they stop nobody
	@.venv/bin/python tests/soak/run.py
	@.venv/bin/python tests/soak/crowds.py

spec: dev ## which requirements of the specification have a test
	@.venv/bin/python -m tests.spec.report -p no:cacheprovider

clean: ## remove what was built, environments and downloads included
	rm -rf .venv .venv-* .peers .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* bench/out build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

dev: # the development environment
	@test -x .venv/bin/python && test .venv/.ready -nt pyproject.toml && test .venv/.ready -nt constraints.txt \
		|| { python=$$(.ci/pythons --first "$(PYTHON)") && .ci/venv .venv "$$python" dev; }
