# `make demo` and `make test` need Python 3.11 to 3.13 and make; they install everything else into .venv.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
SPEED ?= 480

.PHONY: demo test bench lint lock browser clean

demo: $(VENV)/.ready
	$(BIN)/v2g demo --speed $(SPEED)

test: $(VENV)/.ready browser
	$(BIN)/python -m pytest -q

bench: $(VENV)/.ready
	@for b in benchmarks/*_speed.py benchmarks/acn_replay.py benchmarks/grid_planning.py benchmarks/departure_holdout.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with venv is needed; none was found (set PYTHON=...)"; exit 1; }
	@test -x $(BIN)/uv || { "$(PYTHON)" -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.8,<1'; }
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

# Page tests drive a real browser. It is a system package: installed where that is possible, else said in one line.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
	|| command -v google-chrome >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	     && apt-get update -qq >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null 2>&1; } \
	|| echo "No Chromium found and none could be installed: the page tests are skipped."

lock:
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra dev --extra dss pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) v2g-data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
