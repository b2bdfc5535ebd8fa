"""Counts of tasks by queue and status, kept by triggers as changes that a sweep folds together."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection, transaction

from tasks_app.postgresql import COUNT_TRIGGERS, statements

FOLD_MOST = 10_000
TRIGGERS = frozenset({"task_count_inserted", "task_count_updated", "task_count_deleted", "task_count_truncated"})

_ENABLED = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'tasks_app_task'::regclass AND tgenabled IN ('O', 'A')"

_RECOUNT = """
LOCK TABLE tasks_app_task IN SHARE ROW EXCLUSIVE MODE;
ALTER TABLE tasks_app_task ENABLE TRIGGER USER;
DELETE FROM tasks_app_countdelta;
DELETE FROM tasks_app_queuecount;
INSERT INTO tasks_app_queuecount (queue_name, status, count)
    SELECT queue_name, status, count(*) FROM tasks_app_task GROUP BY queue_name, status
"""

# The rows are upserted in one order, so that two folds at once wait for each other and never deadlock.
_FOLD = """
WITH taken AS (
    DELETE FROM tasks_app_countdelta
    WHERE id = ANY(ARRAY(
        SELECT id FROM tasks_app_countdelta ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING queue_name, status, delta
), folded AS (
    INSERT INTO tasks_app_queuecount AS counted (queue_name, status, count)
    SELECT queue_name, status, sum(delta) FROM taken GROUP BY queue_name, status ORDER BY queue_name, status
    ON CONFLICT (queue_name, status) DO UPDATE SET count = counted.count + excluded.count
)
SELECT count(*) FROM taken
"""

# One statement, hence one snapshot: a change is seen either folded or unfolded, never twice and never not at all.
_COUNTS = """
SELECT queue_name, status, sum(n)::bigint
FROM (
    SELECT queue_name, status, count AS n FROM tasks_app_queuecount WHERE queue_name = ANY(%(names)s::text[])
    UNION ALL
    SELECT queue_name, status, delta FROM tasks_app_countdelta WHERE queue_name = ANY(%(names)s::text[])
) AS change
GROUP BY queue_name, status
"""

_UNFOLDED = "SELECT count(*) FROM (SELECT FROM tasks_app_countdelta LIMIT %(most)s) AS change"

_PENDING = """
SELECT queue_name
FROM (
    SELECT queue_name, count AS n FROM tasks_app_queuecount WHERE status = 'pending'
    UNION ALL
    SELECT queue_name, delta FROM tasks_app_countdelta WHERE status = 'pending'
) AS change
GROUP BY queue_name HAVING sum(n) > 0 ORDER BY queue_name
"""


def fold(limit: int = FOLD_MOST) -> int:
    """Fold up to `limit` of the oldest changes into the counts; return how many.

    Safe to run in every process at once. Call it outside a transaction: the rows it adds to stay locked until the end.
    """
    return int(statements.run(_FOLD, {"limit": limit})[0][0])


def counts(names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return the number of tasks by (queue name, status); a pair that never had a task is left out."""
    rows = statements.run(_COUNTS, {"names": list(names)})
    return {(queue_name, status): n for queue_name, status, n in rows}


def unfolded(most: int) -> int:
    """Return how many changes wait to be folded, counting no further than `most`."""
    return int(statements.run(_UNFOLDED, {"most": most})[0][0])


def queues_with_pending() -> list[str]:
    """Return the names of the queues that have pending tasks, held back or not."""
    return [name for (name,) in statements.run(_PENDING, {})]


def missing_triggers() -> list[str]:
    """Return the names of the triggers that are missing or disabled; while any is, the counts are wrong."""
    with connection.cursor() as cursor:
        cursor.execute(_ENABLED)
        return sorted(TRIGGERS - {name for (name,) in cursor.fetchall()})


@transaction.atomic
def repair() -> None:
    """Make the triggers again and count all tasks anew; writers wait meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_TRIGGERS)
        cursor.execute(_RECOUNT)
