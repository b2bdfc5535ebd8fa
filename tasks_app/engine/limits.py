"""Slots of limits, and which of the tasks that a full limit parks may come forward.

A task under a limit is spawned parked (`Hold.LIMIT`), and only as many are let forward, for each queue, as the limit
has free slots. So however many tasks a full limit blocks, none of them stands before the others in the claim's index.
One with more memory than any live worker of its queue has stays parked, and does not count if it is forward already:
no worker takes it, and others would wait behind it. Slots are taken in the transaction that claims.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from tasks_app.models import Limit, LimitSlot, Queue
from tasks_app.models.worker import LIVE_SQL
from tasks_app.postgresql import statements

PARK = """
CASE WHEN task.concurrency_key <> '' OR EXISTS (
    SELECT FROM tasks_app_limit WHERE scope = 'queue' AND name = task.queue_name
) THEN 4 ELSE 0 END
"""
"""SQL for the hold bit with which a pending row of `task` comes back from another hold."""

# The free slots of each limit, for each queue less what has come forward already.
_ADMIT = f"""
WITH able AS (
    SELECT queue.name, (
        SELECT coalesce(max(nullif(memory_gb, 0)), 'Infinity') FROM tasks_app_worker
        WHERE {LIVE_SQL} AND queues @> to_jsonb(queue.name)
    ) AS memory_gb
    FROM tasks_app_queue AS queue
), open AS (
    SELECT lim.id, lim.scope, lim.name, count(*) AS free
    FROM tasks_app_limit AS lim JOIN tasks_app_limitslot AS slot ON slot.limit_id = lim.id AND slot.task_id IS NULL
    WHERE %(limits)s::bigint[] IS NULL OR lim.id = ANY(%(limits)s::bigint[])
    GROUP BY lim.id
), in_queue AS (
    SELECT parked.id
    FROM open JOIN able ON able.name = open.name CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT FROM tasks_app_task
            WHERE queue_name = open.name AND status = 'pending' AND hold = 0 AND memory_gb <= able.memory_gb
            LIMIT open.free
        ) AS few
    ) AS forward
    CROSS JOIN LATERAL (
        SELECT id FROM tasks_app_task AS task
        WHERE queue_name = open.name AND status = 'pending' AND hold = 4 AND memory_gb <= able.memory_gb
            AND (concurrency_key = '' OR EXISTS (
                SELECT FROM tasks_app_limit AS key JOIN tasks_app_limitslot AS slot ON slot.limit_id = key.id
                WHERE key.scope = 'key' AND key.name = task.concurrency_key AND slot.task_id IS NULL
            ))
        ORDER BY rank, id LIMIT greatest(0, open.free - forward.n) FOR UPDATE SKIP LOCKED
    ) AS parked
    WHERE open.scope = 'queue'
), by_key AS (
    SELECT parked.id
    FROM open CROSS JOIN able AS queue
    CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM (
            SELECT FROM tasks_app_task
            WHERE concurrency_key = open.name AND queue_name = queue.name
                AND status = 'pending' AND hold = 0 AND concurrency_key <> '' AND memory_gb <= queue.memory_gb
            LIMIT open.free
        ) AS few
    ) AS forward
    CROSS JOIN LATERAL (
        SELECT id FROM tasks_app_task AS task
        WHERE concurrency_key = open.name AND queue_name = queue.name AND status = 'pending'
            AND hold = 4 AND concurrency_key <> '' AND memory_gb <= queue.memory_gb
        ORDER BY rank, id LIMIT greatest(0, open.free - forward.n) FOR UPDATE SKIP LOCKED
    ) AS parked
    WHERE open.scope = 'key' AND NOT EXISTS (
        SELECT FROM tasks_app_limit AS lim WHERE lim.scope = 'queue' AND lim.name = queue.name AND NOT EXISTS (
            SELECT FROM tasks_app_limitslot WHERE limit_id = lim.id AND task_id IS NULL)
    ) AND EXISTS (
        SELECT FROM tasks_app_task
        WHERE concurrency_key = open.name AND status = 'pending' AND hold = 4 AND concurrency_key <> ''
    )
)
UPDATE tasks_app_task SET hold = 0
WHERE id = ANY(ARRAY(SELECT id FROM in_queue UNION SELECT id FROM by_key)) AND status = 'pending' AND hold = 4
RETURNING queue_name
"""  # noqa: S608 - constants


def admit(limit_ids: Collection[int] | None = None) -> set[str]:
    """Let parked tasks come forward where these limits, or all, have free slots; return the queues they are in."""
    with connection.cursor() as cursor:
        cursor.execute(_ADMIT, {"limits": None if limit_ids is None else list(limit_ids)})
        return {name for (name,) in cursor.fetchall()}


# What was parked in a queue whose limit has gone, or is held by no key either, is let forward without a slot.
_UNPARK = """
UPDATE tasks_app_task SET hold = 0
WHERE id = ANY(ARRAY(
    SELECT id FROM tasks_app_task
    WHERE queue_name = %(queue)s AND status = 'pending' AND hold = 4 AND concurrency_key = ''
        AND NOT EXISTS (SELECT FROM tasks_app_limit WHERE scope = 'queue' AND name = %(queue)s)
    ORDER BY id FOR UPDATE SKIP LOCKED
))
"""


def unpark(queue_name: str) -> int:
    """Let forward what a limit that this queue no longer has keeps parked; return how many tasks."""
    with connection.cursor() as cursor:
        cursor.execute(_UNPARK, {"queue": queue_name})
        return int(cursor.rowcount)


def unpark_strays() -> int:
    """Let forward what was parked at the moment in which its queue's limit was removed; return how many tasks."""
    limited = Limit.objects.filter(scope=Limit.Scope.QUEUE).values("name")
    return sum(unpark(name) for name in Queue.objects.exclude(name__in=limited).values_list("name", flat=True))


def make_for_keys(keys: Iterable[str]) -> None:
    """Make a limit of one for each key that has none, and keep them all from being removed in this transaction."""
    wanted = sorted({key for key in keys if key})
    if not wanted:
        return
    fresh = Limit.objects.bulk_create(
        [Limit(scope=Limit.Scope.KEY, name=key, size=1, explicit=False) for key in wanted], ignore_conflicts=True
    )
    made = Limit.objects.filter(scope=Limit.Scope.KEY, name__in=[limit.name for limit in fresh])
    LimitSlot.objects.bulk_create(
        [LimitSlot(limit=limit, number=1) for limit in made.filter(slots=None).order_by("id")], ignore_conflicts=True
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM tasks_app_limit WHERE scope = 'key' AND name = ANY(%s) ORDER BY id FOR SHARE", [wanted]
        )


def of_queues(names: Iterable[str]) -> dict[str, int]:
    """Return the id of the limit of each queue that has one."""
    return dict(Limit.objects.filter(scope=Limit.Scope.QUEUE, name__in=names).values_list("name", "id"))


_TAKE_SLOTS = """
WITH mine AS MATERIALIZED (
    SELECT id, task_id, rank, queue_name, concurrency_key FROM tasks_app_task
    WHERE id = ANY(%(ids)s::bigint[]) AND status = 'pending' AND hold = 0 ORDER BY id FOR UPDATE SKIP LOCKED
), needs AS MATERIALIZED (
    SELECT id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY rank, id) AS n
    FROM (
        SELECT mine.id, rank, lim.id AS limit_id FROM mine
        JOIN tasks_app_limit AS lim ON lim.scope = 'queue' AND lim.name = mine.queue_name
        UNION ALL
        SELECT mine.id, rank, lim.id FROM mine
        JOIN tasks_app_limit AS lim ON lim.scope = 'key' AND lim.name = mine.concurrency_key
        WHERE mine.concurrency_key <> ''
    ) AS each
), free AS MATERIALIZED (
    SELECT id AS slot_id, limit_id, row_number() OVER (PARTITION BY limit_id ORDER BY number) AS n
    FROM (
        SELECT slot.* FROM (SELECT limit_id, count(*) AS n FROM needs GROUP BY limit_id) AS wanted
        CROSS JOIN LATERAL (
            SELECT id, limit_id, number FROM tasks_app_limitslot
            WHERE limit_id = wanted.limit_id AND task_id IS NULL
            ORDER BY number LIMIT wanted.n FOR UPDATE SKIP LOCKED
        ) AS slot
    ) AS of_each
), refused AS MATERIALIZED (
    SELECT DISTINCT needs.id FROM needs LEFT JOIN free USING (limit_id, n) WHERE free.slot_id IS NULL
), parked AS (
    UPDATE tasks_app_task SET hold = 4 WHERE id = ANY(ARRAY(SELECT id FROM refused))
), occupied AS (
    UPDATE tasks_app_limitslot AS slot SET task_id = mine.task_id
    FROM needs JOIN free USING (limit_id, n) JOIN mine USING (id)
    WHERE slot.id = free.slot_id AND mine.id NOT IN (SELECT id FROM refused)
)
SELECT id, task_id, id IN (SELECT id FROM refused) FROM mine
"""


def take_slots(ids: Collection[int]) -> tuple[dict[int, UUID], bool]:
    """Take a free slot of every limit that these claimable tasks stand under, and park those that find one full.

    Returns the rows and ids of the tasks that have their slots, and whether any was parked. To be called in the
    transaction that claims them.
    """
    rows = statements.run(_TAKE_SLOTS, {"ids": list(ids)})
    return {pk: task_id for pk, task_id, refused in rows if not refused}, any(refused for *_, refused in rows)


_FREE = """
UPDATE tasks_app_limitslot SET task_id = NULL WHERE task_id = ANY(%s) RETURNING limit_id
"""


def free(task_ids: Iterable[Any]) -> set[int]:
    """Free the slots of tasks that are claimed no longer; return whose they were."""
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [list(task_ids)])
        return {limit_id for (limit_id,) in cursor.fetchall()}


_ADOPT = """
INSERT INTO tasks_app_limitslot (limit_id, number, task_id)
SELECT %(limit)s, row_number() OVER (ORDER BY id) + (SELECT coalesce(max(number), 0) FROM tasks_app_limitslot
    WHERE limit_id = %(limit)s AND task_id IS NOT NULL), task_id
FROM (SELECT id, task_id FROM tasks_app_task WHERE status = 'claimed' AND {mine} ORDER BY id FOR UPDATE) AS claimed
ON CONFLICT (limit_id, number) DO UPDATE SET task_id = excluded.task_id
"""


def adopt(limit: Limit) -> None:
    """Have the tasks that are claimed already occupy slots of a new limit, beyond its size if necessary."""
    mine = (
        "queue_name = %(name)s"
        if limit.scope == Limit.Scope.QUEUE
        else "concurrency_key = %(name)s AND concurrency_key <> ''"
    )
    with connection.cursor() as cursor:
        cursor.execute(_ADOPT.format(mine=mine), {"limit": limit.pk, "name": limit.name})


_TOO_MANY = """
SELECT id FROM tasks_app_limit AS lim
WHERE (%(limits)s::bigint[] IS NULL OR id = ANY(%(limits)s::bigint[]))
    AND size < (SELECT count(*) FROM tasks_app_limitslot WHERE limit_id = lim.id)
ORDER BY id FOR UPDATE
"""
_TRIM = """
DELETE FROM tasks_app_limitslot WHERE id = ANY(ARRAY(
    SELECT slot.id FROM tasks_app_limit AS lim CROSS JOIN LATERAL (
        SELECT id FROM tasks_app_limitslot WHERE limit_id = lim.id AND task_id IS NULL
        ORDER BY number DESC
        LIMIT (SELECT greatest(0, count(*) - lim.size) FROM tasks_app_limitslot WHERE limit_id = lim.id)
        FOR UPDATE SKIP LOCKED
    ) AS slot
    WHERE lim.id = ANY(%(limits)s::bigint[])))
"""


def trim(limit_ids: Collection[int] | None = None) -> int:
    """Remove free slots beyond their limits' sizes, as after a limit was made smaller; return how many.

    To be called wherever slots become free: those beyond the size go in the same transaction, before anybody can take
    them. The limit is locked and counted again in a second statement, so that two transactions do not remove too many.
    """
    rows = statements.run(_TOO_MANY, {"limits": None if limit_ids is None else list(limit_ids)})
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_TRIM, {"limits": [pk for (pk,) in rows]})
        return int(cursor.rowcount)


def remove_unused(limit: int = 500) -> int:
    """Remove limits that were made by a key alone and that no unfinished task uses; return how many."""
    with transaction.atomic():
        candidates = Limit.objects.filter(explicit=False).order_by("id").select_for_update(skip_locked=True)[:limit]
        locked = [candidate.pk for candidate in candidates]
        if not locked:
            return 0
        with connection.cursor() as cursor:
            # In a statement of its own, whose snapshot sees what was spawned before the lock was taken.
            cursor.execute(
                """
                SELECT id FROM tasks_app_limit AS lim WHERE id = ANY(%s) AND NOT EXISTS (
                    SELECT FROM tasks_app_task
                    WHERE concurrency_key = lim.name AND concurrency_key <> '' AND status IN ('pending', 'claimed'))
                """,
                [locked],
            )
            unused = [pk for (pk,) in cursor.fetchall()]
        Limit.objects.filter(pk__in=unused).delete()
    return len(unused)
