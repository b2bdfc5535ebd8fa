"""How the queue grows with workers, rows and clients of the feed, and what a task costs: processor time and WAL.

Rates depend on the machine; the costs of a task hardly do, so larger loads can be computed from them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
from django.db import connection
from rich import box
from rich.console import Console
from rich.table import Table

from absurd_project.benchmark import feed, load, scratch
from absurd_project.benchmark.measures import QUICK, Progress, Sizes, percentile
from absurd_project.benchmark.scratch import Scratch
from absurd_project.benchmark.workers import CONCURRENCY, QUEUE, spawn_tasks
from tasks_app.models import Queue, Task, TaskStatus
from tasks_app.operations.operation import ReasonedParams
from tasks_app.operations.queues import pause, resume


@dataclass(frozen=True, kw_only=True)
class Extent:
    """At which points is measured, and how long."""

    rows: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Finished tasks in the tables."""
    workers: tuple[int, ...] = (1, 2, 4, 8)
    tasks: int = 12_000
    """Of a backlog."""
    most_sec: float = 30.0
    idle_sec: float = 10.0
    clients: tuple[int, ...] = (10, 100, 500)
    events: int = 200


FULL = Extent()
SHORT = Extent(rows=(1_000,), workers=(1, 2), tasks=1_000, idle_sec=1.0, clients=(5,), events=20)
LOOK_SEC = 0.5
WARM_SHARE, END_SHARE = 0.1, 0.9
"""A rate is taken between these shares of the backlog."""
TABLES = {
    "tasks_app_attempt": "task_id IN (SELECT task_id FROM tasks_app_task WHERE queue_name = %(queue)s)",
    "tasks_app_taskevent": "queue_name = %(queue)s",
    "tasks_app_task": "queue_name = %(queue)s",
}
"""What a backlog leaves, in the order in which it can be deleted."""
WHY = ReasonedParams(reason="the benchmark starts all workers at once")


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the machine had spent at a moment, or has spent between two."""

    wall_sec: float
    own_cpu_sec: float
    """Of the processes that were watched, with all that they have started."""
    database_cpu_sec: float | None
    """Of all processes of the database server; None where it is on another host."""
    wal_bytes: float

    def since(self, earlier: Spent) -> Spent:
        """Return what was spent between two moments."""
        both = (self.database_cpu_sec, earlier.database_cpu_sec)
        return Spent(
            wall_sec=self.wall_sec - earlier.wall_sec,
            own_cpu_sec=self.own_cpu_sec - earlier.own_cpu_sec,
            database_cpu_sec=None if None in both else both[0] - both[1],  # type: ignore[operator]
            wal_bytes=self.wal_bytes - earlier.wal_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One point of a curve: a rate, and what each unit of it cost."""

    what: str
    """The unit: a task spawned or done, a worker that idles for a second, an event sent to a client."""
    rows: int | None = None
    """Finished tasks in the tables."""
    count: int
    """Workers or clients."""
    per_sec: float
    own_cpu_ms: float
    database_cpu_ms: float | None
    wal_bytes: float
    p50_ms: float | None = None
    p99_ms: float | None = None


def measure(place: Scratch, sizes: Sizes, progress: Progress) -> list[Cost]:
    """Measure tasks by workers at each number of finished rows, idle workers, and the feed by clients."""
    extent, found = SHORT if sizes is QUICK else FULL, list[Cost]()
    for name in (load.QUEUE, QUEUE):
        Queue.objects.get_or_create(name=name)
    with progress.part("scale: workers and rows", len(extent.rows) * len(extent.workers)) as step:
        for rows in extent.rows:
            load.truncate()
            load.add_finished(rows)
            load.vacuum()
            for count in extent.workers:
                found += _tasks(place, extent, rows, count)
                step()
    load.truncate()
    with progress.part("scale: feed", len(extent.clients)) as step:
        for clients in extent.clients:
            found.append(_feed(place, sizes, extent, clients))
            step()
    return found


def _tasks(place: Scratch, extent: Extent, rows: int, count: int) -> list[Cost]:
    """Spawn a backlog into a paused queue, start workers, let them idle, then let them work."""
    pause.act(QUEUE, WHY, load.ACTOR)
    spawned = _spent_by(lambda: spawn_tasks(extent.tasks), [psutil.Process()])
    with scratch.workers(place, QUEUE, count=count, concurrency=CONCURRENCY) as started:
        watched = [psutil.Process(each.pid) for each in started]
        idle = _spent_by(lambda: time.sleep(extent.idle_sec), watched)
        resume.act(QUEUE, WHY, load.ACTOR)
        _wait(int(extent.tasks * WARM_SHARE), extent)
        warm, first = _completed(), _now(watched)
        _wait(int(extent.tasks * END_SHARE), extent)
        done, working = _completed() - warm, _now(watched).since(first)
    for table, of_queue in TABLES.items():
        load.execute(f"DELETE FROM {table} WHERE {of_queue}", queue=QUEUE)
    load.vacuum()
    return [
        _cost("spawn many", spawned, extent.tasks, rows=rows, count=count),
        _cost("idle worker and second", idle, count * idle.wall_sec, rows=rows, count=count),
        _cost("claim, run, complete", working, max(1, done), rows=rows, count=count),
    ]


def _feed(place: Scratch, sizes: Sizes, extent: Extent, clients: int) -> Cost:
    """Send single events at a steady rate; a unit is the message of one event to one client."""
    asked = replace(sizes, fanout_clients=clients, fanout_events=extent.events)
    delays_ms: list[float] = []
    with scratch.web(place) as port:
        (web,) = (each for each in psutil.Process().children() if "daphne" in each.cmdline())
        spent = _spent_by(lambda: delays_ms.extend(feed.steady(place, port, asked, lambda: None)), [web])
    units = clients * extent.events
    p50_ms, p99_ms = (round(percentile(delays_ms, percent), 1) for percent in (50, 99))
    return _cost("message of the feed", spent, units, count=clients, p50_ms=p50_ms, p99_ms=p99_ms)


def _cost(what: str, spent: Spent, units: float, **more: Any) -> Cost:
    database_sec = spent.database_cpu_sec
    return Cost(
        what=what,
        per_sec=round(units / spent.wall_sec, 1),
        own_cpu_ms=round(1000 * spent.own_cpu_sec / units, 4),
        database_cpu_ms=None if database_sec is None else round(1000 * database_sec / units, 4),
        wal_bytes=round(spent.wal_bytes / units),
        **more,
    )


def _completed() -> int:
    return Task.objects.in_queue(QUEUE).filter(status=TaskStatus.COMPLETED).count()


def _wait(completed: int, extent: Extent) -> None:
    """Wait until this many have completed, or the time is over."""
    until = time.monotonic() + extent.most_sec
    while _completed() < completed and time.monotonic() < until:
        time.sleep(LOOK_SEC)


def _spent_by(work: Callable[[], object], watched: Sequence[psutil.Process]) -> Spent:
    first = _now(watched)
    work()
    return _now(watched).since(first)


def _now(watched: Sequence[psutil.Process]) -> Spent:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')")
        pid, wal_bytes = cursor.fetchone()
    return Spent(
        wall_sec=time.monotonic(),
        own_cpu_sec=sum(map(cpu_sec, watched)),
        database_cpu_sec=_server_cpu_sec(pid),
        wal_bytes=float(wal_bytes),
    )


def _server_cpu_sec(backend_pid: int) -> float | None:
    if connection.settings_dict["HOST"] and not connection.settings_dict["HOST"].startswith("/"):
        return None
    server = psutil.Process(backend_pid).parent()
    return None if server is None else cpu_sec(server)


def cpu_sec(process: psutil.Process) -> float:
    """Return the processor time of a process and of all that it has started, also of those that have ended."""
    found = 0.0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += sum(each.cpu_times()[:4])
    return found


def print_scale(costs: Sequence[Cost], console: Console) -> None:
    """Print the curves, a line a point."""
    table = Table(
        "unit", "rows", "workers or clients", "a second", "own CPU, ms", "database's CPU, ms", "WAL, bytes", "p50, ms",
        "p99, ms", box=box.SIMPLE, title="Rates, and what a unit costs",
    )  # fmt: skip
    for each in costs:
        database = "" if each.database_cpu_ms is None else f"{each.database_cpu_ms:.3f}"
        latencies = ["" if value is None else f"{value:.1f}" for value in (each.p50_ms, each.p99_ms)]
        table.add_row(
            each.what, "" if each.rows is None else f"{each.rows:,}", str(each.count), f"{each.per_sec:,.0f}",
            f"{each.own_cpu_ms:.3f}", database, f"{each.wal_bytes:,.0f}", *latencies,
        )  # fmt: skip
    console.print(table)
