"""The HTTP commands of the operations guide, word for word, against a running web process.

Added are only the key and the port; `{task_id}` stands for a task that exists and `{...}` for params that fit.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings

from tasks_app.engine import registry
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.spawn import NewTask, spawn
from tasks_app.models import ApiKey, Task
from tests.daphne_server import serving
from tests.tasks_app.notes import REPORT, make_worker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(shutil.which("curl") is None, reason="the commands are curl's"),
]

HEALTH = "curl http://localhost:8000/api/absurd/health"
STATS = "curl http://localhost:8000/api/absurd/queues/dsa110-pipeline/stats"
RECENT = "curl http://localhost:8000/api/absurd/tasks?limit=10"
CANCEL = "curl -X DELETE http://localhost:8000/api/absurd/tasks/{task_id}"
PENDING = 'curl "http://localhost:8000/api/absurd/tasks?status=pending&limit=10"'
FAILED = 'curl "http://localhost:8000/api/absurd/tasks?status=failed&limit=10"'
FAILED_20 = 'curl "http://localhost:8000/api/absurd/tasks?status=failed&limit=20"'
DETAIL = "curl http://localhost:8000/api/absurd/tasks/{task_id}"
ERROR = "curl http://localhost:8000/api/absurd/tasks/{task_id} | jq '.error'"
DEPTH = "curl -s http://localhost:8000/api/absurd/queues/dsa110-pipeline/stats | jq '.pending'"
ALERT = """curl -s http://localhost:8000/api/absurd/queues/dsa110-pipeline/stats | jq '.pending' | \\
  awk '{if ($1 > 500) print "ALERT: Queue depth is", $1}'"""
DURATIONS = (
    'curl http://localhost:8000/api/absurd/tasks | jq \'.tasks[] | select(.status=="completed") | '
    "{task_name, duration: (.completed_at - .claimed_at)}'"
)
RESPAWN = """curl -X POST http://localhost:8000/api/absurd/tasks \\
  -H "Content-Type: application/json" \\
  -d '{
    "queue_name": "dsa110-pipeline",
    "task_name": "calibration-solve",
    "params": {...},
    "priority": 10
  }'"""
WITH_TIMEOUT = """curl -X POST http://localhost:8000/api/absurd/tasks \\
  -H "Content-Type: application/json" \\
  -d '{
    "queue_name": "dsa110-pipeline",
    "task_name": "imaging",
    "params": {...},
    "timeout_sec": 7200
  }'"""
URGENT = """curl -X POST http://localhost:8000/api/absurd/tasks \\
  -H "Content-Type: application/json" \\
  -d '{
    "queue_name": "dsa110-pipeline",
    "task_name": "calibration-solve",
    "params": {"ms_path": "/stage/urgent.ms"},
    "priority": 15
  }'"""
PRIORITY = """curl -X POST http://localhost:8000/api/absurd/tasks/{task_id}/priority \\
  -H "Content-Type: application/json" \\
  -d '{"priority": 15}'"""
WITH_KEY = """curl -H "X-API-Key: secure_random_key" \\
  http://localhost:8000/api/absurd/health"""

SECRET = "secure_random_key"


@dataclass
class Shell:
    """Runs the guide's commands."""

    port: int

    def text(self, command: str, task: Task | None = None, key: str = SECRET) -> str:
        line = command.replace("localhost:8000", f"localhost:{self.port}")
        if task is not None:
            line = line.replace("{task_id}", str(task.task_id))
        line = line.replace("{...}", '{"ms_path": "/stage/again.ms"}')
        if "X-API-Key" not in line:
            line = line.replace("curl", f"curl -sS -H {shlex.quote(f'X-API-Key: {key}')}", 1)
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, command: str, task: Task | None = None) -> Any:
        return json.loads(self.text(command, task))


@pytest.fixture
def shell(live_environment: dict[str, str]) -> Iterator[Shell]:
    environment = {**live_environment, "ABSURD_API_KEY": SECRET, "ABSURD_DATA_ROOTS": "/stage"}
    with serving(environment) as port:
        yield Shell(port)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the guide's paths be data, and its results be recorded nowhere but in their task."""
    monkeypatch.setattr(settings, "ABSURD_DATA_ROOTS", (Path("/stage"),))
    spec = replace(registry.get("calibration-solve"), on_complete=None)
    monkeypatch.setitem(registry._specs, spec.name, spec)


def spawn_one(**options: Any) -> Task:
    params = {"ms_path": "/stage/urgent.ms"}
    return spawn(NewTask.of(task_name="calibration-solve", params=params, **options), actor="user:test")


def test_every_command_of_the_guide_answers_in_its_shape(shell: Shell, stage: None):
    worker = make_worker()
    done, failed, waiting, doomed = spawn_one(priority=20), spawn_one(priority=19), spawn_one(), spawn_one()
    first, second = claim_tasks(worker, limit=2)
    complete_task(first, {"caltables": ["/stage/urgent.B0"]}, REPORT)
    fail_attempt(second, "invalid", "no such file", REPORT)

    while (found := shell.json(HEALTH))["status"] != "healthy":
        time.sleep(0.1)  # until a look that began after the worker's row was there
    assert found == {
        "status": "healthy",
        "message": "Absurd is operational",
        "queue": "dsa110-pipeline",
        "database_available": True,
        "queue_depth": 2,
    }
    assert shell.json(WITH_KEY)["status"] == "healthy"
    assert shell.json(STATS) == {
        "queue_name": "dsa110-pipeline",
        "pending": 2,
        "claimed": 0,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "total": 4,
    }
    assert len(shell.json(RECENT)["tasks"]) == 4
    assert {task["task_id"] for task in shell.json(PENDING)["tasks"]} == {str(waiting.task_id), str(doomed.task_id)}
    assert [task["task_id"] for task in shell.json(FAILED)["tasks"]] == [str(failed.task_id)]
    assert shell.json(FAILED_20)["total"] == 1

    shown = shell.json(DETAIL, done)
    assert {
        name: shown[name] for name in ("task_id", "queue_name", "task_name", "status", "retry_count", "result")
    } == {
        "task_id": str(done.task_id),
        "queue_name": "dsa110-pipeline",
        "task_name": "calibration-solve",
        "status": "completed",
        "retry_count": 0,
        "result": {"caltables": ["/stage/urgent.B0"]},
    }
    for moment in ("created_at", "claimed_at", "completed_at"):
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", shown[moment])
    assert shell.json(ERROR.split(" | ")[0], failed)["error"] == "no such file"

    assert shell.json(PRIORITY, waiting)["priority"] == 15
    assert shell.json(CANCEL, doomed)["status"] == "cancelled"

    respawned = shell.json(RESPAWN)
    assert (respawned["status"], respawned["priority"]) == ("pending", 10)
    assert shell.json(WITH_TIMEOUT)["timeout_sec"] == 7200
    urgent = shell.json(URGENT)
    assert (urgent["priority"], urgent["params"]) == (15, {"ms_path": "/stage/urgent.ms"})
    assert Task.objects.filter(task_id=urgent["task_id"], task_name="calibration-solve").exists()


@pytest.mark.skipif(shutil.which("jq") is None, reason="these commands pipe into jq")
def test_the_commands_that_pipe_into_jq_find_their_fields(shell: Shell, stage: None):
    worker = make_worker()
    failed = spawn_one()
    (claim,) = claim_tasks(worker, limit=1)
    fail_attempt(claim, "invalid", "no such file", REPORT)
    spawn_one()
    assert shell.text(ERROR, failed).strip() == '"no such file"'
    assert shell.text(DEPTH).strip() == "1"
    assert shell.text(ALERT) == ""
    # jq subtracts no texts, so the guide's own sum of times can only be had as the field `duration_sec`.
    (claim,) = claim_tasks(worker, limit=1)
    complete_task(claim, {}, REPORT)
    durations = DURATIONS.replace("(.completed_at - .claimed_at)", ".duration_sec")
    output = json.loads(shell.text(durations))
    assert output["task_name"] == "calibration-solve"
    assert output["duration"] >= 0


def test_the_same_commands_from_a_stranger_with_a_wrong_key_change_nothing(shell: Shell, stage: None):
    task = spawn_one()
    ApiKey.objects.create_key(name="narrow", scopes=["read"])
    for command in (CANCEL, PRIORITY, URGENT):
        output = json.loads(shell.text(command, task, key="secure_random_kez"))
        assert (output["status"], output["code"]) == (401, "bad_api_key")
    task.refresh_from_db()
    assert (task.status, task.priority, Task.objects.count()) == ("pending", 5, 1)


def test_a_task_that_never_was_is_said_so(shell: Shell):
    output = shell.json(DETAIL.replace("{task_id}", str(uuid4())))
    assert (output["status"], output["code"]) == (404, "task_not_found")
