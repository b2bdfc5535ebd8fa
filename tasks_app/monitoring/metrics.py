"""All metrics at one moment: queues, task names, workers, the feed, the database."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from django.conf import settings

from tasks_app.engine.notify import publisher
from tasks_app.models import Freeze, Queue, Worker
from tasks_app.monitoring import database, queues, rates
from tasks_app.monitoring.queues import QueueStats
from tasks_app.monitoring.rates import Attempts, Finished, Percentiles, Span, Throughput, Window
from tasks_app.monitoring.workers import LIVE_STATES, STATES, recent_workers
from tasks_app.postgresql import clock

KEPT_SEC = 2.0
UNFOLDED_MOST = 1_000_000

T = TypeVar("T")


class CachedValue(Generic[T]):
    """Caches what `make` returned for `keep_sec`, counted from the start of the call; safe to share between threads."""

    def __init__(self, make: Callable[[], T], *, keep_sec: float) -> None:
        self._make = make
        self._keep_sec = keep_sec
        self._lock = threading.Lock()
        self._cached: tuple[float, T] | None = None

    def get(self, *, fresh: bool = False) -> T:
        """Return the value, made again when it is too old or with `fresh`; other threads wait meanwhile."""
        with self._lock:
            started = time.monotonic()
            if not fresh and self._cached is not None and started - self._cached[0] < self._keep_sec:
                return self._cached[1]
            value = self._make()
            self._cached = (started, value)
            return value

    def forget(self) -> None:
        with self._lock:
            self._cached = None


@dataclass(frozen=True, kw_only=True)
class QueueMetrics:
    """One queue."""

    queue_name: str
    tasks: QueueStats
    paused: bool
    oldest_pending_sec: float | None
    throughput: dict[str, Throughput]
    failure_rate: float | None
    retry_rate: float | None


@dataclass(frozen=True, kw_only=True)
class TaskNameMetrics:
    """One task name, over the window."""

    task_name: str
    completed: int
    failed: int
    cancelled: int
    attempts: int
    failure_rate: float | None
    retry_rate: float | None
    wait_sec: Percentiles
    run_sec: Percentiles


@dataclass(frozen=True, kw_only=True)
class HostMetrics:
    """A host of live workers, as one of them reported it last; in an allocation, what that has of it."""

    host: str
    memory_bytes: int
    free_bytes: int
    cpu_busy: float | None
    """Share of the processor time between two reports, 0 to 1."""
    disk_free_gb: float
    """Where it writes products."""


@dataclass(frozen=True, kw_only=True)
class WorkerMetrics:
    """Workers by state, the slots of the live ones, and their hosts."""

    states: dict[str, int]
    slots: int
    slots_taken: int
    hosts: list[HostMetrics]


@dataclass(frozen=True, kw_only=True)
class FeedMetrics:
    """Events, and wake-ups of the feed sent by this process."""

    last_event: int
    withheld_events: int
    withheld_sec: float
    wakeup_failures: int
    """Wake-ups that this process could not send since it started."""


@dataclass(frozen=True, kw_only=True)
class DatabaseMetrics:
    """The database."""

    size_bytes: int
    connections: int
    connections_most: int
    unfolded_changes: int
    dead_rows: dict[str, int]
    oldest_transaction_sec: float | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All metrics at one moment. A value is None where there are no rows to compute it from."""

    at: datetime
    frozen: bool
    queues: list[QueueMetrics]
    task_names: list[TaskNameMetrics]
    finished: Span
    attempts: Span
    refused_writes: Span
    workers: WorkerMetrics
    feed: FeedMetrics
    database: DatabaseMetrics


def _measure() -> Metrics:
    finished, attempts, refused = rates.finished(), rates.attempts(), rates.refused()
    return Metrics(
        at=clock.now(),
        frozen=Freeze.objects.exists(),
        queues=_queues(finished, attempts),
        task_names=_task_names(finished, attempts),
        finished=finished,
        attempts=attempts,
        refused_writes=refused,
        workers=_workers(),
        feed=_feed(),
        database=_database(),
    )


_cache = CachedValue(_measure, keep_sec=KEPT_SEC)


def snapshot(*, fresh: bool = False) -> Metrics:
    """Return all metrics, at most two seconds old; `fresh` measures them now."""
    return _cache.get(fresh=fresh)


def forget() -> None:
    """Have the next snapshot measured again."""
    _cache.forget()


def _queues(finished: Window[Finished], attempts: Window[Attempts]) -> list[QueueMetrics]:
    paused = dict(Queue.objects.values_list("name", "paused_at"))
    names = sorted({settings.ABSURD_QUEUE_NAME, *paused})
    oldest = queues.oldest_pending(names)
    return [
        QueueMetrics(
            queue_name=name,
            tasks=tasks,
            paused=paused.get(name) is not None,
            oldest_pending_sec=oldest.get(name),
            throughput=finished.by_queue.get(name, Finished()).throughput(finished.over_sec),
            failure_rate=finished.by_queue.get(name, Finished()).failure_rate,
            retry_rate=attempts.by_queue.get(name, Attempts()).retry_rate,
        )
        for name, tasks in zip(names, queues.queue_stats(names), strict=True)
    ]


def _task_names(finished: Window[Finished], attempts: Window[Attempts]) -> list[TaskNameMetrics]:
    found = []
    for name in sorted({*finished.by_task_name, *attempts.by_task_name}):
        ended, tried = finished.by_task_name.get(name, Finished()), attempts.by_task_name.get(name, Attempts())
        found.append(
            TaskNameMetrics(
                task_name=name,
                completed=ended.completed,
                failed=ended.failed,
                cancelled=ended.cancelled,
                attempts=tried.ended,
                failure_rate=ended.failure_rate,
                retry_rate=tried.retry_rate,
                wait_sec=ended.wait_sec,
                run_sec=tried.run_sec,
            )
        )
    return found


def _workers() -> WorkerMetrics:
    reports = recent_workers()
    live = [report for report in reports if report.state in LIVE_STATES]
    states = Counter(str(report.state) for report in reports)
    return WorkerMetrics(
        states={state: states[state] for state in STATES},
        slots=sum(report.worker.concurrency for report in live),
        slots_taken=sum(len(report.tasks) for report in live),
        hosts=_hosts(report.worker for report in live),
    )


def _hosts(workers: Iterable[Worker]) -> list[HostMetrics]:
    latest = {each.host: each for each in sorted(workers, key=lambda each: each.heartbeat_at)}
    return [
        HostMetrics(
            host=host,
            memory_bytes=worker.host_memory_bytes,
            free_bytes=worker.host_free_bytes,
            cpu_busy=worker.host_cpu_busy,
            disk_free_gb=worker.disk_gb,
        )
        for host, worker in sorted(latest.items())
        if worker.host_memory_bytes
    ]


def _feed() -> FeedMetrics:
    state = database.feed_state()
    return FeedMetrics(
        last_event=state.last,
        withheld_events=state.last - state.readable,
        withheld_sec=state.withheld_sec,
        wakeup_failures=publisher.failures,
    )


def _database() -> DatabaseMetrics:
    used, most = database.connections()
    ages = [holder.age_sec for holder in database.xmin_holders() if holder.age_sec is not None]
    return DatabaseMetrics(
        size_bytes=database.size_bytes(),
        connections=used,
        connections_most=most,
        unfolded_changes=queues.unfolded_changes(UNFOLDED_MOST),
        dead_rows={table.name: table.dead_rows for table in database.hot_tables()},
        oldest_transaction_sec=max(ages, default=None),
    )
