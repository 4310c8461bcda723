# `make bench` and `make test` set up everything they need; `make help` lists the rest.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
EXTRAS ?= cluster,redis,reload,test,check,docs,fuzz
PYTEST_ARGS ?= -n 6 --dist loadfile --no-loadscope-reorder
TESTS ?=
FUZZ_SECONDS ?= 300
SOAK_SECONDS ?= 600
DRILL_SECONDS ?= 60
SIEGE_ARGS ?=
BENCH_ARGS ?= --profile two-pages --for 4m20s
READY = $(VENV)/.ready

.PHONY: help test check fuzz drill bench bench-peers bench-loops loop-suites apps autobahn soak siege docs format clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

test: $(READY)  ## Run the whole test suite
	@scripts/redis "$(BIN)/python"
	@scripts/postgresql
	@rm -f $(VENV)/.failed
	@$(BIN)/python -m compileall -q -j 0 src tests/support  # once, not by each of the processes that begin together
	$(BIN)/pytest $(PYTEST_ARGS) $(TESTS) || { status=$$?; [ $$status != 1 ] || touch $(VENV)/.failed; exit $$status; }

check: $(READY)  ## Lint, formatting, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fuzz: $(READY)  ## Fuzz the HTTP engine for five minutes
	$(BIN)/python fuzz/run.py $(FUZZ_SECONDS)

drill: $(READY)  ## Orders under load, every model: reload, upgrade, kill; half an hour (DRILL_SECONDS=60)
	@failed=0; for order in reload upgrade kill; do echo "$$order:"; \
		$(BIN)/septet bench hello --drill $$order --for $(DRILL_SECONDS)s --rate 2000 || failed=1; done; exit $$failed

bench: $(READY)  ## Two pages under every model: results, pictures, tables (four minutes of measuring, and the set-up)
	$(BIN)/septet bench $(BENCH_ARGS)

bench-peers:  ## Septet beside other servers, in an environment of its own (about two hours)
	$(PYTHON) benchmarks/peers.py $(PEERS_ARGS)

bench-loops:  ## septet.loop beside asyncio, uvloop and rloop, in an environment of its own
	$(PYTHON) benchmarks/loops.py $(LOOPS_ARGS)

loop-suites:  ## The tests of uvloop, anyio and aiohttp on every loop (a quarter of an hour)
	$(PYTHON) tests/loop/foreign/run.py $(SUITES_ARGS)

apps:  ## Django, Flask, FastAPI and other real applications under every model, beside gunicorn and uvicorn (a quarter of an hour)
	$(PYTHON) tests/real_apps/run.py $(APPS_ARGS)

autobahn: $(READY)  ## All of Autobahn's cases for WebSocket, under four models (some minutes for each)
	cd tests && ../$(BIN)/python -m support.autobahn epoll io_uring threaded preforked

soak: $(READY)  ## Ten minutes of bad guests on each loop; nothing may be left (SOAK_SECONDS=600)
	@for loop in poll epoll io_uring; do \
		$(BIN)/python tests/loop/soak.py --backend $$loop --seconds $(SOAK_SECONDS) || exit 1; done

siege: $(READY)  ## Attack every model in every way, a quarter of an hour (SIEGE_ARGS="--models epoll", "--help", "--memory 200000")
	$(BIN)/python tests/siege/run.py $(SIEGE_ARGS)

docs: $(READY)  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(READY)  ## Put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove what the other targets made
	rm -rf $(VENV) site build dist .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml scripts/environment
	scripts/environment "$(PYTHON)" "$(VENV)" "$(EXTRAS)"
	@touch $@
