# 8ms on one machine: nothing to install by hand but Python 3.11 and make.
# Every target may be run again at any time; what is already there is left as it is.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header

# A stamp carries the lock's checksum and this folder's path: a new lock or a moved checkout
# installs again, a new time on the file does not.
HERE_AND = $(shell { pwd; cat $(1); } | cksum | tr -d ' ')
RUNTIME := $(VENV)/.runtime-$(call HERE_AND,requirements.lock)
DEVELOPMENT := $(VENV)/.development-$(call HERE_AND,requirements-dev.lock)

.DEFAULT_GOAL := help
.PHONY: help run venv test test-fast check format bench lock clean browser

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: $(RUNTIME) ## everything on this machine: PostgreSQL, NATS, six services, the dashboard
	@exec $(VENV)/bin/eightms up

venv: $(DEVELOPMENT) ## .venv with everything that tests and checks need

test: $(DEVELOPMENT) browser ## every test, with real servers
	$(PY) -m pytest -n 2 --dist loadfile

test-fast: $(DEVELOPMENT) ## tests/unit and tests/shape, in under a minute
	$(PY) -m pytest -n 2 $(wildcard tests/unit tests/shape)

check: $(DEVELOPMENT) ## format, lint, types, import rules, shape
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports
	$(PY) -m pytest tests/shape

format: $(DEVELOPMENT) ## formats the code and mends what the linter can mend
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(DEVELOPMENT) ## measures, and writes docs/benchmarks.md
	$(PY) -m tests.bench

lock: $(DEVELOPMENT) ## pins requirements*.in to the newest releases
	$(UV_LOCK) --upgrade requirements-dev.in --output-file requirements-dev.lock
	$(UV_LOCK) --upgrade --constraints requirements-dev.lock requirements.in --output-file requirements.lock

clean: ## removes .venv and caches; .data, where messages are kept, stays
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- how the above is made ---------------------------------------------------------------

$(RUNTIME): | python
	$(call install,requirements.lock)
	@rm -f $(VENV)/.runtime-* && touch $@

# What the tests need includes what the services need: both stamps.
$(DEVELOPMENT): | python
	$(call install,requirements-dev.lock)
	@rm -f $(VENV)/.runtime-* $(VENV)/.development-* && touch $(RUNTIME) $@

.PHONY: python
python:
	@test -n "$(PYTHON)" || { \
	  echo "Python 3.11 is missing. On Debian and Ubuntu: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is not Python 3.11 or newer. Install python3.11, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv (or python3.11-venv)"; exit 1; }

# The .pth file makes the packages of this checkout importable from any folder; `eightms` runs them.
define install
	@$(PY) -c 'import pip' 2>/dev/null || { echo "Making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing $(1) into $(VENV)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(1) || { \
	  echo "The packages of $(1) could not be installed: the reason is above."; \
	  echo "The first installation needs a Python package registry (pip's settings say which); later starts need no network."; \
	  exit 1; }
	@pwd > "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/eightms.pth"
	@printf '%s\n' '#!/bin/sh' '# Runs the cli package of the checkout that this environment belongs to.' \
	  'exec "$$(dirname "$$(readlink -f "$$0")")/python" -P -m cli "$$@"' > $(VENV)/bin/eightms
	@chmod 755 $(VENV)/bin/eightms
endef

# tests/browser drives Debian's Chromium.
browser:
	@test ! -d tests/browser || command -v chromium >/dev/null || { \
	  echo "Installing chromium for tests/browser"; \
	  if test "$$(id -u)" = 0 && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq -y --no-install-recommends chromium chromium-driver fonts-dejavu-core; \
	  else \
	    echo "tests/browser needs the command chromium. On Debian: sudo apt-get install chromium chromium-driver"; exit 1; \
	  fi; }
