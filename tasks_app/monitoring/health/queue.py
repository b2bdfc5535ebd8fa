"""Checks of a queue: live workers that can run its tasks, and tasks that move."""

from __future__ import annotations

import shlex
from dataclasses import replace
from datetime import timedelta

from tasks_app import formats
from tasks_app.models import Freeze, Queue, Task, TaskStatus, Worker
from tasks_app.monitoring import queues
from tasks_app.monitoring.health.checks import (
    Check,
    State,
    Subject,
    bad,
    counted,
    fault,
    listed,
    ok,
    threshold,
    warn,
    within,
)
from tasks_app.postgresql import clock, statements

STALLED_MOST = 1000
DEPTH_COUNTED = 10_000
"""How far claimable tasks are counted."""
FIRST_TASKS = 1000
"""How many claimable tasks at the front of the queue are read: a task that nobody claims gets there in time."""

_FIRST_TASKS = """
(
    SELECT id, task_name, unavailable_on FROM tasks_app_task
    WHERE queue_name = %(queue)s AND status = 'pending' AND hold = 0
    ORDER BY rank, id LIMIT %(limit)s
) AS task
"""
_NAMES = f"SELECT DISTINCT task_name FROM {_FIRST_TASKS}"  # noqa: S608 - a constant
_UNAVAILABLE = f"""
SELECT count(DISTINCT task.id), min(entry.value ->> 'host'), min(entry.value ->> 'reason')
FROM {_FIRST_TASKS} CROSS JOIN LATERAL jsonb_each(task.unavailable_on) AS entry
WHERE (entry.value ->> 'until')::timestamptz > absurd_now()
"""  # noqa: S608 - a constant


def workers(name: str) -> Check:
    """Check that a live worker serves the queue."""
    live = Worker.objects.live().serving(name).count()
    if live:
        return ok(f"{formats.count(live, 'live worker')}", live, 1)
    state: State = "bad" if _depth(name) else "warn"
    return fault(state, "No active workers", f"start one with {_runworker(name)}", 0, 1)


def _runworker(queue: str) -> str:
    return f"manage.py runworker --queue-name {shlex.quote(queue)}"


def unserved(name: str) -> Check:
    """Check the other queues: those with pending tasks that had a worker once still have one.

    A queue that never had a worker does not count: any caller who may spawn creates one by naming it.
    """
    served = {queue for (found,) in Worker.objects.live().values_list("queues") for queue in found}
    pending = [queue for queue in queues.queues_with_pending() if queue not in served and queue != name]
    alone = [queue for queue in pending if Worker.objects.serving(queue).exists()]
    if not alone:
        return ok("Every other queue with pending tasks that had a worker has a live one", 0)
    return warn(f"No worker serves {listed(alone)}", f"start one with {_runworker(alone[0])}", len(alone), 0)


def task_names(queue: str) -> Check:
    """Check that live workers of the queue know the names of its claimable tasks."""
    known_by = [names for (names,) in Worker.objects.live().serving(queue).values_list("task_names")]
    unknown: list[str] = []
    # A worker of an earlier version does not report the names that it knows.
    if known_by and all(known_by):
        known = {name for names in known_by for name in names}
        unknown = sorted({name for (name,) in statements.run(_NAMES, _first_tasks(queue))} - known)
    return counted(
        len(unknown),
        "Live workers know the name of every claimable task",
        f"No live worker knows the task names {listed(unknown)}: their tasks stay pending",
        "start workers of a version that has these names, or cancel the tasks",
    )


def data_roots(queue: str) -> Check:
    """Check that the data roots are mounted on the hosts of the live workers."""
    without = [worker for worker in Worker.objects.live().serving(queue) if worker.missing_roots]
    each = listed([f"{worker} lacks {', '.join(worker.missing_roots)}" for worker in without], separator="; ")
    return counted(
        len(without),
        "All data roots are mounted on the hosts of live workers",
        f"No tasks are claimed by workers whose data roots are not mounted: {each}",
        "mount the roots there; if a root is new, mark it with manage.py absurd_setup --mark-roots",
    )


def unavailable(queue: str) -> Check:
    """Check for tasks that were returned because a host lacked what they need."""
    count, host, reason = statements.run(_UNAVAILABLE, _first_tasks(queue))[0]
    return counted(
        count,
        "No host lacked what a task needs",
        f"{formats.count(count, 'task')} could not run on a host, for example on {host}: {reason}",
        "repair that host, or start workers on a host that has what they need; no retries are used up",
    )


def _first_tasks(queue: str) -> dict[str, object]:
    return {"queue": queue, "limit": FIRST_TASKS}


def depth(name: str) -> Check:
    """Check the number of tasks that are claimed or could be: those that wait for a time or a task do not count."""
    found, limit = _depth(name), threshold("depth_warn")
    message = f"Queue depth is {found}" + (f", more than {limit:g}" if found > limit else "")
    return within(found, message, "add workers", warn_at="depth_warn", bad_at="depth_bad")


def oldest_pending(name: str) -> Check:
    """Check for how long the oldest claimable task has waited."""
    waited_sec = queues.oldest_pending_sec(name)
    if waited_sec is None:
        return ok("There is no claimable task")
    return within(
        round(waited_sec, 1),
        f"Oldest pending task has waited {formats.duration(waited_sec)}",
        "add workers; if workers are idle, find out why with manage.py absurd_explain",
        warn_at="oldest_pending_warn_sec",
        bad_at="oldest_pending_bad_sec",
    )


def progress(name: str) -> Check:
    """Check that live workers claim claimable tasks."""
    limit_sec = threshold("progress_bad_sec")
    waited_sec = queues.oldest_pending_sec(name) or 0.0
    found = queues.queue_stats([name])[0]
    stopped = Freeze.objects.exists() or Queue.objects.filter(name=name, paused_at__isnull=False).exists()
    idle = not found["claimed"] and not stopped and waited_sec > limit_sec
    since = clock.now() - timedelta(seconds=limit_sec)
    if (
        idle
        and Worker.objects.live().serving(name).exists()
        and not Task.objects.in_queue(name).filter(completed_at__gt=since).exists()
    ):
        return bad(
            f"Live workers have claimed nothing for {formats.duration(limit_sec)}",
            "see whether a task needs more memory or cores than any worker has (manage.py absurd_explain TASK_ID), and "
            "read the workers' logs",
            round(waited_sec, 1),
            limit_sec,
        )
    return ok("Claimable tasks are claimed", threshold=limit_sec)


def stalled(name: str) -> Check:
    """Check for claims whose lease has expired."""
    found = len(Task.objects.expired_leases().in_queue(name).values_list("pk")[:STALLED_MOST])
    return counted(
        found,
        "No lease has expired",
        f"The leases of {formats.count(found, 'claimed task')} have expired",
        "nothing to do while a web process or a worker runs: they return the tasks to the queue",
    )


def stops(name: str) -> Check:
    """Check for a freeze and for a pause of the queue."""
    frozen = Freeze.objects.first()
    if frozen is not None:
        message = f"Everything is frozen by {frozen.frozen_by} ({frozen.reason})"
        found = warn(message, "run manage.py absurd_thaw when the reason is gone")
        return replace(found, subjects=(Subject(kind="system", key="", message=message),))
    paused = Queue.objects.filter(name=name, paused_at__isnull=False).first()
    if paused is not None:
        message = f"Queue paused by {paused.paused_by} ({paused.pause_reason or 'no reason given'})"
        found = warn(message, "resume it when the reason is gone")
        return replace(found, subjects=(Subject(kind="queue", key=str(paused.pk), message=message),))
    return ok("Neither paused nor frozen")


def _depth(name: str) -> int:
    claimable = Task.objects.in_queue(name).filter(status=TaskStatus.PENDING, hold=0)
    return claimable.order_by()[:DEPTH_COUNTED].count() + queues.queue_stats([name])[0]["claimed"]
