# Every task of the repository. Each sets up what it needs: .venv is made from requirements.lock by the first one that
# wants it, and made again when the lock or a member's pyproject.toml changed.

PYTHON ?= python3
NAME ?=
SECONDS ?= 60
PYTEST_ARGS ?=

BIN := .venv/bin
UV ?= $(BIN)/uv
MEMBER_FILES := $(wildcard proto/pyproject.toml formats/pyproject.toml telemetry/pyproject.toml \
	plugins/sdk/pyproject.toml \
	plugins/accelerators/*/pyproject.toml plugins/backends/*/pyproject.toml \
	agent/pyproject.toml controller/pyproject.toml cli/pyproject.toml)
MEMBERS := $(patsubst %/pyproject.toml,%,$(MEMBER_FILES))
MEMBER_NAMES := $(shell sed -n 's/^name = "\(.*\)"/\1/p' $(MEMBER_FILES))
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	--cache-dir .cache/uv $(if $(UPGRADE),--upgrade)
# Not in the lock: 35 MB that only `make fuzz` wants.
ATHERIS := atheris==3.0.0
RELEASED := proto/released.txtpb

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check fix fuzz promises bench proto lock setup clean \
	check-style check-types check-imports check-proto check-locks

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: setup ## Serve a small language model on this machine, from nothing (KEEP=1 leaves it running)
	@$(BIN)/python -m examples.demo.demo

test: setup ## Run the tests (PYTEST_ARGS="-k name -x" for some)
	@$(BIN)/python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

check: check-style check-types check-imports check-proto check-locks ## Lint, types, layers, protos, lock files

fix: setup ## Format code and protos, and apply the linter's safe fixes
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
	@$(BIN)/buf format --write proto

fuzz: setup ## Look for bytes that are mishandled (NAME=gguf or all, SECONDS=60 each)
	@test -e .cache/fuzz/packages/atheris || $(BIN)/python -m pip install -qq --disable-pip-version-check \
		--no-deps --only-binary :all: --target .cache/fuzz/packages $(ATHERIS) || true
	@$(BIN)/python tests/fuzz/run.py $(NAME) --seconds $(SECONDS)

promises: setup ## Show which promises are held by tests, and which are owed
	@$(BIN)/python tests/promises.py

bench: setup ## Run the benchmarks (NAME=name for one; AGENTS=200,5000 are sizes of NAME=scale)
	@$(BIN)/python benchmarks/run.py $(NAME)

proto: setup ## Make proto/python/motorpool/v1 again from the .proto files
	@$(BIN)/python proto/generate.py

lock: $(if $(filter $(BIN)/uv,$(UV)),setup) ## Pin dependencies again (UPGRADE=1 for newer ones; UV=uv where .venv is broken)
	@mkdir -p .cache && cp requirements.lock proto/generator.lock .cache/
	@$(LOCK) $(addprefix --no-emit-package ,$(MEMBER_NAMES)) --group dev -o .cache/requirements.lock pyproject.toml
	@$(LOCK) -o .cache/generator.lock proto/generator.in
	@cmp -s .cache/requirements.lock requirements.lock || cp .cache/requirements.lock requirements.lock
	@cmp -s .cache/generator.lock proto/generator.lock || cp .cache/generator.lock proto/generator.lock

clean: ## Remove environments, caches and what the demo left
	@rm -rf .venv .cache .demo .hypothesis dist build examples/clients/*/build
	@find . -name __pycache__ -not -path './.git/*' -type d -prune -exec rm -rf {} +

setup: .venv/members.stamp ## Make .venv (the others do so by themselves)

# --- parts of check ---------------------------------------------------------------------------------------------------

check-style: setup
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --diff --quiet .; exit 1; }

check-types: setup
	@$(BIN)/mypy --no-error-summary

check-imports: setup
	@mkdir -p .cache
	@$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter > .cache/imports.txt \
		|| { cat .cache/imports.txt; exit 1; }

check-proto: setup
	@$(BIN)/buf lint proto
	@$(BIN)/buf format --diff --exit-code proto
	@if [ -e $(RELEASED) ]; then $(BIN)/buf breaking proto --against $(RELEASED); \
	else echo "check-proto: no $(RELEASED) yet: nothing to be compatible with"; fi
	@$(BIN)/python proto/generate.py --check
	@mkdir -p .cache && $(BIN)/buf build proto -o .cache/image.binpb && $(BIN)/python proto/roles.py .cache/image.binpb

check-locks:
	@! grep -nE '[a-z]+://|^ *(-i|-f|--(index-url|extra-index-url|find-links|trusted-host))\b|@ file' \
		requirements.lock proto/generator.lock \
		|| { echo "check-locks: a lock file names an address: make lock"; exit 1; }
	@! git ls-files --error-unmatch uv.lock > /dev/null 2>&1 \
		|| { echo "check-locks: uv.lock carries addresses and is not tracked: git rm --cached uv.lock"; exit 1; }

# --- the environment --------------------------------------------------------------------------------------------------

# The first Python that will do, or a sentence saying what to install. Debian keeps what makes environments in a package
# of its own: root gets that one installed, others are told to.
FIND_PYTHON = for python in $(PYTHON) python3.13 python3.12 python3.11; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' > /dev/null 2>&1 && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "make: Motorpool needs Python 3.11 or later; say where one is: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	makes_environments() { "$$python" -c 'import ensurepip, venv' > /dev/null 2>&1; }; \
	package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	if ! makes_environments && [ "$$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then \
		echo "Installing the package $$package: $$python cannot make virtual environments without it"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends "$$package" > /dev/null; \
	fi; \
	if ! makes_environments; then \
		echo "make: $$python cannot make virtual environments; on Debian and Ubuntu, as root: apt-get install $$package" \
			>&2; exit 1; \
	fi

.venv/locked.stamp: requirements.lock
	@$(FIND_PYTHON); \
	echo "Making .venv from requirements.lock"; \
	rm -rf .venv && "$$python" -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock || { \
		echo "make: requirements.lock was not installed; it needs PyPI, or the index that pip is configured for" >&2; exit 1; }
	@touch $@

# pip has no hashes for editables: they come second, with nothing to fetch.
.venv/members.stamp: .venv/locked.stamp $(MEMBER_FILES)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation \
		--no-index $(addprefix --editable ./,$(MEMBERS))
	@touch $@
