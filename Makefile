# make study: run the study and write its report. make check: a fast check. make test: everything that CI checks.
# All make .venv and install the locked packages first; run again, they install nothing.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two processes with one BLAS thread each: more threads than cores would wait for one another.
PYTEST := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --no-loadscope-reorder
# Those whose reports are in reports/, with their rows in reports/data/.
STUDIES := architecture_comparison seed atlas foretold

.PHONY: study lint check test smoke pack report bench prometheus screenshots soak simulate schemas lock clean

study: $(READY)
	$(BIN)/python -m study.grid configs/grid.yaml

smoke: $(READY)
	$(BIN)/python -m study.grid configs/smoke.yaml --report results/smoke/report.md

# Of every study in reports/ that has its results here.
pack: $(READY)
	for study in $(STUDIES); do \
	    test ! -e results/$$study/study.json || \
	        $(BIN)/python -m study pack results/$$study reports/data/$$study || exit; \
	done

# The reports again, from the packed rows alone, in an environment of its own that has neither MLX nor Ray.
report: .venv-report/.ready
	for study in $(STUDIES); do \
	    .venv-report/bin/python -m study report --results reports/data/$$study --out reports/$$study.md || exit; \
	done
	.venv-report/bin/python -m analysis.scoring reports/predictions reports/predictions.md \
	    reports/foretold reports/architecture_comparison

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# What needs neither Ray nor real weights nor seconds a test: two minutes on two cores.
check: lint
	$(PYTEST) -m "not ray and not real and not slow"

# Half an hour on two cores.
test: lint
	$(PYTEST)

# Peers are installed in environments of their own, in .venv-peers.
bench: $(READY)
	$(BIN)/python -m benchmarks.run

# Metrics over time of this user's Ray clusters on this machine, at http://127.0.0.1:9090; Ctrl-C ends it.
prometheus:
	@command -v prometheus > /dev/null || \
	    { echo "Prometheus is not installed: try apt install prometheus, or brew install prometheus" >&2; exit 2; }
	mkdir -p .prometheus
	sed "s/UID/$$(id -u)/" configs/monitoring/prometheus.yml > .prometheus/prometheus.yml
	prometheus --config.file .prometheus/prometheus.yml --storage.tsdb.path .prometheus/data \
	    --web.listen-address 127.0.0.1:9090

# The pictures of docs/cluster.md, taken while a study runs here; needs Chromium and tmux.
screenshots: $(READY) .venv-screenshots/.ready
	.venv-screenshots/bin/python docs/screenshots.py

.venv-screenshots/.ready:
	$(PYTHON) -m venv .venv-screenshots
	.venv-screenshots/bin/python -m pip install --quiet --disable-pip-version-check playwright==1.65.2 rich==15.0.0
	touch $@

# Faults on real clusters of several nodes on this machine; about 40 minutes, writes soak/RESULTS.md.
soak: $(READY)
	$(BIN)/python -m soak

# How often the report's statistics are wrong where the truth is known; about ten minutes, writes simulations/RESULTS.md.
simulate: $(READY)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m simulations

schemas: $(READY)
	$(BIN)/study schemas

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@# As pip would, but with every core; some packages carry templates that are no Python.
	@$(BIN)/python -m compileall -q -j 0 .venv/lib > /dev/null 2>&1 || true
	@touch $(READY)

.venv-report/.ready: requirements-report.lock
	$(PYTHON) -m venv .venv-report
	.venv-report/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

# Needs uv (https://docs.astral.sh/uv). The lock serves every platform and Python from 3.11 on.
lock:
	uv pip compile pyproject.toml --extra run --extra dev --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header -o requirements.lock
	uv pip compile pyproject.toml --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
	    --no-annotate --no-header -o requirements-report.lock

clean:
	rm -rf .venv .venv-report .venv-peers
