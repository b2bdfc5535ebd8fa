"""Workers in the console: their page, the orders given from it, and what is shown of an attempt being stopped."""

from __future__ import annotations

import json
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tasks_app.engine.claim import Claim
from tasks_app.engine.complete import complete_task
from tasks_app.engine.lease import note_held, note_stop, report_progress
from tasks_app.models import Attempt, TaskEvent, Worker
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.callers import queries_of_health
from tests.tasks_app.finished import days_ago
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


def _claim(worker: Worker) -> Claim:
    spawn_note()
    return claim_one(worker)


def hours_ago(hours: float):
    return days_ago(hours / 24)


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


def test_the_page_says_what_a_worker_can_run_and_what_not():
    viewer, able = log_in("Viewer"), make_worker(task_names=["note"])
    text = page(viewer, address(able))
    assert "cannot run" in text and "gather" in text.split("cannot run")[1].split("</tr>")[0]
    without = make_worker(missing_roots=["/data/raw"], task_names=["note", "gather"])
    assert "nothing: /data/raw is not mounted" in page(viewer, address(without))
    assert "cannot run" not in page(viewer, address(make_worker()))  # of a version that does not report names


def test_attempts_of_a_worker_share_the_fewest_slots():
    worker, other = make_worker(concurrency=2), make_worker()
    with hours_ago(7):
        complete_task(_claim(worker), {}, REPORT)  # too long ago
    for hours in (3, 2):
        with hours_ago(hours):
            complete_task(_claim(worker), {}, REPORT)
    complete_task(_claim(other), {}, REPORT)
    _claim(worker), _claim(worker)
    viewer = log_in("Viewer")
    text = page(viewer, address(worker))
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    chart = json.loads(found)
    assert chart["lanes"] == ["slot 1", "slot 2"]
    outcomes = [(bar["lane"], bar["label"]) for bar in chart["intervals"]]
    running = "note, attempt 1: running"
    assert outcomes == [(0, "note, attempt 1: completed")] * 2 + [(0, running), (1, running)]
    of_health = queries_of_health()
    with CaptureQueriesContext(connection) as asked:
        page(viewer, address(worker))
    assert len(asked) <= 15 + of_health, [each["sql"][:120] for each in asked]


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


def test_a_lost_worker_that_has_been_replaced_is_not_shown_as_lost():
    viewer = log_in("Viewer")
    lost = make_worker(label="imager-7")
    Worker.objects.filter(pk=lost.pk).update(
        started_at=clock.now() - timedelta(hours=2), heartbeat_at=clock.now() - timedelta(hours=1)
    )
    assert "pill-lost" in page(viewer, "/admin/")
    make_worker(label="imager-7")
    for address in ("/admin/", "/admin/tasks_app/worker/"):
        assert "pill-lost" not in page(viewer, address), address
    assert "pill-replaced" in page(viewer, "/admin/tasks_app/worker/")
