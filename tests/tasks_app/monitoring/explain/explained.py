"""What tests of explanations share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection

from tasks_app.models import Task, Worker
from tasks_app.monitoring.explain.explanation import explain
from tasks_app.monitoring.explain.findings import Finding
from tasks_app.postgresql import clock
from tests.tasks_app.notes import make_worker

QUEUE = "dsa110-pipeline"


def ready_worker(**fields: Any) -> Worker:
    return make_worker(**{"memory_gb": 8.0, **fields})


def codes(task: Task) -> list[str]:
    return [finding.code.value for finding in explain(task).findings]


def blocking(task: Task) -> list[str]:
    return [finding.code.value for finding in explain(task).findings if finding.severity == "blocking"]


def finding(task: Task, code: str) -> Finding:
    (found,) = [each for each in explain(task).findings if each.code == code]
    return found


def pass_time(seconds: float, *, heard_of: bool = True) -> None:
    """Advance the database's clock of this session; with heard_of the workers have reported then too."""
    moment = clock.now() + timedelta(seconds=seconds)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, true)", [str(moment)])
    if heard_of:
        Worker.objects.filter(stopped_at=None).update(heartbeat_at=moment)
