"""Health when the database is down or hangs: from a real web process and from the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from absurd_project.local import servers
from tests.daphne_server import CHECKOUT, serving

LIMIT_SEC = 1.5


@pytest.fixture
def environment(private_servers: Path, tmp_path: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ABSURD_", "PYTEST_"))}
    return inherited | {
        "ABSURD_MODE": "local",
        "ABSURD_ENABLED": "true",
        "ABSURD_VAR": str(tmp_path),
        "ABSURD_DATA_ROOTS": str(tmp_path),
        "ABSURD_DATABASE_URL": servers.database_url(private_servers),
        "ABSURD_REDIS_URL": servers.redis_url(private_servers),
        "ABSURD_HEALTH": f"limit_sec={LIMIT_SEC}",
        "ABSURD_API_KEY": "a key that no database is needed for",
    }


@contextmanager
def hanging(var: Path) -> Iterator[None]:
    """Stop every process of the database where it stands."""
    postmaster = psutil.Process(servers.status(var).postgres_pid)
    processes = [postmaster, *postmaster.children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


def ask(port: int, **headers: str) -> tuple[int, dict]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/absurd/health", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=240) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def until(port: int, status: str) -> None:
    """Wait for the check that finds this status; one that runs may have started before the change."""
    while ask(port)[1]["status"] != status:
        time.sleep(0.1)


def doctor(environment: dict[str, str], *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_doctor", *options],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_health_answers_while_the_database_hangs_or_is_down(private_servers, environment):
    assert doctor(environment)[0] == 5  # an empty database: nothing is migrated
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "-v", "0"], cwd=CHECKOUT, env=environment, check=True, timeout=120
    )
    assert doctor(environment)[0] == 0
    known = {"X-API-Key": "another key, to be looked up in the database"}
    with serving(environment) as port:
        assert ask(port)[1]["status"] == "degraded"
        with hanging(private_servers):
            until(port, "unhealthy")
            for headers in ({}, known):
                status, body = ask(port, **headers)
                assert (status, body["status"], body["database_available"]) == (503, "unhealthy", False)
                assert body["message"].startswith("Database unavailable")
            code, out = doctor(environment)
            assert (code, "BAD   database" in out, "ok    disk" in out) == (5, True, True)
        until(port, "degraded")
        servers.stop(private_servers)
        until(port, "unhealthy")
        status, body = ask(port, **known)
        assert (status, body["status"]) == (503, "unhealthy")
    code, out = doctor(environment, "--json")
    assert code == 5
    assert {check["name"]: check["state"] for check in json.loads(out)["checks"]} == {
        "database": "bad", "disk": "ok", "data roots": "ok", "redis": "warn",
    }  # fmt: skip


def test_the_doctor_starts_no_server_and_shows_what_to_do(tmp_path, environment):
    alone = {
        name: value for name, value in environment.items() if name not in ("ABSURD_DATABASE_URL", "ABSURD_REDIS_URL")
    }
    code, out = doctor(alone | {"ABSURD_VAR": str(tmp_path / "own")})
    assert (code, "make up" in out) == (5, True)
    assert not servers.status(tmp_path / "own").running


def test_a_usage_error_is_one_line(environment):
    done = subprocess.run(
        [sys.executable, "manage.py", "absurd_doctor", "--quue", "x"],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
