"""The API as its schema describes it, on the real web process, with requests that schemathesis makes up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tests import daphne_server
from tests.tasks_app.callers import make_key
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(1200)]

CONFIG = Path(__file__).with_name("schemathesis.toml")
WALKS = 2
LINKS_WALKED = 15
"""At least this many links of the schema are followed by the walks, and lead to an answer that is no refusal."""


class Schemathesis:
    """Runs against one web process."""

    def __init__(self, port: int, key: str, environment: dict[str, str], directory: Path) -> None:
        self.root = f"http://127.0.0.1:{port}/api/absurd"
        self.key = key
        self._environment = environment | {"PYTHONPATH": str(daphne_server.CHECKOUT)}
        self._directory = directory

    def run(self, *options: str) -> None:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                *("--config-file", CONFIG, "--no-color", "run", f"{self.root}/schema"),
                *("-H", f"X-API-Key: {self.key}"),
                # Passed on, and so not from this machine: without a key it must be refused.
                *("-H", "X-Forwarded-For: 192.0.2.7"),
                *options,
                *os.environ.get("EXTRA", "").split(),
            ],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-200_000:] + done.stderr[-2000:]

    def walk(self, seed: int) -> set[str]:
        """Walk along the links; return those that led to an answer that is no refusal."""
        report = self._directory / f"{seed}.ndjson"
        self.run("--phases", "stateful", "--seed", str(seed), "--report-ndjson-path", str(report))
        return set(walked(report.read_text()))


@pytest.fixture
def schemathesis(live_environment: dict[str, str], tmp_path: Path) -> Iterator[Schemathesis]:
    key = make_key("read", "spawn", "operate", "admin")
    environment = live_environment | {"ABSURD_THROTTLE": "key_per_min=0,address_per_min=0,refused_per_min=0"}
    with daphne_server.serving(environment) as port:
        yield Schemathesis(port, key, environment, tmp_path)


def test_every_operation_answers_as_the_schema_says(schemathesis):
    stock(schemathesis)
    schemathesis.run("--phases", "examples,coverage,fuzzing")


def test_what_goes_on_from_an_answer_answers_as_the_schema_says(schemathesis):
    stock(schemathesis)
    links = {link for seed in range(WALKS) for link in schemathesis.walk(seed)}
    assert len(links) >= LINKS_WALKED, sorted(links)


def stock(schemathesis: Schemathesis) -> None:
    """Have something of everything: tasks that wait, run and have ended, a run, a worker, schedules, a limit."""
    echo: dict[str, Any] = {"task_name": "echo", "params": {"value": "a"}}
    with httpx.Client(base_url=schemathesis.root, headers={"X-API-Key": schemathesis.key}, timeout=30) as client:
        for _ in range(6):
            client.post("/tasks", json=echo).raise_for_status()
        stages = [{"name": "last", **echo}]
        client.post("/runs", json={"workflow": "walked", "stages": stages}).raise_for_status()
        for number in range(12):
            client.put(f"/schedules/nightly-{number}", json={**echo, "cron": "0 9 * * *"}).raise_for_status()
        client.put("/limits/key/dish-3", json={"size": 2, "reason": "two drives"}).raise_for_status()
    done, failed, *_ = claim_tasks(make_worker(), limit=4)
    complete_task(done, {"value": "a"}, REPORT)
    fail_attempt(failed, "invalid", "no such file", REPORT)


def walked(report: str) -> Iterator[str]:
    """Yield the links of a report that were followed and led to an answer of 2xx or 304."""
    for line in report.splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder") or {}
        for number, case in recorder.get("cases", {}).items():
            answer = recorder["interactions"].get(number, {}).get("response") or {}
            if case.get("transition") and answer.get("status_code", 0) < 400:
                yield case["transition"]["id"]
