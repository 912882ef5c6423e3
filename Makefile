# `make demo` and `make test` need Python 3.11 to 3.13 and make; they install everything else into .venv, and what only
# the emulated charging stations need (ISO 15118 with its old pydantic) into .venv-station.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
STATION := .venv-station
SPEED ?= 480
# The rooms that both environments share, and the one that only the station's has.
STATION_TESTS := tests/twin/station tests/twin/wire

# The long ones (robustness, soaks, hostile input by the million) have commands of their own in docs/benchmarks.md.
STATION_BENCHES := benchmarks/exi_speed.py benchmarks/iso15118_sessions.py
BENCHES := $(filter-out $(STATION_BENCHES),$(wildcard benchmarks/*_speed.py)) benchmarks/acn_replay.py \
	benchmarks/grid_planning.py benchmarks/departure_holdout.py

.PHONY: demo test bench lint lock browser clean

demo: $(VENV)/.ready $(STATION)/.ready
	$(BIN)/v2g demo --speed $(SPEED)

test: $(VENV)/.ready $(STATION)/.ready browser
	$(STATION)/bin/python -m pytest -q $(STATION_TESTS)
	$(BIN)/python -m pytest -q

bench: $(VENV)/.ready $(STATION)/.ready
	@for b in $(BENCHES); do echo "== $$b"; $(BIN)/python $$b || exit 1; done
	@for b in $(STATION_BENCHES); do echo "== $$b"; $(STATION)/bin/python $$b || exit 1; done

lint: $(VENV)/.ready $(STATION)/.ready
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(STATION)/bin/python -m mypy --config-file twin/station/mypy.ini
	$(BIN)/lint-imports

$(VENV)/.ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with venv is needed; none was found (set PYTHON=...)"; exit 1; }
	@test -x $(BIN)/uv || { "$(PYTHON)" -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check 'uv>=0.8,<1'; }
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

$(STATION)/.ready: $(VENV)/.ready requirements-station.lock
	@test -x $(STATION)/bin/python || $(BIN)/uv venv -q --python $(BIN)/python $(STATION)
	$(BIN)/uv pip install -q --compile-bytecode --python $(STATION)/bin/python --require-hashes -r requirements-station.lock
	@echo "$(CURDIR)" > "$$($(STATION)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/v2g-source.pth"
	@touch $@

# Page tests drive a real browser. It is a system package: installed where that is possible, else said in one line.
browser:
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
	|| command -v google-chrome >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 \
	     && apt-get update -qq >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null 2>&1; } \
	|| echo "No Chromium found and none could be installed: the page tests are skipped."

lock:
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 --extra dev --extra dss --extra dask pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --generate-hashes --python-version 3.11 twin/station/requirements.in -o requirements-station.lock

clean:
	rm -rf $(VENV) $(STATION) v2g-data build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
