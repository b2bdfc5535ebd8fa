from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASA = ("casatools", "casatasks", "casacore", "casaconfig", "pyuvdata", "matplotlib")
HEAVY = ("astropy", "scipy", "numba")


def loaded_by(statement: str, environment: dict[str, str], suspects: tuple[str, ...]) -> list[str]:
    """Run the statement in a fresh interpreter and return which of the suspects it pulled in."""
    code = f"{statement}\nimport sys\nprint(*sorted(set({suspects!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_import_contracts_hold():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["absurd_project.asgi", "workers.worker", "absurd_project.urls"])
def test_neither_web_nor_worker_loads_casa_or_a_large_library(module, live_environment):
    settings = "os.environ['DJANGO_SETTINGS_MODULE'] = 'absurd_project.settings'"
    statement = f"import os, django\n{settings}\ndjango.setup()\nimport {module}"
    assert loaded_by(statement, live_environment, CASA + HEAVY) == []


@pytest.mark.parametrize(
    "module",
    ["workers.process.child", "workers.process.guardian", "workers.process.protocol", "tasks_app.engine.handler"],
)
def test_the_child_loads_neither_django_nor_a_database_driver(module, live_environment):
    assert loaded_by(f"import {module}", live_environment, ("django", "psycopg", "redis", "channels")) == []


def test_the_suspects_are_found_when_they_are_there(live_environment):
    assert loaded_by("import pipeline_app.casa.convert", live_environment, ("pyuvdata",)) == ["pyuvdata"]
