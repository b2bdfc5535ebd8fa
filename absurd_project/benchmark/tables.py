"""The scratch database's tables: emptied, filled, and known to the planner before a measurement begins."""

from __future__ import annotations

import json

from django.db import connection

from absurd_project.benchmark import noop
from absurd_project.benchmark.contenders import bare, raw

QUEUE_TABLES = "tasks_app_task, tasks_app_attempt, tasks_app_taskevent"
HISTORY = 5_000
"""Finished tasks in the tables from the start, as in any queue that is in use: for tables that it
believes empty, the planner reads them whole."""

_GIVEN = "(SELECT %(params)s::jsonb AS params, n FROM generate_series(1, %(rows)s) AS n) AS given"
_BARE = f"""
INSERT INTO {bare.TABLE} (name, params, status)
SELECT '{noop.NAME}', given.params, CASE WHEN n > %(pending)s THEN 'completed' ELSE 'pending' END FROM {_GIVEN}
"""  # noqa: S608 - constants of ours

_PENDING = f"""
SELECT (SELECT count(*) FROM tasks_app_task WHERE status = 'pending'),
    (SELECT count(*) FROM {bare.TABLE} WHERE status = 'pending')
"""  # noqa: S608 - constants of ours

# Finished at even intervals over the last two weeks, each after two seconds of work.
_FINISHED = raw.insertion(
    _GIVEN,
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
SELECT task_id, queue_name, told.event_type, told.before, told.after, 'worker:benchmark-0', '', told.attempt,
    jsonb_build_object('update', jsonb_build_object('retry_count', 0, 'result', result)), completed_at
FROM tasks_app_task AS task, (VALUES
    ('spawned', '', 'pending', 0), ('claimed', 'pending', 'claimed', 1), ('completed', 'claimed', 'completed', 1)
) AS told(event_type, before, after, attempt)
WHERE task.id > %(last_id)s AND task.status = 'completed'
"""


def prepare() -> None:
    """Make the bare table."""
    _execute(bare.CREATE)


def truncate() -> None:
    """Empty the tables."""
    truncate_queue()
    _execute(f"TRUNCATE {bare.TABLE}")


def truncate_queue() -> None:
    """Empty the queue's own tables."""
    _execute(f"TRUNCATE {QUEUE_TABLES} CASCADE")


def fill(pending: int) -> None:
    """Empty the tables, then give them a short history and n pending tasks."""
    truncate()
    add_finished(HISTORY)
    add_pending(pending)
    _execute(_BARE, rows=HISTORY + pending, pending=pending)
    _execute(f"ANALYZE {QUEUE_TABLES}, {bare.TABLE}")


def top_up(pending: int) -> None:
    """Add pending tasks up to n; finished ones stay."""
    with connection.cursor() as cursor:
        cursor.execute(_PENDING)
        ours, others = cursor.fetchone()
    add_pending(max(0, pending - ours))
    _execute(_BARE, rows=max(0, pending - others), pending=pending)


def add_pending(rows: int) -> None:
    """Add pending tasks, all claimable."""
    _execute(raw.insertion(_GIVEN), rows=rows)


def add_finished(rows: int) -> None:
    """Add completed tasks with their attempts and events."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM tasks_app_task")
        last_id: int = cursor.fetchone()[0]
    _execute(_FINISHED, rows=rows, result=json.dumps(noop.RESULT))
    _execute(_THEIR_ATTEMPTS, last_id=last_id)
    _execute(_THEIR_EVENTS, last_id=last_id)


def vacuum() -> None:
    """Bring the tables into the state that autovacuum leaves them in, for the planner to know."""
    _execute(f"VACUUM (ANALYZE) {QUEUE_TABLES}")


def _execute(sql: str, **params: int | str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"params": json.dumps(noop.PARAMS), **params} if params else None)
