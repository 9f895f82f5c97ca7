# The two commands of the README. Everything else is Snakemake's: see README.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= all
REPORT := results/report.html

# Rules call `python`: the one of the virtual environment, activated or not.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo demo-descriptors install install-dev test test-slurm test-faults test-envs lint docs graphs

demo: install
	@# --quiet rules hides the logs of failed jobs: their sentences are shown again at the end. --quiet host hides the
	@# run's own last sentence: the summary below says more.
	snakemake --cores $(CORES) --quiet rules host --report $(REPORT) --report-after-run \
	    || { grep -rhs '^error: ' results/logs; exit 1; }
	@python workflow_scripts/show_results.py --configuration config.yaml --report $(REPORT)

# The second system, BoT, on the same stages; after `make demo` only what is new in it. The report then shows both.
demo-descriptors: install
	snakemake descriptor_track --cores $(CORES) --quiet rules host || { grep -rhs '^error: ' results/logs; exit 1; }
	@# What Snakemake says of the report is shown only if there is none: `--quiet all` would hide errors, too.
	@said=$$(snakemake $$(test -e results/report/provenance.html && echo all) descriptor_track --report $(REPORT) 2>&1) \
	    || { echo "$$said"; exit 1; }
	@python workflow_scripts/show_results.py --configuration config.yaml --report $(REPORT) --descriptors

install: $(VENV)/installed

install-dev: $(VENV)/installed-dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 13) else "error: Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=..." % v[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python requirements.txt requirements/common.txt
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/python -m pip install -r requirements-dev.txt
	touch $@

# Two workers, each with whole files: what a file sets up once, such as a run of the workflow, is not set up twice.
test: install-dev
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Both on a real SLURM of one node; they need root and, once, `tests/one-node-slurm.sh install` (Debian). Where that is
# missing they skip and say so, or fail with COPYTRACE_NO_SKIP=1.
test-slurm: install-dev
	python -m pytest -rs tests/slurm_smoke.py

# FAULTS="-m ci": the quickest of them.
test-faults: install-dev
	python -m pytest -rs tests/cluster_faults.py $(FAULTS)

# Through all conda environments, made with stand-ins for conda and its channel: tests/conda_stand_in.
test-envs: install-dev
	python -m pytest tests/conda_smoke.py

lint: install-dev
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

# The page is checked by a test: run this after a change of config.yaml, of its schema or of an overlay.
docs: install
	python docs/write_configuration.py

# Needs Graphviz. A test says when the rules have changed since.
graphs: install
	python docs/draw_graphs.py
