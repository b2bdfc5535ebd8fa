# Absurd for DSA-110. `make demo` shows it working, `make test` proves it. Nothing is written outside this checkout
# and the state directory (ABSURD_VAR, by default var/).

PYTHON ?= python3
PY := .venv/bin/python
# Stopping and removing things needs no packages, so it also works before the first install and after `make clean`.
ANY_PY = $(if $(wildcard $(PY)),$(PY),$(PYTHON))
JOBS ?= 2
SBOM ?= dist/sbom.json
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-header
unexport DJANGO_SETTINGS_MODULE PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help ready ready-dev demo up down test test-fast chaos faults audit lint docs lock coverage sbom release clean purge

help:  ## Show this list
	@echo "make demo    simulate raw tiles, run the whole pipeline on them, compare with the truth (1 to 2 minutes on two cores)"
	@echo "make up      keep web, workers and ingest running; Ctrl-C stops them (ABSURD_PORT, default 8000)"
	@echo "make down    stop everything that runs on the state directory (ABSURD_VAR, default var/)"
	@echo "make test-fast  run the quick tests: no CASA, no processes, no real commits, nothing exhaustive (about two minutes on two cores)"
	@echo "make test    run the tests, all but the long ones (about fifteen minutes on two cores)"
	@echo "make chaos   run the long ones: workers and servers killed, frozen and starved, every route and random histories, and what is timed"
	@echo "make faults  run the longest ones: each error class of PostgreSQL at each statement of worker, ingest and feed (up to an hour each)"
	@echo "make lint    run the checks: ruff, mypy, import contracts, migrations, deployment settings"
	@echo "make docs    build the documentation as a site, dist/site/html/index.html (no network; a broken link is an error)"
	@echo "make audit   look the locked packages up among known vulnerabilities, where the service can be reached"
	@echo "make coverage  run the tests and show which lines none of them ran"
	@echo "make sbom    write a bill of materials of the locked packages, dist/sbom.json (CycloneDX)"
	@echo "make release VERSION=0.2.0  try a release in a clone: version, changelog, tag, wheel; REALLY=1 makes it"
	@echo "make lock    write the locks anew from pyproject.toml (needs uv)"
	@echo "make clean   remove .venv and caches, never the state directory"
	@echo "make purge   remove the state directory: database, products, accounts (asks first; YES=1 does not ask)"

ready ready-dev:
	@command -v $(PYTHON) >/dev/null || { echo "make: Python 3 is missing: apt-get install python3 python3-venv git" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) -V 2>&1`: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) deploy/bootstrap.py $(if $(filter ready-dev,$@),dev)

demo: ready
	@$(PY) manage.py absurd_demo $(ARGS)

up: ready
	@$(PY) manage.py absurd_up $(ARGS)

down:
	@$(ANY_PY) -m absurd_project.local down

test: ready-dev
	@$(PY) -m pytest -n $(JOBS) -m "not chaos and not faults and not realtime and not exhaustive" $(ARGS)

test-fast: ready-dev
	@$(PY) -m pytest -n $(JOBS) -m "not chaos and not faults and not realtime and not casa and not live and not commits and not exhaustive" $(ARGS)

chaos: ready-dev
	@$(PY) -m pytest -n $(JOBS) -m "(chaos or realtime or exhaustive) and not faults" $(ARGS)

faults: ready-dev
	@$(PY) -m pytest -n $(JOBS) -m faults $(ARGS)

coverage: ready-dev
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -n $(JOBS) -m "$(or $(MARKED),not chaos and not faults and not realtime)" $(ARGS)
	@$(PY) -m coverage combine --quiet && $(PY) -m coverage report

sbom: ready-dev
	@mkdir -p $(dir $(SBOM))
	@.venv/bin/cyclonedx-py requirements --pyproject pyproject.toml -o $(SBOM) requirements.lock
	@echo "$(SBOM)"

release: ready-dev
	@$(PY) deploy/release.py $(VERSION) $(if $(REALLY),--really)

lint: ready-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	@export ABSURD_VAR="$$(mktemp -d)" && trap '$(PY) -m absurd_project.local purge --yes >/dev/null' EXIT && set -ex && \
	$(PY) manage.py makemigrations --check --dry-run && \
	ABSURD_MODE=production ABSURD_HOSTS=absurd.example.org SECRET_KEY="$$(head -c 48 /dev/urandom | base64 -w0)" \
	$(PY) manage.py check --deploy --fail-level WARNING

docs: ready-dev
	@$(PY) deploy/site/build.py

lock:
	@command -v uv >/dev/null || { echo "make lock: uv is needed: pip install uv" >&2; exit 1; }
	uv pip compile $(LOCKED) pyproject.toml --extra server --extra pipeline -o requirements.lock
	uv pip compile $(LOCKED) --group dev -c requirements.lock -o requirements-dev.lock

audit: ready-dev
	@found="$$($(PY) -m pip_audit -r requirements.lock -r requirements-dev.lock --no-deps --disable-pip --progress-spinner off 2>&1)"; code=$$?; echo "$$found" | tail -n 60; \
	if [ $$code -eq 0 ]; then exit 0; fi; \
	if echo "$$found" | grep -q 'known vulnerabilit'; then exit $$code; fi; \
	echo "make audit: the advisory service did not answer as it should, so nothing was looked up" >&2

clean:
	@if $(ANY_PY) -m absurd_project.local running; then echo "make: the system is running: make down first" >&2; exit 1; fi
	@$(ANY_PY) -m absurd_project.local down
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

purge:
	@$(ANY_PY) -m absurd_project.local purge $(if $(YES),--yes)
