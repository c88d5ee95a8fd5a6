# Everything here needs Python >= 3.11 with its venv module, and make. The rest is installed into
# .venv, pinned by requirements/*.txt; it is installed again when those files change.

VENV := .venv
BIN := $(VENV)/bin
# Else every process compiles all that it imports each time it starts, which takes over a second.
# Images for builds tend to set it.
export PYTHONDONTWRITEBYTECODE :=
# The lock is complete, so nothing else is resolved (--no-deps): pip before 24 takes a newer version
# of a package that another one names with an extra, and then refuses it for not being in the lock.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps

# Named for what is in the lock, not for when it was written: git gives a file a new time.
mark = $(VENV)/.installed-$(1)-$(shell cksum < requirements/$(1).txt | cut -d' ' -f1)
# An environment whose Python is gone (an upgrade of the system) is made again.
$(shell test -x $(BIN)/python || rm -f $(VENV)/.installed-*)
LOCAL := $(call mark,local)
DEV := $(call mark,dev)

PYTEST := $(BIN)/python -m pytest

.PHONY: help install run dev client test coverage check structure load bench compose-test lock docs clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

install: $(DEV) ## install what is needed to develop; the other targets do it by themselves

run: $(LOCAL) ## start the whole system here; Ctrl-C stops it
	@exec $(BIN)/python -m deploy.local

dev: $(LOCAL) ## the same, and a process starts again when its sources change
	@exec $(BIN)/python -m deploy.local --reload

client: $(LOCAL) ## a client application of the running stack, and its API key: NAME=… EMAIL=… [ADMIN=1]
	@NAME='$(subst ','\'',$(value NAME))' EMAIL='$(subst ','\'',$(value EMAIL))' ADMIN='$(ADMIN)' \
	    $(BIN)/python -m deploy.local.client

# The markers are explained in pyproject.toml. A later -m, in ARGS, replaces the first one.
test: $(DEV) ## all tests but those of compose, or those that ARGS names
ifeq ($(strip $(ARGS)),)
	$(PYTEST) -m "not compose and not alone" -n 2 --dist loadfile
	$(PYTEST) -m "alone and not compose"
else
	$(PYTEST) -m "not compose" $(ARGS)
endif

coverage: $(DEV) ## branch coverage by module; it doubles the CPU time of every process
	$(PYTEST) -m "not compose and not unmeasured and not alone" -n 2 --dist loadfile \
	    --cov --cov-report=term $(ARGS)

check: $(DEV) ## formatting, lint, types, import rules, links of the docs, known vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zensical build --strict --clean
	$(BIN)/python -m tools.audit $(AUDIT)

structure: $(DEV) ## figures of the tree beside their bars (ARGS=-v lists what was counted)
	@$(BIN)/python -m tools.structure $(ARGS)

load: $(DEV) ## load test; prints notify-to-socket latency, writes an HTML report
	$(BIN)/python -m loadtests.run_load $(ARGS)

bench: $(DEV) ## the benchmarks of docs/design/benchmarks.md; takes a while
	$(BIN)/python -m loadtests.bench $(ARGS)

compose-test: $(DEV) ## build, start and test the compose stacks (needs Docker)
	$(PYTEST) -m compose tests/system/compose $(ARGS)

lock: $(DEV) ## write requirements/*.txt from pyproject.toml (ARGS=--upgrade for newer versions)
	tools/lock.sh $(ARGS)

docs: $(DEV) ## write the tables of docs/reference and the lists of processes, then build the docs' site into .data/docs
	$(BIN)/python -m tools.settings_table
	$(BIN)/python -m tools.problem_table
	$(BIN)/python -m tools.route_tables
	$(BIN)/python -m tools.process_lists
	$(BIN)/zensical build --strict --clean

clean: ## remove .venv, caches and the data of `make run`
	$(or $(wildcard $(BIN)/python),$(PYTHON),python3) -m deploy.local.clean
	rm -rf $(VENV) .data .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache \
	    .hypothesis .import_linter_cache .cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@tools/venv.sh $(VENV) $(PYTHON)

$(LOCAL): | $(BIN)/python
	@echo "Installing what is needed to run into $(VENV); the first time takes a minute or two ..."
	@$(INSTALL) -r requirements/local.txt
	@rm -f $(VENV)/.installed-local-*
	@touch $@

# After LOCAL, as two pips at once would break one environment.
$(DEV): | $(LOCAL)
	@echo "Installing what is needed to develop into $(VENV) ..."
	@$(INSTALL) --no-compile -r requirements/dev.txt
	@rm -f $(VENV)/.installed-dev-*
	@touch $@
