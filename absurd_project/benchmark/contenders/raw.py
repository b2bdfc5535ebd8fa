"""The same rows as ours, written by psycopg in the fewest statements: what the tables, indexes and triggers cost.

It checks nothing: no params, no limits, no dependencies, no retry policy, and a lost claim goes unnoticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import psycopg

from absurd_project.benchmark import noop
from tasks_app.engine import backoff

PENDING: Mapping[str, str] = {
    "task_id": "gen_random_uuid()",
    "queue_name": f"'{noop.QUEUE}'",
    "task_name": f"'{noop.NAME}'",
    "params": "given.params",
    "bindings": "'{}'",
    "priority": str(noop.PRIORITY),
    "status": "'pending'",
    "hold": "0",
    "rank": "(extract(epoch FROM absurd_now()) * 1000)::bigint"
    f" + {(backoff.CRITICAL_FROM - 1 - noop.PRIORITY) * backoff.PRIORITY_STEP_MS}",
    "memory_class": str(backoff.memory_class(1.0)),
    "runnable_at": "absurd_now()",
    "timeout_sec": str(noop.TIMEOUT_SEC),
    "max_retries": str(noop.MAX_RETRIES),
    "retry_count": "0",
    "crash_count": "0",
    "claim_epoch": "0",
    "lease_sec": str(noop.LEASE_SEC),
    "cancel_requested_by": "''",
    "cancel_reason": "''",
    "memory_gb": "1.0",
    "cores": "1",
    "progress_message": "''",
    "failure_class": "''",
    "stage": "''",
    "created_by": f"'{noop.ACTOR}'",
}


def insertion(rows: str, **columns: str) -> str:
    """Return the insertion of tasks, one for each row of `rows`, a FROM item named `given` that has `params`.

    They are pending, but for the given SQL of some columns.
    """
    values = {**PENDING, **columns}
    return f"INSERT INTO tasks_app_task ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {rows}"  # noqa: S608


_SPAWN = f"""
WITH fresh AS ({insertion("unnest(%s::jsonb[]) AS given(params)")} RETURNING id, task_id)
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, '{noop.QUEUE}', 'spawned', '', 'pending', '{noop.ACTOR}', '', 0,
    '{{"update": {{"task_name": "{noop.NAME}", "priority": {noop.PRIORITY}}}}}', absurd_now()
FROM fresh
"""  # noqa: S608 - constants of ours

_CLAIM = f"""
WITH claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1,
        crash_count = crash_count + 1, worker_id = %(worker)s,
        claimed_at = absurd_now(), lease_until = absurd_now() + lease_sec * interval '1 second'
    WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_task
        WHERE queue_name = '{noop.QUEUE}' AND memory_class = {backoff.memory_class(1.0)}
            AND status = 'pending' AND hold = 0
        ORDER BY rank, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id, claim_token, claim_epoch, claimed_at, retry_count, params
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, %(worker)s, claimed_at, '', '', '', '', '', '', '' FROM claimed
), told AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT task_id, '{noop.QUEUE}', 'claimed', 'pending', 'claimed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', %(label)s::text, 'retry_count', retry_count,
            'claimed_at', to_char(claimed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
        absurd_now()
    FROM claimed
)
SELECT task_id, claim_token, params FROM claimed
"""  # noqa: S608 - constants of ours

# `= ANY` beside the join keeps the planner on the indexes whatever it thinks of the tables' sizes.
_COMPLETE = f"""
WITH mine AS (
    SELECT * FROM unnest(%(task_ids)s::uuid[], %(tokens)s::uuid[], %(results)s::jsonb[]) AS m(task_id, token, result)
), done AS (
    UPDATE tasks_app_task AS task
    SET status = 'completed', completed_at = absurd_now(), result = mine.result, claim_token = NULL,
        lease_until = NULL, crash_count = crash_count - 1
    FROM mine
    WHERE task.task_id = ANY(%(task_ids)s) AND task.task_id = mine.task_id AND task.claim_token = mine.token
        AND task.status = 'claimed'
    RETURNING task.task_id, mine.token, mine.result, claim_epoch, retry_count, completed_at
), closed AS (
    UPDATE tasks_app_attempt AS attempt SET ended_at = done.completed_at, outcome = 'completed'
    FROM done WHERE attempt.claim_token = ANY(%(tokens)s) AND attempt.claim_token = done.token
)
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, '{noop.QUEUE}', 'completed', 'claimed', 'completed', %(actor)s, '', claim_epoch,
    jsonb_build_object('update', jsonb_build_object(
        'retry_count', retry_count, 'result', result,
        'completed_at', to_char(completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
    absurd_now()
FROM done
"""  # noqa: S608 - constants of ours


class Raw:
    """One statement and one transaction for each of spawn, claim and complete."""

    def __init__(self, url: str, *, worker_id: UUID, label: str) -> None:
        self._database = psycopg.connect(url, autocommit=True)
        self._worker = {"worker": worker_id, "label": label, "actor": f"worker:{label}"}

    def spawn_one(self) -> None:
        """Insert one task and its event."""
        self.spawn_many(1)

    def spawn_many(self, count: int) -> None:
        """Insert many tasks and their events."""
        self._database.execute(_SPAWN, [[json.dumps(noop.PARAMS) for _ in range(count)]])

    def claim(self, limit: int) -> list[Any]:
        """Update the tasks, insert attempts and events."""
        return self._database.execute(_CLAIM, {**self._worker, "limit": limit}).fetchall()

    def complete(self, claims: list[Any]) -> None:
        """Update tasks and attempts, insert events."""
        task_ids, tokens, _ = zip(*claims, strict=True)
        results = [json.dumps(noop.RESULT) for _ in claims]
        rows = {"task_ids": list(task_ids), "tokens": list(tokens), "results": results, "actor": self._worker["actor"]}
        self._database.execute(_COMPLETE, rows)
