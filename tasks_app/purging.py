"""Forgetting for good: idempotency keys, reports of progress, and what was archived long enough ago."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection, transaction

from tasks_app.retention import Policy


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
    WHERE verb = 'progress' AND created_at < absurd_now() - interval '{PROGRESS_DAYS} day'
    ORDER BY created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
))
"""  # noqa: S608 - a constant


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """How much was forgotten, or would be."""

    keys: int = 0
    tasks: int = 0
    edges: int = 0

    def __add__(self, other: Forgotten) -> Forgotten:
        return Forgotten(keys=self.keys + other.keys, tasks=self.tasks + other.tasks, edges=self.edges + other.edges)


def count_due(policy: Policy) -> Forgotten:
    """Return how many keys and archived tasks would be forgotten now."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNT_KEYS, {"key_days": policy.key_days})
        keys = cursor.fetchone()[0]
        if policy.archive_days == 0:
            return Forgotten(keys=keys)
        cursor.execute(_COUNT_FORGOTTEN, {"archive_days": policy.archive_days})
        return Forgotten(keys=keys, tasks=cursor.fetchone()[0])


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
