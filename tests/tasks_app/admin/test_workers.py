"""Workers in the console: their page, the orders given from it, and what is shown of an attempt being stopped."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from tasks_app.engine.lease import note_held, note_stop, report_progress
from tasks_app.models import Attempt, TaskEvent, Worker
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.notes import claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def address(worker: Worker, operation: str = "change") -> str:
    return reverse(f"admin:tasks_app_worker_{operation}", args=[worker.pk])


def test_the_page_says_how_a_worker_is_and_what_it_runs():
    worker = make_worker(label="worker-7", version="0.1.0+abc", clock_skew_sec=-1.25, cores=16, disk_gb=812.4)
    task = spawn_note()
    claim = claim_one(worker)
    report_progress(claim, fraction=0.25, message="gridding", metrics={"rows": 12.0})
    Attempt.objects.update(peak_rss_bytes=3_200_000_000, cpu_sec=61.0, read_bytes=10**9, write_bytes=2 * 10**9)
    text = page(log_in("Viewer"), address(worker))
    for output in ("worker-7", "0.1.0+abc", "-1.250 s off", "16 cores", "812.4 GB", str(task.task_id)[-8:], "25 %"):
        assert output in text, output
    assert "gridding" in text and "3.2 GB" in text and "1 min 01 s" in text and "1.0 GB, 2.0 GB" in text
    assert "Pause…" not in text  # a viewer gives no orders


def test_an_operator_pauses_a_worker_with_a_reason_and_resumes_it():
    worker, operator = make_worker(), log_in("Operator")
    assert "claims nothing until it is resumed" in page(operator, address(worker, "pause"))
    refused = operator.post(address(worker, "pause"), {"confirmed": "yes", "reason": ""})
    assert "This field is required" in refused.content.decode()
    operator.post(address(worker, "pause"), {"confirmed": "yes", "reason": "the disk is full"})
    worker.refresh_from_db()
    assert (worker.ordered, worker.order_reason) == ("pause", "the disk is full")
    text = page(operator, address(worker))
    assert "Ordered to pause" in text and "the disk is full" in text and "worker_ordered: pause" in text
    assert "Cannot pause: it already has this order" in text
    assert LogEntry.objects.get().change_message == "Pause. Reason: the disk is full"
    operator.post(address(worker, "resume"), {"confirmed": "yes", "reason": "it is empty again"})
    worker.refresh_from_db()
    assert worker.ordered == ""


def test_several_workers_are_drained_together_or_none_of_them():
    workers = [make_worker(label=f"worker-{n}") for n in range(2)]
    stopped = make_worker(label="worker-9", stopped_at=clock.now())
    operator, listed = log_in("Operator"), reverse("admin:tasks_app_worker_changelist")
    body = {"action": "drain_workers", "index": "0", "confirmed": "yes", "reason": "night is over"}
    answer = operator.post(listed, {**body, "_selected_action": [w.pk for w in [*workers, stopped]]}, follow=True)
    assert "annot drain worker worker-9" in answer.content.decode()
    assert not TaskEvent.objects.filter(event_type="worker_ordered").exists()
    operator.post(listed, {**body, "_selected_action": [w.pk for w in workers]})
    assert set(Worker.objects.filter(stopped_at=None).values_list("ordered", flat=True)) == {"drain"}


def test_who_may_not_order_workers_is_refused():
    worker, viewer = make_worker(), log_in("Viewer")
    for operation in ("pause", "resume", "drain", "recycle"):
        assert viewer.get(address(worker, operation)).status_code == 403


def test_an_attempt_that_is_being_stopped_shows_by_when_its_slot_is_free():
    worker, task = make_worker(), spawn_note()
    claim = claim_one(worker)
    before = clock.now()
    note_stop(claim, failure_class="timeout", reason="ran for 90 s", asked_ago_sec=1.0, takes_sec=12.0)
    due = Attempt.objects.get().stop_due_at
    assert before <= due - timedelta(seconds=11) <= clock.now()
    viewer = log_in("Viewer")
    for shown in (address(worker), reverse("admin:tasks_app_task_change", args=[task.task_id])):
        text = page(viewer, shown)
        assert f'data-due="{due.isoformat()}"' in text and "slot free" in text
    assert "stopping the attempt since" in text and "ran for 90 s" in text
    note_held(claim, "123 D nfs_wait python")
    for shown in (address(worker), reverse("admin:tasks_app_task_change", args=[task.task_id])):
        text = page(viewer, shown)
        assert (
            "data-due=" not in text
            and "stopping: ran for 90 s; killed processes have not ended since " in text
            and "123 D nfs_wait python" in text
        )
    assert "does not end and keeps its slot" in text
