"""Tasks by queue: their number in each status, and for how long the oldest claimable one has waited.

Triggers on the table of tasks write each change of a count; sweeps add the changes to the stored counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from django.db import connection, transaction

from tasks_app.engine.backoff import CRITICAL_BAND_MS, CRITICAL_FROM
from tasks_app.models import Queue, TaskStatus
from tasks_app.postgresql import COUNT_TRIGGERS, statements
from tasks_app.validation import PRIORITY_MOST

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


def fold_counts(limit: int = FOLD_MOST) -> int:
    """Fold up to `limit` of the oldest changes into the counts; return how many.

    Safe to run in every process at once. Call it outside a transaction: the rows it adds to stay locked until the end.
    """
    return int(statements.run(_FOLD, {"limit": limit})[0][0])


def task_counts(names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return the number of tasks by (queue name, status); a pair that never had a task is left out."""
    rows = statements.run(_COUNTS, {"names": list(names)})
    return {(queue_name, status): n for queue_name, status, n in rows}


def unfolded_changes(most: int) -> int:
    """Return how many count changes are not folded yet, counting no further than `most`."""
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
def recount() -> None:
    """Create the triggers again and count all tasks; writers wait meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_TRIGGERS)
        cursor.execute(_RECOUNT)


class QueueStats(TypedDict):
    """The counts of one queue, as the API returns them."""

    queue_name: str
    pending: int
    claimed: int
    completed: int
    failed: int
    cancelled: int
    total: int


def queue_stats(names: Iterable[str] | None = None) -> list[QueueStats]:
    """Return the counts by status of each named queue, or of all, by name; all are 0 for an unknown queue."""
    wanted = sorted(names if names is not None else Queue.objects.values_list("name", flat=True))
    counted = task_counts(wanted)
    found: list[QueueStats] = []
    for name in wanted:
        by_status = {str(status): counted.get((name, str(status)), 0) for status in TaskStatus}
        found.append(QueueStats(queue_name=name, total=sum(by_status.values()), **by_status))  # type: ignore[typeddict-item]
    return found


LINE_MOST = 1000

# Each critical priority has a band of ranks of its own; all other priorities share the last one.
_BANDS = [
    *((-n * CRITICAL_BAND_MS, (1 - n) * CRITICAL_BAND_MS) for n in range(PRIORITY_MOST - CRITICAL_FROM + 1, 0, -1)),
    (0, CRITICAL_BAND_MS),
]
_OLDEST = """
SELECT queue.name, extract(epoch FROM absurd_now() - min(front.runnable_at))::float8
FROM unnest(%(names)s::text[]) AS queue(name)
CROSS JOIN unnest(%(begins)s::bigint[], %(ends)s::bigint[]) AS band(begins, ends)
CROSS JOIN LATERAL (
    SELECT runnable_at FROM tasks_app_task
    WHERE queue_name = queue.name AND status = 'pending' AND hold = 0
        AND rank >= band.begins AND rank < band.ends
    ORDER BY rank, id LIMIT %(most)s
) AS front
GROUP BY queue.name
"""


def oldest_pending(names: Iterable[str]) -> dict[str, float]:
    """Return for how many seconds the oldest claimable task of each queue has been runnable; an idle queue is left out.

    Bounded in cost: it reads the first LINE_MOST tasks of each queue and critical priority. An older task
    of a lower priority can only be further behind; it is older by 13 minutes at most.
    """
    rows = statements.run(_OLDEST, _oldest_params(names))
    return {name: max(0.0, age_sec) for name, age_sec in rows}


def _oldest_params(names: Iterable[str]) -> dict[str, object]:
    begins, ends = zip(*_BANDS, strict=True)
    return {
        "names": list(names),
        "begins": list(begins),
        "ends": list(ends),
        "most": LINE_MOST,
    }


def oldest_pending_sec(queue: str) -> float | None:
    """Return for how long the oldest claimable task of the queue has been runnable, in seconds."""
    return oldest_pending([queue]).get(queue)
