"""The figures in the text format that Prometheus reads; what could not be measured has no sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tasks_app.models import TaskStatus
from tasks_app.monitoring.metrics import Metrics
from tasks_app.monitoring.recent_rates import Percentiles

QUANTILES = {"0.5": "p50", "0.95": "p95", "0.99": "p99"}
Sample = tuple[list[str], float | None]


def exposition(metrics: Metrics) -> bytes:
    """Return the figures as text."""
    registry = CollectorRegistry()
    registry.register(_Figures(metrics))
    return generate_latest(registry)


class _Figures(Collector):
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
            family.add_metric(values, value)
    return family


def _of_queues(metrics: Metrics) -> Iterator[Metric]:
    queues = metrics.queues
    yield _gauge(
        "tasks",
        "Tasks by stored status.",
        ["queue", "status"],
        (
            ([q.queue_name, status], q.tasks[status])  # type: ignore[literal-required]
            for q in queues
            for status in TaskStatus.values
        ),
    )
    yield _gauge(
        "oldest_pending_seconds",
        "For how long the oldest claimable task has been runnable.",
        ["queue"],
        (([q.queue_name], q.oldest_pending_sec) for q in queues),
    )
    yield _gauge(
        "queue_paused", "1 while the queue is paused.", ["queue"], (([q.queue_name], float(q.paused)) for q in queues)
    )
    yield _gauge(
        "throughput_tasks_per_second",
        "Tasks completed in a second, over the last minutes.",
        ["queue", "window"],
        (([q.queue_name, label], rate.tasks_per_sec) for q in queues for label, rate in q.throughput.items()),
    )
    for name, text in (
        ("failure_rate", "Share of failed among the completed and failed tasks of the window."),
        ("retry_rate", "Share of attempts of the window that had to be tried again."),
    ):
        yield _gauge(f"queue_{name}", text, ["queue"], (([q.queue_name], getattr(q, name)) for q in queues))


def _of_task_names(metrics: Metrics) -> Iterator[Metric]:
    names = metrics.task_names
    for field, name, text in (
        ("wait_sec", "wait_seconds", "From when only the queue kept a task waiting to its claim."),
        ("run_sec", "run_seconds", "Length of the attempts that completed."),
    ):
        yield _gauge(
            name,
            f"{text} Percentiles over the window.",
            ["task_name", "quantile"],
            (
                ([each.task_name, quantile], getattr(_percentiles(each, field), key))
                for each in names
                for quantile, key in QUANTILES.items()
            ),
        )
    for name, text in (
        ("failure_rate", "Share of failed among the completed and failed tasks of the window."),
        ("retry_rate", "Share of attempts of the window that had to be tried again."),
    ):
        yield _gauge(name, text, ["task_name"], (([each.task_name], getattr(each, name)) for each in names))


def _percentiles(figures: object, field: str) -> Percentiles:
    found: Percentiles = getattr(figures, field)
    return found


def _of_the_system(metrics: Metrics) -> Iterator[Metric]:
    workers, feed, database = metrics.workers, metrics.feed, metrics.database
    states = (([state], float(n)) for state, n in workers.states.items())
    dead = (([table], float(n)) for table, n in database.dead_rows.items())
    yield _gauge("workers", "Workers of the last day by state.", ["state"], states)
    yield _gauge("database_dead_rows", "Dead rows that wait for vacuum.", ["table"], dead)
    for name, text, value in (
        ("frozen", "1 while everything is frozen.", float(metrics.frozen)),
        ("worker_slots", "Slots of the workers that are up.", workers.slots),
        ("worker_slots_taken", "Slots with a running attempt.", workers.slots_taken),
        ("refused_writes", "Late writes of workers refused within the last day.", metrics.refused_writes.rows),
        ("last_event", "The highest event number.", feed.last_event),
        ("withheld_events", "Events that the feed withholds for an open transaction.", feed.withheld_events),
        ("withheld_seconds", "For how long that transaction has been open.", feed.withheld_sec),
        ("database_size_bytes", "Size of the database.", database.size_bytes),
        ("database_connections", "Clients connected to the server.", database.connections),
        ("database_connections_most", "Clients that the server lets in.", database.connections_most),
        ("unfolded_changes", "Changes of counts that wait to be folded.", database.unfolded_changes),
        ("oldest_transaction_seconds", "Age of the oldest open transaction.", database.oldest_transaction_sec),
    ):
        yield _gauge(name, text, [], [([], value)])
    failures = CounterMetricFamily("absurd_feed_wakeup_failures", "Wake-ups that this process could not send.")
    failures.add_metric([], feed.wakeup_failures)
    yield failures
