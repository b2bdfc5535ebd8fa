"""The list of metrics for Prometheus: name, help, labels and how each is read. Exposition and dashboard follow it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import psutil

from tasks_app.models import TaskStatus
from tasks_app.monitoring.health import Health, backups
from tasks_app.monitoring.metrics import Metrics

PREFIX = "absurd_"
QUANTILES = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}
HEALTH_NUMBERS = {"healthy": 0, "degraded": 1, "unhealthy": 2, "disabled": 3}
CHECK_NUMBERS = {"ok": 0, "warn": 1, "bad": 2}

Sample = tuple[tuple[str, ...], float | None]
"""The values of the labels, and the value; None has no sample."""
Kind = Literal["gauge", "counter", "summary"]


@dataclass(frozen=True, kw_only=True)
class Scrape:
    """What one answer to Prometheus is made from."""

    metrics: Metrics
    health: Health


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric; its unit is the end of its name."""

    row: str
    """Where it stands in the dashboard."""
    name: str
    text: str
    read: Callable[[Scrape], Iterable[Sample]]
    labels: tuple[str, ...] = ()
    kind: Kind = "gauge"

    @property
    def full_name(self) -> str:
        return PREFIX + self.name


def single(path: str) -> Callable[[Scrape], Iterable[Sample]]:
    """Return the reader of one value without labels, by its path in the scrape."""
    get = attrgetter(path)
    return lambda scrape: [((), get(scrape))]


def _of_queues(field: str) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: (((each.queue_name,), getattr(each, field)) for each in scrape.metrics.queues)


def _of_names(field: str) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: (((each.task_name,), getattr(each, field)) for each in scrape.metrics.task_names)


def _percentiles(field: str) -> Callable[[Scrape], Iterable[Sample]]:
    return lambda scrape: (
        ((each.task_name, quantile), getattr(getattr(each, field), key))
        for each in scrape.metrics.task_names
        for quantile, key in QUANTILES.items()
    )


def _counts(scrape: Scrape) -> Iterator[Sample]:
    for queue in scrape.metrics.queues:
        counts: Any = queue.tasks
        yield from (((queue.queue_name, status), counts[status]) for status in TaskStatus.values)


def _throughput(scrape: Scrape) -> Iterator[Sample]:
    for queue in scrape.metrics.queues:
        for label, rate in queue.throughput.items():
            yield (queue.queue_name, label), rate.tasks_per_sec


def _host_memory(scrape: Scrape) -> Iterator[Sample]:
    for each in scrape.metrics.workers.hosts:
        yield (each.host, "total"), each.memory_bytes
        yield (each.host, "available"), each.free_bytes


def _checks(scrape: Scrape) -> Iterator[Sample]:
    """Yield the worst state of each check; several file systems share one name."""
    worst: dict[str, int] = {}
    for each in scrape.health.checks:
        worst[each.name] = max(worst.get(each.name, 0), CHECK_NUMBERS[each.state])
    yield from (((name,), number) for name, number in worst.items())


def _disks(scrape: Scrape) -> Iterator[Sample]:
    return (((each.place,), each.value) for each in scrape.health.checks if each.name == "disk" and each.place)


def _memory(_scrape: Scrape) -> Iterable[Sample]:
    found = psutil.virtual_memory()
    return [(("total",), found.total), (("available",), found.available)]


def _processor(_scrape: Scrape) -> Iterable[Sample]:
    found = psutil.cpu_times()
    return [((mode,), getattr(found, mode)) for mode in ("user", "system", "idle", "iowait") if hasattr(found, mode)]


SERIES: list[Series] = [
    Series(row="Health", name="health_status", text="0 healthy, 1 degraded, 2 unhealthy, 3 disabled.",
           read=lambda scrape: [((), HEALTH_NUMBERS[scrape.health.status])]),
    Series(row="Health", name="health_check", text="Each check of health: 0 ok, 1 warn, 2 bad.",
           labels=("check",), read=_checks),
    Series(row="Health", name="frozen", text="1 while everything is frozen.", read=single("metrics.frozen")),
    Series(row="Queues", name="tasks", text="Tasks by stored status.", labels=("queue", "status"), read=_counts),
    Series(row="Queues", name="throughput_tasks_per_second", text="Tasks completed per second over the window.",
           labels=("queue", "window"), read=_throughput),
    Series(row="Queues", name="oldest_pending_seconds", labels=("queue",), read=_of_queues("oldest_pending_sec"),
           text="Seconds for which the oldest claimable task was runnable."),
    Series(row="Queues", name="queue_paused", text="1 while the queue is paused.", labels=("queue",),
           read=_of_queues("paused")),
    Series(row="Queues", name="queue_failure_rate", labels=("queue",), read=_of_queues("failure_rate"),
           text="Share of failed tasks among the completed and failed ones of the window."),
    Series(row="Queues", name="queue_retry_rate", labels=("queue",), read=_of_queues("retry_rate"),
           text="Share of the attempts of the window that were followed by a retry."),
    Series(row="Stages", name="wait_seconds", kind="summary", labels=("task_name", "quantile"),
           read=_percentiles("wait_sec"),
           text="Seconds between a task becoming claimable and its claim. Percentiles over the window."),
    Series(row="Stages", name="run_seconds", kind="summary", labels=("task_name", "quantile"),
           read=_percentiles("run_sec"),
           text="Duration of the attempts that completed, in seconds: of a stage, its task name. "
                "Percentiles over the window."),
    Series(row="Stages", name="failure_rate", labels=("task_name",), read=_of_names("failure_rate"),
           text="Share of failed tasks among the completed and failed ones of the window."),
    Series(row="Stages", name="retry_rate", labels=("task_name",), read=_of_names("retry_rate"),
           text="Share of the attempts of the window that were followed by a retry."),
    Series(row="Workers", name="workers", text="Workers that reported within the last day, by state.",
           labels=("state",),
           read=lambda scrape: (((state,), n) for state, n in scrape.metrics.workers.states.items())),
    Series(row="Workers", name="worker_slots", text="Slots of the live workers.", read=single("metrics.workers.slots")),
    Series(row="Workers", name="worker_slots_taken", text="Slots with a running attempt.",
           read=single("metrics.workers.slots_taken")),
    Series(row="Workers", name="refused_writes", read=single("metrics.refused_writes.rows"),
           text="Writes of workers refused within the last day because the claim was lost."),
    Series(row="Hosts of workers", name="worker_host_memory_bytes", labels=("host", "kind"), read=_host_memory,
           text="Memory of each host of live workers, or of what an allocation has of it: total and available."),
    Series(row="Hosts of workers", name="worker_host_cpu_ratio", labels=("host",),
           read=lambda scrape: (((each.host,), each.cpu_busy) for each in scrape.metrics.workers.hosts),
           text="Share of the processor time of the host in use between two heartbeats."),
    Series(row="Hosts of workers", name="worker_host_disk_free_bytes", labels=("host",),
           read=lambda scrape: (((each.host,), each.disk_free_gb * 1e9) for each in scrape.metrics.workers.hosts),
           text="Free bytes where workers of the host write products."),
    Series(row="Host of the web process", name="disk_free_ratio", labels=("path",), read=_disks,
           text="Free share of each disk under the data roots and the state directory, of bytes or files."),
    Series(row="Host of the web process", name="host_memory_bytes", labels=("kind",), read=_memory,
           text="Memory of the host, in all and available."),
    Series(row="Host of the web process", name="host_cpu_seconds", kind="counter", labels=("mode",), read=_processor,
           text="Processor time of the host since it started, of all cores together."),
    Series(row="Host of the web process", name="host_load", text="Processes that run or wait to run, over 1 min.",
           read=lambda _scrape: [((), os.getloadavg()[0])]),
    Series(row="Feed and database", name="last_event", text="The highest event number.",
           read=single("metrics.feed.last_event")),
    Series(row="Feed and database", name="withheld_events", read=single("metrics.feed.withheld_events"),
           text="Committed events that the feed withholds because an earlier transaction is still open."),
    Series(row="Feed and database", name="withheld_seconds", read=single("metrics.feed.withheld_sec"),
           text="Seconds for which that transaction has been open."),
    Series(row="Feed and database", name="feed_wakeup_failures", kind="counter",
           read=single("metrics.feed.wakeup_failures"),
           text="Wake-ups of the feed that this process could not send."),
    Series(row="Feed and database", name="database_size_bytes", text="Size of the database in bytes.",
           read=single("metrics.database.size_bytes")),
    Series(row="Feed and database", name="database_connections", text="Clients connected to the server.",
           read=single("metrics.database.connections")),
    Series(row="Feed and database", name="database_connections_most", read=single("metrics.database.connections_most"),
           text="Largest number of clients that the server accepts."),
    Series(row="Feed and database", name="database_dead_rows", text="Dead rows not removed by vacuum yet.",
           labels=("table",),
           read=lambda scrape: (((table,), n) for table, n in scrape.metrics.database.dead_rows.items())),
    Series(row="Feed and database", name="unfolded_changes", text="Count changes that are not folded yet.",
           read=single("metrics.database.unfolded_changes")),
    Series(row="Feed and database", name="oldest_transaction_seconds",
           read=single("metrics.database.oldest_transaction_sec"),
           text="Age of the oldest open transaction in seconds."),
    Series(row="Feed and database", name="backup_age_seconds", read=lambda _scrape: [((), backups.age_sec())],
           text="Age of the newest backup of the database in seconds; no sample where there is none."),
]  # fmt: skip
"""In the order of the dashboard; applications add theirs when they start."""
