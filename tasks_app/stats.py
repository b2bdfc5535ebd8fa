"""Counts of tasks, always from the rows themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TypedDict

from django.db.models import Count, Min, Q

from tasks_app import clock
from tasks_app.models import Queue, Task, TaskStatus, Worker

STALE_AFTER_HEARTBEATS = 3


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
    """Return the counts by status of each named queue, or of all, by name; an unknown queue counts nothing."""
    wanted = sorted(names if names is not None else Queue.objects.values_list("name", flat=True))
    rows = Task.objects.filter(queue_id__in=wanted).order_by().values_list("queue_id", "status").annotate(n=Count("id"))
    counts = {(queue, status): n for queue, status, n in rows}
    found: list[QueueStats] = []
    for name in wanted:
        by_status = {str(status): counts.get((name, str(status)), 0) for status in TaskStatus}
        found.append(QueueStats(queue_name=name, total=sum(by_status.values()), **by_status))  # type: ignore[typeddict-item]
    return found


def live_workers(queue: str | None = None) -> list[Worker]:
    """Return the workers that are up and have reported lately, optionally only those that serve a queue."""
    moment = clock.now()
    workers = Worker.objects.filter(stopped_at=None)
    if queue is not None:
        workers = workers.filter(queues__contains=[queue])
    return [w for w in workers if moment - w.heartbeat_at < timedelta(seconds=STALE_AFTER_HEARTBEATS * w.heartbeat_sec)]


def oldest_pending_sec(queue: str) -> float | None:
    """Return for how long the oldest claimable task of the queue has been runnable, in seconds."""
    oldest = (
        Task.objects.in_queue(queue).filter(Q(status=TaskStatus.PENDING), hold=0).aggregate(at=Min("runnable_at"))["at"]
    )
    return None if oldest is None else max(0.0, (clock.now() - oldest).total_seconds())
