"""Freeze, limits, requeue and respawn in the console."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse

from tasks_app.engine.claim import claim_tasks
from tasks_app.models import Limit, Task, TaskEvent
from tasks_app.operations.queues import set_limit
from tasks_app.operations.system import current_freeze, freeze
from tasks_app.postgresql import clock
from tests.tasks_app.admin.test_pages import log_in, page
from tests.tasks_app.admin.test_spawn import look, token
from tests.tasks_app.finished import completed
from tests.tasks_app.maintenance.test_archived_tasks import archive_all
from tests.tasks_app.notes import claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db
SWITCH = "/admin/tasks_app/freeze/"
QUEUE = "dsa110-pipeline"
BY = {"actor": "user:alice", "reason": "disk is full"}


def confirm(client, address, **fields):
    return client.post(address, {"confirmed": "yes", **fields}, follow=True)


def test_an_operator_freezes_everything_with_a_reason_and_thaws_it(worker):
    spawn_note()
    operator = log_in("Operator")
    assert SWITCH in page(operator, "/admin/")
    assert "No task of any queue is claimed" in page(operator, SWITCH)
    confirm(operator, f"{SWITCH}freeze/", reason="")
    assert current_freeze() is None
    confirm(operator, f"{SWITCH}freeze/", reason="disk is full")
    assert (current_freeze().frozen_by, current_freeze().reason) == ("user:someone", "disk is full")
    assert claim_tasks(worker, limit=1) == []
    for address in ("/admin/", "/admin/tasks_app/task/"):
        assert "Nothing is claimed" in page(operator, address)
    confirm(operator, f"{SWITCH}thaw/", reason="cleaned up")
    assert "Nothing is claimed" not in page(operator, "/admin/")
    assert len(claim_tasks(worker, limit=1)) == 1
    assert TaskEvent.objects.get(event_type="thawed").reason == "cleaned up"


def test_a_freeze_asked_for_twice_is_not_thawed_by_the_second():
    freeze(**BY)
    answer = confirm(log_in("Operator"), f"{SWITCH}freeze/", reason="me too")
    assert "already frozen" in answer.content.decode()
    assert current_freeze().reason == "disk is full"


def test_a_viewer_sees_the_freeze_and_cannot_change_it():
    freeze(**BY)
    viewer = log_in("Viewer")
    assert "user:alice: disk is full" in page(viewer, "/admin/")
    assert 'href="thaw/"' not in page(viewer, SWITCH)
    assert viewer.post(f"{SWITCH}thaw/", {"confirmed": "yes", "reason": "no"}).status_code == 403
    assert current_freeze() is not None


def test_an_administrator_sets_resizes_and_removes_a_limit(worker):
    spawn_note(), spawn_note()
    administrator = log_in("Administrator")
    add = reverse("admin:tasks_app_limit_add")
    administrator.post(add, {"scope": "queue", "name": QUEUE, "size": "1", "reason": "one GPU"})
    limit = Limit.objects.get()
    claim_one(worker)
    assert claim_tasks(worker, limit=5) == []
    text = page(administrator, reverse("admin:tasks_app_limit_changelist"))
    assert "1 of 1" in text and "set by an administrator" in text
    change = reverse("admin:tasks_app_limit_change", args=[limit.pk])
    assert str(Task.objects.get(status="claimed")) in page(administrator, change)
    resize = reverse("admin:tasks_app_limit_set", args=[limit.pk])
    assert 'value="1"' in page(administrator, resize)
    administrator.post(resize, {"confirmed": "yes", "size": "2", "reason": "a second GPU"})
    assert Limit.objects.get().size == 2
    assert len(claim_tasks(worker, limit=5)) == 1
    assert [e.reason for e in TaskEvent.objects.filter(event_type="limit_set").order_by("id")] == [
        "one GPU",
        "a second GPU",
    ]
    remove = reverse("admin:tasks_app_limit_remove", args=[limit.pk])
    assert "all tasks of a queue may run at once" in page(administrator, remove)
    confirm(administrator, remove, reason="no GPU needed")
    assert not Limit.objects.exists()
    assert TaskEvent.objects.get(event_type="limit_removed").reason == "no GPU needed"


@pytest.mark.parametrize(
    "wrong",
    [{"size": "0"}, {"reason": ""}, {"name": "no-such-queue"}, {"scope": "host"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_limit_that_would_limit_nothing_is_refused_in_the_form(wrong):
    spawn_note()
    fields = {"scope": "queue", "name": QUEUE, "size": "1", "reason": "one GPU"} | wrong
    answer = log_in("Administrator").post(reverse("admin:tasks_app_limit_add"), fields)
    assert "errorlist" in answer.content.decode()
    assert not Limit.objects.exists()


def test_a_viewer_looks_at_limits_and_changes_none():
    set_limit("key", "disk-a", size=2, **BY)
    spawn_note(concurrency_key="disk-b")
    implicit = Limit.objects.get(explicit=False)
    viewer = log_in("Viewer")
    assert "disk-a" in page(viewer, reverse("admin:tasks_app_limit_changelist"))
    change = reverse("admin:tasks_app_limit_change", args=[implicit.pk])
    assert "disk-b" in page(viewer, change)
    assert viewer.post(change, {"size": "9", "reason": "x"}).status_code == 403
    for name in ("set", "remove"):
        assert viewer.get(reverse(f"admin:tasks_app_limit_{name}", args=[implicit.pk])).status_code == 403


def test_a_claim_whose_lease_holds_is_requeued_only_when_forced(worker):
    task = spawn_note()
    claim_one(worker)
    operator = log_in("Operator")
    address = reverse("admin:tasks_app_task_requeue", args=[task.task_id])
    answer = confirm(operator, address, expected="1", reason="stuck")
    assert "its lease is valid until" in answer.content.decode()
    confirm(operator, address, expected="1", reason="stuck", force="on")
    task.refresh_from_db()
    assert task.status == "pending" and "although its lease was valid" in task.error
    assert event_types(task) == ["spawned", "claimed", "retrying"]


def test_before_requeuing_the_pages_count_the_claims_whose_lease_holds(worker):
    address = reverse("admin:tasks_app_task_changelist") + "matching/requeue/"
    for _ in range(3):
        spawn_note()
        claim_one(worker)
    gone = Task.objects.order_by("pk")[0]
    Task.objects.filter(pk=gone.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    operator = log_in("Operator")
    assert "2 will be refused unless forced" in page(operator, address)
    assert "will be refused unless" not in page(operator, reverse("admin:tasks_app_task_requeue", args=[gone.task_id]))
    Task.objects.update(lease_until=clock.now() - timedelta(seconds=1))
    assert "will be refused unless" not in page(operator, address)


def test_a_stalled_claim_is_requeued_from_the_page(worker):
    task = spawn_note()
    claim_one(worker)
    Task.objects.filter(pk=task.pk).update(lease_until=clock.now() - timedelta(seconds=1))
    operator = log_in("Operator")
    assert "../requeue/" in page(operator, reverse("admin:tasks_app_task_change", args=[task.task_id]))
    confirm(operator, reverse("admin:tasks_app_task_requeue", args=[task.task_id]), expected="1", reason="stuck")
    assert Task.objects.get(pk=task.pk).status == "pending"


def test_a_viewer_can_neither_requeue_nor_respawn(worker):
    task = spawn_note()
    claim_one(worker)
    viewer = log_in("Viewer")
    text = page(viewer, reverse("admin:tasks_app_task_change", args=[task.task_id]))
    assert "../requeue/" not in text and "../respawn/" not in text
    for operation in ("requeue", "respawn"):
        address = reverse(f"admin:tasks_app_task_{operation}", args=[task.task_id])
        assert viewer.post(address, {"confirmed": "yes", "reason": "x"}).status_code == 403


def test_an_archived_task_is_respawned_from_its_page():
    old = completed(40)
    archive_all()
    operator = log_in("Operator")
    address = reverse("admin:tasks_app_task_respawn", args=[old.task_id])
    archived = reverse("admin:tasks_app_archivedtask_change", args=[old.task_id])
    assert address in page(operator, archived)
    fields = {"params.text": "again", "priority": "5", "timeout_sec": "60", "reason": "the disk was full"}
    shown = token(look(operator, address, **fields))
    assert "was spawned into" in confirm(operator, address, token=shown, **fields).content.decode()
    assert TaskEvent.objects.get(event_type="copied", task_id=Task.objects.get().task_id).detail["from"] == str(
        old.task_id
    )
