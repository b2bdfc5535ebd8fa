"""The metrics in the text format of Prometheus; a value of None has no sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tasks_app.models import TaskStatus
from tasks_app.monitoring.metrics import Metrics

QUANTILES = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}
RATES = {
    "failure_rate": "Share of failed tasks among the completed and failed ones of the window.",
    "retry_rate": "Share of the attempts of the window that were followed by a retry.",
}
Sample = tuple[list[str], float | None]


def exposition(metrics: Metrics) -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Collector(metrics))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        yield from _of_queues(self._metrics)
        yield from _of_task_names(self._metrics)
        yield from _of_the_system(self._metrics)

    def describe(self) -> Iterable[Metric]:
        return []


def _gauge(name: str, text: str, labels: list[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"absurd_{name}", text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, float(value))
    return family


def _of_queues(metrics: Metrics) -> Iterator[Metric]:
    queues = metrics.queues
    counts = (
        ([q.queue_name, status], q.tasks[status])  # type: ignore[literal-required]
        for q in queues
        for status in TaskStatus.values
    )
    yield _gauge("tasks", "Tasks by stored status.", ["queue", "status"], counts)
    throughput = (([q.queue_name, label], rate.tasks_per_sec) for q in queues for label, rate in q.throughput.items())
    text = "Tasks completed per second over the window."
    yield _gauge("throughput_tasks_per_second", text, ["queue", "window"], throughput)
    for field, name, text in (
        ("oldest_pending_sec", "oldest_pending_seconds", "Seconds for which the oldest claimable task was runnable."),
        ("paused", "queue_paused", "1 while the queue is paused."),
        *((field, f"queue_{field}", text) for field, text in RATES.items()),
    ):
        yield _gauge(name, text, ["queue"], (([q.queue_name], getattr(q, field)) for q in queues))


def _of_task_names(metrics: Metrics) -> Iterator[Metric]:
    names = metrics.task_names
    for field, name, text in (
        ("wait_sec", "wait_seconds", "Seconds between a task becoming claimable and its claim."),
        ("run_sec", "run_seconds", "Duration of the attempts that completed, in seconds."),
    ):
        percentiles = (
            ([each.task_name, quantile], getattr(getattr(each, field), key))
            for each in names
            for quantile, key in QUANTILES.items()
        )
        yield _gauge(name, f"{text} Percentiles over the window.", ["task_name", "quantile"], percentiles)
    for name, text in RATES.items():
        yield _gauge(name, text, ["task_name"], (([each.task_name], getattr(each, name)) for each in names))


def _of_the_system(metrics: Metrics) -> Iterator[Metric]:
    workers, feed, database = metrics.workers, metrics.feed, metrics.database
    states = (([state], n) for state, n in workers.states.items())
    dead = (([table], n) for table, n in database.dead_rows.items())
    yield _gauge("workers", "Workers that reported within the last day, by state.", ["state"], states)
    yield _gauge("database_dead_rows", "Dead rows not removed by vacuum yet.", ["table"], dead)
    for name, text, value in (
        ("frozen", "1 while everything is frozen.", metrics.frozen),
        ("worker_slots", "Slots of the live workers.", workers.slots),
        ("worker_slots_taken", "Slots with a running attempt.", workers.slots_taken),
        (
            "refused_writes",
            "Writes of workers refused within the last day because the claim was lost.",
            metrics.refused_writes.rows,
        ),
        ("last_event", "The highest event number.", feed.last_event),
        (
            "withheld_events",
            "Committed events that the feed withholds because an earlier transaction is still open.",
            feed.withheld_events,
        ),
        ("withheld_seconds", "Seconds for which that transaction has been open.", feed.withheld_sec),
        ("database_size_bytes", "Size of the database in bytes.", database.size_bytes),
        ("database_connections", "Clients connected to the server.", database.connections),
        ("database_connections_most", "Largest number of clients that the server accepts.", database.connections_most),
        ("unfolded_changes", "Count changes that are not folded yet.", database.unfolded_changes),
        (
            "oldest_transaction_seconds",
            "Age of the oldest open transaction in seconds.",
            database.oldest_transaction_sec,
        ),
    ):
        yield _gauge(name, text, [], [([], value)])
    failures = CounterMetricFamily(
        "absurd_feed_wakeup_failures", "Wake-ups of the feed that this process could not send."
    )
    failures.add_metric([], feed.wakeup_failures)
    yield failures
