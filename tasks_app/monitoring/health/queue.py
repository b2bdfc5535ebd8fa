"""Is the queue served, and does it move?"""

from __future__ import annotations

import shlex
from datetime import timedelta

from tasks_app.models import Freeze, Queue, Task, Worker
from tasks_app.monitoring import counts, stats
from tasks_app.monitoring.health.checks import Check, State, above, duration, limit
from tasks_app.postgresql import clock

STALLED_MOST = 1000


def workers(name: str) -> Check:
    """Does any worker serve the queue?"""
    up = len(stats.live_workers(name))
    if not up:
        state: State = "bad" if _depth(name) else "warn"
        remedy = f"start one with manage.py runworker --queue-name {shlex.quote(name)}"
        return Check(name="workers", state=state, message="No active workers", remedy=remedy, value=0, threshold=1)
    return Check(name="workers", state="ok", message=f"{up} workers report", value=up, threshold=1)


def unserved(name: str) -> Check:
    """Are there other queues with pending tasks that a worker served, and none serves now?

    A queue that no worker ever served does not count: any caller who may spawn makes one by naming it.
    """
    served = {queue for worker in stats.live_workers() for queue in worker.queues}
    pending = [queue for queue in counts.queues_with_pending() if queue not in served and queue != name]
    alone = [queue for queue in pending if Worker.objects.filter(queues__contains=[queue]).exists()]
    if not alone:
        message = "Every other queue with tasks that had a worker has one"
        return Check(name="unserved queues", state="ok", message=message, value=0)
    return Check(
        name="unserved queues",
        state="warn",
        message=f"No worker serves {', '.join(alone[:5])}{' and others' if len(alone) > 5 else ''}",
        remedy=f"start one with manage.py runworker --queue-name {shlex.quote(alone[0])}",
        value=len(alone),
        threshold=0,
    )


def depth(name: str) -> Check:
    """How many tasks are there to do?"""
    found = _depth(name)
    message = f"Queue depth is {found}"
    if found > limit("depth_warn"):
        message += f", more than {limit('depth_warn'):g}"
    return above("depth", found, message, "add workers", warn="depth_warn", bad="depth_bad")


def oldest_pending(name: str) -> Check:
    """For how long has the oldest claimable task waited?"""
    waited_sec = stats.oldest_pending_sec(name)
    if waited_sec is None:
        return Check(name="oldest pending", state="ok", message="No claimable task waits")
    return above(
        "oldest pending",
        round(waited_sec, 1),
        f"Oldest pending task has waited {duration(waited_sec)}",
        "add workers, or look at why those that are up do not take it",
        warn="oldest_pending_warn_sec",
        bad="oldest_pending_bad_sec",
    )


def progress(name: str) -> Check:
    """Do the workers that are up take what there is?"""
    patience_sec = limit("progress_bad_sec")
    waited_sec = stats.oldest_pending_sec(name) or 0.0
    found = stats.queue_stats([name])[0]
    stopped = Freeze.objects.exists() or Queue.objects.filter(name=name, paused_at__isnull=False).exists()
    idle = not found["claimed"] and not stopped and waited_sec > patience_sec and stats.live_workers(name)
    since = clock.now() - timedelta(seconds=patience_sec)
    if idle and not Task.objects.in_queue(name).filter(completed_at__gt=since).exists():
        return Check(
            name="progress",
            state="bad",
            message=f"Workers are up but have taken nothing for {duration(patience_sec)}",
            remedy="see whether a task needs more memory or cores than any of them has, and read their logs",
            value=round(waited_sec, 1),
            threshold=patience_sec,
        )
    return Check(name="progress", state="ok", message="Tasks are taken", threshold=patience_sec)


def stalled(name: str) -> Check:
    """Have claims outlived their lease?"""
    found = len(Task.objects.expired_leases().in_queue(name).values_list("pk")[:STALLED_MOST])
    if not found:
        return Check(name="stalled claims", state="ok", message="No claim has outlived its lease", value=0, threshold=0)
    return Check(
        name="stalled claims",
        state="warn",
        message=f"{found} claims have outlived their lease",
        remedy="they go back to the queue by themselves while a web process or a worker is up",
        value=found,
        threshold=0,
    )


def stops(name: str) -> Check:
    """Has somebody stopped the queue, or everything?"""
    frozen = Freeze.objects.first()
    if frozen is not None:
        message = f"Everything is frozen by {frozen.frozen_by} ({frozen.reason})"
        return Check(name="stops", state="warn", message=message, remedy="thaw it once the reason is gone")
    paused = Queue.objects.filter(name=name, paused_at__isnull=False).first()
    if paused is not None:
        message = f"Queue paused by {paused.paused_by} ({paused.pause_reason or 'no reason given'})"
        return Check(name="stops", state="warn", message=message, remedy="resume it once the reason is gone")
    return Check(name="stops", state="ok", message="Neither paused nor frozen")


def _depth(name: str) -> int:
    found = stats.queue_stats([name])[0]
    return found["pending"] + found["claimed"]
