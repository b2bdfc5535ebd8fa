"""Archived tasks through the API, the console, the feed and the shell; what is forgotten in the end."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from absurd_project import env
from tasks_app.engine import archive
from tasks_app.engine.bindings import Binding
from tasks_app.engine.complete import complete_task
from tasks_app.errors import IdempotencyConflict
from tasks_app.maintenance import retention
from tasks_app.maintenance.archiving import RetentionSweep
from tasks_app.models import ArchivedTask, IdempotencyKey, Queue, Run, Task, TaskDependency, TaskEvent
from tasks_app.operations.prune import prune
from tasks_app.operations.tasks import retry
from tasks_app.postgresql import clock
from tests.tasks_app.callers import Caller, make_key, make_user
from tests.tasks_app.finished import POLICY, completed, days_ago, failed
from tests.tasks_app.listeners import Listener, in_thread, listening
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note

pytestmark = pytest.mark.django_db


@pytest.fixture
def api() -> Caller:
    return Caller(make_key("read", "spawn", "operate"))


def archive_all() -> None:
    prune(POLICY, actor="user:test")


def test_a_task_reads_the_same_before_and_after_archiving(api):
    run = Run.objects.create(workflow="standard-pipeline")
    parent = completed(50, run=run)
    task = completed(40, run=run, depends_on=[parent.task_id])
    paths = [f"tasks/{task.task_id}{part}" for part in ("", "/events", "/attempts")]
    before = [api.get(path).body for path in paths]
    assert before[0]["archived"] is False
    archive_all()
    assert not Task.objects.exists()
    after = [api.get(path).body for path in paths]
    assert after == [{**before[0], "archived": True}, *before[1:]]
    assert before[0]["depends_on"] == [str(parent.task_id)]
    assert before[0]["worker_id"] == "worker-1"
    assert [event["event_type"] for event in after[1]["events"]] == ["spawned", "claimed", "completed"]


def test_archived_events_come_in_pages(api):
    task = completed(40)
    archive_all()
    first = api.get(f"tasks/{task.task_id}/events?limit=2").body
    rest = api.get(first["next"]).body
    assert ([len(page["events"]) for page in (first, rest)], rest["next"]) == ([2, 1], None)


def test_operations_on_an_archived_task_say_to_respawn_it(api):
    task = failed(100)
    archive_all()
    path = f"tasks/{task.task_id}"
    answers = [api.post(f"{path}/retry"), api.delete(path), api.post(f"{path}/priority", {"priority": 9})]
    assert [answer.status_code for answer in answers] == [409] * 3
    for answer in answers:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (answer.body["code"], answer.body["current_status"]) == ("task_archived", "archived")
        assert "Respawn" in answer.body["remedy"]
    assert api.post(f"tasks/{uuid4()}/retry").status_code == 404


def test_a_repeated_key_finds_the_archived_task(api):
    with days_ago(20):
        spawn_note(idempotency_key="tile-7", priority=20)
        complete_task(claim_one(make_worker()), {}, REPORT)
    task = Task.objects.get()
    prune(POLICY.narrowed(older_than_days=19), actor="user:test")
    again = spawn_note(idempotency_key="tile-7", priority=20)
    assert (again.task_id, again.archived, Task.objects.count()) == (task.task_id, True, 0)
    with pytest.raises(IdempotencyConflict):
        spawn_note(idempotency_key="tile-7", priority=19)


def test_the_key_of_another_caller_is_another_key(api):
    task = spawn_note(idempotency_key="tile-7")
    body = {"task_name": "note", "params": {"text": "hello"}}
    first, again = (api.post("tasks", body, **{"Idempotency-Key": "tile-7"}) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.body["task_id"] == again.body["task_id"] != str(task.task_id)


def test_keys_are_forgotten_after_their_time_whether_archived_or_not():
    with days_ago(31):
        spawn_note(idempotency_key="old")
    with days_ago(29):
        spawn_note(idempotency_key="young")
    RetentionSweep().sweep()
    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["young"]
    assert spawn_note(idempotency_key="old").status == "pending"
    assert Task.objects.count() == 3


def test_a_child_of_an_archived_task_runs_with_its_result():
    parent = completed(40, result={"text": "from the archive"})
    archive_all()
    child = spawn_note(params={}, bindings={"text": Binding(task_id=parent.task_id, field="text")})
    assert archive.statuses_of([parent.task_id, child.task_id]) == {parent.task_id: "completed"}
    assert claim_one(make_worker()).params["text"] == "from the archive"


def test_a_failed_task_can_be_retried_after_its_parent_was_archived():
    parent = completed(40, result={"text": "from the archive"})
    child = failed(39, params={}, bindings={"text": Binding(task_id=parent.task_id, field="text")})
    archive_all()
    assert set(Task.objects.all()) == {child}
    retry(child.task_id, actor="user:test")
    assert claim_one(make_worker()).params["text"] == "from the archive"


@pytest.mark.parametrize("through", ["depends_on", "depends_on_runs"])
def test_a_child_of_a_task_that_was_archived_as_failed_fails_at_once_and_says_so(through):
    run = Run.objects.create(workflow="standard-pipeline")
    parent = failed(100, run=run)
    archive_all()
    child = spawn_note(**{through: [parent.task_id if through == "depends_on" else run.run_id]})
    child.refresh_from_db()
    assert (child.status, child.unrunnable_because) == ("failed", parent.task_id)
    assert child.error == f"{parent} is archived as failed: no such file"


def test_a_child_of_an_archived_run_that_completed_runs():
    run = Run.objects.create(workflow="standard-pipeline")
    completed(100, run=run)
    archive_all()
    child = spawn_note(depends_on_runs=[run.run_id])
    assert (child.hold, TaskDependency.objects.filter(child_task_id=child.task_id).count()) == (0, 1)


def test_the_archive_is_forgotten_with_its_edges_but_not_what_is_needed():
    grandparent, parent = completed(500), completed(400)
    TaskDependency.objects.create(child_task_id=parent.task_id, parent_task_id=grandparent.task_id)
    child, needed = completed(40), completed(450)
    TaskDependency.objects.create(child_task_id=child.task_id, parent_task_id=parent.task_id)
    archive_all()
    kept = set(ArchivedTask.objects.values_list("task_id", flat=True))
    assert kept == {child.task_id, needed.task_id}
    # The last archived event is remembered for the feed, so its task is never forgotten.
    assert needed.pk > child.pk
    edges = TaskDependency.objects.values_list("child_task_id", "parent_task_id")
    assert list(edges) == [(child.task_id, parent.task_id)]


def test_what_an_unfinished_task_waits_for_is_not_forgotten():
    parent = completed(400)
    completed(399)
    with days_ago(300):
        archive_all()
    spawn_note(depends_on=[parent.task_id])
    Task.objects.update(joined_at=None)
    assert retention.purge_archive(POLICY, 100).tasks == 0
    complete_task(claim_one(make_worker()), {}, REPORT)
    assert retention.purge_archive(POLICY, 100).tasks == 1


def test_zero_days_keep_the_archive_for_ever(settings):
    completed(4000), completed(3999)
    settings.ABSURD_ARCHIVE_DAYS = 0
    RetentionSweep().sweep()
    assert ArchivedTask.objects.count() == 2
    settings.ABSURD_ARCHIVE_DAYS = 365
    RetentionSweep().sweep()
    assert ArchivedTask.objects.count() == 1


def test_an_archive_shorter_than_the_keys_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("ABSURD_ARCHIVE_DAYS", "10")
    with pytest.raises(env.BadSetting, match=r"ABSURD_ARCHIVE_DAYS='10' is not valid: .*KEY_RETENTION_DAYS=30"):
        env.archive_days("ABSURD_ARCHIVE_DAYS", key_days=30)
    monkeypatch.setenv("ABSURD_ARCHIVE_DAYS", "0")
    assert env.archive_days("ABSURD_ARCHIVE_DAYS", key_days=30) == 0


def viewer() -> Client:
    client = Client()
    client.force_login(make_user("vera", "Viewer"))
    return client


def test_the_console_lists_and_shows_archived_tasks():
    run = Run.objects.create(workflow="standard-pipeline")
    parent = failed(100)
    task = completed(40, run=run, stage="imaging", params={"text": "hello console"})
    TaskDependency.objects.create(child_task_id=task.task_id, parent_task_id=parent.task_id)
    archive_all()
    client, changelist = viewer(), reverse("admin:tasks_app_archivedtask_changelist")
    with CaptureQueriesContext(connection) as queries:
        text = client.get(changelist).content.decode()
    of_archive = [query["sql"] for query in queries if "tasks_app_archivedtask" in query["sql"]]
    assert of_archive
    assert all("LIMIT" in sql for sql in of_archive if "COUNT(" in sql)
    assert not any('."events"' in sql for sql in of_archive)
    assert str(task.task_id)[-8:] in text
    assert str(parent.task_id)[-8:] in text
    for query, count in [
        ("status=failed", 1), ("queue=dsa110-pipeline", 2), ("finished=60d", 1), (f"q={run.run_id}", 1),
        (f"q={str(task.task_id)[-8:]}", 1), ("q=zzzz", 0),
    ]:  # fmt: skip
        assert client.get(f"{changelist}?{query}").context["cl"].result_count == count, query
    page = client.get(reverse("admin:tasks_app_archivedtask_change", args=[task.task_id])).content.decode()
    for part in ("hello console", "worker-1@test", "spawned", "Archived", str(run), "pill-failed", "changes no more"):
        assert part in page
    assert "Cancel" not in page
    old_link = client.get(reverse("admin:tasks_app_task_change", args=[task.task_id]), follow=True)
    assert old_link.redirect_chain[0][0].endswith(f"archivedtask/{task.task_id}/change/")


def test_the_console_shows_an_archived_task_whose_queue_was_removed():
    task = completed(40)
    archive_all()
    Queue.objects.all().delete()
    assert viewer().get(reverse("admin:tasks_app_archivedtask_change", args=[task.task_id])).status_code == 200


def test_nobody_changes_the_archive_and_strangers_do_not_see_it():
    task = completed(40)
    archive_all()
    address = reverse("admin:tasks_app_archivedtask_change", args=[task.task_id])
    root = Client()
    root.force_login(make_user("root", "Administrator"))
    assert root.get(reverse("admin:tasks_app_archivedtask_delete", args=[task.pk])).status_code == 403
    assert root.get(reverse("admin:tasks_app_archivedtask_add")).status_code == 403
    stranger = Client()
    stranger.force_login(make_user("stranger"))
    assert stranger.get(address).status_code == 403


def run_command(*arguments: str) -> dict:
    out = StringIO()
    call_command("absurd_prune", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_the_command_previews_and_then_prunes():
    completed(40), completed(3), failed(40), failed(100)
    first = run_command("--dry-run")
    assert (first["dry_run"], first["archived"], Task.objects.count()) == (True, 2, 4)
    second = run_command("--batch", "1")
    assert second["by_status"] == first["by_status"]
    assert Task.objects.count() == 2
    out = StringIO()
    call_command("absurd_prune", "--older-than-days", "0", stdout=out)
    assert "2 tasks were archived" in out.getvalue()
    assert TaskEvent.objects.filter(event_type="archived").count() == 2


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--older-than-days", "-1"], ["--older-than-days", "x"]])
def test_the_command_refuses_what_makes_no_sense_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        call_command("absurd_prune", *arguments)
    assert caught.value.code == 2
    assert re.fullmatch(r"absurd_prune: argument --\S+: write \d+ to \d+, not '\S+'\n", capsys.readouterr().err)


def test_the_command_knows_when_there_is_no_such_queue():
    with pytest.raises(CommandError, match="no queue 'x'") as caught:
        call_command("absurd_prune", "--queue", "x")
    assert caught.value.returncode == 3


@pytest.mark.django_db(transaction=True)
async def test_a_listener_from_before_the_archive_is_told_to_start_again():
    await in_thread(completed)(40)
    ids = await in_thread(lambda: list(TaskEvent.objects.order_by("id").values_list("id", flat=True)))()
    await in_thread(archive_all)()
    latest = await in_thread(lambda: TaskEvent.objects.latest("id").pk)()
    listener = Listener(f"since={ids[0]}")
    assert await listener.open() == latest
    assert await listener.next() == {"type": "resync", "event_id": latest}
    await listener.close()
    async with listening(f"since={ids[-1]}") as listener:
        await in_thread(spawn_note)()
        assert (await listener.next_but_counts())["type"] == "task_update"


@pytest.mark.django_db(transaction=True)
async def test_a_listener_is_told_when_what_it_has_not_read_yet_is_archived():
    async with listening() as listener:
        await in_thread(complete_and_archive_at_once)()
        latest = await in_thread(lambda: TaskEvent.objects.latest("id").pk)()
        assert await listener.next() == {"type": "resync", "event_id": latest}


@transaction.atomic
def complete_and_archive_at_once() -> None:
    spawn_note()
    complete_task(claim_one(make_worker()), {}, REPORT)
    Task.objects.update(completed_at=clock.now() - timedelta(days=40))
    archive_all()
