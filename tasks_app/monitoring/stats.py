"""How much there is of what, and for how long it has waited."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import TypedDict

from tasks_app.engine.backoff import CRITICAL_BAND_MS, CRITICAL_FROM
from tasks_app.models import Queue, TaskStatus, Worker
from tasks_app.models.task import PRIORITY_MOST
from tasks_app.models.worker import STALE_AFTER_HEARTBEATS
from tasks_app.monitoring import counts
from tasks_app.postgresql import clock, statements

MEMORY_CLASSES = tuple(range(12))


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
    counted = counts.counts(wanted)
    found: list[QueueStats] = []
    for name in wanted:
        by_status = {str(status): counted.get((name, str(status)), 0) for status in TaskStatus}
        found.append(QueueStats(queue_name=name, total=sum(by_status.values()), **by_status))  # type: ignore[typeddict-item]
    return found


def live_workers(queue: str | None = None) -> list[Worker]:
    """Return the workers that are up and have reported lately, optionally only those that serve a queue."""
    moment = clock.now()
    workers = Worker.objects.filter(stopped_at=None)
    if queue is not None:
        workers = workers.filter(queues__contains=[queue])
    return [w for w in workers if moment - w.heartbeat_at < timedelta(seconds=STALE_AFTER_HEARTBEATS * w.heartbeat_sec)]


LINE_MOST = 1000

# Tasks of a critical priority stand in a band of ranks of their own, all others together in the last one.
_BANDS = [
    *((-n * CRITICAL_BAND_MS, (1 - n) * CRITICAL_BAND_MS) for n in range(PRIORITY_MOST - CRITICAL_FROM + 1, 0, -1)),
    (0, CRITICAL_BAND_MS),
]
_OLDEST = """
SELECT queue.name, extract(epoch FROM absurd_now() - min(front.runnable_at))::float8
FROM unnest(%(names)s::text[]) AS queue(name)
CROSS JOIN unnest(%(memory_classes)s::smallint[]) AS class(n)
CROSS JOIN unnest(%(begins)s::bigint[], %(ends)s::bigint[]) AS band(begins, ends)
CROSS JOIN LATERAL (
    SELECT runnable_at FROM tasks_app_task
    WHERE queue_name = queue.name AND memory_class = class.n AND status = 'pending' AND hold = 0
        AND rank >= band.begins AND rank < band.ends
    ORDER BY rank, id LIMIT %(most)s
) AS front
GROUP BY queue.name
"""


def oldest_pending(names: Iterable[str]) -> dict[str, float]:
    """Return for how many seconds the oldest claimable task of each queue has been runnable; no task, no entry.

    Bounded in cost: it looks at the first thousand of each line (queue, memory class, critical priority). Only behind
    more than that can an older one stand, of a lower priority; it is older by 13 minutes at most.
    """
    rows = statements.run(_OLDEST, _oldest_params(names))
    return {name: max(0.0, age_sec) for name, age_sec in rows}


def _oldest_params(names: Iterable[str]) -> dict[str, object]:
    begins, ends = zip(*_BANDS, strict=True)
    return {
        "names": list(names),
        "memory_classes": list(MEMORY_CLASSES),
        "begins": list(begins),
        "ends": list(ends),
        "most": LINE_MOST,
    }


def oldest_pending_sec(queue: str) -> float | None:
    """Return for how long the oldest claimable task of the queue has been runnable, in seconds."""
    return oldest_pending([queue]).get(queue)
