"""All figures at one moment: queues, task names, workers, the feed, the database."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from tasks_app.engine.notify import publisher
from tasks_app.models import Freeze, Queue
from tasks_app.monitoring import counts, database_stats, recent_rates, stats
from tasks_app.monitoring.cached_value import Fresh
from tasks_app.monitoring.recent_rates import Attempts, Finished, Percentiles, Throughput
from tasks_app.monitoring.stats import QueueStats
from tasks_app.monitoring.worker_states import recent_workers
from tasks_app.postgresql import clock

KEPT_SEC = 2.0
UNFOLDED_MOST = 1_000_000
WORKER_STATES = ("active", "idle", "stale", "lost", "stopped")


@dataclass(frozen=True, kw_only=True)
class QueueFigures:
    """One queue."""

    queue_name: str
    tasks: QueueStats
    paused: bool
    oldest_pending_sec: float | None
    throughput: dict[str, Throughput]
    failure_rate: float | None
    retry_rate: float | None


@dataclass(frozen=True, kw_only=True)
class TaskNameFigures:
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
class WindowFigures:
    """How far back the figures of a kind go: a day, or less where there were more rows than are looked at."""

    rows: int
    over_sec: float


@dataclass(frozen=True, kw_only=True)
class WorkerFigures:
    """Workers by state, and the slots of those that are up."""

    states: dict[str, int]
    slots: int
    slots_taken: int


@dataclass(frozen=True, kw_only=True)
class FeedFigures:
    """Events, and how this process fares in telling of them."""

    last_event: int
    withheld_events: int
    withheld_sec: float
    wakeup_failures: int
    """Wake-ups that this process could not send since it began."""


@dataclass(frozen=True, kw_only=True)
class DatabaseFigures:
    """The database behind it all."""

    size_bytes: int
    connections: int
    connections_most: int
    unfolded_changes: int
    dead_rows: dict[str, int]
    oldest_transaction_sec: float | None


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """All figures at one moment. What could not be measured, for want of rows, is None."""

    at: datetime
    frozen: bool
    queues: list[QueueFigures]
    task_names: list[TaskNameFigures]
    finished: WindowFigures
    attempts: WindowFigures
    refused_writes: WindowFigures
    workers: WorkerFigures
    feed: FeedFigures
    database: DatabaseFigures


def _measure() -> Metrics:
    finished, attempts, refused = recent_rates.finished(), recent_rates.attempts(), recent_rates.refused()
    return Metrics(
        at=clock.now(),
        frozen=Freeze.objects.exists(),
        queues=_queues(finished, attempts),
        task_names=_task_names(finished, attempts),
        finished=WindowFigures(rows=finished.rows, over_sec=finished.over_sec),
        attempts=WindowFigures(rows=attempts.rows, over_sec=attempts.over_sec),
        refused_writes=WindowFigures(rows=refused.rows, over_sec=refused.over_sec),
        workers=_workers(),
        feed=_feed(),
        database=_database(),
    )


_kept = Fresh(_measure, keep_sec=KEPT_SEC)


def snapshot(*, fresh: bool = False) -> Metrics:
    """Return all figures, at most two seconds old; `fresh` measures them now."""
    return _kept.get(fresh=fresh)


def forget() -> None:
    """Have the next snapshot measured anew."""
    _kept.forget()


def _queues(finished: recent_rates.Window[Finished], attempts: recent_rates.Window[Attempts]) -> list[QueueFigures]:
    paused = dict(Queue.objects.values_list("name", "paused_at"))
    names = sorted({settings.ABSURD_QUEUE_NAME, *paused})
    oldest = stats.oldest_pending(names)
    return [
        QueueFigures(
            queue_name=name,
            tasks=tasks,
            paused=paused.get(name) is not None,
            oldest_pending_sec=oldest.get(name),
            throughput=finished.by_queue.get(name, Finished()).throughput(finished.over_sec),
            failure_rate=finished.by_queue.get(name, Finished()).failure_rate,
            retry_rate=attempts.by_queue.get(name, Attempts()).retry_rate,
        )
        for name, tasks in zip(names, stats.queue_stats(names), strict=True)
    ]


def _task_names(
    finished: recent_rates.Window[Finished], attempts: recent_rates.Window[Attempts]
) -> list[TaskNameFigures]:
    figures = []
    for name in sorted({*finished.by_task_name, *attempts.by_task_name}):
        ended, tried = finished.by_task_name.get(name, Finished()), attempts.by_task_name.get(name, Attempts())
        figures.append(
            TaskNameFigures(
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
    return figures


def _workers() -> WorkerFigures:
    reports = recent_workers()
    up = [report for report in reports if report.state in ("active", "idle")]
    states = Counter(str(report.state) for report in reports)
    return WorkerFigures(
        states={state: states[state] for state in WORKER_STATES},
        slots=sum(report.worker.concurrency for report in up),
        slots_taken=sum(len(report.tasks) for report in up),
    )


def _feed() -> FeedFigures:
    state = database_stats.feed_state()
    return FeedFigures(
        last_event=state.last,
        withheld_events=state.last - state.readable,
        withheld_sec=state.withheld_sec,
        wakeup_failures=publisher.failures,
    )


def _database() -> DatabaseFigures:
    used, most = database_stats.connections()
    ages = [holder.age_sec for holder in database_stats.xmin_holders() if holder.age_sec is not None]
    return DatabaseFigures(
        size_bytes=database_stats.size_bytes(),
        connections=used,
        connections_most=most,
        unfolded_changes=counts.unfolded(UNFOLDED_MOST),
        dead_rows={table.name: table.dead_rows for table in database_stats.hot_tables()},
        oldest_transaction_sec=max(ages, default=None),
    )
