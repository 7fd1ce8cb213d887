# The front door. Each target installs what it needs into .venv, once per change of setup.cfg.

.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

BIN := .venv/bin
# The first Python that is new enough; `make PYTHON=/path/to/python3 test` names another.
PYTHON ?= $(firstword $(foreach python,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(python) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(python))))

.PHONY: help run test coverage test-system test-system-host soak lint bench bench-compare format clean

help:
	@echo 'make run          start the daemon by hand; it says where it listens'
	@echo 'make test         the unit and functional tests'
	@echo 'make coverage     the same, and which lines they do not reach; takes half as long again'
	@echo 'make test-system  the tests against a real systemd, and those of crashes and disks'
	@echo 'make soak         crash at every call, lose the power at any moment; takes hours, and goes on where it was stopped'
	@echo 'make lint         ruff and mypy'
	@echo 'make bench        how fast it is, beside its limits and its peers; half an hour'
	@echo 'make bench-compare BASE=REVISION  what a change cost: two revisions in turn'
	@echo 'make format       put the sources into shape'
	@echo 'make clean        remove .venv and all that was made'

run: .venv/.run
	@exec $(BIN)/tifftockd

# On CI the lines that are not reached count too. Elsewhere not: each of the hundreds of daemons that the tests start
# costs most of a second more when it is measured.
test: .venv/.test
	@$(BIN)/python -m pytest --quiet --numprocesses=auto --dist=loadfile $(if $(filter true,$(CI)),$(MEASURED))

MEASURED := --cov --cov-report=term

coverage: .venv/.test
	@$(BIN)/python -m pytest --quiet --numprocesses=auto --dist=loadfile $(MEASURED)

test-system: .venv/.test
	@$(BIN)/python tests/system/tools.py
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target test-system-bookworm test-system-trixie test-system-host

# One release: make test-system-trixie
test-system-%: .venv/.test
	@echo 'System tests on $*'
	@$(BIN)/python -m pytest --quiet tests/system -k $*

# What needs root or a compiler, and no machine of its own
test-system-host: .venv/.test
	@echo 'System tests on this machine'
	@$(BIN)/python -m pytest --quiet tests/system -k 'not bookworm and not trixie'

soak: .venv/.test
	@exec $(BIN)/python tests/soak

lint: .venv/.lint
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; echo 'make format does it'; exit 1; }
	@$(BIN)/mypy --no-error-summary

# Some of it: make bench QUESTIONS='creates burst'
bench: .venv/.test
	@exec $(BIN)/python tests/bench $(QUESTIONS)

bench-compare: .venv/.test
	@[ -n '$(BASE)' ] || { echo 'make: name the revision to compare with: make bench-compare BASE=main' >&2; exit 1; }
	@exec $(BIN)/python tests/bench compare '$(BASE)' $(QUESTIONS)

format: .venv/.lint
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

clean:
	@rm -rf .venv .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .bench .soak build dist *.egg-info
	@find tifftockd tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- .venv: a stamp file says what has been installed

.venv/.python:
	@[ -n '$(PYTHON)' ] || { echo 'make: Python 3.11 or newer is needed and was not found; install it, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'make: $(PYTHON) has no venv; on Debian: apt install python3-venv' >&2; exit 1; }
	@echo 'Making .venv with '"$$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear .venv
	@touch $@

install = echo 'Installing $(1) into .venv' && $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --editable '$(1)' && touch $@

.venv/.run: .venv/.python setup.cfg pyproject.toml
	@$(call install,.)

.venv/.test: .venv/.python setup.cfg pyproject.toml
	@$(call install,.[test])

.venv/.lint: .venv/.python setup.cfg pyproject.toml
	@$(call install,.[lint])
