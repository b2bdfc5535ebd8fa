"""The API as its schema describes it, on the real web process, with requests that schemathesis makes up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests import daphne_server
from tests.tasks_app.callers import make_key

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.django_db(transaction=True)
def test_every_operation_answers_as_the_schema_says(live_environment, tmp_path):
    key = make_key("read", "spawn", "operate", "admin")
    environment = live_environment | {"ABSURD_THROTTLE": "key_per_min=0,address_per_min=0,refused_per_min=0"}
    with daphne_server.serving(environment) as port:
        spawn = {"task_name": "echo", "params": {"value": "a"}}
        httpx.post(
            f"http://127.0.0.1:{port}/api/absurd/tasks", json=spawn, headers={"X-API-Key": key}
        ).raise_for_status()
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("--config-file", CONFIG, "--no-color", "run", f"http://127.0.0.1:{port}/api/absurd/schema"),
                *("-H", f"X-API-Key: {key}"),
                # Passed on, and so not from this machine: without a key it must be refused.
                *("-H", "X-Forwarded-For: 192.0.2.7"),
                *os.environ.get("EXTRA", "").split(),
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
    assert done.returncode == 0, done.stdout[-200_000:] + done.stderr[-2000:]
