"""What ours is compared with: the same rows written raw, and one bare table.

Raw writes the same rows as ours by psycopg in the fewest statements: what tables, indexes and triggers cost. It checks
nothing: no params, no limits, no dependencies, no retry policy, and a lost claim goes unnoticed.
Bare is the limit that one table sets: a row a task, one partial index, no history, no fence, no counts.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
from django.db import connection

from absurd_project.benchmark import load
from tasks_app.models import Worker

TABLE = "absurd_benchmark_bare"

CREATE = f"""
CREATE TABLE {TABLE} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    priority int NOT NULL DEFAULT 0,
    params jsonb NOT NULL,
    result jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    claimed_at timestamptz,
    completed_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX {TABLE}_pending ON {TABLE} (priority, id) WHERE status = 'pending'
"""

_BARE_SPAWN = (
    f"INSERT INTO {TABLE} (name, params) SELECT '{load.NAME}', params FROM unnest(%s::jsonb[]) AS given(params)"
)

_BARE_CLAIM = f"""
UPDATE {TABLE} SET status = 'claimed', claimed_at = clock_timestamp()
WHERE id = ANY(ARRAY(
    SELECT id FROM {TABLE} WHERE status = 'pending' ORDER BY priority, id LIMIT %s FOR UPDATE SKIP LOCKED
))
RETURNING id, params
"""

_BARE_COMPLETE = f"""
UPDATE {TABLE} SET status = 'completed', completed_at = clock_timestamp(), result = %s WHERE id = ANY(%s)
"""

_RAW_SPAWN = f"""
WITH fresh AS ({load.insertion("unnest(%s::jsonb[]) AS given(params)")} RETURNING id, task_id)
INSERT INTO tasks_app_taskevent
    (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
SELECT task_id, '{load.QUEUE}', 'spawned', '', 'pending', '{load.ACTOR}', '', 0,
    '{{"update": {{"task_name": "{load.NAME}", "priority": {load.PRIORITY}}}}}', absurd_now()
FROM fresh
"""

_RAW_CLAIM = f"""
WITH claimed AS (
    UPDATE tasks_app_task
    SET status = 'claimed', claim_token = gen_random_uuid(), claim_epoch = claim_epoch + 1,
        crash_count = crash_count + 1, worker_id = %(worker)s,
        claimed_at = absurd_now(), lease_until = absurd_now() + lease_sec * interval '1 second'
    WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_task
        WHERE queue_name = '{load.QUEUE}' AND status = 'pending' AND hold = 0
        ORDER BY rank, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id, claim_token, claim_epoch, claimed_at, retry_count, params
), opened AS (
    INSERT INTO tasks_app_attempt
        (task_id, number, claim_token, worker_id, started_at,
         outcome, error, traceback, signal, log_path, log_tail, directory)
    SELECT task_id, claim_epoch, claim_token, %(worker)s, claimed_at, '', '', '', '', '', '', '' FROM claimed
), recorded AS (
    INSERT INTO tasks_app_taskevent
        (task_id, queue_name, event_type, from_status, to_status, actor, reason, attempt, detail, created_at)
    SELECT task_id, '{load.QUEUE}', 'claimed', 'pending', 'claimed', %(actor)s, '', claim_epoch,
        jsonb_build_object('update', jsonb_build_object(
            'worker_id', %(label)s::text, 'retry_count', retry_count,
            'claimed_at', to_char(claimed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
        absurd_now()
    FROM claimed
)
SELECT task_id, claim_token, params FROM claimed
"""

# `= ANY` beside the join keeps the planner on the indexes whatever it thinks of the tables' sizes.
_RAW_COMPLETE = f"""
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
SELECT task_id, '{load.QUEUE}', 'completed', 'claimed', 'completed', %(actor)s, '', claim_epoch,
    jsonb_build_object('update', jsonb_build_object(
        'retry_count', retry_count, 'result', result,
        'completed_at', to_char(completed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))),
    absurd_now()
FROM done
"""


class Raw:
    """One statement and one transaction for each of spawn, claim and complete."""

    def __init__(self, url: str, worker: Worker) -> None:
        self._database = psycopg.connect(url, autocommit=True)
        self._worker = {"worker": worker.pk, "label": worker.label, "actor": f"worker:{worker.label}"}

    def spawn_one(self) -> None:
        """Insert one task and its event."""
        self.spawn_many(1)

    def spawn_many(self, count: int) -> None:
        """Insert many tasks and their events."""
        self._database.execute(_RAW_SPAWN, [[json.dumps(load.PARAMS) for _ in range(count)]])

    def claim(self, limit: int) -> list[Any]:
        """Update the tasks, insert attempts and events."""
        return self._database.execute(_RAW_CLAIM, {**self._worker, "limit": limit}).fetchall()

    def complete(self, claims: list[Any]) -> None:
        """Update tasks and attempts, insert events."""
        task_ids, tokens, _ = zip(*claims, strict=True)
        results = [json.dumps(load.RESULT) for _ in claims]
        rows = {"task_ids": list(task_ids), "tokens": list(tokens), "results": results, "actor": self._worker["actor"]}
        self._database.execute(_RAW_COMPLETE, rows)


class Bare:
    """One statement and one transaction for each of spawn, claim and complete."""

    def __init__(self, url: str, worker: Worker) -> None:
        self._database = psycopg.connect(url, autocommit=True)

    def spawn_one(self) -> None:
        """Insert one row."""
        self.spawn_many(1)

    def spawn_many(self, count: int) -> None:
        """Insert many rows."""
        self._database.execute(_BARE_SPAWN, [[json.dumps(load.PARAMS) for _ in range(count)]])

    def claim(self, limit: int) -> list[Any]:
        """Update the rows."""
        return self._database.execute(_BARE_CLAIM, [limit]).fetchall()

    def complete(self, claims: list[Any]) -> None:
        """Update the rows again."""
        self._database.execute(_BARE_COMPLETE, [json.dumps(load.RESULT), [row[0] for row in claims]])


CLASSES: dict[str, type[Raw] | type[Bare]] = {"raw": Raw, "bare": Bare}

_BARE_ROWS = f"""
INSERT INTO {TABLE} (name, params, status)
SELECT '{load.NAME}', given.params, CASE WHEN n > %(pending)s THEN 'completed' ELSE 'pending' END FROM {load.ROWS}
"""


def prepare() -> None:
    """Make the bare table."""
    load.execute(CREATE)


def fill(pending: int) -> None:
    """Fill the bare table as `load.fill` does the queue's."""
    load.execute(f"TRUNCATE {TABLE}")
    load.execute(_BARE_ROWS, rows=load.HISTORY + pending, pending=pending)
    load.execute(f"ANALYZE {TABLE}")


def top_up(pending: int) -> None:
    """Add pending rows up to n; finished ones stay."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {TABLE} WHERE status = 'pending'")
        left = cursor.fetchone()[0]
    load.execute(_BARE_ROWS, rows=max(0, pending - left), pending=pending)
