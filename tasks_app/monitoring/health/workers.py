"""Can the workers that are up run what there is: do they know the task names, and do they see the data?"""

from __future__ import annotations

from tasks_app import formats
from tasks_app.monitoring import stats
from tasks_app.monitoring.health.checks import Check
from tasks_app.postgresql import statements

LOOKED_AT = 1000
SHOWN = 5

# Bounded in cost: what nobody claims comes to the front in time.
_NAMES_IN_FRONT = """
SELECT DISTINCT task_name FROM unnest(%(memory_classes)s::smallint[]) AS class(n)
CROSS JOIN LATERAL (
    SELECT task_name FROM tasks_app_task
    WHERE queue_name = %(queue)s AND memory_class = class.n AND status = 'pending' AND hold = 0
    ORDER BY rank, id LIMIT %(most)s
) AS front
"""


_UNAVAILABLE_IN_FRONT = """
SELECT count(DISTINCT front.id), min(entry.value ->> 'host'), min(entry.value ->> 'reason')
FROM unnest(%(memory_classes)s::smallint[]) AS class(n)
CROSS JOIN LATERAL (
    SELECT id, unavailable_on FROM tasks_app_task
    WHERE queue_name = %(queue)s AND memory_class = class.n AND status = 'pending' AND hold = 0
    ORDER BY rank, id LIMIT %(most)s
) AS front
CROSS JOIN LATERAL jsonb_each(front.unavailable_on) AS entry
WHERE (entry.value ->> 'until')::timestamptz > absurd_now()
"""


def _front(queue: str) -> dict[str, object]:
    return {"memory_classes": list(stats.MEMORY_CLASSES), "queue": queue, "most": LOOKED_AT}


def unavailable(queue: str) -> Check:
    """Are there tasks that wait because a host lately lacked what they need?"""
    count, host, reason = statements.run(_UNAVAILABLE_IN_FRONT, _front(queue))[0]
    if not count:
        return Check(name="hosts", state="ok", message="No host lacked what a task needs", value=0)
    return Check(
        name="hosts",
        state="warn",
        message=f"{formats.count(count, 'task')} could not be done on a host, for example on {host}: {reason}",
        remedy="repair that host, or start workers on one that has what they need; retrying costs nothing",
        value=count,
        threshold=0,
    )


def task_names(queue: str) -> Check:
    """Are there claimable tasks whose name no live worker of the queue knows?"""
    workers = stats.live_workers(queue)
    unknown: list[str] = []
    # A worker of an earlier version does not say which names it knows.
    if workers and all(worker.task_names for worker in workers):
        known = {name for worker in workers for name in worker.task_names}
        unknown = sorted({name for (name,) in statements.run(_NAMES_IN_FRONT, _front(queue))} - known)
    if not unknown:
        return Check(name="task names", state="ok", message="Live workers know every task name that waits", value=0)
    more = " and others" if len(unknown) > SHOWN else ""
    return Check(
        name="task names",
        state="warn",
        message=f"No live worker knows {', '.join(unknown[:SHOWN])}{more}: tasks of that name wait",
        remedy="start workers of the version that has the name, or cancel these tasks",
        value=len(unknown),
        threshold=0,
    )


def data_roots(queue: str) -> Check:
    """Do the hosts of the live workers see all data roots?"""
    blind = [worker for worker in stats.live_workers(queue) if worker.missing_roots]
    if not blind:
        return Check(name="data roots of workers", state="ok", message="Live workers see their data roots", value=0)
    each = "; ".join(f"{worker} does not see {', '.join(worker.missing_roots)}" for worker in blind[:SHOWN])
    return Check(
        name="data roots of workers",
        state="warn",
        message=f"{len(blind)} workers claim nothing: {each}",
        remedy="mount the roots there, or mark a new one with manage.py absurd_setup --mark-roots",
        value=len(blind),
        threshold=0,
    )
