"""PostgreSQL killed with -9 between claims: what a worker was given stays true, and no number is given twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from absurd_project.local import servers

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).resolve().parents[2]
CLAIMER = """
import json, os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
django.setup()
from django.core.management import call_command
from tasks_app.engine import registry
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.fail import AttemptReport, fail_attempt
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn_many
from tasks_app.models import TaskEvent
from tests.tasks_app.notes import NOTE, make_worker
call_command("migrate", verbosity=0)
registry.register(NOTE)
worker = make_worker(label=sys.argv[1])
spawn_many([TaskOptions(task_name="note", params={"text": "a"}) for _ in range(2000)], actor="user:test")
for _ in range(int(sys.argv[2])):
    (claim,) = claim_tasks(worker, limit=1)
    event = TaskEvent.objects.get(task_id=claim.task_id, event_type="claimed", attempt=claim.attempt)
    print(json.dumps([str(claim.task_id), str(claim.claim_token), claim.attempt, event.id]), flush=True)
    fail_attempt(claim, "drained", "again, please", AttemptReport())
"""


def claimer(var: Path, label: str, rounds: int) -> subprocess.Popen[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ABSURD_")}
    environment = inherited | {"ABSURD_VAR": str(var), "ABSURD_ENABLED": "true", "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-c", CLAIMER, label, str(rounds)]
    return subprocess.Popen(
        argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def test_a_killed_server_repeats_no_token_no_epoch_and_no_event_number(private_servers):
    output: list[list] = []
    for round_number in range(2):
        process = claimer(private_servers, f"worker-{round_number}", 100_000)
        lines = []
        assert process.stdout is not None
        while len(lines) < 40:
            lines.append(process.stdout.readline())
        os.kill(servers.status(private_servers).postgres_pid, signal.SIGKILL)
        lines += process.communicate(timeout=60)[0].splitlines()
        output += [json.loads(line) for line in lines if line.strip().endswith("]")]
        deadline = time.monotonic() + 30
        while servers.status(private_servers).postgres_pid and time.monotonic() < deadline:
            time.sleep(0.05)
        servers.ensure(private_servers)
    last = claimer(private_servers, "worker-last", 40)
    output += [json.loads(line) for line in last.communicate(timeout=120)[0].splitlines()]
    assert last.returncode == 0
    assert len(output) >= 120
    tokens, events = [token for _, token, _, _ in output], [event for _, _, _, event in output]
    assert len(set(tokens)) == len(tokens)
    assert events == sorted(set(events))
    epochs: dict[str, list[int]] = {}
    for task_id, _, epoch, _ in output:
        epochs.setdefault(task_id, []).append(epoch)
    assert all(seen == sorted(set(seen)) for seen in epochs.values())
