from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tasks_app.engine.bindings import Binding
from tasks_app.engine.claim import claim_tasks
from tasks_app.engine.complete import complete_task
from tasks_app.engine.options import TaskOptions
from tasks_app.engine.spawn import NewTask, spawn, spawn_many
from tasks_app.errors import Disabled, IdempotencyConflict, ParamsInvalid, UnknownTaskName
from tasks_app.models import Queue, Task, TaskEvent
from tasks_app.operations.queues import pause, resume
from tasks_app.postgresql import clock
from tests.tasks_app.notes import REPORT, claim_one, event_types, spawn_note

pytestmark = pytest.mark.django_db


def test_it_stores_a_pending_task_and_one_event():
    task = spawn_note(priority=12)
    stored = Task.objects.get(task_id=task.task_id)
    assert (stored.status, stored.priority, stored.params) == ("pending", 12, {"text": "hello"})
    assert (stored.timeout_sec, stored.max_retries, stored.created_by) == (3600, 3, "user:test")
    event = TaskEvent.objects.get(task_id=task.task_id)
    assert (event.event_type, event.from_status, event.to_status, event.actor) == (
        "spawned",
        "",
        "pending",
        "user:test",
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"priority": 9, "max_retries": 0, "queue_timeout_sec": 60.5, "total_timeout_sec": 90.0},
        {"scheduled_at": datetime.now(UTC) + timedelta(days=1), "params": {"text": "é", "copies": 2}},
    ],
    ids=["by default", "with options", "for later"],
)
def test_what_is_returned_is_what_a_query_finds(options):
    spawned = spawn(TaskOptions(task_name="note", **{"params": {"text": "hello"}, **options}), actor="test")
    stored = Task.objects.get(task_id=spawned.task_id)
    names = [field.attname for field in Task._meta.concrete_fields]
    assert {name: getattr(spawned, name) for name in names} == {name: getattr(stored, name) for name in names}
    assert spawned.created_at.tzinfo is stored.created_at.tzinfo
    assert spawned == stored
    assert not spawned._state.adding
    assert spawned._state.db == stored._state.db
    assert spawned.queue.name == stored.queue_id
    spawned.stage = "changed"
    spawned.save(update_fields=["stage"])
    assert Task.objects.get(pk=stored.pk).stage == "changed"


def test_it_names_every_bad_param():
    with pytest.raises(ParamsInvalid) as caught:
        spawn_note(params={"copies": 10, "txt": "hello"})
    assert sorted(problem["path"] for problem in caught.value.problems) == [
        "params.copies",
        "params.text",
        "params.txt",
    ]
    assert not Task.objects.exists()


def test_a_sleep_longer_than_any_attempt_may_last_is_refused():
    with pytest.raises(ParamsInvalid, match=r"params\.seconds.*604800"):
        spawn_many([TaskOptions(task_name="sleep", params={"seconds": 1e9})], actor="user:test")


@pytest.mark.parametrize("options", [{"priority": 0}, {"priority": 21}, {"timeout_sec": 0}, {"max_retries": -1}])
def test_it_refuses_options_out_of_range(options):
    with pytest.raises(ParamsInvalid, match=next(iter(options))):
        spawn_note(**options)


def test_it_refuses_an_unknown_name_and_offers_the_nearest():
    with pytest.raises(UnknownTaskName, match="did you mean note"):
        spawn_many([TaskOptions(task_name="notes")], actor="user:test")


def test_it_refuses_everything_while_disabled(settings):
    settings.ABSURD_ENABLED = False
    with pytest.raises(Disabled, match="absurd_enable"):
        spawn_note()


def test_the_same_key_and_content_finds_the_same_task():
    first = spawn_note(idempotency_key="tile-7")
    assert spawn_note(idempotency_key="tile-7").task_id == first.task_id
    assert Task.objects.count() == 1


def test_the_same_key_with_other_content_is_a_conflict():
    spawn_note(idempotency_key="tile-7")
    with pytest.raises(IdempotencyConflict, match="tile-7"):
        spawn_note(idempotency_key="tile-7", priority=9)


def test_one_bad_request_of_many_spawns_nothing():
    good = TaskOptions(task_name="note", params={"text": "a"})
    with pytest.raises(ParamsInvalid):
        spawn_many([good, TaskOptions(task_name="note", params={})], actor="user:test")
    assert not Task.objects.exists()


def test_a_task_for_later_is_not_claimed_now(worker):
    task = spawn_note(scheduled_at=clock.now() + timedelta(hours=1))
    assert task.display_status == "scheduled"
    assert claim_tasks(worker, limit=1) == []


def test_a_paused_queue_takes_tasks_and_gives_none(worker):
    spawn_note()
    pause("dsa110-pipeline", actor="user:test", reason="full disk")
    assert claim_tasks(worker, limit=1) == []
    assert Queue.objects.get().pause_reason == "full disk"
    resume("dsa110-pipeline", actor="user:test")
    assert claim_one(worker).task_name == "note"


def test_a_child_waits_and_takes_its_param_from_the_parents_result(worker):
    parent = spawn_note()
    child = spawn_note(params={}, bindings={"text": Binding(task_id=parent.task_id, field="title")})
    assert child.display_status == "waiting"
    claim = claim_one(worker)
    assert claim.task_id == parent.task_id
    assert claim_tasks(worker, limit=1) == []
    complete_task(claim, {"title": "from above"}, REPORT)
    assert claim_one(worker).params == {"text": "from above"}
    assert event_types(child) == ["spawned", "released", "claimed"]


def test_a_parent_that_has_completed_already_holds_nothing_back(worker):
    parent = spawn_note()
    complete_task(claim_one(worker), {"title": "early"}, REPORT)
    assert spawn_note(depends_on=[parent.task_id]).hold == 0


def test_an_unknown_parent_is_refused():
    with pytest.raises(ParamsInvalid, match="there is no task"):
        spawn_note(depends_on=[uuid4()])


def test_a_chain_is_spawned_in_one_call():
    ids = [uuid4(), uuid4()]
    requests = [
        NewTask.of(task_name="note", params={"text": "a"}, task_id=ids[0]),
        NewTask.of(task_name="note", task_id=ids[1], bindings={"text": Binding(task_id=ids[0], field="text")}),
    ]
    parent, child = spawn_many(requests, actor="user:test")
    assert (parent.hold, child.display_status) == (0, "waiting")


def test_a_binding_to_a_param_that_the_model_refuses_is_refused_at_the_spawn():
    parent = spawn_note()
    with pytest.raises(ParamsInvalid, match=r"bindings\.txt: is no param of this task name"):
        spawn_note(bindings={"txt": Binding(task_id=parent.task_id, field="title")})
