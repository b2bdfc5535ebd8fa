"""Forgetting for good: idempotency keys, reports of progress, workers, and what was archived long enough ago."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import connection, transaction

from tasks_app.maintenance.retention import Policy


def awaited(row: str) -> str:
    """Return the SQL for whether an unfinished task depends on that of `row`.

    Written so that the planner can only go from the task to its children, however many unfinished tasks there are.
    """
    return f"""
    EXISTS (
        SELECT FROM (
            SELECT child_task_id FROM tasks_app_taskdependency WHERE parent_task_id = {row}.task_id OFFSET 0
        ) AS edge
        WHERE (SELECT status FROM tasks_app_task WHERE task_id = edge.child_task_id) IN ('pending', 'claimed')
    )
    """  # noqa: S608 - constants


_OLD_KEYS = "created_at < absurd_now() - make_interval(days => %(key_days)s)"
_COUNT_KEYS = f"SELECT count(*) FROM tasks_app_idempotencykey WHERE {_OLD_KEYS}"  # noqa: S608 - a constant
_PURGE_KEYS = f"""
DELETE FROM tasks_app_idempotencykey WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_idempotencykey WHERE {_OLD_KEYS} ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""  # noqa: S608 - constants

# The task of the last event stays, because the feed asks the archive which events it can no longer replay.
_FORGOTTEN = f"""
completed_at < absurd_now() - make_interval(days => %(archive_days)s)
AND last_event_id < (SELECT max(last_event_id) FROM tasks_app_archivedtask)
AND NOT {awaited("kept")}
"""  # noqa: S608 - constants
_COUNT_FORGOTTEN = f"SELECT count(*) FROM tasks_app_archivedtask AS kept WHERE {_FORGOTTEN}"  # noqa: S608 - a constant
_PURGE_ARCHIVE = f"""
DELETE FROM tasks_app_archivedtask WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_archivedtask AS kept WHERE {_FORGOTTEN}
    ORDER BY completed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
RETURNING task_id
"""  # noqa: S608 - constants

# An edge goes with the last of its two tasks.
_PURGE_EDGES = """
DELETE FROM tasks_app_taskdependency AS edge
WHERE (child_task_id = ANY(%(gone)s::uuid[]) OR parent_task_id = ANY(%(gone)s::uuid[]))
    AND NOT EXISTS (SELECT FROM tasks_app_task WHERE task_id IN (edge.child_task_id, edge.parent_task_id))
    AND NOT EXISTS (SELECT FROM tasks_app_archivedtask WHERE task_id IN (edge.child_task_id, edge.parent_task_id))
"""


PROGRESS_DAYS = 1
"""How far a task was at some moment is of no interest for longer; reports come once a second."""
_PURGE_PROGRESS = f"""
DELETE FROM tasks_app_taskevent WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_taskevent
    WHERE event_type = 'progress' AND created_at < absurd_now() - interval '{PROGRESS_DAYS} day'
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""  # noqa: S608 - a constant

# The last worker of its queues stays, so that it can be told who served them last.
_OLD_WORKERS = """
SELECT id FROM (
    SELECT id, coalesce(stopped_at, heartbeat_at) AS ended_at,
        row_number() OVER (PARTITION BY queues ORDER BY heartbeat_at DESC, id) AS place
    FROM tasks_app_worker
) AS worker
WHERE ended_at < absurd_now() - make_interval(days => %(worker_days)s) AND place > 1
ORDER BY ended_at
"""
# No index leads from a worker to its attempts, since each claim would pay for it: all are looked through once.
_NAMED = """
SELECT worker_id FROM tasks_app_task WHERE worker_id = ANY(%(old)s::uuid[])
UNION SELECT worker_id FROM tasks_app_attempt WHERE worker_id = ANY(%(old)s::uuid[])
"""
_PURGE_WORKERS = """
DELETE FROM tasks_app_worker WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_worker WHERE id = ANY(%(ids)s::uuid[]) ORDER BY id FOR UPDATE SKIP LOCKED
))
"""


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How much was forgotten, or would be."""

    keys: int = 0
    tasks: int = 0
    edges: int = 0
    workers: int = 0

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(
            keys=self.keys + other.keys,
            tasks=self.tasks + other.tasks,
            edges=self.edges + other.edges,
            workers=self.workers + other.workers,
        )


def count_due(policy: Policy) -> Forgotten:
    """Return how many keys, workers and archived tasks would be forgotten now."""
    workers = len(_due_workers(policy))
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_KEYS, {"key_days": policy.key_days})
        keys = cursor.fetchone()[0]
        if policy.archive_days == 0:
            return Forgotten(keys=keys, workers=workers)
        cursor.execute(_COUNT_FORGOTTEN, {"archive_days": policy.archive_days})
        return Forgotten(keys=keys, tasks=cursor.fetchone()[0], workers=workers)


def purge_keys(policy: Policy, limit: int) -> int:
    """Forget up to `limit` idempotency keys that are old enough; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_KEYS, {"key_days": policy.key_days, "limit": limit})
        return int(cursor.rowcount)


def purge_progress(limit: int) -> int:
    """Forget up to `limit` old reports of progress; return how many. The feed replays none of them any more."""
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_PROGRESS, {"limit": limit})
        return int(cursor.rowcount)


def _due_workers(policy: Policy) -> list[UUID]:
    """Return the workers that ended long enough ago and that no task or attempt names, longest ended first."""
    with connection.cursor() as cursor:
        cursor.execute(_OLD_WORKERS, {"worker_days": policy.worker_days})
        old = [pk for (pk,) in cursor.fetchall()]
        if not old:
            return []
        cursor.execute(_NAMED, {"old": old})
        named = {pk for (pk,) in cursor.fetchall()}
    return [pk for pk in old if pk not in named]


@transaction.atomic
def purge_workers(policy: Policy, limit: int) -> int:
    """Forget up to `limit` workers that ended long enough ago and that nothing names; return how many.

    One that comes back after all registers anew.
    """
    due = _due_workers(policy)[:limit]
    if not due:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_WORKERS, {"ids": due})
        return int(cursor.rowcount)


WORKERS_A_SWEEP = 2
"""For each one removed the database looks through all tasks and attempts again, to be sure that nothing names it."""


def sweep_workers() -> int:
    """Forget a few workers by the policy of the settings; return how many."""
    return purge_workers(Policy.configured(), WORKERS_A_SWEEP)


@transaction.atomic
def purge_archive(policy: Policy, limit: int) -> Forgotten:
    """Forget up to `limit` archived tasks that are old enough, and the edges that then lead nowhere."""
    if policy.archive_days == 0:
        return Forgotten()
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_ARCHIVE, {"archive_days": policy.archive_days, "limit": limit})
        gone = [task_id for (task_id,) in cursor.fetchall()]
        if not gone:
            return Forgotten()
        cursor.execute(_PURGE_EDGES, {"gone": gone})
        return Forgotten(tasks=len(gone), edges=int(cursor.rowcount))
