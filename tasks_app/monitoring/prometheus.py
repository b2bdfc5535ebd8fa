"""The list of metrics in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from tasks_app.monitoring.series import SERIES, Scrape, Series


def exposition(scrape: Scrape) -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry()
    registry.register(_Collector(scrape))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Metric]:
        return (_metric(series, self._scrape) for series in SERIES)

    def describe(self) -> Iterable[Metric]:
        return []


def _metric(series: Series, scrape: Scrape) -> Metric:
    """Return one metric. A summary here has no sum and no count: its window moves, and both would fall."""
    found = Metric(series.full_name, series.text, series.kind)
    name = f"{series.full_name}_total" if series.kind == "counter" else series.full_name
    for labels, value in series.read(scrape):
        if value is not None:
            found.add_sample(name, dict(zip(series.labels, labels, strict=True)), float(value))
    return found
