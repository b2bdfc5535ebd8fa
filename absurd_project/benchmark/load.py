"""The load: tasks of a file name in and two fields out that do nothing, and tables filled with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from django.db import connection
from django.db.models import Max
from pydantic import BaseModel, ConfigDict

from tasks_app.engine import backoff, registry
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import Completion, complete_tasks
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import spawn, spawn_many
from tasks_app.models import Task, Worker
from workers import diagnostics

NAME = "benchmark-noop"
IN_THREAD = "noop"
"""The diagnostic task that a worker runs in a thread of its own process."""

QUEUE = "benchmark"
ACTOR = "cli:benchmark"
PARAMS = {"ms_path": "/stage/dsa110/2026-01-15T08:30:00_sb00.ms"}
RESULT = {"ok": True, "n_rows": 4656}
PRIORITY = 5
LEASE_SEC = 60
TIMEOUT_SEC = 3600
MAX_RETRIES = 3


class NoopParams(BaseModel):
    """Params of the usual size."""

    model_config = ConfigDict(extra="forbid")
    ms_path: str


def register() -> None:
    """Make the task names known to this process."""
    diagnostics.register_all()
    registry.register(
        registry.TaskSpec(
            name=NAME,
            handler="absurd_project.benchmark.load:never_called",
            params_model=NoopParams,
            timeout_sec=TIMEOUT_SEC,
            max_retries=MAX_RETRIES,
        )
    )


def worker_label(number: int) -> str:
    """Return the label of the n-th worker row that claims are made for."""
    return f"benchmark-{number}"


class Contender(Protocol):
    """What a measurement asks of a contender. A process makes one of its own and uses it from one thread."""

    def spawn_one(self) -> None:
        """Make one task durable."""

    def spawn_many(self, count: int) -> None:
        """Make `count` tasks durable in one call."""

    def claim(self, limit: int) -> list[Any]:
        """Claim up to `limit` tasks."""

    def complete(self, claims: list[Any]) -> None:
        """Complete all tasks that one claim returned."""


class Ours:
    """Spawns, claims and completes as a program that uses the queue does."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def spawn_one(self) -> None:
        """Spawn one task."""
        spawn(self._request(), actor=ACTOR)

    def spawn_many(self, count: int) -> None:
        """Spawn many in one call."""
        spawn_many([self._request() for _ in range(count)], actor=ACTOR)

    def claim(self, limit: int) -> list[Any]:
        """Claim a batch."""
        return claim_tasks(self._worker, limit=limit)

    def complete(self, claims: list[Any]) -> None:
        """Complete a batch."""
        complete_tasks([Completion(claim=claim, result=RESULT) for claim in claims])

    @staticmethod
    def _request() -> TaskOptions:
        return TaskOptions(task_name=NAME, params=PARAMS, queue_name=QUEUE)


PENDING: Mapping[str, str] = {
    "task_id": "gen_random_uuid()",
    "queue_name": f"'{QUEUE}'",
    "task_name": f"'{NAME}'",
    "params": "given.params",
    "bindings": "'{}'",
    "priority": str(PRIORITY),
    "status": "'pending'",
    "hold": "0",
    "rank": "(extract(epoch FROM absurd_now()) * 1000)::bigint"
    f" + {(backoff.CRITICAL_FROM - 1 - PRIORITY) * backoff.PRIORITY_STEP_MS}",
    "runnable_at": "absurd_now()",
    "timeout_sec": str(TIMEOUT_SEC),
    "max_retries": str(MAX_RETRIES),
    "retry_count": "0",
    "crash_count": "0",
    "claim_epoch": "0",
    "lease_sec": str(LEASE_SEC),
    "cancel_requested_by": "''",
    "cancel_reason": "''",
    "memory_gb": "1.0",
    "cores": "1",
    "progress_message": "''",
    "failure_class": "''",
    "stage": "''",
    "created_by": f"'{ACTOR}'",
}


def insertion(rows: str, **columns: str) -> str:
    """Return the insertion of tasks, one for each row of `rows`, a FROM item named `given` that has `params`.

    They are pending, but for the given SQL of some columns.
    """
    values = {**PENDING, **columns}
    return f"INSERT INTO tasks_app_task ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {rows}"  # noqa: S608


QUEUE_TABLES = "tasks_app_task, tasks_app_attempt, tasks_app_taskevent"
HISTORY = 5_000
"""Finished tasks in the tables from the start, as in any queue that is in use: for tables that it
believes empty, the planner reads them whole."""

ROWS = "(SELECT %(params)s::jsonb AS params, n FROM generate_series(1, %(rows)s) AS n) AS given"
# Finished at even intervals over the last two weeks, each after two seconds of work.
_FINISHED = insertion(
    ROWS,
    status="'completed'",
    claim_epoch="1",
    worker_id="(SELECT id FROM tasks_app_worker ORDER BY started_at LIMIT 1)",
    created_at="absurd_now() - interval '14 days' * (1 - given.n::float / %(rows)s) - interval '3 s'",
    claimed_at="absurd_now() - interval '14 days' * (1 - given.n::float / %(rows)s) - interval '2 s'",
    completed_at="absurd_now() - interval '14 days' * (1 - given.n::float / %(rows)s)",
    result="%(result)s::jsonb",
)
_THEIR_ATTEMPTS = """
INSERT INTO tasks_app_attempt
    (task_id, number, claim_token, worker_id, started_at, ended_at,
     outcome, error, traceback, signal, log_path, log_tail, directory)
SELECT task_id, 1, gen_random_uuid(), worker_id, claimed_at, completed_at, 'completed', '', '', '', '', '', ''
FROM tasks_app_task WHERE id > %(last_id)s AND status = 'completed'
"""
_THEIR_EVENTS = """
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, queue_name, step.event_type, step.before, step.after, 'worker:benchmark-0', '', step.attempt,
    jsonb_build_object('update', jsonb_build_object('retry_count', 0, 'result', result)), completed_at
FROM tasks_app_task AS task, (VALUES
    ('spawned', '', 'pending', 0), ('claimed', 'pending', 'claimed', 1), ('completed', 'claimed', 'completed', 1)
) AS step(event_type, before, after, attempt)
WHERE task.id > %(last_id)s AND task.status = 'completed'
"""


def fill(pending: int) -> None:
    """Empty the tables, then give them a short history and pending tasks."""
    truncate()
    add_finished(HISTORY)
    add_pending(pending)
    execute(f"ANALYZE {QUEUE_TABLES}")


def truncate() -> None:
    """Empty the queue's tables."""
    execute(f"TRUNCATE {QUEUE_TABLES} CASCADE")


def add_pending(rows: int) -> None:
    """Add pending tasks, all claimable."""
    execute(insertion(ROWS), rows=rows)


def add_finished(rows: int) -> None:
    """Add completed tasks with their attempts and events."""
    last_id = Task.objects.aggregate(last=Max("id"))["last"] or 0
    execute(_FINISHED, rows=rows, result=json.dumps(RESULT))
    execute(_THEIR_ATTEMPTS, last_id=last_id)
    execute(_THEIR_EVENTS, last_id=last_id)


def vacuum() -> None:
    """Bring the tables into the state that autovacuum leaves them in, for the planner to know."""
    execute(f"VACUUM (ANALYZE) {QUEUE_TABLES}")


def execute(sql: str, **params: int | str) -> None:
    """Run a statement; where it has parameters, `params` is the usual document."""
    with connection.cursor() as cursor:
        cursor.execute(sql, {"params": json.dumps(PARAMS), **params} if params else None)
