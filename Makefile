# Two commands do everything: `make demo` runs the main job on real charts, `make test` checks the project.
# Both set up a private .venv with pinned versions first; later runs reuse it and need no network.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo

# Compiled modules are kept, whatever the environment says: every process of Ray would compile them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all test-fast chaos lint compiled format benchmarks chromium clean

demo: $(READY)
	@BIN=$(BIN) DEMO=$(DEMO) bash examples/demo.sh

# In two processes, but for those that start Ray, one after the other: each of these takes the machine. Before that, on
# the second core beside lint, loops are compiled once: each process would do it for itself.
test: $(READY)
	@$(MAKE) --no-print-directory -j 2 lint compiled
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not chaos and not long and not ray"
	$(BIN)/python -m pytest -m "not chaos and not long and ray"

# And those that take minutes each: killed searches and trainings, jobs on a cluster, nodes that go.
test-all: lint test-fast
	$(BIN)/python -m pytest -m "not chaos and (long or ray or slow)"

test-fast: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not chaos and not long and not ray and not slow"

# Replicas of a real service on this machine are killed and stopped under load, for SECONDS in each test; sharding,
# training and searching are killed KILLS times each at random moments, and the first two at every rename of a file.
SECONDS ?= 60
KILLS ?= 17

chaos: $(READY)
	CHAOS_SECONDS=$(SECONDS) CHAOS_KILLS=$(KILLS) $(BIN)/python -m pytest -m chaos \
		tests/entrypoints/test_serve_ray.py tests/entrypoints/test_kills.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

compiled: $(READY)
	@$(BIN)/python -c 'from linegroup.predict import Predictor; from linegroup.serving.warming import warm_up; \
		warm_up(Predictor.load(), ["link", "dbscan", "hdbscan", "margin", "colour"])'

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The browser of tests/browser, which are skipped without one. Asks the system's packages, so it may want root.
chromium:
	@bash tests/browser/install_chromium.sh

benchmarks: $(READY)
	$(BIN)/python benchmarks/run_all.py

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "linegroup needs Python 3.11 or newer; say make PYTHON=/path/to/python3.11"; exit 2; }
	@# Of 20,000 files a fifth is ever imported: these are compiled, not all, which would take as long as the rest.
	@echo "Setting up $(VENV) (once; 2.7 GB, two to four minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@$(BIN)/python -c 'import linegroup.distributed.search, linegroup.distributed.train, linegroup.predict, mlflow.pytorch, ray.serve, ray.tune'
	@touch $(READY)

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
