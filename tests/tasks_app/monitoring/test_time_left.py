"""The time left of a running attempt, from its reports of progress."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from tasks_app.engine.lease import report_progress
from tasks_app.models import Task, TaskEvent
from tasks_app.monitoring.time_left import estimate
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_pages import log_in
from tests.tasks_app.notes import claim_one, spawn_note

pytestmark = pytest.mark.django_db


def reported(worker, *reports: tuple[float, float | None]) -> Task:
    """Return a running task that has reported a fraction so long ago (s) each time."""
    task = spawn_note()
    claim = claim_one(worker)
    for ago_sec, fraction in reports:
        report_progress(claim, fraction=fraction, message="step")
        last = TaskEvent.objects.order_by("-id")[:1]
        TaskEvent.objects.filter(pk__in=last).update(created_at=clock.now() - timedelta(seconds=ago_sec))
    task.refresh_from_db()
    return task


def test_the_time_left_follows_from_the_rate_of_the_reports(worker):
    task = reported(worker, (200, 0.0), (110, None), (100, 0.5))
    found = estimate(task, clock.now() - timedelta(seconds=60))
    assert found.left_sec == pytest.approx(60, abs=5)
    page = log_in("Viewer").get(reverse("admin:tasks_app_task_change", args=[task.task_id])).content.decode()
    assert "no estimate of the time left: the last report, of 50%" in page


@pytest.mark.parametrize(
    ("reports", "reason"),
    [
        ([(100, 0.5)], "two reports are needed"),
        ([(100, 0.5), (50, 0.5)], "it has stood at 50% since"),
        ([(100, 0.5), (90, 0.1)], "it has stood at 10% since"),
        ([(4000, 0.1), (3000, 0.9)], "the last report, of 90%, is 50 min"),
    ],
)
def test_what_cannot_be_known_is_not_estimated(reports, reason, worker):
    assert estimate(reported(worker, *reports), clock.now()).reason.startswith(reason)


def test_a_task_that_does_not_run_or_report_has_none(worker):
    assert estimate(spawn_note(), clock.now()) is None
    claim_one(worker)
    assert estimate(Task.objects.get(), clock.now()) is None


def test_an_earlier_attempt_counts_for_nothing(worker):
    task = reported(worker, (100, 0.2), (50, 0.6))
    TaskEvent.objects.filter(event_type="progress").update(attempt=0)
    assert estimate(task, clock.now()).reason == "two reports are needed"
