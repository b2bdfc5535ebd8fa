"""The series of what an attempt uses: bounded, and cheap to store."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from django.db import connection
from django.urls import reverse

from tasks_app.engine.claim import Claim
from tasks_app.models import Attempt, Worker
from tasks_app.monitoring import usage
from tasks_app.postgresql import statements
from tests.tasks_app.admin.test_pages import log_in
from tests.tasks_app.notes import claim_one, spawn_note

WAL_MOST_BYTES = 1500


def of_an_attempt(seconds: int) -> usage.Series:
    """Return the series of an attempt measured every second: memory peaks once, two cores are busy."""
    series = usage.Series()
    for second in range(seconds):
        series.add(second, 9_000_000_000 if second == 1000 else 1_000_000_000, 2.0 * second)
    return series


@pytest.mark.parametrize("seconds", [4, 6, 60, 3600, 86_400])
def test_a_series_is_bounded_and_keeps_the_peak_and_the_end(seconds):
    points = usage.points_of(of_an_attempt(seconds).flat())
    assert len(points) <= usage.SERIES_POINTS
    assert [point.at_sec for point in points] == sorted({point.at_sec for point in points})
    if seconds == 4:
        assert points == []
        return
    assert all(point.cpu_ds == 20 * point.at_sec for point in points)
    assert max(point.rss_mb for point in points) == (9000 if seconds > 1000 else 1000)
    assert seconds - points[-1].at_sec <= max(usage.SERIES_STEP_SEC, seconds / 15)


def sample(claim: Claim, series: usage.Series, second: int) -> usage.Used:
    return usage.Used(
        claim_token=claim.claim_token, peak_rss_bytes=10**9 + second, cpu_sec=2.0 * second, read_bytes=second,
        write_bytes=second, series=series.flat(),
    )  # fmt: skip


def wal_bytes(samples: Iterator[usage.Used], monkeypatch: pytest.MonkeyPatch) -> int:
    """Return what storing a measurement writes to the write-ahead log, as PostgreSQL counts it.

    The first change of a page after a checkpoint, whatever caused it, writes the whole page: such a measurement is
    passed over.
    """
    plans = []

    def explain(statement: str, params: dict) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, WAL, FORMAT JSON) {statement}", params)
            row = cursor.fetchone()[0]
            plans.append((json.loads(row) if isinstance(row, str) else row)[0]["Plan"])

    with monkeypatch.context() as patched:
        patched.setattr(statements, "run", explain)
        while not plans or any(plan["WAL FPI"] for plan in plans):
            plans.clear()
            usage.store([next(samples)])
    return min(plan["WAL Bytes"] for plan in plans)


def grown(claim: Claim, series: usage.Series) -> Iterator[usage.Used]:
    for second in range(2000, 3000, 100):
        series.add(second, 10**9, 2.0 * second)
        yield sample(claim, series, second)


@pytest.mark.django_db
def test_a_full_series_costs_the_write_ahead_log_little(worker: Worker, monkeypatch):
    spawn_note()
    claim, series = claim_one(worker), of_an_attempt(1800)
    usage.store([sample(claim, series, 1)])
    unchanged = wal_bytes((sample(claim, series, second) for second in range(2, 12)), monkeypatch)
    changed = wal_bytes(grown(claim, series), monkeypatch)
    assert Attempt.objects.get().usage_series == list(series.flat())
    assert unchanged <= changed <= WAL_MOST_BYTES


@pytest.mark.django_db
def test_the_page_of_a_task_draws_memory_and_processor_of_any_attempt(worker: Worker):
    task = spawn_note()
    claim = claim_one(worker)
    address, client = reverse("admin:tasks_app_task_change", args=[task.task_id]), log_in("Viewer")
    assert "No measurement" in client.get(address).content.decode()
    usage.store([sample(claim, of_an_attempt(3600), 3600)])
    memory, processor = client.get(address).context["usage"]
    assert (memory.title, processor.title) == ("Memory of attempt 1", "Processor of attempt 1")
    assert max(value for _, value in memory.series[0].points) == 9.0
    assert {round(value, 3) for _, value in processor.series[0].points} == {2.0}
    assert (memory.thresholds[0].value, processor.thresholds[0].value) == (task.memory_gb, 1.0)
