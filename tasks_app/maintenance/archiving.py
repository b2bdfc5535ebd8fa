"""Moving finished tasks to the archive, with their attempts and events, in small batches.

A task moves when it is old enough and no unfinished task depends on it. The tasks of a run move together, when each of
them may. Only finished rows are locked, and those that somebody else has are left out, so that nobody waits for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from tasks_app.engine.archive import HELD_BY
from tasks_app.maintenance import retention
from tasks_app.maintenance.retention import Policy
from tasks_app.postgresql import clock

BATCH = 500
PROGRESS_BATCH = 20_000
"""Sixty tasks that report once a second write this many in six minutes; the sweep runs once a minute."""
SWEEP_SEC = 0.25
"""A sweep starts no further batch after this, because its process has other work."""

_DUE = """
coalesce(task.completed_at < CASE task.status WHEN 'failed' THEN %(failed_before)s ELSE %(task_before)s END, false)
AND (%(queue)s::text IS NULL OR task.queue_name = %(queue)s)
"""
# Whether one row of `task` may go, as far as that depends on this task alone.
_MAY_GO = f"({_DUE} AND NOT {retention.awaited('task')})"

_COUNT = f"""
WITH runs AS MATERIALIZED (
    SELECT run_id FROM tasks_app_task AS task WHERE run_id IS NOT NULL GROUP BY run_id HAVING bool_and({_MAY_GO})
)
SELECT queue_name, status, count(*) FROM tasks_app_task AS task
WHERE completed_at < %(before)s AND CASE WHEN run_id IS NULL THEN {_MAY_GO} ELSE run_id IN (SELECT run_id FROM runs) END
GROUP BY queue_name, status ORDER BY queue_name, status
"""  # noqa: S608 - constants

# From a place on each due task with which some move: itself, or with the last one of a run all of it. And the last row
# of the page, whatever moves with it.
_LOOK = f"""
WITH page AS MATERIALIZED (
    SELECT id, task_id, run_id, queue_name, status, completed_at FROM tasks_app_task AS task
    WHERE completed_at < %(before)s AND (completed_at, id) > (%(after_at)s, %(after_id)s) AND {_DUE}
    ORDER BY completed_at, id LIMIT %(limit)s
), runs AS MATERIALIZED (
    SELECT run_id, count(*) AS size, (array_agg(id ORDER BY completed_at DESC, id DESC))[1] AS last_id
    FROM tasks_app_task AS task WHERE run_id = ANY(ARRAY(SELECT DISTINCT run_id FROM page WHERE run_id IS NOT NULL))
    GROUP BY run_id HAVING bool_and({_MAY_GO})
), sized AS (
    SELECT task.id, task.completed_at, task.run_id, row_number() OVER (ORDER BY task.completed_at, task.id) AS place,
        CASE WHEN task.run_id IS NULL THEN {_MAY_GO}::integer ELSE coalesce(runs.size, 0) END AS size
    FROM page AS task LEFT JOIN runs ON runs.run_id = task.run_id AND runs.last_id = task.id
)
SELECT id, completed_at, run_id, size, place FROM sized
WHERE size > 0 OR place = (SELECT count(*) FROM page) ORDER BY place
"""  # noqa: S608 - constants

# The row of a run is locked too, so that no task is added to it meanwhile.
_LOCK_RUNS = "SELECT id FROM tasks_app_run WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED"
_LOCK_TASKS = """
SELECT id FROM tasks_app_task
WHERE (id = ANY(%s::bigint[]) OR run_id = ANY(%s::bigint[])) AND completed_at IS NOT NULL
ORDER BY id FOR UPDATE SKIP LOCKED
"""

_WITH_WORKER = f"""
to_jsonb(kept) || CASE WHEN worker.id IS NULL THEN '{{}}'::jsonb ELSE jsonb_build_object(
    '{HELD_BY}', jsonb_build_object('label', worker.label, 'host', worker.host)) END
"""

# A statement after the one that locked the rows, so that it sees what their previous holders have written.
_MOVE = f"""
WITH whole AS MATERIALIZED (
    SELECT run_id FROM tasks_app_task AS task WHERE run_id = ANY(%(runs)s::bigint[])
    GROUP BY run_id HAVING bool_and(id = ANY(%(ids)s::bigint[]) AND {_MAY_GO})
), chosen AS MATERIALIZED (
    SELECT id, task_id FROM tasks_app_task AS task
    WHERE id = ANY(%(ids)s::bigint[])
        AND CASE WHEN run_id IS NULL THEN {_MAY_GO} ELSE run_id IN (SELECT run_id FROM whole) END
), gone AS (
    DELETE FROM tasks_app_task WHERE id = ANY(ARRAY(SELECT id FROM chosen)) RETURNING *
), gone_attempts AS (
    DELETE FROM tasks_app_attempt WHERE task_id = ANY(ARRAY(SELECT task_id FROM chosen)) RETURNING *
), gone_events AS (
    DELETE FROM tasks_app_taskevent WHERE task_id = ANY(ARRAY(SELECT task_id FROM chosen)) RETURNING *
), attempts AS (
    SELECT kept.task_id, jsonb_agg({_WITH_WORKER} ORDER BY number) AS documents
    FROM gone_attempts AS kept LEFT JOIN tasks_app_worker AS worker ON worker.id = kept.worker_id GROUP BY kept.task_id
), events AS (
    SELECT task_id, jsonb_agg(to_jsonb(kept) ORDER BY id) AS documents, max(id) AS last_id
    FROM gone_events AS kept GROUP BY task_id
), archived AS (
    INSERT INTO tasks_app_archivedtask (id, task_id, queue_name, task_name, status, run_id, created_at, completed_at,
        last_event_id, archived_at, task, attempts, events)
    SELECT kept.id, kept.task_id, kept.queue_name, kept.task_name, kept.status, run.run_id, kept.created_at,
        kept.completed_at, coalesce(events.last_id, 0), absurd_now(), {_WITH_WORKER},
        coalesce(attempts.documents, '[]'), coalesce(events.documents, '[]')
    FROM gone AS kept LEFT JOIN attempts USING (task_id) LEFT JOIN events USING (task_id)
    LEFT JOIN tasks_app_run AS run ON run.id = kept.run_id
    LEFT JOIN tasks_app_worker AS worker ON worker.id = kept.worker_id
    RETURNING queue_name, status
)
SELECT queue_name, status, count(*) FROM archived GROUP BY queue_name, status
"""  # noqa: S608 - constants

Counts = Counter[tuple[str, str]]
"""Numbers of tasks by queue and status."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a walk through the finished tasks stands: behind this one."""

    completed_at: datetime
    id: int


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step of a walk moved, and where the next begins; no place: everything old has been looked at."""

    moved: Counts = field(default_factory=Counter)
    place: Place | None = None


def count_due(policy: Policy) -> Counts:
    """Return how many tasks would move now, exactly; looks at every old row."""
    return _counts(_rows(_COUNT, policy.bounds(clock.now())))


def archive_batch(policy: Policy, *, after: Place | None = None, limit: int = BATCH) -> Batch:
    """Look at the next `limit` tasks that are due and move those that may go, a run as a whole."""
    with transaction.atomic():
        bounds = policy.bounds(clock.now())
        start = {"after_at": after.completed_at if after else "-infinity", "after_id": after.id if after else 0}
        page = _rows(_LOOK, {**bounds, **start, "limit": limit})
        seen = _fit(page, limit)
        moved = _move(bounds, [row for row in seen if row[3]])
    more = len(seen) < len(page) or (page and page[-1][4] == limit)
    return Batch(moved=moved, place=Place(id=seen[-1][0], completed_at=seen[-1][1]) if more else None)


def _fit(page: Sequence[tuple[Any, ...]], limit: int) -> Sequence[tuple[Any, ...]]:
    """Return the beginning of the page up to where `limit` tasks are reached, which one large run may pass."""
    total = 0
    for number, (_, _, _, size, _) in enumerate(page):
        if total and total + size > limit:
            return page[:number]
        total += size
    return page


def _move(bounds: dict[str, Any], chosen: Sequence[tuple[Any, ...]]) -> Counts:
    if not chosen:
        return Counter()
    runs = [row[2] for row in chosen if row[2] is not None]
    runs = [pk for (pk,) in _rows(_LOCK_RUNS, [runs])] if runs else []
    singles = [row[0] for row in chosen if row[2] is None]
    locked = [pk for (pk,) in _rows(_LOCK_TASKS, [singles, runs])]
    return _counts(_rows(_MOVE, {**bounds, "ids": locked, "runs": runs}))


def _counts(rows: Sequence[tuple[Any, ...]]) -> Counts:
    return Counter({(queue_name, status): count for queue_name, status, count in rows})


def _rows(sql: str, params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())


class RetentionSweep:
    """Keeps the policy of the settings a few batches at a time; remembers how far it has looked.

    What is old and yet may not go, such as a failure that is kept longer, is so passed once a round, not each time.
    """

    def __init__(self) -> None:
        self._place: Place | None = None

    def sweep(self, limit: int = BATCH) -> int:
        """Archive and purge what is due, for a moment; return how many tasks were archived."""
        policy, moved, began_at = Policy.configured(), 0, time.monotonic()
        while True:
            batch = archive_batch(policy, after=self._place, limit=limit)
            self._place = batch.place
            moved += batch.moved.total()
            if batch.place is None or time.monotonic() - began_at > SWEEP_SEC:
                break
        retention.purge_keys(policy, limit)
        retention.purge_progress(PROGRESS_BATCH)
        retention.purge_archive(policy, limit)
        return moved
