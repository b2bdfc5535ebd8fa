"""How long finished tasks, archived tasks, idempotency keys and workers are kept, and their deletion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Days to keep each kind of row: keys from their first use, all else from its end."""

    task_days: int
    failed_days: int
    archive_days: int
    """Archived tasks are deleted after this; 0 means never."""
    key_days: int
    worker_days: int
    """Stopped and lost workers that no task or attempt refers to are deleted after this."""
    queue_name: str | None = None
    """Only tasks of this queue are archived."""

    @classmethod
    def configured(cls) -> Self:
        """Return the policy of the settings."""
        return cls(
            task_days=settings.ABSURD_RETENTION_DAYS,
            failed_days=settings.ABSURD_FAILED_RETENTION_DAYS,
            archive_days=settings.ABSURD_ARCHIVE_DAYS,
            key_days=settings.ABSURD_KEY_RETENTION_DAYS,
            worker_days=settings.ABSURD_RETENTION_DAYS,
        )

    def narrowed(self, *, older_than_days: int | None = None, queue_name: str | None = None) -> Self:
        """Return the policy for one queue, or with another age for all finished tasks, failures too."""
        days = {} if older_than_days is None else {"task_days": older_than_days, "failed_days": older_than_days}
        return replace(self, queue_name=queue_name, **days)

    def bounds(self, moment: datetime) -> dict[str, Any]:
        """Return the parameters of the archiving statements: before when a task must have finished to be due."""
        task_before, failed_before = (moment - timedelta(days=days) for days in (self.task_days, self.failed_days))
        return {
            "task_before": task_before,
            "failed_before": failed_before,
            "before": max(task_before, failed_before),
            "queue": self.queue_name,
        }


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

# The task of the last event is kept, because the feed finds in the archive which events it can no longer replay.
_DELETABLE = f"""
completed_at < absurd_now() - make_interval(days => %(archive_days)s)
AND last_event_id < (SELECT max(last_event_id) FROM tasks_app_archivedtask)
AND NOT {awaited("kept")}
"""  # noqa: S608 - constants
_COUNT_DELETABLE = f"SELECT count(*) FROM tasks_app_archivedtask AS kept WHERE {_DELETABLE}"  # noqa: S608 - a constant
_PURGE_ARCHIVE = f"""
DELETE FROM tasks_app_archivedtask WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_archivedtask AS kept WHERE {_DELETABLE}
    ORDER BY completed_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
RETURNING task_id
"""  # noqa: S608 - constants

# A dependency is deleted with the last of its two tasks.
_PURGE_EDGES = """
DELETE FROM tasks_app_taskdependency AS edge
WHERE (child_task_id = ANY(%(gone)s::uuid[]) OR parent_task_id = ANY(%(gone)s::uuid[]))
    AND NOT EXISTS (SELECT FROM tasks_app_task WHERE task_id IN (edge.child_task_id, edge.parent_task_id))
    AND NOT EXISTS (SELECT FROM tasks_app_archivedtask WHERE task_id IN (edge.child_task_id, edge.parent_task_id))
"""


PROGRESS_DAYS = 1
"""Progress events are written once a second and of no use for longer."""
_PURGE_PROGRESS = f"""
DELETE FROM tasks_app_taskevent WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_taskevent
    WHERE event_type = 'progress' AND created_at < absurd_now() - interval '{PROGRESS_DAYS} day'
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""  # noqa: S608 - a constant

# The last worker of its queues is kept, so that explanations can name the last worker that served them.
_OLD_WORKERS = """
SELECT id FROM (
    SELECT id, coalesce(stopped_at, heartbeat_at) AS ended_at,
        row_number() OVER (PARTITION BY queues ORDER BY heartbeat_at DESC, id) AS place
    FROM tasks_app_worker
) AS worker
WHERE ended_at < absurd_now() - make_interval(days => %(worker_days)s) AND place > 1
ORDER BY ended_at
"""
# No index leads from a worker to its attempts, because it would cost every claim: the tables are scanned once.
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
class Deleted:
    """How many rows were deleted, or would be."""

    keys: int = 0
    tasks: int = 0
    edges: int = 0
    workers: int = 0

    def __add__(self, other: Deleted) -> Deleted:
        return Deleted(
            keys=self.keys + other.keys,
            tasks=self.tasks + other.tasks,
            edges=self.edges + other.edges,
            workers=self.workers + other.workers,
        )


def count_due(policy: Policy) -> Deleted:
    """Return how many keys, workers and archived tasks would be deleted now."""
    workers = len(_due_workers(policy))
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_KEYS, {"key_days": policy.key_days})
        keys = cursor.fetchone()[0]
        if policy.archive_days == 0:
            return Deleted(keys=keys, workers=workers)
        cursor.execute(_COUNT_DELETABLE, {"archive_days": policy.archive_days})
        return Deleted(keys=keys, tasks=cursor.fetchone()[0], workers=workers)


def purge_keys(policy: Policy, limit: int) -> int:
    """Delete up to `limit` idempotency keys that are old enough; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_KEYS, {"key_days": policy.key_days, "limit": limit})
        return int(cursor.rowcount)


def purge_progress(limit: int) -> int:
    """Delete up to `limit` old progress events; return how many. The feed does not replay them any more."""
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_PROGRESS, {"limit": limit})
        return int(cursor.rowcount)


def _due_workers(policy: Policy) -> list[UUID]:
    """Return the workers that ended long enough ago and that no task or attempt refers to, oldest first."""
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
    """Delete up to `limit` workers that ended long enough ago and that nothing refers to; return how many.

    One that comes back after all registers again.
    """
    due = _due_workers(policy)[:limit]
    if not due:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_WORKERS, {"ids": due})
        return int(cursor.rowcount)


WORKERS_A_SWEEP = 2
"""For each deleted worker the database scans all tasks and attempts to check the foreign keys."""


def sweep_workers() -> int:
    """Delete a few workers by the policy of the settings; return how many."""
    return purge_workers(Policy.configured(), WORKERS_A_SWEEP)


@transaction.atomic
def purge_archive(policy: Policy, limit: int) -> Deleted:
    """Delete up to `limit` archived tasks that are old enough, and the dependencies of which no task is left."""
    if policy.archive_days == 0:
        return Deleted()
    with connection.cursor() as cursor:
        cursor.execute(_PURGE_ARCHIVE, {"archive_days": policy.archive_days, "limit": limit})
        gone = [task_id for (task_id,) in cursor.fetchall()]
        if not gone:
            return Deleted()
        cursor.execute(_PURGE_EDGES, {"gone": gone})
        return Deleted(tasks=len(gone), edges=int(cursor.rowcount))
