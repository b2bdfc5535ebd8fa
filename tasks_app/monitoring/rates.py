"""Rates and percentiles over the last day, or over fewer rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from django.db import connection, transaction

T = TypeVar("T")

WINDOW_SEC = 86_400
WINDOW_ROWS = 10_000
"""The window is the last day or WINDOW_ROWS rows, whichever is less."""
THROUGHPUT_SEC = {"1m": 60, "5m": 300, "15m": 900}
FAILURES = ("error", "invalid", "timeout", "idle_timeout", "killed", "memory", "lost")


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """Three percentiles of a duration in seconds, None where there was nothing to measure."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Tasks completed per second, over the window or, when it has too many rows, over a part of it."""

    tasks_per_sec: float | None
    over_sec: float


@dataclass(frozen=True, kw_only=True)
class Finished:
    """Tasks of one name or one queue that ended within the window."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    wait_sec: Percentiles = Percentiles()
    """From when nothing but the queue kept them waiting to their last claim."""
    completed_within: tuple[int, ...] = (0,) * len(THROUGHPUT_SEC)

    @property
    def failure_rate(self) -> float | None:
        ended = self.completed + self.failed
        return self.failed / ended if ended else None

    def throughput(self, over_sec: float) -> dict[str, Throughput]:
        """Return how many were completed in a second, by window; `over_sec` is the length of the rows read."""
        found = {}
        for (label, wanted_sec), done in zip(THROUGHPUT_SEC.items(), self.completed_within, strict=True):
            covered_sec = min(wanted_sec, over_sec)
            per_sec = done / covered_sec if covered_sec > 0 else None
            found[label] = Throughput(tasks_per_sec=per_sec, over_sec=covered_sec)
        return found


@dataclass(frozen=True, kw_only=True)
class Attempts:
    """Attempts of one task name, or on one queue, that ended within the window."""

    ended: int = 0
    retried: int = 0
    """Those that failed and were, or will be, followed by another."""
    run_sec: Percentiles = Percentiles()
    """Of completed attempts, from start to end."""

    @property
    def retry_rate(self) -> float | None:
        """The share of attempts that were retried."""
        return self.retried / self.ended if self.ended else None


@dataclass(frozen=True, kw_only=True)
class Span:
    """How many rows a window has, and how far back they reach."""

    rows: int
    over_sec: float


@dataclass(frozen=True, kw_only=True)
class Window(Span, Generic[T]):
    """The rows of a window by task name and by queue."""

    by_task_name: dict[str, T] = field(default_factory=dict)
    by_queue: dict[str, T] = field(default_factory=dict)


# Cut off by an index, newest first. What a task waited for is over when its time has come, its parents are done and an
# attempt that was given back has ended.
_COMPLETED_WITHIN = "count(*) FILTER (WHERE status = 'completed' AND age_sec < {})"
_FINISHED = f"""
WITH finished AS MATERIALIZED (
    SELECT task_id, task_name, queue_name, status, claim_epoch, runnable_at, joined_at, claimed_at, completed_at
    FROM tasks_app_task
    WHERE completed_at IS NOT NULL AND completed_at > absurd_now() - %(window_sec)s * interval '1 second'
    ORDER BY completed_at DESC, id DESC LIMIT %(rows)s
), span AS (
    SELECT count(*) AS rows, CASE WHEN count(*) < %(rows)s THEN %(window_sec)s
        ELSE extract(epoch FROM absurd_now() - min(completed_at)) END::float8 AS over_sec
    FROM finished
), timed AS (
    SELECT finished.*, extract(epoch FROM absurd_now() - completed_at) AS age_sec,
        extract(epoch FROM claimed_at - greatest(runnable_at, joined_at, earlier.ended_at))::float8 AS wait_sec
    FROM finished LEFT JOIN LATERAL (
        SELECT ended_at FROM tasks_app_attempt AS attempt
        WHERE attempt.task_id = finished.task_id AND number = claim_epoch - 1 AND claim_epoch > 1 OFFSET 0
    ) AS earlier ON true
)
SELECT span.rows, span.over_sec, task_name, queue_name, each.completed, failed, cancelled, wait_sec, completed_within
FROM span LEFT JOIN (
    SELECT task_name, queue_name,
        count(*) FILTER (WHERE status = 'completed') AS completed, count(*) FILTER (WHERE status = 'failed') AS failed,
        count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY wait_sec) AS wait_sec,
        ARRAY[{", ".join(_COMPLETED_WITHIN.format(sec) for sec in THROUGHPUT_SEC.values())}] AS completed_within
    FROM timed GROUP BY GROUPING SETS ((task_name), (queue_name))
) AS each ON true
"""  # noqa: S608 - constants

# OFFSET 0 keeps the planner at one index probe a row, where a join could make it read the whole table.
_ATTEMPTS = """
WITH ended AS MATERIALIZED (
    SELECT task_id, number, started_at, ended_at, outcome FROM tasks_app_attempt
    WHERE ended_at IS NOT NULL AND ended_at > absurd_now() - %(window_sec)s * interval '1 second'
    ORDER BY ended_at DESC LIMIT %(rows)s
), span AS (
    SELECT count(*) AS rows, CASE WHEN count(*) < %(rows)s THEN %(window_sec)s
        ELSE extract(epoch FROM absurd_now() - min(ended_at)) END::float8 AS over_sec
    FROM ended
), named AS (
    SELECT task_name, queue_name, outcome, extract(epoch FROM ended_at - started_at)::float8 AS run_sec,
        outcome = ANY(%(failures)s::text[]) AND NOT (number = claim_epoch AND status IN ('failed', 'cancelled'))
            AS retried
    FROM ended CROSS JOIN LATERAL (
        SELECT task_name, queue_name, status, claim_epoch FROM tasks_app_task AS task
        WHERE task.task_id = ended.task_id OFFSET 0
    ) AS task
)
SELECT span.rows, span.over_sec, task_name, queue_name, ended, retried, run_sec
FROM span LEFT JOIN (
    SELECT task_name, queue_name, count(*) AS ended, count(*) FILTER (WHERE retried) AS retried,
        percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY run_sec)
            FILTER (WHERE outcome IN ('completed', 'no_work')) AS run_sec
    FROM named GROUP BY GROUPING SETS ((task_name), (queue_name))
) AS each ON true
"""

_REFUSED = """
SELECT count(*), CASE WHEN count(*) < %(rows)s THEN %(window_sec)s
    ELSE extract(epoch FROM absurd_now() - min(created_at)) END::float8
FROM (
    SELECT created_at FROM tasks_app_taskevent
    WHERE event_type = 'refused' AND created_at > absurd_now() - %(window_sec)s * interval '1 second'
    ORDER BY created_at DESC LIMIT %(rows)s
) AS refused
"""


def finished() -> Window[Finished]:
    """Return how the recent tasks ended, and how long they had waited."""
    return _window(
        _FINISHED,
        lambda completed, failed, cancelled, wait_sec, completed_within: Finished(
            completed=completed,
            failed=failed,
            cancelled=cancelled,
            wait_sec=_percentiles(wait_sec),
            completed_within=tuple(completed_within),
        ),
    )


def attempts() -> Window[Attempts]:
    """Return how the recent attempts ended, and how long they ran."""
    return _window(
        _ATTEMPTS,
        lambda ended, retried, run_sec: Attempts(ended=ended, retried=retried, run_sec=_percentiles(run_sec)),
    )


def refused() -> Span:
    """Return how many recent writes of workers were refused because the claim was lost."""
    ((rows, over_sec),) = _read(_REFUSED)
    return Span(rows=rows, over_sec=over_sec)


def _window(sql: str, make: Callable[..., T]) -> Window[T]:
    rows = _read(sql)
    window = Window[T](rows=rows[0][0], over_sec=rows[0][1])
    for _, _, task_name, queue_name, *figures in rows:
        if task_name is not None:
            window.by_task_name[task_name] = make(*figures)
        elif queue_name is not None:
            window.by_queue[queue_name] = make(*figures)
    return window


def _read(sql: str) -> list[tuple[Any, ...]]:
    """Run a query of this module, kept to the indexes: nothing it needs is found by reading a whole table."""
    names = ("enable_seqscan", "enable_bitmapscan")
    read = ", ".join(f"current_setting('{name}')" for name in names)
    write = "SELECT " + ", ".join(f"set_config('{name}', %s, true)" for name in names)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SELECT {read}")
        before = cursor.fetchone()
        cursor.execute(write, ["off"] * len(names))
        cursor.execute(sql, {"window_sec": WINDOW_SEC, "rows": WINDOW_ROWS, "failures": list(FAILURES)})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.execute(write, before)
    return rows


def _percentiles(values: Sequence[float] | None) -> Percentiles:
    return Percentiles() if values is None else Percentiles(p50=values[0], p95=values[1], p99=values[2])
