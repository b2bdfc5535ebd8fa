"""What handlers report while they run: the latest, seldom enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks_app.models import Task, TaskEvent
from tests.workers.live import attempts, finished, spawn_one, wait_for
from workers.process.child import PROGRESS_EVERY_SEC, ProgressRate
from workers.process.protocol import Progress

pytestmark = pytest.mark.chaos


def test_a_flood_of_reports_costs_little_and_the_last_one_is_shown(workers):
    task = spawn_one("chatter", {"reports": 20_000, "then_sleep_sec": 6})
    workers.start()

    def last() -> Task | None:
        return Task.objects.filter(pk=task.pk, progress_message="report 20000").first()

    shown = wait_for(last)
    assert (shown.progress, shown.progress_metrics) == (1.0, {"number": 20_000.0})
    assert finished(task).result["reporting_cpu_sec"] < 2.0  # ten thousand a second and more
    assert (task.progress, task.progress_metrics) == (None, {})
    stored = TaskEvent.objects.filter(task_id=task.task_id, event_type="progress")
    (attempt,) = attempts(task)
    assert stored.count() <= 2 + attempt.wall_sec  # one a second
    assert stored.last().detail["update"]["progress_metrics"] == {"number": 20_000.0}
    assert Path(attempt.log_path).read_text().count("report") <= 2 + attempt.wall_sec / PROGRESS_EVERY_SEC


def test_reports_are_brought_within_bounds():
    assert Progress.of(1.7, "late", {"snr": float("inf"), "beams": 3}) == Progress(
        fraction=1.0, message="late", metrics={"beams": 3.0}
    )
    assert Progress.of(float("nan"), "unknown", {}).fraction is None


def test_the_first_report_is_passed_on_at_once_and_of_many_the_newest_a_little_later():
    passed: list[str] = []
    pace = ProgressRate(lambda fraction, message, metrics: passed.append(message))
    for message in ("first", "second", "third"):
        pace.report(None, message, {})
    assert passed == ["first"]
    wait_for(lambda: len(passed) == 2)
    assert passed == ["first", "third"]
