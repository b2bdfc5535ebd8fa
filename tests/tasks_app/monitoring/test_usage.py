"""The series of what an attempt uses: bounded, and cheap to store."""

from __future__ import annotations

import json

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


def wal_bytes(used: usage.Used, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return what storing a measurement writes to the write-ahead log, as PostgreSQL counts it."""
    found = []

    def explain(statement: str, params: dict) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN (ANALYZE, WAL, FORMAT JSON) {statement}", params)
            row = cursor.fetchone()[0]
            plan = json.loads(row) if isinstance(row, str) else row
            found.append(plan[0]["Plan"]["WAL Bytes"])

    with monkeypatch.context() as patched:
        patched.setattr(statements, "run", explain)
        usage.store([used])
    return min(found)


@pytest.mark.django_db
def test_a_full_series_costs_the_write_ahead_log_little(worker: Worker, monkeypatch):
    spawn_note()
    claim, series = claim_one(worker), of_an_attempt(1800)
    bare = wal_bytes(sample(claim, usage.Series(), 1), monkeypatch)
    without = wal_bytes(sample(claim, usage.Series(), 2), monkeypatch)
    wal_bytes(sample(claim, series, 3), monkeypatch)
    unchanged = wal_bytes(sample(claim, series, 4), monkeypatch)
    series.add(2000, 10**9, 4000.0)
    changed = wal_bytes(sample(claim, series, 5), monkeypatch)
    print(f"WAL bytes of a measurement: first {bare}, without series {without}, same {unchanged}, grown {changed}")
    assert Attempt.objects.get().usage_series == list(series.flat())
    assert changed <= WAL_MOST_BYTES
    assert unchanged <= changed


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
