"""New tasks, however many, in one statement."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from tasks_app.auth import client_address
from tasks_app.engine import notify
from tasks_app.engine.event_sql import ENTERED
from tasks_app.engine.events import Change
from tasks_app.engine.states import PENDING
from tasks_app.models import Task
from tasks_app.postgresql import statements

INSERTED = {
    "task_id": "uuid",
    "task_name": "text",
    "queue_name": "text",
    "params": "jsonb",
    "bindings": "jsonb",
    "priority": "smallint",
    "hold": "smallint",
    "rank": "bigint",
    "memory_class": "smallint",
    "memory_gb": "float8",
    "cores": "smallint",
    "disk_gb": "float8",
    "runnable_at": "timestamptz",
    "expires_at": "timestamptz",
    "deadline_at": "timestamptz",
    "timeout_sec": "integer",
    "idle_timeout_sec": "integer",
    "max_retries": "smallint",
    "lease_sec": "integer",
    "concurrency_key": "text",
    "join_quorum": "integer",
    "join_deadline_at": "timestamptz",
    "run_id": "bigint",
    "stage": "text",
}
"""The columns of a new task that its caller chooses; the others are the same for all."""

_INSERT = f"""
WITH {ENTERED}, fresh AS (
    INSERT INTO tasks_app_task ({", ".join(INSERTED)}, status, retry_count, crash_count, claim_epoch, created_by,
        created_at, cancel_requested_by, cancel_reason, progress_message, failure_class)
    SELECT CHOSEN, 'pending', 0, 0, 0, %(actor)s, absurd_now(), '', '', '', ''
    FROM unnest(VARYING) WITH ORDINALITY AS given(NAMES, place)
    ORDER BY place
    RETURNING id, task_id, queue_name, task_name, priority, run_id, created_at
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, run_id, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT fresh.task_id, queue_name, run.run_id, %(event_type)s, '', 'pending', %(actor)s, %(reason)s, 0,
        %(detail)s::jsonb || jsonb_build_object('update', jsonb_build_object(
            'task_name', task_name, 'priority', priority)),
        absurd_now()
    FROM entered CROSS JOIN fresh LEFT JOIN tasks_app_run AS run ON run.id = fresh.run_id
)
SELECT task_id, id, created_at FROM fresh
"""  # noqa: S608 - constants


def _insert_statement(columns: Mapping[str, Sequence[Any]]) -> tuple[str, dict[str, Any]]:
    """Return the statement and its parameters; a value that all rows share is sent once, not as an array."""
    params: dict[str, Any] = {}
    chosen, varying = [], []
    for name, values in columns.items():
        if name != "task_id" and all(value == values[0] for value in values):
            params[name] = values[0]
            chosen.append(f"%({name})s::{INSERTED[name]}")
        else:
            params[name] = values
            chosen.append(name)
            varying.append(name)
    sql = _INSERT.replace("CHOSEN", ", ".join(chosen)).replace("NAMES", ", ".join(varying))
    return sql.replace("VARYING", ", ".join(f"%({name})s::{INSERTED[name]}[]" for name in varying)), params


def insert(tasks: Sequence[Task], act: Change) -> None:
    """Insert new pending tasks in the order given, one event each, in one statement. Holds must be set already."""
    rows = [task.__dict__ for task in tasks]
    columns = {name: [row[name if name != "queue_name" else "queue_id"] for row in rows] for name in INSERTED}
    for name in ("params", "bindings"):
        columns[name] = [json.dumps(value) if value else "{}" for value in columns[name]]
    sql, params = _insert_statement(columns)
    detail = json.dumps({**client_address.detail(), **act.detail})
    made = statements.run(
        sql, params | {"actor": act.actor, "event_type": act.event_type, "reason": act.reason, "detail": detail}
    )
    stored = {task_id: (pk, created_at) for task_id, pk, created_at in made}
    for task in tasks:
        task.pk, task.created_at = stored[task.task_id]
        task.status = PENDING
        task.created_by = act.actor
        task._state.adding = False
    transaction.on_commit(notify.publisher.announce)
    notify.wake_workers({task.queue_id for task in tasks if task.hold == 0})
