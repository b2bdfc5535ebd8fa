"""Tasks that ended long ago, for tests of retention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.maintenance.retention import Policy
from tasks_app.models import Task
from tasks_app.postgresql import clock
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

POLICY = Policy(task_days=30, failed_days=90, archive_days=365, key_days=30, worker_days=30)


@contextmanager
def days_ago(days: float) -> Iterator[datetime]:
    """Let this session's statements run at a moment of the past."""
    moment = clock.now() - timedelta(days=days)
    _set_clock(moment.isoformat())
    try:
        yield moment
    finally:
        _set_clock("")


def _set_clock(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('absurd.now', %s, false)", [text])


def completed(days: float, result: Any = None, **options: Any) -> Task:
    """Return a task that was completed so long ago."""
    with days_ago(days):
        task = spawn_note(priority=20, **options)
        complete_task(claim_one(make_worker()), result or {}, REPORT)
    task.refresh_from_db()
    return task


def failed(days: float, **options: Any) -> Task:
    """Return a task that failed for good so long ago."""
    with days_ago(days):
        task = spawn_note(priority=20, **options)
        fail_attempt(claim_one(make_worker()), "invalid", "no such file", REPORT)
    task.refresh_from_db()
    return task
